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

#include "group/group.h"

/* Without any member finished, while all workers sleep. */
#define STANDSTILL_NS NSEC_PER_SEC

#define EXIT_STOP (SIGTRAP | PTRACE_EVENT_EXIT << 8)

void tracer_wake(struct group *g)
{
	__atomic_add_fetch(&g->requests, 1, __ATOMIC_SEQ_CST);
	sys_futex(&g->requests, FUTEX_WAKE, 1, NULL);
	sys_kill(g->tracer, SIGCHLD);
}

/*
 * Have the tracer look at what is wanted of that member: once for however many
 * asked.  Of four thousand, each is found without a search.
 */
void tracer_ask(struct group *g, struct victim *v)
{
	struct victim *head;

	if (__atomic_exchange_n(&v->asked, true, __ATOMIC_SEQ_CST))
		return;
	head = __atomic_load_n(&g->asked, __ATOMIC_ACQUIRE);
	do {
		v->next_asked = head;
	} while (!__atomic_compare_exchange_n(
		&g->asked, &head, v, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

/* In a worker: have one pin dropped, and wait for it. */
int tracer_unpin(struct release *r, struct victim *v, unsigned int pin)
{
	struct worker *w = (void *)((char *)r - offsetof(struct worker, r));
	struct timespec ts;
	pid_t tid;

	__atomic_or_fetch(&v->want_unpin, 1u << pin, __ATOMIC_SEQ_CST);
	tracer_ask(w->g, v);
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

static void drop(struct group *g, struct victim *v, unsigned int pin)
{
	g->nr_pinned--;
	__atomic_store_n(&v->pins[pin], 0, __ATOMIC_RELEASE);
	sys_futex(&v->pins[pin], FUTEX_WAKE, 1, NULL);
}

/* What is wanted and stands is let go; what has not stopped yet is counted. */
static void drop_wanted(struct group *g, struct victim *v)
{
	uint32_t want = __atomic_load_n(&v->want_unpin, __ATOMIC_SEQ_CST);
	unsigned int pending = 0;

	for (unsigned int i = 0; i < v->nr_pins; i++) {
		if (!v->pins[i] || !(want & 1u << i))
			continue;
		if (!(v->stopped & 1u << i)) {
			pending++;
			continue;
		}
		sys_ptrace(PTRACE_DETACH, v->pins[i], 0, 0);
		drop(g, v, i);
	}
	g->nr_pending += pending - v->nr_pending;
	v->nr_pending = pending;
}

static void take_requests(struct group *g)
{
	struct victim *v, *next;

	v = __atomic_exchange_n(&g->asked, NULL, __ATOMIC_ACQ_REL);
	for (; v; v = next) {
		next = v->next_asked;
		/* Before its wishes are read: one more is asked for anew. */
		__atomic_store_n(&v->asked, false, __ATOMIC_SEQ_CST);
		drop_wanted(g, v);
	}
}

/* A tracee of ours that is no pin: a tree's other threads (tree.c). */
static void other_stop(pid_t tid, int status)
{
	if (status >> 8 == EXIT_STOP)
		sys_ptrace(PTRACE_DETACH, tid, 0, 0);
}

static struct pin *pin_slot(const struct group *g, pid_t tid)
{
	size_t i = (uint32_t)tid * 2654435761u % g->nr_pin_slots;

	while (g->pins[i].tid && g->pins[i].tid != tid)
		i = (i + 1) % g->nr_pin_slots;
	return &g->pins[i];
}

/* Every pin, by its thread: none is added once the loop runs. */
static void list_pins(struct group *g)
{
	size_t nr = 0;

	for (size_t i = 0; i < g->nr; i++)
		nr += g->victims[i]->nr_pins;
	g->nr_pinned = 0;
	g->nr_pin_slots = 2 * nr + 1;
	g->pins = pages_reserve(g->nr_pin_slots * sizeof(*g->pins));
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		for (unsigned int j = 0; j < v->nr_pins; j++) {
			if (!v->pins[j])
				continue;
			g->nr_pinned++;
			if (g->pins)
				*pin_slot(g, v->pins[j]) =
					(struct pin){ v->pins[j], j, v };
		}
	}
}

/* NULL: it is no pin.  Without memory for a table they are searched. */
static struct victim *whose_pin(const struct group *g, pid_t tid,
				unsigned int *ret_pin)
{
	if (g->pins) {
		const struct pin *p = pin_slot(g, tid);

		*ret_pin = p->pin;
		return p->tid && p->v->pins[p->pin] == tid ? p->v : NULL;
	}
	for (size_t i = 0; i < g->nr; i++)
		for (*ret_pin = 0; *ret_pin < g->victims[i]->nr_pins;
		     ++*ret_pin)
			if (g->victims[i]->pins[*ret_pin] == tid)
				return g->victims[i];
	return NULL;
}

static void handle(struct group *g, pid_t tid, int status)
{
	unsigned int pin;
	struct victim *v = whose_pin(g, tid, &pin);

	if (!v) {
		if (WIFSTOPPED(status))
			other_stop(tid, status);
		return;
	}
	if (!WIFSTOPPED(status))
		drop(g, v, pin);
	else if (status >> 8 == EXIT_STOP)
		v->stopped |= 1u << pin;
	drop_wanted(g, v);
}

void tracer_drain(struct group *g)
{
	int status, tid;

	while ((tid = sys_wait4(-1, &status, __WALL | WNOHANG)) > 0)
		handle(g, tid, status);
}

/* As of the last time that a member was finished. */
struct standstill {
	size_t finished;
	int64_t since_ns;
};

/*
 * Each worker sleeps in a page of a member's that does not come, and none has
 * finished another member for so long.
 */
static bool workers_hang(struct group *g, struct standstill *s)
{
	size_t finished = __atomic_load_n(&g->finished, __ATOMIC_ACQUIRE);
	int64_t now = now_ns();

	if (!s->since_ns || finished != s->finished || !workers_sleep(g)) {
		*s = (struct standstill){ finished, now };
		return false;
	}
	if (now < s->since_ns + STANDSTILL_NS)
		return false;
	g->workers_stuck = true;
	return true;
}

/*
 * Somebody has killed the workers, or they hang: all that is left is let go, and
 * what they had in hand comes back with its exit.  No word of ours is woken for
 * that, so it is looked at now and then.
 */
static void workers_lost(struct group *g, struct standstill *s)
{
	if (workers_work(g) && !workers_hang(g, s))
		return;
	/* In this order: the last of them may just have finished. */
	if (__atomic_load_n(&g->finished, __ATOMIC_ACQUIRE) >= g->nr)
		return;
	for (size_t i = 0; i < g->nr; i++) {
		__atomic_or_fetch(&g->victims[i]->want_unpin, ~0u,
				  __ATOMIC_SEQ_CST);
		tracer_ask(g, g->victims[i]);
	}
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
	const int64_t tick_ns = NSEC_PER_SEC / 50;
	int64_t left = NSEC_PER_SEC;
	struct standstill still = { 0 };
	struct timespec ts;
	uint32_t requests;
	bool quiet;

	list_pins(g);
	for (;;) {
		requests = __atomic_load_n(&g->requests, __ATOMIC_SEQ_CST);
		tracer_drain(g);
		workers_lost(g, &still);
		take_requests(g);
		if (__atomic_load_n(&g->finished, __ATOMIC_ACQUIRE) >= g->nr) {
			if (!g->nr_pinned)
				return;
			/* One that never stops keeps us; others are gone. */
			exits_note(g);
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
		helper_needs_host(&g->helper);
		left = MIN(left, tick_ns);
		ts.tv_sec = left / NSEC_PER_SEC;
		ts.tv_nsec = left % NSEC_PER_SEC;
		if (g->traces_all || g->nr_pending)
			quiet = sys_sigtimedwait(&chld, &ts) == -EAGAIN;
		else
			quiet = sys_futex(&g->requests, FUTEX_WAIT, requests,
					  &ts) == -ETIMEDOUT;
		/* All workers may hang; members that were let go exit meanwhile. */
		if (quiet)
			exits_note(g);
	}
}
