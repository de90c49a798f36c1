/* SPDX-License-Identifier: MIT */
/*
 * A helper: a process of our own on the caller's memory, for one call.
 *
 * ptrace stops are reported to the tracer's whole process: with SIGCHLD, and
 * to any wait() of any of its threads.  A library must not do that to its
 * host.  So the tracer is a process of its own: CLONE_VM (nothing is copied,
 * the host's memory is not made copy-on-write), no exit signal (no SIGCHLD
 * to the host, and only wait calls with __WALL or __WCLONE can see it).
 *
 * It dies with the thread that started it (PR_SET_PDEATHSIG), also when the
 * host execs, and the kernel detaches its tracees as it dies: whatever
 * happens to the caller, no victim is left stopped.
 *
 * That signal is sent with the permissions that the host has then, and it may
 * have become another user since.  So a helper that waits also asks who its
 * parent is:
 *
 *	host, root			helper, root
 *	prepares			waits for its order
 *	setuid()
 *	exits: its signal is refused
 *					a second later: another parent, ends
 *
 * A helper starts others beside itself, as children of the host (CLONE_PARENT).
 * Its own children would be orphans when it is killed, and the kernel gives an
 * orphan SIGCHLD for its exit signal:
 *
 *	helper			its child		a host that is a subreaper
 *	is killed
 *				a child of the host's
 *				exits			SIGCHLD, and a zombie that
 *							it has never heard of
 *
 * It runs on the caller's thread pointer, so it may use nothing that touches
 * thread-local storage: the calls of sys.h and plain memory only.
 */
#include <linux/futex.h>
#include <linux/stat.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "os/os.h"

static int helper_main(void *p)
{
	/* As the kernel reads it: handler, flags, restorer, mask. */
	static const unsigned long default_action[4];
	struct helper *h = p;

	/*
	 * A copy of the host's handlers came along.  All signals are blocked
	 * here, but SIG_IGN or SA_NOCLDSTOP would swallow the SIGCHLD that
	 * pin.c waits for.
	 */
	sys4(SYS_rt_sigaction, SIGCHLD, default_action, 0, 8);
	sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	/*
	 * Host killed before the prctl: nobody would tell us.  It is our
	 * parent until then, and somebody else is from then on.
	 */
	if (sys_getppid() != h->parent)
		return 1;
	sys_prctl(PR_SET_NAME, "mrelease");
	h->fn(h->arg);
	h->finished = true;
	return 0;
}

static int start(struct helper *h, int more_flags)
{
	const int flags = CLONE_VM | CLONE_FILES | CLONE_PARENT_SETTID |
			  CLONE_CHILD_CLEARTID;
	uint64_t all = ~0ULL, old;
	int saved_errno = errno;
	int ret;

	if (!SYS_RAW)
		return -ENOSYS;
	/*
	 * Both are the kernel's to write: one that starts another, and is killed
	 * in the middle of it, has left its number.
	 */
	__atomic_store_n(&h->pid, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&h->alive, 1, __ATOMIC_RELEASE);
	h->finished = false;
	sys_sigprocmask(SIG_BLOCK, &all, &old);
	ret = clone(helper_main, (char *)h->stack + h->stack_size,
		    flags | more_flags, h, &h->pid, NULL, &h->alive);
	if (ret < 0)
		ret = -errno;
	sys_sigprocmask(SIG_SETMASK, &old, NULL);
	errno = saved_errno;
	if (ret < 0)
		h->alive = 0;
	return MIN(ret, 0);
}

/*
 * The host's next child would be the first process of a PID namespace that it has
 * made, or entered, for others (a runtime before it forks the init of a container).
 * That is not for us to be: the namespace ends with its first process.  The link of
 * a namespace that has none yet is there, and leads nowhere; before Linux 4.12
 * there is no link.
 */
static bool children_go_elsewhere(void)
{
	static const char link[] = "/proc/thread-self/ns/pid_for_children";
	char ours[40], theirs[40];
	struct statx st;
	long n, m;

	n = sys_readlinkat(AT_FDCWD, "/proc/thread-self/ns/pid", ours,
			   sizeof(ours));
	if (n < 0)
		return false;
	m = sys_readlinkat(AT_FDCWD, link, theirs, sizeof(theirs));
	if (m < 0)
		return m == -ENOENT &&
		       sys_statx(AT_FDCWD, link, AT_SYMLINK_NOFOLLOW, 0, &st) ==
			       0;
	return n != m || memcmp(ours, theirs, n) != 0;
}

int helper_start(struct helper *h)
{
	if (children_go_elsewhere())
		return -ENOSYS;
	h->parent = sys_getpid();
	h->own_files = false;
	return start(h, 0);
}

