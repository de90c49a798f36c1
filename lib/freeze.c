/* SPDX-License-Identifier: MIT */
/*
 * Freeze, kill, thaw: for kernels without cgroup.kill, and for v1.
 *
 * A cgroup frozen by us is never left frozen.  If we are killed with SIGKILL
 * in between nobody of us runs any more; so a watchdog helper is started
 * before the freeze.  It is told of its parent's death by a signal, which it
 * waits for, and thaws.
 */
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "group.h"

static void write_thaw(const struct freezer *f)
{
	if (f->v1)
		sys_write(f->fd, "THAWED", 6);
	else
		sys_write(f->fd, "0", 1);
}

static void watchdog_main(void *arg)
{
	uint64_t usr1 = 1ULL << (SIGUSR1 - 1);
	struct freezer *f = arg;
	pid_t parent = f->watchdog.parent;

	/* Not SIGKILL: there is something left to do then. */
	sys_prctl(PR_SET_PDEATHSIG, SIGUSR1);
	__atomic_store_n(&f->watched, 1, __ATOMIC_RELEASE);
	sys_futex(&f->watched, FUTEX_WAKE, 1, NULL);
	if (sys_getppid() == parent)
		sys_sigtimedwait(&usr1, NULL);
	if (sys_getppid() != parent)
		write_thaw(f);
}

/*
 * Only a watchdog that would hear of our death is one:
 *
 *	we				the watchdog
 *	clone()
 *					dies with its parent, as helpers do
 *	write FROZEN
 *	are killed			is killed too: frozen for ever
 */
static int watchdog_start(struct freezer *f)
{
	struct timespec ts = { .tv_nsec = 100 * NSEC_PER_MSEC };
	int ret;

	f->watched = 0;
	f->watchdog.fn = watchdog_main;
	f->watchdog.arg = f;
	f->watchdog.stack = f->stack;
	f->watchdog.stack_size = sizeof(f->stack);
	ret = helper_start(&f->watchdog);
	if (ret < 0)
		return ret;
	while (!__atomic_load_n(&f->watched, __ATOMIC_ACQUIRE)) {
		if (!__atomic_load_n(&f->watchdog.alive, __ATOMIC_ACQUIRE))
			return -ECHILD;
		sys_futex(&f->watched, FUTEX_WAIT, 0, &ts);
	}
	return 0;
}

static bool is_frozen(struct group *g)
{
	struct cgroup_events ev;
	char buf[256];
	long len;

	if (g->freezer.v1) {
		len = read_file(g->fd, "freezer.state", buf, sizeof(buf));
		return len > 0 && has_prefix(buf, len, "FROZEN");
	}
	len = read_file(g->fd, "cgroup.events", buf, sizeof(buf));
	return len > 0 && parse_cgroup_events(buf, len, &ev) == 0 &&
	       ev.frozen == 1;
}

static void wait_frozen(struct group *g)
{
	/* A member in D state never freezes: half a second, then go on. */
	int64_t until =
		deadline_min(g->base.deadline_ns, now_ns() + NSEC_PER_SEC / 2);
	cleanup_fd int fd = -EBADF;
	char buf[256];

	if (!g->freezer.v1)
		fd = sys_openat(g->fd, "cgroup.events", O_RDONLY);
	while (!is_frozen(g) && now_ns() < until) {
		if (fd >= 0) {
			read_at(fd, buf, sizeof(buf));
			if (is_frozen(g))
				return;
			wait_fd(fd, POLLPRI, until);
		} else {
			/* v1 has no event; reading the state moves it on. */
			pause_until(now_ns() + NSEC_PER_MSEC);
		}
	}
}

int freeze(struct group *g)
{
	struct freezer *f = &g->freezer;
	int ret;

	f->fd = sys_openat(g->fd, "cgroup.freeze", O_RDWR);
	if (f->fd < 0) {
		f->fd = sys_openat(g->fd, "freezer.state", O_RDWR);
		f->v1 = true;
	}
	if (f->fd < 0)
		return f->fd;
	ret = watchdog_start(f);
	if (ret < 0) {
		helper_kill(&f->watchdog);
		close_keep(&f->fd);
		return ret;
	}
	ret = f->v1 ? sys_write(f->fd, "FROZEN", 6) : sys_write(f->fd, "1", 1);
	if (ret < 0) {
		thaw(g);
		return ret;
	}
	wait_frozen(g);
	return 0;
}

/*
 * Also one that somebody else froze: on v1 the members cannot die frozen,
 * and none of them runs its own code any more.
 */
void thaw(struct group *g)
{
	struct freezer *f = &g->freezer;

	if (f->fd < 0)
		return;
	write_thaw(f);
	close_keep(&f->fd);
	helper_kill(&f->watchdog);
}
