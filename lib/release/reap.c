/* SPDX-License-Identifier: MIT */
/* process_mrelease(2), and what to make of each of its answers. */
#include <linux/futex.h>
#include <time.h>

#include "release/release.h"

/* Somebody living shares the memory: who, and may we end that? */
static int shared_with(struct release *r, struct victim *v)
{
	struct sharers found;
	int ret;

	if (r->opts.flags & MRELEASE_KILL_SHARERS) {
		sharers_kill(r, v);
		if (!sharers_exit(r))
			return -EBUSY;
	}
	ret = sharers_find(v, r->scratch, NULL, NULL, &found);
	if (ret < 0)
		return ret;
	if (found.count) {
		v->rep.sharers = found.count;
		v->rep.sharer_pid = found.first;
	}
	return found.count;
}

/*
 * EINVAL: not dying yet as a whole, dumping core, or a living sharer.  The
 * first two end by themselves, the last does only when asked for.
 */
static int not_yet(struct release *r, struct victim *v, int64_t give_up_ns)
{
	struct proc_status st;

	if (victim_status(v, &st) == 0 && st.dumping_core) {
		v->rep.notes |= MRELEASE_NOTE_COREDUMP;
		give_up_ns = r->deadline_ns;
	} else {
		int ret = shared_with(r, v);

		if (ret == -EBUSY ||
		    (ret > 0 && !(r->opts.flags & MRELEASE_KILL_SHARERS))) {
			v->rep.notes |= MRELEASE_NOTE_SHARED;
			return -EBUSY;
		}
	}
	if (now_ns() >= deadline_min(give_up_ns, r->deadline_ns))
		return -EBUSY;
	victim_wait_exit(v, now_ns() + NSEC_PER_MSEC);
	return 0;
}

/* 0: done.  -ESRCH: no mm to be found.  -EBUSY: shared.  -ENOSYS. */
static int reap_one(struct release *r, struct victim *v)
{
	int64_t give_up_ns = now_ns() + 200 * NSEC_PER_MSEC;
	unsigned int again = 0;
	int ret;

	/* The second reaper takes the other turns; see release.c. */
	if (r->second.pid > 0)
		sys_getcpu(&r->first_cpu);
	second_reaps(r);
	for (;;) {
		ret = series_reap(r, v);
		switch (ret) {
		case 0:
			v->reaped = true;
			return 0;
		case -EINTR:
			break;
		case -EAGAIN:
			/* An mmu notifier could not run: it soon can. */
			if (now_ns() >= r->deadline_ns)
				return ret;
			if (again++ > 16)
				victim_wait_exit(v, now_ns() + NSEC_PER_MSEC);
			break;
		case -EINVAL:
			ret = not_yet(r, v, give_up_ns);
			if (ret < 0)
				return ret;
			break;
		case -ESRCH:
			return ret;
		default:
			v->rep.notes |= MRELEASE_NOTE_NO_MRELEASE;
			return -ENOSYS;
		}
	}
}

/*
 * Pages that another worker has taken out of the page tables are back only
 * when its call returns: nothing is looked at before that.  One that was
 * killed in it has come back, too, when it lives no more; it wakes nobody.
 */
static void wait_for_help(struct release *r, struct victim *v)
{
	struct timespec ts = { .tv_nsec = 10 * NSEC_PER_MSEC };
	uint32_t n;

	__atomic_store_n(&v->reaping, 0, __ATOMIC_SEQ_CST);
	if (!r->alive_workers)
		return;
	while ((n = __atomic_load_n(&v->helping, __ATOMIC_SEQ_CST)) &&
	       n & r->alive_workers(r))
		sys_futex(&v->helping, FUTEX_WAIT, n, &ts);
}

int reap(struct release *r, struct victim *v)
{
	int ret;

	__atomic_store_n(&v->reaping, 1, __ATOMIC_SEQ_CST);
	ret = reap_one(r, v);
	wait_for_help(r, v);
	return ret;
}
