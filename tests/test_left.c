/* SPDX-License-Identifier: MIT */
/*
 * The helper of one process is killed by a stranger while it opens a file: what
 * it has opened is in the table of a caller that lives on, and does not stay
 * there.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

/* A search asks each process of the machine: those opens are all alike. */
#define MAX_OPENS 50

/* Another process is prepared meanwhile, by a helper of its own. */
static bool beside_prepared;
static unsigned int helper = 1;

static bool killed_at(const struct step *at, const char *name)
{
	char program[PATH_MAX], number[16], out[16], said[1024] = "";
	char other_number[16], *argv[] = { program, out, number, NULL, NULL };
	struct victim v, other;
	bool reached;
	int fds[2];

	snprintf(program, sizeof(program), "%s", beside("releases"));
	/* The program is to have it. */
	assert_int_equal(pipe(fds), 0);
	victim_start(&v, name, "4", NULL);
	snprintf(number, sizeof(number), "%d", v.pid);
	snprintf(out, sizeof(out), "%d", fds[1]);
	if (beside_prepared) {
		victim_start(&other, name, "4", NULL);
		snprintf(other_number, sizeof(other_number), "%d", other.pid);
		argv[3] = other_number;
	}
	reached = step_and_kill(argv, at, STEP_KILL_TASK);
	victim_end(&v);
	if (beside_prepared)
		victim_end(&other);
	close(fds[1]);
	assert_true(read(fds[0], said, sizeof(said) - 1) > 0);
	close(fds[0]);
	if (strcmp(said, "none"))
		fail_msg("killed in call %ld for the %u. time: left are %s",
			 at->nr, at->count, said);
	return reached;
}

static void killed_in_opens(const char *name, unsigned int min)
{
	static const long calls[] = {
		SYS_openat,	SYS_openat2,	   SYS_memfd_create,
		SYS_pidfd_open, SYS_inotify_init1, SYS_open_by_handle_at
	};
	unsigned int opens = 0;

	for (unsigned int i = 0; i < ARRAY_LEN(calls); i++) {
		struct step at = { .task = helper, .nr = calls[i] };

		while (++at.count < MAX_OPENS && killed_at(&at, name))
			opens++;
	}
	if (!opens)
		skip_test("syscall-info", "PTRACE_GET_SYSCALL_INFO");
	printf("# %s: %u opens\n", name, opens);
	assert_in_range(opens, min, ARRAY_LEN(calls) * MAX_OPENS);
}

static void test_threads(void **state)
{
	(void)state;
	killed_in_opens("threads", 5);
}

/* More is looked for: who has the memory, and where it is mounted. */
static void test_shared_memory(void **state)
{
	(void)state;
	killed_in_opens("memfd", 10);
	killed_in_opens("sysv", 10);
}

static void test_sharer(void **state)
{
	(void)state;
	killed_in_opens("clone-vm", 5);
}

/* What that has open is neither left nor closed. */
static void test_beside_prepared(void **state)
{
	(void)state;
	beside_prepared = true;
	helper = 2;
	killed_in_opens("memfd", 10);
	beside_prepared = false;
	helper = 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_threads),
		harness_test(test_shared_memory),
		harness_test(test_sharer),
		harness_test(test_beside_prepared),
	};

	return run_group(tests);
}
