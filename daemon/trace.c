/* SPDX-License-Identifier: MIT */
/* What was seen and decided, written by a thread. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "text.h"
#include "trace.h"

/*
 * Half of a record would be replayed as if that were all: where not all of it can be
 * written, the file ends with the last whole one.
 */
static void write_out(struct trace *t)
{
	off_t whole;

	if (t->out == t->in)
		return;
	whole = lseek(t->fd, 0, SEEK_END);
	while (t->out != t->in) {
		uint64_t from = t->out % TRACE_BUFFER;
		uint64_t len = t->in - t->out;
		ssize_t n;

		if (from + len > TRACE_BUFFER)
			len = TRACE_BUFFER - from;
		n = write(t->fd, t->buf + from, len);
		if (n > 0) {
			t->out += (uint64_t)n;
			continue;
		}
		t->error = n < 0 ? -errno : -ENOSPC;
		/* No file, or not ours: then half of it stays. */
		if (whole >= 0)
			(void)!ftruncate(t->fd, whole);
		/* What is in the ring, whole records, is given up. */
		t->out = t->in;
		return;
	}
	t->error = 0;
}

static void *writer(void *arg)
{
	struct trace *t = arg;

	for (;;) {
		while (sem_wait(&t->go))
			;
		write_out(t);
	}
	return NULL;
}

int trace_open(struct trace *t, const char *path)
{
	t->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return -errno;
	t->buf = mmap(NULL, TRACE_BUFFER, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t->flags = mmap(NULL, MAX_CANDIDATES * sizeof(*t->flags),
			PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	if (t->buf == MAP_FAILED || t->flags == MAP_FAILED ||
	    sem_init(&t->go, 0, 0)) {
		close(t->fd);
		t->buf = NULL;
		return -errno;
	}
	return -pthread_create(&t->writer, NULL, writer, t);
}

int trace_close(struct trace *t)
{
	struct timespec until;

	if (!t->buf)
		return 0;
	pthread_cancel(t->writer);
	/* It hangs in a write, as this thread would: what is in the ring is lost. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	if (pthread_timedjoin_np(t->writer, NULL, &until))
		return -ETIMEDOUT;
	write_out(t);
	if (close(t->fd) && !t->error)
		t->error = -errno;
	munmap(t->buf, TRACE_BUFFER);
	munmap(t->flags, MAX_CANDIDATES * sizeof(*t->flags));
	t->buf = NULL;
	return t->error;
}

static void put(struct trace *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void put(struct trace *t, const char *format, ...)
{
	char line[512];
	va_list ap;
	size_t len;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	len = n < (int)sizeof(line) ? (size_t)n : sizeof(line) - 1;
	/* Half of a record would be replayed as if that were all. */
	if (n < 0 || !t->fits || t->end - t->out + len > TRACE_BUFFER) {
		t->fits = false;
		return;
	}
	for (size_t i = 0; i < len; i++)
		t->buf[(t->end + i) % TRACE_BUFFER] = line[i];
	t->end += len;
}

static void put_snapshot(struct trace *t, const struct snapshot *s)
{
	put(t,
	    "S %" PRId64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	    " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	    " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	    " %" PRIu64 " %" PRIu64 "\n",
	    s->time_ns, s->has, s->total_bytes, s->available_bytes,
	    s->free_bytes, s->swap_total_bytes, s->swap_free_bytes,
	    s->anon_bytes, s->shmem_bytes, s->cache_bytes, s->hugetlb_bytes,
	    s->slab_bytes, s->some_us, s->full_us, s->refault_file,
	    s->refault_anon, s->swapped_in, s->oom_kills);
}

/* The name is in hexadecimal: it may have blanks, newlines, anything. */
static void put_candidate(struct trace *t, const struct candidate *c,
			  uint32_t flags)
{
	char comm[2 * sizeof(c->comm) + 1];

	for (size_t i = 0; i < sizeof(c->comm); i++)
		snprintf(comm + 2 * i, 3, "%02x", (unsigned char)c->comm[i]);
	put(t,
	    "C %d %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
	    " %" PRIu64 " %" PRIu64 " %" PRId64 " %d %d %u %d %u %u %s"
	    " %" PRIu64 "\n",
	    c->pid, c->parent, c->start, c->anon_bytes, c->shmem_bytes,
	    c->shmem_own_bytes, c->swap_bytes, c->growth_bytes,
	    c->shmem_growth_bytes, c->age_s, c->session, c->pgrp, c->unit,
	    c->oom_score_adj, flags, c->uid, comm, c->inherited_bytes);
}

static void put_release(struct trace *t, size_t i, const struct release_view *r)
{
	put(t,
	    "R %zu %d %d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
	    " %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n",
	    i, r->phase, r->pid, r->asked_ns, r->killed_ns, r->done_ns,
	    r->grace_ns, r->expected_bytes, r->released_bytes,
	    r->outstanding_bytes, r->verified);
}

void trace_keep(struct trace *t, const struct policy_view *v)
{
	for (size_t i = 0; t->buf && i < v->nr_candidates; i++)
		t->flags[i] = v->candidates[i].flags;
}

void trace_add(struct trace *t, const struct policy_view *v,
	       const struct decision *d)
{
	const struct snapshot *s = &v->history[v->nr_history - 1];
	pid_t victim = 0;

	if (!t->buf)
		return;
	t->end = t->in;
	t->fits = true;
	put_snapshot(t, s);
	put(t,
	    "G %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n",
	    v->growth_ns, v->available_growth_bytes, v->shmem_growth_bytes,
	    v->release_ns, v->acted_ns);
	/* All of them where it matters, else now and then, and after a gap. */
	if (d->level >= LEVEL_LOW || t->error ||
	    s->time_ns - t->candidates_ns > 10 * NS_PER_S) {
		put(t, "N %zu\n", v->nr_candidates);
		for (size_t i = 0; i < v->nr_candidates; i++)
			put_candidate(t, &v->candidates[i], t->flags[i]);
		t->candidates_ns = s->time_ns;
	}
	for (size_t i = 0; i < v->nr_releases; i++)
		if (v->releases[i].phase != RELEASE_NONE)
			put_release(t, i, &v->releases[i]);
	if (d->action == ACTION_KILL || d->action == ACTION_ASK)
		victim = v->candidates[d->victim].pid;
	put(t, "D %d %d %d %d %d\n", d->level, d->action, d->reason, victim,
	    d->tree);
	if (t->fits)
		t->in = t->end;
	else
		t->lost++;
	sem_post(&t->go);
}
