/* SPDX-License-Identifier: MIT */
/*
 * Many victims at once.
 *
 * The caller's thread waits; a helper with file descriptors of its own (the
 * host's limit is not touched, nor its table filled) opens all members,
 * pins them, kills, and lets workers have the memory back, biggest first.
 * A worker that finds the queue empty helps the others: it becomes a second
 * reaper of an address space that is still being reaped.
 */
#include <linux/futex.h>
#include <linux/major.h>
#include <linux/stat.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "group/group.h"

/* The default of fs.nr_open, beyond which nobody may go. */
#define MANY_FILES (1024 * 1024)
/* As many as a new table has room for from the start: NR_OPEN_DEFAULT. */
#define NR_COPIED 64

static void mark_killed(struct group *g, size_t from)
{
	for (size_t i = from; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		v->kill_ns = g->kill_ns;
		v->killed = true;
		v->rep.stage = MRELEASE_STAGE_KILLED;
		v->rep.prepare_ns = g->kill_ns - g->base.start_ns;
	}
}

/*
 * Members forked between the listing and the kill: the kernel kills them
 * with the rest (cgroup.kill) or g->ops->kill() did; now they are looked at.
 */
static void late_members(struct group *g)
{
	size_t kept = g->nr, known = g->nr;

	g->ops->collect(g);
	for (size_t i = known; i < g->nr; i++)
		victim_signal(g->victims[i], SIGKILL);
	mark_killed(g, known);
	/* The CPUs were visited before these were signalled (robust.c). */
	g->own.r.visited = false;
	for (size_t i = known; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		/*
		 * Dead before it was seen, as those are that no listing
		 * caught at all: "unpopulated" speaks for them.
		 */
		if (victim_mm_users(v) != 1) {
			victim_close(v);
			continue;
		}
		release_memory(&g->own.r, v);
		g->finished++;
		g->victims[kept++] = v;
	}
	g->nr = kept;
}

/*
 * What was counted before the soft signal may have been freed since, or given to
 * a child.  Of one that has exited that can no longer be counted, and is unsure.
 */
static void measure_again(struct group *g)
{
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];
		struct proc_stat st;

		if (victim_exited(v)) {
			v->rep.path = MRELEASE_PATH_SOFT;
			continue;
		}
		if (v->hands_off)
			continue;
		group_touch(g, v->pid);
		if (victim_execed(v, &st))
			victim_renew(v);
		victim_measure(v);
		group_touch(g, 0);
	}
}

/* 1: the soft signal emptied the group. */
static int group_soft(struct group *g)
{
	struct call *c = g->call;
	int64_t until;

	if (!c->soft_ns) {
		__atomic_store_n(&c->due_ns, 0, __ATOMIC_RELEASE);
		c->soft_ns = now_ns();
		group_signal(g, g->base.opts.soft_signal);
	}
	g->kill_ns = c->soft_ns;
	until = deadline_min(g->base.deadline_ns,
			     deadline_add(g->kill_ns, g->base.opts.grace_ns));
	for (size_t i = 0; i < g->nr; i++)
		if (victim_wait_exit(g->victims[i], until) > 0)
			group_note_dead(g, g->victims[i]);
	__atomic_store_n(&c->due_ns, now_ns(), __ATOMIC_RELEASE);
	measure_again(g);
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->rep.path != MRELEASE_PATH_SOFT)
			return 0;
	mark_killed(g, 0);
	/* Somebody may have forked meanwhile. */
	return g->ops->collect(g) == 0 && g->nr == g->rep.members;
}

/* Who shares a member's memory dies with it: all of them, or nobody does. */
static int check_sharers(struct group *g)
{
	if (!(g->base.opts.flags & MRELEASE_KILL_SHARERS))
		return 0;
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];
		int ret;

		if (v->hands_off)
			continue;
		group_touch(g, v->pid);
		ret = sharers_check(&g->base, v);
		group_touch(g, 0);
		if (ret == -EPERM)
			return -EPERM;
	}
	return 0;
}

static int group_kill(struct group *g)
{
	int ret;

	workers_start(g);
	if (g->ops->hold) {
		ret = g->ops->hold(g);
		/* A tree's members are known only now. */
		if (ret == 0 && g->is_tree)
			ret = check_sharers(g);
		if (ret < 0)
			return ret;
	}
	if (!call_killed(g->call))
		group_count(g);
	call_take_turn(g->call, &g->helper);
	call_kill_begins(g->call);
	if (!g->kill_ns)
		g->kill_ns = g->call->kill_ns;
	g->rep.prepare_ns = g->kill_ns - g->base.start_ns;
	if (g->base.opts.flags & MRELEASE_KILL_SHARERS)
		for (size_t i = 0; i < g->nr; i++)
			if (!g->victims[i]->hands_off)
				sharers_kill(&g->base, g->victims[i]);
	ret = g->ops->kill(g);
	if (ret < 0)
		return ret;
	mark_killed(g, 0);
	/* The caller was first: members exited while they were counted. */
	if (g->call->late)
		g->rep.notes |= MRELEASE_NOTE_NOT_READY;
	sharers_exit(&g->base);
	robust_visit(&g->base);
	shared_look(g);
	others_look(&g->base, g->victims, g->nr);
	for (unsigned int i = 0; i < MAX(g->nr_workers, 1u); i++) {
		g->workers[i]->r.visited = g->base.visited;
		g->workers[i]->r.sharer_left = g->base.sharer_left;
	}
	g->own.r.sharer_left = g->base.sharer_left;
	workers_go(g, 1);
	if (!g->nr_workers)
		work(g->workers[0]);
	tracer_loop(g);
	workers_join(g);
	late_members(g);
	return 0;
}

