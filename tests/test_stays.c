/* SPDX-License-Identifier: MIT */
/* What no page table shows, and what comes back with the exit only. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own.h"

#define SIZE (16 * MIB)
/* Of page tables, with a page of them for each 2 MiB. */
#define TABLES	(8 * MIB)
#define MAPPED	(TABLES / 4096 * 2 * MIB)
#define MANY	10000
#define KIND(k) (&rep.kinds[MRELEASE_##k])
/* Linux 6.13 */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void fill(int fd)
{
	static char buf[MIB];

	memset(buf, 7, sizeof(buf));
	for (uint64_t n = 0; n < SIZE; n += sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
			_exit(1);
}

static void have_memfd(int arg)
{
	int fd = memfd_create("stays", MFD_CLOEXEC);

	(void)arg;
	if (fd < 0)
		_exit(2);
	fill(fd);
}

/* Frozen, it has until the deadline, and is not seen to exit. */
static void release_frozen(void (*fn)(int arg), struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(0);
	struct cgroup cg;
	pid_t pid;
	int fd;

	cgroup_make(&cg, CGROUP_FREEZER);
	pid = own_start(fn, 0);
	cgroup_add(&cg, pid);
	cgroup_freeze(&cg);
	fd = mrelease_open(pid, 0);
	assert_true(fd >= 0);
	rep->size = sizeof(*rep);
	opts.deadline_ns = now_ns() + SEC_NS;
	check_report(rep, mrelease_process(fd, &opts, rep));
	close(fd);
	cgroup_thaw(&cg);
	close(cg.fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	expect_report(rep, rep->notes & MRELEASE_NOTE_FROZEN);
}

/* A buffer that was written and never mapped is held by its descriptor. */
static void test_memfd_of_a_frozen_one(void **state)
{
	struct mrelease_report rep;

	(void)state;
	release_frozen(have_memfd, &rep);
	expect_report(&rep, KIND(UNMAPPED)->outstanding_bytes >= SIZE);
	expect_report(&rep,
		      KIND(UNMAPPED)->reason == MRELEASE_REASON_NOT_EXITED);
	expect_report(&rep, rep.released_bytes < 4 * MIB);
}

static void have_tables(int arg)
{
	volatile char *p = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				0);

	(void)arg;
	if (p == MAP_FAILED)
		_exit(1);
	madvise((void *)p, MAPPED, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < MAPPED; i += 2 * MIB)
		(void)p[i];
}

/* An index that is looked up at random: page tables, and hardly a page. */
static void test_tables_of_a_frozen_one(void **state)
{
	struct mrelease_report rep;

	(void)state;
	release_frozen(have_tables, &rep);
	expect_report(&rep, KIND(TABLES)->outstanding_bytes >= TABLES);
	expect_report(&rep, KIND(TABLES)->reason == MRELEASE_REASON_NOT_EXITED);
	expect_report(&rep, rep.released_bytes < TABLES + 4 * MIB);
}

static void have_guards(int nr)
{
	own_anon(SIZE, MAP_PRIVATE);
	for (int i = 0; i < nr; i++) {
		char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			       0);

		if (p == MAP_FAILED || madvise(p, 4096, MADV_GUARD_INSTALL))
			_exit(1);
		/* They would be one mapping. */
		if (i % 2)
			mprotect(p, 65536, PROT_READ);
	}
}

static void have_few_guards(int arg)
{
	(void)arg;
	have_guards(8);
}

static void need_guards(void)
{
	char *p = own_anon(4096, MAP_PRIVATE);
	int ret = madvise(p, 4096, MADV_GUARD_INSTALL);

	munmap(p, 4096);
	if (ret)
		skip_test("kernel", "no guard pages before Linux 6.13");
}

/* Guard pages are no memory, though they look like swapped pages. */
static void test_guards_of_a_frozen_one(void **state)
{
	struct mrelease_report rep;

	(void)state;
	need_guards();
	release_frozen(have_few_guards, &rep);
	expect_report(&rep, rep.verified && rep.outstanding_bytes == 0);
	expect_report(&rep, rep.released_bytes >= SIZE);
}

/* Many of them are met once each. */
static void test_many_guards(void **state)
{
	struct mrelease_report rep;
	int64_t begun, killed;
	pid_t pid;

	(void)state;
	need_guards();
	pid = own_start(have_guards, MANY);
	begun = now_ns();
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	killed = now_ns() - begun;
	pid = own_start(have_guards, MANY);
	begun = now_ns();
	own_kill(pid, 0, &rep);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.outstanding_bytes == 0);
	/* Not for each of them: that took seconds. */
	expect_report(&rep, now_ns() - begun < SEC_NS + 20 * killed);
}

static const struct cgroup *join;

static void fill_charged(int fd)
{
	int procs = open(join->procs, O_WRONLY | O_CLOEXEC);

	if (procs < 0 || write(procs, "0", 1) != 1)
		_exit(3);
	close(procs);
	fill(fd);
	close(fd);
}

/* Somebody else has it, or it has a name: its cgroup is charged for it. */
static void charged_case(int (*open_it)(char *path), char *path)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct cgroup cg;
	pid_t pid;
	int fd;

	cgroup_make(&cg, CGROUP_MEMORY);
	join = &cg;
	fd = open_it(path);
	pid = own_start(fill_charged, fd);
	check_report(&rep, mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fd);
	close(cg.fd);
	if (path)
		unlink(path);
	expect_report(&rep, KIND(UNMAPPED)->outstanding_bytes >= SIZE - MIB);
	expect_report(&rep, KIND(UNMAPPED)->reason == MRELEASE_REASON_CHARGED);
	expect_report(&rep, rep.released_bytes < 4 * MIB);
}

static int open_memfd(char *path)
{
	int fd = memfd_create("stays", MFD_CLOEXEC);

	(void)path;
	assert_true(fd >= 0);
	return fd;
}

static int open_file(char *path)
{
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	return fd;
}

static void test_memfd_that_we_hold(void **state)
{
	(void)state;
	charged_case(open_memfd, NULL);
}

static void test_file_in_tmpfs(void **state)
{
	char path[] = "/dev/shm/mrelease-test.XXXXXX";

	(void)state;
	charged_case(open_file, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_memfd_of_a_frozen_one),
		harness_test(test_tables_of_a_frozen_one),
		harness_test(test_guards_of_a_frozen_one),
		harness_test(test_many_guards),
		harness_test(test_memfd_that_we_hold),
		harness_test(test_file_in_tmpfs),
	};

	return run_group(tests);
}
