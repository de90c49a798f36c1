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
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "group.h"

/* The default of fs.nr_open, beyond which nobody may go. */
#define MANY_FILES (1024 * 1024)

static void sum_member(struct group *g, const struct mrelease_report *m)
{
	struct mrelease_report *rep = &g->rep;

	rep->members++;
	rep->members_verified += m->verified;
	rep->threads += m->threads;
	rep->notes |= m->notes;
	rep->before.anon_bytes += m->before.anon_bytes;
	rep->before.swap_bytes += m->before.swap_bytes;
	rep->before.file_bytes += m->before.file_bytes;
	rep->before.shmem_bytes += m->before.shmem_bytes;
	rep->before.hugetlb_bytes += m->before.hugetlb_bytes;
	rep->released_bytes += m->released_bytes;
	rep->outstanding_bytes += m->outstanding_bytes;
	rep->cache_evicted_bytes += m->cache_evicted_bytes;
	rep->release_ns = MAX(rep->release_ns, m->release_ns);
	rep->sharers += m->sharers;
	if (!rep->sharer_pid)
		rep->sharer_pid = m->sharer_pid;
	rep->path = MAX(rep->path, m->path);
}

/* The group's verdict from its members'. */
static void group_verdict(struct group *g, bool empty)
{
	struct mrelease_report *rep = &g->rep;
	bool all = empty || g->base.opts.flags & MRELEASE_NO_WAIT_EXIT;

	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = &g->victims[i];

		release_finish(&g->base, v);
		/* Gone by itself before the kill: nothing was ours to do. */
		if (!v->killed) {
			v->rep.result = MRELEASE_GONE;
			rep->members++;
			rep->members_verified++;
			continue;
		}
		sum_member(g, &v->rep);
		all = all && v->rep.verified;
	}
	if (rep->notes & MRELEASE_NOTE_HANDLES)
		all = false;
	rep->stage = empty ? MRELEASE_STAGE_EXITED : MRELEASE_STAGE_KILLED;
	rep->verified = all;
	rep->result = all ? MRELEASE_RELEASED : MRELEASE_UNCONFIRMED;
	rep->evidence = !all  ? MRELEASE_EVIDENCE_NONE :
			empty ? MRELEASE_EVIDENCE_MEMBERS :
				MRELEASE_EVIDENCE_PAGEMAP;
	if (!all)
		rep->release_ns = -1;
	if (!empty)
		rep->notes |= MRELEASE_NOTE_NOT_EXITED;
}

static void mark_killed(struct group *g, size_t from)
{
	for (size_t i = from; i < g->nr; i++) {
		struct victim *v = &g->victims[i];

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
		victim_signal(&g->victims[i], SIGKILL);
	mark_killed(g, known);
	/* The CPUs were visited before these were signalled (robust.c). */
	g->workers[0].r.visited = false;
	for (size_t i = known; i < g->nr; i++) {
		struct victim *v = &g->victims[i];

		/*
		 * Dead before it was seen, as those are that no listing
		 * caught at all: "unpopulated" speaks for them.
		 */
		if (victim_mm_users(v) != 1) {
			victim_close(v);
			continue;
		}
		release_memory(&g->workers[0].r, v);
		g->finished++;
		g->victims[kept++] = *v;
	}
	g->nr = kept;
}

/* 1: the soft signal emptied the group. */
static int group_soft(struct group *g)
{
	int64_t until;

	g->kill_ns = now_ns();
	until = deadline_min(g->base.deadline_ns,
			     g->kill_ns + g->base.opts.grace_ns);
	group_signal(g, g->base.opts.soft_signal);
	for (size_t i = 0; i < g->nr; i++)
		if (victim_wait_exit(&g->victims[i], until) > 0)
			group_note_dead(g, &g->victims[i]);
	for (size_t i = 0; i < g->nr; i++)
		if (!victim_exited(&g->victims[i]))
			return 0;
	mark_killed(g, 0);
	for (size_t i = 0; i < g->nr; i++)
		g->victims[i].rep.path = MRELEASE_PATH_SOFT;
	/* Somebody may have forked meanwhile. */
	return g->ops->collect(g) == 0 && g->nr == g->rep.members;
}

static bool all_verified(const struct group *g)
{
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i].killed && !g->victims[i].rep.verified)
			return false;
	return true;
}

