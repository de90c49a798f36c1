/* SPDX-License-Identifier: MIT */
/* What one sweep of mreleased knows from those before it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "procs.h"
#include "text.h"

/* Clock ticks since boot, so many seconds ago. */
static uint64_t born(int64_t seconds_ago)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	assert_true(ts.tv_sec > seconds_ago);
	return (uint64_t)(ts.tv_sec - seconds_ago) *
	       (uint64_t)sysconf(_SC_CLK_TCK);
}

/* Nobody has looked for so long. */
static void rest(int64_t seconds)
{
	table.swept_ns -= seconds * NS_PER_S;
	for (int i = 0; i < 2; i++)
		table.base[i].time_ns -= seconds * NS_PER_S;
}

/* Asleep for a while: who has come or grown meanwhile has taken the memory. */
static void test_growth_after_a_rest(void **state)
{
	struct process database = { 100, 1, "database", 2 << 20, 5, 0, 7 };
	struct process slow = { 101, 1, "slow", 1 << 10, 6, 0, 8 };
	struct process hog = { 102, 1, "hog", 1500 << 10, 7, 0, born(20) };

	(void)state;
	put_process(&database);
	put_process(&slow);
	sweep();
	assert_true(find(&database)->growth_bytes == 0);
	rest(42);
	put_process(&hog);
	slow.kib = 900 << 10;
	put_process(&slow);
	sweep();
	assert_true(find(&database)->growth_bytes == 0);
	assert_true(find(&slow)->growth_bytes == 899 * MIB);
	assert_true(find(&hog)->growth_bytes == 1500 * MIB);
}

/* Nothing is known of what was before: but it was born a moment ago. */
static void test_born_a_moment_ago(void **state)
{
	struct process database = { 100, 1, "database", 2 << 20, 5, 0, 7 };
	struct process hog = { 102, 1, "hog", 1500 << 10, 7, 0, 0 };

	(void)state;
	hog.start = born(4);
	put_process(&database);
	put_process(&hog);
	for (int i = 0; i < 2; i++) {
		sweep();
		assert_true(find(&database)->growth_bytes == 0);
		assert_true(find(&hog)->growth_bytes == 1500 * MIB);
		rest(300);
	}
	hog.start = born(12);
	put_process(&hog);
	database.kib += 1 << 20;
	put_process(&database);
	sweep();
	assert_true(find(&database)->growth_bytes == 0);
	assert_true(find(&hog)->growth_bytes == 0);
}

#define sweep_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		sweep_test(test_growth_after_a_rest),
		sweep_test(test_born_a_moment_ago),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
