/* SPDX-License-Identifier: MIT */
/* Cgroups that fork while they are killed, and members that are hard to kill. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

static void bomb_case(enum cgroup_kind kind, const char *name, const char *live)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;
	int64_t start;

	cgroup_make(&cg, kind);
	setup.procs[0] = cg.procs;
	victim_start_with(&v, &setup, name, live, NULL);
	start = now_ns();
	expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
	/* How fast is for the benchmarks to say, on a machine of their own. */
	printf("# %s: %lld ms\n", name,
	       (long long)(now_ns() - start) / 1000000);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 1);
	assert_int_equal(cgroup_members(&cg), 0);
	close(cg.fd);
}

static void test_fork_bomb_v2(void **state)
{
	(void)state;
	bomb_case(CGROUP_V2, "forkbomb", "64");
}

static void test_fork_bomb_v1(void **state)
{
	(void)state;
	bomb_case(CGROUP_FREEZER, "forkbomb", "64");
}

static void test_fork_bomb_v1_without_freezer(void **state)
{
	(void)state;
	bomb_case(CGROUP_MEMORY, "forkbomb", "64");
}

/* Forks and exits: what is listed is gone when the signal comes. */
static void rabbit_case(enum cgroup_kind kind)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	cgroup_make(&cg, kind);
	setup.procs[0] = cg.procs;
	victim_start_with(&v, &setup, "rabbit", "10000000", NULL);
	release_cgroup(&cg, 0, &rep);
	assert_int_equal(cgroup_members(&cg), 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED ||
				    rep.result == MRELEASE_EXITED);
	close(cg.fd);
}

static void test_rabbit_v2(void **state)
{
	(void)state;
	rabbit_case(CGROUP_V2);
}

static void test_rabbit_v1(void **state)
{
	(void)state;
	rabbit_case(CGROUP_FREEZER);
}

/* Members in every state that a single victim can be in. */
static void test_mixed_members(void **state)
{
	struct victim stopped, sharer, pinned, threads, leader;
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	struct cgroup cg;
	size_t i;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&stopped, "stopped", "8", NULL);
	victim_start(&sharer, "clone-vm", "8", NULL);
	victim_start(&pinned, "pinned", "8", NULL);
	victim_start(&threads, "threads", "20", "8", NULL);
	/*
	 * From within: a leader that is dead already stays behind when its
	 * process is moved, and cgroup.procs never shows its threads again.
	 */
	setup.procs[0] = cg.procs;
	victim_start_with(&leader, &setup, "zombie-leader", "8", NULL);
	cgroup_add(&cg, stopped.pid);
	cgroup_add(&cg, sharer.pid);
	/* Its sharer is a member, too, and dies like any other. */
	cgroup_add(&cg, sharer.helper);
	cgroup_add(&cg, pinned.pid);
	cgroup_add(&cg, threads.pid);
	expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
	close(cg.fd);
	for (i = 0; i < nr_members; i++)
		expect_report(&members[i], members[i].verified == 1);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 6 && rep.members_verified == 6);
	assert_memory_back(&stopped);
	assert_memory_back(&sharer);
	assert_memory_back(&pinned);
	assert_memory_back(&threads);
	assert_true(process_gone(sharer.helper));
}

/* A sharer outside: its memory stays, and the group is not verified. */
static void test_sharer_outside(void **state)
{
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&v, "clone-vm", "8", NULL);
	cgroup_add(&cg, v.pid);
	expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
	close(cg.fd);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.verified == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_SHARED);
	expect_report(&rep, rep.outstanding_bytes >= 8 * MIB);
	assert_true(victim_memory_intact(&v));
}

/*
 * No cgroup.kill (before 5.14): a read-only file mounted over it, in a mount
 * namespace of a child's own.
 */
static void test_without_cgroup_kill(void **state)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	char kill_file[PATH_MAX + 32];
	struct cgroup cg;
	struct victim v;
	pid_t child;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_V2);
	setup.procs[0] = cg.procs;
	victim_start_with(&v, &setup, "tree", "2", "5", "1", NULL);
	snprintf(kill_file, sizeof(kill_file), "%s/cgroup.kill", cg.path);
	child = test_fork();
	if (!child) {
		int fd, ret;

		if (unshare(CLONE_NEWNS) ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(kill_file, kill_file, NULL, MS_BIND, NULL) ||
		    mount(NULL, kill_file, NULL,
			  MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
			_exit(77);
		/* Opened before the mount, a directory does not show it. */
		fd = open(cg.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (openat(fd, "cgroup.kill", O_WRONLY) >= 0)
			_exit(78);
		close(cg.fd);
		cg.fd = fd;
		ret = release_cgroup(&cg, 0, &rep);
		if (ret || rep.result != MRELEASE_RELEASED || !rep.verified ||
		    rep.members_verified != 31) {
			child_failed(&rep);
		}
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
	assert_int_equal(cgroup_members(&cg), 0);
	assert_false(cgroup_frozen(&cg));
	close(cg.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_fork_bomb_v2),
		harness_test(test_fork_bomb_v1),
		harness_test(test_fork_bomb_v1_without_freezer),
		harness_test(test_rabbit_v2),
		harness_test(test_rabbit_v1),
		harness_test(test_mixed_members),
		harness_test(test_sharer_outside),
		harness_test(test_without_cgroup_kill),
	};

	return run_group(tests);
}