static void group_exits(struct group *g)
{
	int64_t until = g->base.deadline_ns;
	bool empty;

	if (g->base.opts.flags & MRELEASE_NO_WAIT_EXIT && all_verified(g))
		until = 0;
	sharers_wait(&g->base);
	empty = g->ops->wait_empty(g, until) > 0;
	if (empty)
		g->rep.exit_ns = now_ns() - g->kill_ns;
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i].killed && until)
			release_wait_exit(&g->base, &g->victims[i]);
	group_verdict(g, empty);
}

/* Who shares a member's memory dies with it: all of them, or nobody does. */
static int check_sharers(struct group *g)
{
	if (!(g->base.opts.flags & MRELEASE_KILL_SHARERS))
		return 0;
	for (size_t i = 0; i < g->nr; i++)
		if (sharers_check(&g->base, &g->victims[i]) == -EPERM)
			return -EPERM;
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
	if (!g->kill_ns)
		g->kill_ns = now_ns();
	g->rep.prepare_ns = g->kill_ns - g->base.start_ns;
	if (g->base.opts.flags & MRELEASE_KILL_SHARERS)
		for (size_t i = 0; i < g->nr; i++)
			sharers_kill(&g->base, &g->victims[i]);
	g->killing = true;
	ret = g->ops->kill(g);
	if (ret < 0)
		return ret;
	mark_killed(g, 0);
	sharers_exit(&g->base);
	robust_visit(&g->base);
	shared_look(g);
	for (unsigned int i = 0; i < MAX(g->nr_workers, 1u); i++) {
		g->workers[i].r.visited = g->base.visited;
		g->workers[i].r.sharer_left = g->base.sharer_left;
	}
	workers_go(g, 1);
	if (!g->nr_workers)
		work(&g->workers[0]);
	tracer_loop(g);
	workers_join(g);
	/* The joined worker's buffers are free for these. */
	late_members(g);
	return 0;
}

