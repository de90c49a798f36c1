/* SPDX-License-Identifier: MIT */
/* What the rules and its cgroup say of a process. */
#include <errno.h>
#include <stdio.h>

#include "cmdline.h"
#include "rules.h"
#include "table.h"
#include "text.h"

/* On v1 a line for each hierarchy, and each with a path of any length. */
static char where[64 * 1024];

/* Else it could not be read, and what that would have said may protect it. */
bool table_gone(struct table *t, ssize_t n)
{
	if (n < 0)
		table_starved(t, (int)-n);
	return n == -ENOENT || n == -ESRCH;
}

static ssize_t read_cgroups(struct table *t, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/cgroup", pid);
	return text_read_at(t->proc_fd, path, where, sizeof(where));
}

/*
 * The command line for the rules.  In shortage it may come late, and its process can
 * see to it that it never comes.  Then the last answer holds; without one it is
 * empty, so that no process can protect itself like that.
 */
static int ask_cmdline(struct table *t, const struct candidate *c,
		       const struct memory_of *m, const char **ret)
{
	int error = cmdline_read(t->proc_fd, c->pid, t->cmdline_until_ns, ret);

	if (error != -EBUSY)
		return 0;
	*ret = "";
	return m->rules_were_known ? -EBUSY : 0;
}

void table_ask(struct table *t, struct candidate *c, struct memory_of *m)
{
	bool need = t->rules->subjects & 1u << RULE_CMDLINE;
	const char *cmdline = NULL, *cgroup = NULL;
	uint32_t unit, flags = 0;
	int busy = need ? ask_cmdline(t, c, m, &cmdline) : 0;
	ssize_t n = read_cgroups(t, c->pid);

	m->unit = 0;
	if (n <= 0 && !table_gone(t, n)) {
		m->rule_flags = CANDIDATE_NEVER;
		return;
	}
	if (n > 0) {
		unit = units_find(&t->units, t->rules, where);
		m->unit = t->units.u[unit].whole;
		flags = t->units.u[unit].flags;
		cgroup = units_rule_path(where);
	}
	if (busy)
		return;
	m->rule_flags = flags |
			rules_match(t->rules, c->comm, cmdline, cgroup, c->uid);
	/* What did not come may come the next time. */
	m->rules_known = !need || (cmdline && *cmdline);
	m->rules_were_known |= m->rules_known;
}

bool table_is_in(struct table *t, const struct candidate *c)
{
	ssize_t n = read_cgroups(t, c->pid);

	return n > 0 &&
	       t->units.u[units_find(&t->units, t->rules, where)].whole ==
		       c->unit;
}
