/* SPDX-License-Identifier: MIT */
/*
 * The kill and no more, by the caller's own thread: no helper process is to be
 * had (a bomb has used up RLIMIT_NPROC or pids.max), or no memory for one.
 *
 * A cgroup needs one write.  Without cgroup.kill, and for a tree, processes
 * are signalled in rounds.  A number that was listed may be another process's
 * by the time that a pidfd is opened for it; so it is listed once more, and
 * only one that is there again is signalled, by that pidfd:
 *
 *	list: N
 *	pidfd_open(N): the process that has that number now
 *	list: N			still, or again: then the pidfd's is a member,
 *				if it has a process left when it is signalled
 *
 * Nothing is looked at: there is no room for that, and it could wait.  The
 * report says so.
 */
#include <dirent.h>
#include <poll.h>
#include <string.h>

#include "group/group.h"

/* Signalled in one round; what is left over is the next one's. */
#define ROUND 256
/* Time past the deadline to signal members that were not reached before it. */
#define LAST_NS (400 * NSEC_PER_MSEC)

struct bare {
	struct call *c;
	unsigned int nr;
	/* Some found no room. */
	bool more;
	/* Seen in all rounds. */
	unsigned int total;
	pid_t pid[ROUND];
	int fd[ROUND];
	bool again[ROUND];
	/* Of a tree: it has no children. */
	bool leaf[ROUND];
	bool stopped[ROUND];
};

static unsigned int find(const struct bare *b, pid_t pid)
{
	unsigned int i;

	for (i = 0; i < b->nr; i++)
		if (b->pid[i] == pid)
			break;
	return i;
}

static int bare_add(void *arg, pid_t pid, uint64_t listed)
{
	struct bare *b = arg;
	int fd;

	(void)listed;
	if (!pid || find(b, pid) < b->nr)
		return 0;
	if (self_refuses(&b->c->base.self, pid) || sys_kill(pid, 0) == -EPERM)
		return call_killed(b->c) ? 0 : -EPERM;
	if (b->nr == ROUND) {
		b->more = true;
		return 0;
	}
	fd = sys_pidfd_open(pid, 0);
	if (fd == -ESRCH)
		return 0;
	/* The first without a descriptor is signalled by its number. */
	if (is_scarcity(fd) && b->nr) {
		b->more = true;
		return 0;
	}
	/* The zombies of a stopped parent would fill the table. */
	if (fd >= 0 && wait_fd(fd, POLLIN, 1) > 0) {
		sys_close(fd);
		return 0;
	}
	b->pid[b->nr] = pid;
	b->fd[b->nr] = fd;
	b->again[b->nr] = false;
	b->stopped[b->nr] = false;
	b->nr++;
	return 1;
}

static int bare_confirm(void *arg, pid_t pid, uint64_t listed)
{
	struct bare *b = arg;
	unsigned int i = find(b, pid);

	(void)listed;
	if (i < b->nr)
		b->again[i] = true;
	return 0;
}

static void forget_from(struct bare *b, unsigned int nr)
{
	for (unsigned int i = nr; i < b->nr; i++)
		close_keep(&b->fd[i]);
	b->nr = nr;
}

static void bare_close(struct bare *b)
{
	forget_from(b, 0);
}

static int signal_one(const struct bare *b, unsigned int i, int sig)
{
	return b->fd[i] < 0 ? sys_kill(b->pid[i], sig) :
			      sys_pidfd_send_signal(b->fd[i], sig);
}

/* One round over a cgroup; 0, or why nobody took the signal. */
static int cgroup_round(struct bare *b, int sig)
{
	struct cgroup_walk add = { .fn = bare_add, .arg = b };
	struct cgroup_walk confirm = { .fn = bare_confirm, .arg = b };
	int ret;

	b->more = false;
	ret = cgroup_walk(&add, b->c->fd);
	if (ret == 0)
		ret = cgroup_walk(&confirm, b->c->fd);
	/* Without a descriptor nobody is listed, which is not that nobody is left. */
	if (ret == 0 && !b->nr && (add.missed || confirm.missed))
		ret = -EMFILE;
	for (unsigned int i = 0; ret == 0 && i < b->nr; i++)
		if (b->again[i])
			signal_one(b, i, sig);
	return ret;
}

/* One round has room for 256.  Past the deadline, rounds follow without a wait. */
static int64_t last_ns(const struct bare *b)
{
	int64_t by = MAX(b->c->base.deadline_ns, b->c->base.start_ns);

	/* Waiting for the helper may have used up that time. */
	return MAX(deadline_add(by, LAST_NS), now_ns() + LAST_NS / 2);
}

/* v1 has no event: until a listing is empty.  Its dying are listed, too. */
static int cgroup_rounds(struct bare *b)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4, end = last_ns(b);
	int ret;

	for (;;) {
		ret = cgroup_round(b, SIGKILL);
		b->total = MAX(b->total, b->nr);
		if (ret == -EMFILE && b->total)
			return 0;
		if (ret < 0 || !b->nr)
			return ret < 0 ? ret : 1;
		/* Most often the last one opened is the last to go. */
		wait_fd(b->fd[b->nr - 1], POLLIN,
			deadline_min(b->c->base.deadline_ns,
				     now_ns() + pause_ns));
		bare_close(b);
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
		if (now_ns() >= end)
			return 0;
	}
}

