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
 * It runs on the caller's thread pointer, so it may use nothing that touches
 * thread-local storage: the calls of sys.h and plain memory only.
 */
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "private.h"

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
	return 0;
}

int helper_start(struct helper *h)
{
	int flags = CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	uint64_t all = ~0ULL, old;
	int saved_errno = errno;
	int ret;

	if (!SYS_RAW)
		return -ENOSYS;
	if (!(h->flags & HELPER_OWN_FILES))
		flags |= CLONE_FILES;
	if (h->flags & HELPER_SIGCHLD)
		flags |= SIGCHLD;
	h->parent = sys_getpid();
	sys_sigprocmask(SIG_BLOCK, &all, &old);
	ret = clone(helper_main, (char *)h->stack + h->stack_size, flags, h,
		    &h->alive, NULL, &h->alive);
	if (ret < 0)
		ret = -errno;
	sys_sigprocmask(SIG_SETMASK, &old, NULL);
	errno = saved_errno;
	h->pid = MAX(ret, 0);
	return MIN(ret, 0);
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
	return 0;
}

/*
 * Its parent, another helper, is dead: whoever was killed in the middle of
 * clone() cannot say whether there is one, but the kernel has set "alive".
 */
void helper_gone(struct helper *h)
{
	uint32_t alive;

	while ((alive = __atomic_load_n(&h->alive, __ATOMIC_ACQUIRE)))
		sys_futex(&h->alive, FUTEX_WAIT, alive, NULL);
}

void helper_kill(struct helper *h)
{
	if (h->pid <= 0)
		return;
	/*
	 * One that is dead was perhaps waited for already, by the tracer's
	 * wait for anybody; then the number is somebody else's.
	 */
	if (__atomic_load_n(&h->alive, __ATOMIC_ACQUIRE))
		sys_kill(h->pid, SIGKILL);
	helper_wait(h, MRELEASE_NO_DEADLINE);
}
