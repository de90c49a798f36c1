/* SPDX-License-Identifier: MIT */
/*
 * The victim holds a robust process-shared mutex.  The kernel marks it with
 * EOWNERDEAD by walking a list in the victim's memory when it exits; a killer
 * that reaps that memory first leaves every other user of the mutex waiting
 * for good.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

/* the owner has exited by then: nobody will ever unlock it */
#define ROBUST_TIMEOUT_MS 250
/* the other ways are a sample: each deadlock costs the timeout */
#define ROBUST_SAMPLE 10

static int lock_it(void *arg)
{
	return pthread_mutex_lock(arg);
}

static void make_mutex(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (pthread_mutex_init(mutex, &attr))
		bench_die("no robust mutexes here");
	pthread_mutexattr_destroy(&attr);
}

/* As another user of the mutex would find it. */
static int lock_after(pthread_mutex_t *mutex)
{
	struct timespec until;
	int error;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ROBUST_TIMEOUT_MS * NSEC_PER_MSEC;
	if (until.tv_nsec >= NSEC_PER_SEC) {
		until.tv_nsec -= NSEC_PER_SEC;
		until.tv_sec++;
	}
	error = pthread_mutex_timedlock(mutex, &until);
	if (error == EOWNERDEAD)
		pthread_mutex_consistent(mutex);
	if (!error || error == EOWNERDEAD)
		pthread_mutex_unlock(mutex);
	return error;
}

static void once(enum bench_way way, uint64_t bytes, pthread_mutex_t *mutex,
		 struct bench_stat *st)
{
	struct victim_spec spec = VICTIM_SPEC(bytes);
	struct way_run run;
	struct victim v;
	int error;

	/* a mutex that deadlocked cannot be destroyed, only written over */
	memset(mutex, 0, sizeof(*mutex));
	make_mutex(mutex);
	spec.setup = lock_it;
	spec.arg = mutex;
	error = victim_start(&spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	way_kill(way, &v, 0, &run);
	victim_end(&v);
	way_count(st, &run);
	error = lock_after(mutex);
	st->ownerdead += error == EOWNERDEAD;
	st->deadlocks += error == ETIMEDOUT;
}

int scn_robust(const struct bench_opts *o, struct bench_result *res)
{
	const struct bench_scenario *s = res->scenario;
	unsigned int total = o->reps ? o->reps : s->reps[o->pace];
	struct bench_stat *ours = &res->way[WAY_OURS];
	pthread_mutex_t *mutex;

	if (!have_memory(512 * MIB, res))
		return 0;
	mutex = mmap(NULL, sizeof(*mutex), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mutex == MAP_FAILED)
		bench_die("mmap: %m");
	for (unsigned int i = 0; i < total; i++) {
		/* 1, 2, 4 .. 512 MiB in turn */
		uint64_t bytes = MIB << (i % 10);

		once(WAY_OURS, bytes, mutex, ours);
		if (i / 10 % ROBUST_SAMPLE)
			continue;
		once(WAY_WAIT, bytes, mutex, &res->way[WAY_WAIT]);
		once(WAY_MRELEASE, bytes, mutex, &res->way[WAY_MRELEASE]);
	}
	munmap(mutex, sizeof(*mutex));
	for (int way = 0; way < NR_WAYS; way++) {
		struct bench_stat *st = &res->way[way];

		snprintf(st->cell, sizeof(st->cell), "deadlocks: %u of %u",
			 st->deadlocks, st->runs);
	}
	check_is(res, "EOWNERDEAD seen by the next to lock", ours->ownerdead,
		 ours->runs);
	check_is(res, "deadlocks", ours->deadlocks, 0);
	check_verified(res);
	return 0;
}
