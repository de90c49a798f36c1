/* SPDX-License-Identifier: MIT */
/* Every process below a cgroup, v2 or v1. */
#include <string.h>

#include "group/group.h"

/* Until it is a zombie, which is after it has left its cgroup. */
static void wait_leaving(struct group *g, pid_t pid)
{
	int64_t until = deadline_min(g->base.deadline_ns,
				     now_ns() + 10 * NSEC_PER_MSEC);
	struct victim v;

	victim_init(&v);
	if (victim_open_pid(&v, pid, &g->base.self, false) == 0)
		victim_wait_exit(&v, until);
	else
		pause_until(deadline_min(until, now_ns() + NSEC_PER_MSEC));
	victim_close(&v);
}

static int add_number(void *arg, pid_t pid, uint64_t listed)
{
	struct group *g = arg;
	int ret = group_add(g, pid, listed);

	/* A bomb's: at once, before it forks again. */
	if (ret > 0 && call_killed(g->call))
		victim_signal(g->victims[g->nr - 1], SIGKILL);
	if (ret < 0 || !g->met_dying)
		return ret;
	g->dying = true;
	if (g->leaving)
		wait_leaving(g, pid);
	return 0;
}

static int count_zero(void *arg, pid_t pid, uint64_t listed)
{
	(void)listed;
	*(size_t *)arg += !pid;
	return 0;
}

/*
 * Members of another PID namespace are listed as 0.  So is a task that is being
 * released, between the moments when it has lost its number and when it leaves
 * the list: but not for two listings in a row.
 */
static size_t confirm_foreign(int fd, size_t met)
{
	size_t again = 0;
	struct cgroup_walk w = { .fn = count_zero, .arg = &again };

	if (!met)
		return 0;
	cgroup_walk(&w, fd);
	return MIN(met, again);
}

/* Descriptors for the rest of the lists: what is open may have taken all of them. */
static bool make_room(struct group *g)
{
	if (self_drop_claims(&g->base.self))
		return true;
	if (g->thin || !g->nr)
		return false;
	group_thin(g);
	return true;
}

static int cgroup_collect(struct group *g)
{
	struct cgroup_walk w = { .fn = add_number, .arg = g };
	int ret;

	do {
		g->met_foreign = 0;
		ret = cgroup_walk(&w, g->fd);
	} while (w.missed == -EMFILE && make_room(g));
	g->nr_foreign = MAX(MAX(g->nr_foreign, g->call->nr_foreign),
			    confirm_foreign(g->fd, g->met_foreign));
	if (g->nr_foreign)
		g->rep.notes |= MRELEASE_NOTE_FOREIGN_PIDNS;
	if (w.missed)
		g->rep.notes |= MRELEASE_NOTE_HANDLES;
	/* Nobody can be named, and nothing reaches them without: no kill. */
	if (w.missed && !g->nr && !g->nr_foreign &&
	    !cgroup_has_kill(&g->files) && !call_killed(g->call))
		return -EMFILE;
	if (ret != -EOPNOTSUPP)
		return ret;
	g->rep.refusal = MRELEASE_REFUSE_CGROUP;
	return -EPERM;
}

struct check {
	const struct call *c;
	struct mrelease_report *rep;
	size_t listed;
	size_t nr_foreign;
};

static int check_number(void *arg, pid_t pid, uint64_t listed)
{
	struct check *check = arg;
	int why;

	(void)listed;
	/* Of another PID namespace: cgroup.kill finds it all the same. */
	if (pid == 0) {
		check->nr_foreign++;
		return 0;
	}
	check->listed++;
	why = self_refuses(&check->c->base.self, pid);
	if (!why && sys_kill(pid, 0) == -EPERM)
		why = MRELEASE_REFUSE_PERMISSION;
	if (!why)
		return 0;
	check->rep->refusal = why;
	check->rep->refused_pid = pid;
	return -EPERM;
}

/*
 * May every process in it be killed?  Only their numbers are checked, which takes a
 * microsecond each and waits for no process.  The answer must be complete before the
 * kill: a list that could not be opened may contain the caller, and cgroup.kill would
 * kill it without a list.
 */
int call_check(struct call *c, int fd, struct mrelease_report *rep)
{
	struct check check = { .c = c, .rep = rep };
	struct cgroup_walk w = { .fn = check_number, .arg = &check };
	int ret;

	/* The numbers are of another PID namespace, and 0 may be our parent. */
	if (c->base.self.foreign_proc) {
		rep->refusal = MRELEASE_REFUSE_FOREIGN;
		return -EPERM;
	}
	ret = cgroup_walk(&w, fd);
	if (ret == -EOPNOTSUPP) {
		rep->refusal = MRELEASE_REFUSE_CGROUP;
		return -EPERM;
	}
	if (ret < 0 || w.missed)
		return ret < 0 ? ret : w.missed;
	c->listed = check.listed;
	c->nr_foreign = confirm_foreign(fd, check.nr_foreign);
	c->checked = true;
	return 0;
}

/*
 * Open the files of the kill first, since the members may take every descriptor later.
 * If that leaves none for the lists, read the lists first.
 */
