/* SPDX-License-Identifier: MIT */
/* What /proc says about a process, for the tests; none of it is the library. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static ssize_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

char process_state(pid_t pid)
{
	char buf[1024], *paren;

	if (read_proc(pid, "stat", buf, sizeof(buf)) <= 0)
		return '\0';
	paren = strrchr(buf, ')');
	return paren && paren[1] ? paren[2] : '\0';
}

long long process_status(pid_t pid, const char *name, int base)
{
	size_t len = strlen(name);
	char buf[4096], *line;

	if (read_proc(pid, "status", buf, sizeof(buf)) <= 0)
		return -1;
	for (line = buf; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, name, len) && line[len] == ':')
			return strtoll(line + len + 1, NULL, base);
	}
	return -1;
}

pid_t process_other_thread(pid_t pid)
{
	struct dirent *e;
	char path[64];
	pid_t tid = 0;
	DIR *d;

	/* Not by counting up from pid: numbers begin again at pid_max. */
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	assert_non_null(d);
	while (!tid && (e = readdir(d)))
		if (e->d_name[0] != '.' && atoi(e->d_name) != pid)
			tid = atoi(e->d_name);
	closedir(d);
	assert_true(tid > 0);
	return tid;
}

pid_t process_tracer(pid_t pid)
{
	return (pid_t)process_status(pid, "TracerPid", 10);
}

bool process_exists(pid_t pid)
{
	char state = process_state(pid);

	/* Of the main thread, which others may outlive. */
	if (state == 'Z')
		return process_status(pid, "Threads", 10) > 1;
	return state && state != 'X';
}

bool process_gone(pid_t pid)
{
	return !process_exists(pid);
}

bool process_killed(pid_t pid)
{
	long long bit = 1ll << (SIGKILL - 1);
	long long own = process_status(pid, "SigPnd", 16);
	long long shared = process_status(pid, "ShdPnd", 16);

	return (own > 0 && own & bit) || (shared > 0 && shared & bit);
}

unsigned int process_children(pid_t pid, pid_t *pids, unsigned int max)
{
	struct dirent *entry;
	unsigned int n = 0;
	DIR *dir = opendir("/proc");

	if (!dir)
		return 0;
	while (n < max && (entry = readdir(dir))) {
		pid_t other = (pid_t)atoi(entry->d_name);

		if (other > 0 && process_status(other, "PPid", 10) == pid)
			pids[n++] = other;
	}
	closedir(dir);
	return n;
}

bool same_program(pid_t pid)
{
	char path[64], mine[PATH_MAX], its[PATH_MAX];
	ssize_t n, m;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink("/proc/self/exe", mine, sizeof(mine));
	m = readlink(path, its, sizeof(its));
	return n > 0 && n == m && !memcmp(mine, its, (size_t)n);
}

void wait_until(bool (*cond)(void *arg), void *arg, const char *what)
{
	int64_t deadline = in_seconds(PATIENCE_S);

	while (!cond(arg)) {
		if (now_ns() > deadline)
			fail_msg("waited %d s for: %s", PATIENCE_S, what);
		sched_yield();
	}
}

struct wanted {
	pid_t pid;
	const char *states;
};

static bool has_state(void *arg)
{
	const struct wanted *wanted = arg;
	char state = process_state(wanted->pid);

	return state && strchr(wanted->states, state);
}

void wait_for_state(pid_t pid, const char *states)
{
	struct wanted wanted = { pid, states };

	wait_until(has_state, &wanted, states);
}
