/* SPDX-License-Identifier: MIT */
/* The one reader of the machine's memory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sense.h"
#include "text.h"

/* Linux 4.19 sums them up.  Before, there are those of the default size. */
static uint64_t huge_pages(const char *text)
{
	uint64_t bytes, pages, size;

	if (text_field(text, "Hugetlb", &bytes))
		return bytes;
	if (!text_field(text, "HugePages_Total", &pages) ||
	    !text_field(text, "Hugepagesize", &size) ||
	    __builtin_mul_overflow(pages, size, &bytes))
		return 0;
	return bytes;
}

int sense_parse_meminfo(const char *text, struct snapshot *s)
{
	uint64_t cached = 0, buffers = 0, swap_cached = 0;

	if (!text_field(text, "MemTotal", &s->machine_bytes) ||
	    !s->machine_bytes)
		return -EINVAL;
	/* A pool that is set aside is memory for nothing else. */
	s->hugetlb_bytes = huge_pages(text);
	s->total_bytes = s->machine_bytes;
	if (s->hugetlb_bytes < s->total_bytes)
		s->total_bytes -= s->hugetlb_bytes;
	text_field(text, "MemFree", &s->free_bytes);
	text_field(text, "Cached", &cached);
	text_field(text, "Buffers", &buffers);
	text_field(text, "SwapCached", &swap_cached);
	text_field(text, "SwapTotal", &s->swap_total_bytes);
	text_field(text, "SwapFree", &s->swap_free_bytes);
	text_field(text, "AnonPages", &s->anon_bytes);
	text_field(text, "Shmem", &s->shmem_bytes);
	text_field(text, "Mapped", &s->mapped_bytes);
	text_field(text, "SUnreclaim", &s->slab_bytes);
	s->cache_bytes = cached + buffers;
	s->cache_bytes -= s->shmem_bytes < s->cache_bytes ? s->shmem_bytes :
							    s->cache_bytes;
	/* Linux 3.14.  Before, an estimate that errs on the low side. */
	if (!text_field(text, "MemAvailable", &s->available_bytes))
		s->available_bytes = s->free_bytes + s->cache_bytes / 2;
	if (s->available_bytes > s->total_bytes)
		s->available_bytes = s->total_bytes;
	if (s->swap_free_bytes > s->swap_total_bytes)
		s->swap_free_bytes = s->swap_total_bytes;
	return 0;
}

static bool stall_total(const char *text, const char *name, uint64_t *ret)
{
	const char *line = strstr(text, name), *p, *end;

	if (!line)
		return false;
	end = strchr(line, '\n');
	p = strstr(line, "total=");
	if (!p || (end && p > end))
		return false;
	p += strlen("total=");
	return text_number(&p, ret);
}

int sense_parse_pressure(const char *text, struct snapshot *s)
{
	if (!stall_total(text, "some ", &s->some_us) ||
	    !stall_total(text, "full ", &s->full_us))
		return -EINVAL;
	s->has |= SNAPSHOT_PSI;
	return 0;
}

void sense_parse_vmstat(const char *text, struct snapshot *s)
{
	uint64_t both;

	/* Linux 5.9 counts them apart. */
	if (!text_field(text, "workingset_refault_file", &s->refault_file) &&
	    text_field(text, "workingset_refault", &both))
		s->refault_file = both;
	text_field(text, "workingset_refault_anon", &s->refault_anon);
	text_field(text, "pswpin", &s->swapped_in);
	text_field(text, "oom_kill", &s->oom_kills);
	s->has |= SNAPSHOT_VMSTAT;
}

static void count_user_total(struct snapshot *s)
{
	if (s->available_bytes + s->anon_bytes)
		s->total_bytes = s->available_bytes + s->anon_bytes;
}

int sense_machine(struct snapshot *ret, bool user_total)
{
	char buf[16384];
	ssize_t n = text_read_at(AT_FDCWD, "/proc/meminfo", buf, sizeof(buf));
	int error = n < 0 ? (int)n : sense_parse_meminfo(buf, ret);

	if (!error && user_total)
		count_user_total(ret);
	return error;
}

static int open_file(const char *root, const char *path)
{
	char full[PATH_MAX];

	if (snprintf(full, sizeof(full), "%s%s", root, path) >=
	    (int)sizeof(full))
		return -1;
	return open(full, O_RDONLY | O_CLOEXEC);
}

