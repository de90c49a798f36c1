/* SPDX-License-Identifier: MIT */
/*
 * Groups with a member for which every question hangs, and callers who cannot
 * start a helper.  The kill comes all the same, and to every member.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

static struct {
	volatile pid_t thread;
	volatile pid_t debugger;
	volatile int traced;
} * shared;

static void *sleep_on(void *arg)
{
	shared->thread = syscall(SYS_gettid);
	for (;;)
		pause();
	return arg;
}

/* A debugger that holds the thread in its exit for a moment too long. */
static void debugger(void)
{
	if (ptrace(PTRACE_SEIZE, shared->thread, NULL, NULL))
		_exit(1);
	shared->debugger = getpid();
	shared->traced = 1;
	for (;;)
		pause();
}

static bool is_traced(void *arg)
{
	(void)arg;
	return shared->traced;
}

/*
 * A process whose execve() waits for its second thread, which its debugger does
 * not reap: a task that attaches to it, or asks for its memory, waits behind that.
 */
static pid_t start_stuck(void)
{
	pthread_t thread;
	pid_t pid;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	pid = test_fork();
	if (!pid) {
		if (pthread_create(&thread, NULL, sleep_on, NULL))
			_exit(1);
		while (!shared->thread)
			sched_yield();
		if (!fork())
			debugger();
		while (!shared->traced)
			sched_yield();
		execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(1);
	}
	wait_until(is_traced, NULL, "the thread is traced");
	wait_for_state(pid, "D");
	return pid;
}

/* Its main thread is: the debugger holds the other one at its exit. */
static bool dead_or_dying(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	return strchr("ZX", process_state(pid)) || process_killed(pid);
}

static bool gone(void *arg)
{
	return process_gone(*(pid_t *)arg);
}

static void end_debugger(void)
{
	pid_t pid = shared->debugger;

	kill(pid, SIGKILL);
	wait_until(gone, &pid, "the debugger is dead");
	munmap(shared, sizeof(*shared));
}

static void stuck_in_a_cgroup(enum cgroup_kind kind)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim healthy;
	struct cgroup cg;
	int64_t start;
	pid_t stuck;
	int ret;

	need_root();
	cgroup_make(&cg, kind);
	victim_start(&healthy, "anon", "8", NULL);
	stuck = start_stuck();
	cgroup_add(&cg, healthy.pid);
	cgroup_add(&cg, stuck);
	start = now_ns();
	/* Its debugger keeps it from its exit for as long as it may. */
	opts.deadline_ns = start + 2 * SEC_NS;
	ret = mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
	/* Left alone in time for the other; or killed before, on a busy machine. */
	expect_report(&rep, rep.members_verified == 1 ||
				    rep.notes & MRELEASE_NOTE_NOT_READY);
	/* The helper, or the next, left it alone and came to its end. */
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_HANDLES));
	assert_true(now_ns() - start < 10 * SEC_NS);
	wait_until(dead_or_dying, &stuck, "the stuck member is dead");
	assert_killed(&healthy);
	end_debugger();
	close(cg.fd);
}

static void test_exec_in_a_cgroup(void **state)
{
	(void)state;
	stuck_in_a_cgroup(CGROUP_V2);
}

/* No cgroup.kill: a second helper leaves it alone but for the signal. */
static void test_exec_in_a_v1_cgroup(void **state)
{
	(void)state;
	stuck_in_a_cgroup(CGROUP_MEMORY);
}

static void test_exec_in_a_tree(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	int64_t start;
	pid_t stuck;
	int fd;

	(void)state;
	need_root();
	/* Its members are not traced, but stopped. */
	stops_expected = true;
	stuck = start_stuck();
	fd = mrelease_open(stuck, 0);
	assert_true(fd >= 0);
	start = now_ns();
	assert_int_equal(mrelease_tree(fd, &opts, &rep, NULL, NULL), 0);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
	expect_report(&rep, rep.pid == stuck);
	/* By a helper that left it alone, and came to its end. */
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_HANDLES));
	assert_true(now_ns() - start < 10 * SEC_NS);
	wait_until(dead_or_dying, &stuck, "the stuck root is dead");
	end_debugger();
	close(fd);
}

/*
 * Members whose robust lists are in pages of a file whose server answers no read:
 * a task that reads one sleeps, and no signal wakes it.  That may be a worker, but
 * not the tracer: nobody stays in its exit stop, and the others come back.
 */
static void lists_in_a_group(enum cgroup_kind kind, const char *healthy_mib)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim bad[4], healthy[2];
	struct cgroup cg;

	need_root();
	cgroup_make(&cg, kind);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		victim_start(&bad[i], "fuse-list", "1", NULL);
		cgroup_add(&cg, bad[i].pid);
	}
	fill_cgroup(&cg, healthy, ARRAY_LEN(healthy), healthy_mib);
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep,
		      mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
	expect_report(&rep, rep.members == 6);
	expect_report(&rep, !rep.verified);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(process_tracer(bad[i].pid) <= 0);
	for (unsigned int i = 0; i < ARRAY_LEN(healthy); i++)
		assert_killed(&healthy[i]);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		char line[64];

		victim_command(&bad[i], 'a');
		victim_reply(&bad[i], line, sizeof(line));
		wait_until(gone, &bad[i].pid, "its exit");
		victim_end(&bad[i]);
	}
	close(cg.fd);
}

