/* SPDX-License-Identifier: MIT */
/*
 * One process, and the handles on it that outlive it.
 *
 * A number is only ever an input.  Everything is opened below /proc/PID and
 * then checked against the pidfd: a PID cannot be reused before its process
 * is reaped, so if the pidfd still has a process after the opening, the
 * opened directory was of that process.
 *
 * /proc/PID/mem and pagemap hold mm_count, not mm_users: they delay nothing,
 * and they still answer when the process is gone.
 */
#include <dirent.h>
#include <linux/stat.h>
#include <poll.h>
#include <string.h>

#include "private.h"

#define PF_KTHREAD 0x00200000
/* PIDFD_THREAD (Linux 6.9) as it shows in fdinfo: O_EXCL. */
#define PIDFD_THREAD_FLAG 0200

void victim_init(struct victim *v)
{
	memset(v, 0, sizeof(*v));
	v->pidfd = v->mem_fd = v->pagemap_fd = v->stat_fd = -EBADF;
	v->status_fd = v->maps_fd = v->task_fd = v->meminfo_fd = -EBADF;
	v->dir_fd = -EBADF;
	v->rep.size = sizeof(v->rep);
	v->rep.release_ns = -1;
	v->rep.exit_ns = -1;
	v->rep.result = MRELEASE_FAILED;
}

void victim_close(struct victim *v)
{
	close_keep(&v->pidfd);
	close_keep(&v->dir_fd);
	close_keep(&v->mem_fd);
	close_keep(&v->pagemap_fd);
	close_keep(&v->stat_fd);
	close_keep(&v->status_fd);
	close_keep(&v->maps_fd);
	close_keep(&v->task_fd);
	close_keep(&v->meminfo_fd);
}

/* Descriptors are scarce: what can be opened again is closed. */
void victim_thin(struct victim *v)
{
	close_keep(&v->mem_fd);
	/* Not stat: with a dead leader it is not in dir_fd's directory. */
	close_keep(&v->status_fd);
	close_keep(&v->maps_fd);
	close_keep(&v->task_fd);
	close_keep(&v->meminfo_fd);
}

int victim_refuse(struct victim *v, enum mrelease_refusal why)
{
	v->rep.result = MRELEASE_REFUSED;
	v->rep.refusal = why;
	return -EPERM;
}

static int victim_gone(struct victim *v)
{
	v->rep.result = MRELEASE_GONE;
	return -ESRCH;
}

/* A file of its own directory, open or (victim_thin()) to be opened. */
static long read_own(const struct victim *v, int fd, const char *name,
		     char *buf, size_t size)
{
	long len;

	if (fd >= 0 || v->dir_fd < 0)
		return read_at(fd, buf, size);
	len = read_file(v->dir_fd, name, buf, size);
	return len == -ENOENT ? -ESRCH : len;
}

int victim_stat(const struct victim *v, struct proc_stat *ret)
{
	char buf[1024];
	long len = read_own(v, v->stat_fd, "stat", buf, sizeof(buf));

	if (len < 0)
		return len;
	return len == 0 ? -ESRCH : parse_stat(buf, len, ret);
}

uint32_t victim_threads(const struct victim *v)
{
	struct proc_stat st;

	return victim_stat(v, &st) < 0 ? 0 : st.threads;
}

int victim_status(const struct victim *v, struct proc_status *ret)
{
	char buf[4096];
	long len = read_own(v, v->status_fd, "status", buf, sizeof(buf));

	if (len < 0)
		return len;
	return len == 0 ? -ESRCH : parse_status(buf, len, ret);
}

int victim_signal(struct victim *v, int sig)
{
	struct proc_stat st;
	int ret;

	if (!v->use_kill) {
		ret = sys_pidfd_send_signal(v->pidfd, sig);
		if (ret != -ENOSYS && ret != -EPERM && ret != -EBADF)
			return ret;
		/*
		 * EPERM may be the kernel's word or that of a seccomp filter
		 * which does not know the call.  kill(2) tells them apart.
		 */
		v->use_kill = true;
	}
	/*
	 * By number, Linux before 5.1 or a filter.  The open stat file is
	 * bound to the process, not to the number, and answers ESRCH once
	 * that process is reaped.  Left over is the time from this read to
	 * the kill; with a pin there is none, since a tracee cannot be
	 * reaped behind its tracer's back.
	 */
	ret = victim_stat(v, &st);
	if (ret < 0)
		return ret;
	return sys_kill(v->pid, sig);
}

