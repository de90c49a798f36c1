/* SPDX-License-Identifier: MIT */
/* Runs as text and as CSV. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "runs.h"

/* The worst and the best of the runs of one daemon against one load. */
struct row {
	const struct run *first;
	unsigned int runs;
	unsigned int hung;
	unsigned int hogs_left;
	struct verdict sum;
	int64_t least_back;
	int64_t most_back;
	int64_t least_stall;
	unsigned int low;
	unsigned int never_back;
};

static bool same_row(const struct run *a, const struct run *b)
{
	return !strcmp(a->daemon, b->daemon) && !strcmp(a->load, b->load) &&
	       !strcmp(a->swap, b->swap);
}

static void add_times(struct row *row, const struct verdict *v)
{
	if (v->low_ms != NEVER) {
		row->low++;
		if (v->back_ms == NEVER) {
			row->never_back++;
		} else {
			if (v->back_ms < row->least_back)
				row->least_back = v->back_ms;
			if (v->back_ms > row->most_back)
				row->most_back = v->back_ms;
		}
	}
	if (v->stall_ms > row->sum.stall_ms)
		row->sum.stall_ms = v->stall_ms;
	if (v->stall_ms < row->least_stall)
		row->least_stall = v->stall_ms;
}

static struct row sum_up(struct run *runs, size_t nr, const struct run *first)
{
	struct row row = { .first = first,
			   .least_back = NEVER,
			   .least_stall = NEVER };

	for (size_t i = 0; i < nr; i++) {
		struct verdict v;

		if (!same_row(first, &runs[i]))
			continue;
		row.runs++;
		row.hung += runs[i].hung;
		row.hogs_left += runs[i].hogs_left;
		if (!runs[i].nr_samples)
			continue;
		judge(&runs[i], &v);
		row.sum.innocents += v.innocents;
		row.sum.beyond += v.beyond;
		row.sum.oom += v.oom;
		row.sum.in_vain += v.in_vain;
		row.sum.victims += v.victims;
		add_times(&row, &v);
	}
	return row;
}

static bool is_first(const struct run *runs, const struct run *run)
{
	for (const struct run *r = runs; r < run; r++) {
		if (same_row(r, run))
			return false;
	}
	return true;
}

/* "0.3 to 0.5", "never", "-": seconds */
static const char *times(const struct row *row, char *buf, size_t size)
{
	double least = (double)row->least_back / 1e3;
	double most = (double)row->most_back / 1e3;

	if (!row->low)
		snprintf(buf, size, "-");
	else if (row->never_back == row->low)
		snprintf(buf, size, "never");
	else if (row->never_back)
		snprintf(buf, size, "%.1f to never", least);
	else if (most - least < 0.1)
		snprintf(buf, size, "%.1f", most);
	else
		snprintf(buf, size, "%.1f to %.1f", least, most);
	return buf;
}

static void print_idle(const struct run *runs, size_t nr)
{
	bool any = false;

	for (size_t i = 0; i < nr; i++) {
		const struct run *r = &runs[i];

		if (!r->is_idle || !r->idle_seconds)
			continue;
		if (!any)
			printf("\nIdle, beside six who answer ten times a "
			       "second:\n");
		any = true;
		printf("  %-13s %6ld KiB RSS, %5.1f context switches/s\n",
		       r->daemon, r->rss_kib,
		       (double)r->switches / (double)r->idle_seconds);
	}
}

