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
 * A child whose parent is gone belongs to somebody else by then, as for
 * every tool; what was listed before stays on our list.
 *
 * Without ptrace the tree is killed in rounds until nothing new appears.
 */
#include <dirent.h>
#include <string.h>
#include <sys/ptrace.h>

#include "group.h"

#define TREE_OPTIONS                                                     \
	(PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
	 PTRACE_O_TRACECLONE)

/* Add the children a "children" file lists; -ENOENT: no such files here. */
static int add_children_of(struct group *g, int task_fd, const char *tid)
{
	char path[64], buf[4096];
	cleanup_fd int fd = -EBADF;
	const char *p, *end;
	size_t n = strlen(tid);
	uint64_t pid;
	long len;
	int ret;

	if (n > 20)
		return 0;
	__builtin_memcpy(path, tid, n);
	__builtin_memcpy(path + n, "/children", sizeof("/children"));
	fd = sys_openat(task_fd, path, O_RDONLY);
	if (fd < 0)
		return fd;
	/* Read on and on: a number may be cut in two at the buffer's end. */
	for (uint64_t off = 0;; off += end - buf) {
		len = sys_pread(fd, buf, sizeof(buf), off);
		if (len <= 0)
			return 0;
		end = buf + len;
		while (end > buf && end[-1] != ' ')
			end--;
		if (end == buf)
			return 0;
		for (p = buf; p < end;) {
			if (parse_u64(&p, end, &pid) < 0)
				break;
			p++;
			ret = group_add(g, pid);
			if (ret < 0)
				return ret;
		}
	}
}

