/* SPDX-License-Identifier: MIT */
/* A memory cgroup as a machine, mreleased on it, and who lives there. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define LIMIT_MIB 256

struct cgroup machine;
struct daemon daemon_run;
bool as_unit;
bool whole_machine;
void (*before_daemon)(void);
const char *daemon_name;

static void write_limit(const char *name, uint64_t bytes)
{
	char path[PATH_MAX + 64], text[32];
	int fd, n;

	snprintf(path, sizeof(path), "%s/%s", machine.path, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		if (fd >= 0)
			close(fd);
		skip_test("memcg", "%s cannot be set: %s", name,
			  strerror(errno));
	}
	close(fd);
}

void make_machine(void)
{
	need_root();
	if (!access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK)) {
		cgroup_make(&machine, CGROUP_MEMORY);
		write_limit("memory.limit_in_bytes", LIMIT_MIB * MIB);
	} else {
		cgroup_make(&machine, CGROUP_V2);
		write_limit("memory.max", LIMIT_MIB * MIB);
	}
}

bool read_log(int ms)
{
	struct daemon *d = &daemon_run;
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return false;
	n = read(d->fd, d->log + d->len, sizeof(d->log) - 1 - d->len);
	if (n <= 0)
		return false;
	d->len += (size_t)n;
	d->log[d->len] = '\0';
	return true;
}

void show_log(void)
{
	char *line = daemon_run.log, *end;

	for (; (end = strchr(line, '\n')); line = end + 1)
		print_message("# mreleased: %.*s\n", (int)(end - line), line);
}

/* The first line of what was said that has this. */
void print_said(const char *text)
{
	const char *at = strstr(daemon_run.log, text), *from = at;

	assert_non_null(at);
	while (from > daemon_run.log && from[-1] != '\n')
		from--;
	print_message("# %.*s\n", (int)strcspn(from, "\n"), from);
}

/* Fails, with all that was said, if it does not come. */
void expect_said(const char *text)
{
	int64_t deadline = in_seconds(PATIENCE_S);

	while (!strstr(daemon_run.log, text)) {
		read_log(100);
		if (now_ns() < deadline)
			continue;
		show_log();
		fail_msg("mreleased did not say \"%s\"", text);
	}
}

void expect_not_said(const char *text)
{
	if (!strstr(daemon_run.log, text))
		return;
	show_log();
	fail_msg("mreleased said \"%s\"", text);
}

void start_as_unit(void)
{
	if (access(beside("filter"), X_OK))
		skip_test("seccomp", "no libseccomp to build the filter with");
	if (system("systemd-analyze --version >/dev/null 2>&1"))
		skip_test("systemd", "no systemd-analyze to expand the sets");
	as_unit = true;
}

/* The arguments end with NULL.  The first three are the filter's, if it runs. */
static void exec_daemon(const char **argv)
{
	static char program[PATH_MAX], unit[PATH_MAX];

	snprintf(program, sizeof(program), "%s",
		 daemon_name ? daemon_name : beside("../mreleased"));
	snprintf(unit, sizeof(unit), "%s",
		 beside("../daemon/mreleased.service"));
	argv[1] = unit;
	argv[3] = program;
	if (as_unit)
		execv(beside("filter"), (char **)argv);
	else
		execv(program, (char **)argv + 3);
	_exit(127);
}

void start_daemon(const char *preload, ...)
{
	struct daemon *d = &daemon_run;
	const char *argv[32] = { "filter", "UNIT",     "--",	   "mreleased",
				 "-d",	   "--config", "/dev/null" };
	size_t n = 7;
	int pipefd[2];
	va_list ap;

	if (!whole_machine) {
		argv[n++] = "--cgroup";
		argv[n++] = machine.path;
	}
	va_start(ap, preload);
	while ((argv[n] = va_arg(ap, const char *)))
		n++;
	va_end(ap);
	memset(d, 0, sizeof(*d));
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	d->pid = test_fork();
	if (!d->pid) {
		dup2(pipefd[1], STDERR_FILENO);
		if (preload)
			setenv("LD_PRELOAD", preload, 1);
		if (before_daemon)
			before_daemon();
		exec_daemon(argv);
	}
	close(pipefd[1]);
	d->fd = pipefd[0];
	expect_said("killing at");
}

