/* SPDX-License-Identifier: MIT */
/*
 * What was seen and decided, one line each, so that the decisions can be made
 * again with another configuration:
 *
 *   S snapshot    C candidate    R release
 *   G growth over what time, how long a release takes, the end of the last
 *   D decision, from all that stands before it since the last one
 *   # comment, by somebody else
 */
#ifndef MRELEASED_TRACE_H
#define MRELEASED_TRACE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "config.h"
#include "policy.h"

#define TRACE_BUFFER (4u << 20)

/* A ring; a thread writes it to the file, so that no disk stops the loop. */
struct trace {
	int fd;
	char *buf;
	/* Bytes put in and written out, since the beginning. */
	_Atomic uint64_t in;
	_Atomic uint64_t out;
	/* -errno while nothing can be written; and was that said? */
	_Atomic int error;
	bool said;
	/* Of the record that is being put in: its end, and is all of it there? */
	uint64_t end;
	bool fits;
	/* Records for which there was no room: whole ones. */
	uint64_t lost;
	/* The flags of the candidates when it was decided. */
	uint32_t *flags;
	pthread_t writer;
	sem_t go;
	/* Of the last decision that was recorded. */
	enum policy_level level;
	int64_t candidates_ns;
};

/* Appends.  Return: 0 or -errno. */
int trace_open(struct trace *t, const char *path);
/* 0 or -errno of what could not be written at the end. */
int trace_close(struct trace *t);
/*
 * Before what was decided is done, which marks candidates; trace_add() comes after
 * it, since the signal must not wait for thousands of lines.
 */
void trace_keep(struct trace *t, const struct policy_view *view);
/* Nothing if it is not open. */
void trace_add(struct trace *t, const struct policy_view *view,
	       const struct decision *d);

/* simulate.c: decide again, and print both; exit status */
int simulate(const char *path, const struct config *config, FILE *out);

#endif /* MRELEASED_TRACE_H */