bool victim_is_killed(const struct victim *v)
{
	struct proc_status st;

	return victim_exited(v) > 0 ||
	       (victim_status(v, &st) == 0 && st.killed);
}

int victim_exited(const struct victim *v)
{
	struct pollfd pfd = { .fd = v->pidfd, .events = POLLIN };
	struct timespec zero = { 0 };
	struct proc_stat st;
	int ret;

	if (!v->is_dir)
		return sys_ppoll(&pfd, 1, &zero) > 0;
	ret = victim_stat(v, &st);
	if (ret < 0)
		return ret == -ESRCH;
	return (st.state == 'Z' || st.state == 'X') && st.threads <= 1;
}

int victim_wait_exit(const struct victim *v, int64_t deadline_ns)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4;

	if (!v->is_dir)
		return wait_fd(v->pidfd, POLLIN, deadline_ns);
	/* Before Linux 5.3 nothing can be waited for: look, ever less often. */
	while (!victim_exited(v)) {
		int64_t now = now_ns();

		if (now >= deadline_ns)
			return 0;
		pause_until(deadline_min(deadline_ns, now + pause_ns));
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
	return 1;
}

int victim_mm_users(const struct victim *v)
{
	char c;
	long ret;

	/*
	 * pagemap_read() and mem_rw() return 0 when mm_users is 0, before
	 * they look at anything else.  A count of one byte is EINVAL for
	 * pagemap, and that is said without a lock; mem has to take the
	 * mmap_lock, which a victim that is forking holds for as long as it
	 * waits for its turn to run.
	 */
	if (v->pagemap_fd >= 0)
		ret = sys_pread(v->pagemap_fd, &c, 1, 0);
	else if (v->mem_fd >= 0)
		ret = sys_pread(v->mem_fd, &c, 1, 0);
	else
		return v->pagemap_fd;
	return ret == 0 ? 0 : 1;
}

/*
 * Frozen by a v1 freezer, where not even SIGKILL moves it (v2 lets it die).
 * Its state shows as D; where it sleeps tells, __refrigerator().
 */
bool victim_frozen(const struct victim *v)
{
	char buf[128];
	long len;

	if (v->dir_fd < 0)
		return false;
	len = read_file(v->dir_fd, "wchan", buf, sizeof(buf));
	return len > 0 && strstr(buf, "refrigerator");
}

/* What is there now, by kind: the report's "before". */
int victim_measure(struct victim *v)
{
	struct proc_status st;
	int ret = victim_status(v, &st);
	char buf[4096];
	long len;

	if (ret < 0)
		return ret;
	v->rep.threads = st.threads;
	v->rep.tracer_pid = st.tracer;
	if (st.tracer)
		v->rep.notes |= MRELEASE_NOTE_TRACED;
	/* Not by us: whoever it was, the signal has been there before. */
	if (st.killed && !v->killed)
		v->rep.notes |= MRELEASE_NOTE_WAS_DYING;
	if (st.dumping_core)
		v->rep.notes |= MRELEASE_NOTE_COREDUMP;
	v->no_mm = !st.has_mm;
	if (v->no_mm)
		return -ESRCH;
	v->rep.before = st.mem;
	if (!st.mem.shmem_bytes)
		return 0;
	if (v->meminfo_fd < 0)
		v->meminfo_fd = sys_openat(AT_FDCWD, "/proc/meminfo", O_RDONLY);
	len = read_at(v->meminfo_fd, buf, sizeof(buf));
	if (len > 0)
		parse_kib_line(buf, len, "Shmem", &v->shmem_before);
	return 0;
}

static int pid_of(struct victim *v, int fd)
{
	char path[64], buf[1024];
	struct proc_stat st;
	uint64_t flags;
	pid_t pid;
	long len;

	/* A /proc/PID directory has a stat file in it; a pidfd has nothing. */
	len = read_file(fd, "stat", buf, sizeof(buf));
	if (len >= 0) {
		if (parse_stat(buf, len, &st) < 0)
			return -EINVAL;
		v->is_dir = true;
		v->rep.notes |= MRELEASE_NOTE_NO_PIDFD;
		v->pid = st.pid;
		return 0;
	}
	if (len == -ESRCH)
		return victim_gone(v);
	path_number(path, "/proc/self/fdinfo/", fd, "");
	len = read_file(AT_FDCWD, path, buf, sizeof(buf));
	if (len < 0)
		return len == -ENOENT ? -EBADF : len;
	if (parse_fdinfo_pid(buf, len, &pid, &flags) < 0)
		return -EINVAL;
	if (pid < 0)
		return victim_gone(v);
	if (pid == 0)
		return victim_refuse(v, MRELEASE_REFUSE_FOREIGN);
	if (flags & PIDFD_THREAD_FLAG)
		return victim_refuse(v, MRELEASE_REFUSE_THREAD);
	v->pid = pid;
	return 0;
}