static int group_steps(struct group *g)
{
	int ret = g->ops->collect(g);

	if (ret < 0)
		return ret;
	if (!g->nr && !(g->rep.notes &
			(MRELEASE_NOTE_FOREIGN_PIDNS | MRELEASE_NOTE_HANDLES)))
		return -ESRCH;
	if (!g->is_tree || g->base.opts.flags & MRELEASE_DRY_RUN)
		group_sort(g);
	if (g->base.opts.flags & MRELEASE_DRY_RUN) {
		for (size_t i = 0; i < g->nr; i++) {
			g->victims[i].rep.result = MRELEASE_WOULD_KILL;
			sum_member(g, &g->victims[i].rep);
		}
		g->rep.result = MRELEASE_WOULD_KILL;
		return 0;
	}
	ret = check_sharers(g);
	if (ret < 0)
		return ret;
	if (g->base.opts.soft_signal) {
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

static void group_main(void *arg)
{
	struct group *g = arg;
	int ret;

	/* Everything but the target: these are copies, for a moment. */
	if (g->base.in_helper) {
		if (g->fd > 0)
			sys_close_range(0, g->fd - 1);
		sys_close_range(g->fd + 1, ~0U);
		raise_limit();
	}
	/* A fork bomb's listing must not wait for its turn among the bombs. */
	sys_setpriority(PRIO_PROCESS, 0, -20);
	g->tracer = sys_getpid();
	ret = group_steps(g);
	if (ret < 0) {
		workers_go(g, 2);
		workers_join(g);
	}
	if (g->ops->finish)
		g->ops->finish(g);
	if (ret == -EPERM) {
		g->rep.result = MRELEASE_REFUSED;
		if (!g->rep.refusal)
			g->rep.refusal = MRELEASE_REFUSE_PERMISSION;
	} else if (ret == -ESRCH) {
		g->rep.result = MRELEASE_GONE;
	}
	g->ret = ret;
	g->done = true;
}

static void group_out(struct group *g, struct mrelease_report *report,
		      struct mrelease_report *members, size_t *nr_members)
{
	size_t room = nr_members && members ? *nr_members : 0;
	size_t n = MIN(room, g->nr);
	size_t stride;

	g->rep.error = g->ret;
	report_out(&g->rep, report);
	/* An older caller's reports are shorter: its size is the stride. */
	stride = n && members[0].size >= offsetof(struct mrelease_report,
						  reserved) ?
			 members[0].size :
			 sizeof(*members);
	for (size_t i = 0; i < n; i++) {
		struct mrelease_report *m =
			(void *)((char *)members + i * stride);

		m->size = stride;
		report_out(&g->victims[i].rep, m);
	}
	if (nr_members)
		*nr_members = n;
}

int group_run(int fd, const struct group_ops *ops,
	      const struct mrelease_opts *opts, struct mrelease_report *report,
	      struct mrelease_report *members, size_t *nr_members)
{
	const size_t victims_size = MAX_VICTIMS * sizeof(struct victim);
	const size_t seen_size = SEEN_SLOTS * sizeof(struct seen);
	const size_t workers_size = MAX_WORKERS * sizeof(struct worker);
	int64_t give_up_ns;
	struct mrelease_opts o;
	struct group *g;
	int ret;

	if (!report_ok(report))
		return -EINVAL;
	ret = opts_check(opts, &o);
	if (ret < 0 || fd < 0)
		return report_error(ret < 0 ? ret : -EBADF, report);
	g = pages_reserve(sizeof(*g));
	if (!g)
		return report_error(-ENOMEM, report);
	g->victims = pages_reserve(victims_size);
	g->seen = pages_reserve(seen_size);
	g->workers = pages_reserve(workers_size);
	ret = -ENOMEM;
	if (!g->victims || !g->seen || !g->workers)
		goto out;
	release_init(&g->base, &o, o.deadline_ns);
	g->base.scratch = &g->scratch;
	g->base.tids = &g->tids;
	g->base.group = g;
	/* Members may share their memory: as on any other kernel. */
	g->base.series = false;
	g->base.in_helper = true;
	tids_init(&g->tids);
	g->ops = ops;
	g->fd = fd;
	g->freezer.fd = -EBADF;
	g->rep.size = sizeof(g->rep);
	g->rep.release_ns = -1;
	g->rep.exit_ns = -1;
	g->rep.result = MRELEASE_FAILED;
	g->helper.fn = group_main;
	g->helper.arg = g;
	g->helper.flags = HELPER_OWN_FILES;
	g->helper.stack = g->stack;
	g->helper.stack_size = sizeof(g->stack);
	ret = helper_start(&g->helper);
	if (ret < 0)
		goto out;
	give_up_ns = g->base.deadline_ns;
	if (give_up_ns != MRELEASE_NO_DEADLINE)
		give_up_ns = MAX(give_up_ns, now_ns()) + NSEC_PER_SEC;
	if (helper_wait(&g->helper, give_up_ns) < 0)
		helper_kill(&g->helper);
	if (!g->done) {
		/* Killed: the others run on this memory until they die. */
		for (unsigned int i = 0; i < MAX_WORKERS; i++)
			helper_gone(&g->workers[i].helper);
		helper_gone(&g->watchdog.helper);
	}
	if (!g->done)
		g->ret = now_ns() >= g->base.deadline_ns ? -ETIMEDOUT : -EINTR;
	/* Not "failed before the kill". */
	if (!g->done && g->killing) {
		g->rep.stage = MRELEASE_STAGE_KILLED;
		g->rep.result = MRELEASE_UNCONFIRMED;
	}
	group_out(g, report, members, nr_members);
	ret = g->ret;
	goto free;
out:
	report_error(ret, report);
free:
	pages_free(g->victims, victims_size);
	pages_free(g->seen, seen_size);
	pages_free(g->workers, workers_size);
	pages_free(g, sizeof(*g));
	return ret;
}
