/* SPDX-License-Identifier: MIT */
/*
 * The pin: a traced thread stops in PTRACE_EVENT_EXIT, before exit_mm(), so
 * that the address space stays findable for process_mrelease() and readable
 * for the verification.
 *
 * PTRACE_SEIZE stops nothing by itself.  SIGKILL cannot be held up by the
 * stop either: the thread has taken the signal when it gets there.  If the
 * tracer dies the kernel detaches its tracees and they run on.
 *
 * Everything here runs in the tracer, which is a helper (helper.c).
 */
#include <dirent.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "private.h"

static int seize(struct victim *v, pid_t tid)
{
	int ret = sys_ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXIT);

	if (ret == 0)
		v->pins[v->nr_pins++] = tid;
	return ret;
}

int pin_seize(struct victim *v, struct scratch *s)
{
	long len;
	int ret;

	/*
	 * Between the check of the identity and this attach the process may
	 * be gone and its number used again.  Then the pidfd tells, before
	 * anything is killed, and the stranger is let go: it was not even
	 * stopped.
	 */
	ret = seize(v, v->tid);
	if (v->rep.threads <= 1 || v->task_fd < 0)
		return v->nr_pins ? 0 : ret;
	sys_lseek(v->task_fd, 0, SEEK_SET);
	/* From the far end of one buffer: likely an old thread, not a new. */
	len = sys_getdents64(v->task_fd, s->buf, 2048);
	for (long off = 0; off < len && v->nr_pins < MAX_PINS;) {
		struct dirent64 *d = (void *)(s->buf + off);
		const char *p = d->d_name;
		uint64_t tid;

		off += d->d_reclen;
		if (parse_u64(&p, p + strlen(p), &tid) == 0 &&
		    (pid_t)tid != v->tid)
			seize(v, tid);
	}
	return v->nr_pins ? 0 : ret;
}

/*
 * Detach pin i once it stands in its exit stop; before that ptrace has no
 * way to let go of a thread but for the tracer to die.
 */
int pin_drop_one(struct victim *v, unsigned int i, int64_t deadline_ns)
{
	uint64_t chld = 1ULL << (SIGCHLD - 1);
	struct timespec ts;
	int status, ret;

	while (v->pins[i]) {
		int64_t left;

		ret = sys_wait4(v->pins[i], &status, __WALL | WNOHANG);
		if (ret == -EINTR)
			continue;
		if (ret < 0 || (ret > 0 && !WIFSTOPPED(status))) {
			/* Gone, and its wait status with it. */
			v->pins[i] = 0;
			break;
		}
		if (ret > 0 &&
		    status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			sys_ptrace(PTRACE_DETACH, v->pins[i], 0, 0);
			v->pins[i] = 0;
			break;
		}
		if (ret > 0)
			continue;
		/*
		 * SIGCHLD is blocked and stays pending from the stop on, so
		 * a stop between the wait4 and this is not missed.
		 */
		left = deadline_ns == MRELEASE_NO_DEADLINE ?
			       NSEC_PER_SEC :
			       deadline_ns - now_ns();
		if (left <= 0)
			return -ETIMEDOUT;
		ts.tv_sec = left / NSEC_PER_SEC;
		ts.tv_nsec = left % NSEC_PER_SEC;
		sys_sigtimedwait(&chld, &ts);
	}
	return 0;
}

int pin_drop(struct victim *v, int64_t deadline_ns)
{
	int ret = 0;

	for (unsigned int i = 0; i < v->nr_pins; i++)
		if (pin_drop_one(v, i, deadline_ns) < 0)
			ret = -ETIMEDOUT;
	if (ret == 0)
		v->nr_pins = 0;
	return ret;
}
