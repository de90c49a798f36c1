/* SPDX-License-Identifier: MIT */
/*
 * Samples and the checks made on them.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

void series_add(struct bench_series *s, int64_t ns)
{
	if (s->nr == s->room) {
		size_t room = s->room ? s->room * 2 : 32;
		int64_t *mem = realloc(s->ns, room * sizeof(*mem));

		if (!mem)
			bench_die("out of memory");
		s->ns = mem;
		s->room = room;
	}
	s->ns[s->nr++] = ns;
}

static int cmp_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* Nearest rank, which needs no model of what lies between two samples. */
int64_t series_at(const struct bench_series *s, unsigned int percent)
{
	size_t rank;

	if (!s->nr)
		return -1;
	qsort(s->ns, s->nr, sizeof(*s->ns), cmp_ns);
	rank = (s->nr * percent + 99) / 100;
	return s->ns[rank ? rank - 1 : 0];
}

int64_t series_median(const struct bench_series *s)
{
	return series_at(s, 50);
}

void series_free(struct bench_series *s)
{
	free(s->ns);
	memset(s, 0, sizeof(*s));
}

void result_free(struct bench_result *res)
{
	for (int way = 0; way < NR_WAYS; way++) {
		series_free(&res->way[way].back);
		series_free(&res->way[way].call);
		series_free(&res->way[way].prepare);
	}
}

static bool check_add(struct bench_result *res, const char *what, char op,
		      double value, double limit)
{
	struct bench_check *c;

	if (res->nr_checks == BENCH_CHECKS)
		bench_die("too many checks in %s", res->scenario->name);
	c = &res->check[res->nr_checks++];
	snprintf(c->what, sizeof(c->what), "%s", what);
	c->op = op;
	c->value = value;
	c->limit = limit;
	if (op == '<')
		c->pass = value <= limit;
	else if (op == '>')
		c->pass = value >= limit;
	else
		c->pass = (long long)value == (long long)limit;
	return c->pass;
}

bool check_max(struct bench_result *res, const char *what, double value,
	       double limit)
{
	return check_add(res, what, '<', value, limit);
}

bool check_min(struct bench_result *res, const char *what, double value,
	       double limit)
{
	return check_add(res, what, '>', value, limit);
}

bool check_is(struct bench_result *res, const char *what, double value,
	      double want)
{
	return check_add(res, what, '=', value, want);
}

/* Time until memory is back, ours over the other way's, by medians. */
bool check_ratio(struct bench_result *res, enum bench_way other, double limit)
{
	double ours = (double)series_median(&res->way[WAY_OURS].back);
	double theirs = (double)series_median(&res->way[other].back);
	char what[72];

	snprintf(what, sizeof(what), "time of mrelease / %s", way_name(other));
	return check_max(res, what, ours / theirs, limit);
}

bool check_call(struct bench_result *res, enum bench_way other, double limit)
{
	double ours = (double)series_median(&res->way[WAY_OURS].call);
	double theirs = (double)series_median(&res->way[other].call);
	char what[72];

	snprintf(what, sizeof(what), "whole call / %s", way_name(other));
	return check_max(res, what, ours / theirs, limit);
}

/*
 * Nothing stands before the kill: on a machine whose CPUs others use, memory is
 * not counted before it, and may not be verified after it.  The report says so.
 */
void count_unverified(struct bench_stat *st, const struct mrelease_report *rep)
{
	if (!rep->verified && rep->notes & MRELEASE_NOTE_NOT_READY)
		st->late++;
	else if (!st->doubt.size)
		st->doubt = *rep;
}

unsigned int verified_due(const struct bench_stat *st)
{
	unsigned int half = (st->runs + 1) / 2, ready = st->runs - st->late;

	return ready > half ? ready : half;
}

bool check_verified(struct bench_result *res)
{
	const struct bench_stat *st = &res->way[WAY_OURS];

	return check_is(res, "releases verified", st->verified,
			verified_due(st));
}
