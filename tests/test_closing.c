/* SPDX-License-Identifier: MIT */
/* Victims in execve() or exit that close a file whose server does not answer. */
#include <signal.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

/*
 * A dry run that hangs must not lead to a kill.  Opening mem or maps of a process blocks
 * while that is in execve().
 */
static void test_dry_run(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim healthy, stuck;
	struct cgroup cg;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&healthy, "anon", "8", NULL);
	victim_start(&stuck, "exec-fuse", "8", NULL);
	cgroup_add(&cg, healthy.pid);
	cgroup_add(&cg, stuck.helper);
	opts.deadline_ns = now_ns() + SEC_NS;
	mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	assert_true(now_ns() < opts.deadline_ns + 10 * SEC_NS);
	expect_report(&rep, rep.stage < MRELEASE_STAGE_KILLED);
	assert_untouched(&healthy);
	/* Not by stat: reading it would block. */
	assert_false(process_killed(stuck.helper));
	assert_int_equal(kill(stuck.helper, 0), 0);
	victim_end(&stuck);
	victim_end(&healthy);
	close(cg.fd);
}

static bool gone(void *arg)
{
	return process_gone(*(pid_t *)arg);
}

/* The server answers, and the victim dies of the signal that is pending. */
static void answer(struct victim *v, pid_t stuck)
{
	char line[64];

	victim_command(v, 'a');
	victim_reply(v, line, sizeof(line));
	wait_until(gone, &stuck, "the exit of the one that was stuck");
	victim_end(v);
}

/*
 * In execve() the close of a file takes longer than the deadline.  The kill is sent
 * and the call returns in time.
 */
static void test_slow_close(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim slow;
	int fd;

	(void)state;
	need_root();
	victim_start(&slow, "exec-fuse", "8", NULL);
	fd = mrelease_open(slow.helper, 0);
	assert_true(fd >= 0);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	expect_report(&rep, mrelease_process(fd, &opts, &rep) == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_KILLED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, !rep.verified);
	assert_true(process_killed(slow.helper));
	close(fd);
	answer(&slow, slow.helper);
}

static void test_slow_close_in_a_cgroup(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim healthy, slow;
	struct cgroup cg;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&healthy, "anon", "8", NULL);
	victim_start(&slow, "exec-fuse", "8", NULL);
	cgroup_add(&cg, healthy.pid);
	cgroup_add(&cg, slow.helper);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	expect_report(&rep,
		      mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	assert_killed(&healthy);
	assert_true(process_killed(slow.helper));
	answer(&slow, slow.helper);
	close(cg.fd);
}

/* By PID and as a tree: the process is there and has not exited. */
static void in_its_exit(bool tree)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	char line[64];
	int ret;

	victim_start(&v, "exit-fuse", "8", NULL);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	ret = tree ? mrelease_tree(v.fd, &opts, &rep, NULL, NULL) :
		     mrelease_process(v.fd, &opts, &rep);
	expect_report(&rep, ret == 0);
	assert_true(now_ns() < opts.deadline_ns + 2 * SEC_NS);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_KILLED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, !rep.verified);
	expect_report(&rep, rep.exit_ns == -1);
	assert_true(process_exists(v.pid));
	victim_command(&v, 'a');
	victim_reply(&v, line, sizeof(line));
	wait_for_state(v.pid, "Z");
	victim_end(&v);
}

static void test_in_its_exit(void **state)
{
	(void)state;
	in_its_exit(false);
	in_its_exit(true);
}

/*
 * The main thread has left the address space and is not a zombie yet; another thread
 * still uses it.  The process is counted and killed.
 */
static void main_thread_in_its_exit(const char *who, int kind)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct cgroup cg;
	struct victim v;
	char line[64];
	int ret;

	cgroup_make(&cg, CGROUP_V2);
	victim_start(&v, "exit-fuse", "8", who, NULL);
	cgroup_add(&cg, v.pid);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	ret = kind == 0 ? mrelease_process(v.fd, &opts, &rep) :
	      kind == 1 ? mrelease_tree(v.fd, &opts, &rep, NULL, NULL) :
			  mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	expect_report(&rep, ret == 0);
	expect_report(&rep, kind == 0 || rep.members == 1);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 8 * MIB);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	victim_command(&v, 'a');
	victim_reply(&v, line, sizeof(line));
	wait_for_state(v.pid, "Z");
	victim_end(&v);
	close(cg.fd);
}

static void test_main_thread_in_its_exit(void **state)
{
	(void)state;
	need_root();
	for (int kind = 0; kind < 3; kind++)
		main_thread_in_its_exit("1", kind);
}

/* The main thread is a zombie, and the one after it shows no memory either. */
static void test_second_thread_in_its_exit(void **state)
{
	(void)state;
	need_root();
	/* No cgroup: by the number of a zombie nothing is moved to one. */
	for (int kind = 0; kind < 2; kind++)
		main_thread_in_its_exit("2", kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_dry_run),
		harness_test(test_slow_close),
		harness_test(test_slow_close_in_a_cgroup),
		harness_test(test_in_its_exit),
		harness_test(test_main_thread_in_its_exit),
		harness_test(test_second_thread_in_its_exit),
	};

	return run_group(tests);
}
