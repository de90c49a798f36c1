/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/cmdline is read out of the memory of the process, for which its
 * mmap_lock is taken.  Any user can hold that for ever: mmap() of a file waits, with
 * the lock, for a page that a FUSE server has been asked for and does not send.  So
 * threads read, many lines for each time that one has to be woken.  One that waits
 * is left to it, and another goes on; that process is not asked again meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aside.h"
#include "cmdline.h"
#include "text.h"

#define MAX_READERS 4
#define PATIENCE_NS (10 * NS_PER_MS)
#define LINE_SIZE   (64 * 1024)

struct reader {
	struct aside aside;
	/* Readable when it has ended. */
	int done_fd;
	/* The thread has what follows. */
	_Atomic bool busy;
	/* Nobody waits for the rest. */
	_Atomic bool left;
	int proc_fd;
	size_t nr;
	pid_t pids[CMDLINE_BATCH];
	/* How many of these are there: the thread leaves those alone. */
	_Atomic size_t nr_done;
	ssize_t len[CMDLINE_BATCH];
	char *text[CMDLINE_BATCH];
	char buf[4 * LINE_SIZE];
};

static struct reader readers[MAX_READERS];

static void read_lines(void *arg)
{
	struct reader *r = arg;
	uint64_t one = 1;
	char *at = r->buf, path[32];

	for (size_t i = 0; i < r->nr && !r->left; i++) {
		if (at + LINE_SIZE > r->buf + sizeof(r->buf))
			break;
		snprintf(path, sizeof(path), "%d/cmdline", r->pids[i]);
		r->text[i] = at;
		r->len[i] = text_read_at(r->proc_fd, path, at, LINE_SIZE);
		at += r->len[i] > 0 ? r->len[i] + 1 : 1;
		r->nr_done = i + 1;
	}
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
	if (!aside_start(&r->aside, read_lines, r))
		return true;
	close(r->done_fd);
	return false;
}

/* NULL: all of them wait. */
static struct reader *find_reader(void)
{
	for (size_t i = 0; i < MAX_READERS; i++)
		if (!readers[i].busy)
			return start(&readers[i]) ? &readers[i] : NULL;
	return NULL;
}

static bool is_waited_for(pid_t pid)
{
	for (size_t i = 0; i < MAX_READERS; i++) {
		const struct reader *r = &readers[i];
		size_t at = r->nr_done;

		if (r->busy && at < r->nr && r->pids[at] == pid)
			return true;
	}
	return false;
}

/*
 * Until all are there, the time is over, or one is not there in 10 ms: @stuck.  It
 * waits for somebody, or gets no CPU.  One at least gets these 10 ms.
 */
static size_t wait_for(struct reader *r, int64_t left_ns, bool *stuck)
{
	int64_t begin = clock_ns(), now = begin, last = begin, wait;
	size_t done = 0, now_done;
	uint64_t count;

	for (*stuck = false; r->busy && !*stuck; now = clock_ns()) {
		struct pollfd p = { .fd = r->done_fd, .events = POLLIN };

		if (r->nr_done > done) {
			done = r->nr_done;
			last = now;
		}
		if (done && now - begin >= left_ns)
			break;
		*stuck = now - last >= PATIENCE_NS;
		wait = last + PATIENCE_NS - now;
		if (done && wait > begin + left_ns - now)
			wait = begin + left_ns - now;
		/* That may be of lines before, which came too late. */
		if (!*stuck && poll(&p, 1, (int)(wait / NS_PER_MS) + 1) > 0 &&
		    read(r->done_fd, &count, sizeof(count)) < 0)
			break;
	}
	/* It may have come at the last moment; read once, as the thread goes on. */
	now_done = r->nr_done;
	*stuck = *stuck && now_done == done;
	r->left = true;
	return now_done;
}

static void take(struct reader *r, size_t i, struct cmdline *ret)
{
	if (r->len[i] < 0) {
		ret->error = (int)r->len[i];
		return;
	}
	for (ssize_t k = 0; k + 1 < r->len[i]; k++)
		if (!r->text[i][k])
			r->text[i][k] = ' ';
	ret->text = r->text[i];
}

size_t cmdline_ask(int proc_fd, const pid_t *pids, size_t nr, int64_t *left_ns,
		   struct cmdline *ret)
{
	int64_t begin = clock_ns();
	size_t done = 0, at = 0;
	struct reader *r;
	bool stuck = false;

	if (!nr || *left_ns <= 0)
		return 0;
	r = find_reader();
	if (r)
		r->nr = 0;
	/* Those who make all readers wait must not protect another one by that. */
	for (size_t i = 0; i < nr; i++) {
		bool asked = r && !is_waited_for(pids[i]);

		ret[i] = (struct cmdline){ .error = asked ? 0 : -EBUSY };
		if (asked)
			r->pids[r->nr++] = pids[i];
	}
	if (!r || !r->nr)
		return nr;
	r->proc_fd = proc_fd;
	r->nr_done = 0;
	r->left = false;
	r->busy = true;
	aside_go(&r->aside);
	done = wait_for(r, *left_ns, &stuck);
	*left_ns -= clock_ns() - begin;
	for (size_t i = 0; i < nr; i++) {
		if (ret[i].error)
			continue;
		if (at < done)
			take(r, at, &ret[i]);
		else if (at == done && stuck)
			ret[i].error = -EBUSY;
		else
			return i;
		at++;
	}
	return nr;
}
