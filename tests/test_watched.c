/* SPDX-License-Identifier: MIT */
/*
 * Victims that decide with fanotify(7) on opens of what they map: each open waits for
 * their permission, and they give none.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "own.h"

#define SIZE (16 * MIB)

static char dir[256];

static void need_permission_events(void)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);

	if (fd < 0)
		skip_test("fanotify", "fanotify_init: %s", strerror(errno));
	if (fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_ONDIR, AT_FDCWD,
			  dir)) {
		int error = errno;

		close(fd);
		rmdir(dir);
		skip_test("fanotify", "no permission events: %s",
			  strerror(error));
	}
	close(fd);
}

static void make_dir(const char *in)
{
	need_root();
	snprintf(dir, sizeof(dir), "%s/mrelease-test.XXXXXX", in);
	assert_non_null(mkdtemp(dir));
	need_permission_events();
}

/* In the victim: nobody else sees this mount, and nothing is left of it. */
static void own_mount(const char *from, const char *type, unsigned long flags)
{
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(from, dir, type, flags, NULL))
		_exit(1);
}

static void map_file(bool with_name)
{
	static const char zeros[SIZE];
	char path[300];
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, zeros, SIZE) != (ssize_t)SIZE || fsync(fd))
		_exit(1);
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (p == MAP_FAILED || (!with_name && unlink(path)))
		_exit(1);
	close(fd);
}

/* Open until it exits, and read by nobody. */
static void watch(void)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);

	if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT,
			  FAN_OPEN_PERM | FAN_ONDIR, AT_FDCWD, dir))
		_exit(1);
}

static void watch_tmpfs(int arg)
{
	(void)arg;
	own_mount("none", "tmpfs", 0);
	map_file(false);
	watch();
}

static void watch_disk(int arg)
{
	(void)arg;
	own_mount(dir, NULL, MS_BIND);
	map_file(true);
	watch();
}

static void release_in_time(void (*fn)(int arg), uint32_t flags, bool tree,
			    struct mrelease_report *rep)
{
	pid_t pid = own_start(fn, 0);
	int64_t start = now_ns();

	(tree ? own_kill_tree : own_kill)(pid, flags, rep);
	/* Nothing has waited for a deadline, which would be half a minute. */
	assert_true(now_ns() - start < 10 * SEC_NS);
	expect_report(rep, rep->result == MRELEASE_RELEASED);
}

static void tmpfs_case(uint32_t flags, bool tree)
{
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];

	make_dir("/tmp");
	release_in_time(watch_tmpfs, flags, tree, &rep);
	rmdir(dir);
	if (!may_ask_objects())
		return;
	expect_report(&rep, e->before_bytes >= SIZE);
	expect_report(&rep, e->back_bytes >= SIZE);
	expect_report(&rep, e->evidence == MRELEASE_EVIDENCE_OBJECT);
}

/* The directory of its tmpfs is not opened while the victim is held. */
static void test_tmpfs(void **state)
{
	(void)state;
	tmpfs_case(0, false);
}

static void test_tmpfs_no_pin(void **state)
{
	(void)state;
	tmpfs_case(MRELEASE_NO_PIN, false);
}

static void test_tmpfs_of_a_tree(void **state)
{
	(void)state;
	tmpfs_case(0, true);
}

static void need_disk(void)
{
	struct statfs st;

	assert_int_equal(statfs(dir, &st), 0);
	if (st.f_type != TMPFS_MAGIC && st.f_type != RAMFS_MAGIC &&
	    st.f_type != OVERLAYFS_SUPER_MAGIC)
		return;
	rmdir(dir);
	skip_test("disk",
		  "%s is in memory, or on an overlay: set "
		  "MRELEASE_TEST_DIR",
		  dir);
}

static void disk_case(uint32_t flags, bool tree)
{
	const char *in = getenv("MRELEASE_TEST_DIR");
	struct mrelease_report rep;
	char path[300];

	make_dir(in ? in : "/var/tmp");
	need_disk();
	release_in_time(watch_disk, MRELEASE_EVICT_CACHE | flags, tree, &rep);
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_int_equal(unlink(path), 0);
	rmdir(dir);
	/* Without a group they are not opened any more, and stay. */
	if (!tree) {
		expect_report(&rep, rep.notes & MRELEASE_NOTE_CACHE_PARTIAL);
		return;
	}
	expect_report(&rep, rep.cache_evicted_bytes >= SIZE);
}

/* Nor are its files, for the sake of their page cache: not for long, at least. */
static void test_files(void **state)
{
	(void)state;
	disk_case(0, false);
}

static void test_files_without_the_exit(void **state)
{
	(void)state;
	disk_case(MRELEASE_NO_WAIT_EXIT, false);
}

static void test_files_of_a_tree(void **state)
{
	(void)state;
	disk_case(0, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_tmpfs),
		harness_test(test_tmpfs_no_pin),
		harness_test(test_tmpfs_of_a_tree),
		harness_test(test_files),
		harness_test(test_files_without_the_exit),
		harness_test(test_files_of_a_tree),
	};

	return run_group(tests);
}
