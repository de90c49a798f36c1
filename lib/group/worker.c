/* SPDX-License-Identifier: MIT */
/*
 * The workers of a group: each takes the biggest member that is left, and has
 * its memory back.
 */
#include <linux/futex.h>
#include <sys/resource.h>

#include "group/group.h"

/* For one holder, when there are more. */
#define PATIENCE_NS (10 * NSEC_PER_MSEC)
/* Past the deadline, for a worker to see that it has passed. */
#define JOIN_NS (100 * NSEC_PER_MSEC)

/* The queue is empty: be the second reaper of a victim still in work. */
static void help(struct worker *w)
{
	const uint32_t me = 1u << (w->nr);
	struct group *g = w->g;

	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		__atomic_or_fetch(&v->helping, me, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&v->reaping, __ATOMIC_SEQ_CST))
			sys_process_mrelease(v->pidfd, 0);
		if (!__atomic_and_fetch(&v->helping, ~me, __ATOMIC_SEQ_CST))
			sys_futex(&v->helping, FUTEX_WAKE, 1, NULL);
	}
}

/*
 * Back by its own exit already, with nobody else holding on to it?  Then
 * there is nothing to reap and nothing to look at.
 */
static bool exited_clean(struct release *r, struct victim *v)
{
	if (!victim_exited(v) || victim_mm_users(v) != 0)
		return false;
	if (v->rep.path != MRELEASE_PATH_SOFT)
		v->rep.path = MRELEASE_PATH_EXIT;
	release_wait_exit(r, v);
	return true;
}

/*
 * There is no worker, so we are the tracer: nobody would let go of a holder's
 * threads while we wait for it.  It comes back with its exit.
 */
static bool only_let_go(const struct worker *w, const struct victim *v)
{
	return v->holder && !w->g->nr_workers;
}

/*
 * To open a file can be to wait for a member that watches it (fanotify(7)), and as
 * long as it is held that answers nobody.  So it is let go first.  If it is another
 * one whose turn is still to come, another worker sees to that; without one the
 * tracer does, which finds that all workers sleep.  Where we are the tracer nothing
 * is evicted.
 */
static void evict_cache(struct worker *w, struct victim *v)
{
	if (!w->g->nr_workers) {
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
		cache_close(w->r.cache);
		return;
	}
	tracer_wake(w->g);
	cache_evict(w->r.cache, v);
}

static void work_on(struct worker *w, struct victim *v)
{
	struct group *g = w->g;
	bool evict = false;

	w->r.v = v;
	/* It may hang, so the tracer lets go of the finished ones now. */
	if (v->hands_off)
		tracer_wake(g);
	if (only_let_go(w, v)) {
		v->rep.path = MRELEASE_PATH_EXIT;
	} else if (v->hands_off && victim_open_late(v) < 0) {
		v->rep.path = MRELEASE_PATH_EXIT;
	} else if (v->killed && !exited_clean(&w->r, v)) {
		victim_complete(v);
		release_memory(&w->r, v);
		/* Shared mappings are not unmapped yet, and stay. */
		evict = w->r.cache && v->rep.verified;
		if (evict)
			cache_open(&w->r, v, &w->scratch);
		if (g->thin)
			victim_thin(v);
	}
	__atomic_or_fetch(&v->want_unpin, ~0u, __ATOMIC_SEQ_CST);
	tracer_ask(g, v);
	if (evict)
		evict_cache(w, v);
	__atomic_store_n(&v->through, 1, __ATOMIC_RELEASE);
	if (__atomic_add_fetch(&g->finished, 1, __ATOMIC_ACQ_REL) == g->nr)
		tracer_wake(g);
}

/*
 * A member that holds a lock is let go and waited for, and if it is frozen or
 * in D state for as long as the call may take.  True: it takes longer, and
 * others can be seen to meanwhile.
 */
static bool put_off(struct worker *w, struct victim *v)
{
	int64_t deadline_ns = w->r.deadline_ns;
	int ret;

	if (!v->killed || v->settled || v->hands_off || victim_exited(v))
		return false;
	w->r.deadline_ns = deadline_min(deadline_ns, now_ns() + PATIENCE_NS);
	victim_complete(v);
	ret = robust_settle(&w->r, v);
	w->r.deadline_ns = deadline_ns;
	v->settled = ret == 0;
	if (w->g->thin && ret == -ETIMEDOUT)
		victim_thin(v);
	return ret == -ETIMEDOUT && now_ns() < deadline_ns;
}

/* The biggest first of those that hold nothing; then those that do. */
void work(struct worker *w)
{
	const uint8_t me = w->nr + 1;
	struct group *g = w->g;
	size_t i, left = 0;

	while ((i = __atomic_fetch_add(&g->next, 1, __ATOMIC_ACQ_REL)) <
	       2 * g->nr) {
		struct victim *v = g->victims[i % g->nr];

		/* One turn is a holder's, the other that of all others. */
		if (v->holder != (i >= g->nr))
			continue;
		if (!v->holder || only_let_go(w, v) || !put_off(w, v)) {
			work_on(w, v);
			continue;
		}
		v->put_off_by = me;
		left++;
	}
	for (i = 0; left; i = (i + 1) % g->nr) {
		struct victim *v = g->victims[i];

		if (v->put_off_by != me || put_off(w, v))
			continue;
		v->put_off_by = 0;
		left--;
		work_on(w, v);
	}
}

