/* SPDX-License-Identifier: MIT */
/* Signals and times as users write them. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "program.h"

/* As "kill -l" of util-linux has them, and its aliases. */
static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "HUP", SIGHUP },	 { "INT", SIGINT },	  { "QUIT", SIGQUIT },
	{ "ILL", SIGILL },	 { "TRAP", SIGTRAP },	  { "ABRT", SIGABRT },
	{ "IOT", SIGIOT },	 { "BUS", SIGBUS },	  { "FPE", SIGFPE },
	{ "KILL", SIGKILL },	 { "USR1", SIGUSR1 },	  { "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 },	 { "PIPE", SIGPIPE },	  { "ALRM", SIGALRM },
	{ "TERM", SIGTERM },	 { "CHLD", SIGCHLD },	  { "CONT", SIGCONT },
	{ "STOP", SIGSTOP },	 { "TSTP", SIGTSTP },	  { "TTIN", SIGTTIN },
	{ "TTOU", SIGTTOU },	 { "URG", SIGURG },	  { "XCPU", SIGXCPU },
	{ "XFSZ", SIGXFSZ },	 { "VTALRM", SIGVTALRM }, { "PROF", SIGPROF },
	{ "WINCH", SIGWINCH },	 { "IO", SIGIO },	  { "POLL", SIGPOLL },
	{ "PWR", SIGPWR },	 { "SYS", SIGSYS },
#ifdef SIGSTKFLT
	{ "STKFLT", SIGSTKFLT },
#endif
};

/* RTMIN, RTMIN+n, RTMAX, RTMAX-n */
static int parse_realtime(const char *s)
{
	bool min = !strncasecmp(s, "RTMIN", 5);
	int limit = SIGRTMAX - SIGRTMIN;
	char *end;
	long n;

	if (!min && strncasecmp(s, "RTMAX", 5))
		return -EINVAL;
	s += 5;
	if (!*s)
		return min ? SIGRTMIN : SIGRTMAX;
	if (*s != (min ? '+' : '-') || !isdigit((unsigned char)s[1]))
		return -EINVAL;
	n = strtol(s + 1, &end, 10);
	if (*end || n > limit)
		return -EINVAL;
	return min ? SIGRTMIN + n : SIGRTMAX - n;
}

/* TERM, SIGTERM, term, 15: the number, or -EINVAL. */
int parse_signal(const char *s)
{
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
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!strcasecmp(s, signals[i].name))
			return signals[i].number;
	return parse_realtime(s);
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
