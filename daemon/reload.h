/* SPDX-License-Identifier: MIT */
/* The configuration: at the start, and again. */
#ifndef MRELEASED_RELOAD_H
#define MRELEASED_RELOAD_H

#include <stdbool.h>

#include "config.h"
#include "options.h"

/*
 * Of its thread: regcomp(3) calls itself for each atom of an expression (rules.c),
 * and who knows a user's name is a library of the administrator's choice.
 */
#define RELOAD_STACK (1024 * 1024)

/* Files and options into @c; what is wrong goes to @tell. */
int reload_now(struct config *c, const struct options *o,
	       void (*tell)(void *arg, const char *where, const char *what),
	       void *arg);
/*
 * The same by a thread: a file may be on a disk that is slow, and a user's name
 * is asked for at a server.  Return: a descriptor, readable when there is something
 * to take; or -errno.
 */
int reload_open(const struct options *o);
/* Read it now; or once more, if that is being done. */
void reload_begin(void);
/*
 * 1: *@ret is the new one, and the caller's; -EINVAL: it has mistakes, which
 * @say_line is told of; 0: not yet.
 */
int reload_take(struct config *ret, void (*say_line)(const char *line));

#endif /* MRELEASED_RELOAD_H */