/* No CONFIG_PROC_CHILDREN: by the parent's number in every stat file. */
static int add_by_ppid(struct group *g, pid_t parent)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	char dents[4096], path[64], buf[1024];
	struct proc_stat st;
	long len, n;
	int ret;

	if (fd < 0)
		return fd;
	while ((len = sys_getdents64(fd, dents, sizeof(dents))) > 0) {
		for (long off = 0; off < len;) {
			struct dirent64 *d = (void *)(dents + off);
			const char *p = d->d_name;
			uint64_t pid;

			off += d->d_reclen;
			if (parse_u64(&p, p + strlen(p), &pid) < 0)
				continue;
			path_number(path, "", pid, "/stat");
			n = read_file(fd, path, buf, sizeof(buf));
			if (n <= 0 || parse_stat(buf, n, &st) < 0 ||
			    st.ppid != parent)
				continue;
			ret = group_add(g, pid);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

/* One process: its threads' children; true in *ret_new for a new thread. */
static int visit_process(struct group *g, struct victim *v, bool seize,
			 bool *ret_new)
{
	char dents[4096];
	long len;
	int ret;

	sys_lseek(v->task_fd, 0, SEEK_SET);
	while ((len = sys_getdents64(v->task_fd, dents, sizeof(dents))) > 0) {
		for (long off = 0; off < len;) {
			struct dirent64 *d = (void *)(dents + off);
			const char *p = d->d_name;
			uint64_t tid;

			off += d->d_reclen;
			if (parse_u64(&p, p + strlen(p), &tid) < 0)
				continue;
			/* EPERM on the next pass: it is ours already. */
			if (seize &&
			    sys_ptrace(PTRACE_SEIZE, tid, 0, TREE_OPTIONS) == 0)
				*ret_new = true;
			ret = add_children_of(g, v->task_fd, d->d_name);
			if (ret == -ENOENT || ret == -EACCES)
				ret = add_by_ppid(g, v->pid);
			if (ret < 0 && ret != -ESRCH)
				return ret;
		}
	}
	return 0;
}

/*
 * One pass, children before their parents: they were found after them.
 *
 * A pass is clean, *ret_new false, when it met nothing unknown, dead or
 * alive.  Then there is nothing unknown left.  Its topmost one would have a
 * parent P that we know, and was not P's child when P was visited: born later
 * it would be ours by attachment.  So it came to P from a parent that died
 * after P's visit; but that one was a descendant of P, alive when its own
 * known ancestor was visited, which was before P, and it would have been met.
 */
static int tree_pass(struct group *g, bool seize, bool *ret_new)
{
	int ret;

	*ret_new = false;
	g->unknown = false;
	for (size_t i = g->nr; i-- > 0;) {
		victim_complete(&g->victims[i]);
		if (g->victims[i].task_fd < 0)
			continue;
		ret = visit_process(g, &g->victims[i], seize, ret_new);
		if (ret < 0)
			return ret;
	}
	if (g->unknown)
		*ret_new = true;
	return 0;
}

static int add_root(struct group *g)
{
	struct victim v;
	pid_t pid;
	int ret;

	victim_init(&v);
	ret = victim_open(&v, g->fd, &g->base.self);
	pid = v.pid;
	g->rep.refusal = v.rep.refusal;
	g->rep.pid = pid;
	memcpy(g->rep.comm, v.rep.comm, sizeof(g->rep.comm));
	/*
	 * By number, but checked against the handle in group_add(): as long
	 * as the handle's process is there the number is its own.
	 */
	if (ret == 0)
		ret = group_add(g, pid);
	if (ret == 1 && victim_signal(&v, 0) == -ESRCH)
		ret = -ESRCH;
	victim_close(&v);
	return MIN(ret, 0);
}

/*
 * With pins the descending is tree_hold()'s: what is found is seized at
 * once.  Found first and seized later, a process has time to fork and exit
 * in between, and its orphan is nobody's descendant any more.
 */
static int tree_collect(struct group *g)
{
	const struct mrelease_opts *o = &g->base.opts;
	bool new;
	int ret;

	g->is_tree = true;
	if (!g->nr) {
		ret = add_root(g);
		if (ret < 0)
			return ret;
		if (!o->soft_signal &&
		    !(o->flags & (MRELEASE_NO_PIN | MRELEASE_DRY_RUN)))
			return 0;
	}
	/* What forks on and on has no end that a listing could see. */
	for (unsigned int i = 0; i < 64; i++) {
		ret = tree_pass(g, false, &new);
		if (ret < 0 || !new)
			return ret;
	}
	return 0;
}

/* Which threads are ours: the kernel's word, not our bookkeeping. */
static void note_pin(struct group *g, struct victim *v)
{
	struct proc_status st;

	if (victim_status(v, &st) < 0 || st.tracer != g->tracer) {
		v->rep.notes |= MRELEASE_NOTE_NO_PIN;
		return;
	}
	v->rep.notes &= ~(uint32_t)MRELEASE_NOTE_TRACED;
	v->rep.tracer_pid = 0;
	v->pins[0] = v->tid;
	v->nr_pins = 1;
}

static int tree_hold(struct group *g)
{
	bool new;
	int ret;

	if (g->base.opts.flags & MRELEASE_NO_PIN) {
		for (size_t i = 0; i < g->nr; i++)
			g->victims[i].rep.notes |= MRELEASE_NOTE_NO_PIN;
		group_sort(g);
		return 0;
	}
	g->traces_all = true;
	do {
		ret = tree_pass(g, true, &new);
	} while (ret == 0 && new &&now_ns() < g->base.deadline_ns);
	if (ret < 0)
		return ret;
	group_sort(g);
	for (size_t i = 0; i < g->nr; i++)
		note_pin(g, &g->victims[i]);
	return 0;
}

/* From victim *known on; 0, or why not even one could be signalled. */
static int kill_from(struct group *g, size_t *known, bool root_too)
{
	int ret;

	for (; *known < g->nr; (*known)++) {
		struct victim *v = &g->victims[*known];

		if (v->pid == g->rep.pid && !root_too)
			continue;
		ret = victim_signal(v, SIGKILL);
		if (ret < 0 && ret != -ESRCH && !*known)
			return ret;
	}
	return 0;
}

/*
 * With everything seized one round is enough.  Without, the root goes last:
 * a root that is a subreaper gets the orphans of those that die, and shows
 * them to the next pass.  It may go on forking meanwhile, so there is an end.
 */
static int tree_kill(struct group *g)
{
	unsigned int rounds = g->traces_all ? 0 : 64;
	size_t known = 0;
	bool new = true;
	int ret;

	while (rounds-- && new &&now_ns() < g->base.deadline_ns) {
		ret = kill_from(g, &known, false);
		if (ret == 0)
			ret = tree_pass(g, false, &new);
		if (ret < 0)
			return known ? 0 : ret;
	}
	known = 0;
	do {
		ret = kill_from(g, &known, true);
		if (ret < 0)
			return ret;
		if (tree_pass(g, false, &new) < 0)
			break;
	} while (g->nr > known && now_ns() < g->base.deadline_ns);
	return 0;
}

static int tree_wait_empty(struct group *g, int64_t deadline_ns)
{
	for (size_t i = 0; i < g->nr; i++)
		if (victim_wait_exit(&g->victims[i], deadline_ns) <= 0)
			return 0;
	return 1;
}

static const struct group_ops tree_ops = {
	.collect = tree_collect,
	.hold = tree_hold,
	.kill = tree_kill,
	.wait_empty = tree_wait_empty,
};

int mrelease_tree(int pidfd, const struct mrelease_opts *opts,
		  struct mrelease_report *report,
		  struct mrelease_report *members, size_t *nr_members)
{
	return group_run(pidfd, &tree_ops, opts, report, members, nr_members);
}
