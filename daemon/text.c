/* SPDX-License-Identifier: MIT */
/* Reading the kernel's text without stdio, and without allocating. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

ssize_t text_read(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < size) {
		n = pread(fd, buf + len, size - 1 - len, (off_t)len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			buf[0] = '\0';
			return -errno;
		}
		if (!n)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return (ssize_t)len;
}

ssize_t text_read_at(int dirfd, const char *path, char *buf, size_t size)
{
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	n = text_read(fd, buf, size);
	close(fd);
	return n;
}

bool text_number(const char **p, uint64_t *ret_value)
{
	const char *s = *p;
	uint64_t value = 0;

	while (*s == ' ' || *s == '\t')
		s++;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return false;
	*p = s;
	*ret_value = value;
	return true;
}

bool text_signed(const char **p, int64_t *ret_value)
{
	const char *s = *p;
	bool minus = false;
	uint64_t value;

	while (*s == ' ' || *s == '\t')
		s++;
	if (*s == '-') {
		minus = true;
		s++;
		if (*s < '0' || *s > '9')
			return false;
	}
	if (!text_number(&s, &value) || value > INT64_MAX)
		return false;
	*p = s;
	*ret_value = minus ? -(int64_t)value : (int64_t)value;
	return true;
}

bool text_field(const char *text, const char *name, uint64_t *ret_value)
{
	size_t len = strlen(name);
	const char *line = text, *p;
	uint64_t value;

	for (; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, name, len))
			continue;
		p = line + len;
		if (*p == ':')
			p++;
		else if (*p != ' ' && *p != '\t')
			continue;
		if (!text_number(&p, &value))
			return false;
		if (!strncmp(p, " kB", 3) &&
		    __builtin_mul_overflow(value, 1024u, &value))
			return false;
		*ret_value = value;
		return true;
	}
	return false;
}

bool text_copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from) + 1;

	if (len > size)
		return false;
	memcpy(to, from, len);
	return true;
}

int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}
