/* SPDX-License-Identifier: MIT */
/* Huge pages: free is what neither an object nor a survivor has any more. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <unistd.h>

#include "own.h"

#define POOL	   "/proc/sys/vm/nr_hugepages"
#define HUGE	   (2 * MIB)
#define PAGES	   4
#define SIZE	   (PAGES * HUGE)
#define ENTRY(rep) (&(rep)->kinds[MRELEASE_HUGETLB])

static char *map_huge(size_t size, int flags, int fd)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       flags | (fd < 0 ? MAP_ANONYMOUS | MAP_HUGETLB : 0), fd,
		       0);

	if (p == MAP_FAILED)
		_exit(1);
	return p;
}

static void touch(char *p, size_t size)
{
	for (size_t i = 0; i < size; i += HUGE)
		p[i]++;
}

static char *shared;

static void have_private(int arg)
{
	(void)arg;
	touch(map_huge(SIZE, MAP_PRIVATE, -1), SIZE);
}

static void touch_shared(int arg)
{
	touch(shared, arg * HUGE);
}

static void test_private(void **state)
{
	struct mrelease_report rep;
	long had;

	(void)state;
	own_need_huge(PAGES);
	had = own_meminfo("HugePages_Free");
	own_kill(own_start(have_private, 0), 0, &rep);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->unsure_bytes == 0);
	assert_int_equal(own_meminfo("HugePages_Free"), had);
}

/* Since the fork both have the pages; then the victim writes to some. */
static void test_private_of_a_survivor(void **state)
{
	struct mrelease_report dry, rep;
	pid_t pid;

	(void)state;
	own_need_huge(PAGES + 1);
	shared = map_huge(SIZE, MAP_PRIVATE, -1);
	touch(shared, SIZE);
	pid = own_start(touch_shared, 1);
	own_kill(pid, MRELEASE_DRY_RUN, &dry);
	own_kill(pid, 0, &rep);
	munmap(shared, SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == HUGE);
	expect_report(&rep, ENTRY(&rep)->kept_bytes == SIZE - HUGE);
	expect_report(&rep, ENTRY(&rep)->reason == MRELEASE_REASON_COW);
	expect_report(&rep, ENTRY(&rep)->outstanding_bytes == 0);
	expect_report(&dry, ENTRY(&dry)->exclusive_bytes == HUGE);
}

/* A survivor that has never touched what it inherited keeps it all the same. */
static void test_shared_with_a_survivor(void **state)
{
	struct mrelease_report rep;
	long before;

	(void)state;
	own_need_map_files();
	own_need_huge(PAGES);
	shared = map_huge(SIZE, MAP_SHARED, -1);
	own_kill(own_start(touch_shared, PAGES), 0, &rep);
	before = own_meminfo("HugePages_Free");
	munmap(shared, SIZE);
	assert_int_equal(own_meminfo("HugePages_Free"), before + PAGES);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == 0);
	expect_report(&rep, ENTRY(&rep)->reason == MRELEASE_REASON_IN_USE);
}

static int huge_memfd(void)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);

	if (fd < 0)
		skip_test("hugetlb", "no memfd of huge pages");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	return fd;
}

static void map_memfd(int fd)
{
	touch(map_huge(SIZE, MAP_SHARED, fd), SIZE);
	close(fd);
}

static void take_pages(int arg)
{
	shared = map_huge(SIZE, MAP_PRIVATE, -1);
	touch(shared, arg * HUGE);
}

static void give_pages(void)
{
	munmap(shared, SIZE);
}

/*
 * As many pages as the victim had are freed by a stranger at its end, while
 * we hold the victim's: these are not back.
 */
static void test_freed_by_a_stranger(void **state)
{
	struct mrelease_report rep;
	pid_t pid, stranger;
	int fd;

	(void)state;
	own_need_map_files();
	own_need_huge(2 * PAGES);
	fd = huge_memfd();
	pid = own_start(map_memfd, fd);
	stranger = own_stranger(take_pages, PAGES, give_pages, pid);
	own_kill(pid, 0, &rep);
	own_end(stranger);
	close(fd);
	expect_report(&rep, ENTRY(&rep)->back_bytes == 0);
	expect_report(&rep, ENTRY(&rep)->outstanding_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->reason == MRELEASE_REASON_IN_USE);
}

static void take_pages_now(void)
{
	take_pages(PAGES);
}

/* A stranger takes as many at that moment: what the victim had is back. */
static void test_taken_by_a_stranger(void **state)
{
	struct mrelease_report rep;
	pid_t pid, stranger;
	int fd;

	(void)state;
	own_need_map_files();
	own_need_huge(2 * PAGES);
	fd = huge_memfd();
	pid = own_start(map_memfd, fd);
	close(fd);
	stranger = own_stranger(NULL, 0, take_pages_now, pid);
	own_kill(pid, 0, &rep);
	own_end(stranger);
	expect_report(&rep, rep.result == MRELEASE_RELEASED && rep.verified);
	expect_report(&rep, ENTRY(&rep)->back_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->evidence == MRELEASE_EVIDENCE_OBJECT);
}

