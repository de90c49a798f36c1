/* SPDX-License-Identifier: MIT */
/*
 * A release can take longer than the policy waits for it, and may not even have
 * sent its signal by then: somebody is in execve(), a tree is still being
 * stopped.  Who is next must be a stranger to it.  What belongs to it is noted
 * with each process, because that cannot always be seen later:
 *
 *	a job				we
 *					its tree is to go
 *	a process in the middle dies
 *	its children are init's now
 *					sweep: nobody's children, and big
 */
#include "struck.h"

static void clear(struct table *t, size_t bit)
{
	for (size_t i = 0; i < t->nr; i++)
		t->m[i].struck &= ~(1u << bit);
}

void struck_add(struct strikes *k, struct table *t, const struct struck *s)
{
	size_t bit = k->nr++ % MAX_STRUCK;

	clear(t, bit);
	k->s[bit] = *s;
	struck_mark(k, t);
}

void struck_end(struct strikes *k, struct table *t, pid_t pid, uint64_t start,
		bool failed)
{
	for (size_t bit = 0; bit < MAX_STRUCK; bit++) {
		struct struck *s = &k->s[bit];

		if (!s->under_way || s->pid != pid || s->start != start)
			continue;
		s->under_way = false;
		if (!failed)
			continue;
		s->tree = s->whole = false;
		s->group = 0;
		clear(t, bit);
	}
}

void struck_forget(struct strikes *k, struct table *t, pid_t pid,
		   uint64_t start)
{
	struct candidate *c = table_find(t, pid, start);

	for (size_t bit = 0; bit < MAX_STRUCK; bit++) {
		struct struck *s = &k->s[bit];

		if (s->pid != pid || s->start != start)
			continue;
		*s = (struct struck){ 0 };
		clear(t, bit);
	}
	/* The next sweep, which would do it, may be seconds away. */
	if (c && !t->m[c - t->c].struck)
		c->flags &= ~CANDIDATE_DYING;
}

static void mark_roots(const struct strikes *k, struct table *t)
{
	for (size_t bit = 0; bit < MAX_STRUCK; bit++) {
		const struct struck *s = &k->s[bit];
		struct candidate *c;

		if (!s->pid)
			continue;
		c = table_find(t, s->pid, s->start);
		if (c)
			t->m[c - t->c].struck |= 1u << bit;
		for (size_t i = 0; s->under_way && s->group && i < t->nr; i++)
			if (t->c[i].pgrp == s->group)
				t->m[i].struck |= 1u << bit;
	}
}

/* Most children have higher numbers than their parents: once, and a check. */
static void spread_trees(struct table *t, uint32_t trees)
{
	bool more = trees;

	while (more) {
		more = false;
		for (size_t i = 0; i < t->nr; i++) {
			int32_t up = t->c[i].parent;
			uint32_t with;

			if (up < 0 || (size_t)up >= t->nr)
				continue;
			with = t->m[up].struck & trees & ~t->m[i].struck;
			t->m[i].struck |= with;
			more |= with != 0;
		}
	}
}

static void spread_units(struct table *t, uint32_t whole)
{
	uint32_t of[MAX_UNITS] = { 0 };

	for (size_t i = 0; whole && i < t->nr; i++)
		if (t->c[i].unit)
			of[t->c[i].unit] |= t->m[i].struck & whole;
	for (size_t i = 0; whole && i < t->nr; i++)
		t->m[i].struck |= of[t->c[i].unit];
}

void struck_mark(const struct strikes *k, struct table *t)
{
	uint32_t trees = 0, whole = 0;

	for (size_t bit = 0; bit < MAX_STRUCK; bit++) {
		const struct struck *s = &k->s[bit];

		trees |= (uint32_t)s->tree << bit;
		whole |= (uint32_t)(s->whole && s->under_way) << bit;
	}
	mark_roots(k, t);
	spread_units(t, whole);
	spread_trees(t, trees);
	for (size_t i = 0; i < t->nr; i++)
		if (t->m[i].struck)
			t->c[i].flags |= CANDIDATE_DYING;
}
