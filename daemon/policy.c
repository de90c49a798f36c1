/* SPDX-License-Identifier: MIT */
/* Whether somebody must go, and how.  Who: choose.c. */
#include "policy.h"

/* Shorter than that, a rate is noise. */
#define RATE_NS	     (100 * NS_PER_MS)
#define RATE_LONG_NS NS_PER_S
/*
 * From the decision until its memory is back, where none was measured yet:
 * what the first one took in a thrashing guest of two slow CPUs, 53 to 560 ms.
 */
#define RELEASE_NS (300 * NS_PER_MS)
/* Of a whole job or cgroup: so many times as long, for its many exits. */
#define MANY 5
/* Time to send a signal, and some to spare. */
#define SIGNAL_NS (200 * NS_PER_MS)
/* Nearer than that to the cliff nobody is asked. */
#define ASK_NS (500 * NS_PER_MS)
/* After a kill by the kernel. */
#define OOM_NS (500 * NS_PER_MS)
/* What no machine fills faster, a second. */
#define FILL_RATE ((int64_t)6000 << 20)

void policy_defaults(struct policy_config *config)
{
	*config = (struct policy_config){
		.mem_term.permille = 100,
		.swap_term.permille = 100,
		.mem_kill = { .permille = 50, .implied = true },
		.swap_kill = { .permille = 50, .implied = true },
		.near.permille = 250,
		.hold_ns = 250 * NS_PER_MS,
		.grace_ns = 5 * NS_PER_S,
		.patience_ns = 2 * NS_PER_S,
		.settle_ns = 150 * NS_PER_MS,
		.stall_permille = 500,
		.stall_ns = 10 * NS_PER_S,
		.min_gain_permille = 10,
		.trees = true,
	};
}

uint64_t line_bytes(const struct line *line, uint64_t total)
{
	if (line->bytes)
		return line->bytes;
	return line->permille >= 1000 ? total : total / 1000 * line->permille;
}

static const struct snapshot *newest(const struct policy_view *v)
{
	return &v->history[v->nr_history - 1];
}

const struct snapshot *snapshot_before(const struct policy_view *v, int64_t ns)
{
	size_t i = v->nr_history - 1;

	while (i && newest(v)->time_ns - v->history[i].time_ns < ns &&
	       v->history[i - 1].time_ns >= v->acted_ns)
		i--;
	return &v->history[i];
}

/* a / b * NS_PER_S, as far as it can be said. */
static int64_t per_second(int64_t a, int64_t b)
{
	double x = (double)a / (double)b * (double)NS_PER_S;

	/* The first double beyond INT64_MAX is 2^63. */
	if (x >= 9223372036854775808.0)
		return INT64_MAX;
	return x <= -9223372036854775808.0 ? INT64_MIN + 1 : (int64_t)x;
}

/* How long so many bytes last. */
static int64_t time_for(int64_t bytes, int64_t rate)
{
	return rate <= 0 ? INT64_MAX : per_second(bytes, rate);
}

/* Bytes a second that go, memory and swap together. */
static int64_t rate_over(const struct policy_view *v, int64_t ns)
{
	const struct snapshot *now = newest(v), *then = snapshot_before(v, ns);
	int64_t dt = now->time_ns - then->time_ns, lost;

	if (dt < RATE_NS / 4)
		return 0;
	lost = (int64_t)(then->available_bytes + then->swap_free_bytes) -
	       (int64_t)(now->available_bytes + now->swap_free_bytes);
	return per_second(lost, dt);
}

static bool at_or_below(const struct snapshot *s, const struct line *mem,
			const struct line *swap)
{
	return s->available_bytes <= line_bytes(mem, s->total_bytes) &&
	       s->swap_free_bytes <= line_bytes(swap, s->swap_total_bytes);
}

/* Where only the first line was set, and below it, SIGKILL must not come sooner. */
uint64_t kill_line(const struct line *kill, const struct line *term,
		   uint64_t total)
{
	uint64_t high = line_bytes(term, total), low = line_bytes(kill, total);

	return kill->implied && high < low ? high : low;
}

static bool is_critical(const struct snapshot *s, const struct policy_config *c)
{
	return s->available_bytes <=
		       kill_line(&c->mem_kill, &c->mem_term, s->total_bytes) &&
	       s->swap_free_bytes <= kill_line(&c->swap_kill, &c->swap_term,
					       s->swap_total_bytes);
}

static int64_t above(uint64_t have, uint64_t line)
{
	return have > line ? (int64_t)(have - line) : 0;
}