/*
 * Of a process whose main thread has exited, cgroup.kill reaches that thread
 * only, and the others run on (Linux 6.18).  A pidfd's signal is for all.
 */
static int kill_spared(struct bare *b)
{
	struct call *c = b->c;
	int64_t pause_ns = 10 * NSEC_PER_MSEC;
	int ret;

	do {
		ret = cgroup_wait_unpopulated(
			&c->files,
			deadline_min(c->base.deadline_ns, now_ns() + pause_ns));
		if (ret)
			return ret;
		cgroup_round(b, SIGKILL);
		bare_close(b);
		pause_ns = MIN(pause_ns * 2, NSEC_PER_SEC);
	} while (now_ns() < c->base.deadline_ns);
	return 0;
}

static int cgroup_soft(struct bare *b)
{
	struct call *c = b->c;
	int64_t until;

	if (!c->base.opts.soft_signal || c->soft_ns)
		return 0;
	c->soft_ns = now_ns();
	until = deadline_min(c->base.deadline_ns,
			     deadline_add(c->soft_ns, c->base.opts.grace_ns));
	cgroup_round(b, c->base.opts.soft_signal);
	bare_close(b);
	if (c->files.v2)
		return cgroup_wait_unpopulated(&c->files, until);
	pause_until(until);
	return 0;
}

/* 1: nobody is left.  0: somebody is, at the deadline. */
static int bare_cgroup(struct bare *b)
{
	struct call *c = b->c;
	int ret = c->checked ? 0 : call_check(c, c->fd, &c->rep);

	if (ret == 0 && !c->listed && !c->nr_foreign)
		return -ESRCH;
	if (ret == 0)
		ret = cgroup_soft(b);
	if (ret)
		return ret;
	call_kill_begins(c);
	if (cgroup_has_kill(&c->files) && cgroup_kill_all(&c->files) == 0) {
		if (c->files.events_fd >= 0)
			return kill_spared(b);
		/* Read the lists instead, with the descriptor of cgroup.kill. */
		b->total = c->listed;
		cgroup_files_close(&c->files);
	}
	return cgroup_rounds(b);
}

struct tree_listing {
	struct bare *b;
	int (*fn)(void *arg, pid_t pid, uint64_t listed);
	/* Children, and how many of them were new. */
	unsigned int children;
	unsigned int fresh;
};

static int tree_child(void *arg, pid_t pid, uint64_t listed)
{
	struct tree_listing *l = arg;
	int ret = l->fn(l->b, pid, listed);

	l->children++;
	l->fresh += ret > 0;
	return MIN(ret, 0);
}

/* All children of a process, one thread after the other. */
static int tree_list(struct tree_listing *l, pid_t pid)
{
	cleanup_fd int fd = -EBADF;
	const struct dirent64 *e;
	char path[64], buf[512];
	struct dents d;
	int ret;

	path_number(path, "/proc/", pid, "/task");
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return is_scarcity(fd) ? fd : 0;
	dents_open(&d, fd, buf, sizeof(buf));
	while ((e = dents_next(&d))) {
		if (e->d_name[0] == '.')
			continue;
		ret = children_read(fd, e->d_name, tree_child, l);
		if (ret == -EPERM || is_scarcity(ret))
			return ret;
	}
	return 0;
}

/* Note who was running: if the kill is refused, only those are continued. */
static void stop(struct bare *b, unsigned int i)
{
	if (!b->stopped[i]) {
		char state = user_state(b->pid[i]);

		b->stopped[i] = state && state != 'T';
	}
	signal_one(b, i, SIGSTOP);
}

/*
 * One pass over what is known, parents first.  A child found is confirmed by
 * a second listing of its parent, as above; and if that one is gone by then, the
 * two may have been of a stranger's children.  True: something was new.
 */
static int tree_pass(struct bare *b, bool hold, bool *ret_new)
{
	*ret_new = false;
	b->more = false;
	for (unsigned int i = 0; i < b->nr; i++) {
		struct tree_listing add = { .b = b, .fn = bare_add };
		struct tree_listing confirm = { .b = b, .fn = bare_confirm };
		unsigned int nr = b->nr;
		int ret;

		if (!b->again[i])
			continue;
		if (hold)
			stop(b, i);
		ret = tree_list(&add, b->pid[i]);
		if (ret == 0 && add.fresh)
			ret = tree_list(&confirm, b->pid[i]);
		if (signal_one(b, i, 0) == -ESRCH) {
			forget_from(b, nr);
			continue;
		}
		if (ret == -EPERM)
			return ret;
		b->more |= ret < 0;
		b->leaf[i] = ret == 0 && !add.children;
		*ret_new |= add.fresh > 0;
	}
	return 0;
}

