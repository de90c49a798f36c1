/* SPDX-License-Identifier: MIT */
/*
 * Run the command under ptrace, system call by system call, and kill it at
 * one of them.
 */
#ifndef STEPPER_H
#define STEPPER_H

#include <stdbool.h>
#include <sys/types.h>

enum step_kill {
	/* The process that was started, wherever the step itself happens. */
	STEP_KILL_MAIN,
	/* Whichever task of it stands at the step: its helpers, too. */
	STEP_KILL_TASK,
};

/*
 * Run argv and kill at stop number @step (entry and exit of each system call
 * of each of its tasks count, from 1).  Returns once all its tasks are gone:
 * true if it came as far as that step, false if it ended by itself before.
 */
bool step_and_kill(char *const argv[], unsigned int step, enum step_kill who);

#endif /* STEPPER_H */