/* What is left until both are at the second line. */
static int64_t room(const struct policy_view *v)
{
	const struct snapshot *s = newest(v);
	const struct policy_config *c = v->config;

	return above(s->available_bytes,
		     kill_line(&c->mem_kill, &c->mem_term, s->total_bytes)) +
	       above(s->swap_free_bytes, kill_line(&c->swap_kill, &c->swap_term,
						   s->swap_total_bytes));
}

/*
 * Until nothing is left at all, at the rate of the last moment: a fall that has
 * stopped is over, whatever the second before it looked like.
 */
static int64_t until_zero(const struct policy_view *v)
{
	const struct snapshot *s = newest(v);
	int64_t left = (int64_t)(s->available_bytes + s->swap_free_bytes);

	return time_for(left, rate_over(v, RATE_NS));
}

static uint32_t stall_over(const struct policy_view *v, int64_t ns)
{
	const struct snapshot *now = newest(v), *then = snapshot_before(v, ns);
	int64_t dt_us = (now->time_ns - then->time_ns) / 1000;

	/* A time shorter than asked for proves nothing. */
	if (!(now->has & SNAPSHOT_PSI) || !(then->has & SNAPSHOT_PSI) ||
	    !dt_us || dt_us * 1000 < ns || now->full_us < then->full_us)
		return 0;
	return (uint32_t)((now->full_us - then->full_us) * 1000 /
			  (uint64_t)dt_us);
}

/* For how long it has been at or below the first line without a break. */
static int64_t low_for(const struct policy_view *v)
{
	const struct policy_config *c = v->config;
	size_t i = v->nr_history;

	while (i &&
	       at_or_below(&v->history[i - 1], &c->mem_term, &c->swap_term))
		i--;
	if (i == v->nr_history)
		return 0;
	return newest(v)->time_ns - v->history[i].time_ns;
}

/* All stall: is it for want of memory that somebody has? */
static bool stalled(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;
	const struct snapshot *now = newest(v);
	const struct snapshot *then = snapshot_before(v, c->stall_ns);
	uint64_t in, refaults;

	if (!c->stall_permille ||
	    stall_over(v, c->stall_ns) < c->stall_permille)
		return false;
	if (now->available_bytes <=
	    2 * line_bytes(&c->mem_term, now->total_bytes))
		return true;
	/* A cgroup has no count of its own of what was swapped in. */
	if (!(now->has & then->has & (SNAPSHOT_VMSTAT | SNAPSHOT_CGROUP)))
		return false;
	in = now->has & SNAPSHOT_CGROUP ?
		     now->refault_anon - then->refault_anon :
		     now->swapped_in - then->swapped_in;
	refaults = now->refault_file - then->refault_file;
	/* Page cache goes in circles while there is memory. */
	if (in <= refaults) {
		d->reason = REASON_CACHE;
		return false;
	}
	return true;
}

static void look(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;
	const struct snapshot *now = newest(v);
	uint64_t line = line_bytes(&c->mem_term, now->total_bytes);
	int64_t slow = rate_over(v, RATE_LONG_NS), fast = rate_over(v, RATE_NS);

	d->rate = fast > slow ? fast : slow;
	d->cliff_ns = time_for(room(v), d->rate);
	d->stall_permille = stall_over(v, NS_PER_S);
	/* Half as much again, so that it does not come back at once. */
	d->need_bytes = (uint64_t)above(line + line / 2, now->available_bytes);
	if (is_critical(now, c)) {
		d->level = LEVEL_CRITICAL;
		d->reason = REASON_CRITICAL;
	} else if (stalled(v, d)) {
		d->level = LEVEL_CRITICAL;
		d->reason = REASON_STALL;
	} else if (at_or_below(now, &c->mem_term, &c->swap_term)) {
		d->level = LEVEL_LOW;
		d->reason = REASON_LOW;
	} else if (now->available_bytes <=
			   line_bytes(&c->near, now->total_bytes) ||
		   d->cliff_ns < 5 * NS_PER_S || d->stall_permille > 50) {
		d->level = LEVEL_NEAR;
	}
}

/*
 * A terabyte takes a minute to be freed.  As it comes now, @expected_bytes of one
 * that was killed at @killed_ns are not all back yet, and the second line is behind
 * us before a release is given up.
 */
