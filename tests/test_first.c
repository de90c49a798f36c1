/* SPDX-License-Identifier: MIT */
/*
 * The kill comes first: whatever holds what is to be opened, traced or asked,
 * SIGKILL is sent, and the call ends in its time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

/* In an exec that hangs: killed, and not waited for beyond the deadline. */
static void release_stuck(struct victim *v, uint32_t flags,
			  struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);

	opts.deadline_ns = in_seconds(1);
	expect_report(rep, release(v, &opts, rep) == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(rep, rep->stage >= MRELEASE_STAGE_KILLED);
	/* Not by the deadline: it is spent on 10 ms, or 200 if it is busy. */
	expect_report(rep, rep->prepare_ns < 3 * SEC_NS / 4);
	assert_true(process_killed(v->pid) || process_gone(v->pid));
}

/* The pin waits for the exec, the exec for a debugger that does not look. */
static void test_exec_traced(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "exec-traced", "16", NULL);
	release_stuck(&v, 0, &rep);
	/* Its other thread may stay, for its debugger to wait for. */
	assert_memory_back(&v);
}

static bool gone(void *pid)
{
	return process_gone(*(pid_t *)pid);
}

/*
 * The helper sleeps where SIGKILL does not wake it: it is left behind, and the
 * call ends.  Its memory stays with it, for what the kernel has yet to write.
 */
static void list_case(uint32_t flags, int signal, const char *before)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep;
	struct victim v;
	char line[64];

	need_root();
	victim_start(&v, "fuse-list", "16", before, NULL);
	opts.deadline_ns = in_seconds(1);
	opts.soft_signal = signal;
	opts.grace_ns = SEC_NS / 10;
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
	expect_report(&rep, !rep.verified || rep.path == MRELEASE_PATH_SOFT);
	assert_true(process_killed(v.pid) || process_gone(v.pid));
	/* It is not the tracer that sleeps in the list. */
	assert_true(process_tracer(v.pid) <= 0);
	victim_command(&v, 'a');
	victim_reply(&v, line, sizeof(line));
	wait_until(gone, &v.pid, "the victim's exit, once the server answers");
	victim_end(&v);
}

static void test_list_on_dead_server(void **state)
{
	(void)state;
	list_case(0, 0, "0");
	list_case(MRELEASE_NO_PIN, 0, "0");
	list_case(0, SIGWINCH, "0");
	/* The beginning is in memory, the rest is not. */
	list_case(0, 0, "8");
}

/*
 * No helper is to be had, and the victim is in an execve() that hangs: the
 * caller asks nothing that waits for that.
 */
static void test_no_helper_exec(void **state)
{
	struct victim v;
	pid_t child;
	int fd;

	(void)state;
	need_root();
	victim_start(&v, "exec-fuse", "16", NULL);
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		struct mrelease_report rep = { .size = sizeof(rep) };

		lack_process();
		opts.deadline_ns = in_seconds(1);
		fd = mrelease_open(v.helper, 0);
		if (fd < 0 || mrelease_process(fd, &opts, &rep) ||
		    rep.stage < MRELEASE_STAGE_KILLED || rep.verified ||
		    now_ns() > opts.deadline_ns + 2 * SEC_NS)
			_exit(1);
		_exit(process_killed(v.helper) ? 0 : 2);
	}
	assert_int_equal(test_wait(child), 0);
	victim_end(&v);
}

/* The deadline has passed when the call begins. */
static void test_no_time(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	opts.deadline_ns = 1;
	victim_start(&v, "anon", "16", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
	assert_killed(&v);
}

static void test_longest_grace(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	int status;

	(void)state;
	opts.soft_signal = SIGTERM;
	opts.grace_ns = INT64_MAX;
	victim_start(&v, "polite", "16", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.path == MRELEASE_PATH_SOFT);
	assert_int_equal(waitpid(v.pid, &status, 0), v.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* From now on no file below /sys opens, for us and our helpers. */
static void close_sys(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		_exit(77);
	fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT,
				    FAN_OPEN_PERM, AT_FDCWD, "/sys/devices"))
		_exit(77);
}

static void sys_case(struct victim *v, struct cgroup *cg)
{
	pid_t host = test_fork();

	if (!host) {
		struct mrelease_report rep;
		int64_t end = in_seconds(5);

		close_sys();
		if (cg ? release_cgroup(cg, 0, &rep) : release_tree(v, 0, &rep))
			_exit(1);
		if (rep.stage < MRELEASE_STAGE_KILLED)
			_exit(2);
		_exit(now_ns() < end ? 0 : 3);
	}
	switch (test_wait(host)) {
	case 0:
		return;
	case 77:
		skip_test("fanotify", "no group that decides on opens");
	case 3:
		fail_msg("the kill was waited for");
		break;
	default:
		fail_msg("the release failed");
	}
}

/* One that decides on opens (a scanner) hangs, or is the victim itself. */
static void test_closed_tree(void **state)
{
	struct victim v;

	(void)state;
	victim_start(&v, "tree", "2", "1", "1", NULL);
	sys_case(&v, NULL);
	assert_killed(&v);
}

static void test_closed_cgroup(void **state)
{
	struct victim v[2];
	struct cgroup cg;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, v, 2, "1");
	sys_case(NULL, &cg);
	assert_killed(&v[0]);
	assert_killed(&v[1]);
	close(cg.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_exec_traced),
		harness_test(test_list_on_dead_server),
		harness_test(test_no_helper_exec),
		harness_test(test_no_time),
		harness_test(test_longest_grace),
		harness_test(test_closed_tree),
		harness_test(test_closed_cgroup),
	};

	return run_group(tests);
}
