/* SPDX-License-Identifier: MIT */
/* Whom mreleased chooses. */
#include "course.h"

/* tmpfs: the writer is gone, or small; all others would die for it. */
static void test_tmpfs_grows(void **state)
{
	(void)state;
	innocents();
	add("writer", 15)->growth_bytes = 2 * MIB;
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -200 * (int64_t)MIB;
	m.shmem_growth = 195 * (int64_t)MIB;
	m.now.shmem_bytes = 450 * MIB;
	look(0, 200);
	fall(2000, 20);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
}

static void test_tmpfs_is_full(void **state)
{
	(void)state;
	innocents();
	m.growth_ns = 3 * NS_PER_S;
	m.now.shmem_bytes = 450 * MIB;
	look(0, 30);
	fall(10000, 30);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
}

/* The same bytes, but one process has them mapped and nobody else. */
static void test_shared_memory_hog(void **state)
{
	struct candidate *c;

	(void)state;
	innocents();
	c = add("hog", 2);
	c->shmem_bytes = c->shmem_own_bytes = 440 * MIB;
	c->shmem_growth_bytes = 190 * MIB;
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -200 * (int64_t)MIB;
	m.shmem_growth = 195 * (int64_t)MIB;
	m.now.shmem_bytes = 450 * MIB;
	look(0, 200);
	fall(2000, 20);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* Sixty children, each smaller than an innocent: the job is the cause. */
static void test_tree(void **state)
{
	struct decision d;
	size_t root;

	(void)state;
	innocents();
	root = m.nr;
	add("make", 2)->session = 77;
	for (int i = 0; i < 20; i++) {
		struct candidate *c = add("cc1", 25);

		c->parent = (int32_t)root;
		c->session = 77;
		c->growth_bytes = 20 * MIB;
	}
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -400 * (int64_t)MIB;
	look(0, 400);
	fall(2000, 20);
	d = decide();
	assert_int_equal(d.action, ACTION_KILL);
	assert_true(d.tree);
	assert_int_equal(d.victim, root);
	assert_int_equal(d.members, 21);
	assert_true(d.expected_bytes == 502 * MIB);
	m.config.trees = false;
	d = decide();
	assert_false(d.tree);
	m.config.trees = true;
	/* One who must not go keeps the job alive; a member goes. */
	m.c[root + 3].flags |= CANDIDATE_NEVER;
	d = decide();
	assert_int_equal(d.action, ACTION_KILL);
	assert_false(d.tree);
	assert_string_equal(m.c[d.victim].comm, "cc1");
}

/* A desktop is no job of its one busy child, nor a shell on a terminal. */
static void test_no_tree_above_the_job(void **state)
{
	size_t shell, i;

	(void)state;
	shell = m.nr;
	add("desktop", 50);
	for (i = 0; i < 30; i++) {
		add("app", 10)->parent = (int32_t)shell;
		m.c[m.nr - 1].session = m.c[shell].session;
	}
	for (i = 0; i < 10; i++) {
		add("worker", 30)->parent = (int32_t)shell;
		m.c[m.nr - 1].session = m.c[shell].session;
		m.c[m.nr - 1].growth_bytes = 25 * MIB;
	}
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -250 * (int64_t)MIB;
	look(0, 300);
	fall(2000, 20);
	assert_false(decide().tree);
	expect(ACTION_KILL, REASON_CRITICAL, "worker");
	/* The same without the other apps, but it is a login shell. */
	for (i = 0; i < 30; i++)
		m.c[shell + 1 + i].parent = -1;
	assert_true(decide().tree);
	m.c[shell].flags |= CANDIDATE_TERMINAL;
	assert_false(decide().tree);
}

/* A cgroup that goes as a whole is as big as all of it, and as protected. */
static void test_unit(void **state)
{
	struct decision d;

	(void)state;
	innocents();
	for (int i = 0; i < 10; i++)
		add("worker", 30)->unit = 5;
	look(0, 40);
	d = decide();
	assert_int_equal(d.action, ACTION_KILL);
	assert_true(d.whole);
	assert_false(d.tree);
	assert_int_equal(d.members, 10);
	assert_true(d.expected_bytes == 300 * MIB);
	assert_string_equal(m.c[d.victim].comm, "worker");
	/* One that is dying does not keep it, one that must not go does. */
	m.c[7].flags |= CANDIDATE_DYING;
	d = decide();
	assert_true(d.whole);
	assert_int_equal(d.members, 9);
	assert_true(d.expected_bytes == 270 * MIB);
	m.c[8].flags |= CANDIDATE_NEVER;
	expect(ACTION_KILL, REASON_CRITICAL, "innocent");
	assert_false(decide().whole);
}

static void test_never(void **state)
{
	static const uint32_t flags[] = { CANDIDATE_NEVER, CANDIDATE_DYING,
					  CANDIDATE_NEVER | CANDIDATE_PREFER };

	(void)state;
	hog(500, 400)->oom_score_adj = 1000;
	look(0, 400);
	fall(1000, 10);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		m.c[0].flags = flags[i];
		expect(ACTION_NONE, REASON_NOBODY, NULL);
	}
	add("small", 5);
	expect(ACTION_NONE, REASON_NOBODY, NULL);
	add("enough", 20);
	expect(ACTION_KILL, REASON_CRITICAL, "enough");
}

