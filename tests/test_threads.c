/* SPDX-License-Identifier: MIT */
/*
 * Threads that were not there yet when the threads of their process were noted,
 * and hold a lock when it is killed: nobody waits for them for ever.
 */
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

/* Between the look at the threads and the kill. */
static void take_locks(void *arg)
{
	struct victim *v = arg;
	char line[16];

	victim_command(v, 'h');
	victim_reply(v, line, sizeof(line));
	assert_string_equal(line, "held");
}

static void test_born_after_the_look(void **state)
{
	struct victim_setup setup = { 0 };
	struct victim holder, survivor;
	char command[PATH_MAX], number[16], line[64];
	char *argv[] = { command, (char *)"-w", (char *)"60s", number, NULL };
	cpu_set_t all, one;
	struct victim busy;
	int i;

	(void)state;
	snprintf(command, sizeof(command), "%s", beside("../mrelease"));
	if (access(command, X_OK))
		skip_test("command", "the command was not built");
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	victim_start(&busy, "spinning", "1", NULL);
	for (i = 0; i < 2; i++) {
		sched_setaffinity(0, sizeof(one), &one);
		setup.shm_fd = make_shm();
		victim_start_with(&holder, &setup, "robust-late", "4", "2",
				  NULL);
		sched_setaffinity(0, sizeof(all), &all);
		snprintf(number, sizeof(number), "%d", holder.pid);
		assert_true(step_and_call(argv, SYS_pidfd_send_signal, SIGKILL,
					  take_locks, &holder));
		victim_start_with(&survivor, &setup, "robust-survivor", "2",
				  NULL);
		victim_reply(&survivor, line, sizeof(line));
		assert_string_equal(line, "locked 2 0 0");
		victim_end(&survivor);
		victim_end(&holder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_born_after_the_look),
	};

	return run_group(tests);
}
