/* SPDX-License-Identifier: MIT */
/*
 * Members of a group that share an address space: CLONE_VM without
 * CLONE_THREAD.  All are killed, so process_mrelease() takes the memory as
 * soon as it is asked for one of them, and with it the robust list of another:
 *
 *	member A, by a worker		member B, in the same memory
 *	its lists are empty
 *					holds a lock, has yet to exit
 *	process_mrelease(A)
 *					exits: finds no list, wakes nobody
 *
 * So the lists of all are read before anything is reaped.  What is empty then
 * stays empty.  A member that holds a lock is compared with all others, and
 * those that share its memory are not reaped: it is, once it has walked its
 * lists, and the memory is the same.
 */
#include "group/group.h"

#define KCMP_VM 1
/* Comparisons, of less than a microsecond each. */
#define MAX_KCMP (64 * 1024)

/* A thread that has the address space for as long as it is pinned. */
static pid_t pinned(const struct victim *v)
{
	for (unsigned int i = 0; i < v->nr_pins; i++)
		if (v->pins[i])
			return v->pins[i];
	return 0;
}

/*
 * Its thread that kcmp() was asked about is still in its address space.  Not by
 * its stat: that is of the main thread, which may have exited before the others.
 */
static bool had_mm(const struct victim *v)
{
	uint64_t pages;

	return pinned(v) || user_of(v, &pages) == v->tid;
}

/*
 * kcmp(2) would hang.  Two that share their memory are of one size, and of a file for
 * which nobody waits.  Neither goes on in user mode: only what a call had begun
 * can change it in between, and that is seen by asking again.
 */
static bool same_size(const struct victim *a, const struct victim *b)
{
	uint64_t before, other, after;

	if (!user_of(a, &before) || !user_of(b, &other) || !user_of(a, &after))
		return true;
	return before == other || before != after;
}

/* False: they do not.  True also where it cannot be told. */
static bool may_share(const struct victim *a, const struct victim *b)
{
	pid_t tid_a = pinned(a), tid_b = pinned(b);
	int cmp;

	if (b->hands_off)
		return same_size(a, b);
	cmp = sys_kcmp(tid_a ? tid_a : a->tid, tid_b ? tid_b : b->tid, KCMP_VM);

	return cmp <= 0 || !had_mm(a) || !had_mm(b);
}

static bool look(struct group *g, struct victim *v)
{
	bool settled;

	if (!v->killed || victim_exited(v) > 0)
		return true;
	/* It may share, and asking would hang: then the others exit, too. */
	if (v->hands_off)
		return false;
	group_touch(g, v->pid);
	victim_complete(v);
	settled = robust_settle(&g->base, v) == 0;
	group_touch(g, 0);
	if (g->thin)
		victim_thin(v);
	return settled;
}

void shared_look(struct group *g)
{
	size_t budget = MAX_KCMP;

	/* A single one's are its worker's to look at, if there is one. */
	if (g->nr < 2 && g->nr_workers)
		return;
	g->base.look_only = true;
	for (size_t i = 0; i < g->nr; i++) {
		g->victims[i]->settled = look(g, g->victims[i]);
		g->victims[i]->holder = !g->victims[i]->settled;
	}
	g->base.look_only = false;
	for (size_t i = 0; i < g->nr; i++) {
		if (g->victims[i]->settled)
			continue;
		for (size_t j = 0; j < g->nr; j++) {
			struct victim *v = g->victims[j];

			if (i == j || v->shares_lists)
				continue;
			budget -= budget > 0;
			v->shares_lists = !budget ||
					  may_share(v, g->victims[i]);
		}
	}
}
