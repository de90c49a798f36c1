/* SPDX-License-Identifier: MIT */
/*
 * Any course of memory, anybody, any releases: who may not go is never chosen,
 * nobody is killed while memory is coming back, and the same input gives the
 * same decision.
 */
#include "fuzz.h"

#include "history.h"
#include "policy.h"

#define MAX_PEOPLE 64

struct input {
	const uint8_t *data;
	size_t size;
};

/* 0 when there is no more. */
static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t value = 0;

	for (; bytes && in->size; bytes--, in->size--)
		value = value << 8 | *in->data++;
	return value;
}

static uint64_t amount(struct input *in)
{
	/* Up to four petabytes. */
	return take(in, 4) << take(in, 1) % 21;
}

static void add_candidate(struct input *in, struct candidate *c, size_t i)
{
	*c = (struct candidate){
		.pid = (pid_t)i + 1,
		.parent = (int32_t)(take(in, 1) % (MAX_PEOPLE + 2)) - 1,
		.anon_bytes = amount(in),
		.shmem_bytes = amount(in),
		.shmem_own_bytes = amount(in),
		.swap_bytes = amount(in),
		.growth_bytes = amount(in),
		.shmem_growth_bytes = amount(in),
		.age_s = (int64_t)take(in, 4),
		.session = (pid_t)take(in, 1) % 4,
		.unit = take(in, 1) % 8 > 3 ? (uint32_t)i % 3 : 0,
		.oom_score_adj = (int)(take(in, 2) % 2001) - 1000,
		.flags = (uint32_t)take(in, 1) & 127,
		.comm = "x",
	};
}

static void fill(struct input *in, struct policy_config *config,
		 struct history *h, struct release_view *releases)
{
	struct snapshot s = { .time_ns = 1000000000 };

	policy_defaults(config);
	config->mem_term.permille = (uint32_t)take(in, 1) * 4;
	config->mem_kill.permille = (uint32_t)take(in, 1) * 4;
	config->hold_ns = (int64_t)take(in, 1) << 20;
	config->grace_ns = (int64_t)take(in, 1) << 24;
	config->stall_permille = (uint32_t)take(in, 1) * 4;
	config->min_gain_permille = (uint32_t)take(in, 1);
	config->order = take(in, 1) & 1 ? ORDER_SIZE : ORDER_SCORE;
	s.total_bytes = amount(in);
	s.swap_total_bytes = amount(in);
	for (size_t n = take(in, 1) % 140; n; n--) {
		s.time_ns += (int64_t)take(in, 4);
		s.has = (uint32_t)take(in, 1) & 3;
		s.available_bytes = amount(in);
		s.swap_free_bytes = amount(in);
		s.shmem_bytes = amount(in);
		s.full_us += take(in, 3);
		s.refault_file += take(in, 2);
		s.swapped_in += take(in, 2);
		s.oom_kills += take(in, 1) & 1;
		history_push(h, &s);
	}
	for (size_t i = 0; i < MAX_RELEASES; i++)
		releases[i] = (struct release_view){
			.phase = (enum release_phase)(take(in, 1) % 4),
			.asked_ns = s.time_ns - (int64_t)take(in, 4),
			.killed_ns = s.time_ns - (int64_t)take(in, 4),
			.done_ns = s.time_ns - (int64_t)take(in, 4),
			.grace_ns = (int64_t)take(in, 4),
		};
}

static void check(const struct policy_view *v, const struct decision *d)
{
	int64_t now = v->nr_history ? v->history[v->nr_history - 1].time_ns : 0;

	promise(d->wait_ns > 0);
	promise(d->action >= ACTION_NONE && d->action <= ACTION_ESCALATE);
	promise(strcmp(reason_text(d->reason), "?"));
	if (d->action == ACTION_NONE)
		return;
	if (d->action == ACTION_ESCALATE) {
		promise(d->victim < v->nr_releases);
		promise(v->releases[d->victim].phase == RELEASE_ASKED);
		return;
	}
	promise(d->level >= LEVEL_LOW);
	promise(d->victim < v->nr_candidates);
	promise(!(v->candidates[d->victim].flags &
		  (CANDIDATE_NEVER | CANDIDATE_DYING)));
	promise(d->expected_bytes);
	promise(d->action == ACTION_KILL || d->grace_ns > 0);
	promise(d->action == ACTION_KILL ||
		v->candidates[d->victim].flags & CANDIDATE_ASKABLE);
	for (size_t i = 0; i < v->nr_releases; i++) {
		const struct release_view *r = &v->releases[i];

		promise(r->phase != RELEASE_ASKED);
		promise(r->phase != RELEASE_KILLED ||
			now - r->killed_ns >= v->config->patience_ns);
		promise(r->phase != RELEASE_DONE ||
			now - r->done_ns >= v->config->settle_ns);
	}
	for (size_t i = 0; d->whole && i < v->nr_candidates; i++)
		promise(v->candidates[i].unit !=
				v->candidates[d->victim].unit ||
			!(v->candidates[i].flags & CANDIDATE_NEVER));
	/* A tree goes as a whole: none of it may be protected. */
	for (size_t i = 0; d->tree && i < v->nr_candidates; i++)
		promise(v->candidates[i].parent != (int32_t)d->victim ||
			!(v->candidates[i].flags & CANDIDATE_NEVER));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct candidate c[MAX_PEOPLE];
	static struct policy_scratch scratch;
	static struct history h;
	struct release_view releases[MAX_RELEASES];
	struct input in = { data, size };
	struct policy_config config;
	struct policy_view v = { 0 };
	struct decision a, b;

	h.nr = 0;
	fill(&in, &config, &h, releases);
	v.growth_ns = (int64_t)take(&in, 4);
	v.available_growth_bytes = (int64_t)amount(&in) - (int64_t)amount(&in);
	v.shmem_growth_bytes = (int64_t)amount(&in) - (int64_t)amount(&in);
	v.nr_candidates = take(&in, 1) % (MAX_PEOPLE + 1);
	for (size_t i = 0; i < v.nr_candidates; i++)
		add_candidate(&in, &c[i], i);
	v.history = h.s;
	v.nr_history = h.nr;
	v.candidates = c;
	v.releases = releases;
	v.nr_releases = MAX_RELEASES;
	v.config = &config;
	policy_decide(&v, &scratch, &a);
	memset(&scratch, 0xa5, MAX_PEOPLE * sizeof(uint64_t));
	policy_decide(&v, &scratch, &b);
	promise(!memcmp(&a, &b, sizeof(a)));
	check(&v, &a);
	return 0;
}
