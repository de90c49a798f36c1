/* SPDX-License-Identifier: MIT */
/* What the rules and its cgroup say of a process. */
#include <errno.h>
#include <stdio.h>

#include "cmdline.h"
#include "rules.h"
#include "table.h"
#include "text.h"

/* The biggest: so many are asked after each sweep, whosever turn it is. */
#define BIGGEST 8

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
 * What is said by the rules and its cgroup, into @m.  @line: what became of its command
 * line; -EAGAIN: it was not asked, and its last answer holds.  In shortage it may
 * come late, and its process can see to it that it never comes: who was asked in
 * vain and has never answered has an empty one, so that no process can protect
 * itself like that.
 */
static void ask(struct table *t, const struct candidate *c, struct memory_of *m,
		struct cmdline line)
{
	bool need = t->rules->subjects & 1u << RULE_CMDLINE;
	bool holds = (line.error == -EAGAIN || line.error == -EBUSY) &&
		     m->rules_were_known;
	const char *cgroup = NULL;
	uint32_t unit, flags = 0;
	ssize_t n = read_cgroups(t, c->pid);

	m->unit = 0;
	m->unasked = line.error == -EAGAIN && !holds;
	if (m->unasked)
		m->rule_flags = CANDIDATE_NEVER;
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
	if (m->unasked || holds)
		return;
	if (line.error == -EBUSY)
		line.text = "";
	m->rule_flags = flags | rules_match(t->rules, c->comm, line.text,
					    cgroup, c->uid);
	/* What did not come may come the next time. */
	m->rules_known = !need || (line.text && *line.text);
	m->rules_were_known |= m->rules_known;
}

void table_ask(struct table *t, struct candidate *c, struct memory_of *m)
{
	struct cmdline line = { 0 };

	/* Where nothing that it says would change anything, it need not be asked. */
	if (t->rules->subjects & 1u << RULE_CMDLINE) {
		m->to_ask = !(c->flags & (CANDIDATE_NEVER | CANDIDATE_DYING));
		line.error = m->to_ask ? -EAGAIN : 0;
		line.text = "";
	}
	ask(t, c, m, line);
}

/* Of those who cannot be chosen before. */
static size_t find_biggest(struct table *t, size_t *who)
{
	size_t nr = 0;

	while (nr < BIGGEST) {
		uint64_t most = 0, bytes;
		size_t found = t->nr;

		for (size_t i = 0; i < t->nr; i++) {
			if (!t->m[i].unasked || !t->m[i].to_ask)
				continue;
			bytes = candidate_gain(&t->c[i]) +
				4 * t->c[i].growth_bytes;
			if (found < t->nr && bytes <= most)
				continue;
			found = i;
			most = bytes;
		}
		if (found == t->nr)
			break;
		/* Not twice; who has not had its turn by then is put back. */
		t->m[found].to_ask = false;
		who[nr++] = found;
	}
	return nr;
}

/* How many of them had their turn: as many as there was time and room for. */
static size_t ask_batch(struct table *t, const size_t *who, size_t nr)
{
	struct cmdline lines[CMDLINE_BATCH];
	pid_t pids[CMDLINE_BATCH] = { 0 };
	size_t asked;

	for (size_t i = 0; i < nr; i++)
		pids[i] = t->c[who[i]].pid;
	asked = cmdline_ask(t->proc_fd, pids, nr, &t->cmdline_ns, lines);
	for (size_t i = 0; i < nr; i++) {
		struct candidate *c = &t->c[who[i]];
		struct memory_of *m = &t->m[who[i]];

		m->to_ask = i >= asked;
		if (m->to_ask)
			continue;
		/* It has those of the rules, and no others: else it was not asked. */
		c->flags &= ~m->rule_flags;
		ask(t, c, m, lines[i]);
		/* Also what follows from no answer, until there is one. */
		m->rules_were_known = true;
		c->flags |= m->rule_flags;
		c->unit = m->unit;
	}
	return asked;
}

/* Long lines come in more than one batch. */
static size_t ask_these(struct table *t, const size_t *who, size_t nr)
{
	size_t asked = 0, n;

	do {
		n = ask_batch(t, who + asked, nr - asked);
		asked += n;
	} while (n && asked < nr && t->cmdline_ns > 0);
	return asked;
}

/* From where it ended the last time on, and around. */
static void ask_in_turn(struct table *t)
{
	size_t who[CMDLINE_BATCH], nr, start = 0, n = 0, asked;

	while (start < t->nr && t->c[start].pid < t->cmdline_from)
		start++;
	do {
		for (nr = 0; n < t->nr && nr < CMDLINE_BATCH; n++) {
			who[nr] = (start + n) % t->nr;
			nr += t->m[who[nr]].to_ask;
		}
		asked = nr ? ask_these(t, who, nr) : 0;
	} while (nr && asked == nr);
	if (nr)
		t->cmdline_from = t->c[who[asked]].pid;
}

void table_ask_lines(struct table *t)
{
	size_t who[BIGGEST];

	t->cmdline_ns = t->patience_ns;
	ask_these(t, who, find_biggest(t, who));
	ask_in_turn(t);
	t->nr_unasked = 0;
	for (size_t i = 0; i < t->nr; i++)
		t->nr_unasked += t->m[i].unasked;
}

bool table_is_in(struct table *t, const struct candidate *c)
{
	ssize_t n = read_cgroups(t, c->pid);

	return n > 0 &&
	       t->units.u[units_find(&t->units, t->rules, where)].whole ==
		       c->unit;
}
