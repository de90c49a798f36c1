/* SPDX-License-Identifier: MIT */
/*
 * A cgroup's own files: what kills it, what tells that it is empty, who is in
 * it.  None of these calls waits for a member, so the caller's own thread may
 * make them; its stack may be small.
 */
#include <dirent.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/statfs.h>

#include "group/group.h"

/* Deeper than any hierarchy that systemd or a runtime makes. */
#define MAX_DEPTH 48

void cgroup_files_init(struct cgroup_files *f)
{
	f->v2 = false;
	f->kill_fd = f->events_fd = -EBADF;
}

void cgroup_files_close(struct cgroup_files *f)
{
	close_keep(&f->kill_fd);
	close_keep(&f->events_fd);
}

static int refuse(int *ret_refusal)
{
	*ret_refusal = MRELEASE_REFUSE_CGROUP;
	return -EPERM;
}

/*
 * The root has no cgroup.events: nothing there can be waited for.  One that has been
 * removed has no file at all; nobody is in it, and that is no refusal.
 */
static int without_events(int fd, int *ret_refusal)
{
	cleanup_fd int procs = sys_openat(fd, "cgroup.procs", O_RDONLY);

	return procs == -ENOENT ? -ESRCH : refuse(ret_refusal);
}

/*
 * What kind of cgroup is it, and may it be killed at all?  What the kill needs
 * is opened here and kept: later the members may have taken every descriptor.
 */
int cgroup_files_open(struct cgroup_files *f, int fd, int *ret_refusal)
{
	int flags = sys_fcntl(fd, F_GETFL, 0);
	struct statfs sfs;
	char buf[64];
	long len;

	/* O_PATH cannot list what is below. */
	if (flags < 0 || flags & O_PATH || sys_fstatfs(fd, &sfs) < 0)
		return -EBADF;
	if (sfs.f_type != CGROUP2_SUPER_MAGIC &&
	    sfs.f_type != CGROUP_SUPER_MAGIC)
		return refuse(ret_refusal);
	f->v2 = sfs.f_type == CGROUP2_SUPER_MAGIC;
	if (!f->v2)
		return 0;
	f->kill_fd = sys_openat(fd, "cgroup.kill", O_WRONLY);
	f->events_fd = sys_openat(fd, "cgroup.events", O_RDONLY);
	if (f->events_fd == -ENOENT)
		return without_events(fd, ret_refusal);
	len = read_file(fd, "cgroup.type", buf, sizeof(buf));
	if (len > 0 && has_prefix(buf, len, "threaded"))
		return refuse(ret_refusal);
	return 0;
}

bool cgroup_has_kill(const struct cgroup_files *f)
{
	return f->kill_fd >= 0;
}

int cgroup_kill_all(const struct cgroup_files *f)
{
	long ret = sys_write(f->kill_fd, "1", 1);

	return ret < 0 ? (int)ret : 0;
}

int cgroup_wait_unpopulated(const struct cgroup_files *f, int64_t deadline_ns)
{
	struct cgroup_events ev;
	char buf[256];
	long len;

	for (;;) {
		len = read_at(f->events_fd, buf, sizeof(buf));
		/* Removed by its owner, as only an empty one can be. */
		if (len == -ENODEV)
			return 1;
		if (len < 0)
			return len;
		if (parse_cgroup_events(buf, len, &ev) < 0)
			return -EINVAL;
		if (!ev.populated)
			return 1;
		/* POLLPRI since that read: no change is missed. */
		if (wait_fd(f->events_fd, POLLPRI, deadline_ns) <= 0)
			return 0;
	}
}

/* The buffers of this one are not on the stack while walk_below() recurses. */
__attribute__((noinline)) static int walk_procs(struct cgroup_walk *w,
						int dir_fd, bool top)
{
	cleanup_fd int fd = sys_openat(dir_fd, "cgroup.procs", O_RDONLY);
	uint64_t offset = 0, listed = 0;
	const char *line;
	struct lines l;
	char buf[1024];
	size_t len;
	int ret;

	/* Removed meanwhile. */
	if (fd == -ENOENT || fd == -ENODEV)
		return 0;
	if (fd < 0)
		return fd;
	lines_open(&l, fd, buf, sizeof(buf));
	while (lines_next(&l, &line, &len)) {
		const char *p = line;
		pid_t pid;

		if (l.offset != offset) {
			offset = l.offset;
			listed = boot_ticks();
		}
		if (!parse_next_pid(&p, line + len, &pid))
			continue;
		ret = w->fn(w->arg, pid, listed);
		if (ret < 0)
			return ret;
	}
	/*
	 * Threaded.  Its processes are listed by the domain above it, which
	 * has been read, unless the target is threaded itself.
	 */
	if (l.error == -EOPNOTSUPP)
		return top ? -EOPNOTSUPP : 0;
	return l.error == -ENODEV ? 0 : l.error;
}

/* A cgroup that has been removed was empty. */
static void miss(struct cgroup_walk *w, int error)
{
	if (error == -ENOENT || error == -ENODEV)
		return;
	if (is_scarcity(error))
		error = -EMFILE;
	/* Other errors count more: they stay when there are descriptors. */
	if (!w->missed || w->missed == -EMFILE)
		w->missed = error;
}

static int walk_below(struct cgroup_walk *w, int dir_fd, unsigned int depth)
{
	cleanup_fd int list_fd = -EBADF;
	const struct dirent64 *e;
	struct dents d;
	char buf[512];
	int ret;

	ret = walk_procs(w, dir_fd, !depth);
	if (is_scarcity(ret) || ret == -EACCES) {
		miss(w, ret);
		ret = 0;
	}
	if (ret < 0)
		return ret;
	/* An open file of ours: another thread may use the offset of the caller's. */
	list_fd = sys_openat(dir_fd, ".", O_RDONLY | O_DIRECTORY);
	if (list_fd < 0) {
		miss(w, list_fd);
		return 0;
	}
	dents_open(&d, list_fd, buf, sizeof(buf));
	while ((e = dents_next(&d))) {
		const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
		cleanup_fd int fd = -EBADF;

		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") ||
		    !strcmp(e->d_name, ".."))
			continue;
		fd = depth == MAX_DEPTH ? -ELOOP :
					  sys_openat(dir_fd, e->d_name, flags);
		if (fd < 0) {
			miss(w, fd);
			continue;
		}
		ret = walk_below(w, fd, depth + 1);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int cgroup_walk(struct cgroup_walk *w, int dir_fd)
{
	w->missed = 0;
	return walk_below(w, dir_fd, 0);
}

uint64_t cgroup_number(int dir_fd, const char *name)
{
	char buf[64];
	const char *p = buf;
	uint64_t n = 0;
	long len = read_file(dir_fd, name, buf, sizeof(buf));

	if (len > 0)
		parse_u64(&p, buf + len, &n);
	return n;
}

bool cgroup_is_uncharged(int fd, bool v2, struct scratch *s)
{
	uint64_t anon, swap = 0;
	long len;

	len = read_file(fd, "memory.stat", s->buf, sizeof(s->buf));
	if (len <= 0 ||
	    parse_key_u64(s->buf, len, v2 ? "anon" : "total_rss", &anon) < 0)
		return false;
	if (v2)
		swap = cgroup_number(fd, "memory.swap.current");
	else
		parse_key_u64(s->buf, len, "total_swap", &swap);
	return !anon && !swap;
}
