/* SPDX-License-Identifier: MIT */
/*
 * A kernel with the series of kernel/: it kills and reaps in one call, finds
 * the memory of who has exited, leaves robust futexes to their exit, and takes
 * page cache along when asked.
 *
 * No version tells.  Flags are checked before the descriptor: EBADF is a kernel
 * that knows them.  One of these numbers may get another meaning upstream one
 * day; who knows all of them has the series.
 */
#include "release/release.h"

#define PIDFD_SIGNAL_EXPEDITE	   (1U << 3)
#define PIDFD_SIGNAL_EVICT	   (1U << 4)
#define PROCESS_MRELEASE_REAP_KILL (1U << 0)
#define PROCESS_MRELEASE_EVICT	   (1U << 1)

static int expedite(int pidfd, unsigned int flags)
{
	return sys4(SYS_pidfd_send_signal, pidfd, SIGKILL, 0,
		    PIDFD_SIGNAL_EXPEDITE | flags);
}

int series_expedites(void)
{
	int ret = expedite(-1, 0);

	return ret == -EBADF ? 1 : ret;
}

bool series_is_there(void)
{
	return expedite(-1, PIDFD_SIGNAL_EVICT) == -EBADF &&
	       sys_process_mrelease(-1, PROCESS_MRELEASE_REAP_KILL) == -EBADF &&
	       sys_process_mrelease(-1, PROCESS_MRELEASE_EVICT) == -EBADF;
}

int series_kill(struct release *r, struct victim *v)
{
	if (!v->use_kill && !v->is_dir &&
	    expedite(v->pidfd, r->cache ? PIDFD_SIGNAL_EVICT : 0) == 0)
		return 0;
	/* Whatever it was, the plain signal has the word for it. */
	return victim_signal(v, SIGKILL);
}

int series_reap(const struct release *r, const struct victim *v)
{
	return sys_process_mrelease(
		v->pidfd, r->series && r->cache ? PROCESS_MRELEASE_EVICT : 0);
}
