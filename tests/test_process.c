/* SPDX-License-Identifier: MIT */
/* One process, released: every state in which a SIGKILL can meet it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static void release_named(const char *name, const char *mib, struct victim *v,
			  struct mrelease_report *rep)
{
	victim_start(v, name, mib, NULL);
	expect_report(rep, release(v, NULL, rep) == 0);
	expect_released(v, rep, -1);
}

static void test_anon(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("anon", "64", &v, &rep);
	expect_report(&rep, rep.path == MRELEASE_PATH_PINNED ||
				    rep.notes & MRELEASE_NOTE_NO_PIN);
	expect_report(&rep, rep.outstanding_bytes == 0);
	expect_report(&rep, rep.threads == 1);
	expect_report(&rep, !strncmp(rep.comm, "victim", 6));
	expect_report(&rep, rep.sharers == 0 && rep.sharer_pid == 0);
	expect_report(&rep, rep.tracer_pid == 0);
	expect_report(&rep, rep.prepare_ns > 0);
	expect_report(&rep, rep.release_ns <= rep.exit_ns);
	assert_killed(&v);
}

static void test_no_private_memory_to_speak_of(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("anon", "0", &v, &rep);
	expect_report(&rep, rep.outstanding_bytes == 0);
	assert_killed(&v);
}

static void test_sizes(void **state)
{
	static const char *const sizes[] = { "1", "3", "16", "64", "200" };
	struct mrelease_report rep;
	struct victim v;
	size_t i, round;

	(void)state;
	for (round = 0; round < (size_t)rounds(10); round++) {
		for (i = 0; i < ARRAY_LEN(sizes); i++) {
			release_named("anon", sizes[i], &v, &rep);
			assert_killed(&v);
			victim_end(&v);
		}
	}
}

static void test_threads(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "threads", "100", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.threads == 101);
	assert_killed(&v);
}

/* All that is said of it stands behind a line that no buffer holds. */
static void test_hundreds_of_groups(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("grouped", "32", &v, &rep);
	expect_report(&rep, rep.threads == 1);
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_WAS_DYING));
	assert_killed(&v);
}

static void test_thousands_of_threads(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "threads", "2000", "64", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.threads == 2001);
	assert_killed(&v);
}

/*
 * The leader's own /proc files show nothing: what is outstanding, and whether
 * it is back, must have been read through another thread.
 */
static void test_zombie_leader(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "zombie-leader", "32", NULL);
	/* Our own pagemap descriptor is the leader's: no use here. */
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 32 * MIB);
	expect_report(&rep, rep.released_bytes >= 32 * MIB);
	expect_report(&rep, rep.threads == 1 || rep.threads == 2);
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_ZOMBIE));
	assert_killed(&v);
}

static void test_stopped(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("stopped", "32", &v, &rep);
}

static void test_ignoring_all_signals(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("ignoring", "32", &v, &rep);
	assert_killed(&v);
}

static void test_nice(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	release_named("nice", "32", &v, &rep);
	assert_killed(&v);
}

/* Dead before we came: nothing is signalled, nothing is claimed. */
static void test_zombie(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "zombie", NULL);
	ret = release(&v, NULL, &rep);
	expect_report(&rep, ret == 0 || ret == -ESRCH);
	expect_report(&rep, rep.result != MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 0);
	expect_report(&rep, rep.released_bytes == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_ZOMBIE);
}

static void test_gone(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "1", NULL);
	kill(v.pid, SIGKILL);
	assert_killed(&v);
	memset(&rep, 0, sizeof(rep));
	rep.size = sizeof(rep);
	assert_int_equal(mrelease_process(v.fd, NULL, &rep), -ESRCH);
	expect_report(&rep, rep.result == MRELEASE_GONE);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_NONE);
	assert_int_equal(mrelease_open(v.pid, 0), -ESRCH);
}

