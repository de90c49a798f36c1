/* SPDX-License-Identifier: MIT */
/* The last of a group: who has exited and when, and the verdict. */
#include "group/group.h"

/*
 * Is the group what we know of it?  Empty, its emptiness speaks for those that
 * came and went unseen.  Else those that are known and have not exited must be
 * why, and a listing must show nobody else.
 */
static bool nobody_unknown(struct group *g, bool empty)
{
	const size_t known = g->nr;
	bool there = false;

	/*
	 * The caller killed them while they were being opened.  Some of those on
	 * its list died before that, and what they shared is not known.
	 */
	if (!g->all_opened && g->nr_seen < g->call->listed)
		g->rep.notes |= MRELEASE_NOTE_HANDLES;
	if (g->rep.notes & MRELEASE_NOTE_HANDLES || g->nr_foreign)
		return false;
	if (empty || g->base.opts.flags & MRELEASE_NO_WAIT_EXIT)
		return true;
	for (size_t i = 0; i < known; i++)
		there |= g->victims[i]->rep.exit_ns < 0;
	if (!there || g->ops->collect(g) < 0)
		return false;
	there = g->nr == known && !(g->rep.notes & MRELEASE_NOTE_HANDLES);
	g->nr = known;
	return there;
}

/* The group's verdict from its members'. */
static void group_verdict(struct group *g, bool empty)
{
	struct mrelease_report *rep = &g->rep;
	bool all = nobody_unknown(g, empty);

	group_ask(g);
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		release_finish(&g->base, v);
		/* Gone by itself before the kill: nothing was ours to do. */
		if (!v->killed) {
			v->rep.result = MRELEASE_GONE;
			rep->members++;
			rep->members_verified++;
			continue;
		}
		verdict_add(rep, &v->rep);
		all = all && v->rep.verified;
	}
	group_account(g);
	rep->members += g->nr_foreign;
	if (!g->all_opened)
		rep->members = MAX(rep->members, g->call->listed);
	rep->stage = empty ? MRELEASE_STAGE_EXITED : MRELEASE_STAGE_KILLED;
	rep->verified = all;
	rep->result = all ? MRELEASE_RELEASED : MRELEASE_UNCONFIRMED;
	rep->evidence = !all  ? MRELEASE_EVIDENCE_NONE :
			empty ? MRELEASE_EVIDENCE_MEMBERS :
				MRELEASE_EVIDENCE_PAGEMAP;
	if (!all)
		rep->release_ns = -1;
	if (!empty)
		rep->notes |= MRELEASE_NOTE_NOT_EXITED;
}

static bool all_verified(const struct group *g)
{
	if (!g->nr)
		return false;
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->killed && !g->victims[i]->rep.verified)
			return false;
	return true;
}

size_t exits_note(struct group *g)
{
	size_t left = 0;

	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		if (!v->killed || v->exited_ns)
			continue;
		if (victim_exited(v) > 0)
			v->exited_ns = now_ns();
		else
			left++;
	}
	return left;
}

static const struct victim *any_left(const struct group *g)
{
	for (size_t i = g->nr; i-- > 0;)
		if (g->victims[i]->killed && !g->victims[i]->exited_ns)
			return g->victims[i];
	return NULL;
}

/*
 * Each member's exit when it happens, in whatever order: who is frozen must
 * not make those seem late that were gone at once.  The tracer of a tree has
 * stops to handle meanwhile (wait_empty() of tree.c).
 */
static void wait_exits(struct group *g, int64_t until)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4;

	for (;;) {
		int64_t now = now_ns(), next;
		size_t left;

		if (g->traces_all)
			tracer_drain(g);
		left = exits_note(g);
		if (!left || now >= until)
			return;
		helper_needs_host(&g->helper);
		/* One alone has an event; of many, each is asked again. */
		next = now + (left == 1 && !g->traces_all ? HELPER_TICK_NS :
							    pause_ns);
		victim_wait_exit(any_left(g), deadline_min(until, next));
		pause_ns = MIN(pause_ns * 2, 10 * NSEC_PER_MSEC);
	}
}

static bool wait_empty(struct group *g, int64_t until)
{
	for (;;) {
		int64_t next = now_ns() + HELPER_TICK_NS;
		int ret = g->ops->wait_empty(g, deadline_min(next, until));

		if (ret || next >= until)
			return ret > 0;
		helper_needs_host(&g->helper);
	}
}

void group_exits(struct group *g)
{
	const int64_t deadline_ns = g->base.deadline_ns;
	int64_t until = deadline_ns;
	bool empty;

	if (all_verified(g)) {
		/* With the memory back, nobody asked for a longer wait. */
		if (g->base.opts.flags & MRELEASE_NO_WAIT_EXIT)
			until = 0;
		else if (!g->base.deadline_given)
			until = deadline_min(until,
					     now_ns() + DEFAULT_EXIT_WAIT_NS);
	}
	sharers_wait(&g->base);
	wait_exits(g, until);
	empty = wait_empty(g, until);
	if (empty)
		g->rep.exit_ns = now_ns() - g->kill_ns;
	/* Those that are not gone by now have had their time. */
	g->base.deadline_ns = until;
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->killed && until)
			release_wait_exit(&g->base, g->victims[i]);
	g->base.deadline_ns = deadline_ns;
	group_verdict(g, empty);
}