static void map_twice(int fd)
{
	touch(map_huge(SIZE, MAP_SHARED, fd), SIZE);
	map_memfd(fd);
}

/* What is mapped twice is there once, and no private page. */
static void test_mapped_twice(void **state)
{
	struct mrelease_report rep;
	pid_t pid;
	int fd;

	(void)state;
	own_need_map_files();
	own_need_huge(PAGES);
	fd = huge_memfd();
	pid = own_start(map_twice, fd);
	close(fd);
	own_kill(pid, 0, &rep);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == SIZE);
}

/* Two pages of its own, and for the rest it looks at those of the file. */
static void map_privately(int fd)
{
	char *p = map_huge(SIZE, MAP_PRIVATE, fd);

	for (size_t i = 0; i < SIZE; i += HUGE)
		(void)((volatile char *)p)[i];
	touch(p, 2 * HUGE);
	close(fd);
}

/* Through a private mapping: pages of the file are the file's. */
static void test_file_mapped_privately(void **state)
{
	struct mrelease_report rep;
	pid_t pid;
	int fd;

	(void)state;
	own_need_map_files();
	own_need_huge(2 * PAGES);
	fd = huge_memfd();
	assert_int_equal(fallocate(fd, 0, 0, SIZE), 0);
	pid = own_start(map_privately, fd);
	own_kill(pid, 0, &rep);
	close(fd);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE + 2 * HUGE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == 2 * HUGE);
	expect_report(&rep, ENTRY(&rep)->back_bytes +
					    ENTRY(&rep)->outstanding_bytes +
					    ENTRY(&rep)->kept_bytes ==
				    SIZE + 2 * HUGE);
}

static void attach(int id)
{
	char *p = shmat(id, NULL, 0);

	if (p == (void *)-1)
		_exit(1);
	touch(p, SIZE);
}

/* A segment stays; one that is marked to be removed goes with the last user. */
static void test_segment(void **state)
{
	struct mrelease_report rep;
	pid_t pid;

	(void)state;
	own_need_map_files();
	own_need_huge(PAGES);
	for (int removed = 0; removed < 2; removed++) {
		int id = shmget(IPC_PRIVATE, SIZE,
				IPC_CREAT | SHM_HUGETLB | 0600);

		if (id < 0)
			skip_test("hugetlb", "shmget: %s", strerror(errno));
		pid = own_start(attach, id);
		if (removed)
			shmctl(id, IPC_RMID, NULL);
		own_kill(pid, 0, &rep);
		if (!removed)
			shmctl(id, IPC_RMID, NULL);
		expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
		expect_report(&rep,
			      ENTRY(&rep)->back_bytes == (removed ? SIZE : 0));
		if (!removed)
			expect_report(&rep, ENTRY(&rep)->reason ==
						    MRELEASE_REASON_LINKED);
	}
}

static void open_and_map(int dir_fd)
{
	int fd = openat(dir_fd, "file", O_CREAT | O_RDWR, 0600);

	if (fd < 0 || ftruncate(fd, SIZE))
		_exit(1);
	close(dir_fd);
	map_memfd(fd);
}

/* A file of hugetlbfs stays, until it has no name. */
static void test_linked_file(void **state)
{
	char dir[] = "/tmp/mrelease-test.XXXXXX";
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	struct mrelease_report linked, unlinked;
	int cwd = open(".", O_PATH | O_CLOEXEC), fd = -1;
	pid_t pid;

	(void)state;
	own_need_map_files();
	own_need_huge(PAGES);
	assert_non_null(mkdtemp(dir));
	if (!unshare(CLONE_NEWNS) &&
	    !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	    !mount("test", dir, "hugetlbfs", 0, NULL))
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		own_kill(own_start(open_and_map, fd), 0, &linked);
		pid = own_start(open_and_map, fd);
		assert_int_equal(unlinkat(fd, "file", 0), 0);
		close(fd);
		own_kill(pid, 0, &unlinked);
	}
	assert_int_equal(setns(ns, CLONE_NEWNS), 0);
	assert_int_equal(fchdir(cwd), 0);
	close(cwd);
	close(ns);
	rmdir(dir);
	if (fd < 0)
		skip_test("mount", "no hugetlbfs can be mounted");
	expect_report(&linked, ENTRY(&linked)->outstanding_bytes == SIZE);
	expect_report(&linked,
		      ENTRY(&linked)->reason == MRELEASE_REASON_LINKED);
	expect_report(&unlinked, ENTRY(&unlinked)->back_bytes == SIZE);
	expect_report(&unlinked, unlinked.result == MRELEASE_RELEASED);
}