/* A thread that is alive when the leader is a zombie: its directory. */
static int open_live_thread(struct victim *v, int dir_fd)
{
	char dents[4096], path[32], buf[1024];
	long len;

	sys_lseek(v->task_fd, 0, SEEK_SET);
	while ((len = sys_getdents64(v->task_fd, dents, sizeof(dents))) > 0) {
		for (long off = 0; off < len;) {
			struct dirent64 *d = (void *)(dents + off);
			const char *p = d->d_name;
			struct proc_stat st;
			uint64_t tid;
			long n;

			off += d->d_reclen;
			if (parse_u64(&p, p + strlen(p), &tid) < 0)
				continue;
			path_number(path, "", tid, "/stat");
			n = read_file(v->task_fd, path, buf, sizeof(buf));
			if (n <= 0 || parse_stat(buf, n, &st) < 0 ||
			    st.state == 'Z' || st.state == 'X')
				continue;
			v->tid = tid;
			path_number(path, "task/", tid, "");
			return sys_openat(dir_fd, path, O_PATH | O_DIRECTORY);
		}
	}
	return -ESRCH;
}

/*
 * What the reaping and the looking need.  Permissions may hide any of these;
 * the release does with what is there.
 */
int victim_complete(struct victim *v)
{
	int fd = v->dir_fd;

	if (fd < 0 || v->maps_fd >= 0)
		return 0;
	v->mem_fd = sys_openat(fd, "mem", O_RDONLY);
	v->maps_fd = sys_openat(fd, "maps", O_RDONLY);
	if (v->task_fd < 0)
		v->task_fd = sys_openat(fd, v->tid == v->pid ? "task" : "..",
					O_RDONLY | O_DIRECTORY);
	if (v->mem_fd == -EMFILE || v->maps_fd == -EMFILE ||
	    v->task_fd == -EMFILE)
		return -EMFILE;
	v->compat = robust_is_compat(v);
	if (v->compat)
		v->rep.notes |= MRELEASE_NOTE_COMPAT;
	return 0;
}

/* The least: what tells how much there is, and later that nobody has it. */
static int open_handles(struct victim *v, const struct proc_stat *st)
{
	int fd;

	if (st->state == 'Z' && st->threads > 1) {
		v->task_fd =
			sys_openat(v->dir_fd, "task", O_RDONLY | O_DIRECTORY);
		fd = v->task_fd < 0 ? v->task_fd :
				      open_live_thread(v, v->dir_fd);
		if (fd >= 0) {
			close_keep(&v->dir_fd);
			v->dir_fd = fd;
		}
	}
	v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	v->pagemap_fd = sys_openat(v->dir_fd, "pagemap", O_RDONLY);
	if (v->status_fd == -EMFILE || v->pagemap_fd == -EMFILE)
		return -EMFILE;
	return 0;
}

static int victim_check(struct victim *v, const struct self *self,
			const struct proc_stat *st)
{
	int ret, why = self_refuses(self, v->pid);

	if (!why && st->flags & PF_KTHREAD)
		why = MRELEASE_REFUSE_KTHREAD;
	if (why)
		return victim_refuse(v, why);
	ret = victim_signal(v, 0);
	if (ret == -EPERM || ret == -EACCES)
		return victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
	if (ret == -EINVAL)
		return victim_refuse(v, MRELEASE_REFUSE_FOREIGN);
	if (ret == -ESRCH)
		return victim_gone(v);
	return ret;
}

/*
 * A process that shows no directory: reaped, or hidden from us (hidepid).
 * EPERM is the kernel's word or a filter's: kill(2) tells them apart.
 */
static int victim_unseen(struct victim *v)
{
	int ret = v->is_dir ? -ESRCH : sys_pidfd_send_signal(v->pidfd, 0);

	if (ret == -ENOSYS || ret == -EPERM)
		ret = sys_kill(v->pid, 0);
	if (ret == -ESRCH)
		return victim_gone(v);
	return victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
}

