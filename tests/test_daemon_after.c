/* SPDX-License-Identifier: MIT */
/* What mreleased does while memory is coming back, and after. */
#include "course.h"

static void release(enum release_phase phase, int64_t ms_ago)
{
	int64_t then = m.now.time_ns - ms_ago * NS_PER_MS;

	m.releases[1] = (struct release_view){
		.phase = phase,
		.pid = 1006,
		.asked_ns = then,
		.killed_ns = then,
		.done_ns = then,
		.grace_ns = 2 * NS_PER_S,
		.expected_bytes = 400 * MIB,
	};
	m.c[6].flags |= CANDIDATE_DYING;
}

/* The heart of it: while memory is coming back nobody else dies. */
static void test_no_second_kill_while_releasing(void **state)
{
	static const int64_t ages[] = { 0, 1, 100, 1000, 1999 };

	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 10);
	for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
		release(RELEASE_KILLED, ages[i]);
		expect(ACTION_NONE, REASON_RELEASING, NULL);
	}
	/* It does not come: the next, and never the same. */
	release(RELEASE_KILLED, 2001);
	expect(ACTION_KILL, REASON_CRITICAL, "innocent");
}

/* @rate_mib a second come back from 2 MiB on, since @ms. */
static void come_back(uint64_t expected_mib, int64_t ms, int64_t rate_mib)
{
	look(1000, 2);
	fall(ms, 2 + rate_mib * ms / 1000);
	release(RELEASE_KILLED, ms);
	m.releases[1].expected_bytes = expected_mib * MIB;
}

/* A big one takes longer than any fixed time; as long as it comes, it comes. */
static void test_slow_but_coming(void **state)
{
	static const struct {
		uint64_t expected_mib;
		int64_t ms, rate_mib;
		bool waits;
	} cases[] = {
		{ 800, 2500, 8, true },
		{ 800, 4500, 8, true },
		/* All of its own is back by then. */
		{ 20, 2400, 8, true },
		{ 20, 2600, 8, false },
		/* A trickle: the second line would be behind us in a minute. */
		{ 800, 2500, 1, false },
		/* By the time that the release is given up, it would not. */
		{ 800, 20000, 2, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		course_begin(state);
		print_message("# case %zu\n", i);
		innocents();
		hog(800, 300);
		come_back(cases[i].expected_mib, cases[i].ms,
			  cases[i].rate_mib);
		if (cases[i].waits)
			expect(ACTION_NONE, REASON_RELEASING, NULL);
		else
			expect(ACTION_KILL, REASON_CRITICAL, "innocent");
	}
	/* It stops. */
	course_begin(state);
	innocents();
	hog(800, 300);
	come_back(800, 2500, 8);
	fall(1050, 22);
	release(RELEASE_KILLED, 3550);
	expect(ACTION_KILL, REASON_CRITICAL, "innocent");
}

static void test_settle_after_release(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 10);
	release(RELEASE_DONE, 0);
	expect(ACTION_NONE, REASON_SETTLE, NULL);
	release(RELEASE_DONE, 149);
	expect(ACTION_NONE, REASON_SETTLE, NULL);
	/* Back, and not enough. */
	release(RELEASE_DONE, 151);
	expect(ACTION_KILL, REASON_CRITICAL, "innocent");
}

/*
 * The hog is dead, and somebody holds what it had: nothing falls any more, and
 * what stalled or fell before was its doing.  The others are innocent.
 */
static void test_dead_and_held(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	m.c[6].flags |= CANDIDATE_DYING;
	look(0, 400);
	for (int i = 0; i < 220; i++) {
		m.now.full_us += 40000;
		look(50, 400 - (uint64_t)i * 3 / 2);
	}
	/* It has ended now, and 72 MiB are left. */
	m.acted_ns = m.now.time_ns + 1;
	for (int i = 0; i < 150; i++) {
		m.now.full_us += 15000;
		look(50, 72 + (uint64_t)i % 3);
		assert_int_equal(decide().action, ACTION_NONE);
	}
	/* Stalled for long since then, and badly: that is not its doing. */
	for (int i = 0; i < 300; i++) {
		m.now.full_us += 40000;
		look(50, 72);
	}
	expect(ACTION_KILL, REASON_STALL, "innocent");
}

static void test_asked(void **state)
{
	struct decision d;

	(void)state;
	innocents();
	hog(400, 30);
	look(0, 100);
	fall(2000, 80);
	release(RELEASE_ASKED, 500);
	expect(ACTION_NONE, REASON_ASKED, NULL);
	release(RELEASE_ASKED, 2000);
	d = decide();
	assert_int_equal(d.action, ACTION_ESCALATE);
	assert_int_equal(d.reason, REASON_GRACE_OVER);
	assert_int_equal(d.victim, 1);
	/* At the second line there is no grace. */
	fall(1000, 45);
	release(RELEASE_ASKED, 500);
	d = decide();
	assert_int_equal(d.action, ACTION_ESCALATE);
	assert_int_equal(d.victim, 1);
}

/* The kernel's victim is as good as ours, and dies as slowly. */
static void test_kernel_was_faster(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 10);
	m.now.oom_kills++;
	look(10, 10);
	expect(ACTION_NONE, REASON_KERNEL_OOM, NULL);
	fall(1000, 10);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Its victim was a big one: half a second is not enough, and it comes. */
static void test_kernel_victim_is_coming(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 2);
	m.now.oom_kills++;
	look(10, 2);
	fall(3000, 26);
	expect(ACTION_NONE, REASON_KERNEL_OOM, NULL);
	fall(1050, 26);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* It goes on killing, in a cgroup of its own perhaps: once is waited for. */
static void test_kernel_kills_on(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 10);
	m.now.oom_kills++;
	look(50, 10);
	expect(ACTION_NONE, REASON_KERNEL_OOM, NULL);
	for (int i = 0; i < 12; i++) {
		m.now.oom_kills += i % 4 == 3;
		look(100, 10);
	}
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Somebody else gave memory back: it may end in peace, until it is low again. */
static void test_asked_and_calm(void **state)
{
	struct decision d;

	(void)state;
	innocents();
	hog(400, 30);
	look(0, 200);
	fall(2000, 95);
	look(100, 500);
	release(RELEASE_ASKED, 60000);
	expect(ACTION_NONE, REASON_ASKED, NULL);
	look(100, 95);
	release(RELEASE_ASKED, 60100);
	d = decide();
	assert_int_equal(d.action, ACTION_ESCALATE);
	assert_int_equal(d.reason, REASON_GRACE_OVER);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		course_test(test_no_second_kill_while_releasing),
		course_test(test_slow_but_coming),
		course_test(test_settle_after_release),
		course_test(test_dead_and_held),
		course_test(test_asked),
		course_test(test_kernel_was_faster),
		course_test(test_kernel_victim_is_coming),
		course_test(test_kernel_kills_on),
		course_test(test_asked_and_calm),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