static void test_lists_in_a_cgroup(void **state)
{
	(void)state;
	lists_in_a_group(CGROUP_V2, "8");
}

static void test_lists_in_a_v1_cgroup(void **state)
{
	(void)state;
	lists_in_a_group(CGROUP_MEMORY, "8");
}

static void unseen(void (*lack)(void), bool tree, enum cgroup_kind kind)
{
	struct victim_setup setup = { 0 };
	struct cgroup cg;
	struct victim v;
	pid_t child;

	if (!tree) {
		cgroup_make(&cg, kind);
		setup.procs[0] = cg.procs;
	}
	victim_start_with(&v, &setup, "tree", "2", "3", "1", NULL);
	stops_expected = true;
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		struct mrelease_report rep = { .size = sizeof(rep) };
		int ret;

		lack();
		ret = tree ? mrelease_tree(v.fd, &opts, &rep, NULL, NULL) :
			     mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
		if (ret == 0 && rep.result == MRELEASE_EXITED &&
		    rep.members == 13 && !rep.verified &&
		    rep.notes & MRELEASE_NOTE_HANDLES)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	assert_killed(&v);
	if (!tree) {
		assert_int_equal(cgroup_members(&cg), 0);
		close(cg.fd);
	}
}

static void test_no_process_cgroup(void **state)
{
	(void)state;
	unseen(lack_process, false, CGROUP_V2);
}

/* Nor cgroup.kill: signals, in rounds. */
static void test_no_process_rounds(void **state)
{
	(void)state;
	unseen(lack_process, false, CGROUP_MEMORY);
}

static void test_no_process_tree(void **state)
{
	(void)state;
	unseen(lack_process, true, CGROUP_V2);
}

static void test_no_memory_cgroup(void **state)
{
	(void)state;
	unseen(lack_memory, false, CGROUP_V2);
}

static void test_no_memory_tree(void **state)
{
	(void)state;
	unseen(lack_memory, true, CGROUP_V2);
}

/* The domain lists the processes of the threaded cgroups below it. */
static void test_threaded_below(void **state)
{
	struct mrelease_report rep;
	char path[PATH_MAX + 64];
	struct cgroup cg;
	struct victim v;
	bool made;
	int fd;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	snprintf(path, sizeof(path), "%s/vcpu", cg.path);
	assert_int_equal(mkdir(path, 0755), 0);
	strncat(path, "/cgroup.type", sizeof(path) - strlen(path) - 1);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	made = fd >= 0 && write(fd, "threaded", 8) == 8;
	close(fd);
	if (made) {
		fill_cgroup(&cg, &v, 1, "8");
		expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
		expect_all_released(&rep, 1, 8 * MIB);
	}
	*strrchr(path, '/') = '\0';
	rmdir(path);
	close(cg.fd);
	if (!made)
		skip_test("cgroup", "no threaded cgroup can be made");
}

/* Members that have no number here: killed, and nothing is verified. */
static void test_foreign_members(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct cgroup cg;
	struct victim v;
	pid_t child;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, &v, 1, "8");
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		pid_t inner;

		if (unshare(CLONE_NEWPID | CLONE_NEWNS) ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
			_exit(77);
		inner = fork();
		if (inner)
			_exit(inner < 0 ? 77 : test_wait(inner));
		if (mount("proc", "/proc", "proc", 0, NULL))
			_exit(77);
		if (mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0 &&
		    rep.result == MRELEASE_UNCONFIRMED && !rep.verified &&
		    rep.members == 1 && rep.members_verified == 0 &&
		    rep.notes & MRELEASE_NOTE_FOREIGN_PIDNS)
			_exit(0);
		child_failed(&rep);
	}
	switch (test_wait(child)) {
	case 0:
		break;
	case 77:
		skip_test("pidns", "no PID namespace");
	default:
		fail_msg("the foreign member counts as back");
	}
	assert_killed(&v);
	close(cg.fd);
}

static void test_zombie_root(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "zombie", NULL);
	expect_report(&rep, release_tree(&v, 0, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED ||
				    rep.result == MRELEASE_EXITED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_ZOMBIE);
	expect_report(&rep, rep.verified == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_exec_in_a_cgroup),
		harness_test(test_exec_in_a_v1_cgroup),
		harness_test(test_exec_in_a_tree),
		harness_test(test_lists_in_a_cgroup),
		harness_test(test_lists_in_a_v1_cgroup),
		harness_test(test_no_process_cgroup),
		harness_test(test_no_process_rounds),
		harness_test(test_no_process_tree),
		harness_test(test_no_memory_cgroup),
		harness_test(test_no_memory_tree),
		harness_test(test_threaded_below),
		harness_test(test_foreign_members),
		harness_test(test_zombie_root),
	};

	return run_group(tests);
}