/* Load by load, so that the daemons stand below each other. */
void print_table(struct run *runs, size_t nr)
{
	char buf[64];

	printf("%-9s %-5s %-13s %4s %9s %7s %4s %7s %15s %13s %5s\n", "load",
	       "swap", "daemon", "runs", "innocents", "one too", "in", "kernel",
	       "s from 10 % to", "stalled s", "hung");
	printf("%-9s %-5s %-13s %4s %9s %7s %4s %7s %15s %13s %5s\n", "", "",
	       "", "", "killed", "many", "vain", "OOM", "memory back",
	       "at worst", "");
	for (size_t i = 0; i < nr; i++) {
		const struct run *head = &runs[i];
		bool said = false;

		/* the first of this load and swap speaks for all of them */
		for (size_t k = 0; k < i; k++)
			said |= !strcmp(runs[k].load, head->load) &&
				!strcmp(runs[k].swap, head->swap);
		if (said || head->is_idle)
			continue;
		for (size_t k = i; k < nr; k++) {
			struct row row;

			if (strcmp(runs[k].load, head->load) ||
			    strcmp(runs[k].swap, head->swap) ||
			    !is_first(runs, &runs[k]))
				continue;
			row = sum_up(runs, nr, &runs[k]);
			printf("%-9s %-5s %-13s %4u %9u %7u %4u %7u %15s "
			       "%5.1f to %4.1f %5u\n",
			       head->load, head->swap, runs[k].daemon, row.runs,
			       row.sum.innocents, row.sum.beyond,
			       row.sum.in_vain, row.sum.oom,
			       times(&row, buf, sizeof(buf)),
			       row.least_stall == NEVER ?
				       0 :
				       (double)row.least_stall / 1e3,
			       (double)row.sum.stall_ms / 1e3, row.hung);
		}
	}
	print_idle(runs, nr);
}

static void print_victims(FILE *f, const struct run *run, const char *between)
{
	for (size_t i = 0; i < run->nr_victims; i++) {
		const struct victim *v = &run->victims[i];

		fprintf(f, "%s%.1f s %s %s by %s%s", i ? between : "",
			(double)v->ms / 1e3, v->name,
			v->oom	     ? "OOM" :
			v->sig == 15 ? "TERM" :
				       "KILL",
			v->by, v->beyond ? ", one too many" : "");
		if (i == 7 && run->nr_victims > 9) {
			fprintf(f, "%s... %zu in all", between,
				run->nr_victims);
			break;
		}
	}
}

/* A line for somebody who watches. */
void print_brief(struct run *run)
{
	struct verdict v;

	printf("%-12s %-8s %-4s seed %lu: ", run->daemon, run->load, run->swap,
	       run->seed);
	if (run->is_idle) {
		printf("%ld KiB RSS, %ld switches in %ld s\n", run->rss_kib,
		       run->switches, run->idle_seconds);
		return;
	}
	if (!run->nr_samples) {
		printf("%s\n", run->hung ? "hung" : "nothing");
		return;
	}
	judge(run, &v);
	printf("%u innocents, back %.1f, stall %.1f%s; ", v.innocents,
	       v.low_ms == NEVER  ? 0 :
	       v.back_ms == NEVER ? -1 :
				    (double)v.back_ms / 1e3,
	       (double)v.stall_ms / 1e3, run->hogs_left ? ", hog left" : "");
	if (run->daemon_died)
		printf("DAEMON DIED; ");
	print_victims(stdout, run, "; ");
	putchar('\n');
}

static void csv_time(FILE *f, int64_t ms)
{
	if (ms == NEVER)
		fputs(",", f);
	else
		fprintf(f, "%" PRId64 ",", ms);
}

bool write_csv(const char *path, struct run *runs, size_t nr)
{
	FILE *f = fopen(path, "we");
	bool ok;

	if (!f)
		return false;
	fprintf(f,
		"daemon,load,swap,seed,innocents_killed,one_too_many,"
		"in_vain,kernel_oom_kills,victims,low_ms,back_ms,stall_ms,"
		"hog_left,hung,daemon_died,host_load,rss_kib,switches,idle_s,who\n");
	for (size_t i = 0; i < nr; i++) {
		struct run *r = &runs[i];
		struct verdict v;

		judge(r, &v);
		fprintf(f, "%s,%s,%s,%lu,%u,%u,%u,%u,%u,", r->daemon, r->load,
			r->swap, r->seed, v.innocents, v.beyond, v.in_vain,
			v.oom, v.victims);
		csv_time(f, v.low_ms);
		csv_time(f, v.back_ms);
		fprintf(f, "%" PRId64 ",%d,%d,%d,%.1f,%ld,%ld,%ld,\"",
			v.stall_ms, r->hogs_left, r->hung, r->daemon_died,
			r->host_load, r->rss_kib, r->switches, r->idle_seconds);
		print_victims(f, r, "; ");
		fputs("\"\n", f);
	}
	ok = !ferror(f);
	return !fclose(f) && ok;
}
