/* SPDX-License-Identifier: MIT */
/* Is there another one? */
#ifndef MRELEASED_LOCK_H
#define MRELEASED_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

/* After lock_machine(): 0, or why there can be no lock, -errno. */
int lock_error(void);

/*
 * Become the one for the whole machine, or go on being it, until the end.  @socket_path: the status
 * socket, beside which the lock is.  Return: 0, or the number of the one that
 * is there (-1 if it is of another PID namespace).
 */
pid_t lock_machine(const char *socket_path);
/* Does another one have that lock?  Not for one that may have it itself. */
bool lock_is_taken(const char *socket_path);
/* Be no longer the one, if we were. */
void lock_give_up(void);

#endif /* MRELEASED_LOCK_H */
