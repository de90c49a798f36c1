/* SPDX-License-Identifier: MIT */
/*
 * Freeze, kill, thaw: for kernels without cgroup.kill, and for v1.
 *
 * A cgroup frozen by us is never left frozen, not even when we are killed
 * (watchdog.c).
 */
#include <poll.h>
#include <string.h>

#include "group.h"

static void write_thaw(struct group *g)
{
	if (g->freezer.v1)
		sys_write(g->freezer.fd, "THAWED", 6);
	else
		sys_write(g->freezer.fd, "0", 1);
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
	ret = watchdog_start(g, write_thaw);
	if (ret < 0) {
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
	write_thaw(g);
	/* It uses the descriptor, and would use whoever has its number. */
	watchdog_stop(g);
	close_keep(&f->fd);
}
