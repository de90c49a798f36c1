/* SPDX-License-Identifier: MIT */
/*
 * Who else uses the address space: CLONE_VM without CLONE_THREAD, or a vfork
 * child before its exec.  The kernel has no list of them to show; kcmp(2)
 * compares two processes.
 *
 * process_mrelease() refuses (EINVAL) while one of them is not dying, so
 * nothing is ever unmapped under a living process.
 */
#include <dirent.h>
#include <poll.h>
#include <string.h>

#include "release/release.h"

#define KCMP_VM	     1
#define MAX_SEARCHES 16
#define PF_EXITING   0x4
#define PF_KTHREAD   0x00200000
#define SIGKILL_BIT  (1ULL << (SIGKILL - 1))

/* One that cannot be read has gone. */
static bool stat_of(int dir_fd, const char *path, struct proc_stat *ret)
{
	char buf[1024];
	long len = read_file(dir_fd, path, buf, sizeof(buf));

	return len > 0 && parse_stat(buf, len, ret) == 0;
}

static bool is_exiting(const struct proc_stat *st)
{
	return st->flags & PF_EXITING || st->state == 'Z' || st->state == 'X';
}

/* arg: its directory "task". */
static int lives_on(void *arg, pid_t tid)
{
	const int *task_fd = arg;
	struct proc_stat st;
	char path[64];

	path_number(path, "", tid, "/stat");
	return stat_of(*task_fd, path, &st) && !is_exiting(&st) &&
	       !(st.pending & SIGKILL_BIT);
}

static bool all_dying(pid_t pid)
{
	cleanup_fd int task_fd = -EBADF;
	char path[64], buf[2048];

	path_number(path, "/proc/", pid, "/task");
	task_fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	return task_fd < 0 || dents_numbers(task_fd, buf, sizeof(buf), lives_on,
					    &task_fd) != 1;
}

bool is_dying(pid_t pid)
{
	struct proc_status status;
	struct proc_stat st;
	char path[64];

	/* In its exit stop it has taken the signal, and is not exiting yet. */
	path_number(path, "/proc/", pid, "/status");
	if (status_read_path(AT_FDCWD, path, &status) == 0 && status.killed)
		return true;
	path_number(path, "/proc/", pid, "/stat");
	/*
	 * A kernel thread has no address space, and neither has a victim
	 * that is past its exit_mm(): to kcmp(2) the two are equal.
	 */
	if (!stat_of(AT_FDCWD, path, &st) || st.flags & PF_KTHREAD)
		return true;
	/*
	 * A main thread may exit by itself, and the others live on in the
	 * memory; then a SIGKILL that was sent to that thread only does nothing.
	 */
	if (is_exiting(&st))
		return st.threads <= 1 || all_dying(pid);
	return st.pending & SIGKILL_BIT;
}

struct search {
	pid_t tid;
	uint64_t pages;
	int proc_fd;
	pid_t pid;
	struct scratch *s;
	int (*fn)(void *arg, pid_t pid);
	void *arg;
	struct sharers *found;
};

/* kcmp(2) may wait for a process in execve(): see others.c. */
static int search_one(struct search *f, pid_t pid)
{
	uint64_t pages = f->pages;
	pid_t tid = user_in(f->proc_fd, pid, &pages);
	int cmp;

	if (!tid)
		return 0;
	cmp = sys_kcmp(f->tid, tid, KCMP_VM);
	if (cmp == -ENOSYS)
		return cmp;
	if (cmp != 0 || is_dying(pid))
		return 0;
	if (!f->found->count++)
		f->found->first = pid;
	return f->fn ? f->fn(f->arg, pid) : 0;
}

static int search(struct search *f)
{
	struct dents d;
	pid_t pid;
	int ret;

	memset(f->found, 0, sizeof(*f->found));
	sys_lseek(f->proc_fd, 0, SEEK_SET);
	dents_open(&d, f->proc_fd, f->s->buf, sizeof(f->s->buf));
	while ((pid = dents_pid(&d))) {
		ret = pid == f->pid ? 0 : search_one(f, pid);
		if (ret < 0)
			return ret;
	}
	return d.error;
}

