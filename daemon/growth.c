/* SPDX-License-Identifier: MIT */
/* What of a process is its own, and what it had not a moment ago. */
#include "table.h"
#include "text.h"

/* Growth is measured over one to two of these. */
#define WINDOW_NS (2 * NS_PER_S)
/* Longer than that a child that has not called execve() has pages of its own. */
#define CHILD_S 60

void table_measure(struct candidate *c, const struct memory_of *m)
{
	uint64_t bytes = c->anon_bytes + c->swap_bytes;

	c->growth_bytes = bytes > m->base_bytes[0] ? bytes - m->base_bytes[0] :
						     0;
	c->shmem_growth_bytes = c->shmem_bytes > m->base_shmem[0] ?
					c->shmem_bytes - m->base_shmem[0] :
					0;
}

/*
 * A child of fork(2) or vfork(2) that has not called execve() shows all that its
 * parent has: it has not grown by that, and it would not come back.
 */
static void inherit(struct table *t, size_t i)
{
	struct candidate *c = &t->c[i];
	struct memory_of *m = &t->m[i];
	uint64_t bytes = c->anon_bytes + c->swap_bytes, of_parent;

	if (c->parent < 0 || c->age_s >= CHILD_S || !m->stack ||
	    t->m[c->parent].stack != m->stack)
		return;
	of_parent = t->c[c->parent].anon_bytes + t->c[c->parent].swap_bytes;
	/* Its parent is none of ours. */
	if (!of_parent)
		return;
	if (c->flags & CANDIDATE_NEW) {
		m->inherited = bytes < of_parent ? bytes : of_parent;
		m->base_bytes[0] = m->base_bytes[1] = m->inherited;
		table_measure(c, m);
	}
	c->inherited_bytes = m->inherited;
}

/*
 * What is mapped by several is in the sum of all once for each of them, and in the
 * machine's count once.  So no process shares more than the difference, and what it
 * has beyond that is its own: guests on memfd, each with its own, but not the
 * backends of a database, which have all the same.
 */
static void find_own_shmem(struct table *t, const struct snapshot *now)
{
	uint64_t there = now->shmem_bytes < now->mapped_bytes ?
				 now->shmem_bytes :
				 now->mapped_bytes;
	uint64_t sum = 0, shared;

	for (size_t i = 0; i < t->nr; i++)
		sum += t->c[i].shmem_bytes;
	shared = sum > there ? sum - there : 0;
	for (size_t i = 0; there && i < t->nr; i++) {
		struct candidate *c = &t->c[i];

		if (c->shmem_bytes > shared + c->shmem_own_bytes)
			c->shmem_own_bytes = c->shmem_bytes - shared;
	}
}

void table_finish(struct table *t, const struct snapshot *now)
{
	struct candidate *most = NULL;
	uint64_t second = 0;

	for (size_t i = 0; i < t->nr; i++) {
		struct candidate *c = &t->c[i];

		c->parent = table_index(t, c->parent);
		c->age_s = t->now_s > c->age_s ? t->now_s - c->age_s : 0;
		inherit(t, i);
		if (!most || c->shmem_bytes > most->shmem_bytes) {
			second = most ? most->shmem_bytes : 0;
			most = c;
		} else if (c->shmem_bytes > second) {
			second = c->shmem_bytes;
		}
	}
	/* What only one has so much of is probably not shared. */
	if (most)
		most->shmem_own_bytes = most->shmem_bytes - second;
	find_own_shmem(t, now);
	if (now->time_ns - t->base[1].time_ns < WINDOW_NS)
		return;
	for (size_t i = 0; i < t->nr; i++) {
		struct memory_of *m = &t->m[i];

		m->base_bytes[0] = m->base_bytes[1];
		m->base_shmem[0] = m->base_shmem[1];
		m->base_bytes[1] = t->c[i].anon_bytes + t->c[i].swap_bytes;
		m->base_shmem[1] = t->c[i].shmem_bytes;
		/* Over the same time as that of the machine. */
		table_measure(&t->c[i], m);
	}
	t->base[0] = t->base[1];
	t->base[1] = (struct base){ now->time_ns, now->available_bytes,
				    now->shmem_bytes };
}
