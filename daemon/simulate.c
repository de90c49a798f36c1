/* SPDX-License-Identifier: MIT */
/*
 * Decide again what was recorded, with the configuration of now.  What
 * happened after the first other decision is not known: the recorded course is
 * followed all the same, and the releases in it are those of then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "say.h"
#include "text.h"
#include "trace.h"

struct replay {
	const struct config *config;
	struct history history;
	struct candidate *c;
	size_t nr;
	struct release_view releases[MAX_RELEASES];
	struct policy_view view;
	struct policy_scratch *scratch;
	unsigned int decisions;
	unsigned int kills;
	unsigned int others;
	FILE *out;
};

static bool read_snapshot(struct replay *r, const char *line)
{
	struct snapshot s;

	if (sscanf(line,
		   "S %" SCNd64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &s.time_ns, &s.has, &s.total_bytes, &s.available_bytes,
		   &s.free_bytes, &s.swap_total_bytes, &s.swap_free_bytes,
		   &s.anon_bytes, &s.shmem_bytes, &s.cache_bytes,
		   &s.hugetlb_bytes, &s.slab_bytes, &s.some_us, &s.full_us,
		   &s.refault_file, &s.refault_anon, &s.swapped_in,
		   &s.oom_kills) != 18)
		return false;
	history_push(&r->history, &s);
	memset(r->releases, 0, sizeof(r->releases));
	return true;
}

/* Traces of before know nothing of how long a release takes. */
static bool read_growth(struct replay *r, const char *line)
{
	r->view.release_ns = r->view.acted_ns = 0;
	return sscanf(line,
		      "G %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
		      " %" SCNd64,
		      &r->view.growth_ns, &r->view.available_growth_bytes,
		      &r->view.shmem_growth_bytes, &r->view.release_ns,
		      &r->view.acted_ns) >= 3;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 :
				      -1;
}

/*
 * What the rules of now say of it, as far as name and user go.  What rules by command
 * line, cgroup and unit would say is not known: if there are such, it is as it was.
 */
static void ask_rules(const struct replay *r, struct candidate *c)
{
	const struct rules *rules = &r->config->rules;
	const uint32_t preferences = CANDIDATE_PREFER | CANDIDATE_AVOID;

	/* Rules of then may have been other ones: preferences are anew. */
	c->flags &= ~preferences | rules_of_others(rules);
	c->flags |= rules_match_own(rules, c->comm, c->uid);
	if (r->config->ignore_root && !c->uid)
		c->flags |= CANDIDATE_NEVER;
}

static bool read_candidate(struct replay *r, const char *line)
{
	struct candidate *c = &r->c[r->nr];
	char comm[64];

	if (r->nr == MAX_CANDIDATES)
		return false;
	*c = (struct candidate){ 0 };
	if (sscanf(line,
		   "C %d %d %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNd64
		   " %d %d %u %d %u %u %63s %" SCNu64,
		   &c->pid, &c->parent, &c->start, &c->anon_bytes,
		   &c->shmem_bytes, &c->shmem_own_bytes, &c->swap_bytes,
		   &c->growth_bytes, &c->shmem_growth_bytes, &c->age_s,
		   &c->session, &c->pgrp, &c->unit, &c->oom_score_adj,
		   &c->flags, &c->uid, comm, &c->inherited_bytes) < 17 ||
	    c->unit >= MAX_UNITS)
		return false;
	for (size_t i = 0; i < sizeof(c->comm) - 1; i++) {
		if (hex(comm[2 * i]) < 0 || hex(comm[2 * i + 1]) < 0)
			break;
		c->comm[i] =
			(char)(hex(comm[2 * i]) << 4 | hex(comm[2 * i + 1]));
	}
	ask_rules(r, c);
	r->nr++;
	return true;
}

static bool read_release(struct replay *r, const char *line)
{
	struct release_view v = { 0 };
	int phase, verified;
	size_t i;

	if (sscanf(line,
		   "R %zu %d %d %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
		   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %d",
		   &i, &phase, &v.pid, &v.asked_ns, &v.killed_ns, &v.done_ns,
		   &v.grace_ns, &v.expected_bytes, &v.released_bytes,
		   &v.outstanding_bytes, &verified) != 11 ||
	    i >= MAX_RELEASES || phase < 0 || phase > RELEASE_DONE)
		return false;
	v.phase = (enum release_phase)phase;
	v.verified = verified;
	r->releases[i] = v;
	return true;
}

