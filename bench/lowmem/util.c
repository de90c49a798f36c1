/* SPDX-License-Identifier: MIT */
/* Small things; nothing here allocates. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PAGE	    4096
#define NOISE_WORDS 32768
/* of the 512 words in a page */
#define PAGE_WORDS 192

static uint64_t random_state = UINT64_C(88172645463325252);

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SEC + t.tv_nsec;
}

void sleep_until(int64_t at_ns)
{
	struct timespec t = { at_ns / SEC, at_ns % SEC };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

void sleep_ms(unsigned int ms)
{
	sleep_until(now_ns() + ms * MSEC);
}

void die(const char *what)
{
	perror(what);
	exit(1);
}

/* The text ends with a NUL whatever happened; -1 if there is none. */
ssize_t read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	buf[0] = '\0';
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t len = strlen(text);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, len) == (ssize_t)len;
	close(fd);
	return ok;
}

uint64_t number_after(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

uint64_t meminfo(const char *name)
{
	char buf[4096];

	read_text("/proc/meminfo", buf, sizeof(buf));
	return number_after(buf, name) << 10;
}

uint64_t share_of_memory(double percent)
{
	uint64_t bytes = (uint64_t)((double)meminfo("MemTotal:") * percent);

	return bytes / 100 & ~(uint64_t)(PAGE - 1);
}

struct slot *map_slots(void)
{
	int fd = open(SLOTS_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *p;

	if (fd < 0 || ftruncate(fd, PAGE))
		die(SLOTS_FILE);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die(SLOTS_FILE);
	close(fd);
	return p;
}

void random_seed(uint64_t seed)
{
	random_state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

void fill_pages(char *to, uint64_t bytes)
{
	static uint64_t noise[NOISE_WORDS + PAGE_WORDS];

	if (!noise[0]) {
		for (size_t i = 0; i < ARRAY_SIZE(noise); i++)
			noise[i] = random_number() | 1;
	}
	for (uint64_t at = 0; at < bytes; at += PAGE) {
		size_t from = random_number() % NOISE_WORDS;

		memcpy(to + at, noise + from, PAGE_WORDS * sizeof(*noise));
	}
}

char *grow(uint64_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	fill_pages(p, bytes);
	return p;
}
