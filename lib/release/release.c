/* SPDX-License-Identifier: MIT */
/*
 * The release of one process, step by step: docs/how-it-works.md.
 *
 * The steps run in a helper (helper.c), which is the tracer and can be given
 * up: mmap_lock and the like are waited for killably, and by a process of ours.
 * The caller's side is run.c.
 *
 * A big address space is reaped from two processes at once.  While one of
 * them frees the pages of a page table, outside its lock, the other takes the
 * next table: on two CPUs 0.6 of the time of one.  The same speed comes from
 * dropping the pin as soon as reaping has begun, so that the victim's own
 * exit_mmap() is the second one; but then nobody can look at the page tables
 * any more, and at nice 19 the victim sits on a half-done exit for seconds.
 */
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "release/release.h"

/* For finding out what nobody else has, however busy the machine is. */
#define COUNT_NS (200 * NSEC_PER_MSEC)

void release_set_deadline(struct release *r, int64_t deadline_ns)
{
	r->start_ns = now_ns();
	r->deadline_given = deadline_ns != 0;
	r->deadline_ns = deadline_ns ? deadline_ns :
				       r->start_ns + DEFAULT_DEADLINE_NS;
}

void release_init(struct release *r, const struct mrelease_opts *opts,
		  int64_t deadline_ns)
{
	r->opts = *opts;
	self_init(&r->self, opts->flags);
	if (opts->flags & MRELEASE_KILL_SHARERS)
		self_list_ancestors(&r->self);
	/* A sharer that is killed too needs its pages until it has walked its lists. */
	r->series = !(opts->flags & MRELEASE_KILL_SHARERS) && series_is_there();
	release_set_deadline(r, deadline_ns);
}

static int unpin_own(struct release *r, struct victim *v, unsigned int pin)
{
	return pin_drop_one(v, pin, r->deadline_ns);
}

static void set_verified(struct victim *v, enum mrelease_evidence evidence)
{
	v->rep.verified = 1;
	v->rep.evidence = evidence;
	/* So it could, later. */
	v->rep.notes &= ~(uint32_t)MRELEASE_NOTE_CANNOT_VERIFY;
	v->rep.release_ns = now_ns() - v->kill_ns;
	v->rep.stage = MAX(v->rep.stage, MRELEASE_STAGE_VERIFIED);
}

/* Look once; true when it is settled that the private memory is back. */
static bool look(struct release *r, struct victim *v)
{
	uint64_t bytes;
	int ret = verify_private(v, r->scratch, &bytes);

	if (ret == 0 && bytes == 0) {
		set_verified(v, MRELEASE_EVIDENCE_PAGEMAP);
		return true;
	}
	if (ret == 0)
		v->seen_left = bytes;
	else if (ret != -ESRCH)
		v->rep.notes |= MRELEASE_NOTE_CANNOT_VERIFY;
	return false;
}

/*
 * Has its last thread left the address space?  Only a patched kernel reaps it
 * now: on others process_mrelease() finds nothing any more.
 */
static bool left_mm(const struct victim *v)
{
	return !v->nr_pins && (victim_exited(v) > 0 || victim_mm_users(v) == 0);
}

/* 0: no robust list is lost if it is reaped now. */
static int lists_settle(struct release *r, struct victim *v)
{
	int ret = 0;

	if (!sharers_exit(r))
		return -ETIMEDOUT;
	if (!v->settled)
		ret = robust_settle(r, v);
	if (ret == 0 && !v->shares_lists)
		ret = others_settle(r, v);
	/* It comes back with the other one, or with its exit. */
	return ret == 0 && v->shares_lists ? -EBUSY : ret;
}

void release_memory(struct release *r, struct victim *v)
{
	bool late;
	int ret;

	ret = r->series ? 0 : lists_settle(r, v);
	late = ret == 0 && (r->series || left_mm(v));

	/* It was killed before it could be counted, and is still whole. */
	if (!v->counted)
		verdict_count(r, v, now_ns() + COUNT_NS);
	if (ret == 0)
		ret = reap(r, v);
	if (ret == 0) {
		v->rep.stage = MRELEASE_STAGE_REAPED;
		v->rep.path = v->nr_pins ? MRELEASE_PATH_PINNED :
			      late	 ? MRELEASE_PATH_KERNEL :
					   MRELEASE_PATH_UNPINNED;
	} else {
		v->rep.path = MRELEASE_PATH_EXIT;
	}
	second_stop(r);
	if (ret == 0)
		look(r, v);
}

