/* SPDX-License-Identifier: MIT */
/* The stepper of stepper.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

#define MAX_TASKS 128

/* A task of the command's, and the call that it is in. */
struct task {
	pid_t pid;
	unsigned int nr;
	struct step at;
	/* How often it has made each call. */
	unsigned int counts[512];
};

static struct task tasks[MAX_TASKS];
static unsigned int nr_tasks;
/* Of those that came since the start. */
static unsigned int nr_born;

static struct task *find_task(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < nr_tasks; i++) {
		if (tasks[i].pid == pid)
			return &tasks[i];
	}
	return NULL;
}

static void add_task(pid_t pid)
{
	struct task *t;

	if (find_task(pid))
		return;
	assert_true(nr_tasks < MAX_TASKS);
	t = &tasks[nr_tasks++];
	memset(t, 0, sizeof(*t));
	t->pid = pid;
	t->nr = nr_born++;
}

static void forget_task(pid_t pid)
{
	struct task *t = find_task(pid);

	if (t)
		*t = tasks[--nr_tasks];
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
static void hangs(void)
{
	unsigned int i;

	for (i = 0; i < nr_tasks; i++) {
		printf("# task %d, the %uth: state %c\n", tasks[i].pid,
		       tasks[i].nr, process_state(tasks[i].pid));
		kill(tasks[i].pid, SIGKILL);
	}
	fail_msg("the rest of the command hangs");
}

static pid_t next_event(int *status)
{
	siginfo_t info;
	pid_t pid;

	for (;;) {
		memset(&info, 0, sizeof(info));
		if (waitid(P_ALL, 0, &info,
			   WEXITED | WSTOPPED | WNOWAIT | __WALL)) {
			if (errno == EINTR)
				hangs();
			return 0;
		}
		pid = info.si_pid;
		if (!find_task(pid) &&
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
/* The number of process_mrelease(), on all architectures. */
#define MRELEASE_CALL 448

struct stepped {
	pid_t main_pid;
	/* True: that was it, the rest of the stops are of no interest. */
	bool (*at_stop)(struct stepped *s, pid_t pid, const struct step *at);
	/* To be killed at that step, */
	const struct step *step;
	enum step_kill who;
	/* or this to be called at that call, */
	long nr;
	unsigned long arg1;
	void (*fn)(void *arg);
	void *arg;
	/* or all of them to be noted. */
	struct step *steps;
	unsigned int nr_steps;
	unsigned int quiet;
	/* or to be counted, from that call on. */
	long from;
	unsigned long arg0;
	bool counting;
	struct steps_seen *seen;
};

static bool kill_at(struct stepped *s, pid_t pid, const struct step *at)
{
	if (at->task != s->step->task || at->nr != s->step->nr ||
	    at->count != s->step->count || at->entry != s->step->entry)
		return false;
	kill(s->who == STEP_KILL_MAIN ? s->main_pid : pid, SIGKILL);
	return true;
}

static bool call_at(struct stepped *s, pid_t pid, const struct step *at)
{
	struct syscall_entry entry = { 0 };

	if (!at->entry ||
	    ptrace(GET_SYSCALL_INFO, pid, (void *)sizeof(entry), &entry) <= 0 ||
	    (long)entry.nr != s->nr || entry.args[1] != s->arg1)
		return false;
	/* On no descriptor: what the kernel knows is being asked. */
	if ((int)entry.args[0] < 0)
		return false;
	s->fn(s->arg);
	return true;
}

static bool count_at(struct stepped *s, pid_t pid, const struct step *at)
{
	struct steps_seen *seen = s->seen;
	struct syscall_entry entry = { 0 };

	if (!at->entry ||
	    ptrace(GET_SYSCALL_INFO, pid, (void *)sizeof(entry), &entry) <= 0)
		return false;
	if (!s->counting) {
		s->counting = (long)entry.nr == s->from &&
			      (uint32_t)entry.args[0] == (uint32_t)s->arg0;
		return false;
	}
	if (entry.nr == SYS_pidfd_send_signal && entry.args[1] == SIGKILL &&
	    !seen->killed) {
		seen->killed = true;
		seen->killer = at->task;
		if (s->from >= 0)
			return true;
	}
	if (entry.nr == SYS_clock_gettime)
		return false;
	seen->calls++;
	if (entry.nr < ARRAY_LEN(seen->counts))
		seen->counts[entry.nr]++;
	return false;
}

/* Somebody else notices, or another task of the command does. */
static bool is_felt(long nr)
{
	static const long calls[] = {
		SYS_clone,
		SYS_clone3,
		SYS_exit,
		SYS_exit_group,
		SYS_futex,
		SYS_kill,
		SYS_pidfd_send_signal,
		SYS_ppoll,
		SYS_prctl,
		MRELEASE_CALL,
		SYS_ptrace,
		SYS_rt_sigtimedwait,
		SYS_sched_setaffinity,
		SYS_setpriority,
		SYS_tgkill,
		SYS_unshare,
		SYS_wait4,
		SYS_write,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(calls); i++) {
		if (calls[i] == nr)
			return true;
	}
	return false;
}

/* Of the others one in so many. */
#define QUIET_STRIDE 24
/* Of a call that a task makes often, so many from the first on. */
#define OFTEN 4

static bool note_at(struct stepped *s, pid_t pid, const struct step *at)
{
	unsigned int i;

	(void)pid;
	if (!is_felt(at->nr)) {
		if (s->quiet++ % QUIET_STRIDE || at->entry)
			return false;
	} else if (at->entry && at->nr != SYS_exit &&
		   at->nr != SYS_exit_group) {
		return false;
	}
	/* The last takes the place of the one before it. */
	for (i = 0; at->count > OFTEN + 1 && i < s->nr_steps; i++) {
		if (s->steps[i].task == at->task && s->steps[i].nr == at->nr &&
		    s->steps[i].count > OFTEN)
			break;
	}
	if (at->count <= OFTEN + 1 || i == s->nr_steps)
		i = s->nr_steps++;
	assert_true(i < MAX_STEPS);
	s->steps[i] = *at;
	return false;
}

/* The entry, and then the exit, of a call. */
static const struct step *next_step(struct task *t)
{
	struct syscall_entry entry = { 0 };

	if (ptrace(GET_SYSCALL_INFO, t->pid, (void *)sizeof(entry), &entry) <=
	    0)
		return NULL;
	if (entry.op == OP_ENTRY) {
		t->at.task = t->nr;
		t->at.nr = entry.nr;
		t->at.count = ++t->counts[entry.nr % ARRAY_LEN(t->counts)];
	}
	t->at.entry = entry.op == OP_ENTRY;
	return &t->at;
}

static bool run_stepped(char *const argv[], struct stepped *s)
{
	pid_t main_pid = start_traced(argv), pid = main_pid;
	struct sigaction act = { .sa_handler = on_alarm };
	bool executed = false, done = false;
	const struct step *at;
	unsigned long message;
	int status;

	s->main_pid = main_pid;

	/* SIGCHLD is not handled, so EINTR below is the alarm. */
	sigaction(SIGALRM, &act, NULL);
	alarm(PATIENCE_S);
	nr_tasks = 0;
	nr_born = 0;
	add_task(main_pid);
	ptrace(PTRACE_SYSCALL, main_pid, NULL, NULL);
	while ((nr_tasks || more_tracees()) && (pid = next_event(&status))) {
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
			at = next_step(find_task(pid));
			done = done || (at && s->at_stop(s, pid, at));
		}
		ptrace(done ? PTRACE_CONT : PTRACE_SYSCALL, pid, NULL,
		       (void *)(long)signal_of(status));
	}
	alarm(0);
	return done;
}

bool step_and_kill(char *const argv[], const struct step *step,
		   enum step_kill who)
{
	struct stepped s = { .at_stop = kill_at, .step = step, .who = who };

	return run_stepped(argv, &s);
}

unsigned int steps_note(char *const argv[], struct step *steps)
{
	struct stepped s = { .at_stop = note_at, .steps = steps };

	run_stepped(argv, &s);
	if (!s.nr_steps)
		skip_test("syscall-info", "PTRACE_GET_SYSCALL_INFO");
	return s.nr_steps;
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

void steps_count(char *const argv[], long from, unsigned long arg0,
		 struct steps_seen *seen)
{
	struct stepped s = {
		.at_stop = count_at,
		.from = from,
		.arg0 = arg0,
		.counting = from < 0,
		.seen = seen,
	};

	memset(seen, 0, sizeof(*seen));
	run_stepped(argv, &s);
}
