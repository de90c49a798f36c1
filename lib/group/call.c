/* SPDX-License-Identifier: MIT */
/*
 * The caller's side of a group's release.
 *
 * The work is a helper's (group.c), which opens, compares and traces members.
 * Each of these can wait for a lock of a member's for as long as that member
 * likes:
 *
 *	the helper			a member
 *					execve(): cred_guard_mutex, waits for a
 *					thread that a debugger holds
 *	PTRACE_SEIZE: waits for it
 *	... and the SIGKILL that would end both waits comes after this
 *
 * So the caller's thread, which has nothing else to do, watches.  The helper
 * says whom it is about to touch.  When it neither runs nor gets on for 50 ms,
 * the kill is the caller's: one write to cgroup.kill, opened before anything
 * else.  Where there is no such file (v1, a tree), or where the helper hangs
 * on after the kill, it is ended, which lets go of all that it traced, and
 * another begins anew.  A member on which two hung, or one after the kill, is
 * only signalled from then on (hands_off).  Where the caller kills after 50 ms, one
 * that is in D is left alone as soon as a helper has waited 20 ms for it, so that
 * the others are prepared in time.
 */
#include <linux/futex.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "group/group.h"

/* After that, for the end of a helper. */
#define END_NS (100 * NSEC_PER_MSEC)
/* For the last of a helper's exit. */
#define REAP_NS	     (50 * NSEC_PER_MSEC)
#define REAP_BUSY_NS NSEC_PER_SEC

static bool gone_by(struct helper *h, int64_t until)
{
	while (!call_wait_a_moment(h, 10 * NSEC_PER_MSEC))
		if (now_ns() >= until)
			return false;
	return true;
}

/*
 * It has left our memory.  Its exit may hang a little later, in the close of
 * the copy of a file of the host's whose file system has gone; then it stays
 * behind, and is a zombie once that is over.  One that has no CPU does not hang.
 */
static void helper_reap(struct helper *h)
{
	int64_t begin = now_ns(), until = begin + REAP_NS;

	while (sys_wait4(h->pid, NULL, __WALL | WNOHANG) == 0) {
		int64_t now = now_ns();

		if (now >= until && (now >= begin + REAP_BUSY_NS ||
				     state_of_process(h->pid) != 'R'))
			return;
		pause_until(now + NSEC_PER_MSEC / 8);
	}
}

static void helper_sigkill(const struct helper *h)
{
	if (helper_is_alive(h))
		sys_kill(h->pid, SIGKILL);
}

/* 1: it uses our memory no more, and has been waited for. */
static bool end_one(struct helper *h, int64_t until)
{
	if (h->pid <= 0)
		return true;
	if (!gone_by(h, until))
		return false;
	helper_reap(h);
	return true;
}

/*
 * All that there are, dead or alive.  The helper first: with it the kernel lets
 * go of what it traced, but not before it has closed its files, and it
 * closes none as long as a worker, or the keeper, has the same.  False: SIGKILL does not move one of
 * them.  Then the memory is not given back, ever.
 */
static bool end_helpers(struct group *g)
{
	int64_t now = now_ns(), last = g->call->last_ns;
	int64_t until = deadline_min(now + NSEC_PER_SEC,
				     deadline_add(MAX(last, now), END_NS));
	bool gone;

	helper_sigkill(&g->helper);
	gone = end_one(&g->helper, until);
	watchdog_tell(g);
	__atomic_store_n(&g->keeper_may_end, 1, __ATOMIC_RELEASE);
	sys_futex(&g->keeper_may_end, FUTEX_WAKE, 1, NULL);
	helper_sigkill(&g->keeper);
	for (unsigned int i = 0; i < MAX_WORKERS; i++)
		if (g->workers[i])
			helper_sigkill(&g->workers[i]->helper);
	for (unsigned int i = 0; i < MAX_WORKERS; i++)
		if (g->workers[i])
			gone &= end_one(&g->workers[i]->helper, until);
	gone &= end_one(&g->keeper, until);
	return end_one(&g->watchdog.helper, until) && gone;
}

static struct group *group_new(struct call *c)
{
	struct group *g = pages_reserve(sizeof(*g));

	if (!g)
		return NULL;
	c->touching = 0;
	c->root_is = ROOT_UNKNOWN;
	g->call = c;
	g->ops = c->ops;
	g->base = c->base;
	group_init(g);
	return g;
}

static void members_out(const struct group *g, struct mrelease_report *members,
			size_t *nr_members)
{
	size_t room = nr_members && members ? *nr_members : 0;
	size_t n = MIN(room, g->nr);
	size_t stride = n ? members[0].size : 0;

	for (size_t i = 0; i < n; i++) {
		struct mrelease_report *m =
			(void *)((char *)members + i * stride);

		m->size = stride;
		report_out(&g->victims[i]->rep, m);
	}
	if (nr_members)
		*nr_members = n;
}

