/* SPDX-License-Identifier: MIT */
/*
 * A machine with 10,000 processes, as a directory that looks like /proc: what
 * a decision costs there, and that the calm costs nothing.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy.h"
#include "rules.h"
#include "table.h"
#include "text.h"

#define MANY 10000
/* More than any that there is: our own is protected. */
#define FIRST_PID 5000000
#define MIB	  ((uint64_t)1 << 20)
/* Where each access to memory is checked, times say nothing. */
#ifdef __SANITIZE_ADDRESS__
#define LIMIT_NS NS_PER_S
#else
#define LIMIT_NS (5 * NS_PER_MS)
#endif

static char root[] = "/dev/shm/mreleased-many-XXXXXX";
static struct table table;
static struct rules rules;
static struct policy_scratch scratch;

static void put(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* A tenth of a MiB each; the parent of all is the first. */
static void put_process(int procfd, int pid, uint64_t kib)
{
	char name[16], text[512];
	int fd;

	snprintf(name, sizeof(name), "%d", pid);
	assert_int_equal(mkdirat(procfd, name, 0700), 0);
	fd = openat(procfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	snprintf(text, sizeof(text),
		 "%d (worker) S %d %d %d 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 "
		 "%d 1000000 %lu 18446744073709551615 1 1 1 0 0 0 0 0 0 0 0 0 "
		 "17 0 0 0 0 0 0\n",
		 pid, pid == FIRST_PID ? 1 : FIRST_PID, FIRST_PID, FIRST_PID,
		 pid, (unsigned long)(kib / 4 + 64));
	put(fd, "stat", text);
	snprintf(text, sizeof(text),
		 "Name:\tworker\nUid:\t1000\t1000\t1000\t1000\n"
		 "VmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t     256 kB\n"
		 "RssShmem:\t       0 kB\nVmSwap:\t       0 kB\nThreads:\t1\n"
		 "SigPnd:\t0000000000000000\nSigCgt:\t0000000000000000\n",
		 (unsigned long)kib + 256, (unsigned long)kib);
	put(fd, "status", text);
	put(fd, "oom_score_adj", "0\n");
	put(fd, "cgroup", "0::/user.slice/job.scope\n");
	close(fd);
}

static int make_proc(void **state)
{
	char path[64];
	int fd;

	(void)state;
	if (access("/dev/shm", W_OK))
		memcpy(root, "/tmp////", 8);
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/proc", root);
	assert_int_equal(mkdir(path, 0700), 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int i = 0; i < MANY; i++)
		put_process(fd, FIRST_PID + i, 100 + (uint64_t)i % 50);
	close(fd);
	assert_int_equal(table_open(&table, root, -1, NULL, &rules), 0);
	return 0;
}

static int remove_proc(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static struct snapshot history[2];
static struct policy_config config;
static struct release_view releases[MAX_RELEASES];

static struct decision decide(int64_t *took_ns)
{
	struct policy_view view = {
		.history = history,
		.nr_history = 2,
		.releases = releases,
		.nr_releases = MAX_RELEASES,
		.config = &config,
	};
	struct decision d;
	int64_t best = INT64_MAX;

	table_view(&table, &history[1], &view);
	/* The growth was measured in no time at all. */
	view.growth_ns = NS_PER_S;
	for (int i = 0; i < 7; i++) {
		int64_t begin = cpu_ns(), took;

		policy_decide(&view, &scratch, &d);
		took = cpu_ns() - begin;
		if (took < best)
			best = took;
	}
	*took_ns = best;
	return d;
}

static void test_decision(void **state)
{
	int64_t began, took;
	struct decision d;

	(void)state;
	policy_defaults(&config);
	for (int i = 0; i < 2; i++)
		history[i] = (struct snapshot){
			.time_ns = clock_ns() + (i - 1) * NS_PER_S,
			.total_bytes = 4000 * MIB,
			.available_bytes = i ? 100 * MIB : 600 * MIB,
		};
	for (int i = 0; i < 2; i++) {
		began = cpu_ns();
		assert_int_equal(table_sweep(&table, &history[1]), 0);
		took = cpu_ns() - began;
		assert_int_equal(table.nr, MANY);
		print_message("# %d processes: sweep %ld us of CPU\n", MANY,
			      (long)(took / 1000));
	}
	/* Only the job as a whole is worth it. */
	for (size_t i = 0; i < table.nr; i++)
		table.c[i].growth_bytes = table.c[i].anon_bytes / 2;
	d = decide(&took);
	print_message("# %d processes: decision %ld us of CPU\n", MANY,
		      (long)(took / 1000));
	assert_int_equal(d.action, ACTION_KILL);
	assert_true(d.tree);
	assert_int_equal(d.members, MANY);
	assert_int_equal(table.c[d.victim].pid, FIRST_PID);
	assert_true(took < LIMIT_NS);
	/* One that alone explains it. */
	table.c[MANY / 2].anon_bytes = table.c[MANY / 2].growth_bytes =
		2000 * MIB;
	d = decide(&took);
	print_message("# %d processes, one is big: decision %ld us of CPU\n",
		      MANY, (long)(took / 1000));
	assert_int_equal(d.action, ACTION_KILL);
	assert_int_equal(table.c[d.victim].pid, FIRST_PID + MANY / 2);
	assert_true(took < LIMIT_NS);
	/* While all is well nobody is looked at: not even one of them. */
	history[0].available_bytes = history[1].available_bytes = 3000 * MIB;
	d = decide(&took);
	print_message("# calm: %ld ns of CPU\n", (long)took);
	assert_int_equal(d.action, ACTION_NONE);
	assert_int_equal(d.level, LEVEL_CALM);
	assert_true(took < LIMIT_NS / 100);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decision),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, make_proc, remove_proc) ? 1 : 0;
}
