/* SPDX-License-Identifier: MIT */
/*
 * The verdict: each entry of the account is settled from what was seen.
 *
 * Out of the page tables is not free: of what others have, nothing becomes
 * free; shmem and hugetlb belong to objects that may go on; pinned pages stay
 * with the device, and those in a pipe with its readers; page tables go with the
 * address space.
 */
#include "release/release.h"

/* Of the CPU, for counting; a sample takes 0.5 ms, more of it 10. */
#define COUNT_CPU_NS (20 * NSEC_PER_MSEC)
/* Rings and devices let go of their pages some time after the exit. */
#define PINS_NS (2 * NSEC_PER_SEC)
/* Secret memory is freed by the exit, or a reader of /proc a moment later. */
#define SECRET_NS (50 * NSEC_PER_MSEC)

static void count_objects(struct release *r, struct victim *v)
{
	struct mrelease_entry *k = v->rep.kinds;
	uint64_t private;

	account_objects(r->objects, v, false, &k[MRELEASE_SHMEM], &private);
	account_objects(r->objects, v, true, &k[MRELEASE_HUGETLB], &private);
}

void verdict_count(struct release *r, struct victim *v, int64_t until_ns)
{
	const struct budget b = { cpu_ns() + COUNT_CPU_NS, until_ns };
	const struct budget mappings = { MRELEASE_NO_DEADLINE, until_ns };

	if (r->objects) {
		objects_collect(r->objects, v, r->scratch, &mappings);
		objects_resolve(r->objects);
		/* Neither for a dry run nor ahead of the release. */
		if (v->claimed)
			objects_claim(r->objects, &r->self);
	}
	count_objects(r, v);
	account_count(v, r->objects, r->scratch, &b);
	if (r->objects)
		pins_note(r->objects, v);
}

/* Why is what the address space has not back, or not known to be? */
static enum mrelease_reason why_not(const struct mrelease_report *rep)
{
	if (rep->notes & MRELEASE_NOTE_SHARED)
		return MRELEASE_REASON_SHARED_MM;
	if (rep->notes & MRELEASE_NOTE_PINNED_ELSEWHERE)
		return MRELEASE_REASON_HELD_MM;
	if (rep->exit_ns < 0)
		return MRELEASE_REASON_NOT_EXITED;
	return MRELEASE_REASON_UNKNOWN;
}

/* The address space is somebody's still. */
static bool mm_stays(const struct mrelease_report *rep)
{
	if (rep->evidence == MRELEASE_EVIDENCE_EXIT)
		return false;
	return rep->exit_ns < 0 ||
	       rep->notes &
		       (MRELEASE_NOTE_PINNED_ELSEWHERE | MRELEASE_NOTE_SHARED);
}

static void settle_private(struct victim *v)
{
	static const enum mrelease_kind kinds[] = {
		MRELEASE_ANON,
		MRELEASE_PINNED,
		MRELEASE_SWAP,
	};
	struct mrelease_report *rep = &v->rep;
	uint64_t left = 0;

	v->private_back = rep->verified;
	if (!rep->verified)
		left = v->seen_left ? v->seen_left : UINT64_MAX;
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct mrelease_entry *e = &rep->kinds[kinds[i]];

		account_settle(e, left, why_not(rep), rep->evidence);
		if (left != UINT64_MAX)
			left -= e->outstanding_bytes;
		if (e->reason == MRELEASE_REASON_SHARED_MM)
			e->holder_pid = rep->sharer_pid;
		/* It was counted before the soft signal, and may have forked since. */
		if (rep->path == MRELEASE_PATH_SOFT)
			e->unsure_bytes = e->back_bytes;
	}
	account_settle(&rep->kinds[MRELEASE_COW], 0, 0, 0);
}

/* Waits of all victims of a release together. */
static bool still_time(const struct release *r, int64_t *until, int64_t ns)
{
	if (!*until)
		*until = deadline_min(r->deadline_ns, now_ns() + ns);
	return !r->given_up && now_ns() < *until;
}

