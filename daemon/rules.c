/* SPDX-License-Identifier: MIT */
/* Who is to go first, last or never. */
#include <errno.h>
#include <fnmatch.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "rules.h"
#include "text.h"

/*
 * Of a regular expression: atoms when all repetitions are written out, brackets.
 * regcomp(3) goes a level deeper for each atom: RELOAD_STACK must do for all of them.
 */
#define MAX_ATOMS  1000
#define MAX_NESTED 32

static const char *const subjects[] = {
	[RULE_COMM] = "comm",	  [RULE_CMDLINE] = "cmdline",
	[RULE_CGROUP] = "cgroup", [RULE_UNIT] = "unit",
	[RULE_USER] = "user",
};

const char *rule_subject_name(enum rule_subject subject)
{
	return subjects[subject];
}

const char *rule_kind_name(enum rule_kind kind)
{
	return kind == RULE_PREFER ? "Prefer" :
	       kind == RULE_AVOID  ? "Avoid" :
	       kind == RULE_NEVER  ? "Never" :
				     "Whole";
}

static int find_user(struct rule *rule, char *why, size_t size)
{
	const char *p = rule->text;
	struct passwd *pw;
	uint64_t number;

	if (text_number(&p, &number) && !*p && number < UINT32_MAX) {
		rule->uid = (uid_t)number;
		return 0;
	}
	pw = getpwnam(rule->text);
	if (!pw) {
		snprintf(why, size, "there is no user \"%s\"", rule->text);
		return -EINVAL;
	}
	rule->uid = pw->pw_uid;
	return 0;
}

/* {m,n} behind an atom: how often it is there at most; 0: no such thing. */
static uint64_t repeats(const char **p)
{
	const char *at = *p + 1;
	uint64_t low = 1, high = 0;

	if (**p != '{' || (!text_number(&at, &low) && *at != ','))
		return 0;
	high = low;
	if (*at == ',') {
		at++;
		/* "a{2,}" is "aaa*". */
		if (!text_number(&at, &high))
			high = low + 1;
	}
	if (*at != '}')
		return 0;
	*p = at;
	return high > low ? high : low;
}

/* At "[": to its "]", before which may stand "[:alpha:]", or to the end. */
static const char *set_end(const char *p)
{
	char kind, end[3];
	const char *q;

	p += 1 + (p[1] == '^');
	/* The first one is a character like any other. */
	for (p += *p == ']'; *p && *p != ']'; p++) {
		kind = p[1];
		if (*p != '[' || !kind || !strchr(".:=", kind))
			continue;
		snprintf(end, sizeof(end), "%c]", kind);
		q = strstr(p + 2, end);
		p = q ? q + 1 : p + strlen(p) - 1;
	}
	return *p ? p : p - 1;
}

/*
 * What a regular expression grows to.  regcomp(3) writes out each repetition:
 * "((a{99}){99}){99}" is a million atoms, and "((((a+)+)+)+)+" two to the fifth.
 * false: that would take memory and time that nobody has.
 */
static bool is_affordable(const char *p)
{
	uint64_t sum[MAX_NESTED] = { 0 }, last = 0, n;
	size_t depth = 0;

	for (; *p; p++) {
		switch (*p) {
		case '(':
			if (++depth == MAX_NESTED)
				return false;
			/* "()" is empty, and is one all the same. */
			sum[depth] = last = 1;
			break;
		case ')':
			/* Without its other half it is an atom. */
			last = depth ? sum[depth] : 1;
			sum[depth - (depth > 0)] += last;
			depth -= depth > 0;
			break;
		case '*':
		case '?':
			sum[depth]++;
			last++;
			break;
		case '+':
			sum[depth] += last;
			last *= 2;
			break;
		case '{':
			n = repeats(&p);
			if (n > MAX_ATOMS)
				return false;
			sum[depth] += n ? last * (n - 1) : 1;
			last = n ? last * n : last + 1;
			break;
		default:
			if (*p == '[')
				p = set_end(p);
			p += *p == '\\' && p[1];
			sum[depth] += last = 1;
		}
		if (sum[depth] > MAX_ATOMS || last > MAX_ATOMS)
			return false;
	}
	return true;
}

int rules_add(struct rules *r, enum rule_kind kind, enum rule_subject subject,
	      const char *text, char *why, size_t why_size)
{
	struct rule *rule = &r->rules[r->nr];
	int ret = 0;

	if (r->nr == MAX_RULES) {
		snprintf(why, why_size, "more than %d rules", MAX_RULES);
		return -ENOSPC;
	}
	if (kind == RULE_WHOLE && subject != RULE_CGROUP &&
	    subject != RULE_UNIT) {
		snprintf(why, why_size, "only cgroup: and unit: go as a whole");
		return -EINVAL;
	}
	/* An empty expression would match every process. */
	if (!*text) {
		snprintf(why, why_size, "an empty pattern");
		return -EINVAL;
	}
	*rule = (struct rule){ .kind = kind, .subject = subject };
	rule->text = strdup(text);
	if (!rule->text)
		return -ENOMEM;
	if (subject == RULE_COMM || subject == RULE_CMDLINE) {
		ret = is_affordable(text) ? regcomp(&rule->regex, text,
						    REG_EXTENDED | REG_NOSUB) :
					    REG_ESPACE;
		if (ret == REG_ESPACE) {
			snprintf(why, why_size, "the expression is too big");
			ret = -EINVAL;
		} else if (ret) {
			regerror(ret, &rule->regex, why, why_size);
			ret = -EINVAL;
		}
	} else if (subject == RULE_USER) {
		ret = find_user(rule, why, why_size);
	}
	if (ret) {
		free(rule->text);
		return ret;
	}
	r->nr++;
	r->subjects |= 1u << subject;
	return 0;
}

