/* SPDX-License-Identifier: MIT */
/* Who we are, and whose death would end the call before its report. */
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>

#include "process/process.h"

/*
 * Numbers come from /proc and go to ptrace(2), get_robust_list(2) and kill(2),
 * which take ours.  In a new PID namespace with the old /proc they are those
 * of strangers, or of nobody: who has no robust list.  NSpid has a number for
 * each namespace from that of /proc down to ours.
 */
void self_init(struct self *self, uint32_t flags)
{
	struct proc_status st;
	struct statfs sfs;
	int ret;

	memset(self, 0, sizeof(*self));
	self->claims_fd = -EBADF;
	self->allow_ancestor = flags & MRELEASE_ALLOW_ANCESTOR;
	ret = status_read_path(AT_FDCWD, "/proc/self/status", &st);
	if (ret == 0) {
		self->foreign_proc = st.foreign_proc;
		self->pid = st.pid;
		self->parent = st.ppid;
	} else if (ret == -ENOENT && sys_statfs("/proc", &sfs) == 0) {
		/* /proc belongs to a PID namespace without us, as after nsenter -m. */
		self->foreign_proc = sfs.f_type == PROC_SUPER_MAGIC;
	}
	/* Not to be read, or those of another namespace. */
	if (self->pid <= 0 || self->foreign_proc) {
		self->pid = sys_getpid();
		self->parent = sys_getppid();
	}
}

/*
 * 0: there is none in our namespace.  -1: it cannot be told.
 *
 * Of status: stat waits for an ancestor that is in execve().  hidepid hides those
 * of other users, sudo's among them, though what is above it may be ours to kill.
 * A pidfd can be had of every process, and tells since Linux 6.13.
 */
static pid_t parent_of(pid_t pid, bool *ret_blind)
{
	cleanup_fd int fd = -EBADF;
	struct proc_status st;
	char path[64];
	pid_t parent;
	int ret;

	path_number(path, "/proc/", pid, "/status");
	ret = status_read_path(AT_FDCWD, path, &st);
	if (ret == 0)
		return st.ppid;
	/*
	 * A fork bomb may have used up the descriptors, and must be killed all
	 * the same.  Our parent is known without one; a helper with a table of
	 * its own lists the ancestors above it.
	 */
	if (is_scarcity(ret)) {
		*ret_blind = true;
		return 0;
	}
	fd = sys_pidfd_open(pid, 0);
	ret = fd < 0 ? fd : victim_parent(fd, &parent);
	/* Gone meanwhile: what we descend from is the one above it. */
	return ret == 0 ? parent : -1;
}

/* False: no thread of it has a child.  "children" waits for nobody. */
static bool may_have_child(pid_t pid)
{
	cleanup_fd int task_fd = -EBADF;
	char path[64], list[1024], buf[2];
	struct dents d;
	pid_t tid;

	path_number(path, "/proc/", pid, "/task");
	task_fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	if (task_fd < 0)
		return true;
	dents_open(&d, task_fd, list, sizeof(list));
	while ((tid = dents_pid(&d))) {
		path_number(path, "", tid, "/children");
		if (read_file(task_fd, path, buf, sizeof(buf)) != 0)
			return true;
	}
	return d.error < 0;
}

void self_list_ancestors(struct self *self)
{
	pid_t pid;

	if (self->allow_ancestor)
		return;
	self->blind = false;
	self->nr_ancestors = 0;
	for (pid = self->parent; pid > 1; pid = parent_of(pid, &self->blind)) {
		if (self->nr_ancestors == ARRAY_SIZE(self->ancestors))
			break;
		self->ancestors[self->nr_ancestors++] = pid;
	}
	self->more = pid < 0 || pid > 1;
	self->listed = true;
}

/*
 * Upwards from us.  Who meets its parent first need go no further: above its
 * parent there is no child of that.
 */
static bool is_ancestor(const struct self *self, pid_t pid, pid_t parent)
{
	unsigned int i = 0;
	bool blind;
	pid_t at;

	for (at = self->parent; at > 1 && at != parent && i < MAX_ANCESTORS;
	     at = parent_of(at, &blind), i++)
		if (at == pid)
			return true;
	/* The walk was cut short: any process with a child may be an ancestor. */
	return (at < 0 || i == MAX_ANCESTORS) && may_have_child(pid);
}

static bool is_listed(const struct self *self, pid_t pid)
{
	for (unsigned int i = 0; i < self->nr_ancestors; i++)
		if (self->ancestors[i] == pid)
			return true;
	return self->more && may_have_child(pid);
}

int self_refuses_child(const struct self *self, pid_t pid, pid_t parent)
{
	if (self->foreign_proc)
		return MRELEASE_REFUSE_FOREIGN;
	if (pid == 1)
		return MRELEASE_REFUSE_INIT;
	if (pid == self->pid)
		return MRELEASE_REFUSE_SELF;
	if (self->allow_ancestor)
		return MRELEASE_REFUSE_NONE;
	if (self->listed ? is_listed(self, pid) :
			   is_ancestor(self, pid, parent))
		return MRELEASE_REFUSE_ANCESTOR;
	return MRELEASE_REFUSE_NONE;
}

int self_refuses(const struct self *self, pid_t pid)
{
	return self_refuses_child(self, pid, 0);
}
