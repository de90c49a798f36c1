/* SPDX-License-Identifier: MIT */
/* How long nobody needs to look: at memory, and at all processes. */
#include "loop.h"
#include "text.h"

/* Asleep, with a PSI trigger that wakes us: at most this long. */
#define ASLEEP_NS (10 * NS_PER_S)
/* Nothing has happened for so long. */
#define REST_NS (30 * NS_PER_S)
/*
 * A sweep may take one part in so many of the time between two; more where the
 * end is near, for who is chosen must have been seen.
 */
#define SWEEP_SHARE 20
#define HASTY_SHARE 4
#define SWEEP_NS    (100 * NS_PER_MS)
#define HASTY_NS    (5 * NS_PER_S)
/*
 * Calm, only so that growth can be told from size the moment that it is over: at
 * looks that are made anyway, if memory has moved since, and else each minute.
 * CALM_SHARE: table.h.
 */
#define CALM_NS	     (9 * NS_PER_S)
#define CALM_MOVED   100
#define CALM_SAME_NS (60 * NS_PER_S)

/* For half a minute nothing has happened that is worth a look. */
static bool is_at_rest(const struct mreleased *d)
{
	const struct history *h = &d->history;
	uint64_t low = UINT64_MAX, high = 0;

	if (mreleased_now(d)->time_ns - h->s[0].time_ns < REST_NS)
		return false;
	for (size_t i = h->nr; i; i--) {
		uint64_t left = h->s[i - 1].available_bytes +
				h->s[i - 1].swap_free_bytes;

		if (left < low)
			low = left;
		if (left > high)
			high = left;
		if (mreleased_now(d)->time_ns - h->s[i - 1].time_ns > REST_NS)
			break;
	}
	return high - low < mreleased_now(d)->total_bytes / 50;
}

/*
 * Calm, the kernel wakes us when reclaim begins.  On a small machine the time
 * from there to the end is short, so there it also has to be at rest.  For a
 * cgroup nothing is reclaimed before its limit is reached, and without cache or swap
 * to reclaim the OOM killer comes at once: no stall announces it.
 */
static int64_t undisturbed(const struct mreleased *d,
			   const struct decision *dec)
{
	if (dec->level != LEVEL_CALM || d->sense.trigger_fd < 0 ||
	    mreleased_now(d)->has & SNAPSHOT_CGROUP || d->table.nr_unasked)
		return dec->wait_ns;
	return dec->wait_ns >= NS_PER_S || is_at_rest(d) ? ASLEEP_NS :
							   dec->wait_ns;
}

/* Not asleep when the next report is due. */
int64_t next_look(const struct mreleased *d, const struct decision *dec)
{
	int64_t wait = undisturbed(d, dec);
	int64_t left = d->reported_ns + d->config.report_ns - clock_ns();

	if (!d->config.report_ns || left >= wait)
		return wait;
	return left < NS_PER_MS ? NS_PER_MS : left;
}

/* Since the last sweep, up or down, by so much that somebody must have done it. */
static bool has_moved(const struct mreleased *d)
{
	const struct snapshot *now = mreleased_now(d), *then = &d->swept;
	uint64_t left = now->available_bytes + now->swap_free_bytes;
	uint64_t was = then->available_bytes + then->swap_free_bytes;

	return (left > was ? left - was : was - left) >
	       now->total_bytes / CALM_MOVED;
}

bool is_sweep_due(const struct mreleased *d, const struct decision *dec)
{
	bool hasty = dec->level >= LEVEL_LOW || dec->cliff_ns < HASTY_NS;
	int64_t share = hasty ? HASTY_SHARE : SWEEP_SHARE, least = SWEEP_NS;

	/* Who was not asked yet what it is cannot be chosen. */
	if (dec->level == LEVEL_CALM && !d->table.nr_unasked) {
		share = CALM_SHARE;
		least = has_moved(d) ? CALM_NS : CALM_SAME_NS;
	}
	if (least < d->table.took_ns * share)
		least = d->table.took_ns * share;
	return clock_ns() - d->table.swept_ns >= least;
}
