/* SPDX-License-Identifier: MIT */
/*
 * A process and all its descendants, though they fork.
 *
 * With ptrace: every thread of every process of the tree is seized with
 * PTRACE_O_TRACEFORK and its kin.  From then on a fork of that thread attaches
 * the child to us, by the kernel and before it runs, and stops both.  When a
 * whole pass over the tree finds no thread that is not ours, nothing can
 * appear unseen any more:
 *
 *	we				a thread that is not ours yet
 *	list its children: none
 *					forks a child
 *	seize it
 *	list its children again: found
 *
 * Nothing but for the children that the kernel does not attach: of a fork()
 * that was under way when its thread was seized, and of clone() with
 * CLONE_UNTRACED.  So when all that is there is ours, it is made to stand
 * (PTRACE_INTERRUPT, which nobody else sees): a thread with a trap pending
 * begins no fork, and one that is seen to stand has ended the last.
 *
 * A child whose parent is gone belongs to somebody else by then, as for
 * every tool; what was listed before stays on our list.
 *
 * Without ptrace, SIGSTOP: a process that was seen stopped forks no more, and
 * what it had forked by then is listed.  A watchdog lets them go on if we are
 * killed.
 */
#include <dirent.h>
#include <string.h>

#include "group/group.h"

/* By its status, which waits for nobody. */
static uint32_t threads_of(const struct victim *v)
{
	struct proc_status st;

	return victim_status(v, &st) < 0 ? 0 : st.threads;
}

/* Its list of threads.  -errno only where that is for want of something. */
static int open_threads(struct victim *v)
{
	if (v->task_fd < 0)
		v->task_fd = sys_openat(v->dir_fd,
					v->tid == v->pid ? "task" : "..",
					O_RDONLY | O_DIRECTORY);
	return is_scarcity(v->task_fd) ? v->task_fd : 0;
}

/* One thread: held, looked at whether it runs, then its children. */
static int visit_thread(struct group *g, struct victim *v, pid_t tid,
			bool holding, bool *running)
{
	char name[16], state;
	int ret;

	if (holding && v->held)
		hold_thread(g, v, tid);
	/* Before its children are listed, not after. */
	state = running ? hold_runs(v, tid) : 0;
	if (state) {
		*running = true;
		g->awake |= state == 'R';
	}
	path_number(name, "", tid, "");
	ret = children_of_thread(g, v, name, holding);
	/* The thread is gone; its children are another's. */
	if (ret == -ENOENT || ret == -ESRCH)
		return 0;
	/* Closed by group_thin(), for those found in it. */
	if (ret == -EBADF && v->task_fd < 0) {
		g->unknown = true;
		return 0;
	}
	return ret;
}

/* All of its threads, one after the other. */
static int visit_threads(struct group *g, struct victim *v, bool holding)
{
	bool looking, running = false, whole;
	uint32_t threads = 0;
	struct dents d;
	char list[4096];
	pid_t tid;
	int ret = 0;

	looking = holding && !v->killed && !v->stands &&
		  (v->stopped_by_us || (v->held && g->stopping));
	sys_lseek(v->task_fd, 0, SEEK_SET);
	dents_open(&d, v->task_fd, list, sizeof(list));
	while (ret >= 0 && (tid = dents_pid(&d))) {
		threads++;
		ret = visit_thread(g, v, tid, holding,
				   looking ? &running : NULL);
		/* Then its number may be another file's by now. */
		d.fd = v->task_fd;
	}
	group_touch(g, 0);
	/* A listing ends early when a thread dies in it; see robust.c. */
	whole = threads == threads_of(v);
	if (!whole)
		g->unknown = true;
	/* Nothing but SIGKILL moves a tracee that stands; SIGCONT the other. */
	v->stands |= looking && whole && !running && v->held;
	g->running |= running;
	return ret;
}

/* One process: every thread held, then its children. */
static int visit_process(struct group *g, struct victim *v, bool holding)
{
	int ret;

	/* Nothing is to be seized by a number that is not its own any more. */
	if (group_gone(g, v))
		return 0;
	ret = open_threads(v);
	if (ret < 0 || v->task_fd < 0)
		return ret;
	group_touch(g, v->pid);
	if (holding)
		hold_process(g, v);
	ret = visit_threads(g, v, holding);
	if (ret >= 0 && g->by_ppid)
		ret = children_by_ppid(g, v->pid, holding);
	if (g->thin)
		close_keep(&v->task_fd);
	return ret;
}

/*
 * One pass, children before their parents: they were found after them.
 *
 * A pass is clean, g->unknown false, when it met nothing unknown, dead or
 * alive.  Then there is nothing unknown left.  Its topmost one would have a
 * parent P that we know, and was not P's child when P was visited: born later
 * it would be ours by attachment.  So it came to P from a parent that died
 * after P's visit; but that one was a descendant of P, alive when its own
 * known ancestor was visited, which was before P, and it would have been met.
 *
 * One thing is left: a child born later that is not ours.
 *
 *	we				a thread of P
 *	list P's children: none		is in fork(), and has looked whether
 *					it is traced: it is not
 *	seize it
 *	list P's children again: none
 *					adds the child, which runs
 *
 * So all are made to stand (hold_all()), and for the sake of one that did not
 * in time passes go on after the kill (tree_kill()).
 */
