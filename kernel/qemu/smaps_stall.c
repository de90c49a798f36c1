// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long does a reader of smaps that gets no CPU keep process_mrelease(), and the
 * exit of the process that it reads about, from going on?
 *
 * Since 7.2 the reader holds the lock of the mapping that it walks, and no longer
 * mmap_lock.  A thread that unmaps a part of that mapping waits for the reader in
 * vma_start_write(), where it cannot be killed, and holds mmap_lock for writing.
 * SIGKILL changes nothing about that, and a task that reaps waits for mmap_lock.
 *
 * The reader is SCHED_IDLE, on a CPU that others keep busy: a monitor of low
 * priority.  That it stands inside of the walk is seen by the thread that unmaps:
 * it sleeps uninterruptibly.  Otherwise it is tried again.
 *
 * What is asserted is an order and no time: process_mrelease(), the exit, and the
 * memory are back before the reader gets CPU again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_process_mrelease
#define __NR_process_mrelease 448
#endif

#define SIZE  (256UL << 20)
#define HOGS  4
#define TRIES 50

struct shared {
	int ready;
	int unmap; /* do it now */
	int unmapped;
	int let_go; /* the reader gets CPU again */
};

static struct shared *sh;
static char *area;

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void await(int *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		usleep(1000);
}

/* Holds all its memory, and unmaps a page in the middle when it is told to. */
static pid_t start_victim(void)
{
	pid_t pid;

	memset(sh, 0, sizeof(*sh));
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	on_cpu(0);
	area = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(area, SIZE, MADV_NOHUGEPAGE);
	memset(area, 'v', SIZE);
	__atomic_store_n(&sh->ready, 1, __ATOMIC_RELEASE);
	await(&sh->unmap);
	munmap(area + SIZE / 2, getpagesize());
	__atomic_store_n(&sh->unmapped, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static pid_t start_reader(pid_t victim)
{
	struct sched_param none = {};
	char path[64], buf[65536];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	on_cpu(1);
	sched_setscheduler(0, SCHED_IDLE, &none);
	snprintf(path, sizeof(path), "/proc/%d/smaps", victim);
	for (;;) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
}

static void start_hogs(pid_t *hog)
{
	int i;

	for (i = 0; i < HOGS; i++) {
		hog[i] = fork();
		if (hog[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		on_cpu(1);
		setpriority(PRIO_PROCESS, 0, -20);
		for (;;)
			;
	}
}

static void end(pid_t *pid, int n)
{
	int i;

	for (i = 0; i < n; i++)
		kill(pid[i], SIGKILL);
	for (i = 0; i < n; i++)
		waitpid(pid[i], NULL, 0);
}

static char state_of(pid_t pid)
{
	char path[64], line[256], *p = NULL;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		p = strrchr(line, ')');
	if (f)
		fclose(f);
	return p ? p[2] : 0;
}

static void sleeps_in(pid_t pid, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, buf, size - 1) : 0;
	buf[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Does it sleep there, and not only pass? */
static bool stuck(pid_t pid)
{
	int i;

	for (i = 0; i < 100; i++) {
		if (__atomic_load_n(&sh->unmapped, __ATOMIC_ACQUIRE))
			return false;
		if (i >= 80 && state_of(pid) != 'D')
			return false;
		usleep(1000);
	}
	return true;
}

/* Without what is in the lists of the CPUs, which is up to 128 MiB for each here. */
static long free_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[256];
	long kb = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemFree: %ld kB", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static bool let_go(void)
{
	return __atomic_load_n(&sh->let_go, __ATOMIC_ACQUIRE);
}

/* The hogs end some time later, and the reader goes on. */
static pid_t start_timer(long stall_ms, pid_t *hog)
{
	pid_t pid = fork();
	int i;

	if (pid)
		return pid;
	usleep(stall_ms * 1000);
	__atomic_store_n(&sh->let_go, 1, __ATOMIC_RELEASE);
	for (i = 0; i < HOGS; i++)
		kill(hog[i], SIGKILL);
	_exit(0);
}

/*
 * Kill a victim whose mapping a reader stands in, for @stall_ms; if @release, reap
 * it.  Does any of that wait for the reader?
 */
static void killed(struct __test_metadata *_metadata, long stall_ms,
		   bool release)
{
	bool release_late = false, exit_late, memory_late;
	pid_t victim, reader = 0, hog[HOGS], timer;
	long release_ms = 0, exit_ms, start, before, back;
	char where[64] = "";
	int i, ret = 0, pidfd;

	for (i = 0; i < TRIES; i++) {
		victim = start_victim();
		ASSERT_GT(victim, 0);
		await(&sh->ready);
		if (!stall_ms)
			break;
		reader = start_reader(victim);
		usleep(20000 + i * 3000);
		start_hogs(hog);
		usleep(20000);
		__atomic_store_n(&sh->unmap, 1, __ATOMIC_RELEASE);
		if (stuck(victim))
			break;
		end(hog, HOGS);
		end(&reader, 1);
		end(&victim, 1);
	}
	if (i == TRIES)
		SKIP(return, "the reader was never stopped inside of its walk");
	if (stall_ms)
		sleeps_in(victim, where, sizeof(where));
	pidfd = syscall(__NR_pidfd_open, victim, 0);
	ASSERT_GE(pidfd, 0);
	before = free_kb();
	timer = stall_ms ? start_timer(stall_ms, hog) : 0;
	start = now_ms();
	kill(victim, SIGKILL);
	if (release) {
		ret = syscall(__NR_process_mrelease, pidfd, 0) ? -errno : 0;
		release_ms = now_ms() - start;
		release_late = let_go();
	}
	waitpid(victim, NULL, 0);
	exit_ms = now_ms() - start;
	exit_late = let_go();
	back = free_kb() - before;
	memory_late = let_go() || back < (long)(SIZE / 1024) / 4;
	if (stall_ms) {
		end(&timer, 1);
		end(hog, HOGS);
		end(&reader, 1);
	}
	close(pidfd);
	if (release)
		TH_LOG("process_mrelease() %d after %ld ms", ret, release_ms);
	TH_LOG("reader stalled for %ld ms%s%s: exited after %ld ms, %ld MiB back then",
	       stall_ms, stall_ms ? ", munmap() in " : "", where, exit_ms,
	       back / 1024);
	/* ESRCH: it has been too late. */
	EXPECT_TRUE(!ret || ret == -ESRCH);
	EXPECT_FALSE(release_late);
	EXPECT_FALSE(exit_late);
	EXPECT_FALSE(memory_late);
}

FIXTURE(stall){};

FIXTURE_SETUP(stall)
{
	(void)self;
	sh = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)sh);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	on_cpu(0);
}

FIXTURE_TEARDOWN(stall)
{
	(void)self;
	munmap(sh, getpagesize());
}

TEST_F_TIMEOUT(stall, no_reader, 120)
{
	(void)self;
	killed(_metadata, 0, true);
}

TEST_F_TIMEOUT(stall, one_second, 240)
{
	(void)self;
	killed(_metadata, 1000, true);
}

TEST_F_TIMEOUT(stall, five_seconds, 240)
{
	(void)self;
	killed(_metadata, 5000, true);
}

TEST_F_TIMEOUT(stall, not_reaped, 240)
{
	(void)self;
	killed(_metadata, 5000, false);
}

TEST_HARNESS_MAIN
