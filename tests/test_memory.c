/* SPDX-License-Identifier: MIT */
/* Every kind of memory: what comes back, what does not, and what is said. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "harness.h"

static bool may_map_files(void)
{
	struct mrelease_features f = { .size = sizeof(f) };

	assert_int_equal(mrelease_probe(&f), 0);
	return f.map_files == 1;
}

/* If no object can be asked, the release may be unconfirmed. */
static void expect_shmem_result(const struct mrelease_report *rep)
{
	expect_report(rep, rep->result == MRELEASE_RELEASED ||
				   (!may_ask_objects() &&
				    rep->result == MRELEASE_UNCONFIRMED &&
				    rep->outstanding_bytes));
}

/* shmem that somebody else holds stays, and the report says so. */
static void test_memfd_held_elsewhere(void **state)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	unsigned char *p;
	struct victim v;

	(void)state;
	setup.shm_fd = make_shm();
	victim_start_with(&v, &setup, "memfd", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_shmem_result(&rep);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].before_bytes >= 16 * MIB);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 4 * MIB);
	expect_report(&rep, rep.released_bytes >= 4 * MIB);
	expect_report(&rep, rep.outstanding_bytes >= 16 * MIB);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_SHMEM);
	assert_memory_back(&v);
	/* And it does stay: the victim's first word is still in it. */
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, setup.shm_fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(p[0], 1);
	munmap(p, 4096);
	assert_killed(&v);
}

/*
 * Shared memory that nobody else has is freed by the exit.  The library can
 * know that it was, or say that it does not: it must not claim it without.
 */
