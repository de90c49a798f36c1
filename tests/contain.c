/* SPDX-License-Identifier: MIT */
/*
 * contain [-t SECONDS] PROGRAM [ARG...]: run a test, and leave nothing of it.
 *
 * - After the timeout, or when it is itself told to stop, everything that
 *   descends from the test is killed: contain is its subreaper.
 * - Its cgroups are thawed and removed, its swap is turned off.
 * - cmocka 1.1 prints a skipped test as "not ok N # SKIP name" and knows no
 *   reason.  The line becomes "ok N - name # SKIP reason", with the reason of
 *   the "# skip: reason" line before it.
 *
 * Exit status: the test's; 124 after a timeout.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static char reason[256];

static void print_line(char *line)
{
	unsigned int n;
	int pos = 0;

	if (!strncmp(line, "# skip: ", 8))
		snprintf(reason, sizeof(reason), "%.200s", line + 8);
	if (sscanf(line, "not ok %u # SKIP %n", &n, &pos) == 1 && pos) {
		printf("ok %u - %s # SKIP %s\n", n, line + pos,
		       *reason ? reason : "no reason given");
		reason[0] = '\0';
	} else {
		puts(line);
	}
	fflush(stdout);
}

static bool forward(int fd)
{
	static char buf[65536];
	static size_t len;
	char *line = buf, *end;
	ssize_t n = read(fd, buf + len, sizeof(buf) - 1 - len);

	if (n < 0 && errno == EINTR)
		return true;
	if (n > 0)
		len += (size_t)n;
	buf[len] = '\0';
	while ((end = memchr(line, '\n', len - (size_t)(line - buf)))) {
		*end = '\0';
		print_line(line);
		line = end + 1;
	}
	len -= (size_t)(line - buf);
	memmove(buf, line, len);
	if ((n <= 0 || len == sizeof(buf) - 1) && len) {
		buf[len] = '\0';
		print_line(buf);
		len = 0;
	}
	return n > 0;
}

/* Each generation becomes ours when the one before it dies. */
static void kill_rest(void)
{
	pid_t children[256], pid;
	unsigned int i, n;

	alarm(PATIENCE_S);
	do {
		n = process_children(getpid(), children, ARRAY_LEN(children));
		for (i = 0; i < n; i++)
			kill(children[i], SIGKILL);
		pid = waitpid(-1, NULL, __WALL);
	} while (pid > 0 || errno == EINTR);
}

static void run(char **argv, int fd, pid_t parent, const sigset_t *mask)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigprocmask(SIG_SETMASK, mask, NULL);
	dup2(fd, STDOUT_FILENO);
	setenv("CMOCKA_MESSAGE_OUTPUT", "TAP", 1);
	execvp(argv[0], argv);
	fprintf(stderr, "contain: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int wait_for_end(pid_t pid, int out, int signals, int64_t deadline)
{
	struct pollfd pfd[2] = { { out, POLLIN, 0 }, { signals, POLLIN, 0 } };
	struct signalfd_siginfo info;
	int64_t left;
	int status;

	for (;;) {
		left = (deadline - now_ns()) / 1000000;
		if (left <= 0) {
			printf("Bail out! timeout\n");
			return 124;
		}
		if (poll(pfd, 2, left > 1000000 ? 1000000 : (int)left) < 0 &&
		    errno != EINTR)
			return 1;
		if (pfd[0].revents && !forward(out))
			pfd[0].fd = -1;
		if (!pfd[1].revents ||
		    read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGCHLD)
			return 128 + (int)info.ssi_signo;
		if (waitpid(pid, &status, WNOHANG) != pid)
			continue;
		/* A victim may still hold the pipe: take what is there. */
		while (poll(pfd, 1, 0) > 0 && forward(out))
			;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		printf("Bail out! signal %d\n", WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
}

int main(int argc, char **argv)
{
	int pipefd[2], signals, ret, timeout = 120;
	sigset_t set, mask;
	pid_t pid, parent = getpid();

	if (argc > 2 && !strcmp(argv[1], "-t")) {
		timeout = atoi(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 2 || timeout <= 0) {
		fprintf(stderr, "usage: contain [-t SECONDS] PROGRAM...\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &mask);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (signals < 0 || pipe(pipefd))
		return 1;
	pid = fork();
	if (pid < 0)
		return 1;
	if (!pid) {
		close(pipefd[0]);
		run(argv + 1, pipefd[1], parent, &mask);
	}
	close(pipefd[1]);
	ret = wait_for_end(pid, pipefd[0], signals, in_seconds(timeout));
	fflush(stdout);
	/* First thaw: what is frozen in a v1 cgroup does not die. */
	cgroups_clean(pid);
	swap_clean(pid);
	kill_rest();
	cgroups_clean(pid);
	swap_clean(pid);
	return ret;
}