static bool is_coming_back(const struct policy_view *v, int64_t killed_ns,
			   uint64_t expected_bytes)
{
	const struct snapshot *now = newest(v);
	const struct policy_config *c = v->config;
	uint64_t line = kill_line(&c->mem_kill, &c->mem_term, now->total_bytes);
	int64_t wanted = above(line, now->available_bytes);
	int64_t age = now->time_ns - killed_ns;
	int64_t rate = -rate_over(v, RATE_LONG_NS);

	/* Above it, in a stall, a trickle is none either. */
	if (wanted < (int64_t)(line / 2))
		wanted = (int64_t)(line / 2);
	return age < RELEASE_DEADLINE_NS && rate > 0 &&
	       (double)age * (double)rate <
		       (double)expected_bytes * (double)NS_PER_S &&
	       time_for(wanted, rate) <= RELEASE_DEADLINE_NS - age;
}

/* When the kernel's OOM killer last killed, as far back as it matters; 0: not. */
static int64_t kernel_kill_ns(const struct policy_view *v)
{
	const struct snapshot *h = v->history;

	for (size_t i = v->nr_history - 1; i; i--)
		if (h[i].has & h[i - 1].has & SNAPSHOT_VMSTAT &&
		    h[i].oom_kills > h[i - 1].oom_kills)
			return h[i].time_ns;
	return 0;
}

/*
 * The kernel was faster.  Its victim's memory takes as long to come back as
 * ours; it is not in our books, so a fixed time must do, and longer while it comes.
 */
static bool kernel_killed(const struct policy_view *v)
{
	const struct snapshot *now = newest(v);
	const struct snapshot *then = snapshot_before(v, OOM_NS);
	const struct snapshot *first = snapshot_before(v, 2 * OOM_NS);

	if (!(now->has & then->has & first->has & SNAPSHOT_VMSTAT))
		return false;
	if (kernel_kill_ns(v) &&
	    is_coming_back(v, kernel_kill_ns(v), UINT64_MAX))
		return true;
	/* It goes on killing, perhaps in a cgroup of its own: that was waited for. */
	return now->oom_kills > then->oom_kills &&
	       then->oom_kills <= first->oom_kills;
}

/* Is somebody at it?  Then nobody else dies, or only the same one harder. */
static bool wait_for_releases(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;
	int64_t now = newest(v)->time_ns;

	for (size_t i = 0; i < v->nr_releases; i++) {
		const struct release_view *r = &v->releases[i];

		switch (r->phase) {
		case RELEASE_ASKED:
			d->victim = i;
			d->expected_bytes = r->expected_bytes;
			/* Enough memory is free again: no need for SIGKILL. */
			if (d->level < LEVEL_LOW ||
			    (now - r->asked_ns < r->grace_ns &&
			     d->level < LEVEL_CRITICAL &&
			     d->cliff_ns > SIGNAL_NS)) {
				d->reason = REASON_ASKED;
				return true;
			}
			d->action = ACTION_ESCALATE;
			if (now - r->asked_ns >= r->grace_ns)
				d->reason = REASON_GRACE_OVER;
			return true;
		case RELEASE_KILLED:
			if (now - r->killed_ns < c->patience_ns ||
			    is_coming_back(v, r->killed_ns,
					   r->expected_bytes)) {
				d->reason = REASON_RELEASING;
				return true;
			}
			break;
		case RELEASE_DONE:
			/* The newest numbers may be older than the end. */
			if (now - r->done_ns < c->settle_ns) {
				d->reason = REASON_SETTLE;
				return true;
			}
			break;
		case RELEASE_NONE:
			break;
		}
	}
	if (kernel_killed(v)) {
		d->reason = REASON_KERNEL_OOM;
		return true;
	}
	return false;
}

/* Low, not critical: is it the beginning of the end, or a spike? */
static bool is_time(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;

	if (!c->hold_ns)
		return true;
	if (d->cliff_ns <= c->hold_ns)
		return true;
	if (low_for(v) < c->hold_ns) {
		d->reason = REASON_HOLD;
		return false;
	}
	/* A minute to go is no fall, and one that has stopped is none. */
	if (time_for(room(v), rate_over(v, c->hold_ns)) > 60 * NS_PER_S) {
		d->reason = REASON_STEADY;
		return false;
	}
	return true;
}

/* It may take what is left, less the time that a signal takes. */
static bool may_ask(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;
	int64_t left = d->cliff_ns == INT64_MAX ? c->grace_ns :
						  d->cliff_ns - SIGNAL_NS;

	/*
	 * A cgroup has nobody to ask, nor has a tree: its root may exit and
	 * leave the others to init.  One without a handler would only die
	 * of SIGTERM, on its own, and if somebody holds its address space
	 * then nothing can take the memory back any more.
	 */
	if (d->whole || d->tree || left < ASK_NS ||
	    !(v->candidates[d->victim].flags & CANDIDATE_ASKABLE))
		return false;
	d->grace_ns = left < c->grace_ns ? left : c->grace_ns;
	return true;
}

