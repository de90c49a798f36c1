/* SPDX-License-Identifier: MIT */
/* How long nobody needs to look. */
#include "loop.h"
#include "text.h"

/* Asleep, with a PSI trigger that wakes us: at most this long. */
#define ASLEEP_NS (10 * NS_PER_S)
/* Nothing has happened for so long. */
#define REST_NS (30 * NS_PER_S)

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
	    mreleased_now(d)->has & SNAPSHOT_CGROUP)
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
