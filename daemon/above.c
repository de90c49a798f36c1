/* SPDX-License-Identifier: MIT */
/*
 * Limits of the cgroups above the one that is watched: what is left below the tightest
 * is what it has, whatever its own limit says.
 */
#include <fcntl.h>
#include <unistd.h>

#include "sense.h"
#include "text.h"

/* False: "max", or it cannot be read. */
static bool number(struct sense *s, int fd, uint64_t *ret)
{
	const char *p = s->buf;

	return text_read(fd, s->buf, sizeof(s->buf)) > 0 &&
	       text_number(&p, ret);
}

static bool open_level(struct sense *s, int dir)
{
	struct sense_above *a = &s->above[s->nr_above];

	a->usage_fd = openat(dir,
			     s->v1 ? "memory.usage_in_bytes" : "memory.current",
			     O_RDONLY | O_CLOEXEC);
	a->limit_fd = openat(dir,
			     s->v1 ? "memory.limit_in_bytes" : "memory.max",
			     O_RDONLY | O_CLOEXEC);
	a->stat_fd = openat(dir, "memory.stat", O_RDONLY | O_CLOEXEC);
	s->nr_above++;
	return a->usage_fd >= 0 && a->limit_fd >= 0 && a->stat_fd >= 0;
}

static void close_level(struct sense_above *a)
{
	if (a->usage_fd >= 0)
		close(a->usage_fd);
	if (a->limit_fd >= 0)
		close(a->limit_fd);
	if (a->stat_fd >= 0)
		close(a->stat_fd);
}

void above_open(struct sense *s, uint64_t machine)
{
	int dir =
		openat(s->cgroup_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t limit;

	/* The root of v2 has no limit, and above a mount point there is none. */
	while (dir >= 0 && s->nr_above < MAX_ABOVE) {
		int up;

		if (!open_level(s, dir)) {
			close_level(&s->above[--s->nr_above]);
			break;
		}
		/* Descriptors are few: of those that have a limit now. */
		if (!number(s, s->above[s->nr_above - 1].limit_fd, &limit) ||
		    limit >= machine)
			close_level(&s->above[--s->nr_above]);
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

void above_read(struct sense *s, uint64_t machine, struct snapshot *snap)
{
	for (size_t i = 0; i < s->nr_above; i++) {
		const struct sense_above *a = &s->above[i];
		uint64_t limit, usage, inactive = 0, active = 0, there;

		if (!number(s, a->limit_fd, &limit) || limit >= machine ||
		    !number(s, a->usage_fd, &usage) ||
		    text_read(a->stat_fd, s->buf, sizeof(s->buf)) <= 0)
			continue;
		text_field(s->buf,
			   s->v1 ? "total_inactive_file" : "inactive_file",
			   &inactive);
		text_field(s->buf, s->v1 ? "total_active_file" : "active_file",
			   &active);
		there = usage < limit ? limit - usage : 0;
		if (there < snap->free_bytes)
			snap->free_bytes = there;
		there += inactive + active / 2;
		if (there < snap->available_bytes)
			snap->available_bytes = there;
		if (limit < snap->total_bytes)
			snap->total_bytes = limit;
	}
}
