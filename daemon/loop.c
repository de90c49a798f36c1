/* SPDX-License-Identifier: MIT */
/* One look at the machine: sense, choose, act, tell. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hooks.h"
#include "loop.h"
#include "memory.h"
#include "say.h"
#include "status.h"
#include "text.h"

/*
 * Older than this, the table is swept before somebody is chosen.  With very many
 * processes that takes long itself: then twice the time between hasty sweeps (rest.c).
 */
#define FRESH_NS NS_PER_S
/* And older than this, if since then a twentieth of the memory has gone. */
#define FALLEN_NS    (25 * NS_PER_MS)
#define FALLEN_SHARE 20
#define FRESH_SHARE  8
#define METRICS_NS   (15 * NS_PER_S)
/* Who asks for the status sees what is not older than this. */
#define REFRESH_NS (100 * NS_PER_MS)
/* What a release takes at least, whatever the last ones took. */
#define SHORTEST_NS (50 * NS_PER_MS)
/* A stall of 10 ms in half a second: reclaim has begun. */
#define TRIGGER_US 10000
#define WINDOW_US  500000

int mreleased_open(struct mreleased *d)
{
	const char *cgroup = *d->config.cgroup ? d->config.cgroup : NULL;
	int ret;

	d->scratch = memory_map(sizeof(*d->scratch));
	if (!d->scratch)
		return -ENOMEM;
	ret = sense_open(&d->sense, cgroup, "");
	if (ret)
		return ret;
	d->sense.user_total = d->config.earlyoom;
	/* v1 has no pressure of a cgroup's own: then we look more often. */
	sense_arm(&d->sense, "", TRIGGER_US, WINDOW_US);
	ret = table_open(&d->table, "", d->sense.cgroup_fd, cgroup,
			 &d->config.rules);
	if (ret)
		return ret;
	ret = act_open(&d->act, "");
	if (!ret)
		ret = hooks_start();
	if (!ret)
		ret = metrics_start();
	if (!ret && *d->config.record)
		ret = trace_open(&d->trace, d->config.record);
	return ret;
}

/* Who was killed is no candidate; nor is root, if so configured. */
static void mark(struct mreleased *d)
{
	struck_mark(&d->strikes, &d->table);
	for (size_t i = 0; d->config.ignore_root && i < d->table.nr; i++) {
		struct candidate *c = &d->table.c[i];

		if (!c->uid || c->uid == (uid_t)-1)
			c->flags |= CANDIDATE_NEVER;
	}
}

/* Not once for each look. */
static void complain(struct mreleased *d, const char *what, int error)
{
	int64_t t = clock_ns();

	if (error == d->error && t - d->error_ns < SAY_AGAIN_NS)
		return;
	d->error = error;
	d->error_ns = t;
	say(SAY_ERROR, "%s: %s", what, strerror(-error));
}

static bool is_stale(const struct mreleased *d)
{
	int64_t age = mreleased_now(d)->time_ns - d->table.swept_ns;
	uint64_t available = mreleased_now(d)->available_bytes;
	/* To a process that the table has small, or not at all. */
	bool fallen = available < d->swept.available_bytes &&
		      d->swept.available_bytes - available >
			      mreleased_now(d)->total_bytes / FALLEN_SHARE;

	return age > (fallen ? FALLEN_NS : FRESH_NS) &&
	       age > d->table.took_ns * FRESH_SHARE;
}

static void sweep(struct mreleased *d)
{
	int ret;

	d->table.with_others = d->config.policy.trees ||
			       d->config.process_group;
	ret = table_sweep(&d->table, mreleased_now(d));
	/*
	 * To know whom to kill comes before to be prepared for it.  Where it is
	 * the machine that has no more files, those of the handles would be the
	 * next process's, and lost.
	 */
	if (ret == -EMFILE) {
		handles_drop(&d->act);
		ret = table_sweep(&d->table, mreleased_now(d));
	}
	if (ret) {
		complain(d, "cannot list processes", ret);
		/* Nobody goes for what was there long ago, but who is seen now. */
		for (size_t i = 0; is_stale(d) && i < d->table.nr; i++) {
			struct candidate *c = &d->table.c[i];

			if (!handle_of(&d->act, c->pid, c->start))
				c->flags |= CANDIDATE_NEVER;
		}
	}
	d->swept = *mreleased_now(d);
	d->totals.sweeps++;
	mark(d);
}

/* The first few by score get handles. */
static void prepare(struct mreleased *d)
{
	const struct candidate *best[MAX_HANDLES];
	struct policy_view view = { 0 };
	struct choice ch;
	size_t nr = best_candidates(d->table.c, d->table.nr,
				    mreleased_now(d)->total_bytes,
				    &d->config.policy, best, MAX_HANDLES);

	handles_update(&d->act, best, nr);
	/* What a choice needs is touched while there is memory for it. */
	table_view(&d->table, mreleased_now(d), &view);
	view.history = d->history.s;
	view.nr_history = d->history.nr;
	view.config = &d->config.policy;
	choose_victim(&view, d->scratch, LEVEL_NEAR, 0, &ch);
}

