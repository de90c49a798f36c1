/* SPDX-License-Identifier: MIT */
/* Who belongs to a release under way is not chosen, whatever became of it. */
#include "course.h"
#include "struck.h"

/* Each has a letter; this is their order by number, too. */
static const struct person {
	char name;
	pid_t pid;
	/* 0: nobody's child. */
	char parent;
	uint32_t unit;
	pid_t group;
	uint64_t mib;
} cast[] = {
	/* The numbers have begun anew: it is younger than its parent. */
	{ 'e', 990, 'c', 0, 1, 60 },
	/* A job: make, a shell, a compiler. */
	{ 'a', 1000, 0, 0, 1, 2 },
	{ 'b', 1001, 'a', 0, 1, 2 },
	{ 'c', 1002, 'b', 0, 1, 300 },
	{ 'i', 1003, 0, 0, 3, 100 },
	{ 'u', 1004, 0, 5, 1, 40 },
	{ 'v', 1005, 0, 5, 1, 240 },
	{ 'g', 1006, 0, 0, 7, 90 },
	{ 'h', 1007, 0, 0, 7, 260 },
	/* Born late: of the compiler, and in the cgroup. */
	{ 'n', 1008, 'c', 0, 9, 310 },
	{ 'w', 1009, 0, 5, 1, 320 },
};

static struct memory_of memory[ARRAY_SIZE(cast)], remembered[ARRAY_SIZE(cast)];
static struct table table;
static struct strikes strikes;

static int32_t index_of(char name)
{
	for (size_t i = 0; i < m.nr; i++)
		if (m.c[i].comm[0] == name)
			return (int32_t)i;
	return -1;
}

/* What a sweep makes of it when these are there. */
static void sweep(const char *there)
{
	for (size_t i = 0; i < m.nr; i++)
		for (size_t k = 0; k < ARRAY_SIZE(cast); k++)
			if (cast[k].pid == m.c[i].pid)
				remembered[k] = memory[i];
	m.nr = 0;
	for (size_t k = 0; k < ARRAY_SIZE(cast); k++) {
		const struct person *p = &cast[k];
		char name[] = { p->name, 0 };
		struct candidate *c;

		if (!strchr(there, p->name))
			continue;
		memory[m.nr] = remembered[k];
		c = add(name, p->mib);
		c->pid = p->pid;
		c->start = 7;
		c->unit = p->unit;
		c->pgrp = p->group;
	}
	for (size_t i = 0; i < m.nr; i++)
		for (size_t k = 0; k < ARRAY_SIZE(cast); k++)
			if (cast[k].pid == m.c[i].pid)
				m.c[i].parent = index_of(cast[k].parent);
	table.c = m.c;
	table.m = memory;
	table.nr = m.nr;
	struck_mark(&strikes, &table);
}

static const char *dying(void)
{
	static char who[ARRAY_SIZE(cast) + 1];
	size_t n = 0;

	for (size_t i = 0; i < m.nr; i++)
		if (m.c[i].flags & CANDIDATE_DYING)
			who[n++] = m.c[i].comm[0];
	who[n] = 0;
	return who;
}

static const struct {
	const char *what;
	struct struck s;
	/* Who belongs to it at once. */
	const char *at_once;
	/* Who is there a moment later; who of them belongs to it. */
	const char *later;
	const char *dying;
	/* Who is next then. */
	const char *next;
	/* Who is left out for good once it has ended, and once it has failed */
	const char *ended;
	const char *failed;
} cases[] = {
	{ "one", { .pid = 1000 }, "a", "eabcin", "a", "n", "a", "a" },
	{ "a tree",
	  { .pid = 1000, .tree = true },
	  "eabc",
	  "eabci",
	  "eabc",
	  "i",
	  "eabc",
	  "a" },
	/* The shell is gone, its children are nobody's, and have more. */
	{ "orphans",
	  { .pid = 1000, .tree = true },
	  "eabc",
	  "eacin",
	  "eacn",
	  "i",
	  "eacn",
	  "a" },
	{ "its root is gone",
	  { .pid = 1000, .tree = true },
	  "eabc",
	  "ecin",
	  "ecn",
	  "i",
	  "ecn",
	  "" },
	{ "a cgroup",
	  { .pid = 1004, .whole = true },
	  "uv",
	  "iuvw",
	  "uvw",
	  "i",
	  "uvw",
	  "u" },
	{ "its first is gone",
	  { .pid = 1004, .whole = true },
	  "uv",
	  "ivw",
	  "vw",
	  "i",
	  "vw",
	  "" },
	{ "a group",
	  { .pid = 1006, .group = 7 },
	  "gh",
	  "igh",
	  "gh",
	  "i",
	  "gh",
	  "g" },
};