static int open_cgroup(struct sense *s, const char *cgroup)
{
	static const char *const v1[SENSE_FILES] = {
		[SENSE_USAGE] = "memory.usage_in_bytes",
		[SENSE_LIMIT] = "memory.limit_in_bytes",
		[SENSE_SWAP_USAGE] = "memory.memsw.usage_in_bytes",
		[SENSE_SWAP_LIMIT] = "memory.memsw.limit_in_bytes",
		[SENSE_STAT] = "memory.stat",
		[SENSE_EVENTS] = "memory.oom_control",
	};
	static const char *const v2[SENSE_FILES] = {
		[SENSE_USAGE] = "memory.current",
		[SENSE_LIMIT] = "memory.max",
		[SENSE_HIGH] = "memory.high",
		[SENSE_SWAP_USAGE] = "memory.swap.current",
		[SENSE_SWAP_LIMIT] = "memory.swap.max",
		[SENSE_SWAP_HIGH] = "memory.swap.high",
		[SENSE_STAT] = "memory.stat",
		[SENSE_EVENTS] = "memory.events",
	};
	const char *const *names;

	s->cgroup_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->cgroup_fd < 0)
		return -errno;
	s->v1 = !faccessat(s->cgroup_fd, "memory.usage_in_bytes", F_OK, 0);
	names = s->v1 ? v1 : v2;
	for (int i = SENSE_USAGE; i < SENSE_FILES; i++)
		s->fds[i] = names[i] ? openat(s->cgroup_fd, names[i],
					      O_RDONLY | O_CLOEXEC) :
				       -1;
	/* Without a memory controller there is nothing to watch. */
	if (s->fds[SENSE_USAGE] < 0 || s->fds[SENSE_STAT] < 0)
		return -EOPNOTSUPP;
	s->fds[SENSE_PRESSURE] =
		openat(s->cgroup_fd, "memory.pressure", O_RDONLY | O_CLOEXEC);
	return 0;
}

int sense_open(struct sense *s, const char *cgroup, const char *root)
{
	struct snapshot machine = { 0 };
	int ret;

	memset(s, 0, sizeof(*s));
	for (int i = 0; i < SENSE_FILES; i++)
		s->fds[i] = -1;
	s->trigger_fd = s->cgroup_fd = -1;
	s->fds[SENSE_MEMINFO] = open_file(root, "/proc/meminfo");
	if (s->fds[SENSE_MEMINFO] < 0)
		return -errno;
	s->fds[SENSE_VMSTAT] = open_file(root, "/proc/vmstat");
	if (cgroup) {
		ret = open_cgroup(s, cgroup);
		if (!ret &&
		    text_read(s->fds[SENSE_MEMINFO], s->buf, sizeof(s->buf)) >
			    0 &&
		    !sense_parse_meminfo(s->buf, &machine))
			above_open(s, machine.total_bytes);
		if (ret)
			sense_close(s);
		return ret;
	}
	s->fds[SENSE_PRESSURE] = open_file(root, "/proc/pressure/memory");
	return 0;
}

void sense_close(struct sense *s)
{
	above_close(s);
	for (int i = 0; i < SENSE_FILES; i++)
		if (s->fds[i] >= 0)
			close(s->fds[i]);
	if (s->trigger_fd >= 0)
		close(s->trigger_fd);
	if (s->cgroup_fd >= 0)
		close(s->cgroup_fd);
}

int sense_arm(struct sense *s, const char *root, unsigned int stall_us,
	      unsigned int window_us)
{
	char path[PATH_MAX], text[64];
	int fd, len;

	snprintf(path, sizeof(path), "%s/proc/pressure/memory", root);
	for (;; window_us = 2000000) {
		if (s->cgroup_fd >= 0)
			fd = openat(s->cgroup_fd, "memory.pressure",
				    O_RDWR | O_NONBLOCK | O_CLOEXEC);
		else
			fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			return s->trigger_error = -errno;
		len = snprintf(text, sizeof(text), "some %u %u", stall_us,
			       window_us);
		/* The kernel wants the NUL as well. */
		if (write(fd, text, (size_t)len + 1) == len + 1)
			break;
		s->trigger_error = -errno;
		close(fd);
		if (window_us == 2000000)
			return s->trigger_error;
	}
	s->trigger_fd = fd;
	s->trigger_error = 0;
	return 0;
}

