/* SPDX-License-Identifier: MIT */
/* The last seconds closely, the last two minutes roughly. */
#include <string.h>

#include "history.h"

static void drop(struct history *h, size_t i)
{
	h->nr--;
	memmove(&h->s[i], &h->s[i + 1], (h->nr - i) * sizeof(h->s[0]));
}

void history_push(struct history *h, const struct snapshot *s)
{
	size_t drop_at = 0;
	double least = 1e300;

	/* Another machine, or a restored one: the past is not ours. */
	if (h->nr && s->time_ns <= h->s[h->nr - 1].time_ns)
		h->nr = 0;
	/* One that is as old as that is kept, so that all of it is covered. */
	while (h->nr > 1 && s->time_ns - h->s[1].time_ns >= HISTORY_NS)
		drop(h, 0);
	/* Who lies closest to its neighbours, for its age, is missed least. */
	for (size_t i = 1; h->nr == MAX_HISTORY && i + 1 < h->nr; i++) {
		double gap =
			(double)(h->s[i + 1].time_ns - h->s[i - 1].time_ns);
		double age = (double)(s->time_ns - h->s[i].time_ns + 1);

		if (gap / age < least) {
			least = gap / age;
			drop_at = i;
		}
	}
	if (h->nr == MAX_HISTORY)
		drop(h, drop_at);
	h->s[h->nr++] = *s;
}