/* The members were killed, and their memory was not inspected. */
static void members_unseen(struct group *g)
{
	for (size_t i = 0; i < g->nr; i++) {
		struct mrelease_report *m = &g->victims[i]->rep;

		m->stage = MAX(m->stage, MRELEASE_STAGE_KILLED);
		m->result = MRELEASE_UNCONFIRMED;
		m->verified = 0;
		for (unsigned int k = 0; k < MRELEASE_CACHE; k++)
			account_settle(&m->kinds[k], UINT64_MAX,
				       MRELEASE_REASON_UNKNOWN, 0);
		account_total(m);
		verdict_add(&g->rep, m);
	}
	account_total(&g->rep);
}

/* The helper did not get to its end. */
static int cut_short(struct call *c, struct group *g)
{
	if (!call_killed(c))
		return now_ns() >= c->base.deadline_ns ? -ETIMEDOUT : -EINTR;
	g->rep.stage = MRELEASE_STAGE_KILLED;
	g->rep.result = MRELEASE_UNCONFIRMED;
	memset(g->rep.kinds, 0, sizeof(g->rep.kinds));
	members_unseen(g);
	g->rep.notes |= MRELEASE_NOTE_HANDLES;
	if (c->late)
		g->rep.notes |= MRELEASE_NOTE_NOT_READY;
	g->rep.members = MAX(g->nr, c->listed);
	g->rep.members_verified = 0;
	g->rep.verified = 0;
	g->rep.evidence = MRELEASE_EVIDENCE_NONE;
	g->rep.release_ns = -1;
	g->rep.prepare_ns = c->kill_ns - c->base.start_ns;
	if (!c->is_tree && c->files.v2 &&
	    cgroup_wait_unpopulated(&c->files, c->base.deadline_ns) > 0) {
		g->rep.stage = MRELEASE_STAGE_EXITED;
		g->rep.exit_ns = now_ns() - c->kill_ns;
	} else {
		g->rep.notes |= MRELEASE_NOTE_NOT_EXITED;
	}
	return 0;
}

/* Nothing of it is used any more, unless it could not be ended. */
static void group_drop(struct group *g, bool ended)
{
	if (!ended)
		return;
	workers_free(g);
	group_free(g);
}

static int call_run(struct call *c, struct mrelease_report *report,
		    struct mrelease_report *members, size_t *nr_members)
{
	enum outcome out;
	struct group *g;
	bool ended;
	int ret;

	for (;;) {
		g = group_new(c);
		if (!g)
			return bare_run(c, report, nr_members, -ENOMEM);
		ret = helper_start(&g->helper);
		ended = true;
		if (ret < 0)
			break;
		out = call_watch(c, g);
		ended = end_helpers(g);
		if (out == OVER || g->done)
			break;
		group_drop(g, ended);
	}
	if (g->done)
		ret = g->ret;
	/* We killed them, and they had gone before they were listed. */
	if (g->done && ret == -ESRCH && c->late)
		ret = cut_short(c, g);
	else if (!g->done && ret == 0)
		ret = cut_short(c, g);
	if (!call_killed(c) && (g->done ? is_scarcity(ret) : ret < 0)) {
		/* None was to be had, or none could get as far as the kill. */
		group_drop(g, ended);
		return bare_run(c, report, nr_members, ret);
	}
	g->rep.error = ret;
	report_out(&g->rep, report);
	members_out(g, members, nr_members);
	group_drop(g, ended);
	return ret;
}

int group_run(int fd, const struct group_ops *ops,
	      const struct mrelease_opts *opts, struct mrelease_report *report,
	      struct mrelease_report *members, size_t *nr_members)
{
	struct mrelease_opts o;
	struct call c;
	int ret;

	if (!report_ok(report))
		return -EINVAL;
	/* The size of the first is the stride of all. */
	if (members && nr_members && *nr_members && !report_ok(members))
		return report_error(-EINVAL, report);
	ret = opts_check(opts, &o);
	if (ret < 0 || fd < 0)
		return report_error(ret < 0 ? ret : -EBADF, report);
	files_begin();
	memset(&c, 0, sizeof(c));
	c.ops = ops;
	c.fd = fd;
	cgroup_files_init(&c.files);
	release_init(&c.base, &o, o.deadline_ns);
	self_list_ancestors(&c.base.self);
	cpus_get(&c.base.cpus);
	c.due_ns = c.base.start_ns;
	c.last_ns = deadline_add(MAX(c.base.deadline_ns, c.base.start_ns),
				 CALL_GIVE_UP_NS);
	c.rep.size = sizeof(c.rep);
	c.rep.release_ns = -1;
	c.rep.exit_ns = -1;
	c.rep.result = MRELEASE_FAILED;
	ret = ops->open(&c);
	if (ret == 0) {
		ret = call_run(&c, report, members, nr_members);
	} else {
		call_refused(&c.rep, ret);
		c.rep.error = ret;
		report_out(&c.rep, report);
		if (nr_members)
			*nr_members = 0;
	}
	cgroup_files_close(&c.files);
	files_end();
	return ret;
}
