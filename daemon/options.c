/* SPDX-License-Identifier: MIT */
/* The command line: ours, and earlyoom's. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include <mrelease.h>

#include "options.h"
#include "text.h"

#define MAX_OVERRIDES 256

static struct override overrides[MAX_OVERRIDES];
static size_t nr_overrides;

static const char help[] =
	"Usage: mreleased [OPTION]...\n"
	"       mreleased status [--json] [--watch[=TIME]]\n"
	"\n"
	"Kills a process before memory runs out, and no other while its memory is\n"
	"coming back.\n"
	"\n"
	"  -m, --memory PERCENT[,KILL]  send SIGTERM at this much available memory,\n"
	"                               SIGKILL at KILL; 10 %, and half of PERCENT\n"
	"  -s, --swap PERCENT[,KILL]    and at this much free swap; 10 %, and half\n"
	"  -M SIZE[,KILL]               the same in KiB; with -m the lower one counts\n"
	"  -S SIZE[,KILL]               the same in KiB\n"
	"      --cgroup DIRECTORY       watch this cgroup (v1 or v2) and its limit\n"
	"      --prefer REGEX           names of processes to kill first (adds 300)\n"
	"      --avoid REGEX            names of processes to kill last (takes 300)\n"
	"      --ignore REGEX           names of processes never to kill\n"
	"      --ignore-root-user       never kill processes of root\n"
	"      --sort-by-rss            kill the biggest; oom_score_adj counts only if\n"
	"                               it is -1000\n"
	"  -g                           also kill the process group of the victim\n"
	"  -P PROGRAM                   run when a process is signalled\n"
	"  -N PROGRAM                   run after a kill\n"
	"  -n                           ignored; the journal has what was done\n"
	"      --dryrun, --dry-run      log what would be killed, send no signal\n"
	"  -r, --report SECONDS         log the state of memory at this interval\n"
	"  -p                           nice -20 and oom_score_adj -100 for mreleased\n"
	"      --syslog                 use syslog instead of stderr\n"
	"  -d, --debug                  log more\n"
	"      --config FILE            instead of /etc/mrelease/mreleased.conf\n"
	"                               and its drop-ins\n"
	"  -o, --set NAME=VALUE         change a setting of mreleased.conf(5)\n"
	"      --status-socket PATH     socket for mreleased status\n"
	"      --metrics FILE           written for node_exporter's textfile collector\n"
	"      --record FILE            append measurements and decisions\n"
	"      --simulate FILE          replay a recording with these settings, and exit\n"
	"      --check-config           read the configuration and exit\n"
	"      --print-config           print all settings and rules, and exit\n"
	"      --json                   status: as one JSON object\n"
	"      --watch[=TIME]           status: repeat every second, or at this interval\n"
	"  -h, --help                   show this help text\n"
	"  -v, -V, --version            show the version\n"
	"\n"
	"Options of earlyoom(1) mean the same as there. See mreleased(8) for more.\n";

enum {
	OPT_CGROUP = 256,
	OPT_PREFER,
	OPT_AVOID,
	OPT_IGNORE,
	OPT_IGNORE_ROOT,
	OPT_RSS,
	OPT_DRY_RUN,
	OPT_SYSLOG,
	OPT_CONFIG,
	OPT_SOCKET,
	OPT_METRICS,
	OPT_RECORD,
	OPT_SIMULATE,
	OPT_CHECK,
	OPT_PRINT,
	OPT_JSON,
	OPT_WATCH
};

static const struct option long_options[] = {
	{ "memory", required_argument, NULL, 'm' },
	{ "swap", required_argument, NULL, 's' },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "prefer", required_argument, NULL, OPT_PREFER },
	{ "avoid", required_argument, NULL, OPT_AVOID },
	{ "ignore", required_argument, NULL, OPT_IGNORE },
	{ "ignore-root-user", no_argument, NULL, OPT_IGNORE_ROOT },
	{ "sort-by-rss", no_argument, NULL, OPT_RSS },
	{ "dryrun", no_argument, NULL, OPT_DRY_RUN },
	{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
	{ "report", required_argument, NULL, 'r' },
	{ "syslog", no_argument, NULL, OPT_SYSLOG },
	{ "debug", no_argument, NULL, 'd' },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "set", required_argument, NULL, 'o' },
	{ "status-socket", required_argument, NULL, OPT_SOCKET },
	{ "metrics", required_argument, NULL, OPT_METRICS },
	{ "record", required_argument, NULL, OPT_RECORD },
	{ "simulate", required_argument, NULL, OPT_SIMULATE },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "print-config", no_argument, NULL, OPT_PRINT },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "watch", optional_argument, NULL, OPT_WATCH },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ 0 },
};

/* Called by earlyoom's name. */
static bool earlyoom;

static int complain(const char *what, const char *about)
{
	fprintf(stderr, "%s: %s: \"%s\"\n", earlyoom ? "fatal" : "mreleased",
		what, about);
	return -EINVAL;
}

