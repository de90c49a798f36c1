/* SPDX-License-Identifier: MIT */
/*
 * Hold one process of a tree, so that it does not fork unseen: with ptrace
 * every thread of it, else with SIGSTOP (tree.c).
 */
#include <string.h>
#include <sys/ptrace.h>

#include "group/group.h"

#define TREE_OPTIONS                                                     \
	(PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
	 PTRACE_O_TRACECLONE)

/* Ours from now on, though it may be in the middle of a fork still. */
bool hold_thread(struct group *g, struct victim *v, pid_t tid)
{
	if (g->base.opts.flags & MRELEASE_NO_PIN || v->stopped_by_us ||
	    v->hands_off || v->zombie || v->no_mm)
		return false;
	/* EPERM for one that is ours already. */
	if (sys_ptrace(PTRACE_SEIZE, tid, 0, TREE_OPTIONS) < 0)
		return false;
	g->unknown = true;
	/* A stranger's: it was not stopped, and is detached when this helper exits. */
	if (!victim_has_thread(v, tid))
		return false;
	v->held = true;
	if (g->stopping)
		sys_ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	return true;
}

/* Attached by its parent's fork: the kernel's word, not our bookkeeping. */
bool hold_is_ours(const struct group *g, struct victim *v)
{
	struct proc_status st;

	if (!v->held && victim_status(v, &st) == 0 && st.tracer == g->tracer)
		v->held = true;
	return v->held;
}

void hold_undo(struct group *g)
{
	for (size_t i = 0; i < g->nr; i++)
		if (g->victims[i]->stopped_by_us)
			victim_signal(g->victims[i], SIGCONT);
}

/*
 * The letter of "State:", 0: it is not there.  From status, for which nobody
 * waits; stat waits for an execve() to end.
 */
static char state_in(int dir_fd, const char *name)
{
	char buf[512];
	const char *p;

	if (read_file(dir_fd, name, buf, sizeof(buf)) <= 0)
		return 0;
	p = strstr(buf, "\nState:\t");
	return p ? p[strlen("\nState:\t")] : 0;
}

/* No ptrace: SIGSTOP.  One that was stopped before must stay so. */
static void stop(struct group *g, struct victim *v)
{
	char state;

	if (v->killed || v->stopped_by_us || v->zombie || v->no_mm)
		return;
	/* Of a live thread: the leader may be a zombie. */
	state = state_in(v->dir_fd, "status");
	if (!state || state == 'T')
		return;
	/*
	 * Without a watchdog it could be left stopped for ever.  There can be
	 * none for a moment, where a bomb uses up RLIMIT_NPROC.
	 */
	if (!helper_is_alive(&g->watchdog.helper) &&
	    watchdog_start(g, hold_undo) < 0) {
		g->running = g->awake = true;
		return;
	}
	v->stopped_by_us = true;
	victim_signal(v, SIGSTOP);
}

/* Until it stands it may be in the middle of a fork. */
char hold_runs(const struct victim *v, uint64_t tid)
{
	char path[64], state;

	path_number(path, "", tid, "/status");
	state = state_in(v->task_fd, path);
	if (strchr("TtZX", state))
		return 0;
	if (v->held)
		sys_ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	return state;
}

/*
 * Hold one process as soon as it is found: found first and held later, it
 * has time to fork and exit in between.
 */
void hold_process(struct group *g, struct victim *v)
{
	if (!hold_thread(g, v, v->tid) && !hold_is_ours(g, v))
		stop(g, v);
}