static void shmem_of_its_own(const char *name)
{
	struct mrelease_report rep;
	struct victim v;

	victim_start(&v, name, "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_shmem_result(&rep);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].before_bytes >= 16 * MIB);
	expect_report(&rep, rep.released_bytes >= 4 * MIB);
	if (rep.outstanding_bytes)
		expect_report(&rep, rep.notes & MRELEASE_NOTE_SHMEM);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_memfd_of_its_own(void **state)
{
	(void)state;
	shmem_of_its_own("memfd");
}

static void test_shared_anon(void **state)
{
	(void)state;
	shmem_of_its_own("shared-anon");
}

static void test_sysv(void **state)
{
	(void)state;
	shmem_of_its_own("sysv");
}

static void test_hugetlb(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "hugetlb", "4", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_report(&rep,
		      rep.kinds[MRELEASE_HUGETLB].before_bytes == 4 * MIB);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.released_bytes >= 8 * MIB);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_mlocked(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "mlocked", "4", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
}

/*
 * 8 TiB of address space, with a page here and there.  It must be verified,
 * and not by walking it: the time is bounded.
 */
static void test_reserved_terabytes(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	int64_t start;

	(void)state;
	victim_start(&v, "reserve", "4", NULL);
	opts.deadline_ns = in_seconds(10);
	start = now_ns();
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_released(&v, &rep, -1);
	assert_true(now_ns() - start < SEC_NS);
	assert_killed(&v);
}

static void test_many_mappings(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "many-maps", "5000", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
}

#define FILE_MIB 16

static const char *test_dir(void)
{
	const char *dir = getenv("MRELEASE_TEST_DIR");

	return dir ? dir : "/var/tmp";
}

static void fill_file(int fd)
{
	static char block[65536];
	unsigned int i;

	memset(block, 'x', sizeof(block));
	for (i = 0; i < FILE_MIB * MIB / sizeof(block); i++)
		assert_int_equal(write(fd, block, sizeof(block)),
				 sizeof(block));
	assert_int_equal(fsync(fd), 0);
}

/*
 * A file on a real file system, written out: clean, and in the page cache.  It
 * has no name, so that nothing is left of it whatever happens; the path is
 * that of our descriptor.
 */
static int make_file(char *path, size_t size)
{
	int fd;

	snprintf(path, size, "%s/mrelease-test.XXXXXX", test_dir());
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	unlink(path);
	snprintf(path, size, "/proc/%d/fd/%d", getpid(), fd);
	fill_file(fd);
	return fd;
}

/* Bytes of the file in the page cache. */
static uint64_t cached(const char *path)
{
	static unsigned char vec[FILE_MIB * MIB / 4096];
	uint64_t bytes = 0;
	size_t i;
	void *p;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	p = mmap(NULL, FILE_MIB * MIB, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(mincore(p, FILE_MIB * MIB, vec), 0);
	for (i = 0; i < sizeof(vec); i++)
		bytes += vec[i] & 1 ? 4096 : 0;
	munmap(p, FILE_MIB * MIB);
	close(fd);
	return bytes;
}

/*
 * The page cache of a file system in memory is where its files are.  So it is
 * for an overlay whose upper layer is one; a container cannot see its layers.
 */
static void need_disk(const char *path)
{
	struct statfs st;

	assert_int_equal(statfs(path, &st), 0);
	if (st.f_type != TMPFS_MAGIC && st.f_type != RAMFS_MAGIC &&
	    st.f_type != OVERLAYFS_SUPER_MAGIC)
		return;
	skip_test("disk",
		  "%s is in memory, or on an overlay: set "
		  "MRELEASE_TEST_DIR",
		  path);
}

static void file_case(uint32_t flags, bool mapped_elsewhere, bool evicted)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep;
	char path[256];
	void *other = NULL;
	struct victim v;
	int fd, file;

	file = make_file(path, sizeof(path));
	need_disk(path);
	victim_start(&v, "file", path, "16", NULL);
	if (mapped_elsewhere) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		other = mmap(NULL, FILE_MIB * MIB, PROT_READ,
			     MAP_SHARED | MAP_POPULATE, fd, 0);
		assert_true(other != MAP_FAILED);
		close(fd);
	}
	assert_int_equal(cached(path), FILE_MIB * MIB);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.kinds[MRELEASE_CACHE].before_bytes >= 16 * MIB);
	if (evicted) {
		expect_report(&rep, rep.cache_evicted_bytes >= 16 * MIB);
		/* Its own program is mapped by nobody else, perhaps. */
		expect_report(&rep, rep.cache_evicted_bytes < 32 * MIB);
		assert_int_equal(cached(path), 0);
	} else {
		if (!flags)
			expect_report(&rep, rep.cache_evicted_bytes == 0);
		/* But for its own program, perhaps. */
		expect_report(&rep, rep.cache_evicted_bytes < 16 * MIB);
		assert_int_equal(cached(path), FILE_MIB * MIB);
	}
	if (other)
		munmap(other, FILE_MIB * MIB);
	close(file);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_file_stays_cached(void **state)
{
	(void)state;
	file_case(0, false, false);
}

static void need_map_files(void)
{
	if (!may_map_files())
		skip_test("map_files", "/proc/PID/map_files is refused");
}

static void test_cache_evicted(void **state)
{
	(void)state;
	need_map_files();
	file_case(MRELEASE_EVICT_CACHE, false, true);
}

static void test_cache_mapped_elsewhere_stays(void **state)
{
	(void)state;
	need_map_files();
	file_case(MRELEASE_EVICT_CACHE, true, false);
}

static void make_dir(const char *base, const char *name)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* An overlay of two directories, the lower of them on tmpfs if it is so. */
static bool overlay_mount(const char *base, bool on_tmpfs)
{
	char lower[320], merged[320], options[1000];

	snprintf(lower, sizeof(lower), "%s/b", base);
	snprintf(merged, sizeof(merged), "%s/merged", base);
	snprintf(options, sizeof(options),
		 "lowerdir=%s,upperdir=%s/a,workdir=%s/w", lower, base, base);
	return !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       (!on_tmpfs || !mount("none", lower, "tmpfs", 0, NULL)) &&
	       !mount("none", merged, "overlay", 0, options);
}

/*
 * Mounted in a namespace of its own, which goes with it.  The file lies on a
 * disk in both: but an overlay is as local as the least of its layers.
 */
static void overlay_case(const char *base, bool on_tmpfs)
{
	struct mrelease_opts opts = opts_with(MRELEASE_EVICT_CACHE);
	int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t want = on_tmpfs ? FILE_MIB * MIB : 0, left = 1;
	struct mrelease_report rep;
	struct victim v;
	char path[320];
	int ret = -1;
	bool mounted;

	assert_true(ns >= 0 && cwd >= 0);
	snprintf(path, sizeof(path), "%s/merged/file", base);
	mounted = !unshare(CLONE_NEWNS) && overlay_mount(base, on_tmpfs);
	if (mounted) {
		victim_start(&v, "file", path, "16", NULL);
		ret = release(&v, &opts, &rep);
		left = cached(path);
	}
	assert_int_equal(setns(ns, CLONE_NEWNS), 0);
	assert_int_equal(fchdir(cwd), 0);
	close(ns);
	close(cwd);
	if (!mounted)
		skip_test("mount", "no overlay can be mounted");
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.cache_evicted_bytes >= FILE_MIB * MIB - want);
	expect_report(&rep,
		      !(rep.notes & MRELEASE_NOTE_CACHE_PARTIAL) == !on_tmpfs);
	assert_int_equal(left, want);
	assert_killed(&v);
}