/* earlyoom has one for each kind of mistake. */
static int exit_status(int opt)
{
	if (!earlyoom)
		return 2;
	switch (opt) {
	case 'm':
	case 'M':
		return 15;
	case 's':
	case 'S':
		return 16;
	case 'r':
		return 14;
	}
	return 13;
}

static int override(const char *key, const char *value)
{
	struct override *o = &overrides[nr_overrides];

	if (nr_overrides == MAX_OVERRIDES ||
	    !text_copy(o->key, sizeof(o->key), key) ||
	    !text_copy(o->value, sizeof(o->value), value))
		return complain("too much on the command line", value);
	nr_overrides++;
	return 0;
}

/* One number of earlyoom's pairs, as a value of the configuration. */
static int one_number(const char **p, bool kib, char *value, size_t size,
		      double *ret)
{
	char *end;
	double number = strtod(*p, &end);

	if (end == *p || !(number >= 0) || **p == '-' || **p == '+' ||
	    (kib ? number > 1e12 : number > 100))
		return -EINVAL;
	if (kib)
		snprintf(value, size, "%.0fK", number);
	else
		snprintf(value, size, "%.1f%%", number);
	*p = end;
	*ret = number;
	return 0;
}

/* "10", "10,5": of a line the first, of the other the second or half. */
static int pair(const char *ask_key, const char *kill_key, const char *text,
		bool kib, double most)
{
	const char *p = text;
	char ask[64], term[64];
	double first, second;
	int ret;

	if (one_number(&p, kib, ask, sizeof(ask), &first) || !(first > 0) ||
	    first > most)
		return complain("not a number that can be", text);
	if (*p == ',') {
		p++;
		if (one_number(&p, kib, term, sizeof(term), &second) || *p)
			return complain("not a number that can be", text);
		/* As earlyoom has it: SIGKILL comes no sooner than SIGTERM. */
		if (second > first)
			snprintf(term, sizeof(term), "%s", ask);
	} else if (*p) {
		return complain("not a number that can be", text);
	} else {
		snprintf(term, sizeof(term), kib ? "%.0fK" : "%.1f%%",
			 first / 2);
	}
	ret = override(ask_key, ask);
	return ret ? ret : override(kill_key, term);
}

/* What earlyoom says of its options. */
static void echo(int opt, const char *arg)
{
	if (!earlyoom)
		return;
	if (opt == OPT_PREFER || opt == OPT_AVOID || opt == OPT_IGNORE)
		fprintf(stderr, "%s process names that match regex '%s'\n",
			opt == OPT_PREFER ? "Preferring to kill" :
			opt == OPT_AVOID  ? "Will avoid killing" :
					    "Will ignore",
			arg);
	if (opt == OPT_IGNORE_ROOT)
		fputs("Processes owned by root will not be killed\n", stderr);
	if (opt == OPT_RSS)
		fputs("Find process with the largest rss\n", stderr);
}

static int rule(const char *key, const char *regex)
{
	char value[1024];

	if (snprintf(value, sizeof(value), "comm:%s", regex) >=
	    (int)sizeof(value))
		return complain("longer than 1000 bytes", regex);
	return override(key, value);
}

static int setting(const char *text)
{
	const char *value = strchr(text, '=');
	char key[64];

	if (!value || (size_t)(value - text) >= sizeof(key))
		return complain("NAME=VALUE is what can be set", text);
	memcpy(key, text, (size_t)(value - text));
	key[value - text] = '\0';
	return override(key, value + 1);
}

/* All of the memory is no line; all of the swap is: swap does not count. */
static int lines(int opt, const char *arg)
{
	struct sysinfo si;

	if (sysinfo(&si))
		return -errno;
	switch (opt) {
	case 'm':
		return pair("AskAvailable", "KillAvailable", arg, false, 99);
	case 's':
		return pair("AskSwap", "KillSwap", arg, false, 100);
	case 'M':
		return pair("AskAvailable", "KillAvailable", arg, true,
			    (double)si.totalram * si.mem_unit / 1024);
	case 'S':
		/* Where there is none, it may be for other machines. */
		return pair("AskSwap", "KillSwap", arg, true,
			    si.totalswap ?
				    (double)si.totalswap * si.mem_unit / 1024 :
				    INT32_MAX);
	}
	return -EINVAL;
}

