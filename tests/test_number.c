/* SPDX-License-Identifier: MIT */
/* A number that means somebody else by now: a stranger, or a new member. */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* clone3() with set_tid: CAP_CHECKPOINT_RESTORE where the number counts. */
static void need_numbers(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t number = getpid();

	args.set_tid = (uint64_t)(uintptr_t)&number;
	args.set_tid_size = 1;
	if (syscall(SYS_clone3, &args, sizeof(args)) < 0 && errno != EEXIST)
		skip_test("set_tid", "numbers cannot be chosen here");
}

/*
 * In a child of the test: as soon as @pid is free a stranger has it, until
 * the test ends.  1: something attached to it.
 */
static pid_t take_number(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	int64_t until;
	pid_t child, got;
	int ret;

	child = test_fork();
	if (child)
		return child;
	args.set_tid = (uint64_t)(uintptr_t)&pid;
	args.set_tid_size = 1;
	until = in_seconds(5);
	do {
		sched_yield();
		got = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	} while (got < 0 && errno == EEXIST && now_ns() < until);
	if (!got)
		for (;;)
			pause();
	if (got < 0)
		_exit(2);
	until = in_seconds(2);
	do {
		sched_yield();
		ret = process_tracer(got) != 0;
	} while (!ret && now_ns() < until);
	kill(got, SIGKILL);
	waitpid(got, NULL, 0);
	_exit(ret);
}

static void expect_stranger_untouched(const char *group)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct victim_setup setup = { 0 };
	struct cgroup cg;
	struct victim v;
	pid_t taker;

	need_numbers();
	if (!strcmp(group, "cgroup")) {
		cgroup_make(&cg, CGROUP_V2);
		setup.procs[0] = cg.procs;
	}
	victim_start_with(&v, &setup, "mortal_child", NULL);
	taker = take_number(v.helper);
	opts.soft_signal = SIGTERM;
	opts.grace_ns = SEC_NS / 2;
	if (setup.procs[0]) {
		expect_report(&rep, mrelease_cgroup(cg.fd, &opts, &rep, NULL,
						    NULL) == 0);
		close(cg.fd);
	} else {
		expect_report(&rep, mrelease_tree(v.fd, &opts, &rep, NULL,
						  NULL) == 0);
	}
	assert_int_equal(test_wait(taker), 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	assert_killed(&v);
}

static void test_tree_seizes_no_stranger(void **state)
{
	(void)state;
	expect_stranger_untouched("tree");
}

static void test_cgroup_seizes_no_stranger(void **state)
{
	(void)state;
	expect_stranger_untouched("cgroup");
}

/* Met under that number, dead, and born again: a member all the same. */
static void test_new_member_with_an_old_number(void **state)
{
	struct mrelease_report rep;
	struct mrelease_opts opts = opts_with(MRELEASE_NO_PIN);
	pid_t children[256];
	struct victim v;
	unsigned int n;
	int i;

	(void)state;
	need_numbers();
	stops_expected = true;
	for (i = 0; i < 20; i++) {
		victim_start(&v, "renumber", "200", NULL);
		rep.size = sizeof(rep);
		expect_report(&rep, mrelease_tree(v.fd, &opts, &rep, NULL,
						  NULL) == 0);
		assert_killed(&v);
		/* Orphans come to us, their subreaper. */
		for (n = process_children(getpid(), children, 256); n-- > 0;) {
			if (process_exists(children[n]))
				fail_msg("run %d: %d got away", i, children[n]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_tree_seizes_no_stranger),
		harness_test(test_cgroup_seizes_no_stranger),
		harness_test(test_new_member_with_an_old_number),
	};

	return run_group(tests);
}