void stop_daemon(void)
{
	kill(daemon_run.pid, SIGTERM);
	wait_daemon(0);
}

void wait_daemon(int status)
{
	assert_int_equal(test_wait(daemon_run.pid), status);
	while (read_log(0))
		;
	close(daemon_run.fd);
	if (!whole_machine)
		close(machine.fd);
	whole_machine = false;
	before_daemon = NULL;
	daemon_name = NULL;
}

/* In the child: become one of the machine, under this name. */
void enter(const char *name)
{
	cgroup_add(&machine, getpid());
	prctl(PR_SET_NAME, name);
}

void grow(uint64_t mib, int rate)
{
	struct timespec pause = { 0, rate ? 1000000000 / rate : 0 };

	while (mib--) {
		char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 1, MIB);
		if (rate)
			nanosleep(&pause, NULL);
	}
}

/* Has so much, and then tells us so through the pipe. */
pid_t start_process(const char *name, uint64_t mib, int rate,
		    void (*before)(void))
{
	pid_t pid = test_fork();

	if (pid)
		return pid;
	enter(name);
	if (before)
		before();
	grow(mib, rate);
	for (;;)
		pause();
}

static bool has_anon(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	return process_status(pid, "RssAnon", 10) >= 20 * 1024;
}

pid_t innocents[3];

void start_innocents(void)
{
	static const char *const names[] = { "innocent-0", "innocent-1",
					     "innocent-2" };

	for (size_t i = 0; i < ARRAY_LEN(innocents); i++) {
		innocents[i] = start_process(names[i], 20, 0, NULL);
		wait_until(has_anon, &innocents[i], "innocents to have theirs");
	}
}

void expect_innocents_live(void)
{
	for (size_t i = 0; i < ARRAY_LEN(innocents); i++)
		if (waitpid(innocents[i], NULL, WNOHANG)) {
			while (read_log(100))
				;
			show_log();
			fail_msg("innocent %zu is dead", i);
		}
}

/* By whom?  By us, and not by the kernel at the limit. */
void expect_no_oom(void)
{
	char path[PATH_MAX + 64], text[4096];
	char *p;
	int fd;

	snprintf(path, sizeof(path), "%s/memory.oom_control", machine.path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/memory.events", machine.path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	assert_true(fd >= 0);
	text[0] = '\0';
	text[read(fd, text, sizeof(text) - 1)] = '\0';
	close(fd);
	p = strstr(text, "oom_kill ");
	if (p)
		assert_int_equal(atoi(p + strlen("oom_kill ")), 0);
}

void expect_signal(pid_t pid, int sig)
{
	const struct timespec pause = { 0, 1000000 };
	int64_t deadline = in_seconds(3 * PATIENCE_S);
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (now_ns() >= deadline)
			fail_msg("process %d lives: %s", pid, daemon_run.log);
		nanosleep(&pause, NULL);
	}
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), sig);
}

/* Output of mreleased with these arguments; the status must be 0. */
void run_tool(char *out, size_t size, ...)
{
	const char *argv[16] = { "mreleased", "--config", "/dev/null" };
	size_t n = 3, len = 0;
	int pipefd[2];
	ssize_t got;
	va_list ap;
	pid_t pid;

	va_start(ap, size);
	while ((argv[n] = va_arg(ap, const char *)))
		n++;
	va_end(ap);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = test_fork();
	if (!pid) {
		dup2(pipefd[1], STDOUT_FILENO);
		execv(beside("../mreleased"), (char **)argv);
		_exit(127);
	}
	close(pipefd[1]);
	while ((got = read(pipefd[0], out + len, size - 1 - len)) > 0)
		len += (size_t)got;
	out[len] = '\0';
	close(pipefd[0]);
	assert_int_equal(test_wait(pid), 0);
}

void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in \"%s\"", part, text);
}
