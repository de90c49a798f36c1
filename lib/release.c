/* SPDX-License-Identifier: MIT */
/*
 * The release of one process, step by step: docs/how-it-works.md.
 *
 * The caller's thread only waits.  The steps run in a helper (helper.c),
 * which is the tracer and can be given up at the deadline: mmap_lock and the
 * like are waited for killably, and by a process of ours.
 *
 * A big address space is reaped from two processes at once.  While one of
 * them frees the pages of a page table, outside its lock, the other takes the
 * next table: on two CPUs 0.6 of the time of one.  The same speed comes from
 * dropping the pin as soon as reaping has begun, so that the victim's own
 * exit_mmap() is the second one; but then nobody can look at the page tables
 * any more, and at nice 19 the victim sits on a half-done exit for seconds.
 */
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "private.h"

/* Private memory from which a second reaper pays for its start. */
#define SECOND_REAPER_BYTES (32ULL << 20)

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
	r->online_cpus = cpus_online();
	cpus_get(&r->cpus);
	self_init(&r->self, opts->flags);
	/* Who dies with it keeps pages back until he has walked his lists. */
	r->series = !(opts->flags & MRELEASE_KILL_SHARERS) && series_is_there();
	release_set_deadline(r, deadline_ns);
}

static int unpin_own(struct release *r, struct victim *v, unsigned int pin)
{
	return pin_drop_one(v, pin, r->deadline_ns);
}

static void second_reaper(void *arg)
{
	struct release *r = arg;

	while (!__atomic_load_n(&r->second_go, __ATOMIC_ACQUIRE))
		sys_futex(&r->second_go, FUTEX_WAIT, 0, NULL);
	if (r->second_go != 1)
		return;
	cpus_leave(&r->cpus, r->first_cpu);
	series_reap(r, r->v);
}

static void second_stop(struct release *r, int64_t deadline_ns)
{
	if (r->second.pid <= 0)
		return;
	if (!__atomic_load_n(&r->second_go, __ATOMIC_ACQUIRE)) {
		__atomic_store_n(&r->second_go, 2, __ATOMIC_RELEASE);
		sys_futex(&r->second_go, FUTEX_WAKE, 1, NULL);
	}
	if (helper_wait(&r->second, deadline_ns) < 0)
		helper_kill(&r->second);
}

/* Ask politely: 1 when that was enough. */
int release_soft(struct release *r, struct victim *v)
{
	int ret;

	v->kill_ns = now_ns();
	ret = victim_signal(v, r->opts.soft_signal);
	if (ret < 0)
		return ret;
	ret = victim_wait_exit(v, deadline_min(v->kill_ns + r->opts.grace_ns,
					       r->deadline_ns));
	if (ret > 0) {
		v->killed = true;
		v->rep.path = MRELEASE_PATH_SOFT;
	}
	return ret > 0;
}

static void set_verified(struct victim *v, enum mrelease_evidence evidence)
{
	v->rep.verified = 1;
	v->rep.evidence = evidence;
	v->rep.release_ns = now_ns() - v->kill_ns;
	v->rep.stage = MAX(v->rep.stage, MRELEASE_STAGE_VERIFIED);
}

static uint64_t private_bytes(const struct mrelease_memory *m)
{
	return m->anon_bytes + m->swap_bytes;
}

/* Look once; true when it is settled that the private memory is back. */
static bool look(struct release *r, struct victim *v)
{
	uint64_t bytes, hugetlb;
	int ret = verify_private(v, r->scratch, &bytes, &hugetlb);

	if (ret == 0 && bytes == 0) {
		set_verified(v, MRELEASE_EVIDENCE_PAGEMAP);
		return true;
	}
	if (ret == 0)
		v->rep.outstanding_bytes =
			MIN(bytes, private_bytes(&v->rep.before));
	else if (ret != -ESRCH)
		v->rep.notes |= MRELEASE_NOTE_CANNOT_VERIFY;
	return false;
}

/*
 * Has its last thread left the address space?  Whoever gets it reaped now has
 * a patched kernel: on others process_mrelease() finds nothing any more.
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
	/* It comes back with the other one, or with its exit. */
	return ret == 0 && v->shares_lists ? -EBUSY : ret;
}

void release_memory(struct release *r, struct victim *v)
{
	bool late;
	int ret;

	ret = r->series ? 0 : lists_settle(r, v);
	late = ret == 0 && (r->series || left_mm(v));

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
	second_stop(r, r->deadline_ns);
	if (ret == 0)
		look(r, v);
}

/*
 * Somebody else holds what a dead process has left.  A patched kernel finds
 * it; and its robust lists have been walked, so now it may always be reaped.
 */