static void begin(size_t i, void **state)
{
	struct struck s = cases[i].s;

	course_begin(state);
	memset(&strikes, 0, sizeof(strikes));
	memset(memory, 0, sizeof(memory));
	memset(remembered, 0, sizeof(remembered));
	print_message("# %s\n", cases[i].what);
	s.start = 7;
	s.under_way = true;
	sweep("eabciuvgh");
	struck_add(&strikes, &table, &s);
	assert_string_equal(dying(), cases[i].at_once);
	sweep(cases[i].later);
	assert_string_equal(dying(), cases[i].dying);
}

/* It takes longer than the policy waits: a stranger to it is next. */
static void test_under_way(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(i, state);
		look(0, 40);
		m.releases[0] = (struct release_view){
			.phase = RELEASE_KILLED,
			.pid = cases[i].s.pid,
			.killed_ns = m.now.time_ns - 2001 * NS_PER_MS,
		};
		expect(ACTION_KILL, REASON_CRITICAL, cases[i].next);
	}
}

static void test_over(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(i, state);
		struck_end(&strikes, &table, cases[i].s.pid, 7, false);
		sweep(cases[i].later);
		assert_string_equal(dying(), cases[i].ended);
	}
}

/* Nobody who was to go with it was killed: each of them may be, alone. */
static void test_failed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(i, state);
		/* Another one that had the number before. */
		struck_end(&strikes, &table, cases[i].s.pid, 6, true);
		sweep(cases[i].later);
		assert_string_equal(dying(), cases[i].dying);
		struck_end(&strikes, &table, cases[i].s.pid, 7, true);
		sweep(cases[i].later);
		assert_string_equal(dying(), cases[i].failed);
	}
}

/* It was asked, and lives on: it can be chosen again, at once and later. */
static void test_let_be(void **state)
{
	begin(0, state);
	struck_forget(&strikes, &table, 1000, 6);
	assert_string_equal(dying(), "a");
	struck_add(&strikes, &table,
		   &(struct struck){ .pid = 1003, .start = 7 });
	struck_forget(&strikes, &table, 1000, 7);
	assert_string_equal(dying(), "i");
	sweep("eabci");
	assert_string_equal(dying(), "i");
	/* And asked again. */
	struck_add(&strikes, &table,
		   &(struct struck){ .pid = 1000, .start = 7 });
	sweep("eabci");
	assert_string_equal(dying(), "ai");
}

/* Once it is over, a service that begins anew in the cgroup is another. */
static void test_begun_anew(void **state)
{
	begin(4, state);
	struck_end(&strikes, &table, 1004, 7, false);
	sweep("iv");
	assert_string_equal(dying(), "v");
	memset(remembered, 0, sizeof(remembered));
	memset(memory, 0, sizeof(memory));
	sweep("ivw");
	assert_string_equal(dying(), "");
	/* Also while one of the old is still there. */
	begin(4, state);
	struck_end(&strikes, &table, 1004, 7, false);
	sweep("iuv");
	memset(&remembered[ARRAY_SIZE(cast) - 1], 0, sizeof(remembered[0]));
	sweep("iuvw");
	assert_string_equal(dying(), "uv");
}

/* The thirty-third takes the place of the first. */
static void test_many(void **state)
{
	begin(0, state);
	for (pid_t pid = 1; pid <= MAX_STRUCK - 1; pid++)
		struck_add(&strikes, &table, &(struct struck){ .pid = pid });
	assert_string_equal(dying(), "a");
	struck_add(&strikes, &table, &(struct struck){ .pid = 40 });
	sweep("eabci");
	assert_string_equal(dying(), "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		course_test(test_under_way), course_test(test_over),
		course_test(test_failed),    course_test(test_begun_anew),
		course_test(test_let_be),    course_test(test_many),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
