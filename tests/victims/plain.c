/* SPDX-License-Identifier: MIT */
/* Victims with private memory only, in every state that a signal can meet. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "victim.h"

static atomic_ulong started;
static unsigned char *memory;
static size_t memory_len;

/* anon [MIB]: nothing special. */
int victim_anon(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

/*
 * grouped [MIB]: in 400 groups, whose numbers are long.  "Groups:" in
 * /proc/PID/status is more than 4 KiB, and what matters stands behind it.
 */
int victim_grouped(int argc, char **argv)
{
	gid_t groups[400];

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		groups[i] = 2000000000 + i;
	if (setgroups(sizeof(groups) / sizeof(groups[0]), groups)) {
		if (errno == EPERM)
			skip_victim("setgroups() is not permitted");
		die("setgroups");
	}
	return victim_anon(argc, argv);
}

/* nice [MIB]: nice 19 and SCHED_IDLE, the last to get a processor. */
int victim_nice(int argc, char **argv)
{
	struct sched_param param = { 0 };

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	if (setpriority(PRIO_PROCESS, 0, 19))
		die("setpriority");
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		die("sched_setscheduler");
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

/* spinning [MIB]: never sleeps; for a quota of CPU time. */
int victim_spinning(int argc, char **argv)
{
	struct pollfd pfd = { .fd = CTL_FD, .events = POLLIN };

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	ready(getpid(), 0, memory, memory_len);
	while (poll(&pfd, 1, 0) == 0)
		;
	return 0;
}

static void *idle_thread(void *unused)
{
	(void)unused;
	atomic_fetch_add(&started, 1);
	for (;;)
		pause();
	return NULL;
}

static void start_thread(void *(*run)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	errno = pthread_attr_setstacksize(&attr, 65536);
	if (!errno)
		errno = pthread_create(&thread, &attr, run, NULL);
	if (errno)
		die("pthread_create");
	pthread_attr_destroy(&attr);
}

/* threads [N [MIB]] */
int victim_threads(int argc, char **argv)
{
	unsigned long i, n = number(argc, argv, 1, 100);

	memory_len = number(argc, argv, 2, 16) * MIB;
	memory = fill_anon(memory_len);
	for (i = 0; i < n; i++)
		start_thread(idle_thread);
	while (atomic_load(&started) < n)
		sched_yield();
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

int is_zombie(pid_t pid)
{
	char path[64], stat[256];
	char *paren;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		die(path);
	stat[n] = '\0';
	paren = strrchr(stat, ')');
	return paren && paren[1] == ' ' && paren[2] == 'Z';
}

static void *survivor_thread(void *unused)
{
	(void)unused;
	while (!is_zombie(getpid()))
		sched_yield();
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
	return NULL;
}

/*
 * zombie-leader [MIB]: the main thread has exited, another lives on.  The
 * leader's /proc files show no address space; the process still has one.
 */
int victim_zombie_leader(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	start_thread(survivor_thread);
	pthread_exit(NULL);
}

/* Fork the victim proper; its parent stays to say when it stands. */
static pid_t fork_victim(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		die_with_parent();
	return pid;
}

/* stopped [MIB]: SIGSTOP. */
int victim_stopped(int argc, char **argv)
{
	pid_t pid;
	int status;

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = map_anon(memory_len);
	pid = fork_victim();
	if (!pid) {
		fill(memory, memory_len);
		kill(getpid(), SIGSTOP);
		serve(memory, memory_len);
	}
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		die("the victim did not stop");
	ready(pid, getpid(), memory, memory_len);
	serve(NULL, 0);
}

/* zombie: dead, and nobody waits for it. */
int victim_zombie(int argc, char **argv)
{
	siginfo_t info;
	pid_t pid;

	(void)argc;
	(void)argv;
	pid = fork_victim();
	if (!pid)
		_exit(0);
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT))
		die("waitid");
	ready(pid, getpid(), NULL, 0);
	serve(NULL, 0);
}

/* ignoring [MIB]: ignores and blocks every signal that can be. */
int victim_ignoring(int argc, char **argv)
{
	sigset_t all;
	int sig;

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	for (sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_IGN);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

static void on_term(int sig)
{
	/* An exit by our own hand: 42 is how a test tells it from a kill. */
	if (sig == SIGTERM)
		_exit(42);
}

/* polite [MIB]: handles SIGTERM and exits with status 42. */
int victim_polite(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	signal(SIGTERM, on_term);
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

static void on_term_shrink(int sig)
{
	(void)sig;
	madvise(memory, memory_len / 2, MADV_DONTNEED);
}

/* shrinking [MIB]: frees half of its memory on SIGTERM, and lives on. */
int victim_shrinking(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = fill_anon(memory_len);
	signal(SIGTERM, on_term_shrink);
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}
