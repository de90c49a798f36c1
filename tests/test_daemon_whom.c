/* SPDX-License-Identifier: MIT */
/* Whom mreleased chooses. */
#include "course.h"

/* As fall(), for files in a tmpfs. */
static void fill(int64_t ms, int64_t to_mib)
{
	int64_t from = (int64_t)(m.now.available_bytes / MIB);
	uint64_t had = m.now.shmem_bytes / MIB;

	for (int64_t t = 50; t <= ms; t += 50) {
		int64_t written = (from - to_mib) * t / ms;

		m.now.shmem_bytes = (had + (uint64_t)written) * MIB;
		look(50, (uint64_t)(from - written));
	}
}

/* tmpfs: the writer is gone, or small; all others would die for it. */
static void test_tmpfs_grows(void **state)
{
	(void)state;
	innocents();
	add("writer", 15)->growth_bytes = 2 * MIB;
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -200 * (int64_t)MIB;
	m.shmem_growth = 195 * (int64_t)MIB;
	m.now.shmem_bytes = 270 * MIB;
	look(0, 200);
	fill(2000, 20);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
}

/*
 * It grew after the last calm sweep, and that was all: since then somebody else has taken
 * what was left.  What a journal in /run takes meanwhile does not matter.
 */
static void test_tmpfs_has_stopped(void **state)
{
	(void)state;
	hog(380, 370);
	m.growth_ns = 8 * NS_PER_S;
	look(0, 890);
	fill(1000, 440);
	m.shmem_growth = 450 * (int64_t)MIB;
	m.available_growth = -870 * (int64_t)MIB;
	/* Until half of the last second is the hog's. */
	fall(200, 400);
	m.now.shmem_bytes += MIB / 4;
	fall(1500, 20);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	/* It has all that it wants. */
	fall(2000, 20);
	m.now.shmem_bytes += MIB / 4;
	look(50, 20);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	/* Many that leak, none of whom is enough alone. */
	m.nr = 0;
	for (int i = 0; i < 13; i++)
		add("leaker", 29)->growth_bytes = 20 * MIB;
	expect(ACTION_KILL, REASON_CRITICAL, "leaker");
}

/* Nothing grows any more, and nobody has enough to lead out of it. */
static void test_tmpfs_is_full(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		add("innocent", 35);
	m.growth_ns = 3 * NS_PER_S;
	m.now.shmem_bytes = 650 * MIB;
	look(0, 10);
	fall(10000, 10);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
	/* Slowly, but it is the tmpfs that grows: it takes what comes back. */
	look(1000, 16);
	fill(3000, 10);
	m.shmem_growth = 5 * (int64_t)MIB;
	m.available_growth = -6 * (int64_t)MIB;
	m.c[0].growth_bytes = MIB;
	expect(ACTION_NONE, REASON_TMPFS, NULL);
	/* One that has, at the second line. */
	add("enough", 45);
	expect(ACTION_KILL, REASON_CRITICAL, "enough");
}

/* It was full before.  What makes memory short now is one that leaks. */
static void test_tmpfs_and_slow_leak(void **state)
{
	struct candidate *c;

	(void)state;
	for (int i = 0; i < 6; i++)
		add("innocent", 30);
	c = add("leaker", 35);
	m.growth_ns = 2 * NS_PER_S;
	m.now.shmem_bytes = 650 * MIB;
	look(0, 30);
	fall(10000, 10);
	expect(ACTION_NONE, REASON_TMPFS, NULL);
	/* Less than a hundredth of the memory, and all that is left in 7 s. */
	c->growth_bytes = 3 * MIB;
	m.available_growth = -3 * (int64_t)MIB;
	expect(ACTION_KILL, REASON_CRITICAL, "leaker");
	/* In a quarter of an hour. */
	c->growth_bytes = MIB / 50;
	m.available_growth = -(int64_t)MIB / 50;
	expect(ACTION_NONE, REASON_TMPFS, NULL);
}

