/* SPDX-License-Identifier: MIT */
/*
 * Victims under somebody else's ptrace.  The tracer is the victim's parent, so
 * that Yama lets it.
 */
#include <signal.h>
#include <sys/ptrace.h>
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
