/* SPDX-License-Identifier: MIT */
/* Unit tests of what reads the kernel's and the users' text. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/os.h"

static void test_target(void **state)
{
	static const struct {
		const char *text;
		int ret;
		pid_t pid;
		uint64_t inode;
	} cases[] = {
		{ "1", 0, 1, 0 },
		{ "0", 0, 0, 0 },
		{ "2147483647", 0, INT_MAX, 0 },
		{ "12:34", 0, 12, 34 },
		{ "12:18446744073709551615", 0, 12, UINT64_MAX },
		{ "", -EINVAL, 0, 0 },
		{ "-1", -EINVAL, 0, 0 },
		{ "+1", -EINVAL, 0, 0 },
		{ " 1", -EINVAL, 0, 0 },
		{ "1 ", -EINVAL, 0, 0 },
		{ "1\n", -EINVAL, 0, 0 },
		{ "0x10", -EINVAL, 0, 0 },
		{ "1:", -EINVAL, 0, 0 },
		{ ":1", -EINVAL, 0, 0 },
		{ "1:0", -EINVAL, 0, 0 },
		{ "1:2:3", -EINVAL, 0, 0 },
		{ "1:-2", -EINVAL, 0, 0 },
		{ "2147483648", -ERANGE, 0, 0 },
		{ "4294967297", -ERANGE, 0, 0 },
		{ "18446744073709551616", -ERANGE, 0, 0 },
		{ "18446744073709551617", -ERANGE, 0, 0 },
		{ "99999999999999999999", -ERANGE, 0, 0 },
		{ "1:18446744073709551616", -ERANGE, 0, 0 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t inode = 4711;
		pid_t pid = -4711;
		int ret = parse_target(cases[i].text, &pid, &inode);

		if (ret != cases[i].ret)
			fail_msg("'%s': %d, not %d", cases[i].text, ret,
				 cases[i].ret);
		if (ret)
			continue;
		assert_int_equal(pid, cases[i].pid);
		assert_int_equal(inode, cases[i].inode);
	}
}

#define STAT_REST                                                 \
	" 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 5678 9 10 " \
	"18446744073709551615 1 1 0 0 0 256 0 0 0 0 0 0 17 2 0 0 0 0 0"

static void test_stat(void **state)
{
	static const struct {
		const char *text;
		char comm[16];
		char letter;
	} cases[] = {
		{ "7 (cat) S" STAT_REST, "cat", 'S' },
		{ "7 () Z" STAT_REST, "", 'Z' },
		{ "7 (a) R 1) S" STAT_REST, "a) R 1", 'S' },
		{ "7 (a\nb) t" STAT_REST, "a\nb", 't' },
		{ "7 ())))) D" STAT_REST, "))))", 'D' },
		{ "7 ((() S" STAT_REST, "((", 'S' },
		{ "7 (kworker/u16:3-events_unbound) I" STAT_REST,
		  "kworker/u16:3-e", 'I' },
	};
	struct proc_stat st;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse_stat(cases[i].text,
					    strlen(cases[i].text), &st),
				 0);
		assert_string_equal(st.comm, cases[i].comm);
		assert_int_equal(st.state, cases[i].letter);
		assert_int_equal(st.pid, 7);
		assert_int_equal(st.ppid, 1);
		assert_int_equal(st.flags, 4194560);
		assert_int_equal(st.threads, 3);
		assert_int_equal(st.start_time, 5678);
		assert_int_equal(st.pending, 256);
		assert_int_equal(st.processor, 2);
	}
}

/* Cut off anywhere, as a read through a small buffer would. */
static void test_stat_cut_off(void **state)
{
	static const char text[] = "7 (a) b) S" STAT_REST;
	/* "processor" ends there; what follows is not ours to need. */
	const char *needed = strstr(text, " 17 2") + 5;
	struct proc_stat st;
	size_t len;

	(void)state;
	for (len = 0; len < (size_t)(needed - text) - 1; len++)
		assert_int_equal(parse_stat(text, len, &st), -EINVAL);
	assert_int_equal(parse_stat(text, sizeof(text) - 1, &st), 0);
}

