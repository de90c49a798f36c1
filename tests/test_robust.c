/* SPDX-License-Identifier: MIT */
/*
 * Robust locks: whoever comes after a killed holder is told EOWNERDEAD, as
 * after kill -9, and never waits for a dead owner.
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "groups.h"

struct robust_case {
	const char *holder;
	const char *mib;
	const char *locks;
	uint32_t flags;
	bool compat;
	/* Start the survivor before the kill: it sleeps in the futex. */
	bool waiting;
};

static void expect_locks(struct victim *survivor, const char *locks)
{
	char line[64], want[64];

	snprintf(want, sizeof(want), "locked %s 0 0", locks);
	victim_reply(survivor, line, sizeof(line));
	assert_string_equal(line, want);
}

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

static void run_rounds(const struct robust_case *c, unsigned int rounds)
{
	while (rounds--)
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
 * The same two as members: killed together, and neither waits for the other.
 * Nobody holds on to the one that holds the lock but its own release.
 */
static void members_case(bool tree, uint32_t flags)
{
	struct victim_setup setup = { 0 };
	struct victim holder, survivor;
	struct mrelease_report rep;
	cpu_set_t all, one;
	struct victim busy;
	struct cgroup cg;
	int i, ret;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	victim_start(&busy, "spinning", "1", NULL);
	/* On an idle machine a SCHED_IDLE holder would wait for seconds. */
	setpriority(PRIO_PROCESS, busy.pid, 10);
	for (i = 0; i < 5; i++) {
		/* The victims', not the workers'. */
		sched_setaffinity(0, sizeof(one), &one);
		if (!tree) {
			cgroup_make(&cg, CGROUP_V2);
			setup.procs[0] = cg.procs;
		}
		setup.shm_fd = make_shm();
		victim_start_with(&holder, &setup, "robust-sharer", "16", NULL);
		sched_setaffinity(0, sizeof(all), &all);
		ret = tree ? release_tree(&holder, flags, &rep) :
			     release_cgroup(&cg, flags, &rep);
		expect_report(&rep, ret == 0);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.members == 2);
		expect_report(&rep, rep.notes & MRELEASE_NOTE_ROBUST);
		setup.procs[0] = NULL;
		victim_start_with(&survivor, &setup, "robust-pending-survivor",
				  NULL);
		expect_locks(&survivor, "1");
		assert_memory_back(&holder);
		assert_killed(&holder);
		victim_end(&survivor);
		victim_end(&holder);
		if (!tree)
			close(cg.fd);
	}
}

static void test_sharer_in_a_cgroup(void **state)
{
	(void)state;
	members_case(false, 0);
}

/* Nobody waits for the exit of one that he himself holds in its exit stop. */
static void test_kill_sharer_in_a_cgroup(void **state)
{
	(void)state;
	members_case(false, MRELEASE_KILL_SHARERS);
}

static void test_kill_sharer_in_a_tree(void **state)
{
	(void)state;
	members_case(true, MRELEASE_KILL_SHARERS);
}

static void test_sharer_in_a_tree(void **state)
{
	(void)state;
	members_case(true, 0);
}

/*
 * A holder that cannot exit, and nobody but one worker: the memory of the
 * others does not wait for it.
 */
static void test_frozen_holder(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct cgroup cg, freezer;
	struct victim v[5], survivor;
	struct victim_setup setup = { 0 };
	size_t i;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	cgroup_make(&freezer, CGROUP_FREEZER);
	setup.shm_fd = make_shm();
	setup.procs[0] = cg.procs;
	victim_start_with(&v[0], &setup, "robust", "32", NULL);
	for (i = 1; i < ARRAY_LEN(v); i++)
		victim_start_with(&v[i], &setup, "anon", "4", NULL);
	cgroup_add(&freezer, v[0].pid);
	cgroup_freeze(&freezer);
	opts.deadline_ns = in_seconds(4);
	opts.workers = 1;
	for (i = 0; i < ARRAY_LEN(v); i++)
		members[i].size = sizeof(members[i]);
	nr_members = ARRAY_LEN(v);
	expect_report(&rep, mrelease_cgroup(cg.fd, &opts, &rep, members,
					    &nr_members) == 0);
	close(cg.fd);
	close(freezer.fd);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.members == 5 && rep.members_verified == 4);
	assert_int_equal(nr_members, 5);
	assert_int_equal(members[0].pid, v[0].pid);
	for (i = 1; i < ARRAY_LEN(v); i++) {
		expect_report(&members[i], members[i].verified);
		expect_report(&members[i], members[i].release_ns < SEC_NS);
		assert_killed(&v[i]);
	}
	/* And its lock is its own until it is let go. */
	setup.procs[0] = NULL;
	victim_start_with(&survivor, &setup, "robust-survivor", "1", NULL);
	cgroup_thaw(&freezer);
	expect_locks(&survivor, "1");
	assert_killed(&v[0]);
}

