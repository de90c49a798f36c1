/* SPDX-License-Identifier: MIT */
/* Unit tests of the way that mreleased's words take, where nobody reads them. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "say.h"
#include "sink.h"

/* More than the buffer has room for. */
#define MANY 4000

static void put(unsigned int i)
{
	say(SAY_INFO, "message %u of those that nobody reads", i);
}

/* Reads on until it is there, and says more meanwhile; the text ends there. */
static void read_until(int fd, const char *what, char *text, size_t size)
{
	unsigned int more = MANY;
	size_t len = 0;

	do {
		ssize_t n = read(fd, text + len, size - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
		text[len] = '\0';
		put(more++);
	} while (!strstr(text, what));
}

/*
 * The writer waits, and we do not.  What was put first comes first and whole; how
 * much is missing is said.
 */
static void test_lost(void **state)
{
	static char text[512 * 1024];
	int ends[2], saved = dup(STDERR_FILENO);
	unsigned int lost, at = 0;
	char *p;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
	dup2(ends[1], STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	/* It may yet write when we are through. */
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(sink_start(), 0);
	for (unsigned int i = 0; i < MANY; i++)
		put(i);
	read_until(ends[0], " messages are lost", text, sizeof(text));
	dup2(saved, STDERR_FILENO);
	close(saved);
	p = text;
	for (unsigned int n; sscanf(p, "message %u of", &n) == 1; at++) {
		assert_int_equal(n, at);
		p = strchr(p, '\n') + 1;
	}
	assert_in_range(at, 100, MANY - 1);
	lost = (unsigned int)strtoul(p, NULL, 10);
	assert_true(lost >= MANY - at);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost),
	};

	return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL) ? 1 : 0;
}
