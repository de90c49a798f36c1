/* SPDX-License-Identifier: MIT */
/* Unit tests of what asks the kernel: waits, page tables, processes of ours. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/os.h"

/* More regions than there is room for: none is left out. */
static void test_scan(void **state)
{
	const size_t page = (size_t)getpagesize(), len = 128 * page;
	struct pages_region regions[8];
	struct pages_scan scan = {
		.all_of = PAGES_PRESENT,
		.regions = regions,
		.room = sizeof(regions) / sizeof(*regions),
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t found = 0;

	(void)state;
	assert_true(fd >= 0 && p != MAP_FAILED);
	madvise(p, len, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < len; at += 2 * page)
		p[at] = 1;
	scan.start = (uintptr_t)p;
	scan.end = scan.start + len;
	do {
		n = pages_scan(fd, &scan);
		/* Before Linux 6.7. */
		if (n == -ENOTTY)
			break;
		assert_true(n >= 0);
		found += (size_t)n;
	} while (scan.more);
	if (n != -ENOTTY)
		assert_int_equal(found, 64);
	munmap(p, len);
	close(fd);
}

/* One of our mappings is shared and writable. */
static void test_lend(void **state)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), ret;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(fd >= 0 && p != MAP_FAILED);
	ret = mappings_lend(fd);
	assert_true(ret == 1 || ret == -ENOTTY);
	munmap(p, 4096);
	close(fd);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/* A signal of the host's is not what it waits for. */
static void test_wait(void **state)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } },
			       never = { 0 };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	int64_t until;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	sigaction(SIGALRM, &sa, &old);
	until = now_ns() + 100 * NSEC_PER_MSEC;
	setitimer(ITIMER_REAL, &often, NULL);
	assert_int_equal(wait_fd(ends[0], POLLIN, until), 0);
	assert_true(now_ns() >= until && alarms);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(wait_fd(ends[0], POLLIN, MRELEASE_NO_DEADLINE), 1);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	close(ends[0]);
	close(ends[1]);
	/* A sum that is too big for a time is no time of long ago. */
	assert_true(deadline_add(until, INT64_MAX) == MRELEASE_NO_DEADLINE);
	assert_true(deadline_add(until, 1) == until + 1);
}

/* One that sleeps hangs; one that has or wants a CPU does not. */
static void test_helper_runs(void **state)
{
	int ends[2];
	struct helper h = { 0 };
	int64_t patience = now_ns() + 20 * NSEC_PER_SEC;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	h.pid = fork();
	if (!h.pid) {
		char c;

		close(ends[1]);
		/* It sleeps, until it is told to spin. */
		if (read(ends[0], &c, 1) == 1)
			for (;;)
				;
		_exit(0);
	}
	while (helper_runs(&h))
		assert_true(now_ns() < patience);
	assert_int_equal(write(ends[1], "x", 1), 1);
	while (!helper_runs(&h))
		assert_true(now_ns() < patience);
	kill(h.pid, SIGKILL);
	assert_int_equal(waitpid(h.pid, NULL, 0), h.pid);
	close(ends[0]);
	close(ends[1]);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void call_loses_files(void)
{
	files_begin();
	files_left();
	files_end();
}

/* What has the mark is closed, and nothing that resembles it. */
static void test_files_left(void **state)
{
	int left[2], kept[5];
	char name[32];

	(void)state;
	left[0] = sys_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY);
	left[1] = sys_memfd_create(MFD_CLOEXEC);
	kept[0] = open("/proc/self/stat", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	kept[1] = open("/proc/self/stat", O_RDONLY | O_CLOEXEC | O_SYNC);
	kept[2] = open("/dev/null", O_WRONLY | O_CLOEXEC | FILES_MARK);
	kept[3] = memfd_create(FILES_MEMFD "1", MFD_CLOEXEC);
	snprintf(name, sizeof(name), "%.*s", (int)sizeof(FILES_MEMFD) - 2,
		 FILES_MEMFD);
	kept[4] = memfd_create(name, MFD_CLOEXEC);
	/* No helper has died. */
	files_begin();
	files_end();
	for (unsigned int i = 0; i < ARRAY_SIZE(left); i++)
		assert_true(is_open(left[i]));
	call_loses_files();
	for (unsigned int i = 0; i < ARRAY_SIZE(left); i++)
		assert_false(is_open(left[i]));
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		assert_true(is_open(kept[i]));
		close(kept[i]);
	}
}

/* Those of another call under way stay; what was left goes after it. */
static void test_files_of_others(void **state)
{
	int other;

	(void)state;
	files_begin();
	other = sys_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY);
	call_loses_files();
	assert_true(is_open(other));
	files_end();
	assert_false(is_open(other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_lend),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_helper_runs),
		cmocka_unit_test(test_files_left),
		cmocka_unit_test(test_files_of_others),
	};

	return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL) ? 1 : 0;
}
