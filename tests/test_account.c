/* SPDX-License-Identifier: MIT */
/* The account: a page is back only if it has become free, and once. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own.h"

#define SIZE (24 * MIB)

static char *touch(int flags, int fd)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		_exit(1);
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	memset(p, 1, SIZE);
	return p;
}

/* What so little memory is worth is counted, if there is a CPU for it. */
static void need_counted(const struct mrelease_report *rep)
{
	if (rep->unsure_bytes > MIB)
		skip_test("busy", "no CPU to count with");
}

static void do_nothing(int arg)
{
	(void)arg;
}

static char *shared_pages;

static void copy_half(int arg)
{
	(void)arg;
	memset(shared_pages, 2, SIZE / 2);
}

/* What the parent has as well is not back. */
static void test_fork_shares(void **state)
{
	struct mrelease_report dry, rep;
	pid_t pid;

	(void)state;
	shared_pages = touch(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	pid = own_start(do_nothing, 0);
	own_kill(pid, MRELEASE_DRY_RUN, &dry);
	own_kill(pid, 0, &rep);
	expect_report(&dry, dry.exclusive_bytes < 2 * MIB);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	need_counted(&rep);
	expect_report(&rep, rep.released_bytes < 2 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_COW].kept_bytes >= SIZE);
	expect_report(&rep, rep.outstanding_bytes == 0);

	pid = own_start(copy_half, 0);
	own_kill(pid, 0, &rep);
	need_counted(&rep);
	expect_report(&rep, rep.released_bytes >= SIZE / 2);
	expect_report(&rep, rep.released_bytes < SIZE / 2 + 2 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_COW].kept_bytes >= SIZE / 2);
	munmap(shared_pages, SIZE);
}