/* It has exited; if it could not be reaped, is its memory back with that? */
static bool see_exit(struct worker *w, struct victim *v)
{
	uint32_t through = 1;

	if (!v->killed || victim_exited(v) <= 0 ||
	    !__atomic_compare_exchange_n(&v->through, &through, 2, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	v->exited_ns = now_ns();
	if (!v->rep.verified)
		release_wait_exit(&w->r, v);
	return true;
}

bool worker_works(const struct group *g, unsigned int nr)
{
	const struct worker *w = g->workers[nr];

	return helper_is_alive(&w->helper) &&
	       !__atomic_load_n(&w->idle, __ATOMIC_ACQUIRE);
}

bool workers_work(const struct group *g)
{
	for (unsigned int i = 0; i < g->nr_workers; i++)
		if (worker_works(g, i))
			return true;
	return false;
}

/*
 * Another worker is at a member, perhaps for long, or hangs on it.  The tracer, which
 * the last one wakes, lets go of all others now, and their exits are seen as they
 * happen, not only once that worker is given up.
 */
static void see_exits(struct worker *w)
{
	int64_t pause_ns = NSEC_PER_MSEC;
	struct group *g = w->g;

	__atomic_store_n(&w->idle, 1, __ATOMIC_RELEASE);
	if (__atomic_load_n(&g->finished, __ATOMIC_ACQUIRE) < g->nr)
		tracer_wake(g);
	/* One that was killed with a member in hand finishes nothing any more. */
	while (workers_work(g) && now_ns() < w->r.deadline_ns) {
		helper_needs_host(&w->helper);
		for (size_t i = 0; i < g->nr; i++)
			if (see_exit(w, g->victims[i]))
				pause_ns = NSEC_PER_MSEC;
		pause_until(now_ns() + pause_ns);
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
}

static void worker_main(void *arg)
{
	struct worker *w = arg;
	struct group *g = w->g;

	sys_setpriority(PRIO_PROCESS, 0, -20);
	while (!__atomic_load_n(&g->go, __ATOMIC_ACQUIRE))
		helper_wait_tick(&w->helper, &g->go, 0);
	if (g->go != 1)
		return;
	cpus_go(&w->r.cpus, w->nr);
	work(w);
	help(w);
	see_exits(w);
}

static uint32_t alive_workers(struct release *r)
{
	struct worker *w = (void *)((char *)r - offsetof(struct worker, r));
	uint32_t alive = 0;

	for (unsigned int i = 0; i < w->g->nr_workers; i++)
		if (__atomic_load_n(&w->g->workers[i]->helper.alive,
				    __ATOMIC_ACQUIRE))
			alive |= 1u << i;
	return alive;
}

static void worker_init(struct group *g, struct worker *w, unsigned int nr)
{
	w->g = g;
	w->nr = nr;
	w->r = g->base;
	w->r.scratch = &w->scratch;
	if (g->base.opts.flags & MRELEASE_EVICT_CACHE)
		w->r.cache = &w->cache;
	w->cache.later = true;
	w->r.in_helper = &w->helper;
	w->r.unpin = tracer_unpin;
	w->r.alive_workers = alive_workers;
	w->r.second.pid = 0;
	w->helper.fn = worker_main;
	w->helper.arg = w;
	w->helper.stack = w->stack;
	w->helper.stack_size = sizeof(w->stack);
}

void workers_start(struct group *g)
{
	unsigned int n = g->base.opts.workers;

	if (!n)
		n = cpus_count(&g->base.cpus);
	n = MIN(n, MAX_WORKERS);
	for (unsigned int i = 0; i < n; i++) {
		struct worker *w = pages_reserve(sizeof(*w));

		if (!w)
			break;
		worker_init(g, w, i);
		/* Before it starts: the caller waits for what is there. */
		g->workers[i] = w;
		if (helper_start_beside(&w->helper, &g->helper) < 0) {
			g->workers[i] = NULL;
			pages_free(w, sizeof(*w));
			break;
		}
		g->nr_workers++;
	}
	worker_init(g, &g->own, 0);
	/* We are the tracer: for no page of a member's do we wait. */
	g->own.r.traces = true;
	if (!g->nr_workers)
		g->workers[0] = &g->own;
}

void workers_go(struct group *g, uint32_t how)
{
	__atomic_store_n(&g->go, how, __ATOMIC_RELEASE);
	sys_futex(&g->go, FUTEX_WAKE, MAX_WORKERS, NULL);
}

void workers_join(struct group *g)
{
	/* Their waits end with the deadline; a lock's may not. */
	int64_t now = now_ns();
	int64_t until = deadline_add(MAX(g->base.deadline_ns, now), JOIN_NS);

	if (g->workers_stuck)
		until = now;
	for (unsigned int i = 0; i < g->nr_workers; i++) {
		struct helper *h = &g->workers[i]->helper;

		if (helper_gone(h, until) < 0)
			sys_kill(h->pid, SIGKILL);
	}
	/* One that is left sleeps in a member's page: its caller waits for it. */
	until = deadline_add(MAX(until, now_ns()), JOIN_NS / 2);
	for (unsigned int i = 0; i < g->nr_workers; i++)
		helper_gone(&g->workers[i]->helper, until);
}

bool workers_sleep(const struct group *g)
{
	for (unsigned int i = 0; i < g->nr_workers; i++) {
		const struct helper *h = &g->workers[i]->helper;
		struct proc_status st;
		char path[64];

		if (!worker_works(g, i))
			continue;
		path_number(path, "/proc/", h->pid, "/status");
		if (status_read_path(AT_FDCWD, path, &st) < 0 ||
		    st.state != 'D')
			return false;
	}
	return g->nr_workers > 0;
}

void workers_free(struct group *g)
{
	for (unsigned int i = 0; i < MAX_WORKERS; i++)
		if (g->workers[i] != &g->own)
			pages_free(g->workers[i], sizeof(struct worker));
}
