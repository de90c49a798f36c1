/* SPDX-License-Identifier: MIT */
/* Process numbers that are used again sooner than anybody expects. */
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victim.h"

/* fork(), and the child has that number; 0: any. */
static pid_t fork_with_number(pid_t number)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	if (number) {
		args.set_tid = (uint64_t)(uintptr_t)&number;
		args.set_tid_size = 1;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/*
 * renumber [WIDTH]: a child is killed and born again with the same number,
 * every 25 ms, beside WIDTH others that stay.
 */
int victim_renumber(int argc, char **argv)
{
	unsigned long i, width = number(argc, argv, 1, 200);
	const struct timespec life = { 0, 25000000 };
	pid_t root = getpid(), child = 0;

	for (i = 0; i < width; i++) {
		switch (fork()) {
		case -1:
			die("fork");
		case 0:
			serve(NULL, 0);
		}
	}
	for (i = 0;; i++) {
		child = fork_with_number(child);
		if (child < 0)
			die("clone3 with set_tid");
		if (!child) {
			prctl(PR_SET_PDEATHSIG, 0);
			serve(NULL, 0);
		}
		if (i == 1)
			ready(root, child, NULL, 0);
		nanosleep(&life, NULL);
		kill(child, SIGKILL);
		if (waitpid(child, NULL, 0) != child)
			die("waitpid");
	}
}

/*
 * mortal_child: SIGTERM is nothing to the root, and the end of its child,
 * whose number is free at once.
 */
int victim_mortal_child(int argc, char **argv)
{
	pid_t pid;

	(void)argc;
	(void)argv;
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		serve(NULL, 0);
	signal(SIGTERM, SIG_IGN);
	ready(getpid(), pid, NULL, 0);
	serve(NULL, 0);
}
