/* SPDX-License-Identifier: MIT */
/*
 * The account of a group.  Members are counted before the kill, the biggest
 * first if the group is sorted, for as long as that may take.
 */
#include <string.h>

#include "group/group.h"

/* CPU time before a kill; it may take longer if the machine is busy. */
#define OBJECTS_NS	  (25 * NSEC_PER_MSEC)
#define OBJECTS_MEMBER_NS (2 * NSEC_PER_MSEC)
#define COUNT_NS	  (20 * NSEC_PER_MSEC)
#define COUNT_MEMBER_NS	  (20 * NSEC_PER_USEC)
#define COUNT_BUSY	  10
/* A dry run keeps nobody waiting. */
#define COUNT_DRY_NS NSEC_PER_SEC

/* A smaller one is counted only if it has relatives in the group. */
#define SMALL_BYTES (1ULL << 20)

static void count_one(struct group *g, struct victim *v, const struct budget *b)
{
	group_touch(g, v->pid);
	if (v->maps_fd < 0)
		victim_complete(v);
	if (v->kinship.next)
		account_glance(v, &g->objects, &g->scratch, b);
	else
		account_count(v, &g->objects, &g->scratch, b);
	group_touch(g, 0);
	if (g->thin)
		victim_thin(v);
}

static void count_anon(struct group *g, const struct budget *b)
{
	uint64_t anon = 0, exclusive = 0, most = 0;
	size_t i;

	cow_find_kin(g);
	for (i = 0; i < g->nr; i++)
		most = MAX(most, account_private(&g->victims[i]->rep));
	/* Twice over: the big ones come first, in a tree as well. */
	for (i = 0; i < 2 * g->nr; i++) {
		struct victim *v = g->victims[i < g->nr ? i : i - g->nr];
		const struct mrelease_entry *k = v->rep.kinds;

		if (v->counted || v->hands_off ||
		    (i < g->nr && account_private(&v->rep) < most / 2))
			continue;
		if (!v->kinship.next &&
		    k[MRELEASE_ANON].before_bytes < SMALL_BYTES) {
			account_guess(&v->rep, 1, 1);
			v->counted = true;
			continue;
		}
		if (!budget_spent(b))
			count_one(g, v, b);
		if (!v->counted) {
			account_guess(&v->rep, exclusive, anon);
			v->counted = true;
			g->kin.partial = true;
			continue;
		}
		exclusive += k[MRELEASE_ANON].before_bytes;
		anon += k[MRELEASE_ANON].before_bytes +
			k[MRELEASE_COW].before_bytes;
	}
	cow_compare(g, b);
	cow_sum(g);
}

static bool is_dry(const struct group *g)
{
	return g->base.opts.flags & MRELEASE_DRY_RUN;
}

static uint64_t untold(const struct group *g)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->killed || is_dry(g))
			bytes += account_untold(&g->objects, g->victims[i]);
	return bytes;
}

/*
 * Each process of a tree can have 65,530 mappings of shared memory.  None of them is
 * worth a kill that is late.
 */
static void collect_objects(struct group *g, const struct budget *b)
{
	struct objects *o = &g->objects;

	o->held.members = g->nr;
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		if (v->hands_off ||
		    (!v->rss_shmem && !v->rss_hugetlb && !v->pinned_bytes))
			continue;
		if (budget_spent(b)) {
			o->more = true;
			continue;
		}
		group_touch(g, v->pid);
		if (v->maps_fd < 0)
			victim_complete(v);
		objects_collect(o, v, &g->scratch, b);
		pins_note(o, v);
		group_touch(g, 0);
		if (g->thin)
			victim_thin(v);
	}
}

static void find_objects(struct group *g, const struct budget *b)
{
	struct objects *o = &g->objects;
	uint64_t private;

	collect_objects(g, b);
	objects_resolve(o);
	if (is_dry(g)) {
		verdict_search(&g->base);
		verdict_untold(&g->base, untold(g));
	} else {
		objects_claim(o, &g->base.self);
	}
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];
		struct mrelease_entry *k = v->rep.kinds;

		account_objects(o, v, false, &k[MRELEASE_SHMEM], &private);
		account_objects(o, v, true, &k[MRELEASE_HUGETLB], &private);
	}
}

