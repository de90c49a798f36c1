/* SPDX-License-Identifier: MIT */
/* Clocks, files and memory without libc's errno. */
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "private.h"

static int64_t clock_ns(int clock)
{
	struct timespec ts = { 0 };

	sys_clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t deadline_min(int64_t a, int64_t b)
{
	return MIN(a, b);
}

static struct timespec *timeout_until(int64_t deadline_ns, struct timespec *ts)
{
	int64_t left;

	if (deadline_ns == MRELEASE_NO_DEADLINE)
		return NULL;
	left = MAX(deadline_ns - now_ns(), 0);
	ts->tv_sec = left / NSEC_PER_SEC;
	ts->tv_nsec = left % NSEC_PER_SEC;
	return ts;
}

int wait_fd(int fd, short events, int64_t deadline_ns)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	struct timespec ts;
	int ret;

	for (;;) {
		ret = sys_ppoll(&pfd, 1, timeout_until(deadline_ns, &ts));
		if (ret == -EINTR || ret == -EAGAIN)
			continue;
		if (ret == 1 && (pfd.revents & POLLNVAL))
			return -EBADF;
		return ret;
	}
}

void pause_until(int64_t deadline_ns)
{
	struct timespec ts;

	sys_ppoll(NULL, 0, timeout_until(deadline_ns, &ts));
}

void close_keep(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -EBADF;
}

long read_at(int fd, char *buf, size_t size)
{
	size_t len = 0;
	long n;

	while (len < size - 1) {
		size_t want = size - 1 - len;

		n = sys_pread(fd, buf + len, want, len);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		len += n;
		/*
		 * These files are made whole at each read, a second one to
		 * see their end would make them all over again.
		 */
		if ((size_t)n < want)
			break;
	}
	buf[len] = '\0';
	return len;
}

long read_file(int dir_fd, const char *path, char *buf, size_t size)
{
	cleanup_fd int fd = sys_openat(dir_fd, path, O_RDONLY);

	if (fd < 0)
		return fd;
	return read_at(fd, buf, size);
}

void path_number(char *buf, const char *prefix, uint64_t n, const char *suffix)
{
	char digits[20];
	unsigned int i = 0;

	while (*prefix)
		*buf++ = *prefix++;
	do {
		digits[i++] = '0' + n % 10;
		n /= 10;
	} while (n);
	while (i)
		*buf++ = digits[--i];
	while (*suffix)
		*buf++ = *suffix++;
	*buf = '\0';
}

static void *pages(size_t size, int flags)
{
	long ret = sys_mmap(size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | flags);

	if (ret < 0)
		return NULL;
#ifdef __SANITIZE_ADDRESS__
	/*
	 * A helper that was killed left the marks of its stack's frames here,
	 * and a raw munmap() leaves them to whoever gets the address next.
	 */
	__asan_unpoison_memory_region((void *)ret, size);
#endif
	return (void *)ret;
}

void *pages_alloc(size_t size)
{
	return pages(size, MAP_POPULATE);
}

void *pages_reserve(size_t size)
{
	return pages(size, MAP_NORESERVE);
}

void pages_free(void *p, size_t size)
{
	if (p)
		sys_munmap(p, size);
}