/*
 * SIGKILL was sent by somebody else and is on its way: the victim stands in
 * its tracer's exit stop, so it cannot be gone before we look.
 */
static void test_was_dying(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "traced-exit", "32", NULL);
	kill(v.pid, SIGKILL);
	wait_for_state(v.pid, "t");
	opts.deadline_ns = in_seconds(2);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.evidence == MRELEASE_EVIDENCE_PAGEMAP);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_WAS_DYING);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	assert_memory_back(&v);
}

static void test_soft_signal(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	int status;

	(void)state;
	opts.soft_signal = SIGTERM;
	opts.grace_ns = 10 * SEC_NS;
	victim_start(&v, "polite", "32", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.path == MRELEASE_PATH_SOFT);
	expect_report(&rep, rep.exit_ns >= 0 && rep.exit_ns < 10 * SEC_NS);
	assert_memory_back(&v);
	assert_int_equal(waitpid(v.pid, &status, 0), v.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void test_soft_signal_ignored(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	opts.soft_signal = SIGTERM;
	opts.grace_ns = SEC_NS / 10;
	victim_start(&v, "ignoring", "32", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.path != MRELEASE_PATH_SOFT);
	expect_report(&rep, rep.exit_ns >= SEC_NS / 10);
	assert_killed(&v);
}

static void test_no_pin(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_NO_PIN);
	struct mrelease_report rep;
	struct victim v;
	int i;

	(void)state;
	for (i = 0; i < rounds(20); i++) {
		victim_start(&v, "anon", "16", NULL);
		opts.deadline_ns = in_seconds(PATIENCE_S);
		expect_report(&rep, release(&v, &opts, &rep) == 0);
		/* /proc/PID/mem was open before: its end-of-file tells. */
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_no_pin(&rep);
		assert_memory_back(&v);
		assert_killed(&v);
		victim_end(&v);
	}
}

static void test_no_wait_exit(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_NO_WAIT_EXIT);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "64", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.stage >= MRELEASE_STAGE_VERIFIED);
	assert_memory_back(&v);
	/* Not left in anybody's stop: it comes to its end by itself. */
	assert_killed(&v);
}

static void test_dry_run(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 32 * MIB);
	expect_report(&rep, rep.released_bytes == 0 && rep.verified == 0);
	expect_report(&rep, rep.release_ns == -1 && rep.exit_ns == -1);
	assert_untouched(&v);
}

/* A grace longer than the deadline ends with it. */
static void test_grace_beyond_the_deadline(void **state)
{
	/* The sum of now and the second is no time at all. */
	static const int64_t grace[] = { 2 * PATIENCE_S * SEC_NS, INT64_MAX };
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(grace); i++) {
		victim_start(&v, "ignoring", "8", NULL);
		opts.soft_signal = SIGTERM;
		opts.grace_ns = grace[i];
		opts.deadline_ns = in_seconds(1);
		expect_report(&rep, release(&v, &opts, &rep) == 0);
		assert_true(now_ns() < opts.deadline_ns + PATIENCE_S * SEC_NS);
		expect_report(&rep, rep.stage >= MRELEASE_STAGE_KILLED);
		assert_killed(&v);
		victim_end(&v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_anon),
		harness_test(test_no_private_memory_to_speak_of),
		harness_test(test_sizes),
		harness_test(test_threads),
		harness_test(test_hundreds_of_groups),
		harness_test(test_thousands_of_threads),
		harness_test(test_zombie_leader),
		harness_test(test_stopped),
		harness_test(test_ignoring_all_signals),
		harness_test(test_nice),
		harness_test(test_zombie),
		harness_test(test_gone),
		harness_test(test_was_dying),
		harness_test(test_soft_signal),
		harness_test(test_soft_signal_ignored),
		harness_test(test_no_pin),
		harness_test(test_no_wait_exit),
		harness_test(test_dry_run),
		harness_test(test_grace_beyond_the_deadline),
	};

	return run_group(tests);
}
