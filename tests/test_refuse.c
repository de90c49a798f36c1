/* SPDX-License-Identifier: MIT */
/* What is refused, before anybody is signalled. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static int try_to_release(int fd, uint32_t flags, struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int ret;

	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	ret = mrelease_process(fd, &opts, rep);
	check_report(rep, ret);
	return ret;
}

static void test_open_bad_numbers(void **state)
{
	static const pid_t bad[] = { 0, -1, -2, INT_MIN };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(mrelease_open(bad[i], 0), -EINVAL);
	/* Above every possible pid_max. */
	assert_int_equal(mrelease_open(INT_MAX, 0), -ESRCH);
}

/*
 * In a new PID namespace that still has the old /proc.  The numbers there mean
 * nobody here, and somebody without a robust list is soon reaped.
 */
static int release_below_the_wrong_proc(void)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	pid_t pid = fork();
	int ret;

	if (!pid)
		for (;;)
			pause();
	ret = mrelease_process((int)syscall(SYS_pidfd_open, pid, 0), &opts,
			       &rep);
	if (ret != -EPERM || rep.refusal != MRELEASE_REFUSE_FOREIGN ||
	    waitpid(pid, NULL, WNOHANG)) {
		show_report(&rep);
		return 1;
	}
	return 0;
}

static void test_wrong_proc(void **state)
{
	pid_t child, init;
	int status;

	(void)state;
	child = test_fork();
	if (!child) {
		if (unshare(CLONE_NEWPID) &&
		    unshare(CLONE_NEWUSER | CLONE_NEWPID))
			_exit(77);
		init = fork();
		if (!init)
			_exit(release_below_the_wrong_proc());
		if (waitpid(init, &status, 0) != init || !WIFEXITED(status))
			_exit(2);
		_exit(WEXITSTATUS(status));
	}
	status = test_wait(child);
	if (status == 77)
		skip_test("pidns", "no PID namespace can be made here");
	assert_int_equal(status, 0);
}

static void test_thread_id(void **state)
{
	struct victim v;
	pid_t tid;

	(void)state;
	victim_start(&v, "threads", "3", "1", NULL);
	tid = process_other_thread(v.pid);
	assert_int_equal(mrelease_open(tid, 0), -EISDIR);
	assert_untouched(&v);
}

static void test_inode(void **state)
{
	struct mrelease_features features = { .size = sizeof(features) };
	struct victim v;
	struct stat st;
	int fd;

	(void)state;
	victim_start(&v, "anon", "1", NULL);
	assert_int_equal(mrelease_probe(&features), 0);
	if (features.pidfs != 1) {
		assert_int_equal(mrelease_open(v.pid, 12345), -EOPNOTSUPP);
		return;
	}
	assert_int_equal(fstat(v.fd, &st), 0);
	fd = mrelease_open(v.pid, st.st_ino);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fd);
	assert_int_equal(mrelease_open(v.pid, st.st_ino + 1), -ESTALE);
	assert_int_equal(mrelease_open(v.pid, UINT64_MAX), -ESTALE);
	assert_untouched(&v);
}

static void test_init(void **state)
{
	struct mrelease_report rep;
	int fd = mrelease_open(1, 0);

	(void)state;
	if (fd < 0)
		skip_test("init", "PID 1 cannot be opened");
	/* A dry run: if the refusal were missing, nobody would be hurt. */
	expect_refused(&rep, try_to_release(fd, MRELEASE_DRY_RUN, &rep),
		       MRELEASE_REFUSE_INIT);
	expect_refused(
		&rep,
		try_to_release(fd, MRELEASE_DRY_RUN | MRELEASE_ALLOW_ANCESTOR,
			       &rep),
		MRELEASE_REFUSE_INIT);
	close(fd);
}

static void test_kernel_thread(void **state)
{
	struct mrelease_report rep;
	int fd;

	(void)state;
	/* kthreadd; in a PID namespace of its own number 2 is not it. */
	if (process_status(2, "Kthread", 10) != 1 &&
	    process_status(2, "PPid", 10) != 0)
		skip_test("kthread", "kthreadd cannot be seen from here");
	fd = mrelease_open(2, 0);
	assert_true(fd >= 0);
	expect_refused(&rep, try_to_release(fd, MRELEASE_DRY_RUN, &rep),
		       MRELEASE_REFUSE_KTHREAD);
	close(fd);
}

