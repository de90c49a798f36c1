/* SPDX-License-Identifier: MIT */
/*
 * Recorded courses, decided again: as they were, and on a machine that is
 * faster or slower.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "say.h"
#include "text.h"
#include "trace.h"

static char out[65536];

/* The trace with all of its times in @percent of what they were. */
static void write_scaled(const char *name, int percent, FILE *to)
{
	char path[4096], line[1024];
	FILE *from;

	snprintf(path, sizeof(path), TRACES "/%s.trace", name);
	from = fopen(path, "re");
	assert_non_null(from);
	while (fgets(line, sizeof(line), from)) {
		long long ns;
		int at;

		/* Releases are those of then: none of them is under way now. */
		if (line[0] == 'R')
			continue;
		if ((line[0] == 'S' || line[0] == 'G') &&
		    sscanf(line + 1, " %lld%n", &ns, &at) == 1)
			fprintf(to, "%c %lld%s", line[0], ns / 100 * percent,
				line + 1 + at);
		else
			fputs(line, to);
	}
	fclose(from);
}

/* What mreleased --simulate says of it. */
static void replay(const char *name, int percent)
{
	char path[] = "/tmp/mreleased-trace-XXXXXX";
	static struct config config;
	int fd = mkstemp(path);
	FILE *f;

	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	assert_non_null(f);
	write_scaled(name, percent, f);
	assert_int_equal(fclose(f), 0);
	config_defaults(&config);
	memset(out, 0, sizeof(out));
	f = fmemopen(out, sizeof(out) - 1, "w");
	assert_non_null(f);
	assert_int_equal(simulate(path, &config, f), 0);
	fclose(f);
	unlink(path);
	config_clear(&config);
}

/* It gives everything back by itself: nobody goes, at any speed. */
static void test_spike(void **state)
{
	(void)state;
	for (int percent = 60; percent <= 400; percent += 20) {
		replay("spike", percent);
		print_message("# in %d %% of the time\n", percent);
		assert_non_null(strstr(out, " 0 kills now, "));
	}
}

/* It does not: it goes, and it alone, before memory is gone. */
static void test_fast(void **state)
{
	(void)state;
	for (int percent = 20; percent <= 400; percent += 20) {
		const char *kill, *line;
		double left;

		replay("fast", percent);
		kill = strstr(out, "kill 239 (hog-fast)");
		assert_non_null(kill);
		assert_null(strstr(out, "innocent"));
		/* "100.159 s, 49.0 MiB available" stands before it. */
		line = strstr(out, " s, ");
		assert_true(line && line < kill);
		left = strtod(line + 4, NULL);
		print_message("# in %d %% of the time: at %.1f MiB\n", percent,
			      left);
		assert_true(left > 40 && left < 98);
	}
}

/* A database that a rule avoids, though it is the bigger one. */
static const char avoided[] =
	"S 10000000000 3 17179869184 314572800 314572800 0 0 11811160064 0 0 0 "
	"0 0 0 0 0 0 0\nG 3000000000 0 0 0 0\nN 2\n"
	"C 100 -1 1000 4294967296 0 0 0 0 0 100 100 100 0 0 4 1000 "
	"64620000000000000000000000000000 0\n"
	"C 200 -1 2000 3221225472 0 0 0 0 0 100 200 200 0 0 0 1000 "
	"62617463680000000000000000000000 0\nD 3 2 4 200 0\n";

/* Rules by name and user are asked anew; what others said is as it was. */
static void test_rules(void **state)
{
	static const struct {
		const char *setting, *value;
		bool db_goes;
	} cases[] = {
		{ "Avoid", "cmdline:whatever", false },
		{ "Avoid", "cgroup:/whatever", false },
		{ "Avoid", "unit:whatever", false },
		/* Of them there is none, and the one of then may be gone. */
		{ "Avoid", "user:33", true },
		{ "Prefer", "unit:whatever", true },
		{ "Avoid", "^db$", false },
		/* Not one that was not asked then matches everybody now. */
		{ "Prefer", "cmdline:.*", true },
		{ "Never", "cgroup:*", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[] = "/tmp/mreleased-trace-XXXXXX", why[256];
		static struct config config;
		FILE *f = fdopen(mkstemp(path), "w");

		print_message("# case %zu\n", i);
		assert_non_null(f);
		fputs(avoided, f);
		assert_int_equal(fclose(f), 0);
		config_defaults(&config);
		assert_int_equal(config_set(&config, cases[i].setting,
					    cases[i].value, why, sizeof(why)),
				 0);
		memset(out, 0, sizeof(out));
		f = fmemopen(out, sizeof(out) - 1, "w");
		assert_non_null(f);
		assert_int_equal(simulate(path, &config, f), 0);
		fclose(f);
		unlink(path);
		config_clear(&config);
		assert_non_null(strstr(out, cases[i].db_goes ?
						    "now: kill 100 (db)" :
						    "now: kill 200 (batch)"));
	}
}

/* Of a decision with @nr candidates. */
static void put_record(struct trace *t, struct candidate *c, size_t nr)
{
	static struct snapshot s = { .has = 3, .total_bytes = 1 << 30 };
	struct decision d = { .level = LEVEL_LOW };
	struct policy_view v = {
		.history = &s,
		.nr_history = 1,
		.candidates = c,
		.nr_candidates = nr,
	};

	s.time_ns += NS_PER_S;
	trace_keep(t, &v);
	trace_add(t, &v, &d);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void wait_written(const struct trace *t)
{
	/* The runner ends it if that never comes. */
	while (t->out != t->in)
		sched_yield();
}

/*
 * The disk is full in the middle of a record: that is told, only whole records stay,
 * and when there is room it goes on.
 */
static void test_full_disk(void **state)
{
	char path[] = "/tmp/mreleased-trace-XXXXXX";
	static struct candidate c[100];
	static struct config config;
	static struct trace t;
	struct stat one, full;
	int fd = mkstemp(path);
	FILE *f;

	(void)state;
	assert_true(fd >= 0);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < 100; i++)
		c[i].pid = (int)i + 1;
	assert_int_equal(trace_open(&t, path), 0);
	put_record(&t, c, 100);
	wait_written(&t);
	assert_int_equal(fstat(fd, &one), 0);
	assert_true(one.st_size > 1000);
	limit_files((rlim_t)(one.st_size + one.st_size / 2));
	put_record(&t, c, 100);
	wait_written(&t);
	limit_files(RLIM_INFINITY);
	assert_int_equal(t.error, -EFBIG);
	assert_int_equal(fstat(fd, &full), 0);
	assert_int_equal(full.st_size, one.st_size);
	put_record(&t, c, 100);
	wait_written(&t);
	assert_int_equal(trace_close(&t), 0);
	assert_int_equal(fstat(fd, &full), 0);
	assert_true(full.st_size > one.st_size);
	close(fd);
	config_defaults(&config);
	memset(out, 0, sizeof(out));
	f = fmemopen(out, sizeof(out) - 1, "w");
	assert_non_null(f);
	assert_int_equal(simulate(path, &config, f), 0);
	fclose(f);
	assert_non_null(strstr(out, "2 decisions, "));
	config_clear(&config);
	/* And what cannot be written at the end is told, too. */
	assert_int_equal(trace_open(&t, "/dev/full"), 0);
	put_record(&t, c, 1);
	wait_written(&t);
	assert_int_equal(trace_close(&t), -ENOSPC);
	unlink(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spike),
		cmocka_unit_test(test_fast),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_full_disk),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