static void have_ring_kept(int arg)
{
	(void)arg;
	shared = map_huge(SIZE, MAP_PRIVATE, -1);
	touch(shared, SIZE);
	if (own_ring(shared, SIZE) < 0)
		_exit(2);
	own_keep_files(shared, SIZE);
}

static bool has_free(void *pages)
{
	return own_meminfo("HugePages_Free") >= *(long *)pages;
}

/* A ring goes later than its process, and the next test counts. */
static void wait_for_free(long pages)
{
	wait_until(has_free, &pages, "the pinned pages to be free");
}

/* Registered with io_uring, and the ring lives on: they are not back. */
static void test_pinned(void **state)
{
	struct mrelease_report rep;
	pid_t pid, keeper;
	long had;

	(void)state;
	own_need_frames();
	own_need_ring();
	own_need_huge(2 * PAGES);
	had = own_meminfo("HugePages_Free");
	pid = own_start(have_ring_kept, 0);
	assert_int_equal(process_children(pid, &keeper, 1), 1);
	own_kill(pid, 0, &rep);
	own_end(keeper);
	wait_for_free(had);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == 0);
	expect_report(&rep, ENTRY(&rep)->outstanding_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->reason == MRELEASE_REASON_PINNED);
}

static void register_memfd(int fd)
{
	char *p = map_huge(SIZE, MAP_SHARED, fd);

	touch(p, SIZE);
	if (own_ring(p, SIZE) < 0)
		_exit(2);
	close(fd);
}

/* Of a shared page nothing tells whether it is pinned. */
static void test_pinned_shared(void **state)
{
	struct mrelease_report rep;
	pid_t pid;
	long had;
	int fd;

	(void)state;
	own_need_map_files();
	own_need_ring();
	own_need_huge(PAGES);
	had = own_meminfo("HugePages_Free");
	fd = huge_memfd();
	pid = own_start(register_memfd, fd);
	close(fd);
	own_kill(pid, 0, &rep);
	wait_for_free(had);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, !rep.verified);
	expect_report(&rep, ENTRY(&rep)->back_bytes == 0);
	expect_report(&rep, ENTRY(&rep)->outstanding_bytes == SIZE);
}

static void have_workers(int arg)
{
	(void)arg;
	shared = map_huge(SIZE, MAP_SHARED, -1);
	for (int i = 0; i < 2; i++)
		own_start(touch_shared, PAGES);
}

/* Two workers and their parent have it: it is back once. */
static void test_tree(void **state)
{
	struct mrelease_report rep;
	long had;

	(void)state;
	own_need_map_files();
	own_need_huge(PAGES);
	had = own_meminfo("HugePages_Free");
	own_kill_tree(own_start(have_workers, 0), 0, &rep);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 3);
	expect_report(&rep, ENTRY(&rep)->before_bytes == SIZE);
	expect_report(&rep, ENTRY(&rep)->back_bytes == SIZE);
	assert_int_equal(own_meminfo("HugePages_Free"), had);
}

static int sharer(void *arg)
{
	(void)arg;
	pause();
	return 0;
}

/* Transparent ones and one of hugetlb, and a process on the same memory. */
static void share_memory(int arg)
{
	static char stack[65536] __attribute__((aligned(16)));
	char *p = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	if (p == MAP_FAILED)
		_exit(1);
	madvise(p, 4 * HUGE, MADV_HUGEPAGE);
	memset(p, 1, 4 * HUGE);
	touch(map_huge(HUGE, MAP_PRIVATE, -1), HUGE);
	if (clone(sharer, stack + sizeof(stack), CLONE_VM, NULL) < 0)
		_exit(2);
}

/* With a living sharer nothing of it is back, whatever the pages are. */
static void test_living_sharer(void **state)
{
	struct mrelease_report rep;

	(void)state;
	need_kcmp();
	own_need_huge(PAGES);
	own_kill(own_start(share_memory, 0), 0, &rep);
	own_end(rep.sharer_pid);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, ENTRY(&rep)->before_bytes == HUGE);
	expect_report(&rep, ENTRY(&rep)->outstanding_bytes == HUGE);
	expect_report(&rep, rep.outstanding_bytes >= 5 * HUGE);
	expect_report(&rep, rep.released_bytes == 0);
}

#define huge_test(f)                                                \
	((const struct CMUnitTest){ #f, harness_run, harness_setup, \
				    own_huge_teardown, (void *)(f) })

int main(void)
{
	const struct CMUnitTest tests[] = {
		huge_test(test_private),
		huge_test(test_private_of_a_survivor),
		huge_test(test_shared_with_a_survivor),
		huge_test(test_freed_by_a_stranger),
		huge_test(test_taken_by_a_stranger),
		huge_test(test_mapped_twice),
		huge_test(test_file_mapped_privately),
		huge_test(test_segment),
		huge_test(test_linked_file),
		huge_test(test_pinned),
		huge_test(test_pinned_shared),
		huge_test(test_tree),
		huge_test(test_living_sharer),
	};

	return run_group(tests);
}
