/* SPDX-License-Identifier: MIT */
/*
 * Cgroups as far as they concern a choice: what their owners have said by
 * extended attributes, and which of them go as a whole.
 */
#ifndef MRELEASED_UNITS_H
#define MRELEASED_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "policy.h"
#include "rules.h"

struct unit {
	/* Below the mount point; starts with a slash. */
	char path[512];
	/* Its directory's: another one of that path is another cgroup. */
	uint64_t inode;
	/* CANDIDATE_* of its attributes and those above it. */
	uint32_t flags;
	/* Index of the cgroup that goes with it, itself or above; 0: none. */
	uint32_t whole;
};

struct units {
	/* Where memory is accounted: v1's memory hierarchy, or v2. */
	char mount[256];
	/* How its line in /proc/PID/cgroup begins, behind the number. */
	const char *tag;
	/* Below the mount point: what is watched, "" for all. */
	char watched[512];
	/* [0] is nobody's. */
	struct unit *u;
	uint32_t nr;
	int64_t since_ns;
};

/*
 * @cgroup: the directory that is watched, or NULL; what is above it never goes as
 * a whole.  Return: 0, or -ENOMEM.  Without cgroups there are no units.
 */
int units_open(struct units *u, const char *cgroup);
/* What was read may have changed. */
void units_forget(struct units *u);
bool units_full(const struct units *u);
/* @text is /proc/PID/cgroup.  Index; 0: none.  Of a very deep one: of one above it. */
uint32_t units_find(struct units *u, const struct rules *rules,
		    const char *text);
/* Of a v2 cgroup or of systemd's, for the rules; cut out of @text.  Or NULL. */
char *units_rule_path(char *text);
/* Its directory, for mrelease_cgroup(); -errno, -ESTALE: it is another by now. */
int units_open_dir(const struct units *u, uint32_t unit);

#endif /* MRELEASED_UNITS_H */