/*
 * Somebody else holds what a dead process has left.  A patched kernel finds
 * it; and its robust lists have been walked, so now it may be reaped, unless
 * those of another have not.
 */
static void reap_after_exit(const struct release *r, struct victim *v)
{
	if (v->reaped || v->shares_lists || series_reap(r, v) != 0)
		return;
	v->reaped = true;
	v->rep.path = MRELEASE_PATH_KERNEL;
}

/*
 * Every thread is gone.  If nobody else holds the address space, the last
 * of them freed it before it was gone: exit_mmap() runs in exit_mm(), before
 * the exit is announced.
 */
static bool look_after_exit(struct release *r, struct victim *v)
{
	switch (victim_mm_users(v)) {
	case 0:
		set_verified(v, MRELEASE_EVIDENCE_EXIT);
		return true;
	case 1:
		v->rep.notes |= v->rep.sharers ? MRELEASE_NOTE_SHARED :
						 MRELEASE_NOTE_PINNED_ELSEWHERE;
		reap_after_exit(r, v);
		return look(r, v);
	default:
		v->rep.notes |= MRELEASE_NOTE_CANNOT_VERIFY;
		return false;
	}
}

static void note_why_not_exited(struct victim *v)
{
	struct proc_status st;

	v->rep.notes |= MRELEASE_NOTE_NOT_EXITED;
	if (v->hands_off)
		return;
	if (victim_frozen(v))
		v->rep.notes |= MRELEASE_NOTE_FROZEN;
	else if (victim_status(v, &st) == 0 && st.state == 'D')
		v->rep.notes |= MRELEASE_NOTE_DSTATE;
}

void release_look_exit(struct release *r, struct victim *v)
{
	struct proc_status st;

	(void)r;
	if (victim_exited(v) > 0) {
		v->rep.exit_ns = now_ns() - v->kill_ns;
		v->rep.stage = MRELEASE_STAGE_EXITED;
		/* Of pagemap: asking mem takes a lock. */
		if (v->rep.verified)
			return;
		if (v->pagemap_fd >= 0 && victim_mm_users(v) == 0)
			set_verified(v, MRELEASE_EVIDENCE_EXIT);
		else
			v->rep.notes |= MRELEASE_NOTE_CANNOT_VERIFY;
		return;
	}
	v->rep.notes |= MRELEASE_NOTE_NOT_EXITED;
	if (victim_status(v, &st) == 0 && st.state == 'D')
		v->rep.notes |= MRELEASE_NOTE_DSTATE;
}

/*
 * A thread that is dead and traced is waited for by nobody but its tracer, and
 * without that the process does not exit.  But each of its threads has left the
 * address space before it was seen to be dead.
 */
static bool look_at_zombies(struct release *r, struct victim *v)
{
	if (v->rep.verified || victim_mm_users(v) != 0 ||
	    !threads_all_dead(v, r->scratch))
		return v->rep.verified;
	set_verified(v, MRELEASE_EVIDENCE_EXIT);
	return true;
}

/* With the memory back, a wait that nobody asked for ends sooner. */
static int64_t exit_deadline(const struct release *r, const struct victim *v)
{
	if (!v->rep.verified || r->deadline_given)
		return r->deadline_ns;
	return deadline_min(r->deadline_ns, now_ns() + DEFAULT_EXIT_WAIT_NS);
}

/* For as long as there is a caller: no signal may tell of its death (helper.c). */
static int wait_by_ticks(const struct release *r, const struct victim *v,
			 int64_t deadline_ns)
{
	for (;;) {
		int64_t next = now_ns() + HELPER_TICK_NS;
		int ret = victim_wait_exit(v, deadline_min(next, deadline_ns));

		if (ret || next >= deadline_ns)
			return ret;
		if (r->in_helper)
			helper_needs_host(r->in_helper);
	}
}

static int wait_exit(struct release *r, struct victim *v)
{
	int64_t pause_ns = 4 * NSEC_PER_MSEC;

	while (!v->rep.verified) {
		int64_t now = now_ns();
		int ret = victim_wait_exit(v, deadline_min(now + pause_ns,
							   r->deadline_ns));

		if (ret || look_at_zombies(r, v) || now >= r->deadline_ns)
			break;
		pause_ns = MIN(pause_ns * 2, 50 * NSEC_PER_MSEC);
	}
	return wait_by_ticks(r, v, exit_deadline(r, v));
}

