/* SPDX-License-Identifier: MIT */
/*
 * Limits of the cgroups above the one that is watched: what is left below the tightest
 * is what it has, whatever its own limit says.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sense.h"
#include "text.h"

/* False: no limit, or it cannot be read. */
static bool number(struct sense *s, int fd, uint64_t *ret)
{
	const char *p = s->buf;

	return fd >= 0 && text_read(fd, s->buf, sizeof(s->buf)) > 0 &&
	       text_number(&p, ret) && *ret < NO_LIMIT;
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_level(struct sense_above *a)
{
	drop(&a->usage_fd);
	drop(&a->stat_fd);
	drop(&a->limit_fd);
	drop(&a->high_fd);
	drop(&a->swap_usage_fd);
	drop(&a->swap_limit_fd);
	drop(&a->swap_high_fd);
}

/* The name is that of v1 or v2; NULL: it has no such file. */
static int open_one(const struct sense *s, int dir, const char *v1,
		    const char *v2)
{
	const char *name = s->v1 ? v1 : v2;

	return name ? openat(dir, name, O_RDONLY | O_CLOEXEC) : -1;
}

/* With fewer, those of limits that may yet be set are kept for what a kill needs. */
#define MANY_FILES 512

static bool are_files_few(void)
{
	struct rlimit files;

	return getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur < MANY_FILES;
}

/* Where they are few, a limit that does not bind now is let go. */
static bool keep(struct sense *s, int *fd, uint64_t below)
{
	uint64_t limit;

	if (number(s, *fd, &limit) && limit < below)
		return true;
	drop(fd);
	return false;
}

/* False: there is no memory controller, nor is there above. */
static bool open_level(struct sense *s, int dir, uint64_t machine)
{
	struct sense_above *a = &s->above[s->nr_above];
	bool memory, swap;

	*a = (struct sense_above){
		.usage_fd = open_one(s, dir, "memory.usage_in_bytes",
				     "memory.current"),
		.stat_fd = open_one(s, dir, "memory.stat", "memory.stat"),
		.limit_fd =
			open_one(s, dir, "memory.limit_in_bytes", "memory.max"),
		.high_fd = open_one(s, dir, NULL, "memory.high"),
		.swap_usage_fd = open_one(s, dir, "memory.memsw.usage_in_bytes",
					  "memory.swap.current"),
		.swap_limit_fd = open_one(s, dir, "memory.memsw.limit_in_bytes",
					  "memory.swap.max"),
		.swap_high_fd = open_one(s, dir, NULL, "memory.swap.high"),
	};
	if (a->usage_fd < 0 || a->limit_fd < 0 || a->stat_fd < 0) {
		close_level(a);
		return false;
	}
	if (!are_files_few()) {
		s->nr_above++;
		return true;
	}
	/* Either of both; the machine may get swap later. */
	memory = keep(s, &a->limit_fd, machine);
	memory |= keep(s, &a->high_fd, machine);
	swap = keep(s, &a->swap_limit_fd, UINT64_MAX);
	swap |= keep(s, &a->swap_high_fd, UINT64_MAX);
	if (!memory)
		drop(&a->stat_fd);
	if (!swap)
		drop(&a->swap_usage_fd);
	if (!memory && !(swap && s->v1))
		drop(&a->usage_fd);
	s->nr_above += memory || swap;
	return true;
}

void above_open(struct sense *s, uint64_t machine)
{
	int dir =
		openat(s->cgroup_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* The root of v2 has no limit, and above a mount point there is none. */
	while (dir >= 0 && s->nr_above < MAX_ABOVE) {
		int up;

		if (!open_level(s, dir, machine))
			break;
		up = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(dir);
		dir = up;
	}
	if (dir >= 0)
		close(dir);
}

void above_close(struct sense *s)
{
	while (s->nr_above)
		close_level(&s->above[--s->nr_above]);
}

/* The lower of two limits; none: UINT64_MAX. */
static uint64_t lower(struct sense *s, int fd, int other_fd)
{
	uint64_t limit, other;

	if (!number(s, fd, &limit))
		limit = UINT64_MAX;
	if (number(s, other_fd, &other) && other < limit)
		limit = other;
	return limit;
}

static void read_memory(struct sense *s, const struct sense_above *a,
			uint64_t machine, struct snapshot *snap)
{
	uint64_t limit = lower(s, a->limit_fd, a->high_fd), usage, there;
	uint64_t inactive = 0, active = 0;

	if (limit >= machine || !number(s, a->usage_fd, &usage) ||
	    text_read(a->stat_fd, s->buf, sizeof(s->buf)) <= 0)
		return;
	text_field(s->buf, s->v1 ? "total_inactive_file" : "inactive_file",
		   &inactive);
	text_field(s->buf, s->v1 ? "total_active_file" : "active_file",
		   &active);
	there = usage < limit ? limit - usage : 0;
	if (there < snap->free_bytes)
		snap->free_bytes = there;
	there += inactive + active / 2;
	if (there < snap->available_bytes)
		snap->available_bytes = there;
	/* 0, to force reclaim, is none of which there could be percentages. */
	if (limit && limit < snap->total_bytes)
		snap->total_bytes = limit;
}

static void read_swap(struct sense *s, const struct sense_above *a,
		      uint64_t machine, struct snapshot *snap)
{
	uint64_t limit = lower(s, a->swap_limit_fd, a->swap_high_fd), usage;
	uint64_t memory_limit, memory_usage;

	if (limit == UINT64_MAX || !number(s, a->swap_usage_fd, &usage))
		return;
	/* v1 counts memory and swap in one. */
	if (s->v1) {
		memory_limit = lower(s, a->limit_fd, -1);
		if (memory_limit > machine)
			memory_limit = machine;
		if (!number(s, a->usage_fd, &memory_usage))
			return;
		limit = limit > memory_limit ? limit - memory_limit : 0;
		usage = usage > memory_usage ? usage - memory_usage : 0;
	}
	sense_limit_swap(limit, usage, snap);
}

void above_read(struct sense *s, uint64_t machine, struct snapshot *snap)
{
	for (size_t i = 0; i < s->nr_above; i++) {
		read_memory(s, &s->above[i], machine, snap);
		read_swap(s, &s->above[i], machine, snap);
	}
}
