/* SPDX-License-Identifier: MIT */
/* When the next look is, and when processes are looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop.h"
#include "text.h"

#define MIB ((uint64_t)1 << 20)
#define GIB (1024 * MIB)

static struct mreleased d;
static struct policy_scratch scratch;
static struct decision dec;

/* For so long this much has been available, with a trigger. */
static void rest(int seconds, uint32_t has, uint64_t total, uint64_t available)
{
	int64_t now = clock_ns();

	memset(&d, 0, sizeof(d));
	policy_defaults(&d.config.policy);
	d.sense.trigger_fd = 0;
	for (int i = seconds; i >= 0; i--)
		history_push(&d.history, &(struct snapshot){
						 .time_ns = now - i * NS_PER_S,
						 .has = has | SNAPSHOT_PSI,
						 .total_bytes = total,
						 .available_bytes = available,
					 });
	policy_decide(
		&(struct policy_view){
			.history = d.history.s,
			.nr_history = d.history.nr,
			.config = &d.config.policy,
		},
		&scratch, &dec);
	assert_int_equal(dec.level, LEVEL_CALM);
}

static void test_asleep(void **state)
{
	(void)state;
	/* However fast it is filled, there is time to be woken. */
	rest(5, 0, 16 * GIB, 10 * GIB);
	assert_true(next_look(&d, &dec) == 10 * NS_PER_S);
	/* It is small, and has to be at rest. */
	rest(5, 0, GIB, 900 * MIB);
	assert_true(next_look(&d, &dec) < NS_PER_S);
	rest(31, 0, GIB, 900 * MIB);
	assert_true(next_look(&d, &dec) == 10 * NS_PER_S);
	d.sense.trigger_fd = -1;
	assert_true(next_look(&d, &dec) < NS_PER_S);
}

/* At the limit of a cgroup there may be nothing to reclaim: no stall wakes us. */
static void test_cgroup_has_no_warning(void **state)
{
	(void)state;
	rest(31, SNAPSHOT_CGROUP, GIB / 2, 500 * MIB);
	assert_true(next_look(&d, &dec) == dec.wait_ns);
	/* 45 MiB a second, and it is seen before the first line. */
	assert_true(next_look(&d, &dec) < NS_PER_S);
	rest(31, SNAPSHOT_CGROUP, 64 * GIB, 60 * GIB);
	assert_true(next_look(&d, &dec) <= NS_PER_S);
}

/* Looked at so long ago, for @took_ms, when there was so much less. */
static bool is_due(int seconds, int took_ms, uint64_t less)
{
	d.table.took_ns = took_ms * NS_PER_MS;
	d.table.swept_ns = clock_ns() - seconds * NS_PER_S;
	d.swept = *mreleased_now(&d);
	d.swept.available_bytes -= less;
	return is_sweep_due(&d, &dec);
}

/* Calm, what has happened since is known when somebody must go. */
static void test_calm_sweeps(void **state)
{
	(void)state;
	rest(31, 0, 16 * GIB, 10 * GIB);
	assert_false(is_due(8, 3, GIB));
	assert_true(is_due(10, 3, GIB));
	/* Nothing happens. */
	assert_false(is_due(59, 3, 100 * MIB));
	assert_true(is_due(60, 3, 100 * MIB));
	/* It has 10,000 to look at. */
	assert_false(is_due(10, 100, GIB));
	assert_true(is_due(20, 100, GIB));
	/* Not calm. */
	dec.level = LEVEL_NEAR;
	assert_true(is_due(1, 3, 0));
	assert_false(is_due(1, 100, 0));
	assert_true(is_due(2, 100, 0));
	dec.level = LEVEL_LOW;
	assert_true(is_due(1, 100, 0));
}

/* Some were not asked what they are, and cannot be chosen: that comes before rest. */
static void test_unasked(void **state)
{
	(void)state;
	rest(31, 0, 16 * GIB, 10 * GIB);
	assert_false(is_due(2, 3, 0));
	d.table.nr_unasked = 1;
	assert_true(is_due(2, 3, 0));
	assert_false(is_due(2, 200, 0));
	assert_true(next_look(&d, &dec) == dec.wait_ns);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asleep),
		cmocka_unit_test(test_cgroup_has_no_warning),
		cmocka_unit_test(test_calm_sweeps),
		cmocka_unit_test(test_unasked),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
