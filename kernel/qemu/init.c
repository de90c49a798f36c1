// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the test machine: mounts what the tests need, runs the programs
 * of one list, prints KTAP on the console, looks for anything the kernel
 * complained about, and as the very last thing writes a token to the second
 * serial port.  No token, no success: whatever kills the machine before that
 * point has failed the run.
 *
 * A list line is "SECONDS PROGRAM [ARGUMENT...]".  Every "ok" and "not ok"
 * line of a program counts as one result; a program that prints none counts
 * as one by its exit status (0 passed, 4 skipped, else failed), and so does a
 * program that fails without owning up to it, stops before the end of its
 * plan or runs into its timeout.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGS 16
#define LINE_SIZE 1024

static int passed, failed, skipped;

struct program {
	int results;
	int failures;
	int planned;
};

static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	fflush(stdout);
}

static void die(const char *what)
{
	say("Bail out! init: %s: %s\n", what, strerror(errno));
	sync();
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void mount_one(const char *dev, const char *dir, const char *type,
		      const char *opts, bool required)
{
	mkdir(dir, 0755);
	if (mount(dev, dir, type, 0, opts) && required)
		die(dir);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		say("# %s: %s\n", path, strerror(errno));
	close(fd);
}

static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return false;
	ok = fgets(buf, size, f);
	fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static void setup(void)
{
	int fd;

	mount_one("dev", "/dev", "devtmpfs", NULL, true);
	fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
	mount_one("proc", "/proc", "proc", NULL, true);
	mount_one("sys", "/sys", "sysfs", NULL, true);
	mount_one("tmp", "/tmp", "tmpfs", "mode=1777", true);
	mount_one("shm", "/dev/shm", "tmpfs", "mode=1777", true);
	mount_one("pts", "/dev/pts", "devpts", NULL, false);
	mount_one("cgroup2", "/sys/fs/cgroup", "cgroup2", NULL, false);
	mount_one("debug", "/sys/kernel/debug", "debugfs", NULL, false);
	mount_one("trace", "/sys/kernel/tracing", "tracefs", NULL, false);
	symlink("/proc/self/fd", "/dev/fd");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids");
	write_file("/proc/sys/kernel/hung_task_panic", "1");
	write_file("/proc/sys/kernel/panic_on_rcu_stall", "1");
	write_file("/proc/sys/kernel/core_pattern", "core");
	setenv("PATH", "/bin:/tests", 1);
	setenv("HOME", "/tmp", 1);
	sethostname("mrelease", 8);
}

/*
 * Swap in memory: what is reclaimed has somewhere to go.  The first device is
 * for a test that swaps by itself.
 */
static void swap_on(void)
{
	pid_t pid = fork();
	int status = 1;

	if (!pid) {
		execl("/bin/sh", "sh", "-c",
		      "echo 256M >/sys/block/zram1/disksize &&"
		      "mkswap /dev/zram1 >/dev/null && swapon /dev/zram1",
		      NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("swap");
}

/* Files that have a disk, or what looks like one: their page cache can go. */
static void mount_disks(void)
{
	pid_t pid = fork();
	int status = 1;

	if (!pid) {
		execl("/bin/sh", "sh", "-c",
		      "mkdir /mnt/xfs /mnt/ext2 &&"
		      "losetup /dev/loop0 /xfs.img &&"
		      "mount -t xfs /dev/loop0 /mnt/xfs &&"
		      "truncate -s 32M /ext2.img &&"
		      "mke2fs -F /ext2.img >/dev/null 2>&1 &&"
		      "losetup /dev/loop1 /ext2.img &&"
		      "mount -t ext2 /dev/loop1 /mnt/ext2", NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		die("disks");
}

static const char *skip_space(const char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

static void count_line(struct program *p, const char *line)
{
	const char *s = skip_space(line);
	const char *hash;
	int first, last;

	if (sscanf(s, "%d..%d", &first, &last) == 2 && first == 1) {
		p->planned = last;
		return;
	}
	if (!strncmp(s, "not ok ", 7)) {
		p->results++;
		/* Known to fail, and the program says so. */
		if (strstr(s, "# TODO") || strstr(s, "# XFAIL")) {
			skipped++;
			return;
		}
		p->failures++;
		failed++;
		return;
	}
	if (strncmp(s, "ok ", 3))
		return;
	p->results++;
	hash = strchr(s, '#');
	if (hash && !strncasecmp(skip_space(hash + 1), "skip", 4))
		skipped++;
	else
		passed++;
}

static void take_output(struct program *p, char *line, size_t *len,
			const char *buf, ssize_t n)
{
	ssize_t i;

	for (i = 0; i < n; i++) {
		if (buf[i] == '\n' || *len == LINE_SIZE - 1) {
			line[*len] = '\0';
			say("    %s\n", line);
			count_line(p, line);
			*len = 0;
			if (buf[i] == '\n')
				continue;
		}
		if (buf[i] != '\r')
			line[(*len)++] = buf[i];
	}
}

/* Bounded: what cannot die would make the rest of the list unseen. */
static bool kill_leftovers(void)
{
	long long end = now_ms() + 30000;
	pid_t pid;

	kill(-1, SIGKILL);
	for (;;) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid < 0 && errno != EINTR)
			return true;
		if (pid > 0)
			continue;
		if (now_ms() > end)
			return false;
		/* Somebody may have been forked by one that was not dead. */
		kill(-1, SIGKILL);
		usleep(1000);
	}
}

/* Who is left, and where in the kernel it sleeps. */
static void show_leftovers(void)
{
	char path[300], line[256];
	struct dirent *e;
	DIR *d = opendir("/proc");
	FILE *f;

	while (d && (e = readdir(d))) {
		bool user = false;

		if (!isdigit((unsigned char)e->d_name[0]) ||
		    !strcmp(e->d_name, "1"))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		/* Kernel threads are children of 2, and 2 one of 0. */
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f)) {
			const char *p = strrchr(line, ')');
			int ppid = p ? atoi(p + 4) : 0;

			user = ppid != 0 && ppid != 2;
		}
		if (f)
			fclose(f);
		if (!user)
			continue;
		say("# left: %s", line);
		snprintf(path, sizeof(path), "/proc/%s/wchan", e->d_name);
		if (read_line(path, line, sizeof(line)))
			say("#   in %s\n", line);
	}
	if (d)
		closedir(d);
}

static void run_program(int number, char **argv, int seconds)
{
	char line[LINE_SIZE], buf[4096], why[80] = "";
	struct program p = { .planned = -1 };
	long long end = now_ms() + seconds * 1000LL, start = now_ms();
	bool timed_out = false, exited = false, stuck;
	const char *name = argv[0];
	int status = 0, pfd[2], i;
	size_t len = 0;
	pid_t pid;

	/* Of a wrapper the last argument says what is run. */
	if (!strncmp(name, "/library/", 9))
		for (i = 1; argv[i]; i++)
			name = argv[i];
	if (strrchr(name, '/'))
		name = strrchr(name, '/') + 1;
	say("    # %s: at most %d s\n", name, seconds);
	if (pipe2(pfd, O_CLOEXEC))
		die("pipe2");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		setsid();
		dup2(null, 0);
		dup2(pfd[1], 1);
		dup2(pfd[1], 2);
		if (null > 2)
			close(null);
		if (chdir("/tests"))
			_exit(126);
		execvp(argv[0], argv);
		fprintf(stderr, "# %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(pfd[1]);

	while (!exited && !timed_out) {
		struct pollfd pl = { .fd = pfd[0], .events = POLLIN };
		ssize_t n;

		if (poll(&pl, 1, 100) > 0) {
			n = read(pfd[0], buf, sizeof(buf));
			if (n > 0)
				take_output(&p, line, &len, buf, n);
			else
				usleep(10000);
		}
		for (;;) {
			int st;
			pid_t got = waitpid(-1, &st, WNOHANG);

			if (got <= 0)
				break;
			if (got == pid) {
				status = st;
				exited = true;
			}
		}
		if (now_ms() > end)
			timed_out = true;
	}
	if (timed_out)
		show_leftovers();
	stuck = !kill_leftovers();
	if (stuck)
		show_leftovers();
	fcntl(pfd[0], F_SETFL, O_NONBLOCK);
	for (;;) {
		ssize_t n = read(pfd[0], buf, sizeof(buf));

		if (n <= 0)
			break;
		take_output(&p, line, &len, buf, n);
	}
	if (len)
		take_output(&p, line, &len, "\n", 1);
	close(pfd[0]);

	if (timed_out)
		snprintf(why, sizeof(why), "timeout after %d s", seconds);
	else if (stuck)
		snprintf(why, sizeof(why), "left something that does not die");
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "signal %d", WTERMSIG(status));
	else if (p.planned >= 0 && p.results < p.planned)
		snprintf(why, sizeof(why), "%d of %d results", p.results,
			 p.planned);
	else if (WEXITSTATUS(status) && WEXITSTATUS(status) != 4 &&
		 !p.failures)
		snprintf(why, sizeof(why), "exit status %d",
			 WEXITSTATUS(status));

	if (why[0]) {
		if (!p.failures || timed_out || stuck)
			failed++;
		p.failures++;
	} else if (!p.results) {
		if (WEXITSTATUS(status) == 4)
			skipped++;
		else
			passed++;
	}
	say("%sok %d %s%s%s # %lld ms\n", p.failures ? "not " : "", number,
	    name, why[0] ? " # " : "", why, now_ms() - start);
}

static void run_list(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[LINE_SIZE];
	int number = 0, total = 0;

	if (!f)
		die(path);
	while (fgets(line, sizeof(line), f))
		total += isdigit((unsigned char)line[0]) != 0;
	rewind(f);
	say("KTAP version 1\n1..%d\n", total);
	while (fgets(line, sizeof(line), f)) {
		char *argv[MAX_ARGS + 1], *save, *tok;
		int argc = 0, seconds;

		if (!isdigit((unsigned char)line[0]))
			continue;
		tok = strtok_r(line, " \t\n", &save);
		seconds = atoi(tok);
		while (argc < MAX_ARGS && (tok = strtok_r(NULL, " \t\n", &save)))
			argv[argc++] = tok;
		argv[argc] = NULL;
		if (argc)
			run_program(++number, argv, seconds);
	}
	fclose(f);
}

/* What the kernel says when something is wrong but nothing dies of it. */
static const char * const complaints[] = {
	"BUG:", "WARNING:", "INFO: task ", "INFO: rcu", "KASAN", "UBSAN",
	"possible recursive locking", "possible circular locking",
	"inconsistent lock state", "suspicious RCU", "sleeping function called",
	"Bad page", "Bad rss-counter", "soft lockup", "unreferenced object",
	"Unable to handle kernel", "general protection fault", "Oops",
	"held lock freed", "still has locks held", "stack guard page",
};

static void check_kernel_log(void)
{
	char buf[8192];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int bad = 0;
	ssize_t n;
	size_t i;

	if (fd < 0)
		die("/dev/kmsg");
	for (;;) {
		n = read(fd, buf, sizeof(buf) - 1);
		if (n < 0 && errno == EPIPE)
			continue;	/* the ring went round: keep going */
		if (n <= 0)
			break;
		buf[n] = '\0';
		for (i = 0; i < sizeof(complaints) / sizeof(*complaints); i++) {
			if (strstr(buf, complaints[i])) {
				say("# kernel log: %s", buf);
				bad++;
				break;
			}
		}
	}
	close(fd);
	if (!read_line("/proc/sys/kernel/tainted", buf, sizeof(buf)) ||
	    strcmp(buf, "0")) {
		say("# kernel tainted: %s\n", buf);
		bad++;
	}
	if (bad) {
		say("# the kernel complained %d times\n", bad);
		failed++;
	}
}

static void check_lockdep(void)
{
	FILE *f = fopen("/proc/lockdep_stats", "re");
	char line[256];
	int on = -1;

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "debug_locks:"))
			on = atoi(strchr(line, ':') + 1);
	}
	fclose(f);
	if (on != 1) {
		say("# lockdep has switched itself off\n");
		failed++;
	} else {
		say("# lockdep: still on at the end\n");
	}
}

