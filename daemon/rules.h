/* SPDX-License-Identifier: MIT */
/* Who is to go first, last or never: by name, command line, cgroup or user. */
#ifndef MRELEASED_RULES_H
#define MRELEASED_RULES_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_RULES 256

enum rule_kind {
	RULE_PREFER,
	RULE_AVOID,
	RULE_NEVER,
	/* Of a cgroup: its processes go together. */
	RULE_WHOLE,
};

enum rule_subject {
	/* Regular expressions, as earlyoom has them. */
	RULE_COMM,
	RULE_CMDLINE,
	/* A shell pattern over the path below /sys/fs/cgroup. */
	RULE_CGROUP,
	/* A shell pattern over each unit's name in that path. */
	RULE_UNIT,
	RULE_USER,
};

struct rule {
	enum rule_kind kind;
	enum rule_subject subject;
	/* As it was written. */
	char *text;
	regex_t regex;
	uid_t uid;
};

struct rules {
	struct rule rules[MAX_RULES];
	size_t nr;
	/* Which subjects have to be read: 1 << RULE_... */
	uint32_t subjects;
};

/*
 * Return: 0; -EINVAL and @why (terminated) for a rule that means nothing;
 * -ENOSPC, -ENOMEM.
 */
int rules_add(struct rules *r, enum rule_kind kind, enum rule_subject subject,
	      const char *text, char *why, size_t why_size);
void rules_clear(struct rules *r);
/* CANDIDATE_* flags of what matches; cmdline and cgroup NULL: not known. */
uint32_t rules_match(const struct rules *r, const char *comm,
		     const char *cmdline, const char *cgroup, uid_t uid);
/* Of the rules by name and by user alone. */
uint32_t rules_match_own(const struct rules *r, const char *comm, uid_t uid);
/* What the others may say: CANDIDATE_PREFER, CANDIDATE_AVOID, CANDIDATE_NEVER. */
uint32_t rules_of_others(const struct rules *r);
/* Does a rule say that this cgroup goes as a whole? */
bool rules_whole(const struct rules *r, const char *cgroup);
/* "subject:text" of the configuration: comm unless another is named. */
int rules_add_line(struct rules *r, enum rule_kind kind, const char *line,
		   char *why, size_t why_size);
const char *rule_kind_name(enum rule_kind kind);
const char *rule_subject_name(enum rule_subject subject);

#endif /* MRELEASED_RULES_H */
