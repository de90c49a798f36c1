/* SPDX-License-Identifier: MIT */
/* Programs of the administrator, before and after a kill. */
#ifndef MRELEASED_HOOKS_H
#define MRELEASED_HOOKS_H

#include "act.h"

/*
 * Starts it and does not wait: no kill waits for a program.  The environment
 * has what earlyoom gives (EARLYOOM_PID, _NAME, _UID), and MRELEASED_*.
 */
void hook_run(const char *program, const struct victim *v,
	      const struct release_view *done);
/* Those that have ended are no zombies. */
void hooks_reap(void);

#endif /* MRELEASED_HOOKS_H */