/*
 * Above the second line, SIGKILL is early: a spike gives everything back by
 * itself.  It is not too early where memory would be gone before that of a
 * victim is back.
 */
static bool must_kill(const struct policy_view *v, struct decision *d)
{
	const struct policy_config *c = v->config;
	int64_t takes = v->release_ns ? v->release_ns : RELEASE_NS;
	int64_t left = until_zero(v);

	if (!c->hold_ns || !c->grace_ns)
		return true;
	if (d->members > 1)
		left /= MANY;
	if (left > takes)
		return false;
	d->reason = REASON_CLIFF;
	return true;
}

static void choose_and_act(const struct policy_view *v,
			   struct policy_scratch *scratch, struct decision *d)
{
	struct choice ch;

	choose_victim(v, scratch, d->level, d->need_bytes, &ch);
	d->second = ch.second;
	if (ch.victim < 0) {
		d->reason = ch.reason;
		return;
	}
	d->victim = (size_t)ch.victim;
	d->tree = ch.tree;
	d->whole = ch.whole;
	d->members = ch.members;
	d->expected_bytes = ch.gain_bytes;
	if (d->level == LEVEL_CRITICAL)
		d->action = ACTION_KILL;
	else if (v->config->grace_ns && may_ask(v, d))
		d->action = ACTION_ASK;
	else if (must_kill(v, d))
		d->action = ACTION_KILL;
	else
		d->reason = REASON_WAIT;
}

/* The adaptive period: the time that the worst case needs to the next line. */
static int64_t period(const struct policy_view *v, const struct decision *d)
{
	const struct snapshot *s = newest(v);
	const struct policy_config *c = v->config;
	int64_t ns, left, rate = FILL_RATE;

	if (d->action != ACTION_NONE || d->reason == REASON_RELEASING ||
	    d->reason == REASON_SETTLE || d->reason == REASON_ASKED)
		return 20 * NS_PER_MS;
	left = above(s->available_bytes,
		     line_bytes(&c->mem_term, s->total_bytes)) +
	       above(s->swap_free_bytes,
		     line_bytes(&c->swap_term, s->swap_total_bytes));
	if (d->rate > rate)
		rate = d->rate;
	ns = per_second(left, rate);
	if (ns > NS_PER_S)
		ns = NS_PER_S;
	if (d->level == LEVEL_CALM)
		return ns < 100 * NS_PER_MS ? 100 * NS_PER_MS : ns;
	if (d->cliff_ns != INT64_MAX && d->cliff_ns / 4 < ns)
		ns = d->cliff_ns / 4;
	if (d->level >= LEVEL_LOW)
		return ns < 10 * NS_PER_MS ? 10 * NS_PER_MS : ns;
	return ns < 50 * NS_PER_MS ? 50 * NS_PER_MS : ns;
}

void policy_decide(const struct policy_view *view,
		   struct policy_scratch *scratch, struct decision *ret)
{
	*ret = (struct decision){
		.cliff_ns = INT64_MAX,
		.wait_ns = NS_PER_S,
		.second = -1,
	};
	if (!view->nr_history || !newest(view)->total_bytes)
		return;
	look(view, ret);
	if (!wait_for_releases(view, ret) &&
	    (ret->level == LEVEL_CRITICAL ||
	     (ret->level == LEVEL_LOW && is_time(view, ret))))
		choose_and_act(view, scratch, ret);
	ret->wait_ns = period(view, ret);
}

const char *reason_text(enum policy_reason reason)
{
	static const char *const texts[] = {
		[REASON_CALM] = "enough memory",
		[REASON_HOLD] = "low, perhaps for a moment only",
		[REASON_WAIT] =
			"low, but it could not be asked, and there is time",
		[REASON_STEADY] = "low, but neither falling nor stalling",
		[REASON_LOW] = "low and falling",
		[REASON_CRITICAL] = "critically low",
		[REASON_CLIFF] = "about to be critically low",
		[REASON_STALL] = "everything stalls on memory",
		[REASON_RELEASING] = "memory is coming back",
		[REASON_KERNEL_OOM] = "the kernel has killed a process",
		[REASON_ASKED] = "a process was asked to exit",
		[REASON_SETTLE] = "memory has just come back",
		[REASON_GRACE_OVER] = "it did not exit when asked",
		[REASON_TMPFS] = "tmpfs files hold the memory",
		[REASON_CACHE] = "page cache does not fit",
		[REASON_NOBODY] = "no process that may be killed has enough",
	};

	return (size_t)reason < ARRAY_SIZE(texts) ? texts[reason] : "?";
}
