/* SPDX-License-Identifier: MIT */
/*
 * What may happen between two system calls of the library: each of these holds
 * one call, does it, and lets the call go on, or answers in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"
#include "notify.h"

/* In a child of the test, which is as good as its release. */
static void expect_child(pid_t child)
{
	int status = test_wait(child);

	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
}

/* An mmu notifier could not run: the rest of the memory comes later. */
static int say_again(void *arg, unsigned int n, pid_t caller)
{
	(void)caller;
	*(unsigned int *)arg = n + 1;
	return n < 40 ? -EAGAIN : n == 40 ? -EINTR : 0;
}

static void test_reap_again(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct victim v;
	pid_t child;

	(void)state;
	/* Too small for a second reaper, and pinned: only we free it. */
	victim_start(&v, "anon", "16", NULL);
	child = test_fork();
	if (!child) {
		unsigned int calls = 0;
		struct notify n = {
			.call = SYS_process_mrelease,
			.fn = say_again,
			.arg = &calls,
		};

		notify_begin(&n);
		if (mrelease_process(v.fd, &opts, &rep) == 0 && rep.verified &&
		    (rep.path != MRELEASE_PATH_PINNED || calls > 41))
			_exit(0);
		child_failed(&rep);
	}
	expect_child(child);
	assert_memory_back(&v);
	assert_killed(&v);
}

/* The helper has said that the kill is its own, and is killed before it. */
static int kill_caller(void *arg, unsigned int n, pid_t caller)
{
	(void)arg;
	/* Not us: on a busy machine we are the first to send it. */
	if (!n && caller != getpid())
		kill(caller, SIGKILL);
	return 0;
}

static void test_helper_dies_before_the_kill(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct victim v;
	pid_t child;

	(void)state;
	victim_start(&v, "anon", "16", NULL);
	child = test_fork();
	if (!child) {
		struct notify n = {
			.call = SYS_pidfd_send_signal,
			.signal = SIGKILL,
			.fn = kill_caller,
		};

		notify_begin(&n);
		if (mrelease_process(v.fd, &opts, &rep) == 0 &&
		    rep.stage >= MRELEASE_STAGE_KILLED)
			_exit(0);
		child_failed(&rep);
	}
	expect_child(child);
	assert_killed(&v);
}

/* All workers die with a member in hand: it is let go all the same. */
static void test_workers_killed(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct cgroup cg;
	struct victim v[2];
	int64_t start;
	pid_t child;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, v, 2, "16");
	start = now_ns();
	child = test_fork();
	if (!child) {
		struct notify n = {
			.call = SYS_process_mrelease,
			.fn = kill_caller,
		};

		opts.workers = 1;
		notify_begin(&n);
		if (mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0 &&
		    rep.stage == MRELEASE_STAGE_EXITED)
			_exit(0);
		child_failed(&rep);
	}
	expect_child(child);
	close(cg.fd);
	/* Its deadline is in 20 s. */
	assert_true(now_ns() - start < 10 * SEC_NS);
	assert_killed(&v[0]);
	assert_killed(&v[1]);
}

/* Process @pid gives way to a stranger, who is our child and lives on. */
struct exchange {
	pid_t pid;
	pid_t stranger;
};

static int exchange(void *arg, unsigned int n, pid_t caller)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	struct exchange *x = arg;
	int64_t until = in_seconds(PATIENCE_S);

	(void)caller;
	if (n || !x->pid)
		return 0;
	kill(x->pid, SIGKILL);
	args.set_tid = (uint64_t)(uintptr_t)&x->pid;
	args.set_tid_size = 1;
	do {
		sched_yield();
		waitpid(x->pid, NULL, WNOHANG);
		x->stranger = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	} while (x->stranger < 0 && errno == EEXIST && now_ns() < until);
	if (!x->stranger)
		for (;;)
			pause();
	return 0;
}

static void need_numbers(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t number = getpid();

	args.set_tid = (uint64_t)(uintptr_t)&number;
	args.set_tid_size = 1;
	if (syscall(SYS_clone3, &args, sizeof(args)) < 0 && errno != EEXIST)
		skip_test("set_tid", "numbers cannot be chosen here");
}

static int just_be(void *arg)
{
	for (;;)
		pause();
	return arg != NULL;
}

/* A victim of our own, and one that shares its memory and is our child. */
static pid_t start_sharer(pid_t *ret_victim)
{
	static char stack[65536] __attribute__((aligned(16)));
	const int flags = CLONE_VM | CLONE_PARENT | SIGCHLD;
	pid_t sharer;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		_exit(2);
	*ret_victim = test_fork();
	if (!*ret_victim) {
		sharer = clone(just_be, stack + sizeof(stack), flags, NULL);
		if (write(ends[1], &sharer, sizeof(sharer)) != sizeof(sharer))
			_exit(2);
		just_be(NULL);
	}
	if (read(ends[0], &sharer, sizeof(sharer)) != sizeof(sharer))
		_exit(2);
	return sharer;
}

/*
 * Between the comparison and the opening the sharer has died, and its number
 * is a stranger's.
 */