/* With v->pid and v->pidfd set: the rest, checked against the pidfd. */
static int open_rest(struct victim *v, const struct self *self)
{
	struct proc_stat st;
	char path[64];
	int ret;

	v->tid = v->pid;
	v->rep.pid = v->pid;
	path_number(path, "/proc/", v->pid, "");
	if (v->is_dir)
		v->dir_fd = sys_openat(v->pidfd, ".", O_PATH | O_DIRECTORY);
	else
		v->dir_fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (v->dir_fd < 0)
		return v->dir_fd == -ENOENT ? victim_unseen(v) : v->dir_fd;
	v->stat_fd = sys_openat(v->dir_fd, "stat", O_RDONLY);
	if (v->stat_fd == -ENOENT || v->stat_fd == -ESRCH)
		return victim_unseen(v);
	if (v->stat_fd < 0)
		return v->stat_fd;
	ret = victim_stat(v, &st);
	if (ret < 0)
		return ret == -ESRCH ? victim_gone(v) : ret;
	memcpy(v->rep.comm, st.comm, sizeof(v->rep.comm));
	v->rep.threads = st.threads;
	v->start_time = st.start_time;
	v->start_stack = st.start_stack;
	ret = victim_check(v, self, &st);
	if (ret < 0)
		return ret;
	v->rep.stage = MRELEASE_STAGE_PREPARED;
	if ((st.state == 'Z' || st.state == 'X') && st.threads <= 1) {
		v->zombie = true;
		v->rep.notes |= MRELEASE_NOTE_ZOMBIE;
		return 0;
	}
	ret = open_handles(v, &st);
	if (ret < 0)
		return ret;
	/*
	 * Asked after pagemap was opened: where that failed for want of an
	 * address space, there is none now either.
	 */
	if (victim_measure(v) == -ESRCH) {
		v->rep.notes |= MRELEASE_NOTE_WAS_DYING;
		v->no_mm = true;
	}
	return 0;
}

/*
 * An open mem file stays with the address space, exec(2) does not.  Most often
 * the old one has no users any more; asked in this order, whoever has one then
 * has another.  That of a vfork() child is its parent's and goes on: but the
 * stack begins somewhere else in the new one.
 */
bool victim_execed(const struct victim *v, struct proc_stat *ret)
{
	bool unused = victim_mm_users(v) == 0;

	if (victim_stat(v, ret) < 0) {
		memset(ret, 0, sizeof(*ret));
		return false;
	}
	return ret->start_stack &&
	       (unused || ret->start_stack != v->start_stack);
}

void victim_renew(struct victim *v)
{
	struct proc_stat st;
	char path[64];
	int fd;

	close_keep(&v->mem_fd);
	close_keep(&v->maps_fd);
	close_keep(&v->pagemap_fd);
	v->rep.notes &= ~(uint32_t)MRELEASE_NOTE_COMPAT;
	/* Whoever calls exec is the leader from then on. */
	if (v->tid != v->pid) {
		path_number(path, "/proc/", v->pid, "");
		fd = v->is_dir ?
			     sys_openat(v->pidfd, ".", O_PATH | O_DIRECTORY) :
			     sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
		if (fd < 0 || victim_signal(v, 0) == -ESRCH) {
			close_keep(&fd);
			return;
		}
		close_keep(&v->dir_fd);
		close_keep(&v->status_fd);
		close_keep(&v->task_fd);
		v->dir_fd = take_fd(&fd);
		v->tid = v->pid;
		v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	}
	/* Before the files: one more exec is one that is seen. */
	if (victim_stat(v, &st) == 0)
		v->start_stack = st.start_stack;
	v->pagemap_fd = sys_openat(v->dir_fd, "pagemap", O_RDONLY);
	/* Without an address space mem can be opened, and says nothing. */
	if (v->pagemap_fd >= 0)
		victim_complete(v);
}

int victim_open(struct victim *v, int pidfd, const struct self *self)
{
	int ret = pid_of(v, pidfd);

	if (ret < 0)
		return ret;
	v->pidfd = sys_fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
	if (v->pidfd < 0)
		return v->pidfd;
	return open_rest(v, self);
}

int victim_open_pid(struct victim *v, pid_t pid, const struct self *self)
{
	v->pid = pid;
	v->pidfd = sys_pidfd_open(pid, 0);
	if (v->pidfd == -ENOSYS || v->pidfd == -EPERM) {
		v->pidfd = mrelease_open(pid, 0);
		v->is_dir = true;
		v->rep.notes |= MRELEASE_NOTE_NO_PIDFD;
	}
	if (v->pidfd < 0)
		return v->pidfd;
	return open_rest(v, self);
}
