/* SPDX-License-Identifier: MIT */
/* For the textfile collector of node_exporter. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aside.h"
#include "status.h"
#include "text.h"

const int64_t release_buckets_ns[RELEASE_BUCKETS] = {
	NS_PER_MS,	  5 * NS_PER_MS,    10 * NS_PER_MS,  25 * NS_PER_MS,
	50 * NS_PER_MS,	  100 * NS_PER_MS,  250 * NS_PER_MS, 500 * NS_PER_MS,
	1000 * NS_PER_MS, 5000 * NS_PER_MS,
};

static void counter(struct text *t, const char *name, const char *help,
		    uint64_t value)
{
	text_add(t,
		 "# HELP mreleased_%s %s\n# TYPE mreleased_%s counter\n"
		 "mreleased_%s %" PRIu64 "\n",
		 name, help, name, name, value);
}

static void gauge(struct text *t, const char *name, const char *help,
		  uint64_t value)
{
	text_add(t,
		 "# HELP mreleased_%s %s\n# TYPE mreleased_%s gauge\n"
		 "mreleased_%s %" PRIu64 "\n",
		 name, help, name, name, value);
}

static void histogram(struct text *t, const struct totals *n)
{
	const char *name = "mreleased_release_seconds";
	uint64_t sum = 0;

	text_add(t,
		 "# HELP %s SIGKILL to memory verified\n"
		 "# TYPE %s histogram\n",
		 name, name);
	for (size_t i = 0; i < RELEASE_BUCKETS; i++) {
		sum += n->buckets[i];
		text_add(t,
			 "%s_bucket{le=\"%" PRId64 ".%03" PRId64 "\"} %" PRIu64
			 "\n",
			 name, release_buckets_ns[i] / NS_PER_S,
			 release_buckets_ns[i] / NS_PER_MS % 1000, sum);
	}
	sum += n->buckets[RELEASE_BUCKETS];
	text_add(t, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
	text_add(t, "%s_sum %" PRId64 ".%06" PRId64 "\n", name,
		 n->release_ns / NS_PER_S, n->release_ns / 1000 % 1000000);
	text_add(t, "%s_count %" PRIu64 "\n", name, sum);
}

static void fill(struct text *t, const struct mreleased *d)
{
	const struct snapshot *s = &d->history.s[d->history.nr - 1];

	counter(t, "kills_total", "Processes killed (SIGKILL)",
		d->totals.killed);
	counter(t, "asked_total", "Processes asked to exit (SIGTERM)",
		d->totals.asked);
	counter(t, "released_bytes_total", "Memory known to be back",
		d->totals.released_bytes);
	counter(t, "release_unconfirmed_total",
		"Releases whose memory is not known to be back",
		d->totals.unconfirmed);
	counter(t, "in_vain_total",
		"Shortages in which no kill would have helped",
		d->totals.in_vain);
	counter(t, "looks_total", "Looks at the machine", d->totals.looks);
	counter(t, "sweeps_total", "Looks at all processes", d->totals.sweeps);
	gauge(t, "available_bytes", "Memory available at the last look",
	      s->available_bytes);
	gauge(t, "level", "0 calm, 1 near, 2 low, 3 critical", d->last.level);
	gauge(t, "prepared_candidates", "Candidates with open handles",
	      handles_ready(&d->act));
	histogram(t, &d->totals);
}

/* What the thread writes, and what became of the one before. */
static struct {
	/* The thread has it. */
	_Atomic bool busy;
	int error;
	char path[PATH_MAX];
	size_t len;
	char buf[8192];
} next;
static struct aside writer;

static int write_all(int fd)
{
	size_t done = 0;

	while (done < next.len) {
		ssize_t n = write(fd, next.buf + done, next.len - done);

		if (n <= 0)
			return n ? -errno : -ENOSPC;
		done += (size_t)n;
	}
	return 0;
}

static int write_file(void)
{
	char temporary[PATH_MAX + 8];
	int fd, ret;

	/* node_exporter is another user, and the umask ours alone. */
	snprintf(temporary, sizeof(temporary), "%s.tmp", next.path);
	fd = open(temporary,
		  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	fchmod(fd, 0644);
	ret = write_all(fd);
	/* A server or a quota may say no only now. */
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(temporary, next.path))
		ret = -errno;
	if (ret)
		unlink(temporary);
	return ret;
}

static void write_next(void *arg)
{
	(void)arg;
	next.error = write_file();
	next.busy = false;
}

int metrics_start(void)
{
	return aside_start(&writer, write_next, NULL);
}

int metrics_error(void)
{
	int ret;

	if (next.busy)
		return 0;
	ret = next.error;
	next.error = 0;
	return ret;
}

int metrics_write(const char *path, const struct mreleased *d)
{
	struct text t = { next.buf, sizeof(next.buf), 0 };

	if (next.busy)
		return -EAGAIN;
	if (!text_copy(next.path, sizeof(next.path), path))
		return -ENAMETOOLONG;
	fill(&t, d);
	next.len = t.len;
	next.busy = true;
	if (!aside_go(&writer))
		write_next(NULL);
	return 0;
}

int metrics_end(const char *path, const struct mreleased *d)
{
	int ret;

	if (!*path)
		return 0;
	aside_wait(&next.busy);
	ret = metrics_write(path, d);
	if (ret)
		return ret;
	aside_wait(&next.busy);
	return next.busy ? -ETIMEDOUT : metrics_error();
}
