/* SPDX-License-Identifier: MIT */
/* Releases of whole cgroups and trees, with a report for each member. */
#ifndef GROUPS_H
#define GROUPS_H

#include "harness.h"

#define MAX_MEMBERS 256

/* What the last release said of each member. */
extern struct mrelease_report members[MAX_MEMBERS];
extern size_t nr_members;

int release_cgroup(const struct cgroup *cg, uint32_t flags,
		   struct mrelease_report *rep);
int release_tree(const struct victim *root, uint32_t flags,
		 struct mrelease_report *rep);
/* n of them, every one verified, biggest first, dead. */
void expect_all_released(const struct mrelease_report *rep, unsigned int n,
			 uint64_t bytes);
void fill_cgroup(const struct cgroup *cg, struct victim *v, unsigned int n,
		 const char *mib);

#endif /* GROUPS_H */