/*
 * Bytes that are held; UINT64_MAX: it cannot be told.  How many pages are pinned on
 * the whole machine is no answer, not even when that is none: each CPU counts by
 * itself, and adds it up once a second.
 */
static uint64_t wait_pins(struct release *r, const struct victim *v,
			  enum held_type type, uint64_t bytes,
			  uint64_t *ret_unsure)
{
	int64_t pause_ns = NSEC_PER_MSEC;
	uint64_t left = UINT64_MAX;

	*ret_unsure = 0;
	if (v->pinned_bytes < LITTLE_BYTES)
		return 0;
	for (;;) {
		if (r->objects)
			left = pins_held(r->objects, v, type, bytes,
					 ret_unsure);
		if (!left || left == UINT64_MAX ||
		    !still_time(r, &r->pins_until_ns, PINS_NS))
			return left;
		pause_until(now_ns() + pause_ns);
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
}

/* Out of the page tables long since, and the device's all the same. */
static void settle_pinned(struct release *r, struct victim *v)
{
	const struct mrelease_entry *k = v->rep.kinds;
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_PINNED];
	uint64_t left, unsure;

	if (!e->before_bytes || e->outstanding_bytes)
		return;
	if (v->rep.exit_ns < 0) {
		account_settle(e, e->exclusive_bytes,
			       MRELEASE_REASON_NOT_EXITED, 0);
		return;
	}
	left = wait_pins(r, v, HELD_ANON,
			 e->exclusive_bytes + k[MRELEASE_ANON].exclusive_bytes,
			 &unsure);
	account_settle(e, left,
		       left == UINT64_MAX ? MRELEASE_REASON_UNKNOWN :
					    MRELEASE_REASON_PINNED,
		       MRELEASE_EVIDENCE_FRAMES);
	e->unsure_bytes = MIN(unsure, e->back_bytes);
}

/*
 * Nothing is pinned, and out of the page tables; but another process can have
 * references to its pages.  Twice at least: one look can hit a frame that was
 * freed while a stranger frees it again (held.c).
 */
static uint64_t wait_references(struct release *r, const struct victim *v,
				uint64_t bytes, uint64_t *ret_unsure)
{
	int64_t pause_ns = NSEC_PER_MSEC;

	for (bool again = false;; again = true) {
		uint64_t left =
			pins_referenced(r->objects, v, bytes, ret_unsure);

		/* What only its own exit lets go of is not waited for. */
		if (!left ||
		    (again && (v->rep.exit_ns < 0 ||
			       !still_time(r, &r->pins_until_ns, PINS_NS))))
			return left;
		pause_until(now_ns() + pause_ns);
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
}

static void settle_referenced(struct release *r, struct victim *v)
{
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_ANON];
	uint64_t left, unsure;

	if (!r->objects || !v->rep.verified || !e->back_bytes ||
	    v->pinned_bytes >= LITTLE_BYTES)
		return;
	left = wait_references(r, v, e->back_bytes, &unsure);
	e->evidence = MRELEASE_EVIDENCE_NONE;
	account_settle(e, left,
		       v->rep.exit_ns < 0 ? MRELEASE_REASON_NOT_EXITED :
					    MRELEASE_REASON_PINNED,
		       v->rep.evidence);
	e->unsure_bytes = MIN(e->unsure_bytes + unsure, e->back_bytes);
}

/* Private huge pages are back, but for those. */
static void settle_pinned_huge(struct release *r, struct victim *v,
			       struct mrelease_entry *e, uint64_t bytes)
{
	uint64_t unsure, left = wait_pins(r, v, HELD_HUGE, bytes, &unsure);

	if (left == UINT64_MAX)
		e->reason = MRELEASE_REASON_UNKNOWN;
	else if (left)
		e->reason = MRELEASE_REASON_PINNED;
	left = MIN(left, MIN(bytes, v->pinned_bytes));
	e->outstanding_bytes += left;
	e->back_bytes += bytes - left;
	e->unsure_bytes += MIN(unsure, bytes - left);
	if (!e->evidence)
		e->evidence = MRELEASE_EVIDENCE_EXIT;
}

