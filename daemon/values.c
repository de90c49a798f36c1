/* SPDX-License-Identifier: MIT */
/* Percentages, sizes and times as people write them. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "config.h"
#include "text.h"

/* A number with at most three decimals, times 1000. */
static bool thousandths(const char **p, uint64_t *ret)
{
	const char *s = *p;
	uint64_t whole, scale = 100;

	if (!text_number(&s, &whole) ||
	    __builtin_mul_overflow(whole, 1000u, &whole))
		return false;
	if (*s == '.') {
		if (s[1] < '0' || s[1] > '9')
			return false;
		for (s++; *s >= '0' && *s <= '9'; s++) {
			whole += (uint64_t)(*s - '0') * scale;
			scale /= 10;
		}
	}
	*p = s;
	*ret = whole;
	return true;
}

int value_permille(const char *text, uint32_t *ret)
{
	uint64_t value;

	if (!thousandths(&text, &value))
		return -EINVAL;
	text += strspn(text, " ");
	if (strcmp(text, "%") || value > 100000)
		return -EINVAL;
	/* Tenths of a percent; a little is not nothing. */
	*ret = value && value < 100 ? 1 : (uint32_t)(value / 100);
	return 0;
}

/* "10%", or bytes with K, M, G or T. */
int value_line(const char *text, struct line *ret)
{
	static const char units[] = "KMGT";
	struct line line = { 0 };
	const char *unit;
	uint64_t value;

	if (strchr(text, '%')) {
		if (value_permille(text, &line.permille))
			return -EINVAL;
		*ret = line;
		return 0;
	}
	if (!text_number(&text, &value))
		return -EINVAL;
	if (*text) {
		unit = strchr(units, *text);
		if (!unit || (text[1] && strcmp(text + 1, "iB")))
			return -EINVAL;
		for (; unit >= units; unit--)
			if (__builtin_mul_overflow(value, 1024u, &value))
				return -EINVAL;
	}
	line.bytes = value;
	*ret = line;
	return 0;
}

int value_time(const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		int64_t us;
	} units[] = {
		{ "", 1000000 },   { "s", 1000000 },	{ "sec", 1000000 },
		{ "ms", 1000 },	   { "us", 1 },		{ "min", 60000000 },
		{ "m", 60000000 }, { "h", 3600000000 },
	};
	uint64_t value;

	if (!thousandths(&text, &value) || value > 1000000000)
		return -EINVAL;
	text += strspn(text, " ");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(text, units[i].name)) {
			/* Thousandths of so many microseconds. */
			*ret_ns = (int64_t)value * units[i].us;
			return 0;
		}
	return -EINVAL;
}

int value_bool(const char *text, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcasecmp(text, yes[i])) {
			*ret = true;
			return 0;
		}
		if (!strcasecmp(text, no[i])) {
			*ret = false;
			return 0;
		}
	}
	return -EINVAL;
}

void print_permille(uint32_t permille, FILE *out)
{
	if (permille % 10)
		fprintf(out, "%u.%u%%", permille / 10, permille % 10);
	else
		fprintf(out, "%u%%", permille / 10);
}

void print_line_value(const struct line *l, FILE *out)
{
	if (!l->bytes)
		print_permille(l->permille, out);
	else if (l->bytes % 1024)
		fprintf(out, "%" PRIu64, l->bytes);
	else
		fprintf(out, "%" PRIu64 "K", l->bytes / 1024);
}

void print_time(int64_t ns, FILE *out)
{
	if (ns % NS_PER_S == 0)
		fprintf(out, "%" PRId64 "s", ns / NS_PER_S);
	else if (ns % NS_PER_MS == 0)
		fprintf(out, "%" PRId64 "ms", ns / NS_PER_MS);
	else
		fprintf(out, "%" PRId64 "us", ns / 1000);
}