static void test_sharer_is_a_stranger(void **state)
{
	pid_t child;

	(void)state;
	need_kcmp();
	need_numbers();
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(MRELEASE_KILL_SHARERS);
		struct mrelease_report rep = { .size = sizeof(rep) };
		struct exchange x = { 0 };
		struct notify n = {
			.call = SYS_pidfd_open,
			.fn = exchange,
			.arg = &x,
		};
		pid_t victim;
		int fd, ret;

		x.pid = start_sharer(&victim);
		fd = mrelease_open(victim, 0);
		notify_begin(&n);
		ret = mrelease_process(fd, &opts, &rep);
		if (ret || x.stranger <= 0 || process_gone(x.stranger) ||
		    process_killed(x.stranger)) {
			child_failed(&rep);
		}
		kill(x.stranger, SIGKILL);
		_exit(waitpid(x.stranger, NULL, 0) != x.stranger);
	}
	expect_child(child);
}

/* A fork() in the middle: its fault is answered by whom it has told where. */
struct fork_under_way {
	pid_t parent;
	int uffd;
	void *page;
	/* By then it is through. */
	pid_t child;
};

static void fork_slowly(int fd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct clone_args args = { .flags = CLONE_PIDFD,
				   .exit_signal = SIGCHLD };
	struct fork_under_way f = { .parent = getpid() };

	f.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (uint64_t)(uintptr_t)f.page;
	reg.range.len = 4096;
	if (f.uffd >= 0 && (ioctl(f.uffd, UFFDIO_API, &api) ||
			    ioctl(f.uffd, UFFDIO_REGISTER, &reg)))
		f.uffd = -1;
	/* The pidfd is written before the child is anybody's. */
	args.pidfd = reg.range.start;
	if (write(fd, &f, sizeof(f)) != sizeof(f))
		_exit(1);
	syscall(SYS_clone3, &args, sizeof(args));
	just_be(NULL);
}

static bool has_child(void *arg)
{
	struct fork_under_way *f = arg;

	return process_children(f->parent, &f->child, 1) == 1;
}

static int let_it_fork(void *arg, unsigned int n, pid_t caller)
{
	static char zeros[4096] __attribute__((aligned(4096)));
	struct fork_under_way *f = arg;
	struct uffdio_copy copy = {
		.dst = (uint64_t)(uintptr_t)f->page,
		.src = (uint64_t)(uintptr_t)zeros,
		.len = sizeof(zeros),
	};

	(void)caller;
	if (n)
		return 0;
	if (ioctl(f->uffd, UFFDIO_COPY, &copy))
		_exit(2);
	wait_until(has_child, f, "the child");
	return 0;
}

/*
 * A fork() that was under way when its process was attached, and ends when all
 * has been listed: the child is not attached, and there before the kill.
 */
static void test_forked_before_the_kill(void **state)
{
	struct fork_under_way f;
	pid_t root, child;
	int ends[2];

	(void)state;
	need_root();
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	root = test_fork();
	if (!root)
		fork_slowly(ends[1]);
	assert_int_equal(read(ends[0], &f, sizeof(f)), sizeof(f));
	close(ends[0]);
	close(ends[1]);
	if (f.uffd < 0)
		skip_test("userfaultfd", "no userfaultfd");
	child = test_fork();
	if (!child) {
		struct mrelease_report rep;
		struct victim v = { .pid = root };
		struct notify n = {
			.call = SYS_pidfd_send_signal,
			.signal = SIGKILL,
			.fn = let_it_fork,
			.arg = &f,
		};

		v.fd = mrelease_open(root, 0);
		f.uffd = (int)syscall(SYS_pidfd_getfd, v.fd, f.uffd, 0);
		if (f.uffd < 0)
			_exit(2);
		notify_begin(&n);
		if (release_tree(&v, 0, &rep) == 0 && f.child > 0 &&
		    process_gone(f.child))
			_exit(0);
		child_failed(&rep);
	}
	expect_child(child);
	assert_int_equal(waitpid(root, NULL, 0), root);
}

/* Longer than a kill would wait for what comes before it. */
static int hang_first(void *arg, unsigned int n, pid_t caller)
{
	(void)arg;
	(void)caller;
	if (!n)
		usleep(300 * 1000);
	return 0;
}

/* A helper that hangs over a member makes the caller kill: not in a dry run. */
static void test_dry_run_that_hangs(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct cgroup cg;
	struct victim v;
	pid_t child;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, &v, 1, "8");
	child = test_fork();
	if (!child) {
		struct notify n = {
			.call = SYS_pidfd_open,
			.fn = hang_first,
		};

		notify_begin(&n);
		opts.deadline_ns = in_seconds(PATIENCE_S);
		if (mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0 &&
		    rep.stage < MRELEASE_STAGE_KILLED)
			_exit(0);
		child_failed(&rep);
	}
	expect_child(child);
	assert_untouched(&v);
	victim_end(&v);
	close(cg.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_reap_again),
		harness_test(test_helper_dies_before_the_kill),
		harness_test(test_workers_killed),
		harness_test(test_sharer_is_a_stranger),
		harness_test(test_forked_before_the_kill),
		harness_test(test_dry_run_that_hangs),
	};

	return run_group(tests);
}
