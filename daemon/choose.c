/* SPDX-License-Identifier: MIT */
/*
 * Who: the one whose loss gives enough back and costs least.  The cause of the
 * shortage, seen by its growth, before the biggest.
 */
#include <string.h>

#include "policy.h"

/* What kernel and earlyoom make of a preference: 300 of oom_score_adj. */
#define PREFERENCE 300
/* A byte of the last seconds weighs as much as so many old ones. */
#define GROWTH 4
/* It is enough alone. */
#define ENOUGH 50
/* Processes have no deeper trees; what has is a loop of reused numbers. */
#define MAX_DEPTH 64

uint64_t candidate_gain(const struct candidate *c)
{
	return c->anon_bytes + c->swap_bytes + c->shmem_own_bytes;
}

static int64_t permille(uint64_t bytes, uint64_t total)
{
	/* Pages: a petabyte times a thousand still fits. */
	return (int64_t)((bytes >> 12) * 1000 / ((total >> 12) + 1));
}

/* Long runners have more to lose: 0 for a second, 20 for a month. */
static int64_t age_malus(int64_t age_s)
{
	int64_t n = 0;

	while (age_s > 1 && n < 20) {
		age_s >>= 1;
		n++;
	}
	return n;
}

static int64_t score(uint64_t gain, uint64_t growth, int64_t age_s, int adj,
		     uint32_t flags, uint64_t total,
		     const struct policy_config *cfg)
{
	int64_t points = permille(gain, total);

	if (flags & CANDIDATE_PREFER)
		points += PREFERENCE;
	if (flags & CANDIDATE_AVOID)
		points -= PREFERENCE;
	if (cfg->order == ORDER_SIZE)
		return points;
	return points + adj + GROWTH * permille(growth, total) -
	       age_malus(age_s);
}

int64_t candidate_score(const struct candidate *c, uint64_t total,
			const struct policy_config *config)
{
	return score(candidate_gain(c), c->growth_bytes + c->shmem_growth_bytes,
		     c->age_s, c->oom_score_adj, c->flags, total, config);
}

static bool may_go(const struct candidate *c)
{
	return !(c->flags & (CANDIDATE_NEVER | CANDIDATE_DYING));
}

bool candidate_may_go(const struct candidate *c)
{
	return may_go(c) && candidate_gain(c);
}

size_t best_candidates(const struct candidate *c, size_t nr, uint64_t total,
		       const struct policy_config *config,
		       const struct candidate **best, size_t max)
{
	int64_t scores[MAX_BEST];
	size_t found = 0;

	if (max > MAX_BEST)
		max = MAX_BEST;
	for (size_t i = 0; i < nr && max; i++) {
		int64_t score = candidate_score(&c[i], total, config);
		size_t at;

		if (!candidate_may_go(&c[i]) ||
		    (found == max && score <= scores[found - 1]))
			continue;
		if (found < max)
			found++;
		for (at = found - 1; at && scores[at - 1] < score; at--) {
			scores[at] = scores[at - 1];
			best[at] = best[at - 1];
		}
		scores[at] = score;
		best[at] = &c[i];
	}
	return found;
}

static uint64_t total_bytes(const struct policy_view *v)
{
	return v->history[v->nr_history - 1].total_bytes;
}

static uint64_t min_gain(const struct policy_view *v)
{
	return total_bytes(v) / 1000 * v->config->min_gain_permille;
}

static void choose_process(const struct policy_view *v,
			   const struct policy_scratch *s, uint64_t need,
			   struct choice *ch)
{
	uint64_t total = total_bytes(v), least = min_gain(v);
	int64_t best = INT64_MIN, next = INT64_MIN;

	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];
		uint64_t gain = candidate_gain(c);
		int64_t points;

		if (!may_go(c) || !gain ||
		    (c->unit && s->unit_blocked[c->unit]))
			continue;
		if (c->unit) {
			gain = s->unit_gain[c->unit];
			points = score(gain, s->unit_growth[c->unit], c->age_s,
				       c->oom_score_adj, c->flags, total,
				       v->config);
		} else {
			points = candidate_score(c, total, v->config);
		}
		if (gain < least)
			continue;
		if (gain >= need)
			points += ENOUGH;
		if (points > best) {
			next = best;
			ch->second = ch->victim;
			best = points;
			ch->victim = (int64_t)i;
			ch->gain_bytes = gain;
			ch->whole = c->unit;
			ch->members = c->unit ? s->unit_members[c->unit] : 1;
		} else if (points > next) {
			next = points;
			ch->second = (int64_t)i;
		}
	}
}

/* A cgroup that goes as a whole is as big as all of its members. */
static void sum_units(const struct policy_view *v, struct policy_scratch *s)
{
	memset(s->unit_gain, 0, sizeof(s->unit_gain));
	memset(s->unit_growth, 0, sizeof(s->unit_growth));
	memset(s->unit_members, 0, sizeof(s->unit_members));
	memset(s->unit_blocked, 0, sizeof(s->unit_blocked));
	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];

		if (!c->unit)
			continue;
		s->unit_blocked[c->unit] |= !!(c->flags & CANDIDATE_NEVER);
		/* They do not keep the others, and bring nothing more. */
		if (c->flags & CANDIDATE_DYING)
			continue;
		s->unit_gain[c->unit] += candidate_gain(c);
		s->unit_growth[c->unit] += c->growth_bytes;
		s->unit_members[c->unit]++;
	}
}