static void test_status(void **state)
{
	static const char text[] = "Name:\tRssAnon:\n"
				   "State:\tS (sleeping)\n"
				   "Pid:\t7\n"
				   "TracerPid:\t12\n"
				   "VmPeak:\t  999999 kB\n"
				   "VmRSS:\t    4096 kB\n"
				   "RssAnon:\t    1024 kB\n"
				   "RssFile:\t    2048 kB\n"
				   "RssShmem:\t    512 kB\n"
				   "VmSwap:\t       8 kB\n"
				   "HugetlbPages:\t    2048 kB\n"
				   "CoreDumping:\t1\n"
				   "Threads:\t2001\n";
	struct proc_status st;

	(void)state;
	assert_int_equal(parse_status(text, sizeof(text) - 1, &st), 0);
	assert_int_equal(st.mem.anon, 1024 * 1024);
	assert_int_equal(st.mem.file, 2048 * 1024);
	assert_int_equal(st.mem.shmem, 512 * 1024);
	assert_int_equal(st.mem.swap, 8 * 1024);
	assert_int_equal(st.mem.hugetlb, 2048 * 1024);
	assert_true(st.has_mm);
	assert_true(st.dumping_core);
	assert_int_equal(st.threads, 2001);
	assert_int_equal(st.tracer, 12);
	/* A zombie or a kernel thread. */
	assert_int_equal(parse_status("Threads:\t1\n", 11, &st), 0);
	assert_false(st.has_mm);
	assert_int_equal(st.mem.anon, 0);
}

static void test_status_of_anybody(void **state)
{
	static const char text[] = "Name:\ta\\nb\\\\c d\n"
				   "State:\tD (disk sleep)\n"
				   "Tgid:\t7\n"
				   "PPid:\t2147483648\n"
				   "NSpid:\t7\t1\n"
				   "Kthread:\t1\n"
				   "ShdPnd:\t0000000000000100\n"
				   "CapEff:\t000001ffffffffff\n";
	struct proc_status st;

	(void)state;
	assert_int_equal(parse_status(text, sizeof(text) - 1, &st), 0);
	assert_string_equal(st.comm, "a\nb\\c d");
	assert_int_equal(st.state, 'D');
	assert_int_equal(st.tgid, 7);
	assert_int_equal(st.ppid, 0);
	assert_true(st.foreign_proc);
	assert_true(st.kthread);
	assert_true(st.killed);
	assert_true(st.cap_eff == 0x1ffffffffff);
	assert_int_equal(parse_status("Name:\t0123456789abcdefg\nNSpid:\t7\n",
				      32, &st),
			 0);
	assert_string_equal(st.comm, "0123456789abcde");
	assert_false(st.foreign_proc);
}

/* A line of any length, wherever it ends in the buffer, hides nothing. */
static void test_status_read(void **state)
{
	static char text[70000];
	struct proc_status st;
	int fd = memfd_create("status", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(status_read(fd, &st), -ESRCH);
	for (size_t len = 0; len < 66000; len += len < 8300 ? 1 : 977) {
		int n = snprintf(text, sizeof(text), "State:\tS\nGroups:\t");

		memset(text + n, '7', len);
		n += len;
		n += snprintf(text + n, sizeof(text) - n,
			      "\nVmRSS:\t12 kB\nThreads:\t5\n");
		assert_int_equal(pwrite(fd, text, n, 0), n);
		assert_int_equal(status_read(fd, &st), 0);
		assert_int_equal(st.state, 'S');
		assert_true(st.has_mm);
		assert_int_equal(st.threads, 5);
	}
	close(fd);
	assert_int_equal(status_read(-1, &st), -EBADF);
	assert_int_equal(status_read_path(AT_FDCWD, "/proc/self/status", &st),
			 0);
	assert_int_equal(st.tgid, getpid());
}

static void test_mapping(void **state)
{
	static const char anon[] = "7f00-7f10 rw-p 00000000 00:00 0 ";
	static const char file[] =
		"55d0c0000000-55d0c0001000 r-xs 00002000 fe:1a 4567"
		"                       /tmp/a b\\012c (deleted)";
	static const char *const bad[] = {
		"",
		"x",
		"7f00",
		"7f00-",
		"7f00-7f10",
		"7f00-7f10 rw-",
		"7f10-7f00 rw-p 00000000 00:00 0 ",
		"7f00-7f10 rw-p 00000000 00:00",
		"7f00-7f10 rw-p 00000000 0000 0",
		"10000000000000000-10000000000000001 rw-p 0 00:00 0 ",
	};
	struct mapping m;
	size_t i;

	(void)state;
	assert_int_equal(parse_mapping(anon, sizeof(anon) - 1, &m), 0);
	assert_int_equal(m.start, 0x7f00);
	assert_int_equal(m.end, 0x7f10);
	assert_true(m.writable && !m.shared);
	assert_int_equal(m.inode, 0);
	assert_int_equal(m.path_len, 0);
	assert_int_equal(parse_mapping(file, sizeof(file) - 1, &m), 0);
	assert_true(m.shared && !m.writable);
	assert_int_equal(m.offset, 0x2000);
	assert_int_equal(m.major, 0xfe);
	assert_int_equal(m.minor, 0x1a);
	assert_int_equal(m.inode, 4567);
	assert_int_equal(m.path_len, strlen("/tmp/a b\\012c (deleted)"));
	assert_memory_equal(m.path, "/tmp/a b", 8);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_mapping(bad[i], strlen(bad[i]), &m),
				 -EINVAL);
}

