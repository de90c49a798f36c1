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

#include "release/release.h"

static int seize(struct victim *v, pid_t tid)
{
	int ret = sys_ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXIT);

	if (ret < 0)
		return ret;
	/*
	 * For the main thread, the signal through the pidfd tells.  A stranger
	 * that was seized is not stopped, and is detached when we exit.
	 */
	if (tid != v->pid && sys_tgkill(v->pid, tid, 0) == -ESRCH)
		return -ESRCH;
	v->pins[v->nr_pins++] = tid;
	return 0;
}

/* fn for each thread but the first, from the far end of one listing. */
static void others(struct victim *v, struct scratch *s,
		   bool (*fn)(struct victim *v, pid_t tid))
{
	struct dents d;
	pid_t tid;

	sys_lseek(v->task_fd, 0, SEEK_SET);
	/* One short buffer: likely old threads, not new ones. */
	dents_open(&d, v->task_fd, s->buf, 2048);
	do {
		tid = dents_pid(&d);
		if (!tid || (tid != v->tid && fn(v, tid)))
			return;
	} while (dents_in_hand(&d));
}

static bool choose_one(struct victim *v, pid_t tid)
{
	v->second_tid = tid;
	return true;
}

void pin_choose(struct victim *v, struct scratch *s)
{
	if (v->rep.threads > 1 && v->task_fd >= 0)
		others(v, s, choose_one);
}

static bool seize_one(struct victim *v, pid_t tid)
{
	seize(v, tid);
	return v->nr_pins == MAX_PINS;
}

int pin_seize(struct victim *v, struct scratch *s)
{
	int ret;

	/*
	 * v->tid may have exited if it is not the main thread.  Then another
	 * thread is seized below.
	 */
	ret = seize(v, v->tid);
	if (v->rep.threads <= 1 || v->task_fd < 0)
		return v->nr_pins ? 0 : ret;
	/* Chosen long ago: is it a thread of that process still? */
	if (v->second_tid)
		seize(v, v->second_tid);
	if (v->nr_pins < MAX_PINS)
		others(v, s, seize_one);
	return v->nr_pins ? 0 : ret;
}

/*
 * Has pin i died?  In its exit stop it is noted.  It can also die without that
 * stop: SIGKILL is still pending when it comes there, because it was waiting
 * for a core dump or for an exec of another thread.  Then nobody but its tracer
 * can wait for it, and until then the death of the process is told to nobody.
 */
static bool is_gone(struct victim *v, unsigned int i)
{
	int status, ret;

	while (v->pins[i]) {
		ret = sys_wait4(v->pins[i], &status, __WALL | WNOHANG);
		if (ret == 0)
			return false;
		if (ret == -EINTR)
			continue;
		if (ret < 0 || !WIFSTOPPED(status)) {
			v->stopped &= ~(1u << i);
			v->pins[i] = 0;
		} else if (status >> 16 == PTRACE_EVENT_EXIT) {
			v->stopped |= 1u << i;
			return false;
		}
	}
	return true;
}

/*
 * Detach pin i once it stands in its exit stop; before that ptrace has no
 * way to let go of a thread but for the tracer to die.  SIGKILL has been sent,
 * so there is no other stop that it could be in.
 */
static bool let_go(struct victim *v, unsigned int i)
{
	if (!v->pins[i])
		return true;
	if (sys_ptrace(PTRACE_DETACH, v->pins[i], 0, 0) == 0) {
		v->stopped &= ~(1u << i);
		v->pins[i] = 0;
		return true;
	}
	/* Not there yet, or dead: before Linux 6.1 a second SIGKILL ends it. */
	return is_gone(v, i);
}

/*
 * Once over all pins, of which those in the mask are let go: bits of those that
 * are left.  All of them each time: a leader cannot be waited for while another
 * thread is there, which may be a pin that is dead and waits for us.
 */
static unsigned int pass(struct victim *v, unsigned int mask)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < v->nr_pins; i++)
		if (!(mask & 1u << i ? let_go(v, i) : is_gone(v, i)))
			left |= 1u << i;
	return left;
}

static unsigned int pass_all(struct victim *v, unsigned int mask)
{
	unsigned int left = ~0u, now = pass(v, mask);

	while (now && now != left) {
		left = now;
		now = pass(v, mask);
	}
	if (!now)
		v->nr_pins = 0;
	return now & mask;
}

/*
 * For something of a pin to be waited for, or a second.  SIGCHLD is blocked and
 * stays pending from the stop on, so a stop before this is not missed.
 */
static int wait_event(int64_t deadline_ns)
{
	int64_t left = deadline_ns == MRELEASE_NO_DEADLINE ?
			       NSEC_PER_SEC :
			       deadline_ns - now_ns();
	uint64_t chld = 1ULL << (SIGCHLD - 1);
	struct timespec ts = {
		.tv_sec = left / NSEC_PER_SEC,
		.tv_nsec = left % NSEC_PER_SEC,
	};

	if (left <= 0)
		return -ETIMEDOUT;
	sys_sigtimedwait(&chld, &ts);
	return 0;
}

static int drop(struct victim *v, unsigned int mask, int64_t deadline_ns)
{
	while (pass_all(v, mask))
		if (wait_event(deadline_ns) < 0)
			return -ETIMEDOUT;
	return 0;
}

bool pin_stands(struct victim *v, int64_t until_ns)
{
	if (v->nr_pins != 1)
		return false;
	while (!v->stopped && wait_event(until_ns) == 0)
		if (is_gone(v, 0))
			return false;
	return v->stopped;
}

int pin_drop_one(struct victim *v, unsigned int i, int64_t deadline_ns)
{
	return drop(v, 1u << i, deadline_ns);
}

int pin_drop(struct victim *v, int64_t deadline_ns)
{
	return drop(v, ~0u, deadline_ns);
}

void pin_look(struct victim *v)
{
	pass_all(v, 0);
}
