/* SPDX-License-Identifier: MIT */
/* Rules: which processes they match, and expressions that are too big. */
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
#include "table.h"
#include "text.h"

static void test_rules(void **state)
{
	static struct rules r;
	char why[100];

	(void)state;
	rules_add_line(&r, RULE_AVOID, "^(sshd|Xorg)$", why, sizeof(why));
	rules_add_line(&r, RULE_NEVER, "unit:postgresql@*.service", why,
		       sizeof(why));
	rules_add_line(&r, RULE_NEVER, "cmdline:--keep-me", why, sizeof(why));
	rules_add_line(&r, RULE_PREFER, "user:33", why, sizeof(why));
	assert_int_equal(r.nr, 4);
	/* They would match everybody. */
	assert_int_equal(rules_add_line(&r, RULE_NEVER, "", why, sizeof(why)),
			 -EINVAL);
	assert_int_equal(rules_add_line(&r, RULE_PREFER, "cmdline:", why,
					sizeof(why)),
			 -EINVAL);
	assert_int_equal(r.nr, 4);
	assert_int_equal(rules_match(&r, "sshd", "", "/", 0), CANDIDATE_AVOID);
	assert_int_equal(rules_match(&r, "sshd2", "", "/", 33),
			 CANDIDATE_PREFER);
	assert_int_equal(rules_match(&r, "x", "",
				     "/system.slice/postgresql@14.service/a",
				     0),
			 CANDIDATE_NEVER);
	assert_int_equal(rules_match(&r, "x", "a --keep-me", "/", 0),
			 CANDIDATE_NEVER);
	/* What could not be read may be protected. */
	assert_int_equal(rules_match(&r, "x", NULL, "/", 0), CANDIDATE_NEVER);
	assert_int_equal(rules_match(&r, "x", "", NULL, 0), CANDIDATE_NEVER);
	rules_clear(&r);
	assert_int_equal(rules_match(&r, "sshd", NULL, NULL, 0), 0);
}

/* What regcomp(3) would write out is bounded; the fuzzer found one of 512 MiB. */
static void test_big_expressions(void **state)
{
	static const struct {
		const char *pattern;
		int ret;
	} cases[] = {
		{ "((a{99}){99}){99}", -EINVAL },
		/* What stands between does not hide it. */
		{ "(a{99})*{99}", -EINVAL },
		{ "(a{99}){0,}{99}", -EINVAL },
		{ "(((((((((a{2,}){2,}){2,}){2,}){2,}){2,}){2,}){2,}){2,}",
		  -EINVAL },
		{ "([)]a{99}){99}", -EINVAL },
		{ "([[:alpha:])]a{99}){99}", -EINVAL },
		{ "^([](]|[^)])*x[[:alpha:]]{3}$", 0 },
		{ "a{1,32767}", -EINVAL },
		{ "(x{,999}y){2}", -EINVAL },
		{ "((((((((((a+)+)+)+)+)+)+)+)+)+)+", -EINVAL },
		{ "(((((((((((((((((((((((((((((((((a)))))))))))))))))))))))))))))))))",
		  -EINVAL },
		{ "^postgres: [a-z]+ [0-9.]+\\([0-9]+\\)$", 0 },
		{ "^(java|node)[0-9]{1,3}$", 0 },
		{ "a{3}(b{2}){4}c+d*e?", 0 },
	};
	static struct rules r;
	char why[100];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("# %s\n", cases[i].pattern);
		assert_int_equal(rules_add(&r, RULE_AVOID, RULE_COMM,
					   cases[i].pattern, why, sizeof(why)),
				 cases[i].ret);
	}
	rules_clear(&r);
}

static void ignore_line(const char *line)
{
	print_message("# %s\n", line);
}

/* Is such an expression taken when the configuration is read again? */
static bool reload_with(const char *part, size_t times)
{
	char path[] = "/tmp/mreleased-test-XXXXXX";
	const struct options o = { .config_file = path };
	static struct config c;
	struct pollfd p = { .fd = reload_open(&o), .events = POLLIN };
	int fd = mkstemp(path), ret;
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fputs("[Victims]\nNever=comm:", f);
	while (times--)
		fputs(part, f);
	fputs("\n", f);
	assert_int_equal(fclose(f), 0);
	reload_begin();
	assert_int_equal(poll(&p, 1, 30000), 1);
	ret = reload_take(&c, ignore_line);
	if (ret == 1)
		config_clear(&c);
	close(p.fd);
	unlink(path);
	return ret == 1;
}

/* The thread that reads it has room for whatever the start had room for. */
static void test_deep_expressions(void **state)
{
	(void)state;
	assert_true(reload_with("()", 998));
	assert_true(reload_with("a?", 498));
	assert_false(reload_with("()", 1001));
	assert_false(reload_with(")", 4000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_big_expressions),
		cmocka_unit_test(test_deep_expressions),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
