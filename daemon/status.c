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

static void add_json(struct text *t, const struct mreleased *d,
		     const struct candidate *const *best, size_t nr)
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
		 d->last.stall_permille, d->last.rate, levels[d->last.level]);
	text_json(t, reason_text(d->last.reason));
	text_add(t, ",\"prepared\":%u,\"dry_run\":%s,\"candidates\":[",
		 handles_ready(&d->act), d->config.dry_run ? "true" : "false");
	for (size_t i = 0; i < nr; i++) {
		text_add(t, "%s{\"pid\":%d,\"comm\":", i ? "," : "",
			 best[i]->pid);
		text_json(t, best[i]->comm);
		text_add(t,
			 ",\"uid\":%u,\"oom_score_adj\":%d,\"score\":%" PRId64
			 ",\"would_come_back_bytes\":%" PRIu64
			 ",\"growth_bytes\":%" PRIu64 "}",
			 best[i]->uid, best[i]->oom_score_adj,
			 candidate_score(best[i], s->total_bytes,
					 &d->config.policy),
			 candidate_gain(best[i]), best[i]->growth_bytes);
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

static void add_text(struct text *t, const struct mreleased *d,
		     const struct candidate *const *best, size_t nr)
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
	text_add(t, "State: %s, %s%s; stalled %u.%u %%\n",
		 levels[d->last.level], reason_text(d->last.reason),
		 d->config.dry_run ? " (dry run)" : "",
		 d->last.stall_permille / 10, d->last.stall_permille % 10);
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
	text_add(t, "%10s %8s %6s %7s %12s %12s  %s\n", "PID", "UID", "ADJ",
		 "SCORE", "COMES BACK", "GREW", "NAME");
	for (size_t i = 0; i < nr; i++)
		text_add(t, "%10d %8u %6d %7" PRId64 " %12s %12s  %s\n",
			 best[i]->pid, best[i]->uid, best[i]->oom_score_adj,
			 candidate_score(best[i], s->total_bytes,
					 &d->config.policy),
			 say_bytes(candidate_gain(best[i])),
			 say_bytes(best[i]->growth_bytes),
			 say_name(best[i]->comm));
}

void status_answer(int fd, struct mreleased *d)
{
	static char buf[16384];
	struct text t = { buf, sizeof(buf), 0 };
	const struct candidate *best[MAX_LISTED];
	size_t nr;
	int conn;

	while ((conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >=
	       0) {
		mreleased_refresh(d);
		nr = best_candidates(
			d->table.c, d->table.nr,
			d->history.s[d->history.nr - 1].total_bytes,
			&d->config.policy, best, MAX_LISTED);
		t.len = 0;
		add_json(&t, d, best, nr);
		/* Between the two. */
		if (t.len + 1 < t.size)
			t.buf[t.len++] = '\0';
		add_text(&t, d, best, nr);
		if (send(conn, buf, t.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			say(SAY_DEBUG, "status: %s", strerror(errno));
		close(conn);
	}
}
