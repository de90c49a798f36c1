/* SPDX-License-Identifier: MIT */
/* What mreleased reads: the kernel's files, its own configuration. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "options.h"
#include "reload.h"
#include "sense.h"
#include "table.h"
#include "text.h"

static void test_meminfo(void **state)
{
	struct snapshot s = { 0 };

	(void)state;
	assert_int_equal(sense_parse_meminfo("MemTotal:       1000 kB\n"
					     "MemFree:         100 kB\n"
					     "MemAvailable:    300 kB\n"
					     "Cached:          400 kB\n"
					     "SwapCached:        7 kB\n"
					     "SwapTotal:       500 kB\n"
					     "SwapFree:        200 kB\n"
					     "Shmem:           150 kB\n",
					     &s),
			 0);
	assert_int_equal(s.total_bytes, 1000 * 1024);
	assert_int_equal(s.available_bytes, 300 * 1024);
	assert_int_equal(s.cache_bytes, 250 * 1024);
	assert_int_equal(s.swap_free_bytes, 200 * 1024);
	/* Before Linux 3.14: free and half of the page cache. */
	memset(&s, 0, sizeof(s));
	assert_int_equal(sense_parse_meminfo("MemTotal: 1000 kB\n"
					     "MemFree: 100 kB\n"
					     "Cached: 400 kB\n",
					     &s),
			 0);
	assert_int_equal(s.available_bytes, 300 * 1024);
	/* Nothing of it is a machine. */
	assert_int_equal(sense_parse_meminfo("", &s), -EINVAL);
	assert_int_equal(sense_parse_meminfo("MemTotal: 0 kB\n", &s), -EINVAL);
	assert_int_equal(sense_parse_meminfo("MemTotal: x kB\n", &s), -EINVAL);
}

static void test_pressure(void **state)
{
	static const char text[] =
		"some avg10=1.00 avg60=0.00 avg300=0.00 total=1234\n"
		"full avg10=0.50 avg60=0.00 avg300=0.00 total=567\n";
	struct snapshot s = { 0 };

	(void)state;
	assert_int_equal(sense_parse_pressure(text, &s), 0);
	assert_int_equal(s.some_us, 1234);
	assert_int_equal(s.full_us, 567);
	assert_true(s.has & SNAPSHOT_PSI);
	/* Some kernels have the file, and it is empty. */
	memset(&s, 0, sizeof(s));
	assert_int_equal(sense_parse_pressure("", &s), -EINVAL);
	assert_int_equal(s.has, 0);
}

static void test_stat(void **state)
{
	static const char text[] =
		"42 (a) b ) S 7 42 40 34816 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 "
		"0 9999 12345678 250 18446744073709551615 1 1";
	static const char *const bad[] = {
		"",
		"42",
		"42 (",
		"42 (x)",
		"42 (x) S",
		"42 )x( S 1 2 3",
		"42 (x) S a b c",
	};
	struct process_stat st;

	(void)state;
	assert_int_equal(process_parse_stat(text, &st), 0);
	assert_string_equal(st.comm, "a) b ");
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.ppid, 7);
	assert_int_equal(st.session, 40);
	assert_int_equal(st.tty, 34816);
	assert_int_equal(st.threads, 3);
	assert_int_equal(st.start, 9999);
	assert_int_equal(st.rss_pages, 250);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(process_parse_stat(bad[i], &st), -EINVAL);
}