static int open_and_check(struct call *c, int fd, struct cgroup_files *files,
			  struct mrelease_report *rep)
{
	int ret = cgroup_files_open(files, fd, &rep->refusal);

	if (ret == 0 && !c->checked)
		ret = call_check(c, fd, rep);
	if (ret != -EMFILE)
		return ret;
	cgroup_files_close(files);
	ret = call_check(c, fd, rep);
	return ret < 0 ? ret : cgroup_files_open(files, fd, &rep->refusal);
}

static int cgroup_open(struct call *c)
{
	int ret = open_and_check(c, c->fd, &c->files, &c->rep);

	/* The helper tries again, in its own table of descriptors. */
	return ret == -EMFILE ? 0 : ret;
}

static int cgroup_enter(struct group *g)
{
	return open_and_check(g->call, g->fd, &g->files, &g->rep);
}

/* After a soft signal's grace its number may be a stranger's. */
static bool seize(struct group *g, struct victim *v)
{
	if (group_gone(g, v) || pin_seize(v, &g->scratch) < 0)
		return false;
	if (!group_gone(g, v))
		return true;
	v->nr_pins = 0;
	return false;
}

static int cgroup_hold(struct group *g)
{
	if (g->base.opts.flags & MRELEASE_NO_PIN) {
		for (size_t i = 0; i < g->nr; i++)
			g->victims[i]->rep.notes |= MRELEASE_NOTE_NO_PIN;
		return 0;
	}
	for (size_t i = 0; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		if (v->hands_off)
			continue;
		group_touch(g, v->pid);
		victim_complete(v);
		if (!seize(g, v))
			v->rep.notes |= MRELEASE_NOTE_NO_PIN;
		group_ready(g, v);
		group_touch(g, 0);
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
			victim_signal(g->victims[i], SIGKILL);
	} while (g->nr > known && now_ns() < g->base.deadline_ns);
	return 0;
}

/*
 * Frozen by somebody else: on v1 the members cannot die so, and none of them
 * runs its own code any more.  Nothing is frozen by us.  It would keep members
 * from forking between the listing and the signals, but a release that is
 * killed in between, with all of its cgroup, would leave them frozen for ever.
 */
static void thaw(struct group *g)
{
	cleanup_fd int fd = -EBADF;

	if (cgroup_has_kill(&g->files))
		return;
	fd = sys_openat(g->fd, g->files.v2 ? "cgroup.freeze" : "freezer.state",
			O_WRONLY);
	if (fd < 0)
		return;
	if (g->files.v2)
		sys_write(fd, "0", 1);
	else
		sys_write(fd, "THAWED", 6);
}

static int cgroup_kill(struct group *g)
{
	bool killed = cgroup_has_kill(&g->files) &&
		      cgroup_kill_all(&g->files) == 0;
	int ret;

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
			struct victim *v = g->victims[waited];

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
			g->victims[i]->killed = true;
			g->victims[i]->kill_ns = g->kill_ns;
		}
	}
}

static int cgroup_wait_empty(struct group *g, int64_t deadline_ns)
{
	if (!g->files.v2 || g->files.events_fd < 0)
		return wait_listed(g, deadline_ns);
	return cgroup_wait_unpopulated(&g->files, deadline_ns);
}

/* What is still charged once nobody is left: page cache, if asked for. */
static void give_back_charges(struct group *g)
{
	const char *current = g->files.v2 ? "memory.current" :
					    "memory.usage_in_bytes";
	cleanup_fd int fd = -EBADF;
	uint64_t before, after;
	char amount[32];

	before = cgroup_number(g->fd, current);
	if (!before)
		return;
	if (g->files.v2)
		fd = sys_openat(g->fd, "memory.reclaim", O_WRONLY);
	else
		fd = sys_openat(g->fd, "memory.force_empty", O_WRONLY);
	if (fd < 0)
		return;
	path_number(amount, "", g->files.v2 ? before : 0, "");
	/* EAGAIN: not all of it could be reclaimed. */
	sys_write(fd, amount, strlen(amount));
	after = cgroup_number(g->fd, current);
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
	/* Of other kinds it says nothing, nor of what is charged elsewhere. */
	if (g->rep.outstanding_bytes)
		return;
	for (size_t i = 0; i < g->nr; i++) {
		const struct victim *v = g->victims[i];

		if (v->killed && !v->rep.verified &&
		    !(v->rep.notes & MRELEASE_NOTE_CANNOT_VERIFY))
			return;
	}
	if (!cgroup_is_uncharged(g->fd, g->files.v2, &g->scratch))
		return;
	g->rep.verified = 1;
	g->rep.evidence = MRELEASE_EVIDENCE_MEMCG;
	g->rep.result = MRELEASE_RELEASED;
	g->rep.release_ns = now_ns() - g->kill_ns;
}

static void cgroup_finish(struct group *g)
{
	if (g->rep.stage != MRELEASE_STAGE_EXITED)
		return;
	if (!g->rep.verified)
		ask_memcg(g);
	if (g->base.opts.flags & MRELEASE_EVICT_CACHE)
		give_back_charges(g);
}

static const struct group_ops cgroup_ops = {
	.open = cgroup_open,
	.enter = cgroup_enter,
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
