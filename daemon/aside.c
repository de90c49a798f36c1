/* SPDX-License-Identifier: MIT */
/* Threads for what may wait. */
#include <errno.h>
#include <time.h>

#include "aside.h"
#include "text.h"

/* What it says and does is small; locked memory is what is touched of it. */
#define STACK_SIZE (128 * 1024)
#define WAIT_MS	   500

static void *aside_main(void *arg)
{
	struct aside *a = arg;

	for (;;) {
		while (sem_wait(&a->go))
			;
		a->work(a->arg);
	}
	return NULL;
}

int aside_start(struct aside *a, void (*work)(void *arg), void *arg)
{
	pthread_attr_t attr;
	int ret;

	if (a->started)
		return 0;
	a->work = work;
	a->arg = arg;
	if (sem_init(&a->go, 0, 0))
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr,
				  a->stack_bytes ? a->stack_bytes : STACK_SIZE);
	ret = -pthread_create(&a->thread, &attr, aside_main, a);
	pthread_attr_destroy(&attr);
	a->started = !ret;
	return ret;
}

bool aside_go(struct aside *a)
{
	if (a->started)
		sem_post(&a->go);
	return a->started;
}

void aside_wait(const _Atomic bool *busy)
{
	struct timespec ms = { .tv_nsec = NS_PER_MS };

	for (int i = 0; i < WAIT_MS && *busy; i++)
		nanosleep(&ms, NULL);
}
