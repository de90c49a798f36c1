/* SPDX-License-Identifier: MIT */
/* What was decided is done, and said. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hooks.h"
#include "loop.h"
#include "say.h"
#include "text.h"

/* Members with less than this part of what the victim has do not matter. */
#define MANY_GAIN 8

/* Its process group dies with it, unless one of that is protected. */
static pid_t group_of(const struct mreleased *d, const struct candidate *c)
{
	if (!d->config.process_group || c->pgrp == getpgrp())
		return 0;
	for (size_t i = 0; i < d->table.nr; i++)
		if (d->table.c[i].pgrp == c->pgrp &&
		    d->table.c[i].flags & CANDIDATE_NEVER)
			return 0;
	return c->pgrp;
}

static void note_mates(const struct mreleased *d, struct victim *v)
{
	for (size_t i = 0; v->group && i < d->table.nr; i++) {
		const struct candidate *c = &d->table.c[i];

		if (c->pgrp != v->group || c->pid == v->pid ||
		    v->nr_mates == MAX_MATES)
			continue;
		v->mates[v->nr_mates].pid = c->pid;
		v->mates[v->nr_mates++].start = c->start;
	}
}

static void describe(const struct mreleased *d, const struct decision *dec,
		     struct victim *v)
{
	const struct candidate *c = &d->table.c[dec->victim];

	*v = (struct victim){
		.pid = c->pid,
		.start = c->start,
		.uid = c->uid,
		.oom_score_adj = c->oom_score_adj,
		.anon_bytes = c->anon_bytes,
		.swap_bytes = c->swap_bytes,
		.growth_bytes = c->growth_bytes,
		.tree = dec->tree,
		.group = group_of(d, c),
		.members = dec->members,
		.expected_bytes = dec->expected_bytes,
		.reason = dec->reason,
		.cgroup_fd = -1,
	};
	if (dec->whole)
		snprintf(v->cgroup, sizeof(v->cgroup), "%.127s",
			 d->table.units.u[c->unit].path);
	memcpy(v->comm, c->comm, sizeof(v->comm));
	note_mates(d, v);
	if (dec->second < 0)
		return;
	c = &d->table.c[dec->second];
	v->second_pid = c->pid;
	v->second_bytes = candidate_gain(c);
	memcpy(v->second_comm, c->comm, sizeof(v->second_comm));
}

/*
 * Which cgroup a process is in is up to a minute old.  Those for which this one
 * was chosen must be in it yet, or it would die for what another has.
 */
static bool have_moved(struct mreleased *d, size_t victim)
{
	const struct table *t = &d->table;
	const struct candidate *of = &t->c[victim];
	uint64_t least = candidate_gain(of) / MANY_GAIN;

	for (size_t i = 0; i < t->nr; i++)
		if (t->c[i].unit == of->unit &&
		    !(t->c[i].flags & CANDIDATE_DYING) &&
		    (i == victim || candidate_gain(&t->c[i]) > least) &&
		    !table_is_in(&d->table, &t->c[i]))
			return true;
	return false;
}

/*
 * All places are taken by releases that do not end: four victims in D, say.  One
 * more is killed all the same, without an account.  Of a tree that takes more than
 * a signal: its biggest process goes.
 */
static void strike_unseen(struct mreleased *d, struct decision dec)
{
	struct candidate *c;
	struct victim v;
	int ret;

	if (dec.whole && have_moved(d, dec.victim)) {
		mreleased_ask_cgroups(d);
		return;
	}
	if (dec.tree && dec.second >= 0)
		dec.victim = (size_t)dec.second;
	dec.tree = false;
	dec.second = -1;
	c = &d->table.c[dec.victim];
	describe(d, &dec, &v);
	if (dec.whole)
		ret = act_cgroup_unseen(
			units_open_dir(&d->table.units, c->unit));
	else
		ret = act_kill_unseen(&d->act, &v);
	c->flags |= CANDIDATE_DYING;
	if (ret) {
		tell_failure(&v, ret);
		return;
	}
	tell_decision(&dec, mreleased_now(d), &v, false);
	say(SAY_WARNING,
	    "%d releases have not ended: process %d (%s) was killed, and what "
	    "comes back will not be known",
	    MAX_RELEASES, v.pid, say_name(v.comm));
	d->totals.killed++;
	struck_add(&d->strikes, &d->table,
		   &(struct struck){ .pid = v.pid, .start = v.start });
}

