/* SPDX-License-Identifier: MIT */
/*
 * Results for the terminal and for a CSV file.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

const char *way_name(enum bench_way way)
{
	static const char *const names[NR_WAYS] = {
		[WAY_WAIT] = "kill -9 + wait",
		[WAY_MRELEASE] = "kill -9 + process_mrelease",
		[WAY_OURS] = "mrelease",
	};

	return names[way];
}

/* Said first: a figure from a machine that others use is worth less. */
static void print_load(FILE *f)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double load;

	if (getloadavg(&load, 1) == 1 && load > (double)cpus / 2)
		fprintf(f,
			"Others keep this machine busy: load average %.1f on "
			"%ld CPUs.\n",
			load, cpus);
}

void print_header(FILE *f)
{
	struct utsname uts;
	int64_t mem = meminfo_bytes("MemTotal");

	uname(&uts);
	fprintf(f, "%s %s %s, %ld CPUs, %.1f GiB; libmrelease %s\n",
		uts.sysname, uts.release, uts.machine,
		sysconf(_SC_NPROCESSORS_ONLN), (double)mem / (double)GIB,
		mrelease_version());
	print_load(f);
	fprintf(f, "SIGKILL to memory back: median [5 %% .. 95 %%]\n");
}

static void print_way(FILE *f, const char *margin, enum bench_way way,
		      const struct bench_stat *st)
{
	const struct bench_series *s = &st->back;
	char mid[24];
	char low[24];
	char high[24];

	if (!st->runs)
		return;
	fprintf(f, "%s     %-27s", margin, way_name(way));
	if (s->nr) {
		fmt_ns(series_median(s), mid, sizeof(mid));
		fmt_ns(series_at(s, 5), low, sizeof(low));
		fmt_ns(series_at(s, 95), high, sizeof(high));
		fprintf(f, "%9s  [%s .. %s]  x%zu", mid, low, high, s->nr);
	}
	if (st->cell[0])
		fprintf(f, "%s%s", s->nr ? "  " : "", st->cell);
	fputc('\n', f);
}

static void print_late(FILE *f, const char *margin, const struct bench_stat *st)
{
	if (st->late)
		fprintf(f,
			"%s     %u of %u had no CPU before the kill, and were "
			"not counted\n",
			margin, st->late, st->runs);
}

/* In the words of the library, to find out why. */
static void print_doubt(FILE *f, const char *margin,
			const struct mrelease_report *rep)
{
	if (!rep->size)
		return;
	fprintf(f,
		"%s     unverified, the first: error %d, result %d, stage %d, "
		"path %d, evidence %d,\n"
		"%s     notes %#x, refusal %d, outstanding %llu KiB, "
		"members %u of %u\n",
		margin, rep->error, rep->result, rep->stage, rep->path,
		rep->evidence, margin, rep->notes, rep->refusal,
		(unsigned long long)(rep->outstanding_bytes / 1024),
		rep->members_verified, rep->members);
}

static void print_check(FILE *f, const struct bench_check *c)
{
	const char *verdict = c->pass ? "PASS" : "FAIL";

	if (c->op == '=')
		fprintf(f, "  %s %-52s %8.0f ==  %.0f\n", verdict, c->what,
			c->value, c->limit);
	else
		fprintf(f, "  %s %-52s %8.2f %s %g\n", verdict, c->what,
			c->value, c->op == '<' ? "<=" : ">=", c->limit);
}

void print_result(FILE *f, const struct bench_result *res)
{
	fprintf(f, "\n%s: %s\n", res->scenario->name, res->scenario->title);
	if (res->skip[0]) {
		fprintf(f, "  SKIP %s\n", res->skip);
		return;
	}
	for (int way = 0; way < NR_WAYS; way++)
		print_way(f, "  ", (enum bench_way)way, &res->way[way]);
	if (res->note[0])
		fprintf(f, "       %s\n", res->note);
	print_late(f, "  ", &res->way[WAY_OURS]);
	print_doubt(f, "  ", &res->way[WAY_OURS].doubt);
	for (unsigned int i = 0; i < res->nr_checks; i++)
		print_check(f, &res->check[i]);
	fflush(f);
}

static void tap_line(FILE *f, struct tap *tap, bool ok, const char *name,
		     const char *what)
{
	fprintf(f, "%s %u - %s: %s", ok ? "ok" : "not ok", ++tap->nr, name,
		what);
	tap->failed += !ok;
}

/* Each figure is one test; what was measured are comments. */
void tap_result(FILE *f, const struct bench_result *res, struct tap *tap)
{
	const char *name = res->scenario->name;

	if (res->skip[0]) {
		tap_line(f, tap, !tap->must_work, name, res->scenario->title);
		fprintf(f, " # %s: %s\n",
			tap->must_work ? "must run here" : "SKIP", res->skip);
		return;
	}
	for (int way = 0; way < NR_WAYS; way++)
		print_way(f, "# ", (enum bench_way)way, &res->way[way]);
	if (res->note[0])
		fprintf(f, "#      %s\n", res->note);
	print_late(f, "# ", &res->way[WAY_OURS]);
	print_doubt(f, "# ", &res->way[WAY_OURS].doubt);
	for (unsigned int i = 0; i < res->nr_checks; i++) {
		const struct bench_check *c = &res->check[i];

		tap_line(f, tap, c->pass, name, c->what);
		fprintf(f, " %.2f, limit %c %g\n", c->value, c->op, c->limit);
	}
	fflush(f);
}

void csv_header(FILE *f)
{
	fprintf(f, "scenario,kind,name,runs,median_ms,p5_ms,p95_ms,value,op,"
		   "limit,verdict\n");
}

void csv_result(FILE *f, const struct bench_result *res)
{
	const char *name = res->scenario->name;

	if (res->skip[0])
		fprintf(f, "%s,skip,\"%s\",,,,,,,,SKIP\n", name, res->skip);
	for (int way = 0; way < NR_WAYS && !res->skip[0]; way++) {
		const struct bench_stat *st = &res->way[way];

		if (!st->runs)
			continue;
		fprintf(f, "%s,way,%s,%u", name, way_name((enum bench_way)way),
			st->runs);
		if (st->back.nr)
			fprintf(f, ",%.3f,%.3f,%.3f,,,,\n",
				(double)series_median(&st->back) / 1e6,
				(double)series_at(&st->back, 5) / 1e6,
				(double)series_at(&st->back, 95) / 1e6);
		else
			fprintf(f, ",,,,,,,\n");
	}
	for (unsigned int i = 0; i < res->nr_checks; i++) {
		const struct bench_check *c = &res->check[i];

		fprintf(f, "%s,check,\"%s\",,,,,%.4f,%c,%g,%s\n", name, c->what,
			c->value, c->op, c->limit, c->pass ? "PASS" : "FAIL");
	}
	fflush(f);
}
