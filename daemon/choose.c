/* SPDX-License-Identifier: MIT */
/*
 * Who: the one whose loss gives enough back and costs least.  The cause of the
 * shortage, seen by its growth, before the biggest.
 */
#include <string.h>

#include "policy.h"
#include "text.h"

/* What kernel and earlyoom make of a preference: 300 of oom_score_adj. */
#define PREFERENCE 300
/* A byte of the last seconds counts so many times more than an old one. */
#define GROWTH 4
/* It is enough alone. */
#define ENOUGH 50
/* Processes have no deeper trees; what has is a loop of reused numbers. */
#define MAX_DEPTH 64
/* A member with less than such a share of the average does not count. */
#define SMALL_SHARE 4
/* What lasts longer at this rate is no fall. */
#define NO_FALL_S 60
/* What goes on now, and how much of the least gain in a second is little. */
#define LATELY_NS NS_PER_S
#define TRICKLE	  16

uint64_t candidate_gain(const struct candidate *c)
{
	uint64_t bytes = c->anon_bytes + c->swap_bytes;

	return bytes + c->shmem_own_bytes -
	       (c->inherited_bytes < bytes ? c->inherited_bytes : bytes);
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
			ch->score = points;
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

/*
 * mrelease_tree() follows parents across sessions.  A protected process, or one of
 * another job, would be killed with the tree of any of its ancestors.
 */
static void block_above(const struct policy_view *v, struct policy_scratch *s,
			int64_t i)
{
	/* What is blocked is so up to the top: that also ends a loop. */
	while (i >= 0 && (size_t)i < v->nr_candidates && !s->blocked[i]) {
		s->blocked[i] = 1;
		i = v->candidates[i].parent;
	}
}

static void block_trees(const struct policy_view *v, struct policy_scratch *s)
{
	memset(s->blocked, 0, v->nr_candidates * sizeof(s->blocked[0]));
	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];

		if (c->flags & CANDIDATE_NEVER)
			block_above(v, s, (int64_t)i);
		/* Children in another session would die with it all the same. */
		else if (!(c->flags & CANDIDATE_DYING) && job_parent(v, i) < 0)
			block_above(v, s, c->parent);
	}
}

/* What the tree has, and the strictest of what its members ask for. */
static void add_to_tree(struct policy_scratch *s, int64_t root,
			const struct candidate *c)
{
	struct tree_sum *t = &s->tree[root];

	if (!t->members || c->oom_score_adj < t->oom_score_adj)
		t->oom_score_adj = c->oom_score_adj;
	if (!t->members)
		t->flags = c->flags & CANDIDATE_PREFER;
	t->flags &= c->flags | CANDIDATE_AVOID;
	t->flags |= c->flags & CANDIDATE_AVOID;
	t->gain += candidate_gain(c);
	t->growth += c->growth_bytes;
	t->members++;
}

/* Most of it grows, by heads; the drivers of compilers are too small to count. */
static void count_growers(struct policy_scratch *s, int64_t root,
			  const struct candidate *c)
{
	struct tree_sum *t = &s->tree[root];

	if (candidate_gain(c) < t->gain / t->members / SMALL_SHARE)
		return;
	t->counted++;
	t->growers += c->growth_bytes > 0;
}

/* All that are alive, for each tree that they belong to. */
static void for_each_member(const struct policy_view *v,
			    struct policy_scratch * s,
			    void (*fn)(struct policy_scratch *s, int64_t root,
				       const struct candidate *c))
{
	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];
		int64_t up = (int64_t)i;

		/* A zombie keeps nobody alive, and brings nothing. */
		if (c->flags & CANDIDATE_DYING)
			continue;
		for (int depth = 0; up >= 0 && depth < MAX_DEPTH; depth++) {
			fn(s, up, c);
			up = job_parent(v, (size_t)up);
		}
		/* There may be more of it, unseen. */
		if (up >= 0)
			block_above(v, s, up);
	}
}

static void sum_trees(const struct policy_view *v, struct policy_scratch *s)
{
	memset(s->tree, 0, v->nr_candidates * sizeof(s->tree[0]));
	block_trees(v, s);
	for_each_member(v, s, add_to_tree)
		;
	for_each_member(v, s, count_growers)
		;
}

/* The smallest tree that explains the growth; -1: there is none. */
static int64_t find_tree(const struct policy_view *v,
			 const struct policy_scratch *s, uint64_t growth)
{
	uint64_t least = min_gain(v);
	int64_t found = -1;

	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct tree_sum *t = &s->tree[i];

		if (s->blocked[i] || t->members < 2 || v->candidates[i].unit ||
		    v->candidates[i].flags & CANDIDATE_DYING ||
		    t->growth < growth / 2 || t->gain < least ||
		    t->growers * 2 < t->counted ||
		    (found >= 0 && t->members >= s->tree[found].members))
			continue;
		found = (int64_t)i;
	}
	return found;
}

/*
 * No single process explains the growth: make -j, a prefork server, a browser
 * with a hundred tabs.  The smallest tree that does is the job to end, if most
 * of it grows: a shell or a desktop with a job somewhere below it is none.
 */
