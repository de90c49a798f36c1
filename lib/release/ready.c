/* SPDX-License-Identifier: MIT */
/*
 * What comes before the kill: handles, what is counted, the pin.  All of it may
 * wait for the victim, so it runs in a helper, and ahead where there is time.
 */
#include <string.h>

#include "release/release.h"

/* For finding out what nobody else has, however busy the machine is. */
#define COUNT_NS (200 * NSEC_PER_MSEC)
/* For a victim to come to its exit stop before it is asked where it is. */
#define STAND_NS (NSEC_PER_MSEC / 4)

int release_check_sharers(struct release *r)
{
	struct victim *v = r->v;
	struct sharers found;
	int ret;

	if (r->opts.flags & MRELEASE_KILL_SHARERS) {
		ret = sharers_check(r, v);
		return ret == -EPERM ? ret : 0;
	}
	/*
	 * Without a pin the victim may be gone, and with it every way to
	 * compare address spaces, before process_mrelease() says EINVAL.
	 */
	if (r->opts.flags & MRELEASE_NO_PIN &&
	    sharers_find(v, r->scratch, NULL, NULL, &found) == 0) {
		v->rep.sharers = found.count;
		v->rep.sharer_pid = found.first;
	}
	return 0;
}

/* What more than one thread is looked at with, after the kill. */
static int open_threads(struct release *r, struct victim *v)
{
	if (!r->online_cpus)
		r->online_cpus = cpus_online();
	return victim_list_threads(v) == -EMFILE ? -EMFILE : 0;
}

static int open_files(struct victim *v)
{
	int ret = victim_handles(v);

	return ret < 0 ? ret : victim_files(v);
}

/* Once more it finds them open. */
static int open_handles(struct release *r, struct victim *v)
{
	int ret = open_files(v);

	if (is_scarcity(ret) && self_drop_claims(&r->self))
		ret = open_files(v);
	/* Last: what is opened may have waited for it. */
	if (ret == 0)
		victim_measure_opened(v);
	if (ret == 0 && v->rep.threads > 1)
		ret = open_threads(r, v);
	if (r->tids && v->rep.threads > MANY_THREADS)
		tids_open(r->tids);
	return ret;
}

int release_prepare(struct release *r)
{
	struct victim *v = r->v;
	int ret = open_handles(r, v);

	/* One thread may be more by then, and no descriptor to be had. */
	if (ret == 0)
		ret = open_threads(r, v);
	if (ret == 0) {
		verdict_count(r, v, now_ns() + COUNT_NS);
		pin_choose(v, r->scratch);
	}
	r->prepared = ret == 0;
	return ret;
}

/* What was seen when it was prepared may be of long ago. */
static void count_again(struct release *r, struct victim *v)
{
	if (r->objects)
		objects_forget(r->objects, v);
	verdict_count(r, v, now_ns() + COUNT_NS);
}

/* The caller has killed it, and before that moment. */
static bool caller_killed(const struct release *r, int64_t by_ns)
{
	return __atomic_load_n(&r->killer, __ATOMIC_ACQUIRE) == KILLER_CALLER &&
	       r->caller_kill_ns <= by_ns;
}

/*
 * Before the kill.  Once the caller has sent it, what is measured is what is
 * left, and what cannot be opened is what is gone: neither counts.
 */
static int get_ready(struct release *r, struct victim *v,
		     const struct mrelease_report *untouched)
{
	struct proc_stat st;
	int ret = 0;

	if (!r->prepared) {
		ret = release_prepare(r);
	} else {
		if (victim_execed(v, &st))
			victim_renew(v);
		victim_measure(v);
		count_again(r, v);
	}
	if (caller_killed(r, now_ns())) {
		v->rep = *untouched;
		v->counted = false;
		ret = 0;
	}
	if (is_scarcity(ret)) {
		v->rep.notes |= MRELEASE_NOTE_HANDLES;
		ret = 0;
	}
	/* Last: it asks every process that there is. */
	if (ret == 0)
		ret = release_check_sharers(r);
	return caller_killed(r, now_ns()) ? 0 : ret;
}

static void get_hold(struct release *r, struct victim *v)
{
	/* To open them may be to wait for the victim: before it is held. */
	if (r->cache)
		cache_open(r, v, r->scratch);
	if (r->in_helper && !(r->opts.flags & MRELEASE_NO_PIN) &&
	    pin_seize(v, r->scratch) == 0) {
		v->rep.stage = MRELEASE_STAGE_PINNED;
		r->traces = true;
	} else {
		v->rep.notes |= MRELEASE_NOTE_NO_PIN;
	}
	if (!r->series)
		threads_note(v, r->tids, r->scratch);
	/* If the victim is gone, its number may be a stranger's. */
	if (r->opts.flags & MRELEASE_KILL_SHARERS &&
	    victim_signal(v, 0) != -ESRCH)
		sharers_kill(r, v);
	if (r->in_helper)
		release_start_second(r, v);
}

/*
 * All that the kill waits for is the pin: the victim then stands in its exit
 * stop, its address space is whole, and can be counted.  What it does between a
 * count and the kill would be in no account:
 *
 *	victim				helper
 *					counts: nobody else has the pages
 *	fork(), and the child has
 *	them, too
 *					SIGKILL; "all of it is back"
 *
 * Not so where what is counted must be known before (a kernel that reaps as it
 * kills; one that is dying anyway), where somebody has to be asked first, or
 * without a pin.
 */
static bool hold_at_once(struct release *r, struct victim *v)
{
	const uint32_t not = MRELEASE_NO_PIN | MRELEASE_KILL_SHARERS;
	struct mrelease_report rep;

	if (!r->in_helper || r->series || r->opts.flags & not )
		return false;
	if (!r->prepared) {
		if (open_handles(r, v) < 0)
			return false;
		pin_choose(v, r->scratch);
	}
	if (v->tid != v->pid)
		return false;
	rep = v->rep;
	/* Prepared: once more, of a file that is open, and waits for nobody. */
	if ((r->prepared && victim_measure(v) < 0) || v->no_mm ||
	    !kill_is_pending(r) ||
	    v->rep.notes & (MRELEASE_NOTE_WAS_DYING | MRELEASE_NOTE_COREDUMP) ||
	    pin_seize(v, r->scratch) < 0) {
		v->rep = rep;
		return false;
	}
	r->traces = true;
	v->rep.stage = MRELEASE_STAGE_PINNED;
	return true;
}

/* What get_ready() and get_hold() do before the kill, where that is later. */
void release_catch_up(struct release *r, struct victim *v)
{
	release_start_second(r, v);
	count_again(r, v);
	/* What it had left before it was killed is of no interest. */
	if (victim_execed(v, &v->last)) {
		victim_renew(v);
		count_again(r, v);
	}
	/* In the kernel for good?  Asking that once more costs more. */
	if (v->last.state == 'R' && pin_stands(v, now_ns() + STAND_NS))
		v->last.state = 't';
	if (r->cache)
		cache_open(r, v, r->scratch);
}

int release_hold(struct release *r, struct victim *v, bool *ret_late)
{
	const struct mrelease_report untouched = v->rep;
	int ret;

	*ret_late = hold_at_once(r, v);
	if (*ret_late)
		return 0;
	ret = get_ready(r, v, &untouched);
	if (ret == 0)
		get_hold(r, v);
	return ret;
}
