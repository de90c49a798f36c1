/* SPDX-License-Identifier: MIT */
/*
 * Who connects gets an answer at once, as JSON and as text with a NUL between
 * them; nothing is read from anybody.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "say.h"
#include "status.h"
#include "text.h"

#define MAX_LISTED 5

/* What is answered. */
struct answer {
	struct decision now;
	struct choice would_go;
	/* By score. */
	const struct candidate *best[MAX_LISTED];
	size_t nr;
};

static const char *const levels[] = { "calm", "near", "low", "critical" };
static const char *const phases[] = { "", "asked", "killed", "done" };

void text_add(struct text *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->buf + t->len, t->size - t->len, format, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < t->size - t->len ? (size_t)n :
							 t->size - t->len - 1;
}

void text_json(struct text *t, const char *value)
{
	text_add(t, "\"");
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\')
			text_add(t, "\\%c", c);
		else if (c < ' ' || c >= 0x7f)
			text_add(t, "\\u%04x", c);
		else
			text_add(t, "%c", c);
	}
	text_add(t, "\"");
}

int status_listen(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct stat st;
	int fd, ret;

	if (!text_copy(at.sun_path, sizeof(at.sun_path), path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Another one answers there: that one's it stays. */
	if (!connect(fd, (void *)&at, sizeof(at))) {
		close(fd);
		return -EADDRINUSE;
	}
	/*
	 * Only one that nobody listens at: it may also be stopped, and have no
	 * room for one more.  And a file of this name is a mistake of somebody's.
	 */
	if (errno == ECONNREFUSED && !lstat(path, &st) && S_ISSOCK(st.st_mode))
		unlink(path);
	if (bind(fd, (void *)&at, sizeof(at)) || chmod(path, 0600) ||
	    listen(fd, 4)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static void add_candidate(struct text *t, const struct mreleased *d,
			  const struct candidate *c)
{
	text_add(t, "{\"pid\":%d,\"comm\":", c->pid);
	text_json(t, c->comm);
	text_add(t,
		 ",\"uid\":%u,\"oom_score_adj\":%d,\"score\":%" PRId64
		 ",\"would_come_back_bytes\":%" PRIu64
		 ",\"growth_bytes\":%" PRIu64 "}",
		 c->uid, c->oom_score_adj,
		 candidate_score(c, mreleased_now(d)->total_bytes,
				 &d->config.policy),
		 candidate_gain(c), c->growth_bytes);
}

/* Of all processes, by what the policy says: with whom it would go. */
static void add_would_go(struct text *t, const struct mreleased *d,
			 const struct choice *ch)
{
	const struct candidate *c;

	text_add(t, ",\"would_go\":");
	if (ch->victim < 0) {
		text_add(t, "null,\"nobody_because\":");
		text_json(t, reason_text(ch->reason));
		return;
	}
	c = &d->table.c[ch->victim];
	text_add(t, "{\"pid\":%d,\"comm\":", c->pid);
	text_json(t, c->comm);
	text_add(t, ",\"tree\":%s,\"cgroup\":", ch->tree ? "true" : "false");
	if (ch->whole)
		text_json(t, d->table.units.u[c->unit].path);
	else
		text_add(t, "null");
	text_add(t, ",\"members\":%u,\"would_come_back_bytes\":%" PRIu64 "}",
		 ch->members, ch->gain_bytes);
}

static void add_json(struct text *t, const struct mreleased *d,
		     const struct answer *a)
{
	const struct snapshot *s = &d->history.s[d->history.nr - 1];
	const char *comma = "";

	text_add(t,
		 "{\"total_bytes\":%" PRIu64 ",\"available_bytes\":%" PRIu64
		 ",\"swap_total_bytes\":%" PRIu64
		 ",\"swap_free_bytes\":%" PRIu64 ",\"anon_bytes\":%" PRIu64
		 ",\"shmem_bytes\":%" PRIu64 ",\"cache_bytes\":%" PRIu64,
		 s->total_bytes, s->available_bytes, s->swap_total_bytes,
		 s->swap_free_bytes, s->anon_bytes, s->shmem_bytes,
		 s->cache_bytes);
	text_add(t,
		 ",\"stall_permille\":%u,\"rate_bytes_per_s\":%" PRId64
		 ",\"level\":\"%s\",\"reason\":",
		 a->now.stall_permille, a->now.rate, levels[a->now.level]);
	text_json(t, reason_text(a->now.reason));
	add_would_go(t, d, &a->would_go);
	text_add(t, ",\"prepared\":%u,\"dry_run\":%s,\"candidates\":[",
		 handles_ready(&d->act), d->config.dry_run ? "true" : "false");
	for (size_t i = 0; i < a->nr; i++) {
		text_add(t, "%s", i ? "," : "");
		add_candidate(t, d, a->best[i]);
	}
	text_add(t, "],\"releases\":[");
	for (size_t i = 0; i < MAX_RELEASES; i++) {
		const struct release *r = &d->act.releases[i];

		if (!r->used)
			continue;
		text_add(t, "%s{\"pid\":%d,\"phase\":\"%s\"}", comma,
			 r->victim.pid, phases[r->view.phase]);
		comma = ",";
	}
	text_add(t,
		 "],\"asked\":%" PRIu64 ",\"killed\":%" PRIu64
		 ",\"released_bytes\":%" PRIu64 ",\"unconfirmed\":%" PRIu64
		 ",\"in_vain\":%" PRIu64 ",\"looks\":%" PRIu64
		 ",\"sweeps\":%" PRIu64 ",\"processes\":%zu"
		 ",\"sweep_us\":%" PRId64 ",\"decision_us\":%" PRId64 "}\n",
		 d->totals.asked, d->totals.killed, d->totals.released_bytes,
		 d->totals.unconfirmed, d->totals.in_vain, d->totals.looks,
		 d->totals.sweeps, d->table.nr, d->table.took_ns / 1000,
		 d->decision_ns / 1000);
}

static void say_would_go(struct text *t, const struct mreleased *d,
			 const struct choice *ch)
{
	const struct candidate *c;

	if (ch->victim < 0) {
		text_add(t, "Next would be: nobody, %s\n",
			 reason_text(ch->reason));
		return;
	}
	c = &d->table.c[ch->victim];
	text_add(t, "Next would be: process %d (%s)", c->pid,
		 say_name(c->comm));
	if (ch->tree)
		text_add(t, " and its %u descendants", ch->members - 1);
	if (ch->whole)
		text_add(t, " and cgroup %s (%u processes)",
			 d->table.units.u[c->unit].path, ch->members);
	text_add(t, ", %s to come back\n", say_bytes(ch->gain_bytes));
}

static void add_text(struct text *t, const struct mreleased *d,
		     const struct answer *a)
{
	const struct snapshot *s = &d->history.s[d->history.nr - 1];

	text_add(t,
		 "Memory: %s of %s available; processes %s, tmpfs and "
		 "shared %s, page cache %s\n",
		 say_bytes(s->available_bytes), say_bytes(s->total_bytes),
		 say_bytes(s->anon_bytes), say_bytes(s->shmem_bytes),
		 say_bytes(s->cache_bytes));
	text_add(t, "Swap: %s of %s free\n", say_bytes(s->swap_free_bytes),
		 say_bytes(s->swap_total_bytes));
	text_add(t, "State: %s, %s%s; stalled %u.%u %%\n", levels[a->now.level],
		 reason_text(a->now.reason),
		 d->config.dry_run ? " (dry run)" : "",
		 a->now.stall_permille / 10, a->now.stall_permille % 10);
	text_add(t,
		 "Kills: %" PRIu64 ", asked %" PRIu64 ", %s back, %" PRIu64
		 " not confirmed\n",
		 d->totals.killed, d->totals.asked,
		 say_bytes(d->totals.released_bytes), d->totals.unconfirmed);
	for (size_t i = 0; i < MAX_RELEASES; i++)
		if (d->act.releases[i].used)
			text_add(t, "Release: process %d (%s) %s\n",
				 d->act.releases[i].victim.pid,
				 say_name(d->act.releases[i].victim.comm),
				 phases[d->act.releases[i].view.phase]);
	say_would_go(t, d, &a->would_go);
	text_add(t, "Highest scores:\n%10s %8s %6s %7s %12s %12s  %s\n", "PID",
		 "UID", "ADJ", "SCORE", "COMES BACK", "GREW", "NAME");
	for (size_t i = 0; i < a->nr; i++) {
		const struct candidate *c = a->best[i];

		text_add(t, "%10d %8u %6d %7" PRId64 " %12s %12s  %s\n", c->pid,
			 c->uid, c->oom_score_adj,
			 candidate_score(c, s->total_bytes, &d->config.policy),
			 say_bytes(candidate_gain(c)),
			 say_bytes(c->growth_bytes), say_name(c->comm));
	}
}

void status_answer(int fd, struct mreleased *d)
{
	static char buf[16384];
	struct text t = { buf, sizeof(buf), 0 };
	struct answer a;
	int conn;

	while ((conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >=
	       0) {
		mreleased_consider(d, &a.now, &a.would_go);
		a.nr = best_candidates(d->table.c, d->table.nr,
				       mreleased_now(d)->total_bytes,
				       &d->config.policy, a.best, MAX_LISTED);
		t.len = 0;
		add_json(&t, d, &a);
		/* Between the two. */
		if (t.len + 1 < t.size)
			t.buf[t.len++] = '\0';
		add_text(&t, d, &a);
		if (send(conn, buf, t.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			say(SAY_DEBUG, "status: %s", strerror(errno));
		close(conn);
	}
}