/* No worker can be started: then who holds the threads is who would wait. */
static void test_no_workers(void **state)
{
	struct victim_setup setup = { .uid = 200000 + (uid_t)getpid() };
	/* The victim, the caller, its helper. */
	const struct rlimit lim = { 3, 3 };
	struct victim holder, survivor;
	struct mrelease_report rep;
	int64_t start = now_ns();
	pid_t child;

	(void)state;
	need_root();
	setup.shm_fd = make_shm();
	victim_start_with(&holder, &setup, "robust", "16", NULL);
	child = test_fork();
	if (!child) {
		if (setrlimit(RLIMIT_NPROC, &lim) || setgroups(0, NULL) ||
		    setgid(setup.uid) || setuid(setup.uid))
			_exit(1);
		if (release_tree(&holder, 0, &rep) == 0 && rep.verified == 1 &&
		    rep.result == MRELEASE_RELEASED)
			_exit(0);
		show_report(&rep);
		_exit(2);
	}
	assert_int_equal(test_wait(child), 0);
	assert_true(now_ns() - start < PATIENCE_S / 2 * SEC_NS);
	setup.uid = 0;
	victim_start_with(&survivor, &setup, "robust-survivor", "1", NULL);
	expect_locks(&survivor, "1");
	assert_killed(&holder);
	victim_end(&survivor);
	victim_end(&holder);
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
	expect_report(&rep, rep.before.anon_bytes >= 16 * MIB);
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
	for (i = 0; i < 5; i++)
		exec_case(0);
}

static void test_exec_after_prepare_no_pin(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 5; i++)
		exec_case(MRELEASE_NO_PIN);
}

/*
 * With few descriptors a process of a tree has its files closed while its
 * children are listed, and opened again after the kill: by then its main thread
 * may have left the address space, when those that hold locks have not.
 */
static void test_few_descriptors_no_pin(void **state)
{
	struct victim_setup setup = { .uid = is_root() ? 65534 : 0 };
	const struct rlimit lim = { 270, 270 };
	struct mrelease_report rep;
	struct victim holder, survivor, busy;
	cpu_set_t all, one;
	pid_t child;
	int i;

	(void)state;
	/* SIGSTOP holds the tree. */
	stops_expected = true;
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (i = 0; i < 3; i++)
		victim_start(&busy, "spinning", "1", NULL);
	setup.shm_fd = make_shm();
	victim_start_with(&holder, &setup, "robust-slow", "4", "8", "50", NULL);
	sched_setaffinity(0, sizeof(all), &all);
	child = test_fork();
	if (!child) {
		if (setrlimit(RLIMIT_NOFILE, &lim) ||
		    (setup.uid && (setgroups(0, NULL) || setgid(setup.uid) ||
				   setuid(setup.uid))))
			_exit(1);
		if (release_tree(&holder, MRELEASE_NO_PIN, &rep) == 0 &&
		    rep.members == 51)
			_exit(0);
		show_report(&rep);
		_exit(2);
	}
	assert_int_equal(test_wait(child), 0);
	setup.uid = 0;
	victim_start_with(&survivor, &setup, "robust-survivor", "32", NULL);
	expect_locks(&survivor, "32");
	assert_killed(&holder);
	victim_end(&survivor);
	victim_end(&holder);
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
		harness_test(test_sharer_in_a_cgroup),
		harness_test(test_sharer_in_a_tree),
		harness_test(test_kill_sharer_in_a_cgroup),
		harness_test(test_kill_sharer_in_a_tree),
		harness_test(test_frozen_holder),
		harness_test(test_no_workers),
		harness_test(test_exec_after_prepare),
		harness_test(test_exec_after_prepare_no_pin),
		harness_test(test_few_descriptors_no_pin),
		harness_test(test_waiting_survivor),
		harness_test(test_no_pin),
		harness_test(test_no_pin_many_threads),
		harness_test(test_32bit),
		harness_test(test_32bit_plain),
	};

	return run_group(tests);
}
