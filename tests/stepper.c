/* SPDX-License-Identifier: MIT */
/* The stepper of stepper.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

#define MAX_TASKS 128

static pid_t tasks[MAX_TASKS];
static unsigned int nr_tasks;

static bool known(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < nr_tasks; i++) {
		if (tasks[i] == pid)
			return true;
	}
	return false;
}

static void add_task(pid_t pid)
{
	if (known(pid))
		return;
	assert_true(nr_tasks < MAX_TASKS);
	tasks[nr_tasks++] = pid;
}

static void forget_task(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < nr_tasks; i++) {
		if (tasks[i] == pid)
			tasks[i] = tasks[--nr_tasks];
	}
}

static pid_t start_traced(char *const argv[])
{
	int status, null;
	pid_t pid;

	/* These stops are ours, the harness need not count them. */
	signal(SIGCHLD, SIG_DFL);
	pid = test_fork();
	if (!pid) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		kill(getpid(), SIGSTOP);
		execv(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(
		ptrace(PTRACE_SETOPTIONS, pid, NULL,
		       (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
				PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
				PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)),
		0);
	return pid;
}

/*
 * What the stop means for the tracee: the signal to give it, if any.  Stops
 * that ptrace makes up are not signals.
 */
static int signal_of(int status)
{
	int sig = WSTOPSIG(status);

	if (status >> 16 || sig == (SIGTRAP | 0x80) || sig == SIGSTOP)
		return 0;
	return sig;
}

/*
 * A task of ours that is known may be waited for one by one; a new one's
 * first stop can come before its parent's event.  waitpid(-1) tells both,
 * and the victims' deaths, which we leave to the test: WNOWAIT first.
 */
static void on_alarm(int sig)
{
	(void)sig;
}

/* A release that does not end although its command was killed. */
static void hangs(unsigned int step)
{
	unsigned int i;

	for (i = 0; i < nr_tasks; i++) {
		printf("# task %d%s: state %c\n", tasks[i], i ? "" : " (main)",
		       process_state(tasks[i]));
		kill(tasks[i], SIGKILL);
	}
	fail_msg("at step %u or before it: the rest hangs", step);
}

static pid_t next_event(int *status, unsigned int step)
{
	siginfo_t info;
	pid_t pid;

	for (;;) {
		memset(&info, 0, sizeof(info));
		if (waitid(P_ALL, 0, &info,
			   WEXITED | WSTOPPED | WNOWAIT | __WALL)) {
			if (errno == EINTR)
				hangs(step);
			return 0;
		}
		pid = info.si_pid;
		if (!known(pid) &&
		    (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED ||
		     info.si_code == CLD_DUMPED)) {
			/* A victim: it must not hide the others' events. */
			waitpid(pid, status, __WALL);
			continue;
		}
		/* Sent SIGSTOP; a tracee's stops are CLD_TRAPPED. */
		if (info.si_code == CLD_STOPPED) {
			waitpid(pid, status, __WALL | WUNTRACED);
			continue;
		}
		if (waitpid(pid, status, __WALL) == pid)
			return pid;
	}
}

/*
 * A task whose creator was killed in the middle of clone(): it is our tracee,
 * but no event has told us of it yet.
 */
static bool more_tracees(void)
{
	pid_t children[256];
	unsigned int i, n;

	n = process_children(getpid(), children, ARRAY_LEN(children));
	for (i = 0; i < n; i++) {
		if (process_exists(children[i]) &&
		    process_tracer(children[i]) == getpid())
			return true;
	}
	return false;
}

/* What PTRACE_GET_SYSCALL_INFO (Linux 5.3) tells at an entry. */
struct syscall_entry {
	uint8_t op;
	uint8_t pad[3];
	uint32_t arch;
	uint64_t pc;
	uint64_t sp;
	uint64_t nr;
	uint64_t args[6];
};

#define GET_SYSCALL_INFO 0x420e
#define OP_ENTRY	 1

struct stepped {
	pid_t main_pid;
	unsigned int stops;
	/* True: that was it, the rest of the stops are of no interest. */
	bool (*at_stop)(struct stepped *s, pid_t pid);
	/* To be killed at that stop, */
	unsigned int step;
	enum step_kill who;
	/* or this to be called at that call. */
	long nr;
	unsigned long arg1;
	void (*fn)(void *arg);
	void *arg;
};

static bool kill_at(struct stepped *s, pid_t pid)
{
	if (s->stops != s->step)
		return false;
	kill(s->who == STEP_KILL_MAIN ? s->main_pid : pid, SIGKILL);
	return true;
}

static bool call_at(struct stepped *s, pid_t pid)
{
	struct syscall_entry entry = { 0 };

	if (ptrace(GET_SYSCALL_INFO, pid, (void *)sizeof(entry), &entry) <= 0 ||
	    entry.op != OP_ENTRY || (long)entry.nr != s->nr ||
	    entry.args[1] != s->arg1)
		return false;
	/* On no descriptor: what the kernel knows is being asked. */
	if ((int)entry.args[0] < 0)
		return false;
	s->fn(s->arg);
	return true;
}

static bool run_stepped(char *const argv[], struct stepped *s)
{
	pid_t main_pid = start_traced(argv), pid = main_pid;
	struct sigaction act = { .sa_handler = on_alarm };
	bool executed = false, done = false;
	unsigned long message;
	int status;

	s->main_pid = main_pid;

	/* SIGCHLD is not handled, so EINTR below is the alarm. */
	sigaction(SIGALRM, &act, NULL);
	alarm(PATIENCE_S);
	nr_tasks = 0;
	add_task(main_pid);
	ptrace(PTRACE_SYSCALL, main_pid, NULL, NULL);
	while ((nr_tasks || more_tracees()) &&
	       (pid = next_event(&status, s->stops))) {
		if (!WIFSTOPPED(status)) {
			forget_task(pid);
			continue;
		}
		add_task(pid);
		if (status >> 16 == PTRACE_EVENT_EXEC)
			executed = true;
		if ((status >> 16 == PTRACE_EVENT_CLONE ||
		     status >> 16 == PTRACE_EVENT_FORK ||
		     status >> 16 == PTRACE_EVENT_VFORK) &&
		    !ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message))
			add_task((pid_t)message);
		if (executed && WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			s->stops++;
			done = done || s->at_stop(s, pid);
		}
		ptrace(PTRACE_SYSCALL, pid, NULL,
		       (void *)(long)signal_of(status));
	}
	alarm(0);
	return done;
}

bool step_and_kill(char *const argv[], unsigned int step, enum step_kill who)
{
	struct stepped s = { .at_stop = kill_at, .step = step, .who = who };

	return run_stepped(argv, &s);
}

bool step_and_call(char *const argv[], long nr, unsigned long arg1,
		   void (*fn)(void *arg), void *arg)
{
	struct stepped s = {
		.at_stop = call_at,
		.nr = nr,
		.arg1 = arg1,
		.fn = fn,
		.arg = arg,
	};

	return run_stepped(argv, &s);
}
