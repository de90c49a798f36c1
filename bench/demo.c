/* SPDX-License-Identifier: MIT */
/*
 * mrelease-demo: the ways to kill side by side on a terminal, measured there
 * and then, and a picture of memory coming back.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

/* no row goes on adding rounds beyond this: all of it stays under two minutes */
#define ROW_BUDGET (12 * NSEC_PER_SEC)

struct row {
	const char *scenario;
	const char *label;
};

static const struct row rows[] = {
	{ "idle-1g", "idle machine, 1 GiB" },
	{ "busy", "busy machine, nice 19, 1 GiB" },
	{ "pinned", "pinned by a stalled reader" },
	{ "lmdb", "LMDB writer: the next writer" },
	{ "cache", "page cache, 256 MiB" },
	{ "cgroup-50", "cgroup of 50 processes" },
};

static const char *svg_path;
static struct curve curves[NR_WAYS];
static bool colour;

enum paint { PAINT_NONE, PAINT_BAD, PAINT_GOOD, PAINT_HEAD };

static const char *paint(enum paint p)
{
	static const char *const codes[] = { "\033[0m", "\033[31m",
					     "\033[1;32m", "\033[1m" };

	return colour ? codes[p] : "";
}

static void print_cells(const char *label, const char *const cell[NR_WAYS],
			const enum paint colours[NR_WAYS])
{
	printf("%-29s", label);
	for (int way = 0; way < NR_WAYS; way++)
		printf("%s%17s%s", paint(colours[way]), cell[way],
		       paint(PAINT_NONE));
	putchar('\n');
	fflush(stdout);
}

static void print_heading(void)
{
	static const enum paint head[NR_WAYS] = { PAINT_HEAD, PAINT_HEAD,
						  PAINT_HEAD };
	static const char *const one[NR_WAYS] = { "kill -9", "kill -9 and",
						  "mrelease" };
	static const char *const two[NR_WAYS] = { "and wait",
						  "process_mrelease",
						  "(verified)" };
	struct utsname uts;

	uname(&uts);
	printf("From SIGKILL until the memory is back, medians.  %s %s, %ld "
	       "CPUs.\n\n",
	       uts.sysname, uts.release, sysconf(_SC_NPROCESSORS_ONLN));
	print_cells("", one, head);
	print_cells("", two, head);
}

static void print_row(const struct row *row, const struct bench_result *res)
{
	enum paint colours[NR_WAYS];
	const char *cell[NR_WAYS];
	char ms[NR_WAYS][24];

	if (res->skip[0]) {
		printf("%-29s  not here: %s\n", row->label, res->skip);
		fflush(stdout);
		return;
	}
	for (int way = 0; way < NR_WAYS; way++) {
		const struct bench_stat *st = &res->way[way];

		fmt_ns(series_median(&st->back), ms[way], sizeof(ms[way]));
		cell[way] = st->brief[0] ? st->brief : ms[way];
		colours[way] = st->bad ? PAINT_BAD : PAINT_NONE;
	}
	if (!res->way[WAY_OURS].bad)
		colours[WAY_OURS] = PAINT_GOOD;
	print_cells(row->label, cell, colours);
}

static void progress(const char *label)
{
	if (!isatty(STDOUT_FILENO))
		return;
	printf("%-29s  measuring ...", label);
	fflush(stdout);
}

static void progress_done(void)
{
	if (isatty(STDOUT_FILENO))
		fputs("\r\033[K", stdout);
}

static void draw_curves(void)
{
	char title[128];
	int error;

	if (!svg_path)
		return;
	snprintf(title, sizeof(title),
		 "1 GiB coming back after SIGKILL: nice 19, four busy loops, "
		 "%ld CPUs",
		 sysconf(_SC_NPROCESSORS_ONLN));
	error = svg_write(svg_path, title, GIB, curves);
	if (error)
		printf("No picture: %s: %s\n", svg_path, strerror(error));
	else
		printf("Memory coming back on the busy machine, as a picture: "
		       "%s\n",
		       svg_path);
}

static int run_demo(struct bench_opts *o)
{
	const char *must = getenv("MRELEASE_MUST_WORK");
	bool must_work = must && !strcmp(must, "1");
	int64_t start = now_ns();
	unsigned int verified = 0;
	unsigned int runs = 0;
	bool ok = true;

	o->curves = curves;
	print_heading();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bench_result res;
		const struct bench_stat *ours = &res.way[WAY_OURS];

		progress(rows[i].label);
		bench_run(bench_find(rows[i].scenario), o, &res);
		progress_done();
		print_row(&rows[i], &res);
		verified += ours->verified;
		runs += ours->runs;
		ok &= !ours->bad && (!res.skip[0] || !must_work);
		result_free(&res);
	}
	printf("\nEvery release by mrelease was verified: %s%u of %u%s.  "
	       "%.0f seconds.\n",
	       paint(verified == runs ? PAINT_GOOD : PAINT_BAD), verified, runs,
	       paint(PAINT_NONE), (double)(now_ns() - start) / 1e9);
	draw_curves();
	return ok && verified == runs ? 0 : 1;
}

static const char usage_text[] =
	"Usage: mrelease-demo [--dir DIR] [--svg FILE]\n"
	"Kill victims in three ways and say when their memory was back.\n"
	"\n"
	"      --dir DIR   where temporary files go (default .)\n"
	"      --svg FILE  draw memory coming back on a busy machine\n"
	"  -h, --help      this text\n";

static const struct option options[] = {
	{ "dir", required_argument, NULL, 'd' },
	{ "svg", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct bench_opts o = { .pace = PACE_DEMO, .budget_ns = ROW_BUDGET };
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");
	const char *base = ".";
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (opt) {
		case 'd':
			base = optarg;
			break;
		case 's':
			svg_path = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			fputs("Try 'mrelease-demo --help'.\n", stderr);
			return 2;
		}
	}
	colour = isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
		 !(term && !strcmp(term, "dumb"));
	return guard_run(run_demo, &o, base);
}
