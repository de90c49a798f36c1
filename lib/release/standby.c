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
 *
 * It keeps the credentials of that thread.  A host that has dropped its own since
 * must not act with them, and may not send it a signal either: it is ordered to
 * end, and another is started.  It also keeps the memory and the files of its host
 * where that calls execve(), which no signal tells if the main thread prepared: a
 * tick does.
 */
#include <linux/capability.h>
#include <linux/futex.h>
#include <time.h>

#include "release/release.h"

#define KCMP_VM 1

static enum standby standby_get(const struct release *r)
{
	return __atomic_load_n(&r->standby, __ATOMIC_ACQUIRE);
}

static void standby_set(struct release *r, enum standby s)
{
	__atomic_store_n(&r->standby, s, __ATOMIC_RELEASE);
	sys_futex(&r->standby, FUTEX_WAKE, 1, NULL);
}

/*
 * It has called execve(), and nobody can give us an order any more.  A main thread
 * that has exited has no memory at all, and its process goes on: that it does at two
 * ticks in a row is neither of the moments in between.
 */
static bool host_has_left(const struct helper *h, unsigned int *ticks)
{
	if (sys_kcmp(sys_getpid(), h->parent, KCMP_VM) <= 0 ||
	    state_of_process(h->parent) == 'Z')
		*ticks = 0;
	else
		++*ticks;
	return *ticks > 1;
}

/* What decides on what a thread may do to others. */
static void get_credentials(struct credentials *c)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { 0 };

	sys_capget(&head, caps);
	c->effective = caps[0].effective | (uint64_t)caps[1].effective << 32;
	c->euid = sys_geteuid();
}

static bool same_credentials(const struct credentials *c)
{
	struct credentials now;

	get_credentials(&now);
	return now.euid == c->euid && now.effective == c->effective;
}

static void standby_main(void *arg)
{
	struct release *r = arg;
	unsigned int ticks = 0;

	release_prepare_main(r);
	/* As long as it waits it has nothing in hand (files.c). */
	r->helper.finished = true;
	standby_set(r, STANDBY_WAITS);
	while (standby_get(r) == STANDBY_WAITS &&
	       !host_has_left(&r->helper, &ticks))
		helper_wait_tick(&r->helper, &r->standby, STANDBY_WAITS);
	if (standby_get(r) != STANDBY_GO)
		return;
	r->helper.finished = false;
	__atomic_store_n(&r->standby, STANDBY_BEGUN, __ATOMIC_RELEASE);
	release_one(r);
}

bool standby_prepare(struct release *r, int64_t began_ns, int64_t until_ns)
{
	r->standby = STANDBY_PREPARES;
	get_credentials(&r->standby_as);
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
	if (standby_get(r) == STANDBY_WAITS) {
		helper_open_status(&r->helper);
		return true;
	}
	standby_end(r);
	return false;
}

bool standby_go(struct release *r)
{
	if (r->standby != STANDBY_WAITS)
		return false;
	/* After a fork(2) it is our parent's, and waits in its memory. */
	if (!helper_is_ours(&r->helper) || !helper_is_alive(&r->helper) ||
	    !same_credentials(&r->standby_as)) {
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
	helper_close_status(&r->helper);
	if (r->standby == STANDBY_NONE)
		return;
	if (!helper_is_ours(&r->helper)) {
		r->standby = STANDBY_NONE;
		helper_forget(&r->helper);
		return;
	}
	/* An order, which a host that may not send it a signal can give, too. */
	standby_set(r, STANDBY_NONE);
	release_end_helper(r);
}
