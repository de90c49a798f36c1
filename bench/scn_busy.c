/* SPDX-License-Identifier: MIT */
/*
 * A victim of low priority on a busy machine.  It frees its own memory, so
 * with kill -9 that takes as long as the scheduler makes it wait.
 */
#include <errno.h>

#include "bench.h"

#define BUSY_LOOPS   4
#define BUSY_NICE    19
#define BUSY_VS_WAIT 30

struct busy {
	struct victim_spec spec;
	struct load *load;
	struct curve *curves;
};

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct busy *busy = arg;
	struct victim_spec spec = busy->spec;
	struct recorder *recorder = NULL;
	struct way_run run;
	struct victim v;
	int error;

	/* the first round is the one that is drawn */
	if (busy->curves && !busy->curves[way].nr)
		recorder = recorder_start();
	if (recorder)
		spec.procs_fd = recorder_procs_fd(recorder);
	error = victim_start(&spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	load_switch(busy->load, true);
	/* the loops must have spread over the CPUs before the kill */
	nap_ms(100);
	if (recorder)
		recorder_arm(recorder);
	way_kill(way, &v, 0, &run);
	if (recorder) {
		busy->curves[way].back_ns = run.back_ns;
		recorder_stop(recorder, run.start_ns + run.prepare_ns,
			      &busy->curves[way]);
	}
	load_switch(busy->load, false);
	victim_end(&v);
	recorder_end(recorder);
	way_count(st, &run);
}

static bool judge(struct bench_result *res)
{
	double ours = (double)series_median(&res->way[WAY_OURS].back);
	double wait = (double)series_median(&res->way[WAY_WAIT].back);
	bool ok;

	ok = check_min(res, "times faster than kill -9 + wait", wait / ours,
		       BUSY_VS_WAIT);
	ok &= check_verified(res);
	return ok;
}

int scn_busy(const struct bench_opts *o, struct bench_result *res)
{
	struct busy busy = { .spec = VICTIM_SPEC(GIB), .curves = o->curves };
	struct bench_plan plan = { once, judge, &busy };

	if (!have_memory(GIB, res))
		return 0;
	busy.spec.nice = BUSY_NICE;
	busy.load = load_start(BUSY_LOOPS);
	interleave(o, res, &plan);
	load_stop(busy.load);
	return 0;
}
