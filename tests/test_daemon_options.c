/* SPDX-License-Identifier: MIT */
/* That options and settings mean what is written, and are refused where they cannot. */
#include <errno.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"
#include "options.h"
#include "text.h"

#define MAX_ARGS 12
/* Less than what any machine has that builds this, and 1 KiB is less than 1 %. */
#define KIB ((uint64_t)1024)

static struct config c;

static void complain(void *arg, const char *where, const char *what)
{
	(void)arg;
	print_message("# %s: %s\n", where, what);
}

/* The exit status, or -1. */
static int parse(const char *const *args)
{
	struct options o;
	int n = 0, ret;

	while (args[n])
		n++;
	/* getopt(3) begins anew. */
	optind = 0;
	ret = options_parse(n, (char **)(uintptr_t)args, &o);
	if (ret)
		return ret - 1;
	config_clear(&c);
	config_defaults(&c);
	return options_apply(&c, complain, NULL) ? 2 : -1;
}

/* Of one option the last, of -m with -M the lower, and a name is what it says. */
static void test_repeated(void **state)
{
	static const struct {
		const char *args[MAX_ARGS];
		uint32_t permille;
		uint64_t bytes;
	} cases[] = {
		{ { "x", "-m", "5", "-m", "10" }, 100, 0 },
		{ { "x", "-m", "10", "-m", "5" }, 50, 0 },
		{ { "x", "-M", "1", "-M", "2" }, 0, 2 * KIB },
		{ { "x", "-o", "AskAvailable=5%", "-o", "AskAvailable=20%" },
		  200,
		  0 },
		{ { "x", "-m", "5", "-o", "AskAvailable=20%" }, 200, 0 },
		{ { "x", "-o", "AskAvailable=5%", "-m", "20" }, 200, 0 },
		{ { "x", "-M", "1", "-m", "50" }, 0, KIB },
		{ { "x", "-m", "50", "-M", "1" }, 0, KIB },
		/* The last of each. */
		{ { "x", "-M", "1", "-m", "50", "-M", "2" }, 0, 2 * KIB },
		{ { "x", "-M", "1", "-o", "AskAvailable=9%", "-m", "50" },
		  500,
		  0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("# case %zu\n", i);
		assert_int_equal(parse(cases[i].args), -1);
		assert_int_equal(c.policy.mem_term.permille, cases[i].permille);
		assert_true(c.policy.mem_term.bytes == cases[i].bytes);
	}
}

/* What is printed is what it does. */
static void test_printed_lines(void **state)
{
	static const struct {
		const char *setting, *want, *other;
	} cases[] = {
		{ "AskAvailable=3%", "KillAvailable=3%\n", "KillSwap=5%\n" },
		{ "AskAvailable=8%", "KillAvailable=5%\n", "KillSwap=5%\n" },
		{ "AskAvailable=64M", "KillAvailable=65536K\n",
		  "KillSwap=5%\n" },
		{ "AskSwap=2%", "KillSwap=2%\n", "KillAvailable=5%\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *args[] = { "x", "-o", cases[i].setting, NULL };
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		assert_int_equal(parse(args), -1);
		config_settle(&c.policy, (uint64_t)16 << 30, 0);
		config_print(&c, f);
		fclose(f);
		assert_non_null(strstr(text, cases[i].want));
		assert_non_null(strstr(text, cases[i].other));
		free(text);
	}
}

/* A time that can never be met is no setting. */
static void test_times(void **state)
{
	static const struct {
		const char *key, *value;
		int ret;
	} cases[] = {
		{ "StallTime", "10s", 0 },
		{ "StallTime", "2min", 0 },
		{ "StallTime", "121s", -EINVAL },
		{ "StallTime", "5min", -EINVAL },
		{ "StallTime", "0", -EINVAL },
		{ "Hold", "0", 0 },
		{ "Hold", "2min", 0 },
		{ "Hold", "3min", -EINVAL },
		{ "Grace", "3min", 0 },
		{ "Report", "1h", 0 },
	};
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("# %s=%s\n", cases[i].key, cases[i].value);
		assert_int_equal(config_set(&c, cases[i].key, cases[i].value,
					    why, sizeof(why)),
				 cases[i].ret);
		if (cases[i].ret)
			assert_non_null(strstr(why, cases[i].value[0] == '0' ?
							    "StallLimit=0%" :
							    "more than 2min"));
	}
}

/* A tenth of a percent is the least, and not nothing. */
static void test_small_shares(void **state)
{
	const char *const args[] = { "x", "-m", "0.04", NULL };
	struct line line;
	uint32_t permille;

	(void)state;
	assert_int_equal(value_line("0.05%", &line), 0);
	assert_int_equal(line.permille, 1);
	assert_int_equal(value_permille("0.01%", &permille), 0);
	assert_int_equal(permille, 1);
	assert_int_equal(value_permille("0%", &permille), 0);
	assert_int_equal(permille, 0);
	assert_int_equal(parse(args), -1);
	assert_int_equal(c.policy.mem_term.permille, 1);
	assert_int_equal(c.policy.mem_kill.permille, 1);
}

/* Those of earlyoom's main.c. */
static void test_earlyoom_status(void **state)
{
	static const struct {
		const char *args[MAX_ARGS];
		int earlyoom, ours;
	} cases[] = {
		{ { NULL, "-r", "-5" }, 14, 2 },
		{ { NULL, "-r", "soon" }, 14, 2 },
		{ { NULL, "-r=5" }, -1, -1 },
		{ { NULL, "--prefer", "(" }, 6, 2 },
		{ { NULL, "--avoid", "[" }, 6, 2 },
		{ { NULL, "--ignore", "a{1" }, 6, 2 },
		{ { NULL, "--prefer", "^a|b$" }, -1, -1 },
		{ { NULL, "-m", "100" }, 15, 2 },
		{ { NULL, "-M", "x" }, 15, 2 },
		{ { NULL, "-s", "-1" }, 16, 2 },
		{ { NULL, "-S", "0" }, 16, 2 },
		{ { NULL, "extra" }, 13, 2 },
		{ { NULL, "--nothing" }, 13, 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *args[MAX_ARGS];

		memcpy(args, cases[i].args, sizeof(args));
		args[0] = "/usr/bin/earlyoom";
		assert_int_equal(parse(args), cases[i].earlyoom);
		args[0] = "mreleased";
		assert_int_equal(parse(args), cases[i].ours);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_printed_lines),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_small_shares),
		cmocka_unit_test(test_earlyoom_status),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
