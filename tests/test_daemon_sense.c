/* SPDX-License-Identifier: MIT */
/* How much memory there is: the machine's, a cgroup's, and what is above both. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sense.h"
#include "text.h"

#define MIB ((uint64_t)1 << 20)

static char root[PATH_MAX];
static struct sense sense;
/* By another mreleased, and then only what cgroups may have counts. */
static bool watched;

static void put(const char *path, const char *text)
{
	char full[PATH_MAX + 64];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* @mib of a file of a cgroup; "max" and v1's way to say so are texts. */
static void put_mib(const char *dir, const char *name, uint64_t mib)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(mib * MIB));
	put(path, text);
}

static void put_text(const char *dir, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	put(path, text);
}

static void put_machine(uint64_t available_mib, uint64_t swap_mib)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "MemTotal: 16777216 kB\nMemFree: %llu kB\n"
		 "MemAvailable: %llu kB\nSwapTotal: %llu kB\n"
		 "SwapFree: %llu kB\nAnonPages: 1048576 kB\n",
		 (unsigned long long)available_mib << 10,
		 (unsigned long long)available_mib << 10,
		 (unsigned long long)swap_mib << 10,
		 (unsigned long long)swap_mib << 10);
	put("proc/meminfo", text);
}

static void make_dir(const char *path)
{
	char full[PATH_MAX + 64];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	assert_int_equal(mkdir(full, 0700), 0);
}

/* A cgroup of v2 without a limit, with nothing in it. */
static void put_v2(const char *dir)
{
	static const char *const limits[] = { "memory.max", "memory.high",
					      "memory.swap.max",
					      "memory.swap.high" };

	make_dir(dir);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		put_text(dir, limits[i], "max\n");
	put_mib(dir, "memory.current", 0);
	put_mib(dir, "memory.swap.current", 0);
	put_text(dir, "memory.stat", "inactive_file 0\nactive_file 0\n");
}

static void put_v1(const char *dir)
{
	static const char unlimited[] = "9223372036854771712\n";

	make_dir(dir);
	put_text(dir, "memory.limit_in_bytes", unlimited);
	put_text(dir, "memory.memsw.limit_in_bytes", unlimited);
	put_mib(dir, "memory.usage_in_bytes", 0);
	put_mib(dir, "memory.memsw.usage_in_bytes", 0);
	put_text(dir, "memory.stat",
		 "total_inactive_file 0\ntotal_active_file 0\n");
}

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/mreleased-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(root))
		return -1;
	make_dir("proc");
	put_machine(15000, 8000);
	return 0;
}

static int tear_down(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static void open_sense(const char *cgroup)
{
	char dir[PATH_MAX + 64];

	snprintf(dir, sizeof(dir), "%s/%s", root, cgroup ? cgroup : "");
	assert_int_equal(sense_open(&sense, cgroup ? dir : NULL, root), 0);
	sense.machine_is_watched = watched;
}

static void expect_read(uint64_t total, uint64_t available, uint64_t swap_total,
			uint64_t swap_free)
{
	struct snapshot s;

	assert_int_equal(sense_read(&sense, &s), 0);
	print_message("# %llu of %llu MiB, swap %llu of %llu MiB\n",
		      (unsigned long long)(s.available_bytes / MIB),
		      (unsigned long long)(s.total_bytes / MIB),
		      (unsigned long long)(s.swap_free_bytes / MIB),
		      (unsigned long long)(s.swap_total_bytes / MIB));
	assert_true(s.total_bytes == total * MIB);
	assert_true(s.available_bytes == available * MIB);
	assert_true(s.swap_total_bytes == swap_total * MIB);
	assert_true(s.swap_free_bytes == swap_free * MIB);
}

/* With many descriptors, and with few.  @cgroup NULL: the machine. */
static void expect_numbers(const char *cgroup, uint64_t total,
			   uint64_t available, uint64_t swap_total,
			   uint64_t swap_free)
{
	struct rlimit many, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &many), 0);
	few = (struct rlimit){ 100, many.rlim_max };
	open_sense(cgroup);
	expect_read(total, available, swap_total, swap_free);
	sense_close(&sense);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	open_sense(cgroup);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	expect_read(total, available, swap_total, swap_free);
	sense_close(&sense);
}

/* What a limit promises is there only if the machine has it. */
static void test_machine_is_full(void **state)
{
	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_mib("p/a", "memory.current", 8192);
	expect_numbers("p/a", 16384, 8192, 8000, 8000);
	put_machine(156, 0);
	expect_numbers("p/a", 16384, 156, 0, 0);
	put_mib("p/a", "memory.max", 12288);
	expect_numbers("p/a", 12288, 156, 0, 0);
	/* And the one above has less yet. */
	put_mib("p", "memory.max", 8292);
	put_mib("p", "memory.current", 8192);
	expect_numbers("p/a", 8292, 100, 0, 0);
}

/* Another mreleased sees to the machine: then only what cgroups may have counts. */
static void test_machine_is_watched(void **state)
{
	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_machine(156, 0);
	put_mib("p/a", "memory.max", 1024);
	put_mib("p/a", "memory.current", 100);
	watched = true;
	expect_numbers("p/a", 1024, 924, 0, 0);
	watched = false;
	expect_numbers("p/a", 1024, 156, 0, 0);
}

