/* SPDX-License-Identifier: MIT */
/* mreleased that only prints: a configuration, or what a recording would become. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static void test_full(void **state)
{
	static const struct {
		const char *args;
		int status;
	} cases[] = {
		{ "--version", 1 },
		{ "--help", 1 },
		{ "--print-config", 1 },
		{ "--simulate /dev/null", 3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *args = cases[i].args;

		print_message("# %s\n", args);
		assert_int_equal(status_of(args, ">/dev/full 2>/dev/null"),
				 cases[i].status);
		assert_int_equal(
			status_of(args,
				  "2>&1 >/dev/full | grep -q 'cannot write'"),
			0);
	}
}

/* A daemon with one answer: nothing for programs, @text for people. */
static pid_t start_answering(const char *path, const char *text)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), conn;
	pid_t pid;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	pid = test_fork();
	while (!pid && (conn = accept(fd, NULL, NULL)) >= 0) {
		if (write(conn, "{}\n", 4) != 4 ||
		    write(conn, text, strlen(text)) < 0)
			_exit(1);
		close(conn);
	}
	close(fd);
	return pid;
}

/* Users name their cgroups; and what is long is written before it is flushed. */
static void test_status_of_others(void **state)
{
	char dir[] = "/tmp/mreleased-test-XXXXXX", path[64], args[128];
	static const char hostile[] = "cgroup /\033]0;a\a/b\nline\n";
	static char text[16384];
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/status", dir);
	snprintf(args, sizeof(args), "status --status-socket %s", path);
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, hostile, strlen(hostile));
	pid = start_answering(path, text);
	assert_int_equal(status_of(args, "| grep -q '^cgroup /?]0;a?/b$'"), 0);
	assert_int_equal(status_of(args, ">/dev/full 2>/dev/null"), 3);
	assert_int_equal(
		status_of(args, "2>&1 >/dev/full | grep -q 'cannot write'"), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_printed_for_a_cgroup),
		harness_test(test_failures),
		harness_test(test_full),
		harness_test(test_status_of_others),
	};

	return run_group(tests);
}
