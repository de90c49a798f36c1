/* SPDX-License-Identifier: MIT */
/*
 * Run the ways side by side.
 */
#include "bench.h"

static void one_round(struct bench_result *res, const struct bench_plan *plan,
		      unsigned int round)
{
	/* each way is first, second and last equally often */
	for (unsigned int i = 0; i < NR_WAYS; i++) {
		enum bench_way way = (enum bench_way)((round + i) % NR_WAYS);

		plan->once(way, plan->arg, &res->way[way]);
	}
}

/*
 * The full count of rounds, or a quick one.  A quick count is good enough to
 * see that all is well, not to say that it is not: what it misses is decided
 * on the full count, early rounds included.
 */
void interleave(const struct bench_opts *o, struct bench_result *res,
		const struct bench_plan *plan)
{
	const struct bench_scenario *s = res->scenario;
	unsigned int rounds = o->reps ? o->reps : s->reps[o->pace];
	int64_t start = now_ns();
	unsigned int round = 0;

	for (;;) {
		for (; round < rounds; round++) {
			if (o->budget_ns && round &&
			    now_ns() - start > o->budget_ns)
				break;
			one_round(res, plan, round);
		}
		res->nr_checks = 0;
		if (plan->judge(res) || o->pace != PACE_QUICK || o->reps ||
		    rounds >= s->reps[PACE_FULL])
			return;
		rounds = s->reps[PACE_FULL];
	}
}
