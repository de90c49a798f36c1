/* SPDX-License-Identifier: MIT */
/* The settings by name; where they are read from is files.c. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "history.h"
#include "text.h"

enum type { LINE, PERMILLE, TIME, BOOL, ORDER, TEXT, RULE };

/* A time that is looked for in the past; and 0 is none. */
#define IN_HISTORY (1u << 0)
#define NOT_ZERO   (1u << 1)

static const struct setting {
	const char *section;
	const char *name;
	enum type type;
	/* Of the member; its size for TEXT, the kind for RULE, limits for TIME. */
	size_t offset;
	size_t more;
} settings[] = {
#define P(member) offsetof(struct config, policy.member)
#define C(member) offsetof(struct config, member)
#define T(member) C(member), sizeof(((struct config *)0)->member)
	{ "Memory", "AskAvailable", LINE, P(mem_term), 0 },
	{ "Memory", "AskSwap", LINE, P(swap_term), 0 },
	{ "Memory", "KillAvailable", LINE, P(mem_kill), 0 },
	{ "Memory", "KillSwap", LINE, P(swap_kill), 0 },
	{ "Memory", "PrepareAvailable", LINE, P(near), 0 },
	{ "Memory", "StallLimit", PERMILLE, P(stall_permille), 0 },
	{ "Memory", "StallTime", TIME, P(stall_ns), IN_HISTORY | NOT_ZERO },
	{ "Time", "Hold", TIME, P(hold_ns), IN_HISTORY },
	{ "Time", "Grace", TIME, P(grace_ns), 0 },
	{ "Time", "Patience", TIME, P(patience_ns), 0 },
	{ "Time", "Settle", TIME, P(settle_ns), 0 },
	{ "Victims", "MinGain", PERMILLE, P(min_gain_permille), 0 },
	{ "Victims", "Order", ORDER, P(order), 0 },
	{ "Victims", "Trees", BOOL, P(trees), 0 },
	{ "Victims", "ProcessGroup", BOOL, C(process_group), 0 },
	{ "Victims", "IgnoreRoot", BOOL, C(ignore_root), 0 },
	{ "Victims", "Prefer", RULE, 0, RULE_PREFER },
	{ "Victims", "Avoid", RULE, 0, RULE_AVOID },
	{ "Victims", "Never", RULE, 0, RULE_NEVER },
	{ "Victims", "Whole", RULE, 0, RULE_WHOLE },
	{ "Daemon", "Cgroup", TEXT, T(cgroup) },
	{ "Daemon", "DryRun", BOOL, C(dry_run), 0 },
	{ "Daemon", "Debug", BOOL, C(debug), 0 },
	{ "Daemon", "Report", TIME, C(report_ns), 0 },
	{ "Daemon", "StatusSocket", TEXT, T(status_socket) },
	{ "Daemon", "Metrics", TEXT, T(metrics) },
	{ "Daemon", "Record", TEXT, T(record) },
	{ "Daemon", "BeforeKill", TEXT, T(before_kill) },
	{ "Daemon", "AfterKill", TEXT, T(after_kill) },
#undef P
#undef C
#undef T
};

void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	policy_defaults(&c->policy);
	strcpy(c->status_socket, CONFIG_STATUS_SOCKET);
}

void config_clear(struct config *c)
{
	rules_clear(&c->rules);
}

static int set_text(char *to, size_t room, const char *value, char *why,
		    size_t size)
{
	if (text_copy(to, room, value))
		return 0;
	snprintf(why, size, "longer than %zu bytes", room - 1);
	return -EINVAL;
}

/* An empty value takes back what was said before, as in systemd's files. */
static int set_rule(struct config *c, enum rule_kind kind, const char *value,
		    char *why, size_t size)
{
	struct rules kept = { 0 };
	int ret = 0;

	if (*value)
		return rules_add_line(&c->rules, kind, value, why, size);
	for (size_t i = 0; i < c->rules.nr && !ret; i++)
		if (c->rules.rules[i].kind != kind)
			ret = rules_add(&kept, c->rules.rules[i].kind,
					c->rules.rules[i].subject,
					c->rules.rules[i].text, why, size);
	rules_clear(&c->rules);
	c->rules = kept;
	return ret;
}

static int set_time(int64_t *to, size_t limits, const char *value, char *why,
		    size_t size)
{
	int64_t ns;

	snprintf(why, size, "no time (5s, 150ms): \"%.100s\"", value);
	if (value_time(value, &ns))
		return -EINVAL;
	if (limits & IN_HISTORY && ns > HISTORY_NS) {
		snprintf(why, size,
			 "more than 2min, which is as far back as is known: "
			 "\"%.100s\"",
			 value);
		return -EINVAL;
	}
	if (limits & NOT_ZERO && !ns) {
		snprintf(why, size,
			 "no time at all; StallLimit=0%% turns this off");
		return -EINVAL;
	}
	*to = ns;
	return 0;
}

