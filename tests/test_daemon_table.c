/* SPDX-License-Identifier: MIT */
/* What mreleased makes of processes and cgroups that are files of the test's own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "procs.h"
#include "sense.h"
#include "text.h"

static struct sense sense;

/* As small as an init of a container, it keeps the tree above it all the same. */
static void test_small_and_protected(void **state)
{
	const struct process init = { 100, 1, "tini", 40, 5, -1000, 7 };
	const struct process other = { 101, 1, "tini", 40, 6, 0, 8 };

	(void)state;
	put_process(&init);
	put_process(&other);
	for (int i = 0; i < 2; i++) {
		sweep();
		assert_true(find(&init)->flags & CANDIDATE_NEVER);
		assert_false(find(&other)->flags & CANDIDATE_NEVER);
	}
}

/* What cannot be read may have said "never". */
static void test_unreadable(void **state)
{
	const struct process p[] = {
		{ 100, 1, "one", 4096, 5, 0, 7 },
		{ 101, 1, "two", 4096, 6, 0, 7 },
		{ 102, 1, "three", 4096, 7, 0, 7 },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		put_process(&p[i]);
	sweep();
	for (size_t i = 0; i < 3; i++)
		assert_false(find(&p[i])->flags & CANDIDATE_NEVER);
	/* The read of a directory is an error that is not "gone". */
	make_dir("proc/100/oom_score_adj");
	make_dir("proc/101/cgroup");
	table_forget_rules(&table, &rules);
	sweep();
	assert_true(find(&p[0])->flags & CANDIDATE_NEVER);
	assert_true(find(&p[1])->flags & CANDIDATE_NEVER);
	assert_false(find(&p[2])->flags & CANDIDATE_NEVER);
}

/* A child of fork(2) has not grown by what its parent has, one that execs has. */
static void test_child(void **state)
{
	struct process parent = { 100, 1, "redis", 300 << 10, 5, 0, 0 };
	struct process child = { 101, 100, "redis", 310 << 10, 5, 0, 0 };
	struct process other = { 102, 100, "other", 200 << 10, 6, 0, 0 };
	struct timespec ts;

	(void)state;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	child.start = other.start =
		(uint64_t)ts.tv_sec * (uint64_t)sysconf(_SC_CLK_TCK);
	put_process(&parent);
	sweep();
	put_process(&child);
	put_process(&other);
	for (int i = 0; i < 2; i++) {
		sweep();
		assert_true(find(&child)->inherited_bytes == 300 * MIB);
		assert_true(find(&child)->growth_bytes == 10 * MIB);
		assert_true(candidate_gain(find(&child)) == 10 * MIB);
		assert_true(find(&other)->inherited_bytes == 0);
		assert_true(find(&other)->growth_bytes == 200 * MIB);
		assert_true(candidate_gain(find(&other)) == 200 * MIB);
	}
	/* It has called execve(). */
	child.stack = 9;
	put_process(&child);
	sweep();
	assert_true(candidate_gain(find(&child)) == 310 * MIB);
}

/* A program of the same name took its place: the rules are asked again. */
static void test_exec(void **state)
{
	struct process p = { 100, 1, "java", 4096, 5, 0, 7 };
	char why[64];

	(void)state;
	assert_int_equal(rules_add(&rules, RULE_NEVER, RULE_CMDLINE, "database",
				   why, sizeof(why)),
			 0);
	put_process(&p);
	put("proc/100/cmdline", "java launcher");
	table_forget_rules(&table, &rules);
	sweep();
	assert_false(find(&p)->flags & CANDIDATE_NEVER);
	put("proc/100/cmdline", "java database");
	sweep();
	assert_false(find(&p)->flags & CANDIDATE_NEVER);
	/* More than once, as a reader may get no CPU. */
	for (int i = 0; i < 1000 && !(find(&p)->flags & CANDIDATE_NEVER); i++) {
		p.stack++;
		put_process(&p);
		sweep();
	}
	assert_true(find(&p)->flags & CANDIDATE_NEVER);
	rules_clear(&rules);
}

/* What protects it is far behind, as with a class path. */
static void test_long_command_line(void **state)
{
	const struct process p = { 100, 1, "java", 4096, 5, 0, 7 };
	char line[20000], why[64];

	(void)state;
	assert_int_equal(rules_add(&rules, RULE_NEVER, RULE_CMDLINE, "Main$",
				   why, sizeof(why)),
			 0);
	memset(line, 'x', sizeof(line));
	snprintf(line + sizeof(line) - 8, 8, "Main");
	put_process(&p);
	put("proc/100/cmdline", line);
	sweep_until_protected(&p);
	rules_clear(&rules);
}

/* A small one is read in full at first only; whose it is stays known. */
static void test_small_and_root(void **state)
{
	const struct process p = { 100, 1, "small", 40, 5, 0, 7 };

	(void)state;
	put_process(&p);
	for (int i = 0; i < 2; i++) {
		sweep();
		assert_int_equal(find(&p)->uid, 0);
	}
}

/* A hierarchy of the test's own, in which "a" goes as a whole. */
static void make_hierarchy(void)
{
	snprintf(table.units.mount, sizeof(table.units.mount), "%.200s/cgroup",
		 root);
	table.units.tag = "::";
	make_dir("cgroup/a");
	make_dir("cgroup/b");
	put("cgroup/a/memory.oom.group", "1\n");
	table_forget_rules(&table, &rules);
}

/* It left the cgroup with which it was to go, since that was last read. */
static void test_moved(void **state)
{
	const struct process p = { 100, 1, "hog", 4096, 5, 0, 7 };

	(void)state;
	put_process(&p);
	put("proc/100/cgroup", "0::/a\n");
	make_hierarchy();
	sweep();
	assert_int_not_equal(find(&p)->unit, 0);
	assert_true(table_is_in(&table, find(&p)));
	put("proc/100/cgroup", "0::/b\n");
	sweep();
	assert_false(table_is_in(&table, find(&p)));
}

/* However deep and however long: that protects nobody, and it goes with "a". */
static void test_deep_cgroups(void **state)
{
	const struct process p = { 100, 1, "hog", 4096, 5, 0, 7 };
	char deep[600] = "0::/a", wide[900] = "0::/a/";

	(void)state;
	put_process(&p);
	make_hierarchy();
	for (int i = 0; i < 40; i++)
		strcat(deep, "/x");
	memset(wide + strlen(wide), 'y', 700);
	put("proc/100/cgroup", deep);
	sweep();
	assert_false(find(&p)->flags & CANDIDATE_NEVER);
	assert_int_not_equal(find(&p)->unit, 0);
	put("proc/100/cgroup", wide);
	table_forget_rules(&table, &rules);
	sweep();
	assert_false(find(&p)->flags & CANDIDATE_NEVER);
	assert_int_not_equal(find(&p)->unit, 0);
}

/* Five guests, each with memory of its own; five backends with the same. */
static void test_own_shmem(void **state)
{
	struct snapshot now = { .time_ns = clock_ns(), .total_bytes = GIB };
	struct process p = { 100, 1, "guest", 4096, 5, 0, 7 };
	char path[64], text[256];

	(void)state;
	for (p.pid = 100; p.pid < 105; p.pid++) {
		put_process(&p);
		snprintf(path, sizeof(path), "proc/%d/status", p.pid);
		snprintf(text, sizeof(text),
			 "Name:\tguest\nUid:\t0\t0\t0\t0\nVmRSS:\t65536 kB\n"
			 "RssAnon:\t4096 kB\nRssShmem:\t61440 kB\n"
			 "Threads:\t1\n");
		put(path, text);
	}
	now.shmem_bytes = 310 * MIB;
	now.mapped_bytes = 350 * MIB;
	assert_int_equal(table_sweep(&table, &now), 0);
	for (p.pid = 100; p.pid < 105; p.pid++)
		assert_true(find(&p)->shmem_own_bytes == 60 * MIB);
	/* Much is in files that nobody maps: it is no guest's. */
	now.mapped_bytes = 80 * MIB;
	assert_int_equal(table_sweep(&table, &now), 0);
	for (p.pid = 100; p.pid < 105; p.pid++)
		assert_true(find(&p)->shmem_own_bytes == 0);
}

/* The service of that name was started anew: the cgroup is another one. */
static void test_cgroup_made_anew(void **state)
{
	struct unit unit[2] = { { .path = "" }, { .path = "/cgroup/a" } };
	struct units u = { .u = unit, .nr = 2 };
	char path[PATH_MAX + 64];
	struct stat st;
	int fd;

	(void)state;
	snprintf(u.mount, sizeof(u.mount), "%.200s", root);
	snprintf(path, sizeof(path), "%s/cgroup/a", root);
	make_dir("cgroup/a");
	assert_int_equal(stat(path, &st), 0);
	unit[1].inode = st.st_ino;
	fd = units_open_dir(&u, 1);
	assert_true(fd >= 0);
	assert_int_equal(rmdir(path), 0);
	make_dir("cgroup/a");
	/* As long as the old one is open its number is not given again. */
	assert_int_equal(units_open_dir(&u, 1), -ESTALE);
	close(fd);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(units_open_dir(&u, 1), -ENOENT);
}

static void put_number(const char *path, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
	put(path, text);
}

static void read_cgroup(uint64_t swap_mib, uint64_t swap_free_mib,
			struct snapshot *s)
{
	char text[256], dir[PATH_MAX + 16];

	snprintf(text, sizeof(text),
		 "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n"
		 "SwapTotal: %llu kB\nSwapFree: %llu kB\n",
		 (unsigned long long)swap_mib << 10,
		 (unsigned long long)swap_free_mib << 10);
	put("proc/meminfo", text);
	put("proc/vmstat", "oom_kill 77\npswpin 5\n");
	put_number("cgroup/memory.current", GIB - 13 * MIB);
	put_number("cgroup/memory.max", GIB);
	put("cgroup/memory.stat", "inactive_file 0\nactive_file 0\n");
	put("cgroup/memory.events", "oom 3\noom_kill 2\noom_group_kill 0\n");
	snprintf(dir, sizeof(dir), "%s/cgroup", root);
	assert_int_equal(sense_open(&sense, dir, root), 0);
	assert_int_equal(sense_read(&sense, s), 0);
	sense_close(&sense);
	assert_true(s->total_bytes == GIB);
	assert_true(s->available_bytes == 13 * MIB);
	/* Its own kills, not the machine's. */
	assert_int_equal(s->oom_kills, 2);
}

/* The swap of a cgroup is the machine's, as far as its limit goes. */
static void test_swap_of_a_cgroup(void **state)
{
	static const struct {
		/* 0: "max". */
		uint64_t limit, used, total, free, want_total, want_free;
	} cases[] = {
		/* A limit is no swap. */
		{ 1024, 0, 0, 0, 0, 0 },
		{ 0, 0, 0, 0, 0, 0 },
		{ 0, 100, 2048, 1500, 2048, 1500 },
		{ 1024, 100, 2048, 1500, 1024, 924 },
		{ 1024, 100, 2048, 300, 1024, 300 },
		{ 4096, 100, 2048, 1500, 2048, 1500 },
	};
	struct snapshot s;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("# case %zu\n", i);
		if (cases[i].limit)
			put_number("cgroup/memory.swap.max",
				   cases[i].limit * MIB);
		else
			put("cgroup/memory.swap.max", "max\n");
		put_number("cgroup/memory.swap.current", cases[i].used * MIB);
		read_cgroup(cases[i].total, cases[i].free, &s);
		assert_true(s.swap_total_bytes == cases[i].want_total * MIB);
		assert_true(s.swap_free_bytes == cases[i].want_free * MIB);
	}
}

