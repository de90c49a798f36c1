/* SPDX-License-Identifier: MIT */
/* Signals and times as users write them. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "program.h"

/* TERM, SIGTERM, term, 15: the number, or -EINVAL. */
int parse_signal(const char *s)
{
	static const struct {
		const char *name;
		int number;
	} names[] = {
		{ "HUP", SIGHUP },   { "INT", SIGINT },	  { "QUIT", SIGQUIT },
		{ "ABRT", SIGABRT }, { "KILL", SIGKILL }, { "USR1", SIGUSR1 },
		{ "USR2", SIGUSR2 }, { "ALRM", SIGALRM }, { "TERM", SIGTERM },
		{ "CONT", SIGCONT }, { "STOP", SIGSTOP }, { "TSTP", SIGTSTP },
		{ "PIPE", SIGPIPE }, { "XCPU", SIGXCPU }, { "PWR", SIGPWR },
	};
	char *end;
	long n;

	if (isdigit((unsigned char)*s)) {
		errno = 0;
		n = strtol(s, &end, 10);
		if (errno || *end || n < 1 || n > SIGRTMAX)
			return -EINVAL;
		return n;
	}
	if (!strncasecmp(s, "SIG", 3))
		s += 3;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcasecmp(s, names[i].name))
			return names[i].number;
	if (!strncasecmp(s, "RTMIN+", 6) && isdigit((unsigned char)s[6])) {
		n = strtol(s + 6, &end, 10);
		if (!*end && n <= SIGRTMAX - SIGRTMIN)
			return SIGRTMIN + n;
	}
	return -EINVAL;
}

/* A time span: digits with at most one point, and a unit; seconds if none. */
int parse_time(const char *s, int64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {
		{ "", 1e9 },   { "s", 1e9 },	{ "sec", 1e9 },
		{ "ms", 1e6 }, { "us", 1e3 },	{ "min", 60e9 },
		{ "m", 60e9 }, { "h", 3600e9 }, { "ns", 1 },
	};
	size_t digits = strspn(s, "0123456789");
	size_t len = digits;
	char number[32];
	double value;

	if (s[len] == '.')
		len += 1 + strspn(s + len + 1, "0123456789");
	if (!digits || len >= sizeof(number))
		return -EINVAL;
	memcpy(number, s, len);
	number[len] = '\0';
	value = strtod(number, NULL);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(s + len, units[i].name))
			continue;
		value *= units[i].ns;
		/* A hundred years: no clock of this machine gets there. */
		if (value > 3.15e18)
			return -ERANGE;
		*ret_ns = (int64_t)value;
		return 0;
	}
	return -EINVAL;
}