static int set_value(struct config *c, const struct setting *s,
		     const char *value, char *why, size_t size)
{
	void *member = (char *)c + s->offset;

	switch (s->type) {
	case LINE:
		snprintf(why, size,
			 "neither a percentage nor a size (10%%, "
			 "400M): \"%.100s\"",
			 value);
		return value_line(value, member);
	case PERMILLE:
		snprintf(why, size, "no percentage (10%%): \"%.100s\"", value);
		return value_permille(value, member);
	case TIME:
		return set_time(member, s->more, value, why, size);
	case BOOL:
		snprintf(why, size, "neither yes nor no: \"%.100s\"", value);
		return value_bool(value, member);
	case ORDER:
		snprintf(why, size, "neither score nor size: \"%.100s\"",
			 value);
		if (strcmp(value, "score") && strcmp(value, "size"))
			return -EINVAL;
		*(enum victim_order *)member =
			!strcmp(value, "size") ? ORDER_SIZE : ORDER_SCORE;
		return 0;
	case TEXT:
		return set_text(member, s->more, value, why, size);
	case RULE:
		return set_rule(c, (enum rule_kind)s->more, value, why, size);
	}
	return -EINVAL;
}

int config_set(struct config *c, const char *key, const char *value, char *why,
	       size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!strcmp(key, settings[i].name))
			return set_value(c, &settings[i], value, why, size);
	snprintf(why, size, "there is no setting \"%.60s\"", key);
	return -EINVAL;
}

static bool is_section(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!strcmp(name, settings[i].section))
			return true;
	return false;
}

static bool in_section(const char *key, const char *section)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!strcmp(key, settings[i].name))
			return !strcmp(section, settings[i].section);
	/* It is told of as a setting that does not exist. */
	return true;
}

/* One line, blanks cut off: 0 or -EINVAL and why. */
static int parse_one(struct config *c, char *line, char *section,
		     size_t section_size, char *why, size_t size)
{
	char *value = strchr(line, '='), *end;

	if (*line == '[') {
		end = strchr(line, ']');
		if (!end || end[1]) {
			snprintf(why, size, "no section");
			return -EINVAL;
		}
		*end = '\0';
		snprintf(section, section_size, "%s", line + 1);
		snprintf(why, size, "there is no section [%.60s]", section);
		return is_section(section) ? 0 : -EINVAL;
	}
	if (!value) {
		snprintf(why, size, "no \"=\": \"%.100s\"", line);
		return -EINVAL;
	}
	for (end = value; end > line && strchr(" \t", end[-1]); end--)
		;
	*end = '\0';
	value++;
	value += strspn(value, " \t");
	if (!in_section(line, section)) {
		snprintf(why, size, "%.60s is no setting of section [%.60s]",
			 line, section);
		return -EINVAL;
	}
	return config_set(c, line, value, why, size);
}

int config_parse(struct config *c, const char *name, const char *text,
		 config_complain complain, void *arg)
{
	char line[8192], section[64] = "", why[256] = "", where[PATH_MAX + 32];
	unsigned int number = 0;
	int ret = 0;

	while (*text) {
		size_t len = strcspn(text, "\n"), from = 0;

		number++;
		if (len >= sizeof(line)) {
			snprintf(where, sizeof(where), "%s:%u", name, number);
			complain(arg, where, "a line that is too long");
			ret = -EINVAL;
			len = 0;
		}
		memcpy(line, text, len);
		while (len && strchr(" \t\r", line[len - 1]))
			len--;
		line[len] = '\0';
		text += strcspn(text, "\n");
		text += *text == '\n';
		from = strspn(line, " \t");
		if (!line[from] || line[from] == '#' || line[from] == ';')
			continue;
		if (parse_one(c, line + from, section, sizeof(section), why,
			      sizeof(why))) {
			snprintf(where, sizeof(where), "%s:%u", name, number);
			complain(arg, where, why);
			ret = -EINVAL;
		}
	}
	return ret;
}

static void print_setting(const struct config *c, const struct setting *s,
			  FILE *out)
{
	const void *member = (const char *)c + s->offset;

	if (s->type == RULE) {
		for (size_t i = 0; i < c->rules.nr; i++)
			if (c->rules.rules[i].kind == (enum rule_kind)s->more)
				fprintf(out, "%s=%s:%s\n", s->name,
					rule_subject_name(
						c->rules.rules[i].subject),
					c->rules.rules[i].text);
		return;
	}
	fprintf(out, "%s=", s->name);
	switch (s->type) {
	case LINE:
		print_line_value(member, out);
		break;
	case PERMILLE:
		print_permille(*(const uint32_t *)member, out);
		break;
	case TIME:
		print_time(*(const int64_t *)member, out);
		break;
	case BOOL:
		fputs(*(const bool *)member ? "yes" : "no", out);
		break;
	case ORDER:
		fputs(*(const enum victim_order *)member == ORDER_SIZE ?
			      "size" :
			      "score",
		      out);
		break;
	default:
		fputs(member, out);
		break;
	}
	fputc('\n', out);
}

static void settle(struct line *kill, const struct line *term, uint64_t total)
{
	/* Where there is no swap yet, as if there were much. */
	if (!total)
		total = (uint64_t)1 << 40;
	if (kill->implied && line_bytes(term, total) < line_bytes(kill, total))
		*kill = *term;
}

void config_settle(struct policy_config *p, uint64_t total, uint64_t swap_total)
{
	settle(&p->mem_kill, &p->mem_term, total);
	settle(&p->swap_kill, &p->swap_term, swap_total);
}

void config_print(const struct config *c, FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		if (strcmp(section, settings[i].section)) {
			fprintf(out, "%s[%s]\n", *section ? "\n" : "",
				settings[i].section);
			section = settings[i].section;
		}
		print_setting(c, &settings[i], out);
	}
}
