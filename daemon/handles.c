/* SPDX-License-Identifier: MIT */
/*
 * Handles are opened while there is time.  The loop opens the pidfd and the
 * status file, which wait for nobody; what may wait for the process (a thread
 * in the middle of execve() holds its lock for as long as it likes) is left to
 * a thread, and if that hangs there is a pidfd all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "act.h"
#include "table.h"
#include "text.h"

/* Descriptors that are not for handles, and those of one handle. */
#define KEPT_FDS   40
#define HANDLE_FDS 12

/* PIDs are reused: the one that was scored has this start time. */
int open_victim(struct act *a, pid_t pid, uint64_t start)
{
	struct process_stat st;
	char path[32], buf[1024];
	int fd = mrelease_open(pid, 0);
	ssize_t n;

	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "%d/stat", pid);
	n = text_read_at(a->proc_fd, path, buf, sizeof(buf));
	if (n <= 0 || process_parse_stat(buf, &st) || st.start != start) {
		close(fd);
		return n < 0 && n != -ENOENT ? (int)n : -ESRCH;
	}
	return fd;
}

/* The helper is there as well: to make one takes memory. */
static void open_target(struct handle *h)
{
	struct mrelease_opts opts = { .size = sizeof(opts),
				      .flags = MRELEASE_STANDBY };

	if (mrelease_prepare(h->pidfd, &opts, NULL, &h->target))
		h->target = NULL;
}

static void *open_targets(void *arg)
{
	struct act *a = arg;

	for (;;) {
		while (sem_wait(&a->open_go))
			;
		for (size_t i = 0; i < MAX_HANDLES; i++) {
			struct handle *h = &a->handles[i];

			if (h->state != HANDLE_OPENING)
				continue;
			open_target(h);
			h->state = HANDLE_READY;
		}
	}
	return NULL;
}

/* What the sweep and a kill need is not theirs. */
static size_t affordable(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) ||
	    files.rlim_cur >= KEPT_FDS + MAX_HANDLES * HANDLE_FDS)
		return MAX_HANDLES;
	return files.rlim_cur > KEPT_FDS ?
		       (files.rlim_cur - KEPT_FDS) / HANDLE_FDS :
		       0;
}

int handles_start(struct act *a)
{
	a->max_handles = affordable();
	for (size_t i = 0; i < MAX_HANDLES; i++)
		a->handles[i].pidfd = a->handles[i].status_fd = -1;
	if (sem_init(&a->open_go, 0, 0))
		return -errno;
	return -pthread_create(&a->opener, NULL, open_targets, a);
}

static void drop(struct handle *h)
{
	mrelease_target_free(h->target);
	if (h->pidfd >= 0)
		close(h->pidfd);
	if (h->status_fd >= 0)
		close(h->status_fd);
	h->target = NULL;
	h->pidfd = h->status_fd = -1;
	h->pid = 0;
	h->state = HANDLE_FREE;
}

struct handle *handle_of(struct act *a, pid_t pid, uint64_t start)
{
	for (size_t i = 0; i < MAX_HANDLES; i++)
		if (a->handles[i].state != HANDLE_FREE &&
		    a->handles[i].pid == pid && a->handles[i].start == start)
			return &a->handles[i];
	return NULL;
}

static bool add(struct act *a, const struct candidate *c)
{
	struct handle *h = NULL;
	char path[32];

	for (size_t i = 0; i < a->max_handles && !h; i++)
		if (a->handles[i].state == HANDLE_FREE)
			h = &a->handles[i];
	if (!h)
		return false;
	h->pidfd = open_victim(a, c->pid, c->start);
	if (h->pidfd < 0)
		return false;
	snprintf(path, sizeof(path), "%d/status", c->pid);
	h->status_fd = openat(a->proc_fd, path, O_RDONLY | O_CLOEXEC);
	h->pid = c->pid;
	h->start = c->start;
	h->wanted = true;
	h->state = HANDLE_OPENING;
	return true;
}

void handles_update(struct act *a, const struct candidate *const *best,
		    size_t nr_best)
{
	bool added = false;

	for (size_t i = 0; i < MAX_HANDLES; i++)
		a->handles[i].wanted = false;
	for (size_t i = 0; i < nr_best; i++) {
		struct handle *h = handle_of(a, best[i]->pid, best[i]->start);

		if (h)
			h->wanted = true;
	}
	for (size_t i = 0; i < MAX_HANDLES; i++)
		if (a->handles[i].state == HANDLE_READY &&
		    !a->handles[i].wanted)
			drop(&a->handles[i]);
	for (size_t i = 0; i < nr_best; i++)
		if (!handle_of(a, best[i]->pid, best[i]->start))
			added |= add(a, best[i]);
	if (added)
		sem_post(&a->open_go);
}

void handles_drop(struct act *a)
{
	handles_update(a, NULL, 0);
}

unsigned int handles_ready(const struct act *a)
{
	unsigned int n = 0;

	for (size_t i = 0; i < MAX_HANDLES; i++)
		n += a->handles[i].state == HANDLE_READY;
	return n;
}