/* Until a pass finds nobody new: those that were stopped fork no more. */
static int tree_stop(struct bare *b)
{
	int64_t until = deadline_min(b->c->base.deadline_ns,
				     now_ns() + NSEC_PER_SEC / 10);
	unsigned int quiet = 0;
	bool new;
	int ret;

	do {
		ret = tree_pass(b, true, &new);
		if (ret < 0)
			break;
		quiet = new ? 0 : quiet + 1;
		/* A stop takes effect when its process next runs. */
		if (!new)
			pause_until(now_ns() + NSEC_PER_MSEC);
	} while (quiet < 3 && now_ns() < until);
	return ret;
}

/*
 * The root last: its orphans are others' children.  If not all found room, only
 * those without children go now; the next round finds the rest.
 */
static int tree_kill_round(struct bare *b, bool all, unsigned int *ret_killed)
{
	int ret, bad = -ESRCH;

	*ret_killed = 0;
	for (unsigned int i = b->nr; i-- > 0;) {
		if (!b->again[i] || (!all && !b->leaf[i]))
			continue;
		ret = signal_one(b, i, SIGKILL);
		if (ret != -ESRCH)
			bad = ret;
		*ret_killed += ret == 0;
	}
	return bad;
}

static void tree_begin(struct bare *b)
{
	b->nr = 1;
	b->pid[0] = b->c->root;
	b->fd[0] = b->c->fd;
	b->again[0] = true;
	b->stopped[0] = false;
}

static void tree_close(struct bare *b)
{
	b->fd[0] = -EBADF;
	bare_close(b);
}

static int bare_tree(struct bare *b)
{
	struct call *c = b->c;
	int64_t end = last_ns(b),
		until = MIN(end, MAX(c->base.deadline_ns,
				     now_ns() + NSEC_PER_SEC / 10));
	bool waited = false;
	unsigned int killed;
	bool new, all;
	int ret;

	if (self_refuses(&c->base.self, c->root))
		return -EPERM;
	tree_begin(b);
	/* Before anything is stopped: may all of it be killed? */
	ret = signal_one(b, 0, 0);
	if (ret == 0)
		ret = tree_pass(b, false, &new);
	if (ret < 0)
		goto out;
	if (c->base.opts.soft_signal && !c->soft_ns) {
		c->soft_ns = now_ns();
		for (unsigned int i = 0; i < b->nr; i++)
			if (b->again[i])
				signal_one(b, i, c->base.opts.soft_signal);
		wait_fd(c->fd, POLLIN,
			deadline_min(c->base.deadline_ns,
				     deadline_add(c->soft_ns,
						  c->base.opts.grace_ns)));
	}
	do {
		ret = tree_stop(b);
		if (ret < 0 && !call_killed(c)) {
			for (unsigned int i = 0; i < b->nr; i++)
				if (b->stopped[i])
					signal_one(b, i, SIGCONT);
			goto out;
		}
		call_kill_begins(c);
		all = !b->more || now_ns() >= until;
		ret = tree_kill_round(b, all, &killed);
		b->total += killed;
		/* Without room for any of them there is nothing to wait for. */
		if (killed || !waited)
			until = MIN(end, now_ns() + NSEC_PER_SEC / 10);
		waited = true;
		for (unsigned int i = b->nr; all && i-- > 0;)
			if (b->fd[i] >= 0)
				wait_fd(b->fd[i], POLLIN, c->base.deadline_ns);
		if (all)
			break;
		pause_until(now_ns() + NSEC_PER_MSEC);
		tree_close(b);
		tree_begin(b);
	} while (1);
	ret = ret == -ESRCH ? ret : wait_fd(c->fd, POLLIN, 1);
	/* The root has exited, but not all of its descendants were in the table. */
	if (ret > 0 && b->more)
		ret = 0;
out:
	tree_close(b);
	return ret;
}

int bare_run(struct call *c, struct mrelease_report *report, size_t *nr_members,
	     int error)
{
	struct mrelease_report *rep = &c->rep;
	struct bare b;
	int ret;

	if (nr_members)
		*nr_members = 0;
	/* What it would say takes a helper. */
	if (c->base.opts.flags & MRELEASE_DRY_RUN)
		return report_error(error, report);
	memset(&b, 0, sizeof(b));
	b.c = c;
	ret = c->is_tree ? bare_tree(&b) : bare_cgroup(&b);
	if (!c->is_tree)
		bare_close(&b);
	if (ret < 0) {
		call_refused(rep, ret);
	} else {
		rep->members = MAX(b.total, c->listed);
		rep->notes |= MRELEASE_NOTE_HANDLES | MRELEASE_NOTE_NO_PIN;
		rep->stage = MRELEASE_STAGE_KILLED;
		if (c->kill_ns)
			rep->prepare_ns = c->kill_ns - c->base.start_ns;
		rep->result = MRELEASE_UNCONFIRMED;
		if (ret == 0)
			rep->notes |= MRELEASE_NOTE_NOT_EXITED;
	}
	if (ret > 0) {
		rep->result = MRELEASE_EXITED;
		rep->stage = MRELEASE_STAGE_EXITED;
		rep->exit_ns =
			now_ns() - (c->kill_ns ? c->kill_ns : c->soft_ns);
	}
	rep->error = MIN(ret, 0);
	report_out(rep, report);
	return rep->error;
}