/* Three workers: two only read what they have from their parent. */
static void prefork(int arg)
{
	char *own = touch(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int ends[2];
	char c;

	(void)arg;
	if (pipe2(ends, O_CLOEXEC))
		_exit(2);
	for (int i = 0; i < 3; i++) {
		if (fork())
			continue;
		if (!i)
			memset(own, 2, SIZE / 2);
		if (write(ends[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	for (int i = 0; i < 3; i++)
		if (read(ends[0], &c, 1) != 1)
			_exit(2);
}

static void kill_tree(pid_t pid, uint32_t flags, struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int fd = mrelease_open(pid, 0);
	int ret;

	assert_true(fd >= 0);
	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	ret = mrelease_tree(fd, &opts, rep, NULL, NULL);
	assert_int_equal(ret, 0);
	close(fd);
	if (flags & MRELEASE_DRY_RUN)
		return;
	check_report(rep, ret);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What only members share goes with them, each page once; ours stays. */
static void test_fork_shares_in_a_tree(void **state)
{
	struct mrelease_report dry, rep;
	const struct mrelease_entry *cow = &rep.kinds[MRELEASE_COW];
	const uint64_t true_bytes = SIZE + SIZE / 2;
	pid_t pid;

	(void)state;
	if (geteuid())
		skip_test("root", "frames are shown to root only");
	shared_pages = touch(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	pid = own_start(prefork, 0);
	kill_tree(pid, MRELEASE_DRY_RUN, &dry);
	kill_tree(pid, 0, &rep);
	munmap(shared_pages, SIZE);
	need_counted(&rep);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 4 && rep.members_verified == 4);
	expect_report(&rep, rep.released_bytes >= true_bytes - MIB);
	expect_report(&rep, rep.released_bytes < true_bytes + 2 * MIB);
	expect_report(&rep, cow->back_bytes >= SIZE - MIB);
	expect_report(&rep, cow->kept_bytes >= SIZE - MIB);
	expect_report(&rep, cow->kept_bytes < SIZE + 3 * MIB);
	expect_report(&rep, rep.outstanding_bytes == 0);
	expect_report(&dry, dry.exclusive_bytes < rep.released_bytes + MIB);
	expect_report(&dry, dry.exclusive_bytes + MIB > rep.released_bytes);
}

static char *common;

static void read_byte(const char *p)
{
	(void)*(const volatile char *)p;
}

/* Two workers map what their parent has; one of them never touches ours. */
static void database(int arg)
{
	char *own = touch(MAP_SHARED | MAP_ANONYMOUS, -1);
	int ends[2];
	char c;

	(void)arg;
	if (pipe2(ends, O_CLOEXEC))
		_exit(2);
	for (size_t i = 0; i < SIZE; i += 4096)
		read_byte(common + i);
	for (int i = 0; i < 2; i++) {
		if (fork())
			continue;
		for (size_t j = 0; j < SIZE; j += 4096) {
			read_byte(own + j);
			if (i)
				read_byte(common + j);
		}
		if (write(ends[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	for (int i = 0; i < 2; i++)
		if (read(ends[0], &c, 1) != 1)
			_exit(2);
}

/* An object that three members map is back once; ours is not back at all. */
static void test_objects_in_a_tree(void **state)
{
	struct mrelease_report dry, rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];
	pid_t pid;

	(void)state;
	need_objects();
	common = touch(MAP_SHARED | MAP_ANONYMOUS, -1);
	pid = own_start(database, 0);
	kill_tree(pid, MRELEASE_DRY_RUN, &dry);
	kill_tree(pid, 0, &rep);
	munmap(common, SIZE);
	expect_report(&rep, rep.result == MRELEASE_RELEASED && rep.verified);
	expect_report(&rep, rep.outstanding_bytes == 0);
	expect_report(&rep, e->before_bytes >= 2 * SIZE);
	expect_report(&rep, e->before_bytes < 2 * SIZE + MIB);
	expect_report(&rep, e->back_bytes >= SIZE);
	expect_report(&rep, e->back_bytes < SIZE + MIB);
	expect_report(&rep, e->evidence == MRELEASE_EVIDENCE_OBJECT);
	expect_report(&rep, e->reason == MRELEASE_REASON_IN_USE);
	expect_report(&dry, dry.kinds[MRELEASE_SHMEM].exclusive_bytes ==
				    e->back_bytes);
}

static void map_twice(int fd)
{
	touch(MAP_SHARED, fd);
	touch(MAP_SHARED, fd);
	close(fd);
}

/* An object counts once, however often it is mapped. */
static void test_mapped_twice(void **state)
{
	const struct mrelease_entry *e;
	struct mrelease_report rep;
	pid_t pid;
	int fd;

	(void)state;
	need_objects();
	fd = memfd_create("twice", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	pid = own_start(map_twice, fd);
	close(fd);
	own_kill(pid, 0, &rep);
	e = &rep.kinds[MRELEASE_SHMEM];
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, e->back_bytes >= SIZE && e->back_bytes < 2 * SIZE);
	expect_report(&rep, e->evidence == MRELEASE_EVIDENCE_OBJECT);
	expect_report(&rep, rep.outstanding_bytes == 0);
}

static void map_once(int fd)
{
	touch(MAP_SHARED, fd);
	close(fd);
}

/* A file in tmpfs stays, and so does what somebody has a descriptor of. */
static void test_stays(void **state)
{
	char path[] = "/dev/shm/mrelease-test.XXXXXX";
	struct mrelease_report rep, dry;
	pid_t pid;
	int fd;

	(void)state;
	need_objects();
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	pid = own_start(map_once, fd);
	own_kill(pid, MRELEASE_DRY_RUN, &dry);
	own_kill(pid, 0, &rep);
	unlink(path);
	expect_report(&dry, dry.outstanding_bytes >= SIZE);
	expect_report(&rep, rep.outstanding_bytes >= SIZE);
	expect_report(&rep, rep.released_bytes < 2 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].reason ==
				    MRELEASE_REASON_LINKED);
	/* Now it has no name, and we have it open. */
	pid = own_start(map_once, fd);
	own_kill(pid, 0, &rep);
	close(fd);
	expect_report(&rep, rep.outstanding_bytes >= SIZE);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].reason ==
				    MRELEASE_REASON_IN_USE);
}

/* One worker's memory goes with it, the other's has a name and stays. */
static void two_workers(int fd)
{
	int ends[2];
	char c;

	if (pipe2(ends, O_CLOEXEC))
		_exit(2);
	for (int i = 0; i < 2; i++) {
		if (fork())
			continue;
		touch(i ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, i ? fd : -1);
		close(fd);
		if (write(ends[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	for (int i = 0; i < 2; i++)
		if (read(ends[0], &c, 1) != 1)
			_exit(2);
	close(fd);
}

static void test_linked_in_a_tree(void **state)
{
	char path[] = "/dev/shm/mrelease-test.XXXXXX";
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];
	pid_t pid;
	int fd;

	(void)state;
	need_objects();
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	pid = own_start(two_workers, fd);
	close(fd);
	kill_tree(pid, 0, &rep);
	unlink(path);
	expect_report(&rep, e->back_bytes >= SIZE);
	expect_report(&rep, e->back_bytes < SIZE + MIB);
	expect_report(&rep, e->outstanding_bytes >= SIZE);
	expect_report(&rep, e->outstanding_bytes < SIZE + MIB);
	expect_report(&rep, e->reason == MRELEASE_REASON_LINKED);
	expect_report(&rep, e->kept_bytes < MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_fork_shares),
		harness_test(test_fork_shares_in_a_tree),
		harness_test(test_objects_in_a_tree),
		harness_test(test_mapped_twice),
		harness_test(test_stays),
		harness_test(test_linked_in_a_tree),
	};

	return run_group(tests);
}