/* Does @c belong to the job of its parent?  -1: it is a job of its own. */
static int64_t job_parent(const struct policy_view *v, size_t i)
{
	const struct candidate *c = &v->candidates[i], *p;

	if (c->parent < 0 || (size_t)c->parent >= v->nr_candidates)
		return -1;
	p = &v->candidates[c->parent];
	if (p->session != c->session || p->flags & CANDIDATE_TERMINAL)
		return -1;
	return c->parent;
}

static void sum_trees(const struct policy_view *v, struct policy_scratch *s)
{
	size_t n = v->nr_candidates;

	memset(s->gain, 0, n * sizeof(s->gain[0]));
	memset(s->growth, 0, n * sizeof(s->growth[0]));
	memset(s->members, 0, n * sizeof(s->members[0]));
	memset(s->growers, 0, n * sizeof(s->growers[0]));
	memset(s->blocked, 0, n * sizeof(s->blocked[0]));
	for (size_t i = 0; i < n; i++) {
		const struct candidate *c = &v->candidates[i];
		int64_t up = (int64_t)i;

		for (int depth = 0; up >= 0 && depth < MAX_DEPTH; depth++) {
			s->gain[up] += candidate_gain(c);
			s->growth[up] += c->growth_bytes;
			s->members[up]++;
			s->growers[up] += c->growth_bytes > 0;
			/* One who must not die keeps those above alive. */
			s->blocked[up] |= !may_go(c);
			up = job_parent(v, (size_t)up);
		}
	}
	/* Children in another session would die with it all the same. */
	for (size_t i = 0; i < n; i++) {
		const struct candidate *c = &v->candidates[i];

		if (c->parent >= 0 && (size_t)c->parent < n &&
		    job_parent(v, i) < 0)
			s->blocked[c->parent] = 1;
	}
}

/*
 * No single process explains the growth: make -j, a prefork server, a browser
 * with a hundred tabs.  The smallest tree that does is the job to end, if most
 * of it grows: a shell or a desktop with a job somewhere below it is none.
 */
static void choose_tree(const struct policy_view *v, struct policy_scratch *s,
			struct choice *ch)
{
	uint64_t all = 0, biggest = 0, least = min_gain(v);
	int64_t fewest = INT64_MAX;

	for (size_t i = 0; i < v->nr_candidates; i++) {
		uint64_t growth = v->candidates[i].growth_bytes;

		all += growth;
		if (growth > biggest && may_go(&v->candidates[i]))
			biggest = growth;
	}
	if (all < least || biggest >= all / 2 || !all)
		return;
	/* Most of what is gone must be theirs. */
	if (v->available_growth_bytes < 0 &&
	    all < (uint64_t)-v->available_growth_bytes / 2)
		return;
	sum_trees(v, s);
	for (size_t i = 0; i < v->nr_candidates; i++) {
		if (s->blocked[i] || s->members[i] < 2 ||
		    v->candidates[i].unit || s->growth[i] < all / 2 ||
		    s->gain[i] < least || s->growers[i] * 2 < s->members[i] ||
		    s->members[i] >= fewest)
			continue;
		fewest = s->members[i];
		ch->second = ch->victim;
		ch->victim = (int64_t)i;
		ch->tree = true;
		ch->members = s->members[i];
		ch->gain_bytes = s->gain[i];
	}
}

/*
 * Files in a tmpfs, and what else is shmem and mapped by nobody, belongs to no
 * process: killing one gives back its own memory only, and tmpfs fills that, too.
 */
static bool is_tmpfs(const struct policy_view *v, const struct choice *ch)
{
	const struct snapshot *now = &v->history[v->nr_history - 1];
	uint64_t mapped = 0, mapped_growth = 0, unmapped, growth = 0;

	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];

		if (c->shmem_bytes > mapped)
			mapped = c->shmem_bytes;
		if (c->shmem_growth_bytes > mapped_growth)
			mapped_growth = c->shmem_growth_bytes;
		growth += c->growth_bytes;
	}
	if (v->growth_ns && v->shmem_growth_bytes > 0 &&
	    v->available_growth_bytes < 0 &&
	    v->shmem_growth_bytes > -v->available_growth_bytes / 2)
		return mapped_growth < (uint64_t)v->shmem_growth_bytes / 2;
	/* It does not grow any more; nor does another. */
	unmapped = now->shmem_bytes > mapped ? now->shmem_bytes - mapped : 0;
	return unmapped > 2 * ch->gain_bytes && unmapped > min_gain(v) * 20 &&
	       growth < min_gain(v);
}

void choose_victim(const struct policy_view *view,
		   struct policy_scratch *scratch, uint64_t need_bytes,
		   struct choice *ret)
{
	*ret = (struct choice){
		.victim = -1,
		.second = -1,
		.members = 1,
		.reason = REASON_NOBODY,
	};
	sum_units(view, scratch);
	choose_process(view, scratch, need_bytes, ret);
	if (view->config->trees && view->growth_ns && !ret->whole &&
	    view->config->order == ORDER_SCORE)
		choose_tree(view, scratch, ret);
	if (is_tmpfs(view, ret)) {
		ret->victim = -1;
		ret->tree = ret->whole = false;
		ret->reason = REASON_TMPFS;
	}
}
