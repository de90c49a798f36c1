/* SPDX-License-Identifier: MIT */
/*
 * A cgroup full of processes: cgroup.kill and wait for "populated 0", the
 * same with process_mrelease on each member, and mrelease_cgroup().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench.h"
#include "sys.h"

#define GROUP_MAX     4000
#define GROUP_VS_WAIT 1.0
#define CALL_VS_WAIT  2.0
#define SMALL_BYTES   (64ULL * 1024)
#define GROUP_SECONDS 60

struct group {
	unsigned int nr;
	uint64_t bytes;
	struct bench_cgroup cg;
	struct victim v[GROUP_MAX];
	struct mrelease_report members[GROUP_MAX];
};

static int kill_group(enum bench_way way, struct group *g,
		      struct bench_stat *st)
{
	int64_t start = now_ns();
	int error = cgroup_kill(&g->cg);

	if (way == WAY_MRELEASE && !error) {
		/* one after the other and ESRCH dropped, as oomd does it */
		for (unsigned int i = 0; i < g->nr; i++) {
			if (sys_process_mrelease(g->v[i].pidfd) &&
			    errno == ESRCH)
				st->lost++;
		}
	}
	if (!error)
		error = cgroup_wait_empty(&g->cg,
					  start + GROUP_SECONDS * NSEC_PER_SEC);
	series_add(&st->back, now_ns() - start);
	series_add(&st->call, now_ns() - start);
	return error;
}

static int release_group(struct group *g, struct bench_stat *st)
{
	struct mrelease_opts opts = { .size = sizeof(opts) };
	struct mrelease_report rep = { .size = sizeof(rep) };
	size_t nr = GROUP_MAX;
	int64_t start = now_ns();
	int error;

	for (size_t i = 0; i < GROUP_MAX; i++)
		g->members[i].size = sizeof(g->members[i]);
	opts.deadline_ns = start + GROUP_SECONDS * NSEC_PER_SEC;
	error = -mrelease_cgroup(g->cg.dir_fd, &opts, &rep, g->members, &nr);
	series_add(&st->call, now_ns() - start);
	series_add(&st->prepare, rep.prepare_ns);
	if (error)
		return error;
	series_add(&st->back,
		   rep.release_ns >= 0 ? rep.release_ns : now_ns() - start);
	if (rep.result == MRELEASE_RELEASED && rep.verified == 1 &&
	    rep.members_verified == g->nr && nr == g->nr)
		st->verified++;
	else
		count_unverified(st, &rep);
	return 0;
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct group *g = arg;
	struct victim_spec spec = VICTIM_SPEC(g->bytes);
	int error = 0;

	spec.procs_fd = g->cg.procs_fd;
	for (unsigned int i = 0; i < g->nr && !error; i++)
		error = victim_start(&spec, &g->v[i]);
	if (!error)
		error = way == WAY_OURS ? release_group(g, st) :
					  kill_group(way, g, st);
	if (error) {
		errno = error;
		bench_die("cgroup of victims: %m");
	}
	st->runs++;
	/* our own eyes again: nobody's memory may be left */
	for (unsigned int i = 0; i < g->nr; i++) {
		if (way == WAY_OURS && victim_bytes_left(&g->v[i]))
			st->leftovers++;
		victim_end(&g->v[i]);
	}
}

static bool judge_members(struct bench_result *res)
{
	bool ok = check_is(res, "releases with every member verified",
			   res->way[WAY_OURS].verified,
			   verified_due(&res->way[WAY_OURS]));
	ok &= check_is(res, "members with memory left",
		       res->way[WAY_OURS].leftovers, 0);
	return ok;
}

static bool judge(struct bench_result *res)
{
	bool ok = check_ratio(res, WAY_WAIT, GROUP_VS_WAIT);

	ok &= judge_members(res);
	return ok;
}

/* Of members that have next to nothing the whole call counts. */
static bool judge_call(struct bench_result *res)
{
	bool ok = check_call(res, WAY_WAIT, CALL_VS_WAIT);

	ok &= judge_members(res);
	return ok;
}

/* The bench holds two descriptors of each member. */
static void raise_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static int cgroup(const struct bench_opts *o, struct bench_result *res,
		  unsigned int nr, uint64_t bytes)
{
	struct bench_stat *ours = &res->way[WAY_OURS];
	struct group *g;
	struct bench_plan plan = { once,
				   bytes == SMALL_BYTES ? judge_call : judge,
				   NULL };
	char call[24];
	char prepare[24];
	int error;

	if (!have_memory(nr * bytes, res))
		return 0;
	raise_descriptors();
	g = calloc(1, sizeof(*g));
	if (!g)
		bench_die("out of memory");
	g->nr = nr;
	g->bytes = bytes;
	plan.arg = g;
	error = cgroup_make("group", &g->cg);
	/* an empty cgroup: asks only whether the file is there */
	if (!error)
		error = cgroup_kill(&g->cg);
	if (error) {
		bench_skip(res, "no cgroup v2 with cgroup.kill: %s",
			   strerror(error));
	} else {
		interleave(o, res, &plan);
		snprintf(res->note, sizeof(res->note),
			 "mrelease, whole call with every exit: %s, of it "
			 "preparation: %s",
			 fmt_ns(series_median(&ours->call), call, sizeof(call)),
			 fmt_ns(series_median(&ours->prepare), prepare,
				sizeof(prepare)));
	}
	cgroup_end(&g->cg);
	free(g);
	return 0;
}

int scn_cgroup_200(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 200, 8 * MIB);
}

int scn_cgroup_50(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 50, 16 * MIB);
}

int scn_cgroup_10(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 10, SMALL_BYTES);
}

int scn_cgroup_100(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 100, SMALL_BYTES);
}

int scn_cgroup_1000(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 1000, SMALL_BYTES);
}

int scn_cgroup_4000(const struct bench_opts *o, struct bench_result *res)
{
	return cgroup(o, res, 4000, SMALL_BYTES);
}
