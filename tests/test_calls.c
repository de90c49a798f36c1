/* SPDX-License-Identifier: MIT */
/*
 * How many system calls it takes: from the order to the signal of a prepared
 * release; the whole of a command, on a process that has next to nothing.
 * Counted, not timed: the machine may be as busy as it likes.
 *
 * clock_gettime() is not counted.  Where the clock can be read in user mode it
 * is no system call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "prepare.h"
#include "stepper.h"

/* With a helper that waits, and with one that is yet to be made. */
#define MAX_STANDBY  10
#define MAX_PREPARED 17
/* For a second pin. */
#define MAX_SECOND 2
/*
 * A command and its loader, on a process with one thread; without the start.
 * One of them asks, before a robust list is read, whether its page is there.
 */
#define MAX_COMMAND 97
#define MAX_RELEASE 65

static void show(const struct steps_seen *seen)
{
	printf("# %u calls:", seen->calls);
	for (unsigned int nr = 0; nr < ARRAY_LEN(seen->counts); nr++) {
		if (seen->counts[nr])
			printf(" %u:%u", nr, seen->counts[nr]);
	}
	printf("\n");
}

/* What opens a file, or takes memory in user space, or lists. */
static void expect_nothing_new(const struct steps_seen *seen)
{
	static const long calls[] = {
#ifdef SYS_open
		SYS_open,
#endif
		SYS_openat,  SYS_openat2, SYS_memfd_create, SYS_pidfd_open,
		SYS_mmap,    SYS_mremap,  SYS_brk,	    SYS_dup,
		SYS_dup3,    SYS_socket,  SYS_pipe2,	    SYS_getdents64,
		SYS_unshare,
	};

	for (unsigned int i = 0; i < ARRAY_LEN(calls); i++)
		assert_int_equal(seen->counts[calls[i]], 0);
	/* Where would a helper be born? */
	assert_in_range(seen->counts[SYS_readlinkat], 0,
			2 * seen->counts[SYS_clone]);
	/* The lock on what is about to come back; no copy of a descriptor. */
	assert_in_range(seen->counts[SYS_fcntl], 0, 1);
}

/*
 * From the mark to the signal.  If the helper gets no CPU for 10 ms the caller
 * sends it, and has asked before why that is so.
 */
static void from_order_to_signal(const char *kind, const char *name,
				 const char *a, struct steps_seen *seen)
{
	char program[PATH_MAX], number[16];
	char *argv[] = { program, number, (char *)kind, NULL };
	struct victim v;
	bool late;

	snprintf(program, sizeof(program), "%s", beside("prepare"));
	for (unsigned int i = 0; i < 10; i++) {
		victim_start(&v, name, a, "4", NULL);
		snprintf(number, sizeof(number), "%d", v.pid);
		steps_count(argv, SYS_getpgid, PREPARE_MARK, seen);
		victim_end(&v);
		if (!seen->killed)
			skip_test("syscall-info", "PTRACE_GET_SYSCALL_INFO");
		show(seen);
		/* One that was not ready in time is made anew, as any other. */
		late = !strcmp(kind, "standby") && seen->counts[SYS_clone];
		if (seen->killer && !late)
			return;
	}
	skip_test("busy", "the helper gets no CPU for 10 ms, ten times");
}

static void test_standby(void **state)
{
	struct steps_seen seen;

	(void)state;
	from_order_to_signal("standby", "anon", "16", &seen);
	expect_nothing_new(&seen);
	assert_int_equal(seen.counts[SYS_clone], 0);
	assert_in_range(seen.calls, 1, MAX_STANDBY);
}

static void test_standby_threads(void **state)
{
	struct steps_seen seen;

	(void)state;
	from_order_to_signal("standby", "threads", "8", &seen);
	expect_nothing_new(&seen);
	assert_int_equal(seen.counts[SYS_clone], 0);
	assert_in_range(seen.calls, 1, MAX_STANDBY + MAX_SECOND);
}

static void test_prepared(void **state)
{
	struct steps_seen seen;

	(void)state;
	from_order_to_signal("", "anon", "16", &seen);
	expect_nothing_new(&seen);
	assert_int_equal(seen.counts[SYS_clone], 1);
	assert_in_range(seen.calls, 1, MAX_PREPARED);
}

/* Without it more is opened, and with it so is PROCMAP_QUERY, as a rule. */
static bool has_get_info(int pidfd)
{
	uint64_t info[8] = { 1 };

	return ioctl(pidfd, _IOWR(0xff, 11, info), info) == 0;
}

static unsigned int count_command(const char *arg, struct steps_seen *seen)
{
	char program[PATH_MAX];
	char *argv[] = { program, (char *)arg, NULL };

	snprintf(program, sizeof(program), "%s", beside("../mrelease"));
	if (access(program, X_OK))
		skip_test("command", "the command was not built");
	steps_count(argv, -1, 0, seen);
	return seen->calls;
}

/* It had to wait for a CPU: for the pin's stop, or the caller for its helper. */
static bool was_busy(const struct steps_seen *seen)
{
	return seen->counts[SYS_rt_sigtimedwait] || seen->counts[SYS_futex] > 1;
}

/* A child of ours, as its victim is: no other process is asked about. */
static void test_command(void **state)
{
	struct steps_seen seen;
	unsigned int start;
	char number[16];
	struct victim v;
	bool can_ask;

	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip_test("sanitizer", "it has calls of its own");
#endif
	/* A test runner's own: the loader would look there first. */
	unsetenv("LD_LIBRARY_PATH");
	/* No terminal is looked for. */
	setenv("TERM", "dumb", 1);
	start = count_command("--version", &seen);
	if (!start)
		skip_test("syscall-info", "PTRACE_GET_SYSCALL_INFO");
	for (unsigned int i = 0; i < 20; i++) {
		victim_start(&v, "anon", "0", NULL);
		can_ask = has_get_info(v.fd);
		snprintf(number, sizeof(number), "%d", v.pid);
		count_command(number, &seen);
		victim_end(&v);
		show(&seen);
		if (!was_busy(&seen))
			break;
	}
	if (!can_ask)
		skip_test("pidfd-info", "PIDFD_GET_INFO, Linux 6.13");
	if (was_busy(&seen))
		skip_test("busy", "the victim gets no CPU, twenty times");
	if (seen.counts[SYS_ptrace] != 2)
		skip_test("ptrace", "no pin");
	assert_in_range(seen.calls, start, MAX_COMMAND);
	assert_in_range(seen.calls - start, 1, MAX_RELEASE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_standby),
		harness_test(test_standby_threads),
		harness_test(test_prepared),
		harness_test(test_command),
	};

	return run_group(tests);
}
