/* SPDX-License-Identifier: MIT */
/*
 * Cgroups of version 2 for the victims, found by mount type because a hybrid
 * set-up has them elsewhere than a unified one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

/* Is word one of the comma-separated words of list? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (list) {
		if (!strncmp(list, word, len) &&
		    (!list[len] || list[len] == ',' || list[len] == '\n'))
			return true;
		list = strchr(list, ',');
		list += list != NULL;
	}
	return false;
}

/*
 * Where a hierarchy is mounted: that of version 2, or with a controller named
 * the one of version 1 that has it.
 */
bool cgroup_mount(const char *controller, char *ret, size_t size)
{
	char line[2048];
	bool found = false;
	FILE *f;

	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		char *tail =
			strstr(line, controller ? " - cgroup " : " - cgroup2 ");
		char path[BENCH_PATH_MAX];

		/* the last field is the options of the superblock */
		if (!tail ||
		    (controller &&
		     !has_word(strrchr(tail, ' ') + 1, controller)) ||
		    sscanf(line, "%*s %*s %*s %*s %511s", path) != 1)
			continue;
		snprintf(ret, size, "%s", path);
		found = true;
	}
	fclose(f);
	return found;
}

/* Our own place in it, which is all that an ordinary user may write to. */
bool cgroup_own(const char *controller, char *ret, size_t size)
{
	char buf[4096];
	char *line;
	char *save;

	if (read_file("/proc/self/cgroup", buf, sizeof(buf)) < 0)
		return false;
	for (line = strtok_r(buf, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':');
		char *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		if (controller ? has_word(names + 1, controller) : !names[1]) {
			snprintf(ret, size, "%s", path);
			return true;
		}
	}
	return false;
}

/*
 * The owner's PID is in the name so that the guard, which is that owner, can
 * sweep up after a run that crashed.
 */
static int make_below(const char *base, pid_t owner, const char *name,
		      struct bench_cgroup *cg)
{
	char path[BENCH_PATH_MAX * 2];

	snprintf(path, sizeof(path), "%s/" BENCH_CGROUP_PREFIX "%d-%s", base,
		 owner, name);
	if (strlen(path) >= sizeof(cg->path))
		return ENAMETOOLONG;
	if (mkdir(path, 0755))
		return errno;
	memcpy(cg->path, path, strlen(path) + 1);
	cg->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cg->procs_fd = openat(cg->dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (cg->dir_fd < 0 || cg->procs_fd < 0) {
		int saved = errno;

		cgroup_end(cg);
		return saved;
	}
	return 0;
}

/* 0, or the errno for which there is no cgroup. */
int cgroup_make(const char *name, struct bench_cgroup *cg)
{
	char mnt[BENCH_PATH_MAX];
	char own[BENCH_PATH_MAX];
	char base[BENCH_PATH_MAX * 2];
	int error;

	*cg = (struct bench_cgroup){ .dir_fd = -1, .procs_fd = -1 };
	if (!cgroup_mount(NULL, mnt, sizeof(mnt)))
		return ENODEV;
	if (cgroup_own(NULL, own, sizeof(own))) {
		snprintf(base, sizeof(base), "%s%s", mnt, own);
		error = make_below(base, getppid(), name, cg);
		if (!error)
			return 0;
	}
	return make_below(mnt, getppid(), name, cg);
}

int cgroup_kill(const struct bench_cgroup *cg)
{
	int error = 0;
	int fd;

	fd = openat(cg->dir_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, "1", 1) != 1)
		error = errno;
	close(fd);
	return error;
}

/* cgroup.events tells each change of "populated" by POLLPRI. */
int cgroup_wait_empty(const struct bench_cgroup *cg, int64_t deadline_ns)
{
	struct pollfd pfd = { .events = POLLPRI };
	char buf[256];
	int error = 0;

	pfd.fd = openat(cg->dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (pfd.fd < 0)
		return errno;
	for (;;) {
		int64_t left = deadline_ns - now_ns();
		ssize_t n = pread(pfd.fd, buf, sizeof(buf) - 1, 0);

		if (n < 0) {
			error = errno;
			break;
		}
		buf[n] = '\0';
		if (strstr(buf, "populated 0"))
			break;
		if (left <= 0) {
			error = ETIMEDOUT;
			break;
		}
		poll(&pfd, 1, (int)(left / NSEC_PER_MSEC) + 1);
	}
	close(pfd.fd);
	return error;
}

/* Ends the members that are left: only what the bench has put there. */
void cgroup_end(struct bench_cgroup *cg)
{
	if (cg->dir_fd >= 0) {
		cgroup_kill(cg);
		cgroup_wait_empty(cg, now_ns() + 10 * NSEC_PER_SEC);
		close(cg->dir_fd);
	}
	if (cg->procs_fd >= 0)
		close(cg->procs_fd);
	if (cg->path[0] && rmdir(cg->path) && errno != ENOENT)
		fprintf(stderr, "mrelease-bench: rmdir %s: %m\n", cg->path);
	*cg = (struct bench_cgroup){ .dir_fd = -1, .procs_fd = -1 };
}

static void sweep_below(const char *base, const char *prefix)
{
	struct dirent *entry;
	DIR *dir;

	dir = opendir(base);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		struct bench_cgroup cg = { .procs_fd = -1 };

		if (strncmp(entry->d_name, prefix, strlen(prefix)))
			continue;
		snprintf(cg.path, sizeof(cg.path), "%s/%s", base,
			 entry->d_name);
		cg.dir_fd = open(cg.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cgroup_end(&cg);
	}
	closedir(dir);
}

/* The hierarchy of a controller, or of version 2, mount and our own place. */
static void sweep(const char *controller, const char *prefix)
{
	char mnt[BENCH_PATH_MAX];
	char own[BENCH_PATH_MAX];
	char base[BENCH_PATH_MAX * 2];

	if (!cgroup_mount(controller, mnt, sizeof(mnt)))
		return;
	sweep_below(mnt, prefix);
	if (cgroup_own(controller, own, sizeof(own)) && strcmp(own, "/")) {
		snprintf(base, sizeof(base), "%s%s", mnt, own);
		sweep_below(base, prefix);
	}
}

/* For the guard: cgroups of this run that nobody has removed. */
void cgroup_sweep(pid_t owner)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), BENCH_CGROUP_PREFIX "%d-", owner);
	sweep(NULL, prefix);
	sweep("memory", prefix);
}