static int run_option(struct options *o, int opt, char *arg)
{
	switch (opt) {
	case OPT_CONFIG:
		o->config_file = arg;
		return 0;
	case OPT_SIMULATE:
		o->mode = MODE_SIMULATE;
		o->trace = arg;
		return 0;
	case OPT_CHECK:
		o->mode = MODE_CHECK_CONFIG;
		return 0;
	case OPT_PRINT:
		o->mode = MODE_PRINT_CONFIG;
		return 0;
	case OPT_SYSLOG:
		o->syslog = true;
		return 0;
	case OPT_JSON:
		o->status_only = "--json";
		o->json = true;
		return 0;
	case OPT_WATCH:
		o->status_only = "--watch";
		if (value_time(arg ? arg : "1s", &o->watch_ns))
			return complain("no time (5s, 150ms)", arg);
		return 0;
	case 'p':
		o->priority = true;
		return 0;
	case 'n':
	case 'k':
	case 'i':
		fprintf(stderr, "Option -%c is ignored\n", opt);
		return 0;
	}
	return -EINVAL;
}

static int one_option(struct options *o, int opt, char *arg)
{
	switch (opt) {
	case 'm':
	case 's':
	case 'M':
	case 'S':
		return lines(opt, arg);
	case 'g':
		return override("ProcessGroup", "yes");
	case 'P':
		return override("BeforeKill", arg);
	case 'N':
		return override("AfterKill", arg);
	case 'r':
		/* "-r=5", as one could always write it. */
		return override("Report", arg + (*arg == '='));
	case 'd':
		return override("Debug", "yes");
	case 'o':
		return setting(arg);
	case OPT_CGROUP:
		return override("Cgroup", arg);
	case OPT_PREFER:
		return rule("Prefer", arg);
	case OPT_AVOID:
		return rule("Avoid", arg);
	case OPT_IGNORE:
		return rule("Never", arg);
	case OPT_IGNORE_ROOT:
		return override("IgnoreRoot", "yes");
	case OPT_RSS:
		return override("Order", "size");
	case OPT_DRY_RUN:
		return override("DryRun", "yes");
	case OPT_SOCKET:
		return override("StatusSocket", arg);
	case OPT_METRICS:
		return override("Metrics", arg);
	case OPT_RECORD:
		return override("Record", arg);
	}
	return run_option(o, opt, arg);
}

int options_parse(int argc, char **argv, struct options *o)
{
	int opt;

	const char *name = strrchr(argv[0], '/');

	earlyoom = !strcmp(name ? name + 1 : argv[0], "earlyoom");
	*o = (struct options){ .mode = MODE_RUN, .earlyoom = earlyoom };
	nr_overrides = 0;
	while ((opt = getopt_long(argc, argv, "m:s:M:S:r:kinN:P:gpdo:hvV",
				  long_options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			fputs(help, earlyoom ? stderr : stdout);
			return 1;
		case 'v':
		case 'V':
			if (earlyoom)
				fputs("earlyoom v1.8, which is ", stderr);
			fprintf(earlyoom ? stderr : stdout, "mreleased %s\n",
				mrelease_version());
			return 1;
		case '?':
			fputs("Try \"mreleased --help\".\n", stderr);
			return 1 + exit_status(0);
		}
		echo(opt, optarg);
		if (one_option(o, opt, optarg))
			return 1 + exit_status(opt);
	}
	if (optind < argc && !strcmp(argv[optind], "status")) {
		o->mode = MODE_STATUS;
		optind++;
	}
	if (optind < argc) {
		complain("extra argument not understood", argv[optind]);
		return 1 + exit_status(0);
	}
	/* If the word was forgotten, no daemon must start. */
	if (o->status_only && o->mode != MODE_STATUS) {
		complain("only \"mreleased status\" has this option",
			 o->status_only);
		return 1 + exit_status(0);
	}
	return 0;
}

/* With -m and -M, the lower of the two. */
static void lower(struct line *now, const struct line *before, bool was_set,
		  uint64_t total)
{
	if (was_set && line_bytes(before, total) < line_bytes(now, total))
		*now = *before;
}

int options_apply(struct config *c, config_complain report, void *arg)
{
	struct policy_config *p = &c->policy;
	struct line *const all[] = { &p->mem_term, &p->swap_term, &p->mem_kill,
				     &p->swap_kill };
	static const char *const names[] = { "AskAvailable", "AskSwap",
					     "KillAvailable", "KillSwap" };
	bool set[ARRAY_SIZE(all)] = { false };
	struct line before;
	struct sysinfo si;
	char why[256];
	int ret = 0;

	if (sysinfo(&si))
		return -errno;
	for (size_t i = 0; i < nr_overrides; i++) {
		size_t at = 0;

		while (at < ARRAY_SIZE(all) &&
		       strcmp(overrides[i].key, names[at]))
			at++;
		if (at < ARRAY_SIZE(all))
			before = *all[at];
		if (config_set(c, overrides[i].key, overrides[i].value, why,
			       sizeof(why))) {
			report(arg, overrides[i].key, why);
			ret = -EINVAL;
		}
		if (at == ARRAY_SIZE(all))
			continue;
		lower(all[at], &before, set[at],
		      (at & 1 ? si.totalswap : si.totalram) * si.mem_unit);
		set[at] = true;
	}
	return ret;
}
