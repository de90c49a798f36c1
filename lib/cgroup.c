/* SPDX-License-Identifier: MIT */
/* Every process below a cgroup, v2 or v1. */
#include <dirent.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <poll.h>
#include <string.h>
#include <sys/statfs.h>

#include "group.h"

/* Deeper than any hierarchy that systemd or a runtime makes. */
#define MAX_DEPTH 48

/* Until it is a zombie, which is after it has left its cgroup. */
static void wait_leaving(struct group *g, pid_t pid)
{
	int64_t until = deadline_min(g->base.deadline_ns,
				     now_ns() + 10 * NSEC_PER_MSEC);
	struct victim v;

	victim_init(&v);
	if (victim_open_pid(&v, pid, &g->base.self) == 0)
		victim_wait_exit(&v, until);
	else
		pause_until(deadline_min(until, now_ns() + NSEC_PER_MSEC));
	victim_close(&v);
}

static int collect_procs(struct group *g, int dir_fd)
{
	cleanup_fd int fd = sys_openat(dir_fd, "cgroup.procs", O_RDONLY);
	const char *line;
	struct lines l;
	char buf[4096];
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

		if (!parse_next_pid(&p, line + len, &pid))
			continue;
		ret = group_add(g, pid);
		if (ret < 0)
			return ret;
		if (!g->met_dying)
			continue;
		g->dying = true;
		if (g->leaving)
			wait_leaving(g, pid);
	}
	if (l.error == -EOPNOTSUPP) {
		g->rep.refusal = MRELEASE_REFUSE_CGROUP;
		return -EPERM;
	}
	return l.error == -ENODEV ? 0 : l.error;
}

