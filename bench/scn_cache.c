/* SPDX-License-Identifier: MIT */
/*
 * Page cache of a file that only the victim had mapped.  It belongs to no
 * process, so no way of killing gives it back by itself; mrelease does when
 * asked to.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench.h"

#define CACHE_BYTES (256 * MIB)
#define PAGE_BYTES  4096u

struct cache {
	char path[BENCH_PATH_MAX];
};

/* Clean pages: dirty ones nobody may drop. */
static int make_file(const char *path)
{
	static char data[1 << 20];
	int error = 0;
	int fd;

	memset(data, 'c', sizeof(data));
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	for (uint64_t at = 0; at < CACHE_BYTES && !error; at += sizeof(data)) {
		if (write(fd, data, sizeof(data)) != sizeof(data))
			error = errno ? errno : ENOSPC;
	}
	if (!error && fsync(fd))
		error = errno;
	close(fd);
	return error;
}

static int map_it(void *arg)
{
	const struct cache *cache = arg;
	volatile const char *mem;
	int fd;

	fd = open(cache->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	mem = mmap(NULL, CACHE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED)
		return errno;
	for (uint64_t at = 0; at < CACHE_BYTES; at += PAGE_BYTES)
		(void)mem[at];
	return 0;
}

/* How much of the file is in memory.  Looking at it reads none of it in. */
static uint64_t resident_bytes(const char *path)
{
	static unsigned char vec[CACHE_BYTES / PAGE_BYTES];
	uint64_t pages = 0;
	void *mem;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		bench_die("%s: %m", path);
	mem = mmap(NULL, CACHE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED || mincore(mem, CACHE_BYTES, vec))
		bench_die("%s: mincore: %m", path);
	for (size_t i = 0; i < sizeof(vec); i++)
		pages += vec[i] & 1;
	munmap(mem, CACHE_BYTES);
	return pages * PAGE_BYTES;
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct victim_spec spec = VICTIM_SPEC(16 * MIB);
	struct cache *cache = arg;
	struct way_run run;
	struct victim v;
	uint64_t before;
	uint64_t after;
	int error;

	spec.setup = map_it;
	spec.arg = cache;
	error = victim_start(&spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	before = resident_bytes(cache->path);
	way_kill(way, &v, MRELEASE_EVICT_CACHE, &run);
	victim_end(&v);
	after = resident_bytes(cache->path);

	st->runs++;
	st->verified += run.verified;
	if (run.report.size && !run.verified)
		count_unverified(st, &run.report);
	/* readahead may have left the odd page in somebody's batch */
	st->lost += after > CACHE_BYTES / 50;
	st->back_bytes += before > after ? before - after : 0;
	/* the whole call: eviction comes after the memory is verified */
	if (after <= CACHE_BYTES / 50)
		series_add(&st->back, run.call_ns);
}

static bool judge(struct bench_result *res)
{
	struct bench_stat *ours = &res->way[WAY_OURS];
	bool ok;

	ok = check_min(res, "% of the page cache given back",
		       100.0 * (double)ours->back_bytes /
			       ((double)CACHE_BYTES * verified_due(ours)),
		       98);
	ok &= check_verified(res);
	return ok;
}

/* Is a filesystem of this device mounted where we can see it? */
static bool is_mounted(dev_t dev)
{
	char want[32];
	char line[4096];
	bool found = false;
	FILE *f;

	snprintf(want, sizeof(want), " %u:%u /", major(dev), minor(dev));
	f = fopen("/proc/self/mountinfo", "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, want);
	if (f)
		fclose(f);
	return found;
}

/*
 * Only local filesystems are touched, and only by those who may open what
 * others have mapped.  A reason that has nothing to do with mrelease's report:
 * where there is none, page cache that stays is a failure.
 */
static bool may_evict(const char *path, struct bench_result *res)
{
	struct mrelease_features f = { .size = sizeof(f) };
	struct statfs fs;
	struct stat st;

	mrelease_probe(&f);
	if (f.map_files != 1) {
		bench_skip(res,
			   "map_files: %s; CAP_CHECKPOINT_RESTORE or "
			   "CAP_SYS_ADMIN",
			   strerror(f.map_files < 0 ? -f.map_files : EPERM));
		return false;
	}
	if (stat(path, &st) || statfs(path, &fs))
		bench_die("%s: %m", path);
	if (!major(st.st_dev)) {
		/* btrfs has no device of its own either */
		if (fs.f_type == BTRFS_SUPER_MAGIC)
			return true;
		bench_skip(res, "%s: what lies below may be remote",
			   fs.f_type == OVERLAYFS_SUPER_MAGIC ?
				   "an overlay" :
				   "no local filesystem");
		return false;
	}
	if (is_mounted(st.st_dev))
		return true;
	bench_skip(res, "the filesystem is in no line of /proc/self/mountinfo");
	return false;
}

int scn_cache(const struct bench_opts *o, struct bench_result *res)
{
	struct cache cache;
	struct bench_plan plan = { once, judge, &cache };
	int error;

	if (!have_memory(CACHE_BYTES, res))
		return 0;
	snprintf(cache.path, sizeof(cache.path), "%s/cache", o->dir);
	error = make_file(cache.path);
	if (error) {
		unlink(cache.path);
		return bench_skip(res, "%s: %s", o->dir, strerror(error));
	}
	if (may_evict(cache.path, res))
		interleave(o, res, &plan);
	unlink(cache.path);
	for (int way = 0; way < NR_WAYS && !res->skip[0]; way++) {
		struct bench_stat *st = &res->way[way];

		st->bad = st->lost;
		if (!st->lost)
			continue;
		snprintf(st->brief, sizeof(st->brief), "%s",
			 st->back_bytes ? "stays in part" : "stays");
		snprintf(st->cell, sizeof(st->cell), "%llu of %llu MiB back",
			 (unsigned long long)(st->back_bytes / st->runs / MIB),
			 (unsigned long long)(CACHE_BYTES / MIB));
	}
	return 0;
}
