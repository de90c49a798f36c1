/* SPDX-License-Identifier: MIT */
/* What a run was like for those who had nothing to do with it. */
#include <string.h>

#include "runs.h"

/*
 * Processes of one job that are signalled within this time are one victim: on
 * a thrashing machine it takes a while to find the children born meanwhile.
 */
#define ONE_DECISION_MS 1000

bool recovers_by_itself(const char *load)
{
	static const char *const names[] = { "tmpfs", "cache", "spike" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(load, names[i]))
			return true;
	}
	return false;
}

int64_t avail_without(const struct run *run, const struct sample *s)
{
	int64_t kib = s->avail;

	for (size_t i = 0; i < NR_INNOCENTS; i++) {
		if (run->died_ms[i] <= s->ms)
			kib -= run->total * INNOCENT_SHARE / 100;
	}
	return kib;
}

static const struct sample *sample_at(const struct run *run, int64_t ms)
{
	const struct sample *s = run->samples;

	for (size_t i = 0; i < run->nr_samples && run->samples[i].ms <= ms; i++)
		s = &run->samples[i];
	return s;
}

static bool is_victim_before(const struct run *run, int pid, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (run->victims[i].pid == pid)
			return true;
	}
	return false;
}

/*
 * What the hogs among the first @nr victims have still not given back: all
 * that their cgroup is charged, without those who were not killed.
 */
static int64_t outstanding(const struct run *run, size_t nr,
			   const struct sample *s)
{
	int64_t kib = s->hog;
	bool any = false;

	for (size_t i = 0; i < nr; i++)
		any |= run->victims[i].innocent < 0;
	if (!any)
		return 0;
	for (size_t i = 0; i < run->nr_sizes; i++) {
		const struct size *size = &run->sizes[i];
		bool last = true;

		if (size->ms > s->ms)
			break;
		/* only the last of each process before now */
		for (size_t k = i + 1; k < run->nr_sizes; k++) {
			if (run->sizes[k].ms > s->ms)
				break;
			last &= run->sizes[k].pid != size->pid;
		}
		if (last && !is_victim_before(run, size->pid, nr))
			kib -= size->kib;
	}
	return kib > 0 ? kib : 0;
}

/*
 * One too many: what there is, with what those who were killed before it are
 * about to give back, is above the line.
 */
static void judge_victims(struct run *run)
{
	for (size_t i = 1; i < run->nr_victims; i++) {
		struct victim *v = &run->victims[i];
		const struct victim *first = v - 1;
		const struct sample *s;
		size_t nr = i;

		/* the same decision takes the rest of a job */
		while (first > run->victims && v->innocent < 0 &&
		       first->innocent < 0 &&
		       v->ms - first[-1].ms < ONE_DECISION_MS)
			first--;
		if (v->innocent < 0 && first->innocent < 0 &&
		    v->ms - first->ms < ONE_DECISION_MS)
			nr = (size_t)(first - run->victims);
		if (!nr || !run->nr_samples)
			continue;
		s = sample_at(run, v->ms);
		v->beyond = (s->avail + outstanding(run, nr, s)) * 100 >=
			    run->total * LOW_PERCENT;
	}
}

/* Memory is, and swap, where there was any. */
static bool is_low(const struct run *run, const struct sample *s)
{
	return s->avail * 100 < run->total * LOW_PERCENT &&
	       s->swap * 100 <= run->samples[0].swap * LOW_PERCENT;
}

static void judge_memory(const struct run *run, struct verdict *v)
{
	int64_t back = NEVER;

	v->low_ms = v->back_ms = NEVER;
	for (size_t i = 0; i < run->nr_samples; i++) {
		const struct sample *s = &run->samples[i];

		if (v->low_ms == NEVER && is_low(run, s))
			v->low_ms = s->ms;
		if (avail_without(run, s) * 100 < run->total * ENOUGH_PERCENT)
			back = NEVER;
		else if (back == NEVER)
			back = s->ms;
	}
	if (v->low_ms != NEVER && back != NEVER)
		v->back_ms = back - v->low_ms;
}

void judge(struct run *run, struct verdict *v)
{
	*v = (struct verdict){ .low_ms = NEVER, .back_ms = NEVER };
	judge_victims(run);
	judge_memory(run, v);
	v->victims = (unsigned int)run->nr_victims;
	for (size_t i = 0; i < run->nr_victims; i++) {
		v->beyond += run->victims[i].beyond;
		v->oom += run->victims[i].oom;
		v->in_vain += recovers_by_itself(run->load);
	}
	for (size_t i = 0; i < NR_INNOCENTS; i++) {
		v->innocents += run->died_ms[i] != NEVER;
		if (run->stall_ms[i] > v->stall_ms)
			v->stall_ms = run->stall_ms[i];
	}
}