static int signal_victim(struct mreleased *d, const struct decision *dec,
			 struct release *r, struct victim *v)
{
	if (dec->whole && have_moved(d, dec->victim))
		return -ESTALE;
	if (dec->whole && v->cgroup_fd < 0)
		v->cgroup_fd = units_open_dir(&d->table.units,
					      d->table.c[dec->victim].unit);
	/* One process of a cgroup that goes as a whole would die in vain. */
	if (dec->whole && v->cgroup_fd < 0)
		return v->cgroup_fd;
	return dec->action == ACTION_ASK ?
		       act_ask(&d->act, r, v, dec->grace_ns) :
		       act_kill(&d->act, r, v);
}

static void strike(struct mreleased *d, const struct decision *dec)
{
	struct release *r = act_free(&d->act);
	struct victim v;
	int ret;

	describe(d, dec, &v);
	if (d->config.dry_run) {
		/* As if it took a while: not a line for each look. */
		if (mreleased_now(d)->time_ns - d->dry_ns > NS_PER_S)
			tell_decision(dec, mreleased_now(d), &v, true);
		d->dry_ns = mreleased_now(d)->time_ns;
		return;
	}
	if (!r) {
		strike_unseen(d, *dec);
		return;
	}
	r->before = *mreleased_now(d);
	ret = signal_victim(d, dec, r, &v);
	if (ret == -EMFILE) {
		/* The handles of others have what is needed here. */
		handles_drop(&d->act);
		ret = signal_victim(d, dec, r, &v);
	}
	if (ret == -ESTALE)
		mreleased_ask_cgroups(d);
	/* The signal first, then words. */
	if (ret) {
		struct candidate *c = table_find(&d->table, v.pid, v.start);

		/* It is alive, and the next look may be able to. */
		if (c && ret != -EMFILE && ret != -ENFILE && ret != -ESTALE)
			c->flags |= CANDIDATE_DYING;
		if (ret != -ESRCH)
			tell_failure(&v, ret);
		if (ret == -EPERM)
			d->refused = ret;
		if (v.cgroup_fd >= 0)
			close(v.cgroup_fd);
		return;
	}
	/* It was permitted; of SIGKILL that is known later. */
	if (dec->action == ACTION_ASK)
		d->refused = 0;
	tell_decision(dec, &r->before, &v, false);
	hook_run(d->config.before_kill, &v, NULL);
	d->totals.asked += dec->action == ACTION_ASK;
	struck_add(&d->strikes, &d->table,
		   &(struct struck){
			   .pid = v.pid,
			   .start = v.start,
			   .tree = v.tree,
			   .whole = v.cgroup_fd >= 0,
			   .group = v.group,
			   .under_way = true,
		   });
}

void mreleased_obey(struct mreleased *d, const struct decision *dec)
{
	bool in_vain = dec->reason == REASON_TMPFS ||
		       dec->reason == REASON_CACHE ||
		       dec->reason == REASON_NOBODY;

	switch (dec->action) {
	case ACTION_ASK:
	case ACTION_KILL:
		strike(d, dec);
		break;
	case ACTION_ESCALATE:
		if (d->config.dry_run)
			break;
		act_escalate(&d->act, &d->act.releases[dec->victim]);
		say(SAY_WARNING, "process %d (%s): SIGKILL now, %s",
		    d->act.releases[dec->victim].victim.pid,
		    say_name(d->act.releases[dec->victim].victim.comm),
		    reason_text(dec->reason));
		break;
	case ACTION_NONE:
		if (!in_vain)
			break;
		if (dec->reason == d->said_reason &&
		    mreleased_now(d)->time_ns - d->said_ns < SAY_AGAIN_NS)
			break;
		d->totals.in_vain++;
		d->said_reason = dec->reason;
		d->said_ns = mreleased_now(d)->time_ns;
		tell_no_victim(dec, mreleased_now(d), d->refused);
		break;
	}
}