static void check_leaks(void)
{
	char line[256];
	int i, bad = 0;
	FILE *f;

	if (access("/sys/kernel/debug/kmemleak", W_OK))
		return;
	/* Twice: an object must look lost for 5 s and two scans. */
	for (i = 0; i < 2; i++) {
		sleep(6);
		write_file("/sys/kernel/debug/kmemleak", "scan");
	}
	f = fopen("/sys/kernel/debug/kmemleak", "re");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		say("# kmemleak: %s", line);
		bad++;
	}
	fclose(f);
	if (bad)
		failed++;
	else
		say("# kmemleak: nothing\n");
}

static void shell(void)
{
	char *argv[] = { "/bin/sh", "-i", NULL };
	pid_t pid = fork();

	if (!pid) {
		setsid();
		execv(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int main(void)
{
	struct rlimit core = { 0, 0 };
	const char *list = getenv("list");
	char path[128], text[128], clock[32] = "?";
	int fd;

	setup();
	setrlimit(RLIMIT_CORE, &core);
	if (getenv("shell")) {
		shell();
		reboot(RB_AUTOBOOT);
	}
	if (getenv("swap"))
		swap_on();
	if (getenv("disks"))
		mount_disks();
	snprintf(path, sizeof(path), "/lists/%s", list ? list : "check");
	read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		  clock, sizeof(clock));
	if (read_line("/proc/sys/kernel/osrelease", text, sizeof(text)))
		say("# Linux %s, list %s, clock %s\n", text,
		    list ? list : "check", clock);
	run_list(path);

	check_leaks();
	check_lockdep();
	check_kernel_log();
	snprintf(text, sizeof(text), "%d passed, %d failed, %d skipped\n",
		 passed, failed, skipped);
	say("%s", text);
	sync();

	/* The last thing of all. */
	fd = open("/dev/ttyS1", O_WRONLY | O_NOCTTY);
	if (fd >= 0) {
		dprintf(fd, "%s%s\n", text, failed ? "failure" : "success");
		fsync(fd);
		close(fd);
	}
	reboot(RB_AUTOBOOT);
	return 1;
}
