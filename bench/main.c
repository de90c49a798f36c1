/* SPDX-License-Identifier: MIT */
/*
 * mrelease-bench: scenarios side by side with kill -9 and with how others use
 * process_mrelease(2), each against the figure it must reach.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

/* what a quick scenario may take to decide on a figure it has missed */
#define QUICK_BUDGET (60 * NSEC_PER_SEC)

static const struct bench_scenario *chosen[64];
static size_t nr_chosen;

static const char usage_text[] =
	"Usage: mrelease-bench [OPTION]... [SCENARIO]...\n"
	"Run scenarios (all by default) and check the figures they must reach.\n"
	"\n"
	"  -q, --quick          fewer repetitions, all of them where one misses\n"
	"  -r, --reps N         this many repetitions\n"
	"      --csv FILE       write the results as comma-separated values\n"
	"      --tap            print TAP, one test per figure\n"
	"      --mrelease PATH  the command to time (default ../mrelease from "
	"here)\n"
	"      --dir DIR        where temporary files go (default .)\n"
	"  -l, --list           list the scenarios\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit status: 0 all reached, 1 one missed, 2 usage, 3 the bench broke.\n"
	"With MRELEASE_MUST_WORK=1 what cannot run here counts as missed.\n";

enum { OPT_CSV = 256, OPT_TAP, OPT_MRELEASE, OPT_DIR };

static const struct option options[] = {
	{ "quick", no_argument, NULL, 'q' },
	{ "reps", required_argument, NULL, 'r' },
	{ "csv", required_argument, NULL, OPT_CSV },
	{ "tap", no_argument, NULL, OPT_TAP },
	{ "mrelease", required_argument, NULL, OPT_MRELEASE },
	{ "dir", required_argument, NULL, OPT_DIR },
	{ "list", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static bool all_pass(const struct bench_result *res)
{
	for (unsigned int i = 0; i < res->nr_checks; i++) {
		if (!res->check[i].pass)
			return false;
	}
	return true;
}

static int run_chosen(struct bench_opts *o)
{
	const char *must = getenv("MRELEASE_MUST_WORK");
	bool must_work = must && !strcmp(must, "1");
	unsigned int passed = 0;
	unsigned int failed = 0;
	unsigned int skipped = 0;

	print_header(stdout);
	for (size_t i = 0; i < nr_chosen; i++) {
		struct bench_result res;

		bench_run(chosen[i], o, &res);
		print_result(stdout, &res);
		if (o->csv)
			csv_result(o->csv, &res);
		if (res.skip[0] && must_work)
			printf("  FAIL must run here (MRELEASE_MUST_WORK=1)\n");
		if (res.skip[0] && !must_work)
			skipped++;
		else if (!res.skip[0] && all_pass(&res))
			passed++;
		else
			failed++;
		result_free(&res);
	}
	printf("\n%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}

/* For a harness that counts tests. */
static int run_tap(struct bench_opts *o)
{
	const char *must = getenv("MRELEASE_MUST_WORK");
	struct tap tap = { .must_work = must && !strcmp(must, "1") };

	for (size_t i = 0; i < nr_chosen; i++) {
		struct bench_result res;

		bench_run(chosen[i], o, &res);
		tap_result(stdout, &res, &tap);
		if (o->csv)
			csv_result(o->csv, &res);
		result_free(&res);
	}
	printf("1..%u\n", tap.nr);
	return tap.failed ? 1 : 0;
}

static void list(void)
{
	for (size_t i = 0; i < bench_nr_scenarios; i++)
		printf("%-10s %s\n", bench_scenarios[i].name,
		       bench_scenarios[i].title);
}

static int usage_error(void)
{
	fputs("Try 'mrelease-bench --help'.\n", stderr);
	return 2;
}

/* build/bench/mrelease-bench times build/mrelease */
static void default_command(char *buf, size_t size)
{
	char self[BENCH_PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[len > 0 ? len : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(buf, size, "%.480s/../mrelease", self);
}

static int choose(const char *name)
{
	const struct bench_scenario *s = bench_find(name);

	if (!s || nr_chosen == ARRAY_SIZE(chosen)) {
		fprintf(stderr, "mrelease-bench: no scenario '%s'\n", name);
		return usage_error();
	}
	chosen[nr_chosen++] = s;
	return 0;
}

static int open_csv(const char *path, FILE **ret)
{
	*ret = fopen(path, "we");
	if (!*ret) {
		fprintf(stderr, "mrelease-bench: %s: %m\n", path);
		return 2;
	}
	csv_header(*ret);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench_opts o = { .pace = PACE_FULL };
	const char *base = ".";
	bool tap = false;
	char *end;
	int opt;

	default_command(o.command, sizeof(o.command));
	while ((opt = getopt_long(argc, argv, "qr:lh", options, NULL)) >= 0) {
		switch (opt) {
		case 'q':
			o.pace = PACE_QUICK;
			o.budget_ns = QUICK_BUDGET;
			break;
		case 'r':
			o.reps = (unsigned int)strtoul(optarg, &end, 10);
			if (*end || !o.reps || o.reps > 1000000)
				return usage_error();
			break;
		case OPT_CSV:
			if (open_csv(optarg, &o.csv))
				return 2;
			break;
		case OPT_TAP:
			tap = true;
			break;
		case OPT_MRELEASE:
			snprintf(o.command, sizeof(o.command), "%s", optarg);
			break;
		case OPT_DIR:
			base = optarg;
			break;
		case 'l':
			list();
			return 0;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			return usage_error();
		}
	}
	for (; optind < argc; optind++) {
		if (choose(argv[optind]))
			return 2;
	}
	if (!nr_chosen) {
		for (size_t i = 0; i < bench_nr_scenarios; i++) {
			if (!bench_scenarios[i].on_request)
				chosen[nr_chosen++] = &bench_scenarios[i];
		}
	}
	return guard_run(tap ? run_tap : run_chosen, &o, base);
}
