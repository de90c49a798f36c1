/* SPDX-License-Identifier: MIT */
/*
 * The race every caller of process_mrelease runs: a victim that drops its
 * address space first makes the call answer ESRCH, and then nobody knows
 * whether the memory is back.  Ours must lose none.
 */
#include "bench.h"

/* the other ways are a sample, for the rate to compare with */
#define ESRCH_SAMPLE 10

static const uint64_t sizes[] = { 0, 1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB };

int scn_esrch(const struct bench_opts *o, struct bench_result *res)
{
	const struct bench_scenario *s = res->scenario;
	unsigned int total = o->reps ? o->reps : s->reps[o->pace];
	unsigned int lost[ARRAY_SIZE(sizes)] = { 0 };
	unsigned int ran[ARRAY_SIZE(sizes)] = { 0 };
	const struct bench_stat *ours = &res->way[WAY_OURS];

	if (!have_memory(64 * MIB, res))
		return 0;
	for (unsigned int i = 0; i < total; i++) {
		unsigned int at = i % ARRAY_SIZE(sizes);
		struct victim_spec spec = VICTIM_SPEC(sizes[at]);
		unsigned int before = res->way[WAY_MRELEASE].lost;

		way_once(WAY_OURS, &spec, &res->way[WAY_OURS]);
		if (i / ARRAY_SIZE(sizes) % ESRCH_SAMPLE)
			continue;
		way_once(WAY_WAIT, &spec, &res->way[WAY_WAIT]);
		way_once(WAY_MRELEASE, &spec, &res->way[WAY_MRELEASE]);
		lost[at] += res->way[WAY_MRELEASE].lost - before;
		ran[at]++;
	}
	snprintf(res->note, sizeof(res->note),
		 "kill -9 + process_mrelease, ESRCH: 0 MiB %u/%u, 1 MiB %u/%u, "
		 "4 MiB %u/%u, 16 MiB %u/%u, 64 MiB %u/%u",
		 lost[0], ran[0], lost[1], ran[1], lost[2], ran[2], lost[3],
		 ran[3], lost[4], ran[4]);
	snprintf(res->way[WAY_MRELEASE].cell,
		 sizeof(res->way[WAY_MRELEASE].cell), "lost %u of %u",
		 res->way[WAY_MRELEASE].lost, res->way[WAY_MRELEASE].runs);
	snprintf(res->way[WAY_OURS].cell, sizeof(res->way[WAY_OURS].cell),
		 "lost %u of %u", ours->lost, ours->runs);
	check_is(res, "releases lost or unverified",
		 (double)verified_due(ours) - ours->verified, 0);
	return 0;
}
