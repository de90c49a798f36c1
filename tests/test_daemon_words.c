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

/*
 * Counts on over the whole lines of @text: each message has the next number, or
 * the number that the line before it, about lost messages, leads to.  How often
 * there is such a line, depends on when the writer gets the CPU.
 */
static unsigned int count(const char *text, unsigned int *lost)
{
	unsigned int next = 0, n;
	const char *end;

	*lost = 0;
	for (; (end = strchr(text, '\n')); text = end + 1) {
		if (sscanf(text, "message %u of", &n) == 1) {
			assert_int_equal(n, next);
			next++;
			continue;
		}
		assert_int_equal(sscanf(text, "%u messages are lost", &n), 1);
		assert_int_not_equal(n, 0);
		next += n;
		*lost += n;
	}
	return next;
}

/*
 * The writer waits, and we do not.  What was put first comes first and whole; how
 * much is missing is said.
 */
static void test_lost(void **state)
{
	static char text[512 * 1024];
	int ends[2], saved = dup(STDERR_FILENO);
	unsigned int lost, next = MANY;
	size_t len = 0;

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
	/* Only what finds room says how many did not: so there is more to say. */
	do {
		ssize_t n = read(ends[0], text + len, sizeof(text) - 1 - len);

		assert_true(n > 0);
		len += (size_t)n;
		text[len] = '\0';
		put(next++);
	} while (count(text, &lost) < MANY);
	dup2(saved, STDERR_FILENO);
	close(saved);
	/* The buffer and the pipe together have no room for half of them. */
	assert_in_range(lost, MANY / 2, 2 * MANY);
	assert_memory_equal(text, "message 0 of", 12);
	close(ends[0]);
	close(ends[1]);
}

/* A cgroup's name, in a message that goes to a terminal. */
static void test_hostile_name(void **state)
{
	int ends[2], saved = dup(STDERR_FILENO);
	char text[256];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	/* Before there is a thread that writes. */
	say(SAY_INFO, "/a\033]0;b\a\n\177\tc");
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(ends[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "/a?]0;b???\tc\n");
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_name),
		cmocka_unit_test(test_lost),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL) ? 1 : 0;
}
