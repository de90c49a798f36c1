/* SPDX-License-Identifier: MIT */
/*
 * Clock, small files, text.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

void nap_ms(unsigned int ms)
{
	struct timespec ts = {
		.tv_sec = ms / 1000,
		.tv_nsec = (long)(ms % 1000) * NSEC_PER_MSEC,
	};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* The guard, our parent, ends whatever this run started. */
void bench_die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("mrelease-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(3);
}

/* Whole small file as a string; -1 with errno. */
ssize_t read_file(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int saved;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	do {
		n = read(fd, buf + len, size - 1 - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	saved = errno;
	close(fd);
	errno = saved;
	buf[len] = '\0';
	return n < 0 ? -1 : (ssize_t)len;
}

bool write_file(const char *path, const char *text)
{
	size_t len = strlen(text);
	ssize_t n;
	int fd;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = write(fd, text, len);
	close(fd);
	return n == (ssize_t)len;
}

/* A line of /proc/meminfo by its key, in bytes; -1: no such line. */
int64_t meminfo_bytes(const char *key)
{
	size_t len = strlen(key);
	char buf[8192];
	char *line;
	char *save;

	if (read_file("/proc/meminfo", buf, sizeof(buf)) < 0)
		return -1;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, key, len) && line[len] == ':')
			return strtoll(line + len + 1, NULL, 10) * 1024;
	}
	return -1;
}

/* The run must not push the machine into the very thing it is about. */
bool have_memory(uint64_t bytes, struct bench_result *res)
{
	int64_t avail = meminfo_bytes("MemAvailable");
	uint64_t need = bytes + bytes / 4 + 256 * MIB;

	if (avail >= 0 && (uint64_t)avail >= need)
		return true;
	bench_skip(res, "needs %" PRIu64 " MiB of memory, %" PRId64 " are free",
		   need / MIB, avail / (int64_t)MIB);
	return false;
}

const char *fmt_ns(int64_t ns, char *buf, size_t size)
{
	double ms = (double)ns / 1e6;

	if (ns < 0)
		snprintf(buf, size, "-");
	else if (ms < 1)
		snprintf(buf, size, "%.0f us", ms * 1000);
	else if (ms < 10)
		snprintf(buf, size, "%.2f ms", ms);
	else if (ms < 100)
		snprintf(buf, size, "%.1f ms", ms);
	else if (ms < 1000)
		snprintf(buf, size, "%.0f ms", ms);
	else
		snprintf(buf, size, "%.2f s", ms / 1000);
	return buf;
}

/* For the tail of a scenario: remember why, return 0. */
int bench_skip(struct bench_result *res, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(res->skip, sizeof(res->skip), fmt, ap);
	va_end(ap);
	return 0;
}