static struct mappers mappers_of(struct release *r)
{
	return (struct mappers){
		.helper = &r->second,
		.s = r->scratch,
		.in_helper = r->in_helper,
		.own = r->v ? r->v->pid : 0,
		.is_victim = r->has_victim,
		.group = r->group,
	};
}

void verdict_search(struct release *r)
{
	struct mappers m = mappers_of(r);

	if (r->objects)
		mappers_find(&m, r->objects, r->deadline_ns);
}

void verdict_ask(struct release *r)
{
	struct mappers m;

	if (!r->objects || r->given_up)
		return;
	m = mappers_of(r);
	objects_ask(r->objects, &m, r->deadline_ns);
}

void verdict_untold(struct release *r, uint64_t bytes)
{
	if (!r->objects)
		return;
	bytes += objects_untold(r->objects);
	r->objects->little = bytes < LITTLE_BYTES;
	r->untold = r->objects->little ? bytes : 0;
}

static void settle_objects(struct release *r, struct victim *v,
			   enum mrelease_kind kind)
{
	struct mrelease_entry *e = &v->rep.kinds[kind];
	uint64_t private;

	account_objects(r->objects, v, kind == MRELEASE_HUGETLB, e, &private);
	if (e->reason == MRELEASE_REASON_UNKNOWN && !e->back_bytes && !private)
		return;
	if (mm_stays(&v->rep)) {
		e->back_bytes = 0;
		e->evidence = 0;
		e->outstanding_bytes = e->exclusive_bytes;
		if (e->outstanding_bytes && e->reason != MRELEASE_REASON_LINKED)
			e->reason = why_not(&v->rep);
	} else if (private && v->rep.verified) {
		settle_pinned_huge(r, v, e, private);
	} else if (private) {
		e->outstanding_bytes += private;
		e->reason = why_not(&v->rep);
	}
	e->unsure_bytes = MIN(e->unsure_bytes, e->back_bytes);
}

/* Of one that has not exited: what its descriptors hold. */
static void settle_unmapped(struct release *r, struct victim *v)
{
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_UNMAPPED];
	struct unmapped f = { .nr = 0 };

	if (v->rep.exit_ns >= 0 || !r->objects || r->given_up)
		return;
	account_unmapped(r->objects, v, r->scratch, &f);
	e->before_bytes = f.bytes;
	e->exclusive_bytes = e->before_bytes;
	account_settle(e, e->before_bytes, MRELEASE_REASON_NOT_EXITED, 0);
}

static void settle_special(struct release *r, struct victim *v)
{
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_SPECIAL];
	uint64_t secret = secret_bytes(v), freed = 0;
	uint64_t drivers = e->exclusive_bytes - MIN(secret, e->exclusive_bytes);

	if (!e->before_bytes)
		return;
	if (mm_stays(&v->rep)) {
		account_settle(e, e->exclusive_bytes, why_not(&v->rep), 0);
		return;
	}
	while (secret) {
		freed = secret_freed(v);
		if (freed >= secret ||
		    !still_time(r, &r->secret_until_ns, SECRET_NS))
			break;
		pause_until(now_ns() + NSEC_PER_MSEC);
	}
	if (freed == UINT64_MAX)
		secret = freed = 0;
	freed = MIN(freed, e->exclusive_bytes);
	if (r->objects && r->objects->little)
		e->exclusive_bytes -= drivers;
	/* Of a driver's pages nobody can tell. */
	account_settle(e, e->exclusive_bytes - freed,
		       secret == e->exclusive_bytes ? MRELEASE_REASON_IN_USE :
						      MRELEASE_REASON_UNKNOWN,
		       MRELEASE_EVIDENCE_FRAMES);
}

static void settle_tables(struct victim *v)
{
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_TABLES];
	bool back = !mm_stays(&v->rep) && v->rep.verified;

	account_settle(e, back ? 0 : e->exclusive_bytes, why_not(&v->rep),
		       MRELEASE_EVIDENCE_EXIT);
}