static int collect_below(struct group *g, int dir_fd, unsigned int depth)
{
	char dents[2048];
	long len;
	int ret;

	ret = collect_procs(g, dir_fd);
	if (ret < 0 || depth == MAX_DEPTH)
		return ret;
	sys_lseek(dir_fd, 0, SEEK_SET);
	while ((len = sys_getdents64(dir_fd, dents, sizeof(dents))) > 0) {
		for (long off = 0; off < len;) {
			struct dirent64 *d = (void *)(dents + off);
			cleanup_fd int fd = -EBADF;

			off += d->d_reclen;
			if (d->d_type != DT_DIR || !strcmp(d->d_name, ".") ||
			    !strcmp(d->d_name, ".."))
				continue;
			fd = sys_openat(dir_fd, d->d_name,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
			if (fd < 0)
				continue;
			ret = collect_below(g, fd, depth + 1);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* What kind of cgroup is it, and may it be killed at all? */
static int look_at(struct group *g)
{
	int flags = sys_fcntl(g->fd, F_GETFL, 0);
	struct statfs sfs;
	struct statx stx;
	char buf[64];
	long len;

	/* O_PATH cannot list what is below. */
	if (flags < 0 || flags & O_PATH || sys_fstatfs(g->fd, &sfs) < 0)
		return -EBADF;
	if (sfs.f_type != CGROUP2_SUPER_MAGIC &&
	    sfs.f_type != CGROUP_SUPER_MAGIC) {
		g->rep.refusal = MRELEASE_REFUSE_CGROUP;
		return -EPERM;
	}
	g->v2 = sfs.f_type == CGROUP2_SUPER_MAGIC;
	if (!g->v2)
		return 0;
	/* The root has no events: nothing there can be waited for. */
	if (sys_statx(g->fd, "cgroup.events", 0, STATX_INO, &stx) < 0) {
		g->rep.refusal = MRELEASE_REFUSE_CGROUP;
		return -EPERM;
	}
	len = read_file(g->fd, "cgroup.type", buf, sizeof(buf));
	if (len > 0 && has_prefix(buf, len, "threaded")) {
		g->rep.refusal = MRELEASE_REFUSE_CGROUP;
		return -EPERM;
	}
	g->has_kill = sys_statx(g->fd, "cgroup.kill", 0, STATX_INO, &stx) == 0;
	return 0;
}

static int cgroup_collect(struct group *g)
{
	int ret;

	if (!g->nr) {
		ret = look_at(g);
		if (ret < 0)
			return ret;
	}
	return collect_below(g, g->fd, 0);
}

static int cgroup_hold(struct group *g)
{
	int ret;

	/*
	 * Without cgroup.kill the members must not fork between the listing
	 * and the signals: frozen, and then listed again.
	 */
	if (!g->has_kill && freeze(g) == 0) {
		ret = cgroup_collect(g);
		if (ret < 0)
			return ret;
		group_sort(g);
	}
	if (g->base.opts.flags & MRELEASE_NO_PIN) {
		for (size_t i = 0; i < g->nr; i++)
			g->victims[i].rep.notes |= MRELEASE_NOTE_NO_PIN;
		return 0;
	}
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = &g->victims[i];

		victim_complete(v);
		/* It had a soft signal's grace to be gone in. */
		if (group_gone(g, v) || pin_seize(v, &g->scratch) < 0)
			v->rep.notes |= MRELEASE_NOTE_NO_PIN;
		group_ready(g, v);
	}
	return 0;
}

/*
 * New ones until there are none; what is dying may still be listed.  Once
 * one of them is signalled, one that may not be (a set-user-ID program, say)
 * is no refusal any more: it keeps the cgroup populated, and that is said.
 */
static int kill_rounds(struct group *g)
{
	size_t known;
	int ret;

	ret = group_signal(g, SIGKILL);
	if (ret < 0)
		return ret;
	do {
		known = g->nr;
		if (cgroup_collect(g) < 0)
			break;
		for (size_t i = known; i < g->nr; i++)
			victim_signal(&g->victims[i], SIGKILL);
	} while (g->nr > known && now_ns() < g->base.deadline_ns);
	return 0;
}

static int cgroup_kill(struct group *g)
{
	cleanup_fd int fd = -EBADF;
	bool killed = false;
	int ret;

	if (g->has_kill) {
		fd = sys_openat(g->fd, "cgroup.kill", O_WRONLY);
		killed = fd >= 0 && sys_write(fd, "1", 1) == 1;
	}
	/*
	 * Also after cgroup.kill.  Of a process whose leader is a zombie the
	 * kernel (6.18) kills the leader only, the live threads run on; a
	 * pidfd's signal is for the whole process.  And who was forked since
	 * the listing may share a member's memory (shared.c).
	 */
	ret = kill_rounds(g);
	thaw(g);
	return killed ? 0 : ret;
}

/*
 * v1 has no event for it: the members' pidfds, then a look at the list.  Who is
 * past its memory, and was no member of ours for that, is listed a moment longer.
 */
static int wait_listed(struct group *g, int64_t deadline_ns)
{
	size_t waited = 0;

	for (;;) {
		for (; waited < g->nr; waited++) {
			struct victim *v = &g->victims[waited];

			if (victim_wait_exit(v, deadline_ns) <= 0)
				return 0;
			group_note_dead(g, v);
		}
		g->leaving = true;
		g->dying = false;
		if (kill_rounds(g) < 0)
			return 0;
		if (waited == g->nr && !g->dying)
			return 1;
		if (now_ns() >= deadline_ns)
			return 0;
		for (size_t i = waited; i < g->nr; i++) {
			g->victims[i].killed = true;
			g->victims[i].kill_ns = g->kill_ns;
		}
	}
}

static int cgroup_wait_empty(struct group *g, int64_t deadline_ns)
{
	cleanup_fd int fd = -EBADF;
	struct cgroup_events ev;
	char buf[256];
	long len;

	if (!g->v2)
		return wait_listed(g, deadline_ns);
	fd = sys_openat(g->fd, "cgroup.events", O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENODEV;
	for (;;) {
		len = read_at(fd, buf, sizeof(buf));
		/* Removed by its owner, as only an empty one can be. */
		if (len < 0)
			return len == -ENODEV;
		if (parse_cgroup_events(buf, len, &ev) < 0)
			return 0;
		if (!ev.populated)
			return 1;
		/* POLLPRI since that read: no change is missed. */
		if (wait_fd(fd, POLLPRI, deadline_ns) <= 0)
			return 0;
	}
}

static uint64_t number_in(int dir_fd, const char *name)
{
	char buf[64];
	const char *p = buf;
	uint64_t n = 0;
	long len = read_file(dir_fd, name, buf, sizeof(buf));

	if (len > 0)
		parse_u64(&p, buf + len, &n);
	return n;
}

/* What is still charged once nobody is left: page cache, if asked for. */
static void give_back_charges(struct group *g)
{
	const char *current = g->v2 ? "memory.current" :
				      "memory.usage_in_bytes";
	cleanup_fd int fd = -EBADF;
	uint64_t before, after;
	char amount[32];

	before = number_in(g->fd, current);
	if (!before)
		return;
	if (g->v2)
		fd = sys_openat(g->fd, "memory.reclaim", O_WRONLY);
	else
		fd = sys_openat(g->fd, "memory.force_empty", O_WRONLY);
	if (fd < 0)
		return;
	path_number(amount, "", g->v2 ? before : 0, "");
	/* EAGAIN: not all of it could be reclaimed. */
	sys_write(fd, amount, strlen(amount));
	after = number_in(g->fd, current);
	if (after < before)
		g->rep.cache_evicted_bytes += before - after;
}

/*
 * No page tables could tell, but the memory controller can; of what is charged
 * here.  What a member had when it was moved here is charged elsewhere, so it
 * says nothing against a member that was seen not to be back.
 */
static void ask_memcg(struct group *g)
{
	char *buf = g->scratch.buf;
	uint64_t anon, swap = 0;
	long len;

	for (size_t i = 0; i < g->nr; i++) {
		const struct victim *v = &g->victims[i];

		if (v->killed && !v->rep.verified &&
		    !(v->rep.notes & MRELEASE_NOTE_CANNOT_VERIFY))
			return;
	}
	len = read_file(g->fd, "memory.stat", buf, 65536);
	if (len <= 0 ||
	    parse_key_u64(buf, len, g->v2 ? "anon" : "total_rss", &anon) < 0)
		return;
	if (g->v2)
		swap = number_in(g->fd, "memory.swap.current");
	else
		parse_key_u64(buf, len, "total_swap", &swap);
	if (anon || swap)
		return;
	g->rep.verified = 1;
	g->rep.evidence = MRELEASE_EVIDENCE_MEMCG;
	g->rep.result = MRELEASE_RELEASED;
	g->rep.release_ns = now_ns() - g->kill_ns;
}

static void cgroup_finish(struct group *g)
{
	thaw(g);
	if (g->rep.stage != MRELEASE_STAGE_EXITED)
		return;
	if (!g->rep.verified)
		ask_memcg(g);
	if (g->base.opts.flags & MRELEASE_EVICT_CACHE)
		give_back_charges(g);
}

static const struct group_ops cgroup_ops = {
	.collect = cgroup_collect,
	.hold = cgroup_hold,
	.kill = cgroup_kill,
	.wait_empty = cgroup_wait_empty,
	.finish = cgroup_finish,
};

int mrelease_cgroup(int cgroup_fd, const struct mrelease_opts *opts,
		    struct mrelease_report *report,
		    struct mrelease_report *members, size_t *nr_members)
{
	return group_run(cgroup_fd, &cgroup_ops, opts, report, members,
			 nr_members);
}