static const char *who(const struct replay *r, pid_t pid)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->c[i].pid == pid)
			return say_name(r->c[i].comm);
	return "?";
}

static void tell(const struct replay *r, const char *when, int action,
		 int reason, pid_t pid)
{
	static const char *const names[] = { "nobody", "ask", "kill",
					     "SIGKILL for the one asked" };

	fprintf(r->out, "  %s: %s", when,
		names[action >= 0 && action <= ACTION_ESCALATE ? action : 0]);
	if (action == ACTION_ASK || action == ACTION_KILL)
		fprintf(r->out, " %d (%s)", pid, who(r, pid));
	fprintf(r->out, ", %s\n", reason_text((enum policy_reason)reason));
}

static bool decide(struct replay *r, const char *line)
{
	const struct snapshot *s;
	int level, action, reason, pid, tree;
	struct decision d;
	pid_t victim = 0;

	if (sscanf(line, "D %d %d %d %d %d", &level, &action, &reason, &pid,
		   &tree) != 5 ||
	    !r->history.nr)
		return false;
	s = &r->history.s[r->history.nr - 1];
	r->view.history = r->history.s;
	r->view.nr_history = r->history.nr;
	r->view.candidates = r->c;
	r->view.nr_candidates = r->nr;
	r->view.releases = r->releases;
	r->view.nr_releases = MAX_RELEASES;
	r->view.config = &r->config->policy;
	policy_decide(&r->view, r->scratch, &d);
	if (d.action == ACTION_KILL || d.action == ACTION_ASK)
		victim = r->c[d.victim].pid;
	r->decisions++;
	r->kills += d.action == ACTION_KILL || d.action == ACTION_ASK;
	if ((int)d.action == action && victim == pid) {
		if (action == ACTION_NONE)
			return true;
		fprintf(r->out, "%" PRId64 ".%03" PRId64 " s, %s available\n",
			s->time_ns / NS_PER_S, s->time_ns / NS_PER_MS % 1000,
			say_bytes(s->available_bytes));
		tell(r, "then and now", action, reason, pid);
		return true;
	}
	r->others++;
	fprintf(r->out, "%" PRId64 ".%03" PRId64 " s, %s available\n",
		s->time_ns / NS_PER_S, s->time_ns / NS_PER_MS % 1000,
		say_bytes(s->available_bytes));
	tell(r, "then", action, reason, pid);
	tell(r, "now", (int)d.action, (int)d.reason, victim);
	return true;
}

static bool replay_line(struct replay *r, const char *line)
{
	switch (line[0]) {
	case 'S':
		return read_snapshot(r, line);
	case 'G':
		return read_growth(r, line);
	case 'N':
		r->nr = 0;
		return true;
	case 'C':
		return read_candidate(r, line);
	case 'R':
		return read_release(r, line);
	case 'D':
		return decide(r, line);
	case '#':
		return true;
	}
	return false;
}

static int cannot_replay(const char *path, const char *why)
{
	fprintf(stderr, "mreleased: %s: %s\n", path, why);
	return 3;
}

int simulate(const char *path, const struct config *config, FILE *out)
{
	struct replay *r = calloc(1, sizeof(*r));
	FILE *f = fopen(path, "re");
	unsigned int number = 0, bad = 0;
	char line[1024];
	int status = 0;

	if (r) {
		r->c = calloc(MAX_CANDIDATES, sizeof(*r->c));
		r->scratch = calloc(1, sizeof(*r->scratch));
		r->config = config;
		r->out = out;
	}
	if (!f || !r || !r->c || !r->scratch)
		status = cannot_replay(path, strerror(errno));
	while (!status && fgets(line, sizeof(line), f)) {
		number++;
		/* A line that was cut off where the daemon was killed. */
		if (replay_line(r, line) || bad++)
			continue;
		fprintf(stderr, "mreleased: %s:%u: not understood\n", path,
			number);
	}
	/* A directory opens, and cannot be read. */
	if (!status && ferror(f))
		status = cannot_replay(path, strerror(errno));
	if (!status && !bad && !r->decisions)
		fprintf(stderr,
			"mreleased: %s: not a recording, or an empty one\n",
			path);
	if (!status)
		fprintf(out, "%u decisions, %u kills now, %u other than then\n",
			r->decisions, r->kills, r->others);
	if (!status && (bad || !r->decisions))
		status = 2;
	if (!say_written(out))
		status = 3;
	if (f)
		fclose(f);
	if (r) {
		free(r->c);
		free(r->scratch);
	}
	free(r);
	return status;
}