/* In a child, so that a missing refusal costs the child only. */
static void test_self(void **state)
{
	struct mrelease_report rep;
	pid_t child;

	(void)state;
	child = test_fork();
	if (!child) {
		int fd = mrelease_open(getpid(), 0);
		int ret, i;

		for (i = 0; i < 2; i++) {
			ret = try_to_release(
				fd, i ? MRELEASE_ALLOW_ANCESTOR : 0, &rep);
			if (ret != -EPERM ||
			    rep.refusal != MRELEASE_REFUSE_SELF)
				_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
}

/* Its parent and its grandparent, which sits between it and us. */
static void test_ancestors(void **state)
{
	pid_t child;

	(void)state;
	child = test_fork();
	if (!child) {
		struct mrelease_report rep;
		pid_t middle = getpid(), below = fork();
		int fd, status, ret;

		if (below) {
			waitpid(below, &status, 0);
			_exit(status ? 1 : 0);
		}
		if (!fork()) {
			fd = mrelease_open(middle, 0);
			ret = try_to_release(fd, 0, &rep);
			_exit(ret == -EPERM &&
			      rep.refusal == MRELEASE_REFUSE_ANCESTOR);
		}
		wait(&status);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
			_exit(1);
		fd = mrelease_open(middle, 0);
		ret = try_to_release(fd, 0, &rep);
		_exit(ret != -EPERM || rep.refusal != MRELEASE_REFUSE_ANCESTOR);
	}
	assert_int_equal(test_wait(child), 0);
}

/*
 * The override.  The ancestor is a child of the test, it gets killed by its
 * own child, which then tells us over the pipe.
 */
static void test_ancestor_allowed(void **state)
{
	struct mrelease_report rep;
	int pipefd[2], status;
	pid_t child, below;

	(void)state;
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	child = test_fork();
	if (!child) {
		pid_t parent = getpid();
		int fd, ret;

		below = fork();
		while (below)
			pause();
		/* From here: the parent may be dead before it could. */
		below = getpid();
		if (write(pipefd[1], &below, sizeof(below)) < 0)
			_exit(1);
		fd = mrelease_open(parent, 0);
		ret = try_to_release(fd, MRELEASE_ALLOW_ANCESTOR, &rep);
		_exit(ret || rep.result != MRELEASE_RELEASED ||
		      rep.pid != parent);
	}
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], &below, sizeof(below)), sizeof(below));
	close(pipefd[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	/* An orphan now, and ours: we are its subreaper. */
	assert_int_equal(waitpid(below, &status, 0), below);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

#define NOBODY 65534

/* As nobody, at root's process: every option, and nobody gets hurt. */
static void test_permission(void **state)
{
	static const uint32_t flags[] = { 0, MRELEASE_NO_PIN,
					  MRELEASE_KILL_SHARERS,
					  MRELEASE_ALLOW_ANCESTOR,
					  MRELEASE_DRY_RUN };
	struct mrelease_report rep;
	struct victim v;
	pid_t child;

	(void)state;
	need_root();
	victim_start(&v, "anon", "4", NULL);
	child = test_fork();
	if (!child) {
		size_t i;
		int ret;

		if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
			_exit(2);
		for (i = 0; i < ARRAY_LEN(flags); i++) {
			ret = try_to_release(v.fd, flags[i], &rep);
			if (ret != -EPERM ||
			    rep.refusal != MRELEASE_REFUSE_PERMISSION) {
				child_failed(&rep);
			}
		}
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
	assert_untouched(&v);
}

/*
 * Who may signal it, but not trace it or look into its memory: a process
 * that became nobody's and with that undumpable.  kill(2) asks for the uid
 * only, so it is released, but what can be said of it is less.
 */
static void test_may_kill_but_not_look(void **state)
{
	struct victim_setup setup = { .uid = NOBODY };
	struct mrelease_report rep;
	struct victim v;
	pid_t child;

	(void)state;
	need_root();
	need_capability(CAP_SYS_PTRACE, "CAP_SYS_PTRACE");
	victim_start_with(&v, &setup, "anon", "16", NULL);
	/* mem, maps and ptrace: not for a caller with fewer capabilities. */
	child = test_fork();
	if (!child) {
		int ret;

		/* Same user, so kill() is allowed, but a group that is not */
		/* its own makes every ptrace access check fail. */
		if (setgroups(0, NULL) || setgid(1) || setuid(NOBODY))
			_exit(2);
		ret = try_to_release(v.fd, 0, &rep);
		if (ret || (rep.result == MRELEASE_RELEASED && !rep.verified) ||
		    rep.stage != MRELEASE_STAGE_EXITED ||
		    rep.path == MRELEASE_PATH_PINNED)
			child_failed(&rep);
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_not_a_process(void **state)
{
	static const char *const paths[] = { "/dev/null", "/", "/proc",
					     "/proc/self/task" };
	struct mrelease_report rep;
	size_t i;
	int fd;

	(void)state;
	assert_int_equal(try_to_release(-1, 0, &rep), -EBADF);
	expect_report(&rep, rep.result == MRELEASE_FAILED);
	for (i = 0; i < ARRAY_LEN(paths); i++) {
		fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(try_to_release(fd, 0, &rep), -EINVAL);
		expect_report(&rep, rep.result == MRELEASE_FAILED);
		close(fd);
	}
}

/* The number of a dead process, used again by another one. */
static void test_reused_number(void **state)
{
	struct mrelease_features features = { .size = sizeof(features) };
	struct victim first, second;
	struct stat st;
	char text[16];
	int fd, tries;

	(void)state;
	need_root();
	assert_int_equal(mrelease_probe(&features), 0);
	if (features.pidfs != 1)
		skip_test("pidfs", "no pidfs");
	victim_start(&first, "anon", "1", NULL);
	assert_int_equal(fstat(first.fd, &st), 0);
	kill(first.pid, SIGKILL);
	assert_killed(&first);
	/*
	 * ns_last_pid makes the next fork() take the number again, unless
	 * somebody else on this machine forks in between.
	 */
	for (tries = 0; tries < 50; tries++) {
		fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			skip_test("ns_last_pid", "ns_last_pid not writable");
		snprintf(text, sizeof(text), "%d", first.pid - 1);
		assert_true(write(fd, text, strlen(text)) > 0);
		close(fd);
		victim_start(&second, "anon", "1", NULL);
		if (second.pid == first.pid)
			break;
		victim_end(&second);
	}
	assert_int_equal(second.pid, first.pid);
	assert_int_equal(mrelease_open(second.pid, st.st_ino), -ESTALE);
	/* The old pidfd means the old process, which is gone. */
	assert_int_equal(mrelease_process(first.fd, NULL, NULL), -ESRCH);
	assert_untouched(&second);
}

/* A /proc/PID directory instead of a pidfd: the same refusals. */
static void test_proc_directory(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	char path[64];
	int fd;

	(void)state;
	fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	expect_refused(&rep, try_to_release(fd, MRELEASE_DRY_RUN, &rep),
		       MRELEASE_REFUSE_SELF);
	close(fd);
	victim_start(&v, "anon", "16", NULL);
	snprintf(path, sizeof(path), "/proc/%d", v.pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	expect_report(&rep, try_to_release(fd, 0, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	assert_memory_back(&v);
	assert_killed(&v);
	assert_int_equal(try_to_release(fd, 0, &rep), -ESRCH);
	close(fd);
}

/* A pidfd of a thread (PIDFD_THREAD, Linux 6.9): refused, not rounded up. */
static void test_thread_pidfd(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	int fd;

	(void)state;
	victim_start(&v, "threads", "3", "1", NULL);
	fd = (int)syscall(SYS_pidfd_open, process_other_thread(v.pid), O_EXCL);
	if (fd < 0)
		skip_test("pidfd_thread", "no PIDFD_THREAD");
	expect_refused(&rep, try_to_release(fd, MRELEASE_DRY_RUN, &rep),
		       MRELEASE_REFUSE_THREAD);
	close(fd);
	assert_untouched(&v);
}

/*
 * A /proc that shows nobody but our own: what is hidden is not gone.  Of a
 * tree it would get away, and be looked for until the deadline.
 */
static void test_hidden(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	pid_t child;
	int ret;

	(void)state;
	need_root();
	need_capability(CAP_SYS_ADMIN, "CAP_SYS_ADMIN");
	victim_start(&v, "anon", "1", NULL);
	child = test_fork();
	if (!child) {
		if (unshare(CLONE_NEWNS) ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/proc", "proc", 0, "hidepid=2") ||
		    setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(77);
		ret = try_to_release(v.fd, MRELEASE_DRY_RUN, &rep);
		if (ret == -EPERM && rep.refusal == MRELEASE_REFUSE_PERMISSION)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	assert_untouched(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_open_bad_numbers),
		harness_test(test_wrong_proc),
		harness_test(test_thread_id),
		harness_test(test_inode),
		harness_test(test_init),
		harness_test(test_kernel_thread),
		harness_test(test_self),
		harness_test(test_ancestors),
		harness_test(test_ancestor_allowed),
		harness_test(test_permission),
		harness_test(test_may_kill_but_not_look),
		harness_test(test_hidden),
		harness_test(test_not_a_process),
		harness_test(test_reused_number),
		harness_test(test_proc_directory),
		harness_test(test_thread_pidfd),
	};

	return run_group(tests);
}