/* Not listed, one that hangs in its exit keeps a v2 cgroup populated. */
static bool nobody_there(const struct group *g)
{
	if (g->rep.notes & MRELEASE_NOTE_HANDLES || g->nr_foreign)
		return false;
	return g->is_tree || !g->files.v2 ||
	       cgroup_wait_unpopulated(&g->files, 0) > 0;
}

static int group_steps(struct group *g)
{
	int ret = g->ops->collect(g);

	g->all_opened = !call_killed(g->call);
	if (ret < 0)
		return ret;
	if (!g->nr && nobody_there(g))
		return -ESRCH;
	if (!g->is_tree || g->base.opts.flags & MRELEASE_DRY_RUN)
		group_sort(g);
	if (g->base.opts.flags & MRELEASE_DRY_RUN) {
		group_count(g);
		for (size_t i = 0; i < g->nr; i++) {
			g->victims[i]->rep.result = MRELEASE_WOULD_KILL;
			verdict_add(&g->rep, &g->victims[i]->rep);
		}
		group_account(g);
		g->rep.result = MRELEASE_WOULD_KILL;
		return 0;
	}
	ret = call_killed(g->call) ? 0 : check_sharers(g);
	if (ret < 0)
		return ret;
	if (g->base.opts.soft_signal && !call_killed(g->call)) {
		group_count(g);
		g->rep.members = g->nr;
		ret = group_soft(g);
		g->rep.members = 0;
		if (ret > 0) {
			group_exits(g);
			return 0;
		}
	}
	ret = group_kill(g);
	if (ret == 0)
		group_exits(g);
	return ret;
}

/* This process' own: as far as it goes, and beyond where root may. */
static void raise_limit(void)
{
	struct rlimit lim, most = { MANY_FILES, MANY_FILES };

	if (sys_prlimit(0, RLIMIT_NOFILE, NULL, &lim) < 0)
		return;
	if (lim.rlim_max < MANY_FILES &&
	    sys_prlimit(0, RLIMIT_NOFILE, &most, NULL) == 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	sys_prlimit(0, RLIMIT_NOFILE, &lim, NULL);
}

/*
 * Does its close wait for nobody?  A file does that has to be written back first,
 * which is so on a network's file systems and FUSE; none of these has a block
 * device.  Of character devices the memory's and terminals are known not to.
 */
static bool closes_at_once(const struct statx *stx)
{
	const uint32_t major = stx->stx_rdev_major;

	switch (stx->stx_mode & S_IFMT) {
	case S_IFSOCK:
	case S_IFIFO:
		return true;
	case S_IFCHR:
		return major == MEM_MAJOR || major == TTY_MAJOR ||
		       major == TTYAUX_MAJOR ||
		       (major >= UNIX98_PTY_SLAVE_MAJOR &&
			major < UNIX98_PTY_SLAVE_MAJOR +
					UNIX98_PTY_MAJOR_COUNT);
	default:
		return false;
	}
}

/*
 * Copies of the host's sockets and pipes would keep their other ends waiting, and
 * any copy has a number that may be the last one that the limit allows.
 */
static void close_copies(int keep)
{
	for (int fd = 0; fd < NR_COPIED; fd++) {
		struct statx stx;

		/* Of a file, what is known of it: a dead file system is not asked. */
		if (fd != keep &&
		    sys_statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			      STATX_TYPE, &stx) == 0 &&
		    closes_at_once(&stx))
			sys_close(fd);
	}
}

/* The target of which there is no copy: a directory, or a process's number. */
static int target_again(struct group *g, bool is_dir)
{
	if (is_dir)
		g->fd = sys_openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
	else
		g->fd = sys_pidfd_open(g->call->root, 0);
	if (g->fd < 0 || is_dir)
		return MIN(g->fd, 0);
	return call_ask_root(g->call, &g->helper);
}

/*
 * A table of descriptors of our own: thousands of members must not fill the
 * host's.  The kernel makes one by copying, but no more than the first 64 if
 * it is told to close the others (Linux 5.11).
 *
 * The close of a copy can take for ever, on a file system that has gone: so
 * files there are left open.  The kernel closes them when we exit, after it has let
 * go of our memory, and the caller does not wait for that (call.c).  A target
 * that is not among the copies is found again as the current directory, which
 * is ours alone, or by its number, which the caller vouches for.
 */
