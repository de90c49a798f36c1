/* SPDX-License-Identifier: MIT */
/*
 * The bench proper runs in a child; its parent, the guard, does nothing but
 * clean up after it, whether the child finished, crashed or was interrupted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Orphans of the run come to us, the subreaper: end and reap them all. */
static void end_orphans(void)
{
	char path[64];
	char buf[65536];

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	for (;;) {
		char *save;
		char *tok;

		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (read_file(path, buf, sizeof(buf)) <= 0)
			break;
		/* children of ours, not reaped: the numbers are theirs */
		for (tok = strtok_r(buf, " \n", &save); tok;
		     tok = strtok_r(NULL, " \n", &save))
			kill((pid_t)atoi(tok), SIGKILL);
		if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
			break;
	}
}

static void remove_below(int dir_fd)
{
	struct dirent *entry;
	DIR *dir;

	dir = fdopendir(dir_fd);
	if (!dir) {
		close(dir_fd);
		return;
	}
	while ((entry = readdir(dir))) {
		const char *name = entry->d_name;
		int fd;

		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		if (!unlinkat(dir_fd, name, 0))
			continue;
		fd = openat(dir_fd, name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			remove_below(fd);
		unlinkat(dir_fd, name, AT_REMOVEDIR);
	}
	closedir(dir);
}

static void remove_tree(const char *path)
{
	int fd;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		remove_below(fd);
	rmdir(path);
}

/* Wait for the child or for a signal that asks us to stop. */
static int wait_child(pid_t child, const sigset_t *signals)
{
	for (;;) {
		int sig = sigwaitinfo(signals, NULL);
		int status = 0;
		pid_t pid;

		if (sig > 0 && sig != SIGCHLD) {
			kill(child, SIGKILL);
			waitpid(child, NULL, 0);
			return 128 + sig;
		}
		/* orphans of a fork bomb, too: they use up PIDs */
		do {
			pid = waitpid(-1, &status, WNOHANG);
		} while (pid > 0 && pid != child);
		if (pid != child)
			continue;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		fprintf(stderr, "mrelease-bench: ended by signal %d\n",
			WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
}

/*
 * A figure about an idle machine should not be one about its other users.
 * The scheduler shares the CPUs out among sessions first: take one of our own
 * and ask for the larger part.  Within it nothing changes, so every way and
 * every busy loop of ours has the share it always had.  Where that is not to
 * be had it is the medians that deal with the noise.
 */
static void shield(void)
{
	if (setsid() > 0)
		write_file("/proc/self/autogroup", "-15");
}

/*
 * Run fn() in a child with a temporary directory below base.  Returns its
 * exit status, or 128 + signal.
 */
int guard_run(int (*fn)(struct bench_opts *o), struct bench_opts *o,
	      const char *base)
{
	char dir[BENCH_PATH_MAX];
	pid_t self = getpid();
	sigset_t signals;
	sigset_t saved;
	pid_t child;
	int status;

	snprintf(dir, sizeof(dir), "%s/mrelease-bench.XXXXXX", base);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &saved);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || !mkdtemp(dir))
		bench_die("%s: %m", dir);
	o->dir = dir;
	child = fork();
	if (child < 0)
		bench_die("fork: %m");
	if (!child) {
		sigprocmask(SIG_SETMASK, &saved, NULL);
		tie_to_parent(self);
		shield();
		status = fn(o);
		fflush(NULL);
		_exit(status);
	}
	status = wait_child(child, &signals);
	/* the bench is gone, so nobody adds to these any more */
	cgroup_sweep(self);
	end_orphans();
	remove_tree(dir);
	return status;
}
