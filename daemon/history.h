/* SPDX-License-Identifier: MIT */
/* The last seconds closely, the last two minutes roughly. */
#ifndef MRELEASED_HISTORY_H
#define MRELEASED_HISTORY_H

#include "policy.h"

/* What is needed of the past: no setting may ask for more. */
#define HISTORY_NS (120 * NS_PER_S)

struct history {
	/* Oldest first. */
	struct snapshot s[MAX_HISTORY];
	size_t nr;
};

void history_push(struct history *h, const struct snapshot *s);

#endif /* MRELEASED_HISTORY_H */
