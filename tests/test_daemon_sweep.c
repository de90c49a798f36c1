/* SPDX-License-Identifier: MIT */
/* What one sweep of mreleased knows from those before it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "procs.h"
#include "text.h"

#define MANY 100

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

/* With 10,000 processes calm sweeps are 100 s apart, and a look each ten. */
static void test_growth_after_a_long_rest(void **state)
{
	struct process hog = { 100, 1, "hog", 100 << 10, 5, 0, 7 };

	(void)state;
	put_process(&hog);
	sweep();
	table.took_ns = 500 * NS_PER_MS;
	rest(110);
	hog.kib = 900 << 10;
	put_process(&hog);
	sweep();
	assert_true(find(&hog)->growth_bytes == 800 * MIB);
	/* That is older than it had to be. */
	table.took_ns = 500 * NS_PER_MS;
	rest(160);
	hog.kib = 1000 << 10;
	put_process(&hog);
	sweep();
	assert_true(find(&hog)->growth_bytes == 0);
}

/*
 * It grew between two calm sweeps, and has slept since; another one takes the memory
 * after the second.  The first choice is made right after the sweep that follows.
 */
static void test_grown_before(void **state)
{
	struct process database = { 100, 1, "database", 100 << 10, 5, 0, 7 };
	struct process hog = { 101, 1, "hog", 100 << 10, 6, 0, 7 };

	(void)state;
	put_process(&database);
	put_process(&hog);
	sweep();
	rest(50);
	database.kib = 2500 << 10;
	put_process(&database);
	sweep();
	assert_true(find(&database)->growth_bytes == 2400 * MIB);
	rest(50);
	hog.kib = 2000 << 10;
	put_process(&hog);
	sweep();
	assert_true(find(&database)->growth_bytes == 0);
	assert_true(find(&hog)->growth_bytes == 1900 * MIB);
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
	choose_victim(&view, &scratch, LEVEL_LOW, 0, &choice);
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

static void protect_by_command_line(void)
{
	char why[64];

	assert_int_equal(rules_add(&rules, RULE_NEVER, RULE_CMDLINE,
				   "^database", why, sizeof(why)),
			 0);
	table_forget_rules(&table, &rules);
}

/* Those from 100 on, as letters: protected, not asked yet, or may go. */
static const char *answers(int nr)
{
	static char text[MANY + 1];

	for (int i = 0; i < nr; i++) {
		const struct candidate *c =
			find(&(struct process){ 100 + i, .start = 7 });
		const struct memory_of *m = &table.m[c - table.c];

		/* Until it was asked it may be anybody. */
		assert_true(!m->unasked || !candidate_may_go(c));
		text[i] = m->unasked		     ? '.' :
			  c->flags & CANDIDATE_NEVER ? 'P' :
						       '-';
	}
	text[nr] = '\0';
	return text;
}

static void put_command(const struct process *p, const char *line)
{
	char path[32];

	put_process(p);
	snprintf(path, sizeof(path), "proc/%d/cmdline", p->pid);
	put(path, line);
}

/* Of those that have a line. */
static bool all_known(void)
{
	for (size_t i = 0; i < table.nr; i++)
		if (table.c[i].pid >= 100 && !table.m[i].rules_known)
			return false;
	return true;
}

/* At least one in each. */
static void sweep_until_known(void)
{
	for (int i = 0; i < 2 * MANY && !all_known(); i++)
		sweep();
	assert_true(all_known());
}

static void expect_every_second(void)
{
	for (int i = 0; i < MANY; i++)
		assert_int_equal(answers(MANY)[i], i & 1 ? 'P' : '-');
}

/* However little time there is: all are asked, and none goes before. */
static void test_each_has_its_turn(void **state)
{
	struct process p = { 100, 1, "postgres", 1 << 10, 5, 0, 7 };
	size_t left = MANY + 81;
	int sweeps = 0;

	(void)state;
	protect_by_command_line();
	/* They have none, and are asked again and again. */
	for (p.pid = 20; p.pid < 100; p.pid++)
		put_command(&p, "");
	for (p.pid = 100; p.pid < 100 + MANY; p.pid++) {
		/* The last one is asked first. */
		p.kib += p.pid == 99 + MANY ? 200 << 10 : 0;
		put_command(&p, p.pid & 1 ? "database" : "other");
	}
	/* None but what the first one takes. */
	table.patience_ns = 1;
	do {
		sweep();
		assert_true(table.nr_unasked < left);
		left = table.nr_unasked;
		assert_int_not_equal(answers(MANY)[MANY - 1], '.');
		sweeps++;
	} while (left);
	print_message("# %d were asked in %d sweeps\n", MANY, sweeps);
	assert_true(sweeps > 1);
	/* What got no CPU for 10 ms has not answered yet. */
	sweep_until_known();
	expect_every_second();
	/* A minute later they are asked again, and what was said holds meanwhile. */
	table.units.since_ns -= 61 * NS_PER_S;
	sweep();
	assert_false(all_known());
	expect_every_second();
	sweep_until_known();
	expect_every_second();
	rules_clear(&rules);
}

/* Eight of these lines fill a reader's buffer, and the others wait for no time. */
static void test_long_lines(void **state)
{
	struct process p = { 100, 1, "java", 1 << 10, 5, 0, 7 };
	static char line[32000];

	(void)state;
	protect_by_command_line();
	memset(line, 'x', sizeof(line) - 1);
	for (p.pid = 100; p.pid < 140; p.pid++)
		put_command(&p, line);
	table.patience_ns = 20 * NS_PER_S;
	sweep();
	assert_int_equal(table.nr_unasked, 0);
	rules_clear(&rules);
}

static void put_withheld(int pid)
{
	const struct process p = { pid, 1, "sly", 1 << 10, 5, 0, 7 };
	char path[PATH_MAX + 32];

	put_process(&p);
	/* Its open waits for a writer. */
	snprintf(path, sizeof(path), "%s/proc/%d/cmdline", root, pid);
	assert_int_equal(mkfifo(path, 0600), 0);
}

static void let_go(int pid)
{
	char path[PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/proc/%d/cmdline", root, pid);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
}

/* Who was asked, and does not answer, protects neither itself nor others like it. */
static void test_withheld(void **state)
{
	const struct process p = { 103, 1, "postgres", 1 << 10, 5, 0, 7 };

	(void)state;
	protect_by_command_line();
	for (int pid = 100; pid < 103; pid++)
		put_withheld(pid);
	put_command(&p, "database");
	sweep();
	sweep_until_protected(&p);
	assert_string_equal(answers(4), "---P");
	/* They keep all who read busy: there is nobody to ask the last one. */
	put_withheld(104);
	put_withheld(105);
	for (int i = 0; i < 4; i++)
		sweep();
	assert_string_equal(answers(6), "---P--");
	for (int pid = 100; pid < 106; pid++)
		let_go(pid);
	rules_clear(&rules);
}

#define sweep_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		sweep_test(test_growth_after_a_rest),
		sweep_test(test_growth_after_a_long_rest),
		sweep_test(test_grown_before),
		sweep_test(test_born_a_moment_ago),
		sweep_test(test_others),
		sweep_test(test_each_has_its_turn),
		sweep_test(test_long_lines),
		sweep_test(test_withheld),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
