/* SPDX-License-Identifier: MIT */
/*
 * lowmem-table [--brief] [--csv FILE] [--svg PREFIX] [--assert DAEMON] RUNS
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "runs.h"

/* TAP: nobody of @daemon's who had nothing to do with it, and none in vain. */
static int check_runs(struct run *runs, size_t nr, const char *daemon)
{
	unsigned int seen = 0;
	int bad = 0;

	for (size_t i = 0; i < nr; i++) {
		struct run *r = &runs[i];
		struct verdict v;
		bool ok;

		if (strcmp(r->daemon, daemon) || r->is_idle)
			continue;
		if (!r->nr_samples) {
			printf("ok %u - %s # SKIP the guest gave no answer\n",
			       ++seen, r->load);
			continue;
		}
		judge(r, &v);
		ok = !v.innocents && !v.in_vain && !v.beyond && !r->daemon_died;
		bad |= !ok;
		printf("%sok %u - %s: %u innocents killed, %u in vain, %u too "
		       "many%s (seed %lu)\n",
		       ok ? "" : "not ", ++seen, r->load, v.innocents,
		       v.in_vain, v.beyond,
		       r->daemon_died ? ", the daemon died" : "", r->seed);
	}
	printf("1..%u\n", seen);
	return bad || !seen;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "brief", no_argument, NULL, 'b' },
		{ "csv", required_argument, NULL, 'c' },
		{ "svg", required_argument, NULL, 's' },
		{ "assert", required_argument, NULL, 'a' },
		{ 0 },
	};
	const char *csv = NULL, *svg = NULL, *daemon = NULL;
	struct run *runs;
	bool brief = false;
	size_t nr;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			brief = true;
			break;
		case 'c':
			csv = optarg;
			break;
		case 's':
			svg = optarg;
			break;
		case 'a':
			daemon = optarg;
			break;
		default:
			return 2;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "lowmem-table: which runs?\n");
		return 2;
	}
	nr = read_runs(argv[optind], &runs);
	if (daemon)
		return check_runs(runs, nr, daemon);
	for (size_t i = 0; brief && i < nr; i++)
		print_brief(&runs[i]);
	if (!brief)
		print_table(runs, nr);
	if (csv && !write_csv(csv, runs, nr)) {
		perror(csv);
		return 1;
	}
	if (svg && !draw_pictures(svg, runs, nr)) {
		perror(svg);
		return 1;
	}
	return 0;
}
