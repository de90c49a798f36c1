/* SPDX-License-Identifier: MIT */
/*
 * A watchdog undoes what must not outlive us: a process that is stopped.  If we
 * are killed with SIGKILL nobody of us runs any more; so it is started before,
 * is told of the death of the host's thread by a signal, which it waits for, and
 * undoes.  When only the helper dies, that thread lives, and tells it.
 */
#include <linux/futex.h>
#include <sys/prctl.h>
#include <time.h>

#include "group/group.h"

static void watchdog_main(void *arg)
{
	const struct timespec tick = { .tv_nsec = NSEC_PER_SEC / 10 };
	uint64_t usr1 = 1ULL << (SIGUSR1 - 1);
	struct watchdog *w = arg;
	pid_t parent = w->helper.parent;

	/* Not SIGKILL: there is something left to do then. */
	sys_prctl(PR_SET_PDEATHSIG, SIGUSR1);
	__atomic_store_n(&w->watching, 1, __ATOMIC_RELEASE);
	sys_futex(&w->watching, FUTEX_WAKE, 1, NULL);
	/*
	 * A thread's death changes no number: then the signal alone tells.  A
	 * host that has become another user may not send it: then the number.
	 */
	while (sys_getppid() == parent &&
	       sys_sigtimedwait(&usr1, &tick) != SIGUSR1)
		;
	w->undo(w->g);
}

/*
 * Only a watchdog that would hear of our death is one:
 *
 *	we				the watchdog
 *	clone()
 *					dies with its parent, as helpers do
 *	send SIGSTOP
 *	are killed			is killed too: stopped for ever
 */
int watchdog_start(struct group *g, void (*undo)(struct group *g))
{
	struct timespec ts = { .tv_nsec = 100 * NSEC_PER_MSEC };
	struct watchdog *w = &g->watchdog;
	int ret;

	/* One that was killed is its parent's to wait for: there is no other. */
	if (w->helper.pid)
		return -ECHILD;
	w->g = g;
	w->undo = undo;
	w->watching = 0;
	w->helper.fn = watchdog_main;
	w->helper.arg = w;
	w->helper.stack = w->stack;
	w->helper.stack_size = sizeof(w->stack);
	ret = helper_start_beside(&w->helper, &g->helper);
	if (ret < 0)
		return ret;
	while (!__atomic_load_n(&w->watching, __ATOMIC_ACQUIRE)) {
		if (!__atomic_load_n(&w->helper.alive, __ATOMIC_ACQUIRE)) {
			watchdog_stop(g);
			return -ECHILD;
		}
		sys_futex(&w->watching, FUTEX_WAIT, 0, &ts);
	}
	return 0;
}

/* What it watched over has been undone. */
void watchdog_stop(struct group *g)
{
	struct helper *h = &g->watchdog.helper;

	if (h->pid > 0)
		sys_kill(h->pid, SIGKILL);
	helper_gone(h, MRELEASE_NO_DEADLINE);
}

void watchdog_tell(struct group *g)
{
	if (helper_is_alive(&g->watchdog.helper))
		sys_kill(g->watchdog.helper.pid, SIGUSR1);
}
