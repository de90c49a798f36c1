/* SPDX-License-Identifier: MIT */
/*
 * The table of scenarios.
 */
#include <string.h>

#include "bench.h"

/* repetitions of each way: full, quick, in the demo */
const struct bench_scenario bench_scenarios[] = {
	{ "esrch",
	  "victims of 0, 1, 4, 16, 64 MiB, none may be lost",
	  { 10000, 1000, 100 },
	  false,
	  scn_esrch },
	{ "idle-1g",
	  "1 GiB of 4 KiB pages, idle machine",
	  { 21, 6, 5 },
	  false,
	  scn_idle_1g },
	{ "idle-4g",
	  "4 GiB of 4 KiB pages, idle machine",
	  { 21, 3, 3 },
	  false,
	  scn_idle_4g },
	{ "busy",
	  "1 GiB at nice 19, four busy loops",
	  { 21, 3, 3 },
	  false,
	  scn_busy },
	{ "pinned",
	  "1 GiB pinned by a stalled reader",
	  { 21, 3, 3 },
	  false,
	  scn_pinned },
	{ "robust",
	  "holders of a robust mutex, 1 to 512 MiB",
	  { 1000, 100, 50 },
	  false,
	  scn_robust },
	{ "lmdb",
	  "LMDB writer killed inside a transaction",
	  { 20, 5, 5 },
	  false,
	  scn_lmdb },
	{ "command",
	  "the whole command on an empty process",
	  { 200, 40, 40 },
	  false,
	  scn_command },
	{ "jvm",
	  "1 GiB, 2000 threads, 500 mapped files",
	  { 21, 5, 5 },
	  false,
	  scn_jvm },
	{ "cache",
	  "page cache of a file only the victim mapped",
	  { 20, 3, 3 },
	  false,
	  scn_cache },
	{ "cgroup",
	  "cgroup of 200 processes of 8 MiB",
	  { 21, 5, 5 },
	  false,
	  scn_cgroup_200 },
	{ "cgroup-50",
	  "cgroup of 50 processes of 16 MiB",
	  { 21, 5, 5 },
	  true,
	  scn_cgroup_50 },
	{ "cgroup-10",
	  "cgroup of 10 small processes",
	  { 21, 11, 5 },
	  true,
	  scn_cgroup_10 },
	{ "cgroup-100",
	  "cgroup of 100 small processes",
	  { 21, 7, 5 },
	  true,
	  scn_cgroup_100 },
	{ "cgroup-1000",
	  "cgroup of 1,000 small processes",
	  { 11, 5, 3 },
	  true,
	  scn_cgroup_1000 },
	{ "cgroup-4000",
	  "cgroup of 4,000 small processes",
	  { 5, 3, 3 },
	  true,
	  scn_cgroup_4000 },
	{ "threads", "16 MiB, 10,000 threads", { 11, 5, 3 }, true, scn_threads },
	{ "mappings",
	  "16 MiB and 65,000 mappings",
	  { 21, 7, 5 },
	  true,
	  scn_mappings },
	{ "guards",
	  "16 MiB and 30,000 guard pages",
	  { 21, 7, 5 },
	  true,
	  scn_guards },
	{ "others",
	  "16 MiB beside 10,000 other processes",
	  { 21, 7, 5 },
	  true,
	  scn_others },
	{ "bomb", "fork bomb in a cgroup", { 20, 3, 3 }, false, scn_bomb },
};

const size_t bench_nr_scenarios = ARRAY_SIZE(bench_scenarios);

const struct bench_scenario *bench_find(const char *name)
{
	for (size_t i = 0; i < bench_nr_scenarios; i++) {
		if (!strcmp(bench_scenarios[i].name, name))
			return &bench_scenarios[i];
	}
	return NULL;
}

void bench_run(const struct bench_scenario *s, const struct bench_opts *o,
	       struct bench_result *res)
{
	memset(res, 0, sizeof(*res));
	res->scenario = s;
	s->run(o, res);
	if (!res->skip[0] && !res->nr_checks)
		bench_die("%s checked nothing", s->name);
}
