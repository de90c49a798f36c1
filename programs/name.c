/* SPDX-License-Identifier: MIT */
/*
 * From the name of a unit or a container to its cgroup, by the tree alone.
 *
 * A cgroup of any name can be made by the user to whom a subtree is delegated:
 * a user in user@1000.service, root of a container.  So a name counts by where
 * it is found, and the better place always wins:
 *
 * SYSTEM	below slices only, all of them of the owner of the hierarchy.
 *		Slices are not delegated: only the system manager, or root,
 *		makes cgroups here.  Containers, which other managers make, may
 *		be below any cgroup of that owner, but for another container.
 * MANAGER	the same below the caller's own user@UID.service.
 * OWN		anywhere else, and the caller's.
 * OTHER	anywhere else.  Not taken for a unit: the path must be given.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

#define ID_LEN	     64
#define SHORT_ID_LEN 12
/* A delegated subtree can be made as deep and as wide as one likes. */
#define MAX_DEPTH   64
#define MAX_VISITED 100000

enum place {
	PLACE_SYSTEM,
	PLACE_MANAGER,
	PLACE_OWN,
	PLACE_OTHER,
	NR_PLACES,
};

struct found {
	unsigned int count;
	uid_t owner;
	char path[PATH_MAX];
};

struct search {
	const char *name;
	bool container;
	/* Leave what is not PLACE_SYSTEM alone. */
	bool system_only;
	/* Owner of the hierarchy, and who asks. */
	uid_t trusted;
	uid_t caller;
	unsigned int visited;
	size_t len;
	char path[PATH_MAX];
	struct found found[NR_PLACES];
};

int cgroup_mount(char *buf, size_t size, enum hierarchy which)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	bool found = false;
	struct mntent *m;

	if (!f)
		return -errno;
	while (!found && (m = getmntent(f))) {
		found = which == HIERARCHY_V2 ?
				!strcmp(m->mnt_type, "cgroup2") :
				!strcmp(m->mnt_type, "cgroup") &&
					hasmntopt(m, "name");
		if (found)
			snprintf(buf, size, "%s", m->mnt_dir);
	}
	endmntent(f);
	return found ? 0 : -ENXIO;
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len > end_len && !strcmp(s + len - end_len, end);
}

/* Lower-case hexadecimal digits, and only those: how many. */
static size_t hex_len(const char *s)
{
	size_t len = strspn(s, "0123456789abcdef");

	return s[len] ? 0 : len;
}

bool is_container_id(const char *s)
{
	size_t len = hex_len(s);

	return len == ID_LEN || len == SHORT_ID_LEN;
}

/*
 * The ID in ID, PREFIX-ID or PREFIX-ID.scope, the ways in which container
 * managers name a cgroup, into buf; false if there is none.
 */
static bool container_id(const char *dir, char *buf)
{
	size_t len = strlen(dir);
	const char *id;

	if (ends_with(dir, ".scope"))
		len -= strlen(".scope");
	if (len < ID_LEN)
		return false;
	id = dir + len - ID_LEN;
	memcpy(buf, id, ID_LEN);
	buf[ID_LEN] = '\0';
	if (hex_len(buf) != ID_LEN || (id > dir && id[-1] != '-'))
		return false;
	/* podman's and CRI-O's monitor of a container is not the container. */
	return !strstr(dir, "conmon-");
}

static bool begins_with(const char *s, const char *begin)
{
	return !strncmp(s, begin, strlen(begin));
}

/* crun-NAME.scope and runc-NAME.scope: where the name is a user's. */
static bool is_named_scope(const char *dir)
{
	return (begins_with(dir, "crun-") || begins_with(dir, "runc-")) &&
	       ends_with(dir, ".scope");
}

static bool is_scope_of(const char *dir, const char *name)
{
	size_t len = strlen(name);

	return is_named_scope(dir) && !strncmp(dir + 5, name, len) &&
	       !strcmp(dir + 5 + len, ".scope");
}

/* Of a container, or a machine of systemd-machined's: below it root is another. */
static bool is_container(const char *dir)
{
	char id[ID_LEN + 1];

	return container_id(dir, id) || is_named_scope(dir) ||
	       begins_with(dir, "lxc.payload.") ||
	       begins_with(dir, "systemd-nspawn@") ||
	       (begins_with(dir, "machine-") && ends_with(dir, ".scope"));
}

static bool is_match(const struct search *s, const char *dir)
{
	char id[ID_LEN + 1];

	if (!s->container)
		/* systemd puts _ before a name that the kernel could use. */
		return !strcmp(dir, s->name) ||
		       (dir[0] == '_' && !strcmp(dir + 1, s->name));
	if (is_scope_of(dir, s->name))
		return true;
	if (!is_container_id(s->name) || !container_id(dir, id))
		return false;
	return !strncmp(id, s->name, strlen(s->name));
}

static enum place place_of_user(const struct search *s, const struct stat *st)
{
	if (st->st_uid == s->caller && s->caller != s->trusted)
		return PLACE_OWN;
	return PLACE_OTHER;
}

/*
 * Where a cgroup is whose parent is in this place.  The owner of the parent could
 * make it, and give it away: a unit with User= and Delegate=, a container in a user
 * namespace, are the system's.
 */
static enum place place_of(const struct search *s, enum place parent,
			   const struct stat *st)
{
	if (parent == PLACE_SYSTEM || parent == PLACE_MANAGER)
		return parent;
	return place_of_user(s, st);
}

