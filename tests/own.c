/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own.h"

#define POOL "/proc/sys/vm/nr_hugepages"

/* Of the pool, before this test; -1: it was big enough. */
static long pool_had = -1;

long own_meminfo(const char *name)
{
	char line[256];
	long value = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = (long)strtoull(line + strlen(name) + 1, NULL,
					       10);
	fclose(f);
	return value;
}

static bool set_pool(long pages)
{
	FILE *f = fopen(POOL, "we");

	return f && fprintf(f, "%ld\n", pages) > 0 && !fclose(f);
}

/*
 * While a pinned page of a private mapping is coming back, the kernel may count
 * one reservation less than none.
 */
static long huge_free(void)
{
	long reserved = own_meminfo("HugePages_Rsvd");

	return own_meminfo("HugePages_Free") - (reserved > 0 ? reserved : 0);
}

void own_need_huge(long pages)
{
	long have = huge_free();
	long total = own_meminfo("HugePages_Total");

	if (own_meminfo("Hugepagesize") << 10 != HUGE)
		skip_test("hugetlb", "huge pages are not of 2 MiB");
	if (have < pages && !geteuid() && set_pool(total + pages - have)) {
		pool_had = total;
		have = huge_free();
	}
	if (have < pages)
		skip_test("hugetlb", "%ld huge pages are free", have);
}

int own_huge_teardown(void **state)
{
	int ret = harness_teardown(state);

	if (pool_had >= 0)
		set_pool(pool_had);
	pool_had = -1;
	return ret;
}

static pid_t start(void (*fn)(int arg), int arg, void (*then)(void),
		   pid_t victim)
{
	int ends[2], fd = -1;
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	if (victim)
		fd = mrelease_open(victim, 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (fn)
			fn(arg);
		if (write(ends[1], "x", 1) != 1)
			_exit(2);
		while (victim && poll(&p, 1, -1) < 1)
			;
		if (then)
			then();
		for (;;)
			pause();
	}
	close(ends[1]);
	if (fd >= 0)
		close(fd);
	assert_int_equal(read(ends[0], &c, 1), 1);
	close(ends[0]);
	return pid;
}

pid_t own_start(void (*fn)(int arg), int arg)
{
	return start(fn, arg, NULL, 0);
}

pid_t own_stranger(void (*fn)(int arg), int arg, void (*then)(void),
		   pid_t victim)
{
	return start(fn, arg, then, victim);
}

void own_end(pid_t pid)
{
	assert_true(pid > 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, __WALL), pid);
}

static void release_it(int (*call)(int fd, const struct mrelease_opts *opts,
				   struct mrelease_report *rep),
		       pid_t pid, uint32_t flags, struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int fd = mrelease_open(pid, 0);
	int ret;

	assert_true(fd >= 0);
	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	ret = call(fd, &opts, rep);
	assert_int_equal(ret, 0);
	close(fd);
	if (flags & MRELEASE_DRY_RUN)
		return;
	check_report(rep, ret);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int call_tree(int fd, const struct mrelease_opts *opts,
		     struct mrelease_report *rep)
{
	return mrelease_tree(fd, opts, rep, NULL, NULL);
}

void own_kill(pid_t pid, uint32_t flags, struct mrelease_report *rep)
{
	release_it(mrelease_process, pid, flags, rep);
}

void own_kill_tree(pid_t pid, uint32_t flags, struct mrelease_report *rep)
{
	release_it(call_tree, pid, flags, rep);
}

char *own_anon(size_t size, int flags)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, size);
	return p;
}

int own_ring(void *p, size_t size)
{
	struct iovec v = { .iov_base = p, .iov_len = size };
	struct io_uring_params params = { 0 };
	int fd = syscall(SYS_io_uring_setup, 8, &params);

	if (fd >= 0 && syscall(SYS_io_uring_register, fd,
			       IORING_REGISTER_BUFFERS, &v, 1) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd < 0 ? -errno : fd;
}

void own_keep_files(void *p, size_t size)
{
	int ends[2];
	char c;

	if (pipe2(ends, O_CLOEXEC))
		_exit(2);
	if (!fork()) {
		munmap(p, size);
		if (write(ends[1], "x", 1) != 1)
			_exit(3);
		for (;;)
			pause();
	}
	if (read(ends[0], &c, 1) != 1)
		_exit(4);
}

void own_need_ring(void)
{
	char *p = own_anon(MIB, MAP_PRIVATE);
	int fd = own_ring(p, MIB);

	munmap(p, MIB);
	if (fd < 0)
		skip_test("io_uring", "no buffers can be registered: %s",
			  strerror(-fd));
	close(fd);
}

void own_need_map_files(void)
{
	struct mrelease_features f = { .size = sizeof(f) };

	assert_int_equal(mrelease_probe(&f), 0);
	if (f.map_files != 1)
		skip_test("root", "map_files are for root");
}

void own_need_frames(void)
{
	int flags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t word = 0;
	ssize_t n = pread(fd, &word, sizeof(word),
			  (uintptr_t)&word / getpagesize() * sizeof(word));

	close(fd);
	close(flags_fd);
	if (flags_fd < 0 || n != sizeof(word) || !(word << 9))
		skip_test("root", "frames are for root");
}
