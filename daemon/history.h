/* SPDX-License-Identifier: MIT */
/* The last seconds closely, the last minute roughly. */
#ifndef MRELEASED_HISTORY_H
#define MRELEASED_HISTORY_H

#include "policy.h"

struct history {
	/* Oldest first. */
	struct snapshot s[MAX_HISTORY];
	size_t nr;
};

void history_push(struct history *h, const struct snapshot *s);

#endif /* MRELEASED_HISTORY_H */