void release_wait_exit(struct release *r, struct victim *v)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4;
	int64_t deadline_ns, shared_ns;

	if (wait_exit(r, v) <= 0) {
		note_why_not_exited(v);
		return;
	}
	deadline_ns = exit_deadline(r, v);
	v->rep.exit_ns = (v->exited_ns ? v->exited_ns : now_ns()) - v->kill_ns;
	v->rep.stage = MRELEASE_STAGE_EXITED;
	/*
	 * A vfork child execs soon, another sharer does not; and no event
	 * tells when the last user of an address space is gone.  It may be a
	 * reader of /proc that is through in a moment, also where its page tables
	 * could not be read before:
	 *
	 *	member			helper			ps
	 *	exits
	 *				maps: no mm any more
	 *				cannot verify
	 *							cmdline: a user
	 *				exited, still a user
	 *							lets go
	 *				no user: verified
	 */
	shared_ns = now_ns() + 200 * NSEC_PER_MSEC;
	while (!v->rep.verified && !look_after_exit(r, v)) {
		int64_t now = now_ns();

		if (victim_mm_users(v) < 0 || now >= deadline_ns ||
		    (v->rep.notes & MRELEASE_NOTE_SHARED && now >= shared_ns))
			return;
		pause_until(deadline_min(deadline_ns, now + pause_ns));
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
	/* Unmapped or not, the address space itself is still somebody's. */
	if (v->rep.evidence == MRELEASE_EVIDENCE_PAGEMAP &&
	    victim_mm_users(v) == 1)
		v->rep.notes |= MRELEASE_NOTE_PINNED_ELSEWHERE;
	if (v->rep.evidence == MRELEASE_EVIDENCE_EXIT)
		v->rep.notes &= ~(uint32_t)(MRELEASE_NOTE_PINNED_ELSEWHERE |
					    MRELEASE_NOTE_SHARED);
}

/*
 * We may come too late: what we have waited for took longer than it may, and
 * the caller has sent the signal.  Sent once more it is known to be sent.
 */
static int release_kill(struct release *r, struct victim *v)
{
	int64_t now = now_ns();
	int ret;

	if (kill_claim(r, KILLER_HELPER)) {
		ret = r->series ? series_kill(r, v) : victim_signal(v, SIGKILL);
		if (ret < 0)
			return ret;
	} else {
		victim_signal(v, SIGKILL);
		now = r->caller_kill_ns;
		v->rep.notes |= MRELEASE_NOTE_NOT_READY;
	}
	/* A soft signal was before it. */
	if (!v->kill_ns) {
		v->kill_ns = now;
		v->rep.prepare_ns = now - r->start_ns;
	}
	v->killed = true;
	v->rep.stage = MRELEASE_STAGE_KILLED;
	return 0;
}

/* From the kill to the verdict; or why it was not killed. */
static int kill_and_release(struct release *r, struct victim *v)
{
	bool late;
	int ret = release_hold(r, v, &late);

	if (ret < 0)
		return ret;
	ret = release_kill(r, v);
	if (ret < 0) {
		second_stop(r);
		return ret;
	}
	if (late)
		release_catch_up(r, v);
	release_memory(r, v);
	if (v->rep.verified && r->opts.flags & MRELEASE_NO_WAIT_EXIT)
		return 0;
	if (pin_drop(v, exit_deadline(r, v)) < 0)
		/* It has not even come to its exit stop. */
		note_why_not_exited(v);
	else
		release_wait_exit(r, v);
	return 0;
}

/* All of it for one process; in a helper where there can be one. */
void release_one(void *arg)
{
	struct release *r = arg;
	struct victim *v = r->v;
	int ret = 0;

	r->unpin = unpin_own;
	if (r->soft_ended)
		release_wait_exit(r, v);
	else
		ret = kill_and_release(r, v);
	if (ret == 0)
		release_finish(r, v);
	sharers_wait(r);
	/* Last, not to be waited for by anything; or only closed. */
	if (r->cache)
		cache_evict(r->cache, v);
	if (ret == -ESRCH)
		v->rep.result = MRELEASE_GONE;
	else if (ret == -EPERM && v->rep.result != MRELEASE_REFUSED)
		victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
	r->ret = ret;
	v->done = true;
}
