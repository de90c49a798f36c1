/* SPDX-License-Identifier: MIT */
/* Start victims, talk to them, and look at their memory from outside. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "victims/protocol.h"

#define MAX_VICTIMS 64
#define MAX_ARGS    16
/* and errno: no exit status of a victim */
#define EXEC_FAILED 64

/* Every descriptor of a running victim, for the teardown of a failed test. */
static int fds[MAX_VICTIMS * 4];
static unsigned int nr_fds;

static int keep_fd(int fd)
{
	unsigned int i;

	for (i = 0; i < nr_fds && fds[i] >= 0; i++)
		;
	assert_true(i < ARRAY_LEN(fds));
	fds[i] = fd;
	if (i == nr_fds)
		nr_fds++;
	return fd;
}

static void drop_fd(int *fd)
{
	unsigned int i;

	for (i = 0; *fd >= 0 && i < nr_fds; i++) {
		if (fds[i] != *fd)
			continue;
		close(*fd);
		fds[i] = -1;
	}
	*fd = -1;
}

void victims_forget(void)
{
	unsigned int i;

	for (i = 0; i < nr_fds; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	nr_fds = 0;
}

/* Above the numbers that victims get theirs at; takes fd. */
static int move_up(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	assert_true(high >= 0);
	close(fd);
	return high;
}

/* Never inherited by the next victim: its end-of-file would not come. */
static void make_pipe(int pipefd[2])
{
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pipefd[0] = move_up(pipefd[0]);
	pipefd[1] = move_up(pipefd[1]);
}

int make_shm(void)
{
	int fd = memfd_create("shm", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return keep_fd(move_up(fd));
}

/* Beside this program, where both are built. */
const char *beside(const char *name)
{
	static char path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	snprintf(slash ? slash + 1 : path, 32, "%s", name);
	return path;
}

const char *victim32_program(void)
{
	const char *program = beside("victim32");

	int status;
	pid_t pid;

	if (access(program, X_OK))
		skip_test("compat", "no 32-bit victims were built");
	pid = test_fork();
	if (!pid) {
		close(STDERR_FILENO);
		execl(program, program, NULL);
		_exit(EXEC_FAILED + (errno & 0x3f));
	}
	status = test_wait(pid);
	/* Not every kernel runs them, nor every virtual machine. */
	if (status >= EXEC_FAILED)
		skip_test("no-ia32", "32-bit programs do not run here: %s",
			  strerror(status - EXEC_FAILED));
	return program;
}

static void exec_victim(const struct victim_setup *setup, char **argv,
			int ready_fd, int ctl_fd, int stderr_fd)
{
	sigset_t none;
	int program;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(ready_fd, READY_FD) < 0 || dup2(ctl_fd, CTL_FD) < 0 ||
	    dup2(stderr_fd, STDERR_FILENO) < 0)
		_exit(1);
	if (setup->shm_fd && dup2(setup->shm_fd, SHM_FD) < 0)
		_exit(1);
	if (!setup->shm_fd)
		close(SHM_FD);
	/* Opened before: the way to it may be closed to that user. */
	program = setup->uid ? open(argv[0], O_PATH | O_CLOEXEC) : -1;
	if (setup->uid &&
	    (setgroups(0, NULL) || setgid(setup->uid) || setuid(setup->uid)))
		_exit(1);
	if (program >= 0)
		execveat(program, "", argv, environ, AT_EMPTY_PATH);
	execv(argv[0], argv);
	_exit(127);
}

void victim_skipped(const char *name, int stderr_fd, int status)
{
	char why[200] = "";
	ssize_t n = pread(stderr_fd, why, sizeof(why) - 1, 0);

	why[n > 0 ? n : 0] = '\0';
	why[strcspn(why, "\n")] = '\0';
	if (WIFEXITED(status) && WEXITSTATUS(status) == VICTIM_SKIP)
		skip_test(name, "%s", why);
	fail_msg("victim %s did not start (status %x): %s", name, status, why);
}

void victim_reply(struct victim *v, char *buf, size_t size)
{
	struct pollfd pfd = { .fd = v->ready_fd, .events = POLLIN };
	size_t len = 0;
	int n;

	/* Every line is written in one piece, but two may have come. */
	while (len + 1 < size) {
		do {
			n = poll(&pfd, 1, 3 * PATIENCE_S * 1000);
		} while (n < 0 && errno == EINTR);
		if (n <= 0)
			fail_msg("victim %d says nothing", v->pid);
		if (read(v->ready_fd, buf + len, 1) != 1 || buf[len] == '\n')
			break;
		len++;
	}
	buf[len] = '\0';
}

static void open_pagemap(struct victim *v)
{
	char path[64];
	pid_t tid = v->pid;
	int fd;

	/* A zombie leader's own files know no memory: take the helper's, */
	/* which is a thread, if the victim named one. */
	snprintf(path, sizeof(path), "/proc/%d/pagemap", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	v->pagemap_fd = fd < 0 ? -1 : keep_fd(fd);
}

static void start(struct victim *v, const struct victim_setup *setup,
		  const char *name, va_list ap)
{
	unsigned int i, n = 0;
	int ready[2], ctl[2], stderr_fd, status;
	unsigned long long addr, len;
	char line[128], *argv[MAX_ARGS];

	argv[n++] =
		(char *)(setup->program ? setup->program : beside("victim"));
	for (i = 0; i < ARRAY_LEN(setup->procs) && setup->procs[i]; i++) {
		argv[n++] = (char *)"-g";
		argv[n++] = (char *)setup->procs[i];
	}
	argv[n++] = (char *)name;
	while (n < MAX_ARGS && (argv[n] = va_arg(ap, char *)))
		n++;
	assert_true(n < MAX_ARGS);

	memset(v, 0, sizeof(*v));
	v->fd = v->pagemap_fd = -1;
	make_pipe(ready);
	make_pipe(ctl);
	stderr_fd = make_shm();
	v->ready_fd = keep_fd(ready[0]);
	v->ctl_fd = keep_fd(ctl[1]);
	v->child = test_fork();
	if (!v->child)
		exec_victim(setup, argv, ready[1], ctl[0], stderr_fd);
	close(ready[1]);
	close(ctl[0]);
	victim_reply(v, line, sizeof(line));
	if (sscanf(line, "ready %d %d %llx %llx", &v->pid, &v->helper, &addr,
		   &len) != 4) {
		waitpid(v->child, &status, 0);
		victim_skipped(name, stderr_fd, status);
	}
	drop_fd(&stderr_fd);
	v->addr = addr;
	v->len = len;
	open_pagemap(v);
	v->fd = mrelease_open(v->pid, 0);
	if (v->fd >= 0)
		keep_fd(v->fd);
}

void victim_start(struct victim *v, const char *name, ...)
{
	struct victim_setup setup = { 0 };
	va_list ap;

	va_start(ap, name);
	start(v, &setup, name, ap);
	va_end(ap);
	if (v->fd < 0)
		fail_msg("mrelease_open(%d): %s", v->pid, strerror(-v->fd));
}

void victim_start_with(struct victim *v, const struct victim_setup *setup,
		       const char *name, ...)
{
	va_list ap;

	va_start(ap, name);
	start(v, setup, name, ap);
	va_end(ap);
	if (v->fd < 0)
		fail_msg("mrelease_open(%d): %s", v->pid, strerror(-v->fd));
}

void victim_command(struct victim *v, char c)
{
	/* EPIPE: it is dead, and there will be no answer. */
	if (write(v->ctl_fd, &c, 1) != 1)
		assert_int_equal(errno, EPIPE);
}

bool victim_memory_intact(struct victim *v)
{
	char line[16];

	victim_command(v, 'v');
	victim_reply(v, line, sizeof(line));
	return !strcmp(line, "ok");
}

static bool gone(void *arg)
{
	return process_gone(*(pid_t *)arg);
}

bool victim_alive_and_intact(struct victim *v)
{
	char line[16];

	victim_command(v, 'v');
	victim_reply(v, line, sizeof(line));
	if (!strcmp(line, "ok"))
		return true;
	/* Or it had taken its SIGKILL, and nothing told so yet. */
	assert_string_equal(line, "");
	wait_until(gone, &v->pid, "the victim gone");
	return false;
}

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)

uint64_t victim_resident(struct victim *v)
{
	uint64_t entries[512], bytes = 0, page = (uint64_t)getpagesize();
	uint64_t addr = v->addr, end = v->addr + v->len, want;
	ssize_t i, n;

	assert_true(v->pagemap_fd >= 0);
	while (addr < end) {
		want = (end - addr) / page;
		if (want > ARRAY_LEN(entries))
			want = ARRAY_LEN(entries);
		n = pread(v->pagemap_fd, entries, want * 8,
			  (off_t)(addr / page * 8));
		if (n < 0)
			fail_msg("pagemap: %s", strerror(errno));
		/* End-of-file: the address space has no user any more. */
		if (!n)
			return 0;
		for (i = 0; i < n / 8; i++) {
			if (entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))
				bytes += page;
		}
		addr += (uint64_t)n / 8 * page;
	}
	return bytes;
}

void victim_end(struct victim *v)
{
	drop_fd(&v->ready_fd);
	drop_fd(&v->ctl_fd);
	drop_fd(&v->pagemap_fd);
	drop_fd(&v->fd);
}

void assert_untouched(struct victim *v)
{
	if (!process_exists(v->pid))
		fail_msg("victim %d is not alive any more", v->pid);
	assert_false(process_killed(v->pid));
	assert_int_equal(process_tracer(v->pid), 0);
	if (v->len)
		assert_true(victim_memory_intact(v));
}

void assert_memory_back(struct victim *v)
{
	uint64_t bytes = victim_resident(v);

	if (bytes)
		fail_msg("%llu bytes of victim %d are not back",
			 (unsigned long long)bytes, v->pid);
}

void assert_killed(struct victim *v)
{
	int status;

	assert_int_equal(v->child, v->pid);
	assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(waitpid(v->pid, &status, __WALL), -1);
	assert_int_equal(errno, ECHILD);
}
