/* SPDX-License-Identifier: MIT */
/*
 * What mreleased tells or runs waits for somebody who does not come: a reader, a
 * disk, the file system of a program.  The next one is killed in time all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/mrelease-slow.XXXXXX");
	assert_non_null(mkdtemp(dir));
}

/* Two, since the first is killed before anything is told. */
static void expect_two_die(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		pid_t hog = start_process("hog", 300, 100, NULL);

		expect_signal(hog, SIGKILL);
	}
	expect_innocents_live();
	expect_no_oom();
}

/* Until it would have to wait. */
static void fill_log(void)
{
	char path[64], byte[256];
	int fd;

	assert_true(fcntl(daemon_run.fd, F_SETPIPE_SZ, 4096) > 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/2", daemon_run.pid);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	memset(byte, '\n', sizeof(byte));
	while (write(fd, byte, sizeof(byte)) > 0)
		;
	while (write(fd, byte, 1) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	close(fd);
}

static void test_nobody_reads(void **state)
{
	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	start_innocents();
	fill_log();
	expect_two_die();
	/* All of it is there, once somebody does. */
	expect_said("are back after");
	stop_daemon();
}

/* The terminal is closed, the pipe's other end has died. */
static void test_reader_gone(void **state)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	/* Before there are children that have it open. */
	close(daemon_run.fd);
	daemon_run.fd = null;
	start_innocents();
	expect_two_die();
	stop_daemon();
}

/* Full, and with nobody who reads. */
static void stop_up_stdout(void)
{
	int ends[2];

	if (pipe(ends) || fcntl(ends[1], F_SETFL, O_NONBLOCK))
		_exit(1);
	while (write(ends[1], "\n", 1) > 0)
		;
	fcntl(ends[1], F_SETFL, 0);
	dup2(ends[1], STDOUT_FILENO);
}

/* As earlyoom it reports each second, on standard output. */
static void test_earlyoom_reports(void **state)
{
	char name[128];

	(void)state;
	make_machine();
	make_dir();
	snprintf(name, sizeof(name), "%s", in_dir("earlyoom"));
	assert_int_equal(symlink(beside("../mreleased"), name), 0);
	daemon_name = name;
	before_daemon = stop_up_stdout;
	start_daemon(NULL, "-r", "0.01", NULL);
	start_innocents();
	expect_two_die();
	expect_said("are back after");
	stop_daemon();
	unlink(name);
	rmdir(dir);
}

static void test_metrics_hang(void **state)
{
	char path[128];

	(void)state;
	make_machine();
	make_dir();
	snprintf(path, sizeof(path), "%s", in_dir("metrics"));
	/* Its open waits for somebody to read. */
	assert_int_equal(mkfifo(in_dir("metrics.tmp"), 0600), 0);
	start_daemon(NULL, "--metrics", path, NULL);
	start_innocents();
	expect_two_die();
	expect_said("are back after");
	/* One that sleeps there is ended as well. */
	stop_daemon();
	unlink(in_dir("metrics.tmp"));
	rmdir(dir);
}

/* A program whose execve() waits, for as long as we hold a lease on it. */
static int lease(const char *path)
{
	int fd;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	assert_true(fd >= 0);
	assert_true(write(fd, "#!/bin/true\n", 12) == 12);
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_SETLEASE, F_WRLCK)) {
		close(fd);
		skip_test("lease", "no lease on a file here");
	}
	return fd;
}

static bool exists(void *arg)
{
	return !access(arg, F_OK);
}

static void test_hook_hangs(void **state)
{
	char path[128];
	int fd;

	(void)state;
	make_machine();
	make_dir();
	snprintf(path, sizeof(path), "%s", in_dir("hook"));
	fd = lease(path);
	start_daemon(NULL, "-N", path, NULL);
	start_innocents();
	expect_two_die();
	expect_said("are back after");
	close(fd);
	stop_daemon();
	unlink(path);
	rmdir(dir);
}

/*
 * A program of the administrator's is neither as urgent nor as safe as the killer, and
 * is killed by SIGPIPE and SIGXFSZ (13 and 25) like any other.
 */
static void test_hook_is_ordinary(void **state)
{
	static const char text[] =
		"#!/bin/sh\n"
		"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do\n"
		"	if [ \"$(nice)\" = 0 ] &&\n"
		"	   [ \"$(cat /proc/$$/oom_score_adj)\" = 0 ] &&\n"
		"	   ! grep -qE '^SigIgn:.*[13579bdf](.{3}|.{6})$' \\\n"
		"	     /proc/$$/status; then\n"
		"		echo ok >\"$0.ok\"\n"
		"		exit\n"
		"	fi\n"
		"	sleep 0.1\n"
		"done\n";
	char path[128], answer[136];
	int fd;

	(void)state;
	make_machine();
	make_dir();
	snprintf(path, sizeof(path), "%s", in_dir("hook"));
	snprintf(answer, sizeof(answer), "%s.ok", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	start_daemon(NULL, "-p", "-N", path, NULL);
	start_innocents();
	expect_signal(start_process("hog", 300, 100, NULL), SIGKILL);
	wait_until(exists, answer, "the hook to say that it is ordinary");
	stop_daemon();
	unlink(answer);
	unlink(path);
	rmdir(dir);
}

/* There is a rule for its command line, and who reads that waits for its mmap_lock. */
static void test_command_line_hangs(void **state)
{
	struct victim v;

	(void)state;
	make_machine();
	victim_start(&v, "fuse-mmap", "50", NULL);
	cgroup_add(&machine, v.pid);
	start_daemon(NULL, "-o", "Never=cmdline:^database", NULL);
	start_innocents();
	expect_two_die();
	expect_said("are back after");
	assert_false(process_killed(v.pid));
	stop_daemon();
	victim_command(&v, 'a');
	victim_end(&v);
}

/* It is to be read again, and its disk does not answer. */
static void test_configuration_hangs(void **state)
{
	char path[128];

	(void)state;
	make_machine();
	make_dir();
	snprintf(path, sizeof(path), "%s", in_dir("conf"));
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	start_daemon(NULL, "--config", path, NULL);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	kill(daemon_run.pid, SIGHUP);
	start_innocents();
	expect_two_die();
	expect_said("are back after");
	stop_daemon();
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_nobody_reads),
		harness_test(test_reader_gone),
		harness_test(test_earlyoom_reports),
		harness_test(test_metrics_hang),
		harness_test(test_hook_hangs),
		harness_test(test_hook_is_ordinary),
		harness_test(test_command_line_hangs),
		harness_test(test_configuration_hangs),
	};

	return run_group(tests);
}
