/* SPDX-License-Identifier: MIT */
/*
 * Run the command under ptrace, system call by system call, and kill it at
 * one of them, or do something else before it goes on.
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

/*
 * Run argv and call fn before the first call of that number with that second
 * argument, and a descriptor as its first, is made.  True if there was one.
 */
bool step_and_call(char *const argv[], long nr, unsigned long arg1,
		   void (*fn)(void *arg), void *arg);

#endif /* STEPPER_H */