static void test_status(void **state)
{
	static const struct {
		const char *text;
		uint64_t anon;
		bool dying;
		bool askable;
	} cases[] = {
		{ "Name:\tx\nUid:\t7\t7\nVmRSS:\t 9 kB\nRssAnon:\t 4 kB\n"
		  "SigPnd:\t0000000000000000\nShdPnd:\t0000000000004002\n",
		  4096, false },
		{ "Name:\tx\nRssAnon:\t 4 kB\nSigPnd:\t0000000000000000\n"
		  "ShdPnd:\t0000000000000100\n",
		  4096, true },
		{ "Name:\tx\nSigPnd:\t0000000000000300\n", 0, true },
		{ "Name:\tx\nVmRSS:\t4 kB\nSigBlk:\t0000000000000000\n"
		  "SigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n",
		  4096, false, false },
		{ "Name:\tx\nVmRSS:\t4 kB\nSigCgt:\t0000000000004001\n", 4096,
		  false, true },
		{ "Name:\tx\nVmRSS:\t4 kB\nSigBlk:\t0000000000007000\n", 4096,
		  false, true },
		/* Names come from anybody. */
		{ "Name:\tSigPnd:\t100\nRssAnon:\t4 kB\nSigPnd:\t0\n", 4096,
		  false },
		{ "Name:\tx\nVmRSS:\t8 kB\n", 8192, false },
		{ "", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct candidate c = { 0 };

		process_parse_status(cases[i].text, &c);
		assert_int_equal(c.anon_bytes, cases[i].anon);
		assert_int_equal(!!(c.flags & CANDIDATE_DYING), cases[i].dying);
		assert_int_equal(!!(c.flags & CANDIDATE_ASKABLE),
				 cases[i].askable);
	}
}

static void test_values(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
		uint32_t permille;
	} lines[] = {
		{ "10%", 0, 0, 100 },
		{ "10.5%", 0, 0, 105 },
		{ "100 %", 0, 0, 1000 },
		{ "0%", 0, 0, 0 },
		{ "400M", 0, 400 << 20, 0 },
		{ "1G", 0, 1 << 30, 0 },
		{ "12KiB", 0, 12288, 0 },
		{ "4096", 0, 4096, 0 },
		{ "101%", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
		{ "-1%", -EINVAL, 0, 0 },
		{ "1X", -EINVAL, 0, 0 },
		{ "10%x", -EINVAL, 0, 0 },
		{ "1.%", -EINVAL, 0, 0 },
		{ "99999999999999999999T", -EINVAL, 0, 0 },
		{ "18446744073709551615K", -EINVAL, 0, 0 },
	};
	static const struct {
		const char *text;
		int ret;
		int64_t ns;
	} times[] = {
		{ "1", 0, NS_PER_S },
		{ "1.5s", 0, 1500 * NS_PER_MS },
		{ "250ms", 0, 250 * NS_PER_MS },
		{ "2min", 0, 120 * NS_PER_S },
		{ "3us", 0, 3000 },
		{ "1h", 0, 3600 * NS_PER_S },
		{ "0", 0, 0 },
		{ "", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "99999999999h", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct line l = { 0 };

		assert_int_equal(value_line(lines[i].text, &l), lines[i].ret);
		assert_true(l.bytes == lines[i].bytes);
		assert_int_equal(l.permille, lines[i].permille);
	}
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		int64_t ns = 0;

		assert_int_equal(value_time(times[i].text, &ns), times[i].ret);
		assert_true(ns == times[i].ns);
	}
}

struct complaints {
	unsigned int nr;
	char last[512];
};

static void note(void *arg, const char *where, const char *what)
{
	struct complaints *c = arg;

	c->nr++;
	snprintf(c->last, sizeof(c->last), "%s: %s", where, what);
}

static void test_config(void **state)
{
	static struct config c;
	struct complaints said = { 0 };

	(void)state;
	config_defaults(&c);
	assert_int_equal(config_parse(&c, "x",
				      "# a comment\n; another\n\n"
				      "[Memory]\nAskAvailable = 12.5%\n"
				      "KillAvailable=100M\r\n"
				      "[Victims]\nAvoid=^ssh$|a ; b=c\n"
				      "Never=unit:postgresql*.service\n"
				      "Prefer=user:1000\nTrees=no\n"
				      "[Time]\n Grace=0\n",
				      note, &said),
			 0);
	assert_int_equal(said.nr, 0);
	assert_int_equal(c.policy.mem_term.permille, 125);
	assert_true(c.policy.mem_kill.bytes == 100 << 20);
	assert_int_equal(c.policy.grace_ns, 0);
	assert_false(c.policy.trees);
	assert_int_equal(c.rules.nr, 3);
	assert_string_equal(c.rules.rules[0].text, "^ssh$|a ; b=c");
	assert_int_equal(c.rules.rules[1].subject, RULE_UNIT);
	assert_int_equal(c.rules.rules[2].uid, 1000);
	/* An empty value takes them back, and only them. */
	assert_int_equal(config_set(&c, "Avoid", "", said.last, 100), 0);
	assert_int_equal(c.rules.nr, 2);
	config_clear(&c);
}

static void test_config_mistakes(void **state)
{
	static const struct {
		const char *text, *told;
	} cases[] = {
		{ "[Nothing]\n", "x:1: there is no section" },
		{ "\n[Memory\n", "x:2: no section" },
		{ "[Memory]\nAskAvailable\n", "x:2: no \"=\"" },
		{ "[Memory]\nAskavailable=1%\n", "x:2: there is no setting" },
		{ "[Memory]\nGrace=1s\n", "x:2: Grace is no setting of" },
		{ "Grace=1s\n", "x:1: Grace is no setting of" },
		{ "[Memory]\nAskAvailable=ten\n", "x:2: neither a percentage" },
		{ "[Time]\nGrace=soon\n", "x:2: no time" },
		{ "[Victims]\nTrees=maybe\n", "x:2: neither yes nor no" },
		{ "[Victims]\nOrder=age\n", "x:2: neither score nor size" },
		{ "[Victims]\nAvoid=(\n", "x:2: " },
		{ "[Victims]\nNever=comm:\n", "x:2: an empty pattern" },
		{ "[Victims]\nNever=user:no such user\n",
		  "x:2: there is no user" },
	};
	static struct config c;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct complaints said = { 0 };

		config_defaults(&c);
		assert_int_equal(config_parse(&c, "x", cases[i].text, note,
					      &said),
				 -EINVAL);
		if (said.nr != 1 ||
		    strncmp(said.last, cases[i].told, strlen(cases[i].told)))
			fail_msg("%s: told %u times: %s", cases[i].text,
				 said.nr, said.last);
		config_clear(&c);
	}
}