/* What has changed since the sweep, of those with open files. */
static void refresh(struct mreleased *d)
{
	for (size_t i = 0; i < MAX_HANDLES; i++) {
		struct handle *h = &d->act.handles[i];
		struct candidate *c;

		if (h->state == HANDLE_FREE || h->status_fd < 0)
			continue;
		c = table_find(&d->table, h->pid, h->start);
		if (!c)
			continue;
		if (text_read(h->status_fd, d->table.buf,
			      sizeof(d->table.buf)) > 0)
			table_update(&d->table, c, d->table.buf);
		else
			c->flags |= CANDIDATE_DYING;
	}
}

static bool needs_table(const struct decision *dec)
{
	return dec->action == ACTION_ASK || dec->action == ACTION_KILL ||
	       dec->reason == REASON_NOBODY || dec->reason == REASON_TMPFS;
}

/* The longest of the last few, as far as that can be trusted. */
static int64_t release_time(const struct mreleased *d)
{
	int64_t longest = 0;

	for (size_t i = 0; i < ARRAY_SIZE(d->lately_ns); i++)
		if (d->lately_ns[i] > longest)
			longest = d->lately_ns[i];
	if (!longest)
		return 0;
	if (longest < SHORTEST_NS)
		return SHORTEST_NS;
	return longest > NS_PER_S ? NS_PER_S : longest;
}

static void decide(struct mreleased *d, struct decision *ret)
{
	struct policy_view view = {
		.history = d->history.s,
		.nr_history = d->history.nr,
		.releases = d->views,
		.release_ns = release_time(d),
		.acted_ns = d->acted_ns,
		.config = &d->config.policy,
	};
	int64_t begin;

	view.nr_releases = act_views(&d->act, d->views);
	table_view(&d->table, mreleased_now(d), &view);
	begin = clock_ns();
	policy_decide(&view, d->scratch, ret);
	if (needs_table(ret))
		d->decision_ns = clock_ns() - begin;
	d->view = view;
}

static void count_time(struct mreleased *d, const struct release *r)
{
	struct totals *n = &d->totals;
	size_t i = 0;

	if (!r->report.verified || r->report.release_ns < 0)
		return;
	if (r->victim.members == 1 && !r->report.outstanding_bytes)
		d->lately_ns[d->nr_lately++ % ARRAY_SIZE(d->lately_ns)] =
			r->view.done_ns - r->view.killed_ns;
	while (i < RELEASE_BUCKETS &&
	       r->report.release_ns > release_buckets_ns[i])
		i++;
	n->buckets[i]++;
	n->release_ns += r->report.release_ns;
}

/* -ESRCH of a process: it went by itself.  Of a tree: its root did, and no more. */
static bool has_failed(const struct release *r)
{
	if (r->ret == -ESRCH)
		return r->victim.tree;
	return r->ret < 0;
}

/*
 * It was asked, has had its time, and lives; and there is memory without its end.
 * It may have given back what it could.  The next time it is one of many.
 */
static bool is_let_be(const struct mreleased *d, const struct release *r)
{
	return r->view.phase == RELEASE_ASKED && d->last.level < LEVEL_LOW &&
	       mreleased_now(d)->time_ns - r->view.asked_ns >= r->view.grace_ns;
}

/* A kill is one when it is known to have been signalled. */
static void count_kill(struct mreleased *d, struct release *r)
{
	if (r->ordered && r->killed && !r->counted) {
		d->totals.killed++;
		d->refused = 0;
		r->counted = true;
	}
	if (r->view.phase == RELEASE_DONE && !r->killed && has_failed(r) &&
	    r->ret != -ESRCH)
		d->refused = r->ret;
}

/* Who could not be signalled was not killed. */
static void tell_end(const struct mreleased *d, const struct release *r)
{
	if (has_failed(r) && !r->killed && r->ret != -ESRCH) {
		tell_failure(&r->victim, r->ret);
		return;
	}
	tell_release(r, mreleased_now(d));
	hook_run(d->config.after_kill, &r->victim, &r->view);
}

/* Ended releases: told once, and their place freed when they have settled. */
static void collect(struct mreleased *d)
{
	int64_t t = mreleased_now(d)->time_ns;

	hooks_reap();
	act_push(&d->act, t);
	act_collect(&d->act, t);
	for (size_t i = 0; i < MAX_RELEASES; i++) {
		struct release *r = &d->act.releases[i];

		if (r->used && is_let_be(d, r)) {
			tell_let_be(&r->victim);
			struck_forget(&d->strikes, &d->table, r->victim.pid,
				      r->victim.start);
			act_forget(&d->act, r);
		}
		if (!r->used)
			continue;
		count_kill(d, r);
		if (r->view.phase != RELEASE_DONE)
			continue;
		if (!r->told) {
			r->told = true;
			d->acted_ns = r->view.done_ns;
			struck_end(&d->strikes, &d->table, r->victim.pid,
				   r->victim.start, has_failed(r));
			d->totals.released_bytes += r->view.released_bytes;
			d->totals.unconfirmed += r->killed && !r->view.verified;
			count_time(d, r);
			d->metrics_ns = 0;
			tell_end(d, r);
		}
		if (t - r->view.done_ns >= d->config.policy.settle_ns)
			act_forget(&d->act, r);
	}
}

