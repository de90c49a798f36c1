/* SPDX-License-Identifier: MIT */
/*
 * Pages that members share copy-on-write: they go when all who have them go.
 * A member's own report calls them kept, since alone it would give none of
 * them back; the group's counts each once, and those that only members have
 * are exclusive to the group.
 */
#include <string.h>

#include "group/group.h"

/* So much of all families is read in full; of more, so many clusters. */
#define FULL_BYTES (512ULL << 20)
#define CLUSTERS   1024
/* Fewer of one member are not worth opening its maps. */
#define FEWEST_CLUSTERS 16
/* Clusters read to compare them, of whichever member. */
#define COMPARED 1024

static struct victim **stack_slot(struct stacks *s, uint64_t start)
{
	size_t i = (start >> 4) * 2654435761u % ARRAY_SIZE(s->last);

	while (s->last[i] && s->last[i]->start_stack != start)
		i = (i + 1) % ARRAY_SIZE(s->last);
	return &s->last[i];
}

/*
 * Each exec chooses a new place for the stack, and a fork keeps it: two with
 * the same are parent and child, or siblings, without an exec in between.
 * Where the place is not chosen at random more look related than are.
 */
void cow_find_kin(struct group *g)
{
	struct stacks *s = &g->stacks;

	memset(&g->kin, 0, sizeof(g->kin));
	memset(&g->cow, 0, sizeof(g->cow));
	g->kin.counts_fd = -EBADF;
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i], **slot;

		memset(&v->kinship, 0, sizeof(v->kinship));
		if (!v->start_stack || i >= ARRAY_SIZE(s->last) / 2)
			continue;
		slot = stack_slot(s, v->start_stack);
		v->kinship.next = v;
		if (*slot) {
			v->kinship.index = (*slot)->kinship.index + 1;
			v->kinship.next = (*slot)->kinship.next;
			(*slot)->kinship.next = v;
		}
		*slot = v;
	}
	for (size_t i = 0; i < g->nr; i++) {
		struct kinship *k = &g->victims[i]->kinship;
		const struct victim *last;

		if (k->next == g->victims[i])
			k->next = NULL;
		if (!k->next)
			continue;
		last = *stack_slot(s, g->victims[i]->start_stack);
		k->nr = last ? last->kinship.index + 1 : 1;
	}
}

static uint64_t shared_bytes(const struct victim *v)
{
	return v->rep.kinds[MRELEASE_COW].before_bytes;
}

static uint64_t anon_bytes(const struct victim *v)
{
	return v->rep.kinds[MRELEASE_ANON].before_bytes +
	       v->rep.kinds[MRELEASE_PINNED].before_bytes + shared_bytes(v);
}

static bool to_compare(const struct victim *v)
{
	return v->kinship.next && shared_bytes(v) && !v->hands_off;
}

/*
 * The same share of the clusters for each byte: a member that is too small for
 * some of its own gives its share to the next.
 */
void cow_compare(struct group *g, const struct budget *b)
{
	struct kin *k = &g->kin;
	uint64_t bytes = 0, due = 0;

	for (size_t i = 0; i < g->nr; i++)
		if (to_compare(g->victims[i]))
			bytes += anon_bytes(g->victims[i]);
	if (!bytes)
		return;
	k->counts_fd = sys_openat(AT_FDCWD, "/proc/kpagecount", O_RDONLY);
	k->width = bytes <= FULL_BYTES ? WIDE : NARROW;
	for (size_t i = 0; i < g->nr && !k->blind; i++) {
		struct victim *v = g->victims[i];

		if (!to_compare(v))
			continue;
		due += (unsigned __int128)CLUSTERS * anon_bytes(v) / bytes + 1;
		if (due < FEWEST_CLUSTERS || budget_spent(b)) {
			k->partial = true;
			continue;
		}
		k->clusters = due;
		k->compared = MAX(COMPARED * due / CLUSTERS / v->kinship.nr, 1);
		due = 0;
		group_touch(g, v->pid);
		account_compare(v, &g->scratch, k, b);
		group_touch(g, 0);
	}
	close_keep(&k->counts_fd);
}

static uint64_t part(uint64_t bytes, uint64_t parts, uint64_t pages)
{
	return (unsigned __int128)bytes * parts / pages / KIN_PART;
}

/* One family: those that were not compared are like those that were. */
static void sum_family(struct cow *c, const struct victim *first,
		       uint64_t *ret_compared)
{
	const struct victim *v = first;
	uint64_t pages = 0, ours = 0, others = 0;

	do {
		pages += v->kinship.pages;
		ours += v->kinship.ours;
		others += v->kinship.others;
		v = v->kinship.next;
	} while (v != first);
	do {
		const struct kinship *k = &v->kinship;

		if (k->pages) {
			c->ours += part(shared_bytes(v), k->ours, k->pages);
			c->others += part(shared_bytes(v), k->others, k->pages);
		} else if (pages) {
			c->ours += part(shared_bytes(v), ours, pages);
			c->others += part(shared_bytes(v), others, pages);
		} else {
			c->others += shared_bytes(v);
		}
		*ret_compared += pages ? shared_bytes(v) : 0;
		v = k->next;
	} while (v != first);
}

void cow_sum(struct group *g)
{
	const struct kin *k = &g->kin;
	struct cow *c = &g->cow;
	uint64_t compared = 0;

	for (size_t i = 0; i < g->nr; i++) {
		const struct victim *v = g->victims[i];

		if (!v->kinship.next)
			c->others += shared_bytes(v);
		else if (!v->kinship.index)
			sum_family(c, v, &compared);
	}
	c->counted = true;
	if (!k->partial || !k->nr)
		return;
	c->unsure = sample_error(compared / KIN_PART, k->nr, k->pages, k->ours,
				 k->pages2, k->ours2, k->both);
	c->unsure = MIN(MAX(c->unsure, c->ours / k->nr * 3), c->ours);
}

/* The first that is not known to have let go of them. */
static const struct victim *one_that_stays(const struct group *g)
{
	for (size_t i = 0; i < g->nr; i++) {
		const struct victim *v = g->victims[i];

		if (v->killed && shared_bytes(v) && !v->private_back)
			return v;
	}
	return NULL;
}

/* Of some of them another release reports what they had. */
static bool is_claimed(const struct group *g)
{
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->not_ours && shared_bytes(g->victims[i]))
			return true;
	return false;
}

void cow_account(struct group *g)
{
	struct mrelease_entry *e = &g->rep.kinds[MRELEASE_COW];
	const struct victim *stays = one_that_stays(g);
	const struct cow *c = &g->cow;

	if (!c->counted)
		return;
	memset(e, 0, sizeof(*e));
	e->before_bytes = c->ours + c->others;
	e->exclusive_bytes = c->ours;
	e->kept_bytes = c->others;
	e->unsure_bytes = c->unsure;
	/* Without frames it cannot be told who has them: kept, and no more. */
	if (c->others)
		e->reason = g->kin.blind ? MRELEASE_REASON_UNKNOWN :
					   MRELEASE_REASON_COW;
	if (g->base.opts.flags & MRELEASE_DRY_RUN)
		return;
	if (is_claimed(g)) {
		e->exclusive_bytes = 0;
		e->unsure_bytes = 0;
		e->reason = MRELEASE_REASON_CLAIMED;
	}
	account_settle(e, stays ? c->ours : 0,
		       stays && stays->rep.exit_ns < 0 ?
			       MRELEASE_REASON_NOT_EXITED :
			       MRELEASE_REASON_HELD_MM,
		       MRELEASE_EVIDENCE_MEMBERS);
}
