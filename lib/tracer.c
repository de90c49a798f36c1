/* SPDX-License-Identifier: MIT */
/*
 * A group has one tracer, since only the tracer can let go of a tracee, and
 * many workers.  The workers ask for what they need by a bit in the victim
 * and a SIGCHLD, the same signal that tells of a stop: one thing to wait for.
 */
#include <linux/futex.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "group.h"

#define EXIT_STOP (SIGTRAP | PTRACE_EVENT_EXIT << 8)

void tracer_wake(struct group *g)
{
	__atomic_add_fetch(&g->requests, 1, __ATOMIC_SEQ_CST);
	sys_futex(&g->requests, FUTEX_WAKE, 1, NULL);
	sys_kill(g->tracer, SIGCHLD);
}

/* In a worker: have one pin dropped, and wait for it. */
int tracer_unpin(struct release *r, struct victim *v, unsigned int pin)
{
	struct worker *w = (void *)((char *)r - offsetof(struct worker, r));
	struct timespec ts;
	pid_t tid;

	__atomic_or_fetch(&v->want_unpin, 1u << pin, __ATOMIC_SEQ_CST);
	tracer_wake(w->g);
	while ((tid = __atomic_load_n(&v->pins[pin], __ATOMIC_ACQUIRE))) {
		int64_t left = r->deadline_ns - now_ns();

		if (left <= 0)
			return -ETIMEDOUT;
		ts.tv_sec = left / NSEC_PER_SEC;
		ts.tv_nsec = left % NSEC_PER_SEC;
		sys_futex(&v->pins[pin], FUTEX_WAIT, tid, &ts);
	}
	return 0;
}

static void drop(struct victim *v, unsigned int pin)
{
	__atomic_store_n(&v->pins[pin], 0, __ATOMIC_RELEASE);
	sys_futex(&v->pins[pin], FUTEX_WAKE, 1, NULL);
}

/* True when something that is wanted has not stopped yet. */
static bool drop_wanted(struct victim *v)
{
	uint32_t want = __atomic_load_n(&v->want_unpin, __ATOMIC_SEQ_CST);
	bool pending = false;

	for (unsigned int i = 0; i < v->nr_pins; i++) {
		if (!v->pins[i] || !(want & 1u << i))
			continue;
		if (!(v->stopped & 1u << i)) {
			pending = true;
			continue;
		}
		sys_ptrace(PTRACE_DETACH, v->pins[i], 0, 0);
		drop(v, i);
	}
	return pending;
}

/* A tracee of ours that is no pin: a tree's other threads (tree.c). */
static void other_stop(pid_t tid, int status)
{
	if (status >> 8 == EXIT_STOP)
		sys_ptrace(PTRACE_DETACH, tid, 0, 0);
}

static void handle(struct group *g, pid_t tid, int status)
{
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = &g->victims[i];

		for (unsigned int j = 0; j < v->nr_pins; j++) {
			if (v->pins[j] != tid)
				continue;
			if (!WIFSTOPPED(status))
				drop(v, j);
			else if (status >> 8 == EXIT_STOP)
				v->stopped |= 1u << j;
			return;
		}
	}
	if (WIFSTOPPED(status))
		other_stop(tid, status);
}

void tracer_drain(struct group *g)
{
	int status, tid;

	while ((tid = sys_wait4(-1, &status, __WALL | WNOHANG)) > 0)
		handle(g, tid, status);
}

static bool all_dropped(const struct group *g)
{
	for (size_t i = 0; i < g->nr; i++)
		for (unsigned int j = 0; j < g->victims[i].nr_pins; j++)
			if (g->victims[i].pins[j])
				return false;
	return true;
}

/*
 * Somebody has killed the workers: what they had in hand comes back with its
 * exit.  No word of ours is woken for that, so it is looked at now and then.
 */
static void workers_lost(struct group *g)
{
	for (unsigned int i = 0; i < g->nr_workers; i++)
		if (__atomic_load_n(&g->workers[i].helper.alive,
				    __ATOMIC_ACQUIRE))
			return;
	/* In this order: the last of them may just have finished. */
	if (__atomic_load_n(&g->finished, __ATOMIC_ACQUIRE) >= g->nr)
		return;
	for (size_t i = 0; i < g->nr; i++)
		__atomic_or_fetch(&g->victims[i].want_unpin, ~0u,
				  __ATOMIC_SEQ_CST);
	g->finished = g->nr;
}

/*
 * Stops and requests, until every pin is dropped; or the deadline.
 *
 * A stop that nobody waits for need not wake us: two hundred members stop
 * within a millisecond, when the CPUs have better things to do.  Then we
 * wait for requests only.  In a tree every thread is traced, and one that
 * is no pin must be let go as soon as it stops.
 */
void tracer_loop(struct group *g)
{
	uint64_t chld = 1ULL << (SIGCHLD - 1);
	int64_t deadline_ns = g->base.deadline_ns;
	int64_t left = NSEC_PER_SEC;
	struct timespec ts;
	uint32_t requests;
	bool pending;

	for (;;) {
		requests = __atomic_load_n(&g->requests, __ATOMIC_SEQ_CST);
		tracer_drain(g);
		workers_lost(g);
		pending = g->traces_all;
		for (size_t i = 0; i < g->nr; i++)
			pending |= drop_wanted(&g->victims[i]);
		if (__atomic_load_n(&g->finished, __ATOMIC_ACQUIRE) >= g->nr) {
			if (all_dropped(g))
				return;
			/* Memory is back; an exit may take longer. */
			if (!g->base.deadline_given &&
			    deadline_ns == g->base.deadline_ns)
				deadline_ns = deadline_min(
					deadline_ns,
					now_ns() + DEFAULT_EXIT_WAIT_NS);
		}
		if (deadline_ns != MRELEASE_NO_DEADLINE)
			left = deadline_ns - now_ns();
		if (left <= 0)
			return;
		left = MIN(left, NSEC_PER_SEC / 10);
		ts.tv_sec = left / NSEC_PER_SEC;
		ts.tv_nsec = left % NSEC_PER_SEC;
		if (pending)
			sys_sigtimedwait(&chld, &ts);
		else
			sys_futex(&g->requests, FUTEX_WAIT, requests, &ts);
	}
}
