/* SPDX-License-Identifier: MIT */
/* Cgroups as far as they concern a choice. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "memory.h"
#include "text.h"
#include "units.h"

#define MAX_DEPTH 32

/*
 * A line of mountinfo: is it this kind, and where?  One of the whole hierarchy;
 * another shows a part of it, where paths are others than in /proc/PID/cgroup.
 */
static bool is_mount(const char *line, const char *type, const char *option,
		     char *where, size_t size)
{
	const char *dash = strstr(line, " - ");
	char root[256], point[256], kind[32], options[256];

	if (!dash ||
	    sscanf(line, "%*s %*s %*s %255s %255s", root, point) != 2 ||
	    sscanf(dash, " - %31s %*s %255s", kind, options) != 2 ||
	    strcmp(kind, type) || !strstr(options, option) || strcmp(root, "/"))
		return false;
	snprintf(where, size, "%s", point);
	return true;
}

static void find_mount(struct units *u)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096];

	u->tag = NULL;
	while (f && fgets(line, sizeof(line), f)) {
		if (is_mount(line, "cgroup", "memory", u->mount,
			     sizeof(u->mount))) {
			u->tag = ":memory:";
			break;
		}
		if (is_mount(line, "cgroup2", "", u->mount, sizeof(u->mount)))
			u->tag = "::";
	}
	if (f)
		fclose(f);
}

/* Where @cgroup is below the mount point. */
static void find_watched(struct units *u, const char *cgroup)
{
	char path[PATH_MAX];
	size_t len = strlen(u->mount);

	if (!realpath(cgroup, path) || strncmp(path, u->mount, len) ||
	    path[len] != '/')
		return;
	snprintf(u->watched, sizeof(u->watched), "%.511s", path + len);
}

int units_open(struct units *u, const char *cgroup)
{
	memset(u, 0, sizeof(*u));
	find_mount(u);
	if (cgroup && u->tag)
		find_watched(u, cgroup);
	u->u = memory_map(MAX_UNITS * sizeof(*u->u));
	if (!u->u)
		return -ENOMEM;
	u->nr = 1;
	return 0;
}

void units_forget(struct units *u)
{
	u->nr = 1;
	u->since_ns = clock_ns();
}

bool units_full(const struct units *u)
{
	return u->nr == MAX_UNITS;
}

/* systemd's ManagedOOMPreference=, and oomd's: "1" is yes. */
static bool has_attribute(const char *dir, const char *name)
{
	static const char *const spaces[] = { "user", "trusted" };
	char full[64], value[8];

	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
		snprintf(full, sizeof(full), "%s.%s", spaces[i], name);
		if (getxattr(dir, full, value, sizeof(value)) == 1 &&
		    value[0] == '1')
			return true;
	}
	return false;
}

/*
 * To spare a cgroup is for root to say, or for the user that we run as: any other
 * would protect its own processes at the cost of the rest.
 */
static uint32_t attributes(const char *dir, const struct stat *st)
{
	uint32_t flags = 0;

	if (has_attribute(dir, "oomd_prefer"))
		flags |= CANDIDATE_PREFER;
	if (st->st_uid && st->st_uid != geteuid())
		return flags;
	if (has_attribute(dir, "oomd_omit"))
		flags |= CANDIDATE_NEVER;
	if (has_attribute(dir, "oomd_avoid"))
		flags |= CANDIDATE_AVOID;
	return flags;
}

/* Members of what is above the watched one may be elsewhere, and unknown to us. */
static bool is_watched(const struct units *u, const char *path)
{
	size_t len = strlen(u->watched);

	return !strncmp(path, u->watched, len) &&
	       (!path[len] || path[len] == '/');
}

static bool goes_whole(const struct units *u, const char *dir, const char *path,
		       const struct rules *rules)
{
	char file[1024], value[8];

	if (!is_watched(u, path))
		return false;
	if (rules_whole(rules, path))
		return true;
	snprintf(file, sizeof(file), "%s/memory.oom.group", dir);
	return text_read_at(AT_FDCWD, file, value, sizeof(value)) > 0 &&
	       value[0] == '1';
}

static uint32_t find(struct units *u, const struct rules *rules,
		     const char *path)
{
	char dir[sizeof(u->mount) + sizeof(u->u->path)], above[512];
	uint32_t i, up = 0;
	struct stat st;
	char *slash;

	for (i = 1; i < u->nr; i++)
		if (!strcmp(u->u[i].path, path))
			return i;
	/* The root has every process. */
	if (!path[1])
		return 0;
	snprintf(above, sizeof(above), "%s", path);
	slash = strrchr(above, '/');
	slash[slash == above] = '\0';
	up = find(u, rules, above);
	/* There are as many as anybody likes to make; what is above it has to do. */
	if (u->nr == MAX_UNITS)
		return up;
	i = u->nr++;
	snprintf(u->u[i].path, sizeof(u->u[i].path), "%s", path);
	snprintf(dir, sizeof(dir), "%s%s", u->mount, path);
	if (stat(dir, &st))
		memset(&st, 0, sizeof(st));
	u->u[i].inode = st.st_ino;
	u->u[i].flags = attributes(dir, &st) | (up ? u->u[up].flags : 0);
	/* The outermost that goes as a whole takes all of it. */
	u->u[i].whole = up && u->u[up].whole		? u->u[up].whole :
			goes_whole(u, dir, path, rules) ? i :
							  0;
	return i;
}

/*
 * The first 32 levels of a path, as far as there is room for it.  Users may make their
 * own cgroups as long and as deep as they like, and that must not protect them.
 */
static void cut(char *path)
{
	unsigned int depth = 0;

	for (char *p = path; *p; p++) {
		if (*p != '/' || ++depth <= MAX_DEPTH)
			continue;
		*p = '\0';
		return;
	}
}

uint32_t units_find(struct units *u, const struct rules *rules,
		    const char *text)
{
	const char *line = u->tag ? strstr(text, u->tag) : NULL, *path;
	char copy[sizeof(u->u->path)];
	size_t len;

	if (!line)
		return 0;
	path = line + strlen(u->tag);
	len = strcspn(path, "\n");
	/* "(deleted)" and paths out of our namespace are nowhere. */
	if (*path != '/' || !strncmp(path, "/..", 3))
		return 0;
	if (len >= sizeof(copy))
		for (len = sizeof(copy) - 1; len > 1 && path[len] != '/'; len--)
			;
	memcpy(copy, path, len);
	copy[len] = '\0';
	cut(copy);
	return find(u, rules, copy);
}

/* v2's line is the last; where systemd uses v1, its own is what names units. */
char *units_rule_path(char *text)
{
	char *path = strstr(text, "::/"), *old = strstr(text, "name=systemd:/");

	if (old && (!path || path[3] == '\n' || !path[3]))
		path = strchr(old, ':') + 1;
	else if (path)
		path += 2;
	if (path)
		path[strcspn(path, "\n")] = '\0';
	return path;
}

int units_open_dir(const struct units *u, uint32_t unit)
{
	char dir[sizeof(u->mount) + sizeof(u->u->path)];
	struct stat st;
	int fd;

	snprintf(dir, sizeof(dir), "%s%s", u->mount, u->u[unit].path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Its service was started anew, and is innocent. */
	if (fstat(fd, &st) || st.st_ino != u->u[unit].inode) {
		close(fd);
		return -ESTALE;
	}
	return fd;
}