int rules_add_line(struct rules *r, enum rule_kind kind, const char *line,
		   char *why, size_t why_size)
{
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		size_t len = strlen(subjects[i]);

		if (!strncmp(line, subjects[i], len) && line[len] == ':') {
			line += len + 1;
			line += strspn(line, " \t");
			return rules_add(r, kind, (enum rule_subject)i, line,
					 why, why_size);
		}
	}
	return rules_add(r, kind, RULE_COMM, line, why, why_size);
}

void rules_clear(struct rules *r)
{
	for (size_t i = 0; i < r->nr; i++) {
		struct rule *rule = &r->rules[i];

		if (rule->subject == RULE_COMM || rule->subject == RULE_CMDLINE)
			regfree(&rule->regex);
		free(rule->text);
	}
	memset(r, 0, sizeof(*r));
}

/* Any component of the path that is a unit, the innermost or not. */
static bool unit_matches(const char *pattern, const char *cgroup)
{
	const char *p = cgroup;
	char name[256];
	size_t len;

	while (*p) {
		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len && len < sizeof(name)) {
			memcpy(name, p, len);
			name[len] = '\0';
			if (!fnmatch(pattern, name, 0))
				return true;
		}
		p += len;
	}
	return false;
}

bool rules_whole(const struct rules *r, const char *cgroup)
{
	const char *name = strrchr(cgroup, '/');

	for (size_t i = 0; i < r->nr; i++) {
		const struct rule *rule = &r->rules[i];

		if (rule->kind != RULE_WHOLE)
			continue;
		if (rule->subject == RULE_CGROUP ?
			    !fnmatch(rule->text, cgroup, 0) :
			    name && !fnmatch(rule->text, name + 1, 0))
			return true;
	}
	return false;
}

static bool matches(const struct rule *rule, const char *comm,
		    const char *cmdline, const char *cgroup, uid_t uid)
{
	switch (rule->subject) {
	case RULE_COMM:
		return !regexec(&rule->regex, comm, 0, NULL, 0);
	case RULE_CMDLINE:
		return cmdline && !regexec(&rule->regex, cmdline, 0, NULL, 0);
	case RULE_CGROUP:
		return cgroup && !fnmatch(rule->text, cgroup, 0);
	case RULE_UNIT:
		return cgroup && unit_matches(rule->text, cgroup);
	case RULE_USER:
		return rule->uid == uid;
	}
	return false;
}

static const uint32_t flags[] = {
	[RULE_PREFER] = CANDIDATE_PREFER,
	[RULE_AVOID] = CANDIDATE_AVOID,
	[RULE_NEVER] = CANDIDATE_NEVER,
	[RULE_WHOLE] = 0,
};

static bool is_own(const struct rule *rule)
{
	return rule->subject == RULE_COMM || rule->subject == RULE_USER;
}

uint32_t rules_match_own(const struct rules *r, const char *comm, uid_t uid)
{
	uint32_t found = 0;

	for (size_t i = 0; i < r->nr; i++)
		if (is_own(&r->rules[i]) &&
		    matches(&r->rules[i], comm, NULL, NULL, uid))
			found |= flags[r->rules[i].kind];
	return found;
}

uint32_t rules_of_others(const struct rules *r)
{
	uint32_t found = 0;

	for (size_t i = 0; i < r->nr; i++)
		if (!is_own(&r->rules[i]))
			found |= flags[r->rules[i].kind];
	return found;
}

uint32_t rules_match(const struct rules *r, const char *comm,
		     const char *cmdline, const char *cgroup, uid_t uid)
{
	uint32_t found = 0;

	for (size_t i = 0; i < r->nr; i++)
		if (matches(&r->rules[i], comm, cmdline, cgroup, uid))
			found |= flags[r->rules[i].kind];
	/*
	 * What could not be read may be what a rule protects.  Better the
	 * next one goes.
	 */
	for (size_t i = 0; i < r->nr; i++)
		if (r->rules[i].kind == RULE_NEVER &&
		    ((r->rules[i].subject == RULE_CMDLINE && !cmdline) ||
		     ((r->rules[i].subject == RULE_CGROUP ||
		       r->rules[i].subject == RULE_UNIT) &&
		      !cgroup)))
			found |= CANDIDATE_NEVER;
	return found;
}
