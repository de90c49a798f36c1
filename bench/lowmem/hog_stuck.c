/* SPDX-License-Identifier: MIT */
/* Hogs that die and do not give back, or not soon. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

static void *sleeping_thread(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* A request to a FUSE server that never answers: no signal ends it. */
static void *stuck_thread(void *unused)
{
	struct stat st;

	stat(FUSE_DIR "/x", &st);
	return unused;
}

static void start_thread(void *(*run)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	if (pthread_create(&thread, &attr, run, NULL))
		die("pthread_create");
	pthread_attr_destroy(&attr);
}

void hog_dstate(void)
{
	start_thread(stuck_thread);
	hog_brisk();
}

/* 64 threads at nice 19; the units spin@ have the CPUs. */
void hog_threads(void)
{
	for (unsigned int i = 0; i < 64; i++)
		start_thread(sleeping_thread);
	setpriority(PRIO_PROCESS, 0, 19);
	for (pid_t i = 1; i <= 64; i++)
		setpriority(PRIO_PROCESS, (id_t)(getpid() + i), 19);
	hog_brisk();
}

/* Somebody reads this page of it, by /proc/PID/mem, and is stalled in that. */
void hog_held(void)
{
	char text[64], *page = grow(4096);

	snprintf(text, sizeof(text), "%d %lx", getpid(), (unsigned long)page);
	write_text(HOG_FILE, text);
	sleep_ms(1500);
	hog_brisk();
}

static void limit_own_cpu(void)
{
	char line[512], path[768], *end;

	read_text("/proc/self/cgroup", line, sizeof(line));
	end = strchr(line, '\n');
	if (strncmp(line, "0::", 3) || !end)
		die("/proc/self/cgroup");
	*end = '\0';
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", line + 3);
	if (!write_text(path, "1000 100000"))
		die(path);
}

/* Near the line its cgroup has 1 % of a CPU: it grows on, and its exit crawls. */
void hog_slowexit(void)
{
	uint64_t line = share_of_memory(11), piece = share_of_memory(0.5);
	char *p;

	while (meminfo("MemAvailable:") > line)
		grow(piece);
	limit_own_cpu();
	for (;;) {
		p = mmap(NULL, piece, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (uint64_t at = 0; p != MAP_FAILED && at < piece; at += 4096)
			p[at] = 1;
	}
}
