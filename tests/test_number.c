/* SPDX-License-Identifier: MIT */
/* A number that means somebody else by now: a stranger, or a new member. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "notify.h"

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
	for (i = 0; i < rounds(20); i++) {
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

/* A stranger with the number of @pid, a child of ours that we have reaped. */
static pid_t stranger_with(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	int64_t until = in_seconds(PATIENCE_S);
	pid_t got;

	args.set_tid = (uint64_t)(uintptr_t)&pid;
	args.set_tid_size = 1;
	/* Gone from /proc it keeps its number for a moment. */
	do {
		sched_yield();
		got = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	} while (got < 0 && errno == EEXIST && now_ns() < until);
	if (!got)
		for (;;)
			pause();
	assert_int_equal(got, pid);
	return got;
}

static void end_stranger(pid_t pid)
{
	assert_true(process_exists(pid));
	assert_false(process_killed(pid));
	assert_int_equal(process_tracer(pid), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/*
 * Prepared, dead, reaped, and the number is a stranger's.  Without pidfds this
 * is where a number is signalled; see "without" in meson.build.
 */
static void test_number_of_a_dead_one(void **state)
{
	static const int soft[] = { 0, SIGTERM };
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	struct victim v;
	pid_t stranger;

	(void)state;
	need_numbers();
	for (size_t i = 0; i < ARRAY_LEN(soft); i++) {
		struct mrelease_opts opts = opts_with(0);

		opts.soft_signal = soft[i];
		opts.grace_ns = SEC_NS / 10;
		victim_start(&v, "anon", "1", NULL);
		assert_int_equal(mrelease_prepare(v.fd, &opts, NULL, &target),
				 0);
		kill(v.pid, SIGKILL);
		assert_killed(&v);
		stranger = stranger_with(v.pid);
		assert_int_equal(mrelease_release(target, in_seconds(20), &rep),
				 -ESRCH);
		expect_report(&rep, rep.result == MRELEASE_GONE);
		end_stranger(stranger);
		mrelease_target_free(target);
	}
}

static void *until_told(void *arg)
{
	const int *ends = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	char c;

	/* To each what it is to read. */
	if (write(ends[3], &tid, sizeof(tid)) == sizeof(tid) &&
	    read(ends[0], &c, 1) == 1)
		return NULL;
	return arg;
}

static void *for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/*
 * Prepared with a thread that has exited since, and whose number is a stranger's.  It
 * was the second one, or stood for the main thread, which is a zombie.  The stranger
 * is no part of the victim and does not share its memory.
 */
static void thread_is_a_stranger(bool main_exits, uint32_t flags)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_target *target;
	pid_t victim, chosen, stranger;
	char path[64];
	int ends[4], fd;

	need_numbers();
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ends + 2, O_CLOEXEC), 0);
	victim = test_fork();
	if (!victim) {
		pthread_t t[2];

		if (pthread_create(&t[0], NULL, until_told, ends) ||
		    pthread_create(&t[1], NULL, for_ever, NULL))
			_exit(1);
		if (main_exits)
			syscall(SYS_exit, 0);
		for_ever(NULL);
	}
	assert_int_equal(read(ends[2], &chosen, sizeof(chosen)),
			 sizeof(chosen));
	if (main_exits)
		wait_for_state(victim, "Z");
	fd = mrelease_open(victim, 0);
	assert_int_equal(mrelease_prepare(fd, &opts, NULL, &target), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/task/%d", victim, chosen);
	for (int64_t until = in_seconds(PATIENCE_S); !access(path, F_OK);) {
		assert_true(now_ns() < until);
		sched_yield();
	}
	stranger = stranger_with(chosen);
	assert_int_equal(mrelease_release(target, in_seconds(3), &rep), 0);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_NOT_EXITED));
	expect_report(&rep, rep.sharers == 0);
	end_stranger(stranger);
	mrelease_target_free(target);
	assert_int_equal(waitpid(victim, NULL, 0), victim);
	for (int i = 0; i < 4; i++)
		close(ends[i]);
	close(fd);
}

static void test_second_thread_is_a_stranger(void **state)
{
	(void)state;
	thread_is_a_stranger(false, 0);
}

