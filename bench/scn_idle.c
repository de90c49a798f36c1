/* SPDX-License-Identifier: MIT */
/*
 * One process on an idle machine: the ratios every other figure starts from.
 */
#include "bench.h"

#define IDLE_VS_WAIT 0.75
/*
 * What does not depend on the size (the pin, the second reaper, the look) takes
 * 2 to 3 ms.  Where 1 GiB is reaped in 19 ms that is more than a tenth, before
 * version 0.2 too; of 4 GiB it is not.
 */
#define IDLE_VS_MRELEASE_1G 1.25
#define IDLE_VS_MRELEASE_4G 1.10

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	way_once(way, arg, st);
}

static bool judge(struct bench_result *res, double limit)
{
	bool ok = check_ratio(res, WAY_WAIT, IDLE_VS_WAIT);

	ok &= check_ratio(res, WAY_MRELEASE, limit);
	ok &= check_verified(res);
	return ok;
}

static bool judge_1g(struct bench_result *res)
{
	return judge(res, IDLE_VS_MRELEASE_1G);
}

static bool judge_4g(struct bench_result *res)
{
	return judge(res, IDLE_VS_MRELEASE_4G);
}

static int idle(const struct bench_opts *o, struct bench_result *res,
		uint64_t bytes, bool (*how)(struct bench_result *res))
{
	struct victim_spec spec = VICTIM_SPEC(bytes);
	struct bench_plan plan = { once, how, &spec };
	const struct bench_stat *ours = &res->way[WAY_OURS];
	char call[24];
	char prepare[24];

	if (!have_memory(bytes, res))
		return 0;
	interleave(o, res, &plan);
	snprintf(res->note, sizeof(res->note),
		 "mrelease, whole call with exit: %s, of it preparation: %s; "
		 "process_mrelease lost: %u of %u",
		 fmt_ns(series_median(&ours->call), call, sizeof(call)),
		 fmt_ns(series_median(&ours->prepare), prepare,
			sizeof(prepare)),
		 res->way[WAY_MRELEASE].lost, res->way[WAY_MRELEASE].runs);
	return 0;
}

int scn_idle_1g(const struct bench_opts *o, struct bench_result *res)
{
	return idle(o, res, GIB, judge_1g);
}

int scn_idle_4g(const struct bench_opts *o, struct bench_result *res)
{
	return idle(o, res, 4 * GIB, judge_4g);
}