/* It has no limit, and what is above it has one that others use up as well. */
static void test_limit_above(void **state)
{
	char dir[PATH_MAX + 16];
	struct snapshot s;

	(void)state;
	put("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
	make_dir("cgroup/a");
	put_number("cgroup/memory.current", 130 * MIB);
	put_number("cgroup/memory.max", 150 * MIB);
	put("cgroup/memory.stat", "inactive_file 1048576\nactive_file 0\n");
	put_number("cgroup/a/memory.current", 20 * MIB);
	put("cgroup/a/memory.max", "max\n");
	put("cgroup/a/memory.stat", "inactive_file 0\nactive_file 0\n");
	snprintf(dir, sizeof(dir), "%s/cgroup/a", root);
	assert_int_equal(sense_open(&sense, dir, root), 0);
	assert_int_equal(sense_read(&sense, &s), 0);
	assert_true(s.total_bytes == 150 * MIB);
	assert_true(s.available_bytes == 21 * MIB);
	sense_close(&sense);
	/* Above that one who allocates is slowed down, and gets no further. */
	put_number("cgroup/a/memory.high", 30 * MIB);
	assert_int_equal(sense_open(&sense, dir, root), 0);
	assert_int_equal(sense_read(&sense, &s), 0);
	assert_true(s.total_bytes == 30 * MIB);
	assert_true(s.available_bytes == 10 * MIB);
	put("cgroup/a/memory.high", "max\n");
	/* And if it is taken away. */
	put("cgroup/memory.max", "max\n");
	sense_close(&sense);
	assert_int_equal(sense_open(&sense, dir, root), 0);
	assert_int_equal(sense_read(&sense, &s), 0);
	assert_true(s.total_bytes == 8192 * MIB);
	sense_close(&sense);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_small_and_protected,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unreadable, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_child, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_exec, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_command_line, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_small_and_root, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_moved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_own_shmem, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_deep_cgroups, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_cgroup_made_anew, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_limit_above, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_swap_of_a_cgroup, set_up,
						tear_down),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