static void test_cache_of_an_overlay(void **state)
{
	char base[256], path[320];
	static const char *const names[] = { "a/file", "a", "b", "merged",
					     "w/work", "w", "" };
	unsigned int i;
	int fd;

	(void)state;
	need_root();
	need_map_files();
	snprintf(base, sizeof(base), "%s/mrelease-test.XXXXXX", test_dir());
	assert_non_null(mkdtemp(base));
	make_dir(base, "a");
	make_dir(base, "b");
	make_dir(base, "merged");
	make_dir(base, "w");
	snprintf(path, sizeof(path), "%s/a/file", base);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	fill_file(fd);
	close(fd);
	need_disk(path);
	overlay_case(base, false);
	overlay_case(base, true);
	for (i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", base, names[i]);
		assert_int_equal(remove(path), 0);
	}
}

/* Private copies of file pages are anonymous memory, and come back. */
static void test_copied_on_write(void **state)
{
	struct mrelease_report rep;
	char path[256];
	struct victim v;
	int file;

	(void)state;
	file = make_file(path, sizeof(path));
	need_disk(path);
	victim_start(&v, "file", path, "16", "cow", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	close(file);
	assert_killed(&v);
}

/*
 * A mapped file whose server answers no open any more, in a mount namespace
 * that is not ours: eviction must not open it.  The release cannot hang, and
 * the server has seen the victim's own open only.
 */
static void test_cache_of_a_hanging_file_system(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_EVICT_CACHE);
	struct mrelease_report rep;
	struct victim v;
	char line[32];
	int64_t start;

	(void)state;
	need_map_files();
	victim_start(&v, "fuse-file", "16", NULL);
	opts.deadline_ns = in_seconds(5);
	start = now_ns();
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	assert_true(now_ns() - start < 8 * SEC_NS);
	/* The victim itself sits in open(), for good: D once killed. */
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_CACHE_PARTIAL);
	assert_memory_back(&v);
	victim_command(&v, 'o');
	victim_reply(&v, line, sizeof(line));
	assert_string_equal(line, "opens 1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_memfd_held_elsewhere),
		harness_test(test_memfd_of_its_own),
		harness_test(test_shared_anon),
		harness_test(test_sysv),
		harness_test(test_hugetlb),
		harness_test(test_mlocked),
		harness_test(test_reserved_terabytes),
		harness_test(test_many_mappings),
		harness_test(test_file_stays_cached),
		harness_test(test_cache_evicted),
		harness_test(test_cache_mapped_elsewhere_stays),
		harness_test(test_cache_of_an_overlay),
		harness_test(test_copied_on_write),
		harness_test(test_cache_of_a_hanging_file_system),
	};

	return run_group(tests);
}
