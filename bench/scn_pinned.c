/* SPDX-License-Identifier: MIT */
/*
 * A stalled reader holds the victim's address space.  The process goes, its
 * memory does not: only somebody who reaps it gets it back, and only somebody
 * who looks knows.
 */
#include <errno.h>
#include <string.h>

#include "bench.h"

#define PINNED_BYTES GIB
/* how long we watch memory that does not come back, before we say so */
#define PINNED_WATCH_MS 200
/* others run on the machine: AnonPages is theirs too */
#define PINNED_SLACK (PINNED_BYTES / 8)

struct pinned {
	struct bench_result *res;
	int error;
};

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct victim_spec spec = VICTIM_SPEC(PINNED_BYTES);
	struct pinned *pinned = arg;
	struct stall stall;
	struct way_run run;
	struct victim v;
	int64_t before;
	int64_t after;
	int64_t left;
	int error;

	if (pinned->error)
		return;
	error = victim_start(&spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	pinned->error = stall_start(&v, &stall);
	if (pinned->error) {
		victim_end(&v);
		return;
	}
	before = meminfo_bytes("AnonPages");
	way_kill(way, &v, 0, &run);
	victim_wait(&v);
	if (run.left_bytes > 0)
		nap_ms(PINNED_WATCH_MS);
	after = meminfo_bytes("AnonPages");
	left = victim_bytes_left(&v);
	stall_end(&stall);
	victim_end(&v);

	st->runs++;
	st->verified += run.verified && !left &&
			before - after > (int64_t)(PINNED_BYTES - PINNED_SLACK);
	st->lost += left != 0;
	st->back_bytes += PINNED_BYTES - (uint64_t)left;
	/* a time only where there is something to time */
	if (!left)
		series_add(&st->back, run.back_ns);
}

static bool judge(struct bench_result *res)
{
	const struct bench_stat *wait = &res->way[WAY_WAIT];
	bool ok = check_verified(res);

	ok &= check_is(res, "MiB that came back with kill -9 + wait",
		       (double)(wait->back_bytes / MIB), 0);
	return ok;
}

int scn_pinned(const struct bench_opts *o, struct bench_result *res)
{
	struct pinned pinned = { res, 0 };
	struct bench_plan plan = { once, judge, &pinned };

	if (!have_memory(PINNED_BYTES, res))
		return 0;
	interleave(o, res, &plan);
	if (pinned.error)
		return bench_skip(res, "no stalled reader: userfaultfd: %s",
				  strerror(pinned.error));
	for (int way = 0; way < NR_WAYS; way++) {
		struct bench_stat *st = &res->way[way];
		char ms[24];

		fmt_ns(series_median(&st->back), ms, sizeof(ms));
		st->bad = st->lost;
		if (st->lost == st->runs) {
			snprintf(st->cell, sizeof(st->cell), "0 MiB, ever");
			snprintf(st->brief, sizeof(st->brief), "never");
		} else if (st->lost) {
			snprintf(st->brief, sizeof(st->brief),
				 "never: %u of %u", st->lost, st->runs);
			snprintf(st->cell, sizeof(st->cell),
				 "%s, or never: %u of %u", ms, st->lost,
				 st->runs);
		}
	}
	return 0;
}