static void test_chosen_thread_is_a_stranger(void **state)
{
	(void)state;
	need_root();
	thread_is_a_stranger(true, 0);
	thread_is_a_stranger(true, MRELEASE_KILL_SHARERS);
}

/* --- between the listing and the look ------------------------------------- */

struct between {
	struct cgroup cg;
	int parent_fd;
	pid_t child;
	pid_t stranger;
	struct mrelease_report rep;
};

/* The first argument of the pidfd_open(2) in which that thread is held. */
static pid_t asked_for(pid_t caller)
{
	char path[64], buf[256] = "";
	long nr, pid = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", caller);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (read(fd, buf, sizeof(buf) - 1) < 1 ||
	    sscanf(buf, "%ld %lx", &nr, (unsigned long *)&pid) != 2)
		_exit(3);
	close(fd);
	return (pid_t)pid;
}

static int64_t ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (ts.tv_sec * SEC_NS + ts.tv_nsec) / (SEC_NS / 100);
}

/* The member dies after it was listed; a later tick gives its number to a stranger. */
static int be_another(void *arg, unsigned int n, pid_t caller)
{
	struct between *b = arg;
	int64_t listed = ticks();

	(void)n;
	if (b->stranger || asked_for(caller) != b->child)
		return 0;
	kill(b->child, SIGKILL);
	while (ticks() <= listed + 1)
		sched_yield();
	b->stranger = stranger_with(b->child);
	return 0;
}

static void release_between(struct between *b, bool tree)
{
	struct mrelease_opts opts = opts_with(0);
	static struct notify hold = {
		.call = SYS_pidfd_open,
		.fn = be_another,
	};
	int ret;

	hold.arg = b;
	notify_begin(&hold);
	b->rep.size = sizeof(b->rep);
	opts.deadline_ns = in_seconds(5);
	ret = tree ? mrelease_tree(b->parent_fd, &opts, &b->rep, NULL, NULL) :
		     mrelease_cgroup(b->cg.fd, &opts, &b->rep, NULL, NULL);
	if (ret || !b->stranger)
		_exit(4);
	end_stranger(b->stranger);
	_exit(0);
}

/* A parent whose children are reaped by the kernel, and one child. */
static pid_t start_pair(struct between *b)
{
	pid_t parent = test_fork();
	int64_t until = in_seconds(PATIENCE_S);

	if (!parent) {
		pid_t child;

		signal(SIGCHLD, SIG_IGN);
		child = fork();
		/* In shared memory: only the parent may write it. */
		if (child)
			b->child = child;
		for (;;)
			pause();
	}
	while (!*(volatile pid_t *)&b->child) {
		assert_true(now_ns() < until);
		sched_yield();
	}
	return parent;
}

static void listed_then_another(bool tree)
{
	struct between *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent, caller;
	int status;

	need_root();
	need_numbers();
	assert_ptr_not_equal(b, MAP_FAILED);
	parent = start_pair(b);
	b->parent_fd = mrelease_open(parent, 0);
	assert_true(b->parent_fd >= 0);
	if (!tree) {
		cgroup_make(&b->cg, CGROUP_MEMORY);
		cgroup_add(&b->cg, parent);
		cgroup_add(&b->cg, b->child);
	}
	caller = test_fork();
	if (!caller)
		release_between(b, tree);
	status = test_wait(caller);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	close(b->parent_fd);
	if (!tree)
		close(b->cg.fd);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	expect_report(&b->rep, b->rep.verified == 1);
	munmap(b, sizeof(*b));
}

static void test_listed_then_another(void **state)
{
	(void)state;
	listed_then_another(true);
}

/* v1: without cgroup.kill each member is signalled. */
static void test_listed_then_another_in_a_cgroup(void **state)
{
	(void)state;
	listed_then_another(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_tree_seizes_no_stranger),
		harness_test(test_cgroup_seizes_no_stranger),
		harness_test(test_new_member_with_an_old_number),
		harness_test(test_number_of_a_dead_one),
		harness_test(test_second_thread_is_a_stranger),
		harness_test(test_chosen_thread_is_a_stranger),
		harness_test(test_listed_then_another),
		harness_test(test_listed_then_another_in_a_cgroup),
	};

	return run_group(tests);
}