int sharers_find(const struct victim *v, struct scratch *s,
		 int (*fn)(void *arg, pid_t pid), void *arg,
		 struct sharers *ret)
{
	cleanup_fd int proc_fd =
		sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	struct search f = {
		.proc_fd = proc_fd,
		.pid = v->pid,
		.s = s,
		.fn = fn,
		.arg = arg,
		.found = ret,
	};
	uint64_t after;
	int err;

	memset(ret, 0, sizeof(*ret));
	if (proc_fd < 0)
		return proc_fd;
	/* A victim that maps and unmaps meanwhile is compared once more. */
	for (int tries = 0; tries < MAX_SEARCHES; tries++) {
		f.tid = user_of(v, &f.pages);
		if (!f.tid)
			return 0;
		err = search(&f);
		if (err < 0)
			return err;
		user_of(v, &after);
		if (!after || after == f.pages)
			return err;
	}
	return err;
}

void sharers_note(struct victim *v, const struct sharers *found)
{
	v->rep.sharers = found->count;
	v->rep.sharer_pid = found->first;
	if (found->count)
		v->rep.notes |= MRELEASE_NOTE_SHARED;
}

static int check_one(void *arg, pid_t pid)
{
	struct release *r = arg;

	if (self_refuses(&r->self, pid))
		return -EPERM;
	return sys_kill(pid, 0) == -EPERM ? -EPERM : 0;
}

/* Before the first signal: may every sharer be killed? */
int sharers_check(struct release *r, struct victim *v)
{
	struct sharers found;
	int ret = sharers_find(v, r->scratch, check_one, r, &found);

	v->rep.sharers = found.count;
	v->rep.sharer_pid = found.first;
	if (ret == -EPERM)
		return victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
	return ret;
}

struct kill_arg {
	struct release *r;
	struct victim *v;
};

/* Now, by threads that have it: the main thread of either may have exited. */
static bool has_memory_of(const struct victim *v, pid_t pid)
{
	cleanup_fd int proc_fd =
		sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	uint64_t pages;
	pid_t own = user_of(v, &pages), tid;

	/* If it maps or unmaps meanwhile, all are searched once more. */
	tid = own && proc_fd >= 0 ? user_in(proc_fd, pid, &pages) : 0;
	return tid && sys_kcmp(own, tid, KCMP_VM) == 0;
}

static int kill_one(void *arg, pid_t pid)
{
	struct kill_arg *a = arg;
	cleanup_fd int fd = -EBADF;

	if (self_refuses(&a->r->self, pid))
		return 0;
	/*
	 * A member is killed with the rest, and looked at (shared.c).  It must
	 * not be waited for: it stands in its exit stop until it was.
	 */
	if (a->r->has_victim && a->r->has_victim(a->r->group, pid))
		return 0;
	fd = sys_pidfd_open(pid, 0);
	/*
	 * The number may mean another process since the comparison; compare
	 * again now that the pidfd holds on to one, then signal that one.
	 */
	if (fd >= 0 && has_memory_of(a->v, pid) &&
	    sys_pidfd_send_signal(fd, SIGKILL) == 0 &&
	    a->r->nr_sharer_fds < ARRAY_SIZE(a->r->sharer_fds))
		a->r->sharer_fds[a->r->nr_sharer_fds++] = take_fd(&fd);
	return 0;
}

/*
 * Before anything is reaped: they have robust lists of their own, in this
 * memory.  It stays whole until the last of them has walked its list.
 */
bool sharers_exit(struct release *r)
{
	for (unsigned int i = 0; i < r->nr_sharer_fds; i++)
		if (wait_fd(r->sharer_fds[i], POLLIN, r->deadline_ns) <= 0)
			r->sharer_left = true;
	return !r->sharer_left;
}

/* Those that were killed with the victim: gone too, when the call returns. */
void sharers_wait(struct release *r)
{
	for (unsigned int i = 0; i < r->nr_sharer_fds; i++)
		wait_fd(r->sharer_fds[i], POLLIN, r->deadline_ns);
	sharers_close(r);
}

void sharers_close(struct release *r)
{
	for (unsigned int i = 0; i < r->nr_sharer_fds; i++)
		sys_close(r->sharer_fds[i]);
	r->nr_sharer_fds = 0;
}

int sharers_kill(struct release *r, struct victim *v)
{
	struct kill_arg arg = { .r = r, .v = v };
	struct sharers found;

	return sharers_find(v, r->scratch, kill_one, &arg, &found);
}
