// SPDX-License-Identifier: GPL-2.0-only
/*
 * stress SECONDS [SEED]: everything at once, for a debug kernel to look at.
 *
 * Victims fork, vfork, share their memory, execute, start threads and exit by
 * themselves; killers use every way of killing and reaping on them; readers
 * walk /proc/PID of whatever there is; and a little memory is taken back from
 * the cgroup all the time.  The memory of the killers themselves is compared
 * at the end; for the rest, the kernel says whether it was all right.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mm/mrelease_common.h"

enum { KILLERS = 4, READERS = 2 };

static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void *idle_thread(void *arg)
{
	mr_fill(64 * KB);
	for (;;)
		pause();
	return arg;
}

static int idle_child(void *arg)
{
	char *argv[3] = { "/proc/self/exe", "pause", NULL };

	if (arg)
		execv(argv[0], argv);
	for (;;)
		pause();
	return 0;
}

/* Does one of the things that victims do, and then waits to be killed. */
static void victim(void)
{
	char *stack, *mem = mr_fill((1 + rnd(16)) * 256 * KB);
	pthread_t t;
	int i;

	switch (rnd(8)) {
	case 0:
		for (i = rnd(8); i >= 0; i--)
			pthread_create(&t, NULL, idle_thread, NULL);
		break;
	case 1:
		pthread_create(&t, NULL, idle_thread, NULL);
		syscall(__NR_exit, 0);
		break;
	case 2:
	case 3:
		stack = mr_fill(64 * KB);
		clone(idle_child, stack + 64 * KB,
		      CLONE_VM | (rnd(2) ? CLONE_VFORK : 0) | SIGCHLD,
		      rnd(2) ? mem : NULL);
		break;
	case 4:
		if (!fork())
			idle_child(rnd(2) ? mem : NULL);
		break;
	case 5:
		_exit(0);
	case 6:
		for (;;) {
			madvise(mem, 256 * KB, MADV_DONTNEED);
			memset(mem, 1, 256 * KB);
		}
	}
	for (;;)
		pause();
}

static void kill_one(int fd)
{
	switch (rnd(5)) {
	case 0:
		mr_send(fd, SIGKILL, NULL, 0);
		break;
	case 1:
		mr_send(fd, SIGKILL, NULL, 0);
		mr_release(fd, 0);
		break;
	case 2:
		mr_send(fd, SIGKILL, NULL, PIDFD_SIGNAL_EXPEDITE);
		break;
	case 3:
		mr_send(fd, SIGKILL, NULL, PIDFD_SIGNAL_EXPEDITE |
			PIDFD_SIGNAL_PROCESS_GROUP);
		break;
	case 4:
		mr_release(fd, PROCESS_MRELEASE_REAP_KILL);
		break;
	}
	if (rnd(2))
		mr_release(fd, 0);
}

static int killer(time_t end)
{
	char *own = mr_fill(MB);
	unsigned int rounds = 0;

	while (now_s() < end) {
		pid_t pid = fork();
		int fd, i;

		if (!pid) {
			setpgid(0, 0);
			victim();
		}
		setpgid(pid, pid);
		fd = mr_pidfd_open(pid, 0);
		for (i = rnd(40); i > 0; i--)
			sched_yield();
		kill_one(fd);
		mr_send(fd, SIGKILL, NULL, 0);
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		mr_release(fd, 0);
		close(fd);
		rounds++;
	}
	printf("# killer: %u victims\n", rounds);
	return !mr_intact(own, MB);
}

static int reader(time_t end)
{
	static const char * const files[] = {
		"maps", "smaps", "smaps_rollup", "pagemap", "mem", "status",
		"cmdline", "environ", "stat", "auxv",
	};
	static char buf[65536];
	char path[300];

	while (now_s() < end) {
		DIR *d = opendir("/proc");
		struct dirent *e;

		while (d && (e = readdir(d))) {
			int fd, k;

			if (e->d_name[0] < '1' || e->d_name[0] > '9')
				continue;
			snprintf(path, sizeof(path), "/proc/%s/%s", e->d_name,
				 files[rnd(sizeof(files) / sizeof(*files))]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			for (k = rnd(4); k >= 0; k--)
				if (read(fd, buf, 1 + rnd(sizeof(buf))) <= 0)
					break;
			close(fd);
		}
		if (d)
			closedir(d);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct mr_cgroup cg = {};
	char reclaim[128];
	pid_t pids[KILLERS + READERS];
	int i, status, bad = 0;
	time_t end;

	if (argc > 1 && !strcmp(argv[1], "pause"))
		for (;;)
			pause();
	if (argc < 2)
		return 2;
	end = now_s() + atoi(argv[1]);
	seed = argc > 2 ? atoi(argv[2]) : 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..1\n");
	if (mr_cgroup_make(&cg))
		mr_cgroup_join(&cg);
	snprintf(reclaim, sizeof(reclaim), "%s/memory.reclaim", cg.path);
	for (i = 0; i < KILLERS + READERS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			seed += i * 7919;
			exit(i < KILLERS ? killer(end) : reader(end));
		}
	}
	while (now_s() < end) {
		if (cg.path[0])
			mr_write_file(reclaim, "262144");
		usleep(20000);
	}
	for (i = 0; i < KILLERS + READERS; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			bad++;
	printf("%sok 1 stress\n", bad ? "not " : "");
	return bad;
}