static int own_files(struct group *g)
{
	struct call *c = g->call;
	bool is_dir = sys_fchdir(c->fd) == 0, copied = c->fd < NR_COPIED;
	int ret = -ENOTDIR;

	g->fd = c->fd;
	if (is_dir || c->is_tree || copied)
		ret = sys_close_range(NR_COPIED, ~0U, CLOSE_RANGE_UNSHARE);
	if (ret < 0) {
		ret = sys_unshare(CLONE_FILES);
		copied = true;
	}
	if (ret < 0)
		return ret;
	g->helper.own_files = true;
	close_copies(g->fd);
	return copied ? 0 : target_again(g, is_dir);
}

/* If one member is refused, all are: mark each report so. */
static void refuse_all(struct group *g, int error)
{
	call_refused(&g->rep, error);
	for (size_t i = 0; i < g->nr; i++) {
		struct mrelease_report *rep = &g->victims[i]->rep;

		rep->result = g->rep.result;
		rep->error = error;
	}
}

static void keeper_main(void *arg)
{
	struct group *g = arg;

	while (!__atomic_load_n(&g->keeper_may_end, __ATOMIC_ACQUIRE))
		helper_wait_tick(&g->keeper, &g->keeper_may_end, 0);
}

/*
 * We are about to exit, and what has not come to its exit stop is traced yet.  The
 * kernel lets go of it after it has closed our files, which takes for ever where
 * one is a copy of a file of the host's on a file system that has gone.  The last
 * that has them closes them: that is another process, which the caller ends.
 */
static void keep_files(struct group *g)
{
	if (!g->nr_pinned && !g->traces_all)
		return;
	g->keeper.fn = keeper_main;
	g->keeper.arg = g;
	g->keeper.stack = g->keeper_stack;
	g->keeper.stack_size = sizeof(g->keeper_stack);
	helper_start_beside(&g->keeper, &g->helper);
}

/* If the caller had no descriptor to list its ancestors: list them, check again. */
static void list_ancestors(struct group *g)
{
	if (!g->base.self.blind)
		return;
	self_list_ancestors(&g->base.self);
	g->call->base.self = g->base.self;
	g->call->checked = false;
}

/*
 * Now, when nobody is held: an open can be up to a process (fanotify(7)) that hangs,
 * or is a member.
 */
static void count_cpus(struct group *g)
{
	if (group_is_stuck(g, SYSTEM_FILE)) {
		/* More than any machine has: some are out of our reach. */
		g->base.online_cpus = UINT32_MAX;
		return;
	}
	group_touch(g, SYSTEM_FILE);
	g->base.online_cpus = cpus_online();
	group_touch(g, 0);
}

static void group_main(void *arg)
{
	struct group *g = arg;
	int ret;

	/* A fork bomb's listing must not wait for its turn among the bombs. */
	sys_setpriority(PRIO_PROCESS, 0, -20);
	g->tracer = sys_getpid();
	count_cpus(g);
	ret = own_files(g);
	if (ret == 0) {
		raise_limit();
		list_ancestors(g);
		ret = g->ops->enter ? g->ops->enter(g) : 0;
	}
	/* What the kill needs is open: the last descriptor may be taken. */
	if (ret == 0 && !(g->base.opts.flags & MRELEASE_DRY_RUN))
		self_open_claims(&g->base.self);
	if (ret == 0)
		ret = group_steps(g);
	if (ret < 0) {
		workers_go(g, 2);
		workers_join(g);
	}
	if (g->ops->finish)
		g->ops->finish(g);
	if (ret < 0)
		refuse_all(g, ret);
	g->ret = ret;
	keep_files(g);
	__atomic_store_n(&g->done, true, __ATOMIC_RELEASE);
}

void group_init(struct group *g)
{
	g->rep = g->call->rep;
	g->base.scratch = &g->scratch;
	g->base.tids = &g->tids;
	g->base.objects = &g->objects;
	objects_init(&g->objects);
	g->base.has_victim = group_has_victim;
	g->base.group = g;
	/* Members may share their memory: as on any other kernel. */
	g->base.series = false;
	g->base.in_helper = &g->helper;
	g->base.traces = true;
	tids_init(&g->tids);
	cgroup_files_init(&g->files);
	g->is_tree = g->call->is_tree;
	g->fd = -EBADF;
	g->helper.fn = group_main;
	g->helper.arg = g;
	/* For one that is started when the workers have ended. */
	g->base.second.stack = g->own.stack;
	g->base.second.stack_size = sizeof(g->own.stack);
	g->helper.stack = g->stack;
	g->helper.stack_size = sizeof(g->stack);
}

void call_refused(struct mrelease_report *rep, int error)
{
	if (error == -EPERM) {
		rep->result = MRELEASE_REFUSED;
		if (!rep->refusal)
			rep->refusal = MRELEASE_REFUSE_PERMISSION;
	} else if (error == -ESRCH) {
		rep->result = MRELEASE_GONE;
	}
}