int helper_start_beside(struct helper *h, const struct helper *starter)
{
	h->parent = starter->parent;
	h->own_files = starter->own_files;
	return start(h, CLONE_PARENT);
}

int helper_wait(struct helper *h, int64_t deadline_ns)
{
	struct timespec ts, *timeout = NULL;
	uint32_t alive;

	if (h->pid <= 0)
		return 0;
	while ((alive = __atomic_load_n(&h->alive, __ATOMIC_ACQUIRE))) {
		if (deadline_ns != MRELEASE_NO_DEADLINE) {
			int64_t left = deadline_ns - now_ns();

			if (left <= 0)
				return -ETIMEDOUT;
			ts.tv_sec = left / NSEC_PER_SEC;
			ts.tv_nsec = left % NSEC_PER_SEC;
			timeout = &ts;
		}
		/* Not FUTEX_PRIVATE_FLAG: the kernel's wake is not, either. */
		sys_futex(&h->alive, FUTEX_WAIT, alive, timeout);
	}
	while (sys_wait4(h->pid, NULL, __WALL) == -EINTR)
		;
	h->pid = 0;
	if (!h->finished && !h->own_files)
		files_left();
	return 0;
}

int helper_gone(struct helper *h, int64_t until_ns)
{
	uint32_t alive;

	/* Nobody was started: killed before clone(), its starter left "alive". */
	if (__atomic_load_n(&h->pid, __ATOMIC_ACQUIRE) <= 0)
		return 0;
	while ((alive = __atomic_load_n(&h->alive, __ATOMIC_ACQUIRE))) {
		int64_t left = until_ns - now_ns();
		struct timespec ts = {
			.tv_sec = left / NSEC_PER_SEC,
			.tv_nsec = left % NSEC_PER_SEC,
		};

		if (left <= 0)
			return -ETIMEDOUT;
		sys_futex(&h->alive, FUTEX_WAIT, alive, &ts);
	}
	return 0;
}

void helper_needs_host(const struct helper *h)
{
	if (sys_getppid() != h->parent)
		sys_exit(1);
}

void helper_wait_tick(const struct helper *h, uint32_t *word, uint32_t value)
{
	struct timespec ts = {
		.tv_sec = HELPER_TICK_NS / NSEC_PER_SEC,
		.tv_nsec = HELPER_TICK_NS % NSEC_PER_SEC,
	};

	helper_needs_host(h);
	sys_futex(word, FUTEX_WAIT, value, &ts);
}

void helper_kill(struct helper *h)
{
	helper_end(h, MRELEASE_NO_DEADLINE);
}

int helper_end(struct helper *h, int64_t until_ns)
{
	if (h->pid <= 0)
		return 0;
	/*
	 * One that is dead was perhaps waited for already, by the tracer's
	 * wait for anybody; then the number is somebody else's.
	 */
	if (__atomic_load_n(&h->alive, __ATOMIC_ACQUIRE))
		sys_kill(h->pid, SIGKILL);
	return helper_wait(h, until_ns);
}

bool helper_is_ours(const struct helper *h)
{
	return h->parent == sys_getpid();
}

bool helper_is_alive(const struct helper *h)
{
	return h->pid > 0 && __atomic_load_n(&h->alive, __ATOMIC_ACQUIRE);
}

void helper_forget(struct helper *h)
{
	h->pid = 0;
	h->alive = 0;
}

char state_of_process(pid_t pid)
{
	struct proc_status st;
	char path[64];

	path_number(path, "/proc/", pid, "/status");
	return status_read_path(AT_FDCWD, path, &st) < 0 ? 0 : st.state;
}

bool process_runs(pid_t pid)
{
	char state = state_of_process(pid);

	/* Without a descriptor it cannot be told: patience has its end. */
	return !state || state == 'R';
}

bool helper_runs(const struct helper *h)
{
	struct proc_status st;

	if (h->status_fd <= 0)
		return process_runs(h->pid);
	return status_read(h->status_fd, &st) < 0 || st.state == 'R';
}

void helper_open_status(struct helper *h)
{
	char path[64];
	int fd;

	path_number(path, "/proc/", h->pid, "/status");
	fd = sys_openat(AT_FDCWD, path, O_RDONLY);
	/* The caller has closed its standard input: not worth a case. */
	if (fd == 0)
		sys_close(fd);
	h->status_fd = MAX(fd, 0);
}

void helper_close_status(struct helper *h)
{
	if (h->status_fd > 0)
		sys_close(h->status_fd);
	h->status_fd = 0;
}
