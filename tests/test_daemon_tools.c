/* SPDX-License-Identifier: MIT */
/* mreleased that only prints: a configuration, or what a recording would become. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

/* Of that limit are percentages, and the second line gives way to it. */
static void test_printed_for_a_cgroup(void **state)
{
	char command[3 * PATH_MAX];

	(void)state;
	make_machine();
	snprintf(command, sizeof(command),
		 "'%s' --config /dev/null --print-config --cgroup '%s' "
		 "-o AskAvailable=100M | grep -qx KillAvailable=5%%",
		 beside("../mreleased"), machine.path);
	close(machine.fd);
	assert_int_equal(system(command), 0);
}

static int status_of(const char *args, const char *filter)
{
	char command[2 * PATH_MAX];
	int status;

	snprintf(command, sizeof(command), "'%s' --config /dev/null %s %s",
		 beside("../mreleased"), args, filter);
	status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* A failure has a message and an exit status. */
static void test_failures(void **state)
{
	static const struct {
		const char *args, *filter;
		int status;
	} cases[] = {
		{ "--simulate /dev/null", "| grep -q 'not a recording'", 2 },
		{ "--simulate /", "| grep -q 'Is a directory'", 3 },
		{ "--simulate /none", "| grep -q 'No such file'", 3 },
		{ "--print-config --cgroup /none", "| grep -q 'No such file'",
		  1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char args[64];

		snprintf(args, sizeof(args), "%s 2>&1 >/dev/null",
			 cases[i].args);
		assert_int_equal(status_of(args, ""), cases[i].status);
		assert_int_equal(status_of(args, cases[i].filter), 0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_printed_for_a_cgroup),
		harness_test(test_failures),
	};

	return run_group(tests);
}