static void reap_after_exit(const struct release *r, struct victim *v)
{
	if (v->reaped || series_reap(r, v) != 0)
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
	struct proc_stat st;

	v->rep.notes |= MRELEASE_NOTE_NOT_EXITED;
	if (victim_frozen(v))
		v->rep.notes |= MRELEASE_NOTE_FROZEN;
	else if (victim_stat(v, &st) == 0 && st.state == 'D')
		v->rep.notes |= MRELEASE_NOTE_DSTATE;
}

void release_wait_exit(struct release *r, struct victim *v)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4;
	int64_t deadline_ns = r->deadline_ns;
	int64_t shared_ns;

	/* With the memory back, a wait that nobody asked for ends sooner. */
	if (v->rep.verified && !r->deadline_given)
		deadline_ns = deadline_min(deadline_ns,
					   now_ns() + DEFAULT_EXIT_WAIT_NS);
	if (victim_wait_exit(v, deadline_ns) <= 0) {
		note_why_not_exited(v);
		return;
	}
	v->rep.exit_ns = now_ns() - v->kill_ns;
	v->rep.stage = MRELEASE_STAGE_EXITED;
	/*
	 * A vfork child execs soon, another sharer does not; and no event
	 * tells when the last user of an address space is gone.
	 */
	shared_ns = now_ns() + 200 * NSEC_PER_MSEC;
	while (!v->rep.verified && !look_after_exit(r, v)) {
		int64_t now = now_ns();

		if (v->rep.notes & MRELEASE_NOTE_CANNOT_VERIFY ||
		    now >= deadline_ns ||
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
 * shmem is back when the system has that much less of it.  The counter is
 * kept per CPU and folded in now and then, hence the slack.
 */
static uint64_t shmem_outstanding(const struct victim *v, unsigned int cpus)
{
	uint64_t slack = (uint64_t)MAX(cpus, 1u) * 512 * 1024;
	uint64_t had = v->rep.before.shmem_bytes, after, back;
	char buf[4096];
	long len;

	if (!had)
		return 0;
	if (v->rep.exit_ns < 0 || v->rep.evidence == MRELEASE_EVIDENCE_NONE)
		return had;
	len = read_at(v->meminfo_fd, buf, sizeof(buf));
	if (len <= 0 || parse_kib_line(buf, len, "Shmem", &after) < 0)
		return had;
	back = v->shmem_before > after ? v->shmem_before - after : 0;
	return back + slack >= had ? 0 : had - back;
}

/* The verdict, from what was seen. */
void release_finish(struct release *r, struct victim *v)
{
	struct mrelease_report *rep = &v->rep;
	const struct mrelease_memory *m = &rep->before;
	uint64_t shmem, hugetlb = 0, left;

	if (!v->killed)
		return;
	shmem = shmem_outstanding(v, r->online_cpus);
	if (shmem)
		rep->notes |= MRELEASE_NOTE_SHMEM;
	/* hugetlb and shmem go with the address space only. */
	if (m->hugetlb_bytes && rep->evidence != MRELEASE_EVIDENCE_EXIT &&
	    rep->exit_ns < 0)
		hugetlb = m->hugetlb_bytes;
	if (hugetlb)
		rep->notes |= MRELEASE_NOTE_HUGETLB;
	if (rep->verified)
		left = 0;
	else if (rep->outstanding_bytes)
		left = rep->outstanding_bytes;
	else
		left = private_bytes(m);
	rep->released_bytes = private_bytes(m) - left +
			      (m->shmem_bytes - shmem) +
			      (m->hugetlb_bytes - hugetlb);
	rep->outstanding_bytes = left + shmem + hugetlb;
	if (rep->verified)
		rep->result = MRELEASE_RELEASED;
	else if (rep->exit_ns >= 0 && rep->notes & MRELEASE_NOTE_CANNOT_VERIFY)
		rep->result = MRELEASE_EXITED;
	else
		rep->result = MRELEASE_UNCONFIRMED;
}

static int release_kill(struct release *r, struct victim *v)
{
	int ret;

	if (!v->kill_ns)
		v->kill_ns = now_ns();
	if (r->opts.flags & MRELEASE_KILL_SHARERS)
		sharers_kill(r, v);
	ret = r->series ? series_kill(r, v) : victim_signal(v, SIGKILL);
	if (ret < 0)
		return ret;
	v->killed = true;
	v->rep.prepare_ns = v->kill_ns - r->start_ns;
	v->rep.stage = MRELEASE_STAGE_KILLED;
	return 0;
}

/*
 * Nice -20 weighs as much as 87 threads at nice 0.  When 2,000 of them are
 * woken to die we come last, and each of them takes its time: so for as long
 * as it takes to have the memory back we are the lowest of real-time.
 */
static void hurry(struct release *r, const struct victim *v, bool on)
{
	struct sched_param param = { .sched_priority = on };

	if (r->in_helper && v->rep.threads > MANY_THREADS)
		sys_sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER,
				       &param);
}

static void start_second(struct release *r, struct victim *v)
{
	r->second_go = 0;
	r->second.pid = 0;
	if (private_bytes(&v->rep.before) < SECOND_REAPER_BYTES ||
	    cpus_count(&r->cpus) < 2)
		return;
	r->second.fn = second_reaper;
	r->second.arg = r;
	if (helper_start(&r->second) < 0)
		r->second.pid = 0;
}

/* All of it for one process; in a helper where there can be one. */
static void release_one(void *arg)
{
	struct release *r = arg;
	struct victim *v = r->v;
	struct proc_stat st;
	int ret = 0;

	if (r->in_helper)
		sys_setpriority(PRIO_PROCESS, 0, -20);
	if (victim_execed(v, &st))
		victim_renew(v);
	victim_measure(v);
	if (r->opts.flags & MRELEASE_KILL_SHARERS)
		ret = sharers_check(r, v);
	if (ret == -EPERM)
		goto out;
	if (r->opts.soft_signal) {
		ret = release_soft(r, v);
		if (ret > 0)
			goto exited;
		if (ret < 0)
			goto out;
	}
	if (r->in_helper && !(r->opts.flags & MRELEASE_NO_PIN) &&
	    pin_seize(v, r->scratch) == 0)
		v->rep.stage = MRELEASE_STAGE_PINNED;
	else
		v->rep.notes |= MRELEASE_NOTE_NO_PIN;
	if (!r->series)
		threads_note(v, r->tids, r->scratch);
	if (r->cache)
		cache_open(r->cache, v, r->scratch);
	hurry(r, v, true);
	if (r->in_helper)
		start_second(r, v);
	ret = release_kill(r, v);
	if (ret < 0) {
		second_stop(r, r->deadline_ns);
		goto out;
	}
	release_memory(r, v);
	hurry(r, v, false);
	if (v->rep.verified && r->opts.flags & MRELEASE_NO_WAIT_EXIT)
		goto finish;
	if (pin_drop(v, v->rep.verified && !r->deadline_given ?
				deadline_min(r->deadline_ns,
					     now_ns() + DEFAULT_EXIT_WAIT_NS) :
				r->deadline_ns) < 0) {
		/* It has not even come to its exit stop. */
		note_why_not_exited(v);
		goto finish;
	}
exited:
	release_wait_exit(r, v);
finish:
	release_finish(r, v);
	ret = 0;
out:
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

static void reap_zombie(void *arg)
{
	struct release *r = arg;

	sys_process_mrelease(r->v->pidfd, 0);
}

/*
 * There is nothing left to kill, and no address space to look at.  A patched
 * kernel has the memory back all the same, if somebody else holds it; in a
 * helper, because that can wait for a lock.
 */
int release_zombie(struct release *r)
{
	r->helper.fn = reap_zombie;
	r->helper.arg = r;
	if (helper_start(&r->helper) == 0 &&
	    helper_wait(&r->helper, r->deadline_ns) < 0)
		helper_kill(&r->helper);
	r->v->rep.result = MRELEASE_EXITED;
	return 0;
}

/* Run the release in a helper, and see to it that it ends. */
int release_run(struct release *r)
{
	struct victim *v = r->v;
	int64_t give_up_ns = r->deadline_ns;

	r->unpin = unpin_own;
	r->in_helper = true;
	r->helper.fn = release_one;
	r->helper.arg = r;
	if (helper_start(&r->helper) < 0) {
		r->in_helper = false;
		release_one(r);
		return r->ret;
	}
	/* The helper watches the deadline; this is for when it is stuck. */
	if (give_up_ns != MRELEASE_NO_DEADLINE)
		give_up_ns = MAX(give_up_ns, now_ns()) + NSEC_PER_SEC / 2;
	if (helper_wait(&r->helper, give_up_ns) < 0)
		helper_kill(&r->helper);
	if (v->done)
		return r->ret;
	/* Stuck in a lock of the victim's, or killed by somebody. */
	helper_gone(&r->second);
	/* Stuck in the call that kills and reaps, it cannot have said so. */
	if (r->series && !v->killed)
		v->killed = victim_is_killed(v);
	if (v->killed) {
		note_why_not_exited(v);
		release_finish(r, v);
		return 0;
	}
	return now_ns() >= r->deadline_ns ? -ETIMEDOUT : -EINTR;
}
