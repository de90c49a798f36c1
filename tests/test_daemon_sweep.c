/* SPDX-License-Identifier: MIT */
/* What one sweep of mreleased knows from those before it. */
#include <fcntl.h>
#include <stdio.h>
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

/* A cgroup of these is watched. */
static void watch(const char *members)
{
	char path[PATH_MAX + 16];

	put("cgroup/cgroup.procs", members);
	snprintf(path, sizeof(path), "%s/cgroup", root);
	if (table.cgroup_fd >= 0)
		close(table.cgroup_fd);
	table.cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(table.cgroup_fd >= 0);
	table.with_others = true;
}

/* Would the job of six compilers go as a whole? */
static bool would_go(void)
{
	static struct policy_scratch scratch;
	struct policy_config config;
	struct snapshot now = { .time_ns = clock_ns(), .total_bytes = GIB };
	struct policy_view view = { .history = &now,
				    .nr_history = 1,
				    .config = &config };
	struct choice choice;

	policy_defaults(&config);
	sweep();
	table_view(&table, &now, &view);
	view.growth_ns = NS_PER_S;
	choose_victim(&view, &scratch, 0, &choice);
	return choice.tree && table.c[choice.victim].pid == 200;
}

/* Who is in no watched cgroup keeps the tree and the group that it is in. */
static void test_others(void **state)
{
	struct process make = { 200, 1, "make", 4 << 10, 5, 0, 7 };
	struct process p = { 201, 200, "cc1", 100 << 10, 6, 0, born(3) };
	struct process other = { 207, 200, "precious", 1 << 10, 7, 0, 9 };

	(void)state;
	put_process(&make);
	for (; p.pid < 207; p.pid++)
		put_process(&p);
	put_process(&(struct process){ 100, 1, "elsewhere", 1, 4, 0, 7 });
	watch("205\n200\n201\n202\n203\n204\n206\n");
	assert_true(would_go());
	put_process(&other);
	assert_false(would_go());
	assert_true(find(&other)->flags & CANDIDATE_NEVER);
	assert_true(find(&other)->anon_bytes == 0);
	assert_false(find(&make)->flags & CANDIDATE_NEVER);
	p.pid = 206;
	assert_false(find(&p)->flags & CANDIDATE_NEVER);
	assert_int_equal(table.nr, 9);
	other.state = 'Z';
	put_process(&other);
	assert_true(would_go());
	/* It has come in. */
	other.state = 'S';
	put_process(&other);
	watch("205\n200\n201\n202\n203\n204\n206\n207\n");
	assert_true(would_go());
	/* Nothing goes but single processes: they need not be known. */
	table.with_others = false;
	sweep();
	assert_int_equal(table.nr, 8);
	close(table.cgroup_fd);
}

#define sweep_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		sweep_test(test_growth_after_a_rest),
		sweep_test(test_born_a_moment_ago),
		sweep_test(test_others),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
