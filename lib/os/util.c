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

#include "os/os.h"

static int64_t ns_of(const struct timespec *ts)
{
	return ts->tv_sec * NSEC_PER_SEC + ts->tv_nsec;
}

/*
 * libc's own: it reads the clock in user mode (vDSO) where that is possible.  It
 * uses nothing of the thread's, and sets errno only where there is no such
 * clock; the dynamic linker has found it by the time a helper calls it, as the
 * caller reads the clock first.
 */
int64_t now_ns(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ns_of(&ts);
}

uint64_t boot_ticks(void)
{
	uint64_t per_second = sysconf(_SC_CLK_TCK);
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * per_second +
	       ts.tv_nsec / (NSEC_PER_SEC / per_second);
}

int64_t cpu_ns(void)
{
	struct timespec ts = { 0 };

	sys_clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ns_of(&ts);
}

int64_t deadline_min(int64_t a, int64_t b)
{
	return MIN(a, b);
}

int64_t deadline_add(int64_t t, int64_t ns)
{
	int64_t ret;

	return __builtin_add_overflow(t, ns, &ret) ? MRELEASE_NO_DEADLINE : ret;
}

static struct timespec *timeout_until(int64_t deadline_ns, struct timespec *ts)
{
	int64_t left;

	if (deadline_ns == MRELEASE_NO_DEADLINE)
		return NULL;
	left = deadline_ns - now_ns();
	left = MAX(left, 0);
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

static bool has_fd(int *const *fds, unsigned int nr, int fd)
{
	for (unsigned int i = 0; i < nr; i++)
		if (fd >= 0 && *fds[i] == fd)
			return true;
	return false;
}

/*
 * Numbers that follow one another are closed at once: all of a run are known to
 * be ours, so no other thread's is among them.
 */
void close_all(int *const *fds, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		int lo = *fds[i], hi = lo;

		if (lo < 0)
			continue;
		while (has_fd(fds, nr, lo - 1))
			lo--;
		while (has_fd(fds, nr, hi + 1))
			hi++;
		/* Linux 5.9. */
		if (lo == hi || sys_close_range(lo, hi, 0) < 0) {
			close_keep(fds[i]);
			continue;
		}
		for (unsigned int k = 0; k < nr; k++)
			if (*fds[k] >= lo && *fds[k] <= hi)
				*fds[k] = -EBADF;
	}
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
	 * and a raw munmap() leaves them to the next user of the address.
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
