/* SPDX-License-Identifier: MIT */
/* Prepared long ago, and what became of it: the victim, the helper, the caller. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static struct mrelease_target *prepare(const struct victim *v, uint32_t flags)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_target *target;

	assert_int_equal(mrelease_prepare(v->fd, &opts, NULL, &target), 0);
	return target;
}

/* Our children that wait on our memory: their number, and one of them. */
static unsigned int helpers(pid_t *ret_pid)
{
	pid_t children[64];
	unsigned int i, n, found = 0;

	n = process_children(getpid(), children, ARRAY_LEN(children));
	for (i = 0; i < n; i++) {
		if (!same_program(children[i]) ||
		    process_status(children[i], "VmSize", 10) < 0)
			continue;
		found++;
		if (ret_pid)
			*ret_pid = children[i];
	}
	return found;
}

static void expect_release(struct victim *v, struct mrelease_target *target,
			   int path)
{
	struct mrelease_report rep = { .size = sizeof(rep) };

	expect_report(&rep, !mrelease_release(target, in_seconds(20), &rep));
	check_report(&rep, 0);
	expect_released(v, &rep, path);
	mrelease_target_free(target);
	assert_killed(v);
	assert_int_equal(helpers(NULL), 0);
}

/* One that waits; and none is left, released or not. */
static void test_standby(void **state)
{
	struct mrelease_target *target;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	target = prepare(&v, MRELEASE_STANDBY);
	assert_int_equal(helpers(NULL), 1);
	assert_untouched(&v);
	mrelease_target_free(target);
	assert_int_equal(helpers(NULL), 0);
	assert_untouched(&v);
	target = prepare(&v, 0);
	assert_int_equal(helpers(NULL), 0);
	mrelease_target_free(target);
	expect_release(&v, prepare(&v, MRELEASE_STANDBY), -1);
}

static void test_standby_threads(void **state)
{
	struct victim v;

	(void)state;
	victim_start(&v, "threads", "200", "16", NULL);
	expect_release(&v, prepare(&v, MRELEASE_STANDBY), -1);
}

/* A dry run may be made again, and has no use for one. */
static void test_standby_dry(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	target = prepare(&v, MRELEASE_STANDBY | MRELEASE_DRY_RUN);
	assert_int_equal(helpers(NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mrelease_release(target, 0, &rep), 0);
		expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	}
	mrelease_target_free(target);
	assert_untouched(&v);
}

static void *prepare_in_thread(void *arg)
{
	return prepare(arg, MRELEASE_STANDBY);
}