static int tree_pass(struct group *g, bool holding)
{
	int ret;

	g->unknown = false;
	g->running = g->awake = false;
	g->dying = false;
	g->listed = 0;
	for (size_t i = g->nr; i-- > 0;) {
		ret = visit_process(g, g->victims[i], holding);
		if (is_scarcity(ret) && !g->thin) {
			group_thin(g);
			g->unknown = true;
			ret = 0;
		}
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int add_root(struct group *g)
{
	struct victim v;
	pid_t pid;
	int ret;

	victim_init(&v);
	if (group_is_stuck(g, g->call->root)) {
		ret = victim_open_hands_off(&v, g->call->root, &g->base.self,
					    false);
		/* Its handle was just seen to be of that number. */
	} else {
		group_touch(g, g->call->root);
		ret = victim_open(&v, g->fd, &g->base.self);
		group_touch(g, 0);
	}
	pid = v.pid;
	g->rep.refusal = v.rep.refusal;
	if (v.rep.comm[0])
		memcpy(g->rep.comm, v.rep.comm, sizeof(g->rep.comm));
	/*
	 * By number, but checked against the handle in group_add(): as long
	 * as the handle's process is there the number is its own.
	 */
	g->keep_dead = true;
	if (ret == 0)
		ret = group_add(g, pid, UINT64_MAX);
	g->keep_dead = false;
	if (ret == 1 && victim_signal(&v, 0) == -ESRCH)
		ret = -ESRCH;
	victim_close(&v);
	return MIN(ret, 0);
}

/*
 * With a hold the descending is tree_hold()'s: what is found is held at
 * once.  Found first and held later, a process has time to fork and exit in
 * between, and its orphan is nobody's descendant any more.  But before
 * anything is stopped, which others see, all that is there has been checked.
 */
static int tree_collect(struct group *g)
{
	const struct mrelease_opts *o = &g->base.opts;
	cleanup_fd int fd = -EBADF;
	int ret;

	if (!g->nr) {
		/* Without CONFIG_PROC_CHILDREN. */
		fd = sys_openat(AT_FDCWD, "/proc/thread-self/children",
				O_RDONLY);
		g->by_ppid = fd < 0;
		ret = add_root(g);
		if (ret < 0)
			return ret;
		if (!o->soft_signal &&
		    !(o->flags & (MRELEASE_NO_PIN | MRELEASE_DRY_RUN)))
			return 0;
	}
	/* What forks on and on has no end that a listing could see. */
	for (unsigned int i = 0; i < 64; i++) {
		ret = tree_pass(g, false);
		if (ret < 0 || !g->unknown || now_ns() >= g->base.deadline_ns)
			return ret;
	}
	return 0;
}

/*
 * Somebody in D state stays as it is, and so does the parent of a vfork()
 * whose child stands: then go on.  A tracee that did not stop is attached all
 * the same, so it is given less.  A thread that is to stop and still sleeps waits for
 * something in the kernel, and may not stop for long; the fork() that it may be in is
 * ended by SIGKILL.
 */
static int64_t patience_ns(const struct group *g)
{
	if (!g->awake && !g->dying)
		return NSEC_PER_SEC / 40;
	return g->dying || g->watchdog.helper.pid ? NSEC_PER_SEC / 2 :
						    NSEC_PER_SEC / 10;
}

/*
 * Until a pass is clean, and its lists can be relied on.
 *
 * A list that somebody leaves while it is read may be short of somebody else
 * (get_children_pid()); then the next pass counts another number.  Where none
 * gets clean although nobody new is found, the kill does not wait for it.
 */
static int hold_all(struct group *g)
{
	int64_t start_ns = now_ns(), grown_ns = start_ns;
	size_t listed = SIZE_MAX, nr = 0;
	int ret;

	for (unsigned int i = 0;; i++) {
		bool clean, waits;

		ret = tree_pass(g, true);
		if (ret < 0)
			return ret;
		/*
		 * Nobody is disturbed before all that is there has been
		 * checked; but what forks untraced has no end that way.
		 */
		if (!g->stopping && (!g->unknown || i >= 4)) {
			g->stopping = true;
			listed = g->listed;
			continue;
		}
		clean = !g->unknown && g->listed == listed;
		waits = g->running || g->dying;
		if (clean && (!waits || now_ns() >= start_ns + patience_ns(g)))
			return 0;
		if (g->nr != nr) {
			nr = g->nr;
			grown_ns = now_ns();
		}
		if (now_ns() >=
		    deadline_min(g->base.deadline_ns, grown_ns + NSEC_PER_SEC))
			return 0;
		listed = g->listed;
		/* No event tells of a stop, or of a zombie, of others. */
		if (clean)
			pause_until(now_ns() + NSEC_PER_MSEC);
	}
}

/* What is opened before the kill, and the pin, of those from there on. */
static void prepare_from(struct group *g, size_t i)
{
	for (; i < g->nr; i++) {
		struct victim *v = g->victims[i];

		group_touch(g, v->hands_off ? 0 : v->pid);
		if (!v->hands_off && !g->thin && victim_complete(v) == -EMFILE)
			group_thin(g);
		if (!hold_is_ours(g, v) || !victim_has_thread(v, v->tid)) {
			v->rep.notes |= MRELEASE_NOTE_NO_PIN;
			continue;
		}
		v->rep.notes &= ~(uint32_t)MRELEASE_NOTE_TRACED;
		v->rep.tracer_pid = 0;
		v->pins[0] = v->tid;
		v->nr_pins = 1;
		group_ready(g, v);
	}
	group_touch(g, 0);
}

static int tree_hold(struct group *g)
{
	int ret;

	g->traces_all = !(g->base.opts.flags & MRELEASE_NO_PIN);
	/* SIGSTOP stops at once. */
	g->stopping = !g->traces_all;
	ret = hold_all(g);
	if (ret < 0)
		return ret;
	prepare_from(g, 0);
	return 0;
}

/*
 * The root last: if it is a subreaper, it gets the orphans of the others.
 * With the first that took it there is no way back.
 */
static int kill_from(struct group *g, size_t known)
{
	bool any = false;
	int ret, bad = 0;

	for (size_t i = g->nr; i-- > known;) {
		ret = victim_signal(g->victims[i], SIGKILL);
		g->victims[i]->killed = true;
		any |= ret == 0;
		if (ret < 0 && ret != -ESRCH)
			bad = ret;
	}
	return any ? 0 : bad;
}

/*
 * A thread with SIGKILL pending adds no child any more: fork() looks for it
 * last of all.  What it added before is its child for as long as it stands
 * in its exit stop, and after that a child of its process, whose pin does.
 * So now the listing is final, and what it shows is held, listed and killed
 * like the others.
 */
static int tree_kill(struct group *g)
{
	size_t known = 0;
	int ret;

	ret = kill_from(g, 0);
	if (ret < 0)
		return ret;
	do {
		known = g->nr;
		ret = hold_all(g);
		/* Also those found before an error: they are held. */
		prepare_from(g, known);
		kill_from(g, known);
	} while (ret == 0 && g->nr > known && now_ns() < g->base.deadline_ns);
	/* The passes needed their order: parents first. */
	group_sort(g);
	return 0;
}

static void tree_finish(struct group *g)
{
	if (!g->watchdog.helper.pid)
		return;
	if (g->rep.stage < MRELEASE_STAGE_KILLED)
		hold_undo(g);
	watchdog_stop(g);
}

/*
 * The tracer's loop ends with the pins.  A thread that is no pin may come to
 * its exit stop later, and the process waits for it to be let go:
 *
 *	we				a process of many threads
 *					the leader, pinned, exits
 *	the pins are dropped
 *					another thread: exit stop
 *	wait for the process' exit
 */
static bool wait_gone(struct group *g, const struct victim *v,
		      int64_t deadline_ns)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4;

	for (;;) {
		int64_t now = now_ns(), until = deadline_ns;

		if (g->traces_all) {
			tracer_drain(g);
			until = deadline_min(until, now + pause_ns);
			pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
		}
		if (victim_wait_exit(v, until) > 0)
			return true;
		if (until == deadline_ns || now >= deadline_ns)
			return false;
	}
}

static int tree_wait_empty(struct group *g, int64_t deadline_ns)
{
	for (size_t i = 0; i < g->nr; i++)
		if (!wait_gone(g, g->victims[i], deadline_ns))
			return 0;
	return 1;
}

/* Who is it?  Asked of the caller's descriptor, and of nobody's memory. */
static int tree_open(struct call *c)
{
	struct victim v;
	int ret;

	c->is_tree = true;
	victim_init(&v);
	ret = victim_number(&v, c->fd);
	c->root = v.pid;
	c->rep.pid = v.pid;
	c->rep.refusal = v.rep.refusal;
	return ret;
}

static const struct group_ops tree_ops = {
	.open = tree_open,
	.collect = tree_collect,
	.hold = tree_hold,
	.kill = tree_kill,
	.wait_empty = tree_wait_empty,
	.finish = tree_finish,
};

int mrelease_tree(int pidfd, const struct mrelease_opts *opts,
		  struct mrelease_report *report,
		  struct mrelease_report *members, size_t *nr_members)
{
	return group_run(pidfd, &tree_ops, opts, report, members, nr_members);
}