static void test_preferences(void **state)
{
	static const struct {
		uint64_t a_mib, b_mib;
		uint32_t a_flags, b_flags;
		int a_adj, b_adj;
		enum victim_order order;
		const char *who;
	} cases[] = {
		{ 100, 200, 0, 0, 0, 0, ORDER_SCORE, "b" },
		{ 100, 200, CANDIDATE_PREFER, 0, 0, 0, ORDER_SCORE, "a" },
		{ 100, 200, 0, CANDIDATE_AVOID, 0, 0, ORDER_SCORE, "a" },
		/* To avoid is not to spare: it is half of the machine. */
		{ 100, 550, 0, CANDIDATE_AVOID, 0, 0, ORDER_SCORE, "b" },
		{ 100, 200, 0, 0, 200, 0, ORDER_SCORE, "a" },
		{ 100, 200, 0, 0, 200, 0, ORDER_SIZE, "b" },
		{ 100, 200, 0, 0, 0, -200, ORDER_SCORE, "a" },
		{ 100, 200, CANDIDATE_PREFER, 0, 0, 0, ORDER_SIZE, "a" },
		{ 100, 300, 0, 0, 300, 300, ORDER_SCORE, "b" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		course_begin(state);
		add("a", cases[i].a_mib)->flags = cases[i].a_flags;
		m.c[0].oom_score_adj = cases[i].a_adj;
		add("b", cases[i].b_mib)->flags = cases[i].b_flags;
		m.c[1].oom_score_adj = cases[i].b_adj;
		m.config.order = cases[i].order;
		look(0, 40);
		print_message("# case %zu\n", i);
		expect(ACTION_KILL, REASON_CRITICAL, cases[i].who);
		assert_int_not_equal(decide().second, -1);
	}
}

/* The cause before the biggest: an old database, and what grows. */
static void test_growth_before_size(void **state)
{
	(void)state;
	add("database", 350)->age_s = 10000000;
	hog(200, 150);
	look(0, 400);
	fall(2000, 20);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* One death that is enough, rather than one that calls for the next. */
static void test_one_that_is_enough(void **state)
{
	(void)state;
	add("enough", 115);
	add("little", 105)->oom_score_adj = 30;
	look(0, 400);
	fall(1000, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "enough");
	/* Here both are. */
	m.c[0].anon_bytes += 50 * MIB;
	m.c[1].anon_bytes += 50 * MIB;
	expect(ACTION_KILL, REASON_CRITICAL, "little");
}

/* Of two that are alike it is the one that has run for less long. */
static void test_long_runner(void **state)
{
	(void)state;
	add("old", 200)->age_s = 1000000;
	add("young", 200)->age_s = 10;
	look(0, 400);
	fall(1000, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "young");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		course_test(test_tmpfs_grows),
		course_test(test_tmpfs_is_full),
		course_test(test_shared_memory_hog),
		course_test(test_tree),
		course_test(test_no_tree_above_the_job),
		course_test(test_unit),
		course_test(test_never),
		course_test(test_preferences),
		course_test(test_growth_before_size),
		course_test(test_one_that_is_enough),
		course_test(test_long_runner),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
