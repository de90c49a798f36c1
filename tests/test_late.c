/* SPDX-License-Identifier: MIT */
/* What the victim does with the last thing before the signal. */
#include <fcntl.h>
#include <signal.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_forked_late),
	};

	return run_group(tests);
}