void mreleased_start(struct mreleased *d)
{
	struct snapshot s;

	if (sense_read(&d->sense, &s))
		return;
	history_push(&d->history, &s);
	tell_start(&s, &d->config.policy);
	if (d->config.earlyoom)
		earlyoom_start(&s, &d->config.policy);
	if (d->sense.trigger_fd < 0)
		say(SAY_INFO, "no pressure trigger (%s): looking more often",
		    strerror(-d->sense.trigger_error));
	sweep(d);
}

void mreleased_ask_rules(struct mreleased *d)
{
	table_forget_rules(&d->table, &d->config.rules);
	mreleased_ask_cgroups(d);
}

void mreleased_ask_cgroups(struct mreleased *d)
{
	struct snapshot s;

	table_ask_again(&d->table);
	if (!sense_read(&d->sense, &s))
		history_push(&d->history, &s);
	sweep(d);
}

/* Processes as of now. */
static void look_again(struct mreleased *d)
{
	struct snapshot s;

	if (clock_ns() - d->table.swept_ns < REFRESH_NS)
		return;
	if (!sense_read(&d->sense, &s))
		history_push(&d->history, &s);
	sweep(d);
}

void mreleased_consider(struct mreleased *d, struct decision *dec,
			struct choice *would_go)
{
	look_again(d);
	decide(d, dec);
	choose_victim(&d->view, d->scratch, dec->level, dec->need_bytes,
		      would_go);
}

void mreleased_tell_memory(struct mreleased *d)
{
	struct snapshot s;

	/* The last look may be ten seconds old. */
	tell_memory(sense_read(&d->sense, &s) ? mreleased_now(d) : &s);
}

/* Not while somebody is to be killed: it has something better to do. */
static void write_metrics(struct mreleased *d)
{
	int64_t t = mreleased_now(d)->time_ns;
	int ret = metrics_error();

	if (ret)
		complain(d, d->config.metrics, ret);
	if (!*d->config.metrics || d->last.action != ACTION_NONE ||
	    d->last.level >= LEVEL_LOW || d->last.reason == REASON_RELEASING ||
	    (d->metrics_ns && t - d->metrics_ns < METRICS_NS))
		return;
	ret = metrics_write(d->config.metrics, d);
	if (ret == -EAGAIN && !d->metrics_ns)
		return;
	if (ret)
		complain(d, d->config.metrics, ret);
	d->metrics_ns = t;
}

/* How much there is, this often. */
static void report(struct mreleased *d)
{
	int64_t t = mreleased_now(d)->time_ns;

	if (!d->config.report_ns ||
	    (d->reported_ns && t - d->reported_ns < d->config.report_ns))
		return;
	if (d->config.earlyoom)
		earlyoom_memory(mreleased_now(d));
	else
		tell_memory(mreleased_now(d));
	d->reported_ns = t;
}

/* After the signal, if there was one. */
static void record(struct mreleased *d, const struct decision *dec)
{
	uint64_t lost = d->trace.lost;
	int error;

	trace_add(&d->trace, &d->view, dec);
	if (!lost && d->trace.lost)
		say(SAY_WARNING, "%s is too slow: records are left out",
		    d->config.record);
	error = d->trace.error;
	if (error && !d->trace.said)
		say(SAY_WARNING, "%s: %s: records are left out",
		    d->config.record, strerror(-error));
	d->trace.said = error;
}

int64_t mreleased_look(struct mreleased *d, bool triggered)
{
	struct decision dec;
	struct snapshot s;
	int ret;

	(void)triggered;
	ret = sense_read(&d->sense, &s);
	if (ret) {
		complain(d, "cannot read memory", ret);
		d->gone = ret == -ENODEV;
		/* What has ended is waiting to be read all the same. */
		if (d->history.nr)
			collect(d);
		return NS_PER_S;
	}
	d->totals.looks++;
	history_push(&d->history, &s);
	collect(d);
	refresh(d);
	decide(d, &dec);
	/* Asleep a moment ago, and now it is late: who is there? */
	if (needs_table(&dec) && is_stale(d)) {
		sweep(d);
		decide(d, &dec);
	}
	trace_keep(&d->trace, &d->view);
	mreleased_obey(d, &dec);
	record(d, &dec);
	if (dec.level == LEVEL_CALM) {
		handles_drop(&d->act);
		/* Of a shortage that is over. */
		d->refused = 0;
	}
	if (is_sweep_due(d, &dec)) {
		sweep(d);
		if (dec.level >= LEVEL_NEAR)
			prepare(d);
	}
	report(d);
	d->last = dec;
	write_metrics(d);
	return next_look(d, &dec);
}
