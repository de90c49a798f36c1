/* SPDX-License-Identifier: MIT */
/* Cgroups for the tests, below our own in each hierarchy, v1 and v2. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define PREFIX "mrelease-test-"

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX + 64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -errno : 0;
}

static int read_text(const char *dir, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX + 64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n < 0 ? -errno : 0;
}

static bool has_option(const char *options, const char *name)
{
	size_t len = strlen(name);

	while (options && *options) {
		if (!strncmp(options, name, len) &&
		    strchr(",\n ", options[len]))
			return true;
		options = strchr(options, ',');
		options = options ? options + 1 : NULL;
	}
	return false;
}

/* The hierarchy's mount point, and our own cgroup in it. */
static bool find_hierarchy(enum cgroup_kind kind, char *mount, char *own)
{
	static const char *const controller[] = { "", "freezer", "memory",
						  "cpu" };
	char line[PATH_MAX * 2], point[PATH_MAX], type[32], options[256];
	char wanted[64];
	bool found = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *dash;

	while (f && !found && fgets(line, sizeof(line), f)) {
		dash = strstr(line, " - ");
		if (!dash || sscanf(line, "%*s %*s %*s / %4095s", point) != 1 ||
		    sscanf(dash, " - %31s %*s %255s", type, options) != 2)
			continue;
		if (kind == CGROUP_V2)
			found = !strcmp(type, "cgroup2");
		else
			found = !strcmp(type, "cgroup") &&
				has_option(options, controller[kind]);
	}
	if (f)
		fclose(f);
	if (!found)
		return false;
	strcpy(mount, point);

	f = fopen("/proc/self/cgroup", "re");
	found = false;
	snprintf(wanted, sizeof(wanted), "%s", controller[kind]);
	while (f && !found && fgets(line, sizeof(line), f)) {
		char *names = strchr(line, ':'), *path;

		path = names ? strchr(names + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		found = kind == CGROUP_V2 ? !names[1] :
					    !strcmp(names + 1, wanted);
		if (found)
			strcpy(own, path);
	}
	if (f)
		fclose(f);
	return found;
}

static const char *tag(const struct cgroup *cg)
{
	return cg->kind == CGROUP_CPU ? "throttle" : "cgroup";
}

static void open_cgroup(struct cgroup *cg)
{
	if (mkdir(cg->path, 0755) && errno != EEXIST)
		skip_test(tag(cg), "no cgroup can be made: %s: %s", cg->path,
			  strerror(errno));
	snprintf(cg->procs, sizeof(cg->procs), "%.4000s/cgroup.procs",
		 cg->path);
	if (access(cg->procs, W_OK))
		skip_test(tag(cg), "%s cannot be written to", cg->procs);
	cg->fd = open(cg->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(cg->fd >= 0);
}

void cgroup_make(struct cgroup *cg, enum cgroup_kind kind)
{
	static unsigned int serial;
	char mount[PATH_MAX], own[PATH_MAX];

	cg->kind = kind;
	if (!find_hierarchy(kind, mount, own))
		skip_test(tag(cg), "the %s hierarchy is not mounted",
			  kind == CGROUP_V2	 ? "v2" :
			  kind == CGROUP_FREEZER ? "v1 freezer" :
			  kind == CGROUP_MEMORY	 ? "v1 memory" :
						   "v1 cpu");
	snprintf(cg->path, sizeof(cg->path), "%.1900s%.1900s/" PREFIX "%d-%u",
		 mount, strcmp(own, "/") ? own : "", getpid(), serial++);
	open_cgroup(cg);
}

void cgroup_make_below(struct cgroup *cg, const struct cgroup *parent,
		       const char *name)
{
	cg->kind = parent->kind;
	snprintf(cg->path, sizeof(cg->path), "%.3900s/%.100s", parent->path,
		 name);
	open_cgroup(cg);
}

void cgroup_add(const struct cgroup *cg, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	assert_int_equal(write_file(cg->path, "cgroup.procs", text), 0);
}

bool cgroup_frozen(const struct cgroup *cg)
{
	char buf[256];

	if (cg->kind == CGROUP_V2)
		return !read_text(cg->path, "cgroup.events", buf,
				  sizeof(buf)) &&
		       strstr(buf, "frozen 1");
	return !read_text(cg->path, "freezer.state", buf, sizeof(buf)) &&
	       !strncmp(buf, "FROZEN", 6);
}

static bool is_frozen(void *arg)
{
	return cgroup_frozen(arg);
}

void cgroup_thaw(const struct cgroup *cg)
{
	bool v2 = cg->kind == CGROUP_V2;

	assert_int_equal(write_file(cg->path,
				    v2 ? "cgroup.freeze" : "freezer.state",
				    v2 ? "0" : "THAWED"),
			 0);
}

void cgroup_freeze(const struct cgroup *cg)
{
	int ret = cg->kind == CGROUP_V2 ?
			  write_file(cg->path, "cgroup.freeze", "1") :
			  write_file(cg->path, "freezer.state", "FROZEN");

	assert_int_equal(ret, 0);
	wait_until(is_frozen, (void *)cg, "frozen");
}

static bool was_throttled(void *arg)
{
	const struct cgroup *cg = arg;
	char buf[1024];
	const char *p;

	if (read_text(cg->path, "cpu.stat", buf, sizeof(buf)))
		return false;
	p = strstr(buf, "nr_throttled ");
	return p && atoi(p + strlen("nr_throttled ")) > 0;
}

void cgroup_throttle(const struct cgroup *cg)
{
	/* The least there is: a thousandth of one CPU. */
	if (write_file(cg->path, "cpu.cfs_period_us", "1000000") ||
	    write_file(cg->path, "cpu.cfs_quota_us", "1000"))
		skip_test("throttle", "no CPU quota can be set");
	wait_until(was_throttled, (void *)cg, "throttled");
}

unsigned int cgroup_members(const struct cgroup *cg)
{
	char buf[65536];
	unsigned int n = 0;
	const char *p;

	if (read_text(cg->path, "cgroup.procs", buf, sizeof(buf)))
		return 0;
	for (p = buf; *p; p++)
		n += *p == '\n';
	return n;
}

/* Depth first; a cgroup that still has members stays and is counted. */
static int clean(const char *path, bool remove)
{
	char below[PATH_MAX];
	struct dirent *entry;
	int left = 0;
	DIR *dir;

	write_file(path, "cgroup.freeze", "0");
	write_file(path, "freezer.state", "THAWED");
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%.3800s/%.255s", path,
			 entry->d_name);
		left += clean(below, remove);
	}
	if (dir)
		closedir(dir);
	if (remove && rmdir(path) && errno != ENOENT)
		left++;
	return left;
}

static int clean_hierarchy(enum cgroup_kind kind, pid_t pid, bool remove)
{
	char mount[PATH_MAX], own[PATH_MAX], parent[PATH_MAX], path[PATH_MAX];
	char prefix[64];
	struct dirent *entry;
	int left = 0;
	DIR *dir;

	if (!find_hierarchy(kind, mount, own))
		return 0;
	snprintf(parent, sizeof(parent), "%.1900s%.1900s", mount,
		 strcmp(own, "/") ? own : "");
	snprintf(prefix, sizeof(prefix), PREFIX "%d-", pid);
	dir = opendir(parent);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		snprintf(path, sizeof(path), "%.3800s/%.255s", parent,
			 entry->d_name);
		left += clean(path, remove);
	}
	if (dir)
		closedir(dir);
	return left;
}

int cgroups_clean(pid_t pid)
{
	bool remove = pid != 0;

	if (!pid)
		pid = getpid();
	return clean_hierarchy(CGROUP_V2, pid, remove) +
	       clean_hierarchy(CGROUP_FREEZER, pid, remove) +
	       clean_hierarchy(CGROUP_MEMORY, pid, remove) +
	       clean_hierarchy(CGROUP_CPU, pid, remove);
}
