/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/cmdline is read out of the memory of the process, for which its
 * mmap_lock is taken.  Any user can hold that for ever: mmap() of a file waits, with
 * the lock, for a page that a FUSE server has been asked for and does not send.  So
 * threads read.  One that waits is left to it, and another goes on; that process
 * is not asked again meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aside.h"
#include "cmdline.h"
#include "text.h"

#define MAX_READERS 4
#define PATIENCE_NS (10 * NS_PER_MS)

struct reader {
	struct aside aside;
	/* Readable when it has ended. */
	int done_fd;
	/* The thread has what follows. */
	_Atomic bool busy;
	int proc_fd;
	pid_t pid;
	ssize_t len;
	char buf[64 * 1024];
};

static struct reader readers[MAX_READERS];

static void read_one(void *arg)
{
	struct reader *r = arg;
	uint64_t one = 1;
	char path[32];

	snprintf(path, sizeof(path), "%d/cmdline", r->pid);
	r->len = text_read_at(r->proc_fd, path, r->buf, sizeof(r->buf));
	r->busy = false;
	if (write(r->done_fd, &one, sizeof(one)) < 0)
		return; /* It is full, and so it is readable. */
}

static bool start(struct reader *r)
{
	if (r->aside.started)
		return true;
	r->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->done_fd < 0)
		return false;
	if (!aside_start(&r->aside, read_one, r))
		return true;
	close(r->done_fd);
	return false;
}

/* NULL: that one is being asked, or all of them wait. */
static struct reader *find_reader(pid_t pid)
{
	struct reader *idle = NULL;

	for (size_t i = 0; i < MAX_READERS; i++) {
		if (!readers[i].busy)
			idle = idle ? idle : &readers[i];
		else if (readers[i].pid == pid)
			return NULL;
	}
	return idle && start(idle) ? idle : NULL;
}

/* False: it waits for somebody, or gets no CPU. */
static bool has_read(struct reader *r, int64_t until_ns)
{
	int64_t now = clock_ns(), left;

	if (until_ns > now + PATIENCE_NS)
		until_ns = now + PATIENCE_NS;
	while (r->busy && (left = until_ns - clock_ns()) > 0) {
		struct pollfd p = { .fd = r->done_fd, .events = POLLIN };
		uint64_t count;

		/* That may be of a read before, which came too late. */
		if (poll(&p, 1, (int)(left / NS_PER_MS) + 1) > 0 &&
		    read(r->done_fd, &count, sizeof(count)) < 0)
			return false;
	}
	return !r->busy;
}

int cmdline_read(int proc_fd, pid_t pid, int64_t until_ns, const char **ret)
{
	struct reader *r = clock_ns() < until_ns ? find_reader(pid) : NULL;

	*ret = NULL;
	if (!r)
		return -EBUSY;
	r->proc_fd = proc_fd;
	r->pid = pid;
	r->busy = true;
	aside_go(&r->aside);
	if (!has_read(r, until_ns))
		return -EBUSY;
	if (r->len < 0)
		return (int)r->len;
	for (ssize_t i = 0; i + 1 < r->len; i++)
		if (!r->buf[i])
			r->buf[i] = ' ';
	*ret = r->buf;
	return 0;
}
