/* SPDX-License-Identifier: MIT */
/*
 * Victims under somebody else's ptrace.  The tracer is the victim's parent, so
 * that Yama lets it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "victim.h"

static unsigned char *memory;
static size_t memory_len;

static pid_t seize_victim(int argc, char **argv, long options)
{
	int pipefd[2];
	pid_t pid;
	char c;

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = map_anon(memory_len);
	if (pipe(pipefd))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		die_with_parent();
		fill(memory, memory_len);
		close(pipefd[0]);
		close(pipefd[1]);
		serve(memory, memory_len);
	}
	/* End-of-file: the memory is there. */
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 0)
		die("read");
	close(pipefd[0]);
	if (ptrace(PTRACE_SEIZE, pid, NULL, options))
		skip_victim("ptrace is not to be had");
	return pid;
}

/* traced [MIB]: attached, never stopped. */
int victim_traced(int argc, char **argv)
{
	pid_t pid = seize_victim(argc, argv, 0);

	ready(pid, getpid(), memory, memory_len);
	for (;;)
		next_command();
}

/* traced-stopped [MIB]: held in a trace stop, as under a debugger. */
int victim_traced_stopped(int argc, char **argv)
{
	pid_t pid = seize_victim(argc, argv, 0);
	int status;

	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		die("PTRACE_INTERRUPT");
	ready(pid, getpid(), memory, memory_len);
	for (;;)
		next_command();
}

/*
 * traced-exit [MIB]: its tracer wants PTRACE_EVENT_EXIT and then does not
 * answer: once killed, the victim stands before exit_mm() until the tracer
 * continues it (command 'c') or dies.
 */
int victim_traced_exit(int argc, char **argv)
{
	pid_t pid = seize_victim(argc, argv, PTRACE_O_TRACEEXIT);
	int status;

	ready(pid, getpid(), memory, memory_len);
	for (;;) {
		if (next_command() != 'c')
			continue;
		if (waitpid(pid, &status, __WALL) != pid)
			die("waitpid");
		ptrace(PTRACE_CONT, pid, NULL, NULL);
		say("ok\n");
	}
}

static atomic_int second_tid;

static void *second_thread(void *unused)
{
	atomic_store(&second_tid, (int)syscall(SYS_gettid));
	for (;;)
		pause();
	return unused;
}

/* In execve(), which waits for the other thread, which waits for its tracer. */
static int waits_in_exec(pid_t pid)
{
	char path[64], line[256];
	FILE *f;
	int waits = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		waits |= !strncmp(line, "State:\tD", 8);
	if (f)
		fclose(f);
	return waits;
}

/*
 * exec-traced [MIB]: in execve(), which waits for another of its threads to
 * end, which stands in the exit stop of a tracer that does not look.  A task
 * that wants to trace the process waits for the exec.
 */
int victim_exec_traced(int argc, char **argv)
{
	pid_t tracer, pid = getpid();
	pthread_t thread;
	int pipefd[2];
	char c;

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	if (pipe(pipefd) || pthread_create(&thread, NULL, second_thread, NULL))
		die("pthread_create");
	while (!atomic_load(&second_tid))
		usleep(100);
	tracer = fork();
	if (tracer < 0)
		die("fork");
	if (!tracer) {
		close(pipefd[0]);
		if (ptrace(PTRACE_SEIZE, atomic_load(&second_tid), NULL,
			   PTRACE_O_TRACEEXIT))
			skip_victim("ptrace is not to be had");
		close(pipefd[1]);
		while (!waits_in_exec(pid))
			usleep(1000);
		ready(pid, getpid(), memory, memory_len);
		for (;;)
			next_command();
	}
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 0)
		die("read");
	execl("/bin/sleep", "sleep", "1000", NULL);
	die("/bin/sleep");
}
