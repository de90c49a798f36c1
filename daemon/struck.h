/* SPDX-License-Identifier: MIT */
/* Who was killed, and all that goes with it: not chosen again. */
#ifndef MRELEASED_STRUCK_H
#define MRELEASED_STRUCK_H

#include "table.h"

/* One bit of memory_of.struck each; the oldest makes room. */
#define MAX_STRUCK 32

struct struck {
	/* 0: nobody. */
	pid_t pid;
	uint64_t start;
	/* With all that descends from it. */
	bool tree;
	/* With all of its cgroup. */
	bool whole;
	/* With this process group; 0: none. */
	pid_t group;
	/* Its release has not ended: who joins its cgroup goes as well. */
	bool under_way;
};

struct strikes {
	struct struck s[MAX_STRUCK];
	size_t nr;
};

void struck_add(struct strikes *k, struct table *t, const struct struck *s);
/* Its release has ended; @failed: and has killed nobody who went with it. */
void struck_end(struct strikes *k, struct table *t, pid_t pid, uint64_t start,
		bool failed);
/* It was asked only, and lives on: from now on it is like any other. */
void struck_forget(struct strikes *k, struct table *t, pid_t pid,
		   uint64_t start);
/* After each sweep: who belongs to one of them is dying. */
void struck_mark(const struct strikes *k, struct table *t);

#endif /* MRELEASED_STRUCK_H */
