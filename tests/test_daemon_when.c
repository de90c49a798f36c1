/* SPDX-License-Identifier: MIT */
/* When mreleased acts, and when it waits. */
#include "course.h"

static void test_calm(void **state)
{
	(void)state;
	innocents();
	expect(ACTION_NONE, REASON_CALM, NULL);
	look(0, 600);
	expect(ACTION_NONE, REASON_CALM, NULL);
	assert_int_equal(decide().level, LEVEL_CALM);
	fall(5000, 240);
	assert_int_equal(decide().level, LEVEL_NEAR);
	expect(ACTION_NONE, REASON_CALM, NULL);
}

static void test_fast_hog_is_killed_at_once(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	look(0, 600);
	fall(1000, 90);
	expect(ACTION_KILL, REASON_CLIFF, "hog");
}

static void test_critical_is_killed_at_once(void **state)
{
	(void)state;
	innocents();
	hog(400, 0);
	look(0, 600);
	look(1000, 50);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Slow enough that it may be asked, and has the time that is left. */
static void test_slow_hog_is_asked(void **state)
{
	struct decision d;

	(void)state;
	innocents();
	hog(400, 30)->flags = CANDIDATE_ASKABLE;
	look(0, 200);
	fall(11000, 90);
	d = decide();
	assert_int_equal(d.action, ACTION_ASK);
	assert_string_equal(m.c[d.victim].comm, "hog");
	/* 10 MiB a second: four until the second line, less a little. */
	assert_true(d.grace_ns > 3 * NS_PER_S && d.grace_ns < 4 * NS_PER_S);
	m.config.grace_ns = 0;
	expect(ACTION_KILL, REASON_LOW, "hog");
}

/* SIGTERM would only kill it: it has until the second line. */
static void test_slow_hog_without_handler(void **state)
{
	(void)state;
	innocents();
	hog(400, 30);
	look(0, 200);
	fall(11000, 90);
	expect(ACTION_NONE, REASON_WAIT, NULL);
	fall(3500, 55);
	expect(ACTION_NONE, REASON_WAIT, NULL);
	fall(500, 50);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* From @from_mib on at @rate_mib a second until somebody has to go: then. */
static uint64_t left_at_kill(uint64_t rate_mib)
{
	struct decision d;
	uint64_t left = 250;

	look(0, left);
	do {
		left -= rate_mib / 50;
		look(20, left);
		d = decide();
	} while (left > rate_mib / 50 && d.action == ACTION_NONE);
	assert_int_equal(d.action, ACTION_KILL);
	return left;
}

/*
 * As late as it can be with the memory back before all of it is gone, and at
 * the second line at the latest.
 */
static void test_as_late_as_possible(void **state)
{
	static const struct {
		uint64_t rate_mib, release_ms, members;
		uint64_t from_mib, to_mib;
	} cases[] = {
		{ 50, 0, 1, 45, 50 },	   { 150, 0, 1, 45, 50 },
		{ 250, 0, 1, 65, 80 },	   { 150, 100, 1, 45, 50 },
		{ 150, 500, 1, 65, 80 },   { 1000, 50, 1, 30, 55 },
		{ 1000, 500, 1, 80, 100 }, { 50, 0, 30, 65, 80 },
	};
	uint64_t left;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		course_begin(state);
		innocents();
		hog(400, 300);
		for (size_t k = 1; k < cases[i].members; k++) {
			m.c[6].anon_bytes = m.c[6].growth_bytes = 15 * MIB;
			add("hog", 15)->growth_bytes = 15 * MIB;
			m.c[m.nr - 1].parent = 6;
			m.c[m.nr - 1].session = m.c[6].session;
		}
		m.release_ns = (int64_t)cases[i].release_ms * NS_PER_MS;
		left = left_at_kill(cases[i].rate_mib);
		print_message("# case %zu: at %d MiB\n", i, (int)left);
		assert_in_range(left, cases[i].from_mib, cases[i].to_mib);
	}
}

/* Below the first line for a moment, and up again: nobody's business. */
static void test_spike(void **state)
{
	(void)state;
	innocents();
	hog(100, 80);
	look(0, 200);
	fall(2000, 96);
	expect(ACTION_NONE, REASON_HOLD, NULL);
	fall(200, 120);
	expect(ACTION_NONE, REASON_CALM, NULL);
	fall(1000, 300);
	expect(ACTION_NONE, REASON_CALM, NULL);
}

/*
 * Below the first line for a second, near the second, and all of it comes back
 * by itself: nobody goes for it, however it came.
 */
static void test_spike_gives_back(void **state)
{
	static const uint64_t rates_mib[] = { 40, 80, 120, 160 };

	for (size_t i = 0; i < ARRAY_SIZE(rates_mib); i++)
		for (uint32_t flags = 0; flags <= CANDIDATE_ASKABLE;
		     flags += CANDIDATE_ASKABLE) {
			course_begin(state);
			innocents();
			hog(400, 300)->flags = flags;
			look(0, 140);
			for (uint64_t t = 0; t < 3000; t += 20) {
				uint64_t fell = rates_mib[i] * t / 1000;

				look(20, fell < 80 ? 140 - fell : 60);
				/* One that can react may be asked. */
				if (!flags || m.now.available_bytes == 60 * MIB)
					assert_int_not_equal(decide().action,
							     ACTION_KILL);
				if (!flags)
					assert_int_equal(decide().action,
							 ACTION_NONE);
			}
			expect(ACTION_NONE, REASON_STEADY, NULL);
			fall(100, 400);
			expect(ACTION_NONE, REASON_CALM, NULL);
		}
}

/* A machine can live at 8 % for years. */
static void test_steady(void **state)
{
	(void)state;
	innocents();
	look(0, 80);
	fall(60000, 80);
	expect(ACTION_NONE, REASON_STEADY, NULL);
	/* With earlyoom's lines and no hold it is killed for. */
	m.config.hold_ns = 0;
	assert_int_equal(decide().action, ACTION_KILL);
}

static void test_swap_left(void **state)
{
	(void)state;
	innocents();
	hog(400, 100);
	m.now.swap_total_bytes = 500 * MIB;
	m.now.swap_free_bytes = 400 * MIB;
	look(0, 200);
	fall(1000, 40);
	/* Both have to be low. */
	expect(ACTION_NONE, REASON_CALM, NULL);
	assert_int_equal(decide().level, LEVEL_NEAR);
	m.now.swap_free_bytes = 20 * MIB;
	look(1000, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Page cache in circles, with a quarter of the memory available. */
static void test_cache_thrash(void **state)
{
	(void)state;
	innocents();
	add("reader", 150);
	for (int i = 0; i < 300; i++) {
		m.now.full_us += 45000;
		m.now.some_us += 50000;
		m.now.refault_file += 5000;
		look(50, 240);
	}
	expect(ACTION_NONE, REASON_CACHE, NULL);
}

/* The same stall with memory short: somebody has to go. */
static void test_stall(void **state)
{
	(void)state;
	innocents();
	/* There is no time to ask it. */
	hog(300, 50)->flags = CANDIDATE_ASKABLE;
	for (int i = 0; i < 300; i++) {
		m.now.full_us += 45000;
		m.now.refault_file += 5000;
		look(50, 150);
	}
	expect(ACTION_KILL, REASON_STALL, "hog");
	m.config.stall_permille = 0;
	expect(ACTION_NONE, REASON_CALM, NULL);
}

/* The same beside a tmpfs that was full before: one after another would go in vain. */
static void test_stall_beside_tmpfs(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		add("innocent", 11);
	m.growth_ns = 3 * NS_PER_S;
	m.now.shmem_bytes = 550 * MIB;
	for (int i = 0; i < 300; i++) {
		m.now.full_us += 45000;
		m.now.refault_file += 5000;
		look(50, 130);
	}
	assert_int_equal(decide().level, LEVEL_CRITICAL);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
	/* With this one there is enough. */
	add("enough", 25);
	expect(ACTION_KILL, REASON_STALL, "enough");
}

/* A stall of a second is not one of ten. */
static void test_short_stall(void **state)
{
	(void)state;
	innocents();
	hog(300, 50);
	for (int i = 0; i < 20; i++) {
		m.now.full_us += 50000;
		look(50, 150);
	}
	assert_int_equal(decide().action, ACTION_NONE);
	/* Over no time at all there is no stall. */
	m.config.stall_ns = 0;
	assert_int_equal(decide().action, ACTION_NONE);
}

/* As far back as a setting may ask for, however long it has been running. */
static void test_long_stall(void **state)
{
	static const int64_t times_s[] = { 10, 60, 119, 120 };

	(void)state;
	innocents();
	hog(300, 50);
	for (int i = 0; i < 5000; i++) {
		m.now.full_us += 200000;
		look(200, 150);
		for (size_t k = 0; i > 600 && k < ARRAY_SIZE(times_s); k++) {
			m.config.stall_ns = times_s[k] * NS_PER_S;
			expect(ACTION_KILL, REASON_STALL, "hog");
		}
	}
	/* Asleep: a look each ten seconds, and then it stalls. */
	course_begin(state);
	innocents();
	hog(300, 50);
	m.config.stall_ns = HISTORY_NS;
	for (int i = 0; i < 30; i++)
		look(10000, 150);
	for (int i = 0; i < 15; i++) {
		/* Half of it: not before a minute of nothing else. */
		if (i < 11)
			assert_int_equal(decide().action, ACTION_NONE);
		m.now.full_us += 5000000;
		look(5000, 150);
	}
	expect(ACTION_KILL, REASON_STALL, "hog");
}

static void test_history(void **state)
{
	static struct history h;
	struct snapshot s = { .total_bytes = TOTAL };
	size_t recent = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		s.time_ns += 10 * NS_PER_MS;
		history_push(&h, &s);
		assert_true(h.nr <= MAX_HISTORY);
		for (size_t k = 1; k < h.nr; k++)
			assert_true(h.s[k].time_ns > h.s[k - 1].time_ns);
	}
	for (size_t k = 0; k < h.nr; k++)
		recent += s.time_ns - h.s[k].time_ns < NS_PER_S;
	/* Closely near the end, and it still reaches back. */
	assert_true(recent >= 15);
	assert_true(s.time_ns - h.s[0].time_ns > 30 * NS_PER_S);
	/* A clock that jumps back begins anew. */
	s.time_ns = 5;
	history_push(&h, &s);
	assert_int_equal(h.nr, 1);
}

/* Half of the machine, in bytes. */
static void test_line_in_bytes(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	m.config.mem_kill = (struct line){ .bytes = 300 * MIB };
	look(0, 600);
	look(1000, 301);
	assert_int_not_equal(decide().level, LEVEL_CRITICAL);
	look(1000, 300);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Only the first line was set, below where the second one is by itself. */
static void test_kill_line_follows(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	m.config.mem_term = (struct line){ .permille = 40 };
	look(0, 600);
	look(1000, 45);
	assert_int_not_equal(decide().level, LEVEL_CRITICAL);
	look(1000, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	/* It is there because it was asked for. */
	m.config.mem_kill = (struct line){ .permille = 50 };
	look(1000, 45);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* "Swap does not count" is so to the last byte. */
static void test_all_of_swap(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	m.config.swap_term = m.config.swap_kill =
		(struct line){ .permille = 1000 };
	m.now.swap_total_bytes = m.now.swap_free_bytes = 2147479552;
	look(0, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		course_test(test_calm),
		course_test(test_fast_hog_is_killed_at_once),
		course_test(test_critical_is_killed_at_once),
		course_test(test_slow_hog_is_asked),
		course_test(test_slow_hog_without_handler),
		course_test(test_as_late_as_possible),
		course_test(test_spike),
		course_test(test_spike_gives_back),
		course_test(test_steady),
		course_test(test_swap_left),
		course_test(test_cache_thrash),
		course_test(test_stall),
		course_test(test_stall_beside_tmpfs),
		course_test(test_short_stall),
		course_test(test_long_stall),
		course_test(test_history),
		course_test(test_line_in_bytes),
		course_test(test_kill_line_follows),
		course_test(test_all_of_swap),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
