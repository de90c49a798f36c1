/* SPDX-License-Identifier: MIT */
/*
 * A memory cgroup for one victim, so that its memory can be watched from
 * outside while it goes, undisturbed by the rest of the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

static bool make_below(const char *base, const char *name, const char *usage,
		       struct bench_memcg *m)
{
	char path[BENCH_PATH_MAX * 3];
	int dir_fd;

	snprintf(path, sizeof(path), "%s/" BENCH_CGROUP_PREFIX "%d-%s", base,
		 getppid(), name);
	if (strlen(path) >= sizeof(m->path) || mkdir(path, 0755))
		return false;
	memcpy(m->path, path, strlen(path) + 1);
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	m->usage_fd = openat(dir_fd, usage, O_RDONLY | O_CLOEXEC);
	m->procs_fd = openat(dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	close(dir_fd);
	if (m->usage_fd >= 0 && m->procs_fd >= 0)
		return true;
	/* of version 2, but not with this controller */
	memcg_end(m);
	return false;
}

static bool make_in(const char *controller, const char *name, const char *usage,
		    struct bench_memcg *m)
{
	char mnt[BENCH_PATH_MAX];
	char own[BENCH_PATH_MAX];
	char base[BENCH_PATH_MAX * 2];

	if (!cgroup_mount(controller, mnt, sizeof(mnt)))
		return false;
	if (cgroup_own(controller, own, sizeof(own))) {
		snprintf(base, sizeof(base), "%s%s", mnt, own);
		if (make_below(base, name, usage, m))
			return true;
	}
	return make_below(mnt, name, usage, m);
}

/* False where there is none to be had; nothing is left then. */
bool memcg_make(const char *name, struct bench_memcg *m)
{
	*m = (struct bench_memcg){ .procs_fd = -1, .usage_fd = -1 };
	return make_in("memory", name, "memory.usage_in_bytes", m) ||
	       make_in(NULL, name, "memory.current", m);
}

void memcg_end(struct bench_memcg *m)
{
	if (m->usage_fd >= 0)
		close(m->usage_fd);
	if (m->procs_fd >= 0)
		close(m->procs_fd);
	if (m->path[0] && rmdir(m->path))
		fprintf(stderr, "mrelease-bench: rmdir %s: %m\n", m->path);
	*m = (struct bench_memcg){ .procs_fd = -1, .usage_fd = -1 };
}
