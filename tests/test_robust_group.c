/* SPDX-License-Identifier: MIT */
/*
 * Robust locks of the members of a tree or cgroup: as in test_robust.c, with
 * holders that share their memory, cannot exit, or find no worker.
 */
#include <grp.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "groups.h"

/*
 * A holder and one that shares its memory: killed together, and neither waits for the other.
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
	for (i = 0; i < rounds(5); i++) {
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

/* The helper does not wait for the exit of a process that it holds in its exit stop. */
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
		child_failed(&rep);
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
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	setup.uid = 0;
	victim_start_with(&survivor, &setup, "robust-survivor", "32", NULL);
	expect_locks(&survivor, "32");
	assert_killed(&holder);
	victim_end(&survivor);
	victim_end(&holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_sharer_in_a_cgroup),
		harness_test(test_sharer_in_a_tree),
		harness_test(test_kill_sharer_in_a_cgroup),
		harness_test(test_kill_sharer_in_a_tree),
		harness_test(test_frozen_holder),
		harness_test(test_no_workers),
		harness_test(test_few_descriptors_no_pin),
	};

	return run_group(tests);
}