/* Without the word status, its options start no daemon. */
static void test_status_only(void **state)
{
	static const struct {
		const char *args[4];
		int ret;
	} cases[] = {
		{ { "mreleased", "--json" }, 3 },
		{ { "mreleased", "--watch" }, 3 },
		{ { "mreleased", "--watch=0" }, 3 },
		{ { "mreleased", "--dryrun", "--json" }, 3 },
		{ { "earlyoom", "--watch" }, 14 },
		{ { "mreleased", "status", "--json", "--watch" }, 0 },
		{ { "mreleased", "--json", "status" }, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *argv[5] = { NULL };
		struct options o;
		int argc = 0;

		while (argc < 4 && cases[i].args[argc]) {
			argv[argc] = (char *)(uintptr_t)cases[i].args[argc];
			argc++;
		}
		/* getopt_long() from the beginning. */
		optind = 0;
		assert_int_equal(options_parse(argc, argv, &o), cases[i].ret);
		if (!cases[i].ret)
			assert_int_equal(o.mode, MODE_STATUS);
	}
	/* So does the next test. */
	optind = 0;
}

/* What is printed means the same when it is read. */
static void test_config_round_trip(void **state)
{
	static struct config a, b;
	struct complaints said = { 0 };
	char *first = NULL, *second = NULL;
	static const char *const args[] = { "mreleased",
					    "-m",
					    "7,3",
					    "-S",
					    "1024",
					    "--prefer",
					    "(chrome|x y)",
					    "--avoid",
					    "^init$",
					    "-o",
					    "Never=cgroup:/system.slice/*",
					    "-r",
					    "2.5",
					    "--sort-by-rss",
					    "-g",
					    NULL };
	struct options o;
	size_t size;
	FILE *f;

	(void)state;
	assert_int_equal(options_parse(ARRAY_SIZE(args) - 1,
				       (char **)(uintptr_t)args, &o),
			 0);
	config_defaults(&a);
	assert_int_equal(options_apply(&a, note, &said), 0);
	assert_int_equal(a.policy.mem_term.permille, 70);
	assert_int_equal(a.policy.mem_kill.permille, 30);
	assert_int_equal(a.policy.swap_term.bytes, 1 << 20);
	assert_int_equal(a.policy.swap_kill.bytes, 1 << 19);
	assert_int_equal(a.policy.order, ORDER_SIZE);
	f = open_memstream(&first, &size);
	config_print(&a, f);
	fclose(f);
	config_defaults(&b);
	assert_int_equal(config_parse(&b, "x", first, note, &said), 0);
	assert_int_equal(said.nr, 0);
	f = open_memstream(&second, &size);
	config_print(&b, f);
	fclose(f);
	assert_string_equal(first, second);
	free(first);
	free(second);
	config_clear(&a);
	config_clear(&b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meminfo),
		cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_config_mistakes),
		cmocka_unit_test(test_status_only),
		cmocka_unit_test(test_config_round_trip),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