void group_count(struct group *g)
{
	bool dry = is_dry(g);
	int64_t time = COUNT_NS + g->nr * COUNT_MEMBER_NS;
	struct budget b = { MRELEASE_NO_DEADLINE, g->base.deadline_ns };

	if (!dry)
		b.cpu_until_ns =
			cpu_ns() + OBJECTS_NS + g->nr * OBJECTS_MEMBER_NS;
	find_objects(g, &b);
	if (!g->is_tree)
		charges_before(g);
	if (dry) {
		b.until_ns = now_ns() + COUNT_DRY_NS;
	} else {
		b.cpu_until_ns = cpu_ns() + time;
		b.until_ns = now_ns() + COUNT_BUSY * time;
	}
	b.until_ns = deadline_min(b.until_ns, g->base.deadline_ns);
	count_anon(g, &b);
}

/*
 * Born in the last moment, of one that was being killed: what it has it shares
 * with that one, whose objects and pages have been counted.  Not so one that could
 * not be asked: what that has stays uncounted, and its own.
 */
static void uncounted(struct group *g, struct victim *v)
{
	if (!v->killed || v->counted || group_is_stuck(g, v->pid))
		return;
	account_guess(&v->rep, 0, 1);
	v->counted = true;
	if (!v->linked)
		v->rss_shmem = v->rss_hugetlb = 0;
}

void group_ask(struct group *g)
{
	for (size_t i = 0; i < g->nr; i++)
		uncounted(g, g->victims[i]);
	verdict_ask(&g->base);
	verdict_untold(&g->base, untold(g));
}

/* An object counts once, however many members have it. */
static void sum_objects(struct group *g, enum mrelease_kind kind)
{
	struct mrelease_entry *sum = &g->rep.kinds[kind];
	bool hugetlb = kind == MRELEASE_HUGETLB, stays = false;

	memset(sum, 0, sizeof(*sum));
	for (size_t i = 0; i < g->nr; i++) {
		const struct victim *v = g->victims[i];
		struct mrelease_entry e = v->rep.kinds[kind], own = { 0 };

		if (!e.before_bytes)
			continue;
		if (v->killed && v->rep.exit_ns < 0)
			stays = true;
		/* What is not an object's is added as it is. */
		if (v->linked)
			objects_entry(&g->objects, v, hugetlb, &own);
		/* As it is in its own report. */
		if (v->not_ours) {
			own.kept_bytes += own.back_bytes;
			own.exclusive_bytes -= own.back_bytes;
			own.back_bytes = 0;
		}
		e.before_bytes -= MIN(own.before_bytes, e.before_bytes);
		if (!e.before_bytes)
			continue;
		e.exclusive_bytes -=
			MIN(own.exclusive_bytes, e.exclusive_bytes);
		e.back_bytes -= MIN(own.back_bytes, e.back_bytes);
		e.kept_bytes -= MIN(own.kept_bytes, e.kept_bytes);
		e.outstanding_bytes =
			e.before_bytes - e.back_bytes - e.kept_bytes;
		if (!v->killed)
			e.outstanding_bytes = 0;
		account_add(sum, &e);
	}
	objects_entry(&g->objects, NULL, hugetlb, sum);
	if (!stays)
		return;
	/* Somebody has them mapped who has not exited. */
	sum->outstanding_bytes += sum->back_bytes;
	sum->back_bytes = 0;
	if (sum->outstanding_bytes)
		sum->reason = MRELEASE_REASON_NOT_EXITED;
}

void group_account(struct group *g)
{
	sum_objects(g, MRELEASE_SHMEM);
	sum_objects(g, MRELEASE_HUGETLB);
	cow_account(g);
	if (!g->is_tree && is_dry(g))
		charges_foresee(g);
	else if (!g->is_tree)
		charges_after(g);
	account_total(&g->rep);
}
