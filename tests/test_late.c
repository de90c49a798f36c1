/* SPDX-License-Identifier: MIT */
/* What the victim does with the last thing before the signal. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "notify.h"

#define SIZE (24 * MIB)

/* In a process of its own: the filter stays. */
static void release_with(struct notify *last, pid_t pid,
			 struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(0);
	int fd = mrelease_open(pid, 0);

	if (fd < 0)
		_exit(2);
	notify_begin(last);
	memset(rep, 0, sizeof(*rep));
	rep->size = sizeof(*rep);
	_exit(mrelease_process(fd, &opts, rep) ? 3 : 0);
}

static int orders[2], answers[2];

/* Forks when it is told to, and the child keeps what both have. */
static void fork_when_told(void)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char c = 'x';
	pid_t pid;

	if (p == MAP_FAILED)
		_exit(1);
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	memset(p, 1, SIZE);
	if (write(answers[1], &c, 1) != 1 || read(orders[0], &c, 1) != 1)
		_exit(2);
	pid = fork();
	if (pid > 0 && write(answers[1], &pid, sizeof(pid)) != sizeof(pid))
		_exit(2);
	for (;;)
		pause();
}

/* The first of the signals waits for it, the others do not. */
static int make_it_fork(void *arg, unsigned int n, pid_t caller)
{
	pid_t *child = arg;

	(void)caller;
	if (n)
		return 0;
	if (write(orders[1], "x", 1) != 1 ||
	    read(answers[0], child, sizeof(*child)) != sizeof(*child))
		_exit(2);
	return 0;
}

/* What the reports are written to, and who was forked. */
struct seen {
	struct mrelease_report rep;
	pid_t child;
};

static bool is_gone(void *arg)
{
	const pid_t *pid = arg;

	return process_gone(*pid);
}

/* It was nobody else's when there was time to count; it is somebody's now. */
static void test_forked_late(void **state)
{
	struct notify last = {
		.call = SYS_pidfd_send_signal,
		.signal = SIGKILL,
		.fn = make_it_fork,
	};
	struct seen *seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t victim, caller;
	int status;
	char c;

	(void)state;
	/* Frames are shown to root only. */
	need_root();
	assert_ptr_not_equal(seen, MAP_FAILED);
	assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
	assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
	victim = test_fork();
	if (!victim)
		fork_when_told();
	assert_int_equal(read(answers[0], &c, 1), 1);
	last.arg = &seen->child;
	caller = test_fork();
	if (!caller)
		release_with(&last, victim, &seen->rep);
	status = test_wait(caller);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(victim, NULL, 0), victim);
	assert_true(seen->child > 0);
	show_report(&seen->rep);
	assert_true(seen->rep.released_bytes < SIZE / 2);
	assert_true(seen->rep.kinds[MRELEASE_COW].kept_bytes >= SIZE / 2);
	kill(seen->child, SIGKILL);
	/* Ours since its parent has died, if we take in orphans. */
	waitpid(seen->child, NULL, 0);
	wait_until(is_gone, &seen->child, "the child has gone");
	for (int i = 0; i < 2; i++) {
		close(orders[i]);
		close(answers[i]);
	}
	munmap(seen, sizeof(*seen));
}

/* The root of a tree: its child has its own copy of all it has, and execs when told. */
static void have_a_child(void)
{
	pid_t child = fork();
	char c;

	if (!child) {
		if (read(orders[0], &c, 1) == 1)
			execl("/bin/sleep", "sleep", "1000", NULL);
		_exit(2);
	}
	if (child < 0 || write(answers[1], &child, sizeof(child)) < 0)
		_exit(2);
	for (;;)
		pause();
}

static bool has_open(pid_t pid, const char *name)
{
	char dir[32], path[64], link[64];
	bool found = false;
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", pid);
	d = opendir(dir);
	while (d && !found && (e = readdir(d))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%.16s", dir, e->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = '\0';
		found = !strcmp(link, name);
	}
	if (d)
		closedir(d);
	return found;
}

static bool is_sleep(pid_t pid)
{
	char path[32], comm[16];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, comm, sizeof(comm));
	if (fd >= 0)
		close(fd);
	return n == 6 && !memcmp(comm, "sleep\n", 6);
}

/* With the first read once its pagemap is open, that is of memory it has left. */
static int make_it_exec(void *arg, unsigned int n, pid_t caller)
{
	pid_t child = *(pid_t *)arg;
	static bool done;
	char name[32];

	(void)n;
	snprintf(name, sizeof(name), "/proc/%d/pagemap", child);
	if (done || !has_open(caller, name))
		return 0;
	done = true;
	if (write(orders[1], "x", 1) != 1)
		_exit(2);
	/* The name is set after the memory. */
	while (!is_sleep(child))
		sched_yield();
	return 0;
}

static void release_root(struct notify *reads, pid_t pid,
			 struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(0);
	int fd = mrelease_open(pid, 0);

	if (fd < 0)
		_exit(2);
	notify_begin(reads);
	memset(rep, 0, sizeof(*rep));
	rep->size = sizeof(*rep);
	_exit(mrelease_tree(fd, &opts, rep, NULL, NULL) ? 3 : 0);
}

/* It is alive, in memory that is not the one which was opened. */
static void test_exec_late(void **state)
{
	struct notify reads = { .call = SYS_pread64, .fn = make_it_exec };
	struct seen *seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t root, caller;
	int status;

	(void)state;
	assert_ptr_not_equal(seen, MAP_FAILED);
	assert_int_equal(pipe2(orders, O_CLOEXEC), 0);
	assert_int_equal(pipe2(answers, O_CLOEXEC), 0);
	root = test_fork();
	if (!root)
		have_a_child();
	assert_int_equal(read(answers[0], &seen->child, sizeof(seen->child)),
			 sizeof(seen->child));
	reads.arg = &seen->child;
	caller = test_fork();
	if (!caller)
		release_root(&reads, root, &seen->rep);
	status = test_wait(caller);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(root, NULL, 0), root);
	/* Ours since its parent has died, if we take in orphans. */
	expect_report(&seen->rep, seen->rep.members == 2);
	expect_report(&seen->rep,
		      process_killed(seen->child) || process_gone(seen->child));
	waitpid(seen->child, NULL, 0);
	wait_until(is_gone, &seen->child, "the child has gone");
	for (int i = 0; i < 2; i++) {
		close(orders[i]);
		close(answers[i]);
	}
	munmap(seen, sizeof(*seen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_forked_late),
		harness_test(test_exec_late),
	};

	return run_group(tests);
}
