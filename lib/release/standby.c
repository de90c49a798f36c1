/* SPDX-License-Identifier: MIT */
/*
 * A helper that was started with the preparation, and waits for its order.
 *
 * When memory is short, clone() may have to reclaim some for the kernel stack
 * of a new process, which takes longer than all else before the signal.  So a
 * daemon has it made ahead (MRELEASE_STANDBY).  The order is one futex wake.
 *
 * It dies with the thread that prepared it (PR_SET_PDEATHSIG), which need not
 * be the one that releases:
 *
 *	the thread that prepared	the one that releases
 *					the helper is alive: the order
 *	exits, and the helper dies
 *					it has not begun: another is started
 */
#include <linux/futex.h>
#include <time.h>

#include "release/release.h"

static enum standby standby_get(const struct release *r)
{
	return __atomic_load_n(&r->standby, __ATOMIC_ACQUIRE);
}

static void standby_set(struct release *r, enum standby s)
{
	__atomic_store_n(&r->standby, s, __ATOMIC_RELEASE);
	sys_futex(&r->standby, FUTEX_WAKE, 1, NULL);
}

static void standby_main(void *arg)
{
	struct release *r = arg;

	release_prepare_main(r);
	/* As long as it waits it has nothing in hand (files.c). */
	r->helper.finished = true;
	standby_set(r, STANDBY_WAITS);
	while (standby_get(r) == STANDBY_WAITS)
		sys_futex(&r->standby, FUTEX_WAIT, STANDBY_WAITS, NULL);
	r->helper.finished = false;
	__atomic_store_n(&r->standby, STANDBY_BEGUN, __ATOMIC_RELEASE);
	release_one(r);
}

bool standby_prepare(struct release *r, int64_t began_ns, int64_t until_ns)
{
	r->standby = STANDBY_PREPARES;
	if (!release_start_helper(r, standby_main)) {
		r->standby = STANDBY_NONE;
		return false;
	}
	while (standby_get(r) == STANDBY_PREPARES) {
		int64_t left = until_ns - now_ns();
		struct timespec ts = {
			.tv_sec = left / NSEC_PER_SEC,
			.tv_nsec = left % NSEC_PER_SEC,
		};

		/* One that was killed tells nobody: the time is short. */
		if (left <= 0 && release_may_wait(r, began_ns, &until_ns))
			continue;
		if (left <= 0)
			break;
		sys_futex(&r->standby, FUTEX_WAIT, STANDBY_PREPARES, &ts);
	}
	if (standby_get(r) == STANDBY_WAITS)
		return true;
	standby_end(r);
	return false;
}

bool standby_go(struct release *r)
{
	if (r->standby != STANDBY_WAITS)
		return false;
	/* After a fork(2) it is our parent's, and waits in its memory. */
	if (!helper_is_ours(&r->helper) || !helper_is_alive(&r->helper)) {
		standby_end(r);
		return false;
	}
	standby_set(r, STANDBY_GO);
	return true;
}

bool standby_never_began(const struct release *r)
{
	return standby_get(r) == STANDBY_GO && !r->helper.pid;
}

void standby_end(struct release *r)
{
	if (r->standby == STANDBY_NONE)
		return;
	r->standby = STANDBY_NONE;
	if (helper_is_ours(&r->helper))
		release_end_helper(r);
	else
		helper_forget(&r->helper);
}
