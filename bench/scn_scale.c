/* SPDX-License-Identifier: MIT */
/*
 * What there can be very much of: threads, mappings, guard pages, and other
 * processes on the machine.  None of it may make the whole call much longer
 * than a SIGKILL and the wait for the exit.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SCALE_VS_WAIT 1.2
#define THREADS	      10000
#define STACK_BYTES   ((size_t)64 * 1024)
#define MAPPINGS      65000
#define GUARD_PAGES   30000
#define OTHERS	      10000
#define SMALL_BYTES   (16 * MIB)
#define PAGE_BYTES    4096
#define MADV_GUARD    102

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	way_once(way, arg, st);
}

static bool judge(struct bench_result *res)
{
	bool ok = check_call(res, WAY_WAIT, SCALE_VS_WAIT);

	ok &= check_verified(res);
	return ok;
}

static int scale(const struct bench_opts *o, struct bench_result *res,
		 int (*setup)(void *arg))
{
	struct victim_spec spec = VICTIM_SPEC(SMALL_BYTES);
	struct bench_plan plan = { once, judge, &spec };
	struct victim v;
	int error;

	spec.setup = setup;
	error = victim_start(&spec, &v);
	victim_end(&v);
	if (error)
		return bench_skip(res, "no such victim: %s", strerror(error));
	interleave(o, res, &plan);
	return 0;
}

static void *idle_thread(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static int start_threads(void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int error = 0;

	(void)arg;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (unsigned int i = 0; i < THREADS - 1 && !error; i++)
		error = pthread_create(&thread, &attr, idle_thread, NULL);
	pthread_attr_destroy(&attr);
	return error;
}

int scn_threads(const struct bench_opts *o, struct bench_result *res)
{
	return scale(o, res, start_threads);
}

/* Each other page of one mapping is made read-only: two mappings each. */
static int split_mappings(void *arg)
{
	char *p = mmap(NULL, (size_t)MAPPINGS * PAGE_BYTES,
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	(void)arg;
	if (p == MAP_FAILED)
		return errno;
	for (size_t i = 0; i < MAPPINGS; i += 2) {
		p[i * PAGE_BYTES] = 1;
		if (mprotect(p + i * PAGE_BYTES, PAGE_BYTES, PROT_READ))
			return errno;
	}
	return 0;
}

int scn_mappings(const struct bench_opts *o, struct bench_result *res)
{
	return scale(o, res, split_mappings);
}

/* MADV_GUARD_INSTALL, Linux 6.13: an entry in a page table, no mapping. */
static int install_guards(void *arg)
{
	char *p = mmap(NULL, 2 * (size_t)GUARD_PAGES * PAGE_BYTES,
		       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	(void)arg;
	if (p == MAP_FAILED)
		return errno;
	for (size_t i = 0; i < 2 * GUARD_PAGES; i += 2)
		if (madvise(p + i * PAGE_BYTES, PAGE_BYTES, MADV_GUARD))
			return errno;
	return 0;
}

int scn_guards(const struct bench_opts *o, struct bench_result *res)
{
	return scale(o, res, install_guards);
}

/* They wait in one process group that ends with the bench. */
static int start_others(pid_t *ret_first)
{
	pid_t self = getpid();

	*ret_first = 0;
	for (unsigned int i = 0; i < OTHERS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return errno;
		if (!pid) {
			tie_to_parent(self);
			for (;;)
				pause();
		}
		setpgid(pid, *ret_first);
		if (!*ret_first)
			*ret_first = pid;
	}
	return 0;
}

static void end_others(pid_t first)
{
	if (!first)
		return;
	kill(-first, SIGKILL);
	while (waitpid(-first, NULL, 0) > 0 || errno == EINTR)
		;
}

int scn_others(const struct bench_opts *o, struct bench_result *res)
{
	struct victim_spec spec = VICTIM_SPEC(SMALL_BYTES);
	struct bench_plan plan = { once, judge, &spec };
	pid_t first;
	int error = start_others(&first);

	if (error)
		bench_skip(res, "%d processes: %s", OTHERS, strerror(error));
	else
		interleave(o, res, &plan);
	end_others(first);
	return 0;
}
