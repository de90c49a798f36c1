/* SPDX-License-Identifier: MIT */
/*
 * Run the command under ptrace, system call by system call, and kill it at
 * one of them, or do something else before it goes on.  Linux 5.3.
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

/* The entry or the exit of one system call of one task. */
struct step {
	/* In the order in which they came; 0 is the one that was started. */
	unsigned int task;
	long nr;
	/* So many calls of that number it had made, this one with them. */
	unsigned int count;
	bool entry;
};

#define MAX_STEPS 512

/*
 * Run argv to its end, and note the steps at which it is worth being killed.
 * Reading a file changes nothing for anybody else, so a death anywhere between
 * two calls that do is the same death: the exit of each such call counts, and
 * a few of the others.  Of a call that comes often, the first and the last.
 */
unsigned int steps_note(char *const argv[], struct step *steps);

/*
 * Run argv and kill at that step.  Returns once all its tasks are gone: true if
 * it came as far as that step, false if it ended by itself before.
 */
bool step_and_kill(char *const argv[], const struct step *step,
		   enum step_kill who);

/*
 * Run argv and call fn before the first call of that number with that second
 * argument, and a descriptor as its first, is made.  True if there was one.
 */
bool step_and_call(char *const argv[], long nr, unsigned long arg1,
		   void (*fn)(void *arg), void *arg);

/* Calls of all tasks, but for clock_gettime(). */
struct steps_seen {
	unsigned int calls;
	unsigned int counts[512];
	/* SIGKILL was sent through a pidfd, and by the how manyth task. */
	bool killed;
	unsigned int killer;
};

/*
 * Run argv, and count its calls: with a number, from its call of that with that
 * first argument on, up to the kill; with -1, from exec to the end.
 */
void steps_count(char *const argv[], long from, unsigned long arg0,
		 struct steps_seen *seen);

#endif /* STEPPER_H */