/* 0: a number.  1: "max", no limit.  Or -errno; -ENODEV: the cgroup is gone. */
static int read_number(struct sense *s, enum sense_file file, uint64_t *ret)
{
	const char *p = s->buf;
	ssize_t n;

	if (s->fds[file] < 0)
		return -ENOENT;
	n = text_read(s->fds[file], s->buf, sizeof(s->buf));
	if (n < 0)
		return (int)n;
	return text_number(&p, ret) ? 0 : 1;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void sense_limit_swap(uint64_t limit, uint64_t usage, struct snapshot *snap)
{
	if (limit < snap->swap_total_bytes)
		snap->swap_total_bytes = limit;
	limit = minus(limit, usage);
	if (limit < snap->swap_free_bytes)
		snap->swap_free_bytes = limit;
}

/* Its swap is the machine's, but for a limit. */
static void read_swap(struct sense *s, uint64_t usage, uint64_t limit,
		      struct snapshot *snap)
{
	uint64_t swap_usage, swap_limit, swap_high;

	if (read_number(s, SENSE_SWAP_USAGE, &swap_usage))
		return;
	if (read_number(s, SENSE_SWAP_LIMIT, &swap_limit))
		swap_limit = NO_LIMIT;
	if (!read_number(s, SENSE_SWAP_HIGH, &swap_high) &&
	    swap_high < swap_limit)
		swap_limit = swap_high;
	if (swap_limit >= NO_LIMIT)
		return;
	/* v1 counts memory and swap in one. */
	if (s->v1) {
		swap_limit = minus(swap_limit, limit);
		swap_usage = minus(swap_usage, usage);
	}
	sense_limit_swap(swap_limit, swap_usage, snap);
}

/* The limit is what is there, unless the machine has less. */
static int read_cgroup(struct sense *s, struct snapshot *snap)
{
	uint64_t usage, limit, high, inactive = 0, active = 0;
	const struct snapshot machine = *snap;
	const char *t = s->v1 ? "total_" : "";
	char name[40];
	int ret;

#define STAT(field, to)                                  \
	(snprintf(name, sizeof(name), "%s%s", t, field), \
	 text_field(s->buf, name, to))

	ret = read_number(s, SENSE_USAGE, &usage);
	if (ret)
		return ret < 0 ? ret : -EIO;
	if (read_number(s, SENSE_LIMIT, &limit) || limit > machine.total_bytes)
		limit = machine.total_bytes;
	if (!read_number(s, SENSE_HIGH, &high) && high < limit)
		limit = high;
	read_swap(s, usage, limit, snap);
	/* Kills elsewhere on the machine are none of its business. */
	snap->oom_kills = 0;
	if (s->fds[SENSE_EVENTS] >= 0 &&
	    text_read(s->fds[SENSE_EVENTS], s->buf, sizeof(s->buf)) > 0)
		text_field(s->buf, "oom_kill", &snap->oom_kills);
	if (text_read(s->fds[SENSE_STAT], s->buf, sizeof(s->buf)) < 0)
		return -EIO;
	STAT("inactive_file", &inactive);
	STAT("active_file", &active);
	snap->anon_bytes = snap->shmem_bytes = snap->mapped_bytes = 0;
	STAT(s->v1 ? "rss" : "anon", &snap->anon_bytes);
	STAT("shmem", &snap->shmem_bytes);
	STAT(s->v1 ? "mapped_file" : "file_mapped", &snap->mapped_bytes);
	STAT("workingset_refault_file", &snap->refault_file);
	STAT("workingset_refault_anon", &snap->refault_anon);
#undef STAT
	snap->cache_bytes = inactive + active;
	snap->hugetlb_bytes = snap->slab_bytes = 0;
	snap->total_bytes = limit ? limit : machine.total_bytes;
	snap->free_bytes = minus(limit, usage);
	/* As the kernel does for MemAvailable: half of what is in use stays. */
	snap->available_bytes = snap->free_bytes + inactive + active / 2;
	if (snap->available_bytes > limit)
		snap->available_bytes = limit;
	above_read(s, machine.total_bytes, snap);
	snap->has |= SNAPSHOT_CGROUP;
	if (s->machine_is_watched)
		return 0;
	/* No limit promises what the machine itself has not got. */
	if (machine.free_bytes < snap->free_bytes)
		snap->free_bytes = machine.free_bytes;
	if (machine.available_bytes < snap->available_bytes)
		snap->available_bytes = machine.available_bytes;
	return 0;
}

int sense_read(struct sense *s, struct snapshot *ret)
{
	struct snapshot snap = { .time_ns = clock_ns() };
	ssize_t n;
	int error;

	n = text_read(s->fds[SENSE_MEMINFO], s->buf, sizeof(s->buf));
	if (n < 0)
		return (int)n;
	error = sense_parse_meminfo(s->buf, &snap);
	if (error)
		return error;
	if (s->fds[SENSE_VMSTAT] >= 0 &&
	    text_read(s->fds[SENSE_VMSTAT], s->buf, sizeof(s->buf)) > 0)
		sense_parse_vmstat(s->buf, &snap);
	if (s->cgroup_fd >= 0)
		error = read_cgroup(s, &snap);
	else if (s->user_total)
		count_user_total(&snap);
	if (error)
		return error;
	if (s->fds[SENSE_PRESSURE] >= 0 &&
	    text_read(s->fds[SENSE_PRESSURE], s->buf, sizeof(s->buf)) > 0)
		sense_parse_pressure(s->buf, &snap);
	*ret = snap;
	return 0;
}