/* In which place that leaves what is below it: its owner's. */
static enum place place_below(const struct search *s, enum place place,
			      enum place parent, const char *dir,
			      const struct stat *st)
{
	char manager[64];

	snprintf(manager, sizeof(manager), "user@%u.service",
		 (unsigned int)s->caller);
	/* The manager is the system's; what it runs is its user's. */
	if (parent == PLACE_SYSTEM && !strcmp(dir, manager))
		return PLACE_MANAGER;
	if (place == PLACE_SYSTEM && st->st_uid != s->trusted)
		return place_of_user(s, st);
	if (place == PLACE_MANAGER || (place == PLACE_SYSTEM && !s->container))
		return ends_with(dir, ".slice") ? place : PLACE_OTHER;
	if (place == PLACE_SYSTEM && is_container(dir))
		return PLACE_OTHER;
	return place;
}

static void note_found(struct search *s, enum place place,
		       const struct stat *st)
{
	struct found *f = &s->found[place];

	if (f->count++)
		return;
	f->owner = st->st_uid;
	memcpy(f->path, s->path, s->len + 1);
}

static int walk(struct search *s, int fd, enum place place, unsigned int depth);

static int walk_one(struct search *s, int dirfd, const char *dir,
		    enum place parent, unsigned int depth)
{
	size_t len = s->len, dir_len = strlen(dir);
	enum place place, below;
	struct stat st;
	int fd, ret = 0;

	if (fstatat(dirfd, dir, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISDIR(st.st_mode) || len + dir_len + 2 > sizeof(s->path))
		return 0;
	place = place_of(s, parent, &st);
	below = place_below(s, place, parent, dir, &st);
	s->path[len] = '/';
	memcpy(s->path + len + 1, dir, dir_len + 1);
	s->len += dir_len + 1;
	if (is_match(s, dir)) {
		note_found(s, place, &st);
		/* A container within a container is not the one meant. */
		if (s->container)
			goto out;
	}
	if (depth == MAX_DEPTH || (s->system_only && below != PLACE_SYSTEM) ||
	    (below != PLACE_SYSTEM && s->visited++ > MAX_VISITED))
		goto out;
	fd = openat(dirfd, dir,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		ret = walk(s, fd, below, depth + 1);
	else if (errno != ENOENT && errno != EACCES && errno != ENODEV)
		ret = -errno;
out:
	s->len = len;
	s->path[len] = '\0';
	return ret;
}

/* Closes fd. */
static int walk(struct search *s, int fd, enum place place, unsigned int depth)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	int ret = 0;

	if (!d) {
		ret = -errno;
		close(fd);
		return ret;
	}
	while (ret == 0 && (e = readdir(d)))
		if (e->d_type != DT_REG && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			ret = walk_one(s, fd, e->d_name, place, depth);
	closedir(d);
	return ret;
}

static int walk_root(struct search *s)
{
	int fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	s->trusted = st.st_uid;
	return walk(s, fd, PLACE_SYSTEM, 0);
}

/*
 * The last place that counts.  The ID of a container is found by nobody by
 * chance: it may be another user's.
 */
static enum place last_place(const struct search *s)
{
	return s->container && is_container_id(s->name) ? PLACE_OTHER :
							  PLACE_OWN;
}

/* The best place in which there is one. */
static int choose(const struct search *s, char *ret_path)
{
	enum place i = PLACE_SYSTEM, last = last_place(s);
	char name[NAME_MAX], path[PATH_MAX];
	const struct found *f;

	while (i < last && !s->found[i].count)
		i++;
	f = &s->found[i];
	if (f->count == 1) {
		memcpy(ret_path, f->path, sizeof(f->path));
		return 0;
	}
	output_text(name, sizeof(name), s->name);
	if (f->count > 1) {
		output_text(path, sizeof(path), f->path);
		complain("%s: %u cgroups have this name, "
			 "give the path of one: %s",
			 name, f->count, path);
		return -EINVAL;
	}
	f = &s->found[PLACE_OTHER];
	if (f->count) {
		output_text(path, sizeof(path), f->path);
		complain("%s: none of the system or of your own; "
			 "if this one is meant, give its path: %s (user %u)",
			 name, path, (unsigned int)f->owner);
	}
	return -ENOENT;
}

static int find_in(const char *name, bool container, enum hierarchy which,
		   char *ret_path)
{
	struct search *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->name = name;
	s->container = container;
	s->system_only = true;
	s->caller = geteuid();
	ret = cgroup_mount(s->path, sizeof(s->path), which);
	s->len = strlen(s->path);
	if (ret == 0)
		ret = walk_root(s);
	if (ret == 0 && !s->found[PLACE_SYSTEM].count) {
		s->system_only = false;
		memset(s->found, 0, sizeof(s->found));
		ret = walk_root(s);
	}
	if (ret == 0)
		ret = choose(s, ret_path);
	free(s);
	return ret;
}

/*
 * -ENOENT: no such unit or container.  -EINVAL: more than one, which was
 * complained of.  -ENXIO: there is nothing to find it in.
 *
 * Where systemd, or a container manager, keeps to version 1, version 2 may be
 * mounted as well.
 */
static int find(const char *name, bool container, char *ret_path)
{
	int v2 = find_in(name, container, HIERARCHY_V2, ret_path), v1;

	if (v2 != -ENOENT && v2 != -ENXIO)
		return v2;
	v1 = find_in(name, container, HIERARCHY_V1, ret_path);
	if (v1 == -ENXIO && v2 == -ENXIO)
		complain("no cgroup file system is mounted");
	return v1 == -ENXIO ? v2 : v1;
}

int find_unit(const char *name, char *ret_path)
{
	return find(name, false, ret_path);
}

int find_container(const char *name, char *ret_path)
{
	return *name ? find(name, true, ret_path) : -ENOENT;
}
