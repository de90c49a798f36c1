/* SPDX-License-Identifier: MIT */
/* Programs of the administrator, before and after a kill. */
#ifndef MRELEASED_HOOKS_H
#define MRELEASED_HOOKS_H

#include "act.h"

/*
 * Has it started and does not wait: no kill waits for a program, nor for the
 * file system that it is on.  Some run at once, more are not run, which is said.
 * The environment
 * has what earlyoom gives (EARLYOOM_PID, _NAME, _UID), and MRELEASED_*.
 */
void hook_run(const char *program, const struct victim *v,
	      const struct release_view *done);
/* Those that have ended are no zombies; and what could not be run is said. */
void hooks_reap(void);
/* Before the first.  0 or -errno. */
int hooks_start(void);

#endif /* MRELEASED_HOOKS_H */
