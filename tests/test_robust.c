/* SPDX-License-Identifier: MIT */
/*
 * Robust locks of one process: the next to lock after a killed holder is told
 * EOWNERDEAD, as after kill -9, and never waits for a dead owner.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

struct robust_case {
	const char *holder;
	const char *mib;
	const char *locks;
	uint32_t flags;
	bool compat;
	/* Start the survivor before the kill: it sleeps in the futex. */
	bool waiting;
};

static void start_survivor(struct victim *v, struct victim_setup *setup,
			   const struct robust_case *c)
{
	if (strcmp(c->holder, "robust-pending") &&
	    strcmp(c->holder, "robust-sharer"))
		victim_start_with(v, setup, "robust-survivor", c->locks, NULL);
	else
		victim_start_with(v, setup, "robust-pending-survivor", NULL);
	/* After "ready" it does nothing that sleeps but the futex. */
	if (c->waiting)
		wait_for_state(v->pid, "S");
}

static void run_case(const struct robust_case *c)
{
	struct mrelease_opts opts = opts_with(c->flags);
	struct victim_setup setup = { 0 };
	struct victim holder, survivor;
	struct mrelease_report rep;
	char program[PATH_MAX];
	uint32_t note = c->compat ? MRELEASE_NOTE_COMPAT : MRELEASE_NOTE_ROBUST;

	if (c->compat) {
		snprintf(program, sizeof(program), "%s", victim32_program());
		setup.program = program;
	}
	setup.shm_fd = make_shm();
	victim_start_with(&holder, &setup, c->holder, c->mib, c->locks, NULL);
	if (c->waiting)
		start_survivor(&survivor, &setup, c);
	expect_report(&rep, release(&holder, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	/* Unpinned, it can have exited before its lists were looked at. */
	expect_report(&rep, rep.notes & note || c->flags & MRELEASE_NO_PIN ||
				    c->flags & MRELEASE_KILL_SHARERS ||
				    kernel_keeps_robust());
	if (!c->waiting)
		start_survivor(&survivor, &setup, c);
	expect_locks(&survivor, c->locks);
	assert_memory_back(&holder);
	assert_killed(&holder);
	victim_end(&survivor);
	victim_end(&holder);
}

static void run_rounds(const struct robust_case *c, int most)
{
	for (int n = rounds(most); n > 0; n--)
		run_case(c);
}

static void test_main_thread(void **state)
{
	static const struct robust_case c = { "robust", "1",   "1",
					      0,	false, false };

	(void)state;
	run_rounds(&c, 20);
}

static void test_main_thread_big(void **state)
{
	static const struct robust_case c = { "robust", "256", "1",
					      0,	false, false };

	(void)state;
	run_rounds(&c, 3);
}

static void test_many_locks(void **state)
{
	static const struct robust_case c = { "robust", "16",  "64",
					      0,	false, false };

	(void)state;
	run_rounds(&c, 5);
}

static void test_other_thread(void **state)
{
	static const struct robust_case c = { "robust-thread", "1",  "1", 0,
					      false,	       false };

	(void)state;
	run_rounds(&c, 20);
}

static void test_many_threads(void **state)
{
	static const struct robust_case c = { "robust-thread", "64", "64", 0,
					      false,	       false };

	(void)state;
	run_rounds(&c, 10);
}

static void test_pending(void **state)
{
	static const struct robust_case c = {
		"robust-pending", "1", "1", 0, false, false
	};

	(void)state;
	run_rounds(&c, 20);
}

/*
 * Not the victim's lock, but that of somebody killed with it, who comes last
 * to the only CPU.
 */
static void test_sharer(void **state)
{
	static const struct robust_case c = {
		"robust-sharer", "16", "1", MRELEASE_KILL_SHARERS, false, false
	};
	cpu_set_t all, one;
	struct victim busy;

	(void)state;
	need_kcmp();
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	victim_start(&busy, "spinning", "1", NULL);
	/* On an idle machine a SCHED_IDLE holder would wait for seconds. */
	setpriority(PRIO_PROCESS, busy.pid, 10);
	run_rounds(&c, 3);
	sched_setaffinity(0, sizeof(all), &all);
}

/*
 * Prepared, then it becomes another program: the lists are in an address space
 * that was not there when the handles were opened.
 */
static void exec_case(uint32_t flags)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	struct victim_setup setup = { 0 };
	struct victim holder, survivor;
	char line[128];

	setup.shm_fd = make_shm();
	victim_start_with(&holder, &setup, "robust-exec", "16", "8", NULL);
	assert_int_equal(mrelease_prepare(holder.fd, &opts, NULL, &target), 0);
	victim_command(&holder, 'x');
	victim_reply(&holder, line, sizeof(line));
	assert_ptr_equal(strstr(line, "ready "), line);
	assert_int_equal(mrelease_release(target, in_seconds(PATIENCE_S), &rep),
			 0);
	mrelease_target_free(target);
	expect_released(&holder, &rep, -1);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 16 * MIB);
	/* Nobody looks at the lists where the kernel keeps them. */
	expect_report(&rep, rep.notes & MRELEASE_NOTE_ROBUST ||
				    flags & MRELEASE_NO_PIN ||
				    kernel_keeps_robust());
	victim_start_with(&survivor, &setup, "robust-survivor", "8", NULL);
	expect_locks(&survivor, "8");
	assert_killed(&holder);
	victim_end(&survivor);
	victim_end(&holder);
}