/* The helper ends with the thread that had it made: another is made. */
static void test_maker_exits(void **state)
{
	struct mrelease_target *target;
	pthread_t thread;
	struct victim v;
	void *ret;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	assert_int_equal(pthread_create(&thread, NULL, prepare_in_thread, &v),
			 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	target = ret;
	expect_release(&v, target, -1);
}

/* Somebody else ends it: the same. */
static void test_helper_killed(void **state)
{
	struct mrelease_target *target;
	pid_t helper = 0;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	target = prepare(&v, MRELEASE_STANDBY);
	assert_int_equal(helpers(&helper), 1);
	kill(helper, SIGKILL);
	wait_for_state(helper, "Z");
	expect_release(&v, target, -1);
}

/* It stands, and nothing stands before the kill. */
static void test_helper_stopped(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	pid_t helper = 0;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	target = prepare(&v, MRELEASE_STANDBY);
	assert_int_equal(helpers(&helper), 1);
	stops_expected = true;
	kill(helper, SIGSTOP);
	wait_for_state(helper, "T");
	assert_int_equal(mrelease_release(target, in_seconds(1), &rep), 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_READY);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	mrelease_target_free(target);
	assert_killed(&v);
	assert_int_equal(helpers(NULL), 0);
}

/* In a child of ours the helper is ours still: it has one of its own. */
static void test_after_fork(void **state)
{
	struct mrelease_target *target;
	struct victim v;
	pid_t child;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	target = prepare(&v, MRELEASE_STANDBY);
	child = test_fork();
	if (!child) {
		struct mrelease_report rep = { .size = sizeof(rep) };
		int ret = mrelease_release(target, in_seconds(20), &rep);

		mrelease_target_free(target);
		if (ret || !rep.verified)
			child_failed(&rep);
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
	assert_killed(&v);
	assert_int_equal(helpers(NULL), 1);
	mrelease_target_free(target);
	assert_int_equal(helpers(NULL), 0);
}

/* A child of ours that takes more when told: more private and shared memory. */
static void start_growing(struct victim *v, int to_child[2], int from_child[2])
{
	char c;

	assert_int_equal(pipe(to_child), 0);
	assert_int_equal(pipe(from_child), 0);
	memset(v, 0, sizeof(*v));
	v->pagemap_fd = -1;
	v->pid = test_fork();
	if (!v->pid) {
		for (int i = 0;; i++) {
			size_t len = i ? 64 * MIB : 16 * MIB;
			void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			void *q = mmap(NULL, len / 4, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

			if (p == MAP_FAILED || q == MAP_FAILED)
				_exit(1);
			memset(p, 1, len);
			memset(q, 1, len / 4);
			if (write(from_child[1], "", 1) != 1 ||
			    read(to_child[0], &c, 1) != 1)
				_exit(1);
		}
	}
	assert_int_equal(read(from_child[0], &c, 1), 1);
	v->fd = mrelease_open(v->pid, 0);
	assert_true(v->fd >= 0);
}

/* What counts is what there is when it is killed, not when it was prepared. */
static void test_grows(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	int to_child[2], from_child[2];
	struct mrelease_target *target;
	struct victim v;
	char c = 0;

	(void)state;
	start_growing(&v, to_child, from_child);
	target = prepare(&v, MRELEASE_STANDBY);
	assert_int_equal(write(to_child[1], &c, 1), 1);
	assert_int_equal(read(from_child[0], &c, 1), 1);
	assert_int_equal(mrelease_release(target, in_seconds(20), &rep), 0);
	check_report(&rep, 0);
	mrelease_target_free(target);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].back_bytes >= 80 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].back_bytes < 96 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].before_bytes == 20 * MIB);
	/* Without a right to ask for the objects it cannot be told. */
	if (may_ask_objects()) {
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep,
			      rep.kinds[MRELEASE_SHMEM].back_bytes == 20 * MIB);
	}
	assert_int_equal(waitpid(v.pid, NULL, 0), v.pid);
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(from_child[i]);
	}
	close(v.fd);
}

/*
 * Dead when it is released, and waited for by nobody yet.  A moment later it would
 * be gone: it has exited, and there is nothing of it to be missed.
 */
static void test_dead_by_then(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	int to_child[2], from_child[2];
	struct mrelease_target *target;
	struct victim v;
	siginfo_t si;

	(void)state;
	/* Of our program, so that it has pages that we have, too. */
	start_growing(&v, to_child, from_child);
	target = prepare(&v, 0);
	assert_int_equal(kill(v.pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)v.pid, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(mrelease_release(target, in_seconds(20), &rep), 0);
	check_report(&rep, 0);
	mrelease_target_free(target);
	expect_report(&rep, rep.result == MRELEASE_EXITED);
	expect_report(&rep, !rep.kinds[MRELEASE_ANON].outstanding_bytes);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	assert_int_equal(waitpid(v.pid, NULL, 0), v.pid);
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(from_child[i]);
	}
	close(v.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_standby),
		harness_test(test_standby_threads),
		harness_test(test_standby_dry),
		harness_test(test_maker_exits),
		harness_test(test_helper_killed),
		harness_test(test_helper_stopped),
		harness_test(test_after_fork),
		harness_test(test_grows),
		harness_test(test_dead_by_then),
	};

	return run_group(tests);
}
