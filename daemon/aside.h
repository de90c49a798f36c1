/* SPDX-License-Identifier: MIT */
/*
 * What may wait for somebody: a reader, a disk, a program on a file system that
 * has gone.  Each kind has a thread of its own, so that the loop waits for none
 * of them, nor they for one another.
 */
#ifndef MRELEASED_ASIDE_H
#define MRELEASED_ASIDE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct aside {
	/* Set it before the start; 0: what most of them need. */
	size_t stack_bytes;
	void (*work)(void *arg);
	void *arg;
	bool started;
	pthread_t thread;
	sem_t go;
};

/*
 * From then on @work(@arg) is called once for each aside_go(), by its thread.  0 or
 * -errno.  All signals must be blocked that are somebody else's.
 */
int aside_start(struct aside *a, void (*work)(void *arg), void *arg);
/* Returns at once.  False: it was not started. */
bool aside_go(struct aside *a);

/* At the end: until it is false, but for half a second at most. */
void aside_wait(const _Atomic bool *busy);

#endif /* MRELEASED_ASIDE_H */