static void test_exec_after_prepare(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++)
		exec_case(0);
}

static void test_exec_after_prepare_no_pin(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++)
		exec_case(MRELEASE_NO_PIN);
}

static void test_waiting_survivor(void **state)
{
	static const struct robust_case c = { "robust", "16",  "1",
					      0,	false, true };
	static const struct robust_case thread = {
		"robust-thread", "16", "1", 0, false, true
	};
	static const struct robust_case pending = {
		"robust-pending", "16", "1", 0, false, true
	};

	(void)state;
	run_rounds(&c, 5);
	run_rounds(&thread, 5);
	run_rounds(&pending, 5);
}

static void test_no_pin(void **state)
{
	static const struct robust_case c = { "robust",	       "16",  "1",
					      MRELEASE_NO_PIN, false, false };
	static const struct robust_case thread = {
		"robust-thread", "16", "8", MRELEASE_NO_PIN, false, false
	};

	(void)state;
	run_rounds(&c, 10);
	run_rounds(&thread, 10);
}

/*
 * Threads that die while they are listed: proc_task_readdir() then ends early,
 * and says nothing.  It takes many threads and many rounds to meet it.
 */
static void test_no_pin_many_threads(void **state)
{
	static const struct robust_case c = { "robust-thread", "16",  "64",
					      MRELEASE_NO_PIN, false, false };

	(void)state;
	run_rounds(&c, 50);
}

static void test_32bit(void **state)
{
	static const struct robust_case c = {
		"robust", "1", "8", 0, true, false
	};
	static const struct robust_case thread = {
		"robust-thread", "16", "8", 0, true, false
	};
	static const struct robust_case pending = {
		"robust-pending", "1", "1", 0, true, false
	};

	(void)state;
	run_rounds(&c, 10);
	run_rounds(&thread, 10);
	run_rounds(&pending, 10);
}

/* And one without any lock: it comes back just as well. */
static void test_32bit_plain(void **state)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	char program[PATH_MAX];
	struct victim v;

	(void)state;
	snprintf(program, sizeof(program), "%s", victim32_program());
	setup.program = program;
	victim_start_with(&v, &setup, "anon", "64", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
	victim_start_with(&v, &setup, "threads", "50", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_main_thread),
		harness_test(test_main_thread_big),
		harness_test(test_many_locks),
		harness_test(test_other_thread),
		harness_test(test_many_threads),
		harness_test(test_pending),
		harness_test(test_sharer),
		harness_test(test_exec_after_prepare),
		harness_test(test_exec_after_prepare_no_pin),
		harness_test(test_waiting_survivor),
		harness_test(test_no_pin),
		harness_test(test_no_pin_many_threads),
		harness_test(test_32bit),
		harness_test(test_32bit_plain),
	};

	return run_group(tests);
}