static void test_mountinfo(void **state)
{
	static const char line[] =
		"36 35 98:12 / /mnt\\040- rw shared:1 master:2 - fuse.x /d rw";
	struct mount_line m;

	(void)state;
	assert_int_equal(parse_mountinfo(line, sizeof(line) - 1, &m), 0);
	assert_int_equal(m.major, 98);
	assert_int_equal(m.minor, 12);
	assert_int_equal(m.point_len, 9);
	assert_memory_equal(m.point, "/mnt\\040-", 9);
	assert_true(mount_is(&m, "fuse.x"));
	assert_false(mount_is(&m, "fuse"));
	assert_int_equal(m.options_len, 2);
	assert_memory_equal(m.options, "rw", 2);
	/* Without its separator, or with nothing behind it. */
	assert_int_equal(parse_mountinfo("36 35 98:12 / /mnt rw", 21, &m),
			 -EINVAL);
	assert_int_equal(parse_mountinfo("36 35 98:12 / /mnt rw - ", 24, &m),
			 -EINVAL);
}

static void test_cgroup_files(void **state)
{
	static const char procs[] = "1\n22\nx\n333\n\n2147483648\n7";
	static const pid_t want[] = { 1, 22, 333, 7 };
	const char *p = procs;
	struct cgroup_events ev;
	pid_t pid;
	size_t i;

	(void)state;
	assert_int_equal(
		parse_cgroup_events("populated 1\nfrozen 0\n", 21, &ev), 0);
	assert_int_equal(ev.populated, 1);
	assert_int_equal(ev.frozen, 0);
	/* Before 5.2 there is no "frozen". */
	assert_int_equal(parse_cgroup_events("populated 0\n", 12, &ev), 0);
	assert_int_equal(ev.populated, 0);
	assert_int_equal(ev.frozen, -1);
	assert_int_equal(parse_cgroup_events("frozen 1\n", 9, &ev), -EINVAL);
	assert_int_equal(parse_cgroup_events("unpopulated 1\n", 14, &ev),
			 -EINVAL);
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(
			parse_next_pid(&p, procs + sizeof(procs) - 1, &pid), 1);
		assert_int_equal(pid, want[i]);
	}
	assert_int_equal(parse_next_pid(&p, procs + sizeof(procs) - 1, &pid),
			 0);
}

static void test_fdinfo(void **state)
{
	static const char text[] = "pos:\t0\nflags:\t02000200\nmnt_id:\t15\n"
				   "Pid:\t1234\nNSpid:\t1234\t5\n";
	uint64_t flags;
	pid_t pid;

	(void)state;
	assert_int_equal(parse_fdinfo_pid(text, sizeof(text) - 1, &pid, &flags),
			 0);
	assert_int_equal(pid, 1234);
	assert_int_equal(flags, 02000200);
	assert_int_equal(parse_fdinfo_pid("Pid:\t-1\n", 8, &pid, &flags), 0);
	assert_int_equal(pid, -1);
	assert_int_equal(parse_fdinfo_pid("pos:\t0\n", 7, &pid, &flags),
			 -EINVAL);
}

static void test_cpus(void **state)
{
	static const struct {
		const char *text;
		unsigned int cpus;
	} cases[] = {
		{ "0\n", 1 },		{ "0-1\n", 2 },
		{ "0-3,8,10-11\n", 7 }, { "5-1023\n", 1019 },
		{ "0,2,4,6\n", 4 },	{ "0-3,8,10-1", 0 },
		{ "0-\n", 0 },		{ "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(cpus_parse(cases[i].text,
					    strlen(cases[i].text)),
				 cases[i].cpus);
}

static void test_lines(void **state)
{
	static const char text[] = "ab\n\nabcdefghij\nxyz\nunfinished";
	static const char *const want[] = { "ab", "", "xyz" };
	int fd = memfd_create("lines", MFD_CLOEXEC);
	const char *line;
	struct lines l;
	char buf[8];
	size_t i, len;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	lines_open(&l, fd, buf, sizeof(buf));
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(lines_next(&l, &line, &len), 1);
		assert_int_equal(len, strlen(want[i]));
		assert_memory_equal(line, want[i], len);
	}
	assert_int_equal(lines_next(&l, &line, &len), 0);
	assert_int_equal(l.error, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_stat_cut_off),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_of_anybody),
		cmocka_unit_test(test_status_read),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_mountinfo),
		cmocka_unit_test(test_cgroup_files),
		cmocka_unit_test(test_fdinfo),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_lines),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL) ? 1 : 0;
}
