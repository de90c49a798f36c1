/* SPDX-License-Identifier: MIT */
/*
 * A system call of the library's held in the middle, and something done before
 * it goes on: seccomp's user notification (Linux 5.0).
 */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <pthread.h>
#include <sys/types.h>

struct notify {
	/* signal: only with that second argument and no flags; 0 for all. */
	long call;
	int signal;
	/*
	 * In a thread of its own, for the n-th call, from 0 on: what the caller
	 * is to get (-errno), or 0: the call is made.
	 */
	int (*fn)(void *arg, unsigned int n, pid_t caller);
	void *arg;
	/* The listener, told by the thread that has the filter. */
	int ends[2];
	pthread_t thread;
};

/*
 * For the calls of this thread and of what it starts, for good: to be used in
 * a child of the test.  Ends it with 77 where there are no listeners.
 */
void notify_begin(struct notify *n);

#endif /* NOTIFY_H */
