/* SPDX-License-Identifier: MIT */
/*
 * What the handles on a process tell (handles.c).
 *
 * Which of it can wait for the process?  In an execve(), whose exec_update_lock
 * the kernel may hold for as long as it takes to close a file: opening mem,
 * maps, pagemap and auxv, and reading stat and wchan.  Reading status never
 * does, nor does anything that is done with the pidfd: that is what a caller
 * may use which must not hang.
 */
#include <poll.h>
#include <string.h>

#include "process/process.h"

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
	int err;

	/* Open, or (victim_thin()) to be opened. */
	if (v->status_fd >= 0 || v->dir_fd < 0)
		return status_read(v->status_fd, ret);
	err = status_read_path(v->dir_fd, "status", ret);
	return err == -ENOENT ? -ESRCH : err;
}

int victim_signal(struct victim *v, int sig)
{
	struct proc_status st;
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
	 * By number, Linux before 5.1 or a filter.  The open status file is
	 * bound to the process, not to the number, and answers ESRCH once
	 * that process is reaped.  Left over is the time from this read to
	 * the kill; with a pin there is none, since a tracee cannot be
	 * reaped behind its tracer's back.
	 */
	ret = victim_status(v, &st);
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
	struct proc_status st;
	int ret;

	if (!v->is_dir)
		return sys_ppoll(&pfd, 1, &zero) > 0;
	ret = victim_status(v, &st);
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
	static const struct memory nothing;
	struct proc_status st;
	int ret = victim_status(v, &st);

	if (ret < 0)
		return ret;
	v->rep.threads = st.threads;
	v->rep.tracer_pid = st.tracer;
	if (st.tracer)
		v->rep.notes |= MRELEASE_NOTE_TRACED;
	/* Not by us: the signal has been there before. */
	if (st.killed && !v->killed)
		v->rep.notes |= MRELEASE_NOTE_WAS_DYING;
	if (st.dumping_core)
		v->rep.notes |= MRELEASE_NOTE_COREDUMP;
	v->no_mm = !st.has_mm;
	/* What it had has gone without us. */
	if (v->no_mm && v->claimed && victim_mm_users(v) != 1)
		account_open(&v->rep, &nothing);
	if (v->no_mm)
		return -ESRCH;
	account_open(&v->rep, &st.mem);
	v->pinned_bytes = st.mem.pinned;
	v->rss_shmem = st.mem.shmem;
	v->rss_hugetlb = st.mem.hugetlb;
	v->counted = false;
	return 0;
}

/*
 * An open mem file stays with the address space, exec(2) does not.  Most often
 * the old one has no users any more; asked in this order, a process with
 * one then has another.  That of a vfork() child is its parent's and goes on: but the
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