/* To force reclaim: nothing is there, and it is not nothing of nothing. */
static void test_limit_of_nothing(void **state)
{
	static const char *const dirs[] = { "p", "p/a" };

	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_mib("p/a", "memory.current", 100);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		put_mib(dirs[i], "memory.high", 0);
		expect_numbers("p/a", 16384, 0, 8000, 8000);
		put_text(dirs[i], "memory.high", "max\n");
	}
}

/* Above that one who allocates is slowed down without an end, here or there. */
static void test_high_above(void **state)
{
	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_mib("p/a", "memory.current", 1000);
	put_mib("p", "memory.current", 1024);
	put_mib("p", "memory.high", 1024);
	expect_numbers("p/a", 1024, 0, 8000, 8000);
	put_mib("p", "memory.max", 2048);
	expect_numbers("p/a", 1024, 0, 8000, 8000);
	put_mib("p", "memory.max", 1004);
	put_mib("p", "memory.current", 1001);
	expect_numbers("p/a", 1004, 3, 8000, 8000);
}

/* Where no swap may be used, the machine's is of no use. */
static void test_swap_above(void **state)
{
	static const char *const names[] = { "memory.swap.max",
					     "memory.swap.high" };

	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_mib("p", "memory.max", 1024);
	put_mib("p", "memory.current", 1024);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		put_mib("p", names[i], 0);
		expect_numbers("p/a", 1024, 0, 0, 0);
		put_mib("p", names[i], 500);
		put_mib("p", "memory.swap.current", 440);
		expect_numbers("p/a", 1024, 0, 500, 60);
		/* Its own is lower, and it has used nothing of it. */
		put_mib("p/a", names[i], 50);
		expect_numbers("p/a", 1024, 0, 50, 50);
		put_text("p/a", names[i], "max\n");
		put_text("p", names[i], "max\n");
		expect_numbers("p/a", 1024, 0, 8000, 8000);
	}
}

static void test_v1_above(void **state)
{
	(void)state;
	put_v1("p");
	put_v1("p/a");
	put_mib("p/a", "memory.usage_in_bytes", 1000);
	put_mib("p/a", "memory.memsw.usage_in_bytes", 1000);
	expect_numbers("p/a", 16384, 15000, 8000, 8000);
	put_mib("p", "memory.limit_in_bytes", 1024);
	put_mib("p", "memory.usage_in_bytes", 1020);
	expect_numbers("p/a", 1024, 4, 8000, 8000);
	/* Both in one: 200 MiB are left for swap, and 30 are taken. */
	put_mib("p", "memory.memsw.limit_in_bytes", 1224);
	put_mib("p", "memory.memsw.usage_in_bytes", 1050);
	expect_numbers("p/a", 1024, 4, 200, 170);
}

/* A limit above is set while we run, and taken away again. */
static void test_set_later(void **state)
{
	(void)state;
	put_v2("p");
	put_v2("p/a");
	put_mib("p/a", "memory.current", 1000);
	put_mib("p", "memory.current", 1000);
	open_sense("p/a");
	expect_read(16384, 15000, 8000, 8000);
	put_mib("p", "memory.high", 1010);
	put_mib("p", "memory.swap.max", 0);
	expect_read(1010, 10, 0, 0);
	put_text("p", "memory.high", "max\n");
	put_text("p", "memory.swap.max", "max\n");
	expect_read(16384, 15000, 8000, 8000);
	sense_close(&sense);
}

/* Half of 64 GiB are set aside for huge pages, or nearly all: no 5 % of that. */
static void test_huge_pages(void **state)
{
	static const struct {
		const char *text;
		uint64_t total;
	} cases[] = {
		{ "Hugetlb: 60817408 kB\n", 6144 },
		{ "HugePages_Total: 1024\nHugepagesize: 2048 kB\n", 63488 },
		/* Those of another size are in the sum only. */
		{ "HugePages_Total: 1024\nHugepagesize: 2048 kB\n"
		  "Hugetlb: 60817408 kB\n",
		  6144 },
		{ "Hugetlb: 0 kB\n", 65536 },
		{ "HugePages_Total: 99999999999999999\nHugepagesize: 1048576 kB\n",
		  65536 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[512];

		snprintf(text, sizeof(text),
			 "MemTotal: 67108864 kB\nMemAvailable: 3145728 kB\n"
			 "SwapTotal: 0 kB\nSwapFree: 0 kB\n%s",
			 cases[i].text);
		put("proc/meminfo", text);
		expect_numbers(NULL, cases[i].total, 3072, 0, 0);
	}
	/* Nor has a cgroup without a limit more. */
	put("proc/meminfo", "MemTotal: 67108864 kB\nHugetlb: 60817408 kB\n"
			    "MemAvailable: 3145728 kB\n");
	put_v2("a");
	expect_numbers("a", 6144, 3072, 0, 0);
}

/* Called by its name: what processes could have, not what the kernel took. */
static void test_earlyoom_total(void **state)
{
	struct snapshot s;

	(void)state;
	put_machine(2048, 0);
	assert_int_equal(sense_open(&sense, NULL, root), 0);
	sense.user_total = true;
	assert_int_equal(sense_read(&sense, &s), 0);
	sense_close(&sense);
	assert_true(s.total_bytes == 3072 * MIB);
	assert_true(s.machine_bytes == 16384 * MIB);
}

#define sense_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		sense_test(test_machine_is_full),
		sense_test(test_machine_is_watched),
		sense_test(test_limit_of_nothing),
		sense_test(test_high_above),
		sense_test(test_swap_above),
		sense_test(test_v1_above),
		sense_test(test_set_later),
		sense_test(test_huge_pages),
		sense_test(test_earlyoom_total),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
