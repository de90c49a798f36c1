/* SPDX-License-Identifier: MIT */
/*
 * Threads that were not there yet when the threads of their process were noted,
 * and hold a lock when it is killed: nobody waits for them for ever.
 */
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

#define NR_HOLDERS 2

struct late {
	struct victim victim;
	pid_t tid[NR_HOLDERS];
	/* What the keeper has to say, once it is over. */
	int end_fd;
};

/*
 * Holds them in their exit, where they have not walked their lists yet, until
 * mrelease waits for them, which shows in their priority, or has taken the
 * memory with the lists.
 */
static char keep(struct late *late, int ready_fd)
{
	bool waited = false;
	int status;

	for (int i = 0; i < NR_HOLDERS; i++)
		if (ptrace(PTRACE_SEIZE, late->tid[i], 0, PTRACE_O_TRACEEXIT))
			return 'e';
	if (write(ready_fd, "", 1) != 1)
		return 'e';
	for (int i = 0; i < NR_HOLDERS; i++)
		if (waitpid(late->tid[i], &status, __WALL) < 0 ||
		    status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			return 'e';
	while (!waited && victim_resident(&late->victim)) {
		waited = getpriority(PRIO_PROCESS, late->tid[0]) == -20;
		poll(NULL, 0, 1);
	}
	for (int i = 0; i < NR_HOLDERS; i++)
		ptrace(PTRACE_DETACH, late->tid[i], 0, 0);
	return waited ? 'w' : 'r';
}

/* Between the look at the threads and the kill. */
static void take_locks(void *arg)
{
	struct late *late = arg;
	int fds[2];
	char line[16];

	victim_command(&late->victim, 'h');
	for (int i = 0; i < NR_HOLDERS; i++) {
		victim_reply(&late->victim, line, sizeof(line));
		late->tid[i] = strtol(line, NULL, 10);
		assert_true(late->tid[i] > 0);
	}
	assert_int_equal(pipe(fds), 0);
	if (!test_fork()) {
		line[0] = keep(late, fds[1]);
		_exit(write(fds[1], line, 1) != 1);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], line, 1), 1);
	late->end_fd = fds[0];
}

static void born_after_the_look(const char *gap)
{
	struct victim_setup setup = { 0 };
	struct victim survivor;
	struct late late;
	char command[PATH_MAX], number[16], line[64];
	char *argv[] = { command, (char *)"-w", (char *)"60s", number, NULL };

	/* To see that it is waited for, and to make it so. */
	need_root();
	need_capability(CAP_SYS_NICE, "CAP_SYS_NICE");
	snprintf(command, sizeof(command), "%s", beside("../mrelease"));
	if (access(command, X_OK))
		skip_test("command", "the command was not built");
	setup.shm_fd = make_shm();
	victim_start_with(&late.victim, &setup, "robust-late", "4", "2", gap,
			  NULL);
	snprintf(number, sizeof(number), "%d", late.victim.pid);
	assert_true(step_and_call(argv, SYS_pidfd_send_signal, SIGKILL,
				  take_locks, &late));
	assert_int_equal(read(late.end_fd, line, 1), 1);
	close(late.end_fd);
	/* Waited for them; 'r' is reaped before they walked their lists. */
	assert_int_equal(line[0], 'w');
	victim_start_with(&survivor, &setup, "robust-survivor", "2", NULL);
	victim_reply(&survivor, line, sizeof(line));
	assert_string_equal(line, "locked 2 0 0");
	victim_end(&survivor);
	victim_end(&late.victim);
}

static void test_born_after_the_look(void **state)
{
	(void)state;
	born_after_the_look("0");
}

/* Not noted by trying the numbers after the leader's, but from /proc. */
static void test_born_after_the_listing(void **state)
{
	(void)state;
	born_after_the_look("6");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_born_after_the_look),
		harness_test(test_born_after_the_listing),
	};

	return run_group(tests);
}