/* False: of some outstanding memory it is unknown whether it is free. */
static bool all_known(const struct mrelease_report *rep)
{
	for (unsigned int i = 0; i < MRELEASE_CACHE; i++)
		if (rep->kinds[i].outstanding_bytes &&
		    rep->kinds[i].reason == MRELEASE_REASON_UNKNOWN)
			return false;
	return true;
}

static void unverify(struct mrelease_report *rep)
{
	rep->verified = 0;
	rep->evidence = MRELEASE_EVIDENCE_NONE;
	rep->release_ns = -1;
}

/*
 * Prepared while it lived, and dead when it was to be released, with nobody that is
 * known to have its address space.  Whether it is a zombie then, or gone, is a
 * matter of moments.
 */
static bool was_dead(const struct victim *v)
{
	const uint32_t had = MRELEASE_NOTE_SHARED |
			     MRELEASE_NOTE_PINNED_ELSEWHERE;

	return v->rep.notes & MRELEASE_NOTE_WAS_DYING && !v->counted &&
	       !(v->rep.notes & had);
}

void release_finish(struct release *r, struct victim *v)
{
	struct mrelease_report *rep = &v->rep;
	struct mrelease_entry *k = rep->kinds;

	if (!v->killed)
		return;
	/* Out of its page tables, but who else has it is not known. */
	if (!v->counted && account_private(rep))
		unverify(rep);
	settle_private(v);
	if (!r->objects || !r->objects->asked) {
		if (rep->exit_ns >= 0)
			verdict_ask(r);
		verdict_untold(r, account_untold(r->objects, v));
	}
	settle_pinned(r, v);
	settle_referenced(r, v);
	settle_objects(r, v, MRELEASE_SHMEM);
	settle_objects(r, v, MRELEASE_HUGETLB);
	settle_unmapped(r, v);
	settle_special(r, v);
	settle_tables(v);
	if (k[MRELEASE_SHMEM].outstanding_bytes)
		rep->notes |= MRELEASE_NOTE_SHMEM;
	if (k[MRELEASE_HUGETLB].outstanding_bytes)
		rep->notes |= MRELEASE_NOTE_HUGETLB;
	if (!all_known(rep))
		unverify(rep);
	if (v->not_ours)
		account_disown(rep);
	account_total(rep);
	if (rep->verified)
		rep->result = MRELEASE_RELEASED;
	else if (rep->exit_ns >= 0 &&
		 (rep->notes & MRELEASE_NOTE_CANNOT_VERIFY || was_dead(v)))
		rep->result = MRELEASE_EXITED;
	else
		rep->result = MRELEASE_UNCONFIRMED;
}

void verdict_foresee(struct release *r, struct victim *v)
{
	struct mrelease_report *rep = &v->rep;

	verdict_count(r, v, r->deadline_ns);
	verdict_search(r);
	verdict_untold(r, account_untold(r->objects, v));
	count_objects(r, v);
	for (unsigned int i = 0; i < MRELEASE_CACHE; i++) {
		struct mrelease_entry *e = &rep->kinds[i];

		/* A living sharer keeps all of it. */
		if (rep->sharers && !(r->opts.flags & MRELEASE_KILL_SHARERS)) {
			e->outstanding_bytes = e->exclusive_bytes;
			e->reason = MRELEASE_REASON_SHARED_MM;
			e->holder_pid = rep->sharer_pid;
		}
	}
	account_total(rep);
}

/* Add a member's report to that of its group; see group_account(). */
void verdict_add(struct mrelease_report *rep, const struct mrelease_report *m)
{
	rep->members++;
	rep->members_verified += m->verified;
	rep->threads += m->threads;
	rep->notes |= m->notes;
	for (unsigned int i = 0; i < MRELEASE_NR_KINDS; i++)
		account_add(&rep->kinds[i], &m->kinds[i]);
	rep->cache_evicted_bytes += m->cache_evicted_bytes;
	rep->release_ns = MAX(rep->release_ns, m->release_ns);
	rep->sharers += m->sharers;
	if (!rep->sharer_pid)
		rep->sharer_pid = m->sharer_pid;
	rep->path = MAX(rep->path, m->path);
}