/* Between the lines as well: it falls, and not because of the tmpfs. */
static void test_tmpfs_and_leak_above(void **state)
{
	(void)state;
	innocents();
	hog(100, 5)->flags = CANDIDATE_ASKABLE;
	m.now.shmem_bytes = 450 * MIB;
	look(0, 120);
	fall(20000, 70);
	assert_int_equal(decide().action, ACTION_ASK);
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
	m.now.shmem_bytes = 270 * MIB;
	look(0, 200);
	fill(2000, 20);
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

/* make, sh, and below it ten compilers that grow by @growth_mib each. */
static size_t make_job(uint64_t growth_mib)
{
	size_t root = m.nr;

	add("make", 2)->session = 77;
	add("sh", 2)->session = 77;
	m.c[root + 1].parent = (int32_t)root;
	for (int i = 0; i < 10; i++) {
		struct candidate *c = add("cc1", 40);

		c->parent = (int32_t)root;
		c->session = 77;
		c->growth_bytes = growth_mib * MIB;
	}
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -10 * (int64_t)(growth_mib * MIB);
	look(0, 400);
	fall(2000, 20);
	return root;
}

/* Sessions are nothing to a kill: a protected one below a border counts. */
static void test_protected_below_a_border(void **state)
{
	struct candidate *c;
	size_t root;

	(void)state;
	root = make_job(35);
	assert_true(decide().tree);
	c = add("daemon", 5);
	c->parent = (int32_t)root + 1;
	c->session = 78;
	assert_false(decide().tree);
	c->flags |= CANDIDATE_NEVER;
	assert_false(decide().tree);
	/* It is of the job's session, far down. */
	for (int i = 0; i < 70; i++) {
		c = add("deep", 1);
		c->session = 77;
		c->parent = (int32_t)m.nr - 2;
	}
	c->flags |= CANDIDATE_NEVER;
	m.c[root + 12].flags = 0;
	m.c[root + 12].session = 77;
	assert_false(decide().tree);
	c->flags = 0;
	assert_false(decide().tree);
	/* Not one that is gone already. */
	m.nr = root + 13;
	m.c[root + 12].session = 78;
	m.c[root + 12].flags = CANDIDATE_DYING;
	assert_true(decide().tree);
}

/* A job is protected as its most protected member is. */
static void test_protected_tree(void **state)
{
	size_t root, hog;

	(void)state;
	root = make_job(25);
	hog = m.nr;
	add("hog", 300)->growth_bytes = 140 * MIB;
	assert_true(decide().tree);
	m.c[root + 5].oom_score_adj = -997;
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	m.c[root + 5].oom_score_adj = 0;
	m.c[hog].flags |= CANDIDATE_PREFER;
	assert_true(decide().tree);
	m.c[root + 5].flags |= CANDIDATE_AVOID;
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	/* Preferred, all of it. */
	for (size_t i = root; i < hog; i++)
		m.c[i].flags = CANDIDATE_PREFER;
	assert_true(decide().tree);
}

/* A zombie, and drivers that wait for their compilers, are not the job's ruin. */
static void test_tree_with_idlers(void **state)
{
	struct decision d;
	size_t root;

	(void)state;
	root = make_job(35);
	for (int i = 0; i < 14; i++) {
		struct candidate *c = add("g++", 3);

		c->parent = (int32_t)root;
		c->session = 77;
	}
	add("zombie", 0)->parent = (int32_t)root;
	m.c[m.nr - 1].session = 77;
	m.c[m.nr - 1].flags = CANDIDATE_DYING;
	d = decide();
	assert_true(d.tree);
	assert_int_equal(d.victim, root);
	assert_int_equal(d.members, 26);
	/* Nobody is asked: the root may exit alone. */
	m.c[root].flags |= CANDIDATE_ASKABLE;
	look(1000, 200);
	fall(11000, 90);
	assert_int_not_equal(decide().action, ACTION_ASK);
}

/* With swap in use a hog hardly makes less available; nor does half a MiB of tmpfs. */
static void test_a_little_tmpfs(void **state)
{
	(void)state;
	innocents();
	hog(400, 300);
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -(int64_t)MIB;
	m.shmem_growth = (int64_t)MIB * 6 / 10;
	look(0, 40);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	m.shmem_growth = 100 * (int64_t)MIB;
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
}

/* A child of fork(2) has what its parent has: it brings nothing. */
static void test_fresh_child(void **state)
{
	struct candidate *c;

	(void)state;
	innocents();
	add("redis", 300);
	c = add("bgsave", 300);
	c->parent = (int32_t)m.nr - 2;
	c->inherited_bytes = 295 * MIB;
	hog(250, 200);
	look(0, 400);
	fall(2000, 20);
	expect(ACTION_KILL, REASON_CRITICAL, "hog");
	m.c[m.nr - 1].flags |= CANDIDATE_NEVER;
	expect(ACTION_KILL, REASON_CRITICAL, "redis");
	assert_true(candidate_gain(c) == 5 * MIB);
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
		course_test(test_tmpfs_has_stopped),
		course_test(test_tmpfs_is_full),
		course_test(test_tmpfs_and_slow_leak),
		course_test(test_tmpfs_and_leak_above),
		course_test(test_shared_memory_hog),
		course_test(test_tree),
		course_test(test_no_tree_above_the_job),
		course_test(test_protected_below_a_border),
		course_test(test_protected_tree),
		course_test(test_tree_with_idlers),
		course_test(test_a_little_tmpfs),
		course_test(test_fresh_child),
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