static void choose_tree(const struct policy_view *v, struct policy_scratch *s,
			uint64_t need, struct choice *ch)
{
	uint64_t all = 0, biggest = 0, least = min_gain(v);
	const struct tree_sum *t;
	int64_t root, points;

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
	root = find_tree(v, s, all);
	if (root < 0)
		return;
	t = &s->tree[root];
	points = score(t->gain, t->growth, v->candidates[root].age_s,
		       t->oom_score_adj, t->flags, total_bytes(v), v->config);
	if (t->gain >= need)
		points += ENOUGH;
	/* A job that is protected more than the best process stays. */
	if (ch->victim >= 0 && points < ch->score)
		return;
	ch->second = ch->victim;
	ch->victim = root;
	ch->tree = true;
	ch->members = t->members;
	ch->gain_bytes = t->gain;
}

/*
 * Where the second line is reached, this death leads back above it.  In a stall there
 * may be more than that already, and every death would.
 */
static bool is_way_out(const struct policy_view *v, enum policy_level level,
		       uint64_t gain)
{
	const struct snapshot *now = &v->history[v->nr_history - 1];
	const struct policy_config *c = v->config;
	uint64_t line = kill_line(&c->mem_kill, &c->mem_term, now->total_bytes);

	return level == LEVEL_CRITICAL && now->available_bytes <= line &&
	       now->available_bytes + gain > line;
}

/* Would all that is left be theirs within a minute? */
static bool is_fall(const struct policy_view *v, uint64_t growth)
{
	const struct snapshot *now = &v->history[v->nr_history - 1];
	uint64_t left = now->available_bytes + now->swap_free_bytes;

	return (double)growth * NO_FALL_S * (double)NS_PER_S >
	       (double)left * (double)v->growth_ns;
}

/*
 * The growth window reaches back to the last calm sweep, a minute or more: a tmpfs that
 * grew in it may have stopped long before the fall.  Does it still grow, and is it most
 * of what has gone in the last second?  A trickle, as of a journal in /run, is neither.
 */
static bool still_grows(const struct policy_view *v)
{
	const struct snapshot *now = &v->history[v->nr_history - 1];
	const struct snapshot *then = snapshot_before(v, LATELY_NS);
	int64_t ns = now->time_ns - then->time_ns;
	int64_t grown = (int64_t)(now->shmem_bytes - then->shmem_bytes);
	int64_t lost = (int64_t)(then->available_bytes + then->swap_free_bytes -
				 now->available_bytes - now->swap_free_bytes);

	/* Too short to tell: what is known of the window must do. */
	if (ns < LATELY_NS / 10)
		return true;
	return grown > 0 && grown > lost / 2 &&
	       (double)grown * TRICKLE * (double)NS_PER_S >
		       (double)min_gain(v) * (double)ns;
}

/*
 * Files in a tmpfs, and what else is shmem and mapped by nobody, belongs to no
 * process: killing one gives back its own memory only, and tmpfs fills that, too.
 * One that does not grow fills nothing.
 */
static bool is_tmpfs(const struct policy_view *v, const struct choice *ch,
		     enum policy_level level, uint64_t need)
{
	const struct snapshot *now = &v->history[v->nr_history - 1];
	uint64_t mapped = 0, mapped_growth = 0, unmapped, growth = 0;
	uint64_t own = 0, own_growth = 0;
	bool grows;

	for (size_t i = 0; i < v->nr_candidates; i++) {
		const struct candidate *c = &v->candidates[i];

		if (c->shmem_bytes > mapped)
			mapped = c->shmem_bytes;
		if (c->shmem_growth_bytes > mapped_growth)
			mapped_growth = c->shmem_growth_bytes;
		growth += c->growth_bytes;
		own += c->shmem_own_bytes;
		own_growth += c->shmem_growth_bytes < c->shmem_own_bytes ?
				      c->shmem_growth_bytes :
				      c->shmem_own_bytes;
	}
	/* Of one each, or all that is nobody else's: at least so much is mapped. */
	if (own > mapped)
		mapped = own;
	if (own_growth > mapped_growth)
		mapped_growth = own_growth;
	grows = v->shmem_growth_bytes > (int64_t)growth && still_grows(v);
	/* With swap, what is available hardly falls: a little tmpfs is not it. */
	if (grows && v->growth_ns &&
	    v->shmem_growth_bytes > (int64_t)min_gain(v) &&
	    v->available_growth_bytes < 0 &&
	    v->shmem_growth_bytes > -v->available_growth_bytes / 2)
		return mapped_growth < (uint64_t)v->shmem_growth_bytes / 2;
	unmapped = now->shmem_bytes > mapped ? now->shmem_bytes - mapped : 0;
	if (unmapped <= 2 * ch->gain_bytes || unmapped <= min_gain(v) * 20 ||
	    is_way_out(v, level, ch->gain_bytes))
		return false;
	if (grows)
		return true;
	/* It was there before, and so it is not what makes memory short now. */
	return ch->gain_bytes < need && !is_fall(v, growth);
}

void choose_victim(const struct policy_view *view,
		   struct policy_scratch *scratch, enum policy_level level,
		   uint64_t need_bytes, struct choice *ret)
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
		choose_tree(view, scratch, need_bytes, ret);
	if (is_tmpfs(view, ret, level, need_bytes)) {
		ret->victim = -1;
		ret->tree = ret->whole = false;
		ret->reason = REASON_TMPFS;
	}
}
