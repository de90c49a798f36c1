/* SPDX-License-Identifier: MIT */
/* From what the user wrote to a process or a cgroup, and its release. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define MAX_MEMBERS 65536

static bool is_cgroup_fs(int fd)
{
	struct statfs sfs;

	return fstatfs(fd, &sfs) == 0 && (sfs.f_type == CGROUP2_SUPER_MAGIC ||
					  sfs.f_type == CGROUP_SUPER_MAGIC);
}

static int open_cgroup(struct target *t)
{
	struct stat st;

	t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	if (is_cgroup_fs(t->fd) && fstat(t->fd, &st) == 0) {
		t->dev = st.st_dev;
		t->ino = st.st_ino;
		return 0;
	}
	close(t->fd);
	t->fd = -1;
	return -ENOTTY;
}

static int open_below(struct target *t, const char *mount, const char *path)
{
	if (snprintf(t->path, sizeof(t->path), "%s%s", mount, path) >=
	    (int)sizeof(t->path))
		return -ENAMETOOLONG;
	return open_cgroup(t);
}

/* As it is, or as in /proc/PID/cgroup: from the root of a hierarchy. */
static int open_path(struct target *t, const char *arg)
{
	char mount[PATH_MAX / 2];
	int ret = open_below(t, "", arg);

	for (int which = HIERARCHY_V2; which <= HIERARCHY_V1; which++)
		if (ret == -ENOENT && cgroup_mount(mount, sizeof(mount),
						   (enum hierarchy)which) == 0)
			ret = open_below(t, mount, arg);
	/* What is said of it names what was asked for. */
	if (ret == -ENOENT)
		snprintf(t->path, sizeof(t->path), "%s", arg);
	return ret;
}

static int parse_cgroup(struct target *t, const char *arg)
{
	int ret = -ENOENT;

	t->kind = TARGET_CGROUP;
	if (*arg == '/')
		return open_path(t, arg);
	if (strchr(arg, '.'))
		ret = find_unit(arg, t->path);
	/* The name of a container can have a dot. */
	if (ret == -ENOENT)
		ret = find_container(arg, t->path);
	return ret < 0 ? ret : open_cgroup(t);
}

/*
 * More targets than descriptors: half of them are kept for the releases
 * themselves, and a target without one is opened when its turn comes.
 */
static void spare(struct target *t, const struct settings *set)
{
	if (t->fd < set->max_fds / 2)
		return;
	close(t->fd);
	t->fd = -1;
	t->error = -EMFILE;
	t->spared = true;
}

static void open_process(struct target *t)
{
	int fd = mrelease_open(t->pid, t->inode);

	t->fd = fd < 0 ? -1 : fd;
	t->error = fd < 0 ? fd : 0;
}

/* "123" and "123:456" are processes, whatever else they are. */
static int parse_process(struct target *t, const char *arg)
{
	char *end;
	unsigned long long n;

	t->kind = TARGET_PROCESS;
	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno || n > INT_MAX)
		return -EINVAL;
	t->pid = n;
	if (*end == ':') {
		arg = end + 1;
		if (*arg < '0' || *arg > '9')
			return -EINVAL;
		t->inode = strtoull(arg, &end, 10);
		if (errno || !t->inode)
			return -EINVAL;
	}
	return *end ? -EINVAL : 0;
}

static int parse_number(struct target *t, const char *arg,
			const struct settings *set)
{
	int ret = parse_process(t, arg);

	if (ret < 0) {
		complain("%s: not a PID or PID:INODE", arg);
		return ret;
	}
	t->report.pid = t->pid;
	if (!t->pid) {
		t->error = -EPERM;
		return 0;
	}
	open_process(t);
	t->found = t->fd >= 0;
	spare(t, set);
	return 0;
}

/* "nginx" is nothing; its service may be meant. */
static void complain_of_word(const char *arg, bool look)
{
	char name[256], unit[NAME_MAX], path[PATH_MAX], hint[512] = "";

	output_text(name, sizeof(name), *arg ? arg : "''");
	if (look &&
	    snprintf(unit, sizeof(unit), "%s.service", arg) <
		    (int)sizeof(unit) &&
	    find_unit(unit, path) == 0)
		snprintf(hint, sizeof(hint), "; did you mean %s.service?",
			 name);
	complain("%s: not a PID, PID:INODE, cgroup path, unit or container%s",
		 name, hint);
}

static int parse_named(struct target *t, const char *arg,
		       const struct settings *set)
{
	int ret = parse_cgroup(t, arg);

	/*
	 * A word that is no container's name was a mistake in typing; also where
	 * nothing can be looked up, for then it was not typed for this machine.
	 */
	if ((ret == -ENOENT || ret == -ENXIO) && !strchr(arg, '/') &&
	    !strchr(arg, '.') && !is_container_id(arg)) {
		complain_of_word(arg, ret == -ENOENT);
		return -EINVAL;
	}
	if (ret == -ENOTTY || ret == -ENOTDIR) {
		char name[NAME_MAX];

		output_text(name, sizeof(name), arg);
		complain("%s: not a cgroup", name);
		return -EINVAL;
	}
	if (ret == -EINVAL)
		return ret;
	t->error = ret;
	spare(t, set);
	return 0;
}

/*
 * -EINVAL: not a target at all, which ends the whole call before anything
 * is signalled.  A target that is not there is kept, with its error.
 */
int target_parse(struct target *t, const char *arg, const struct settings *set)
{
	memset(t, 0, sizeof(*t));
	t->arg = arg;
	t->fd = -1;
	t->report.size = sizeof(t->report);
	t->report.release_ns = -1;
	t->report.exit_ns = -1;
	if (*arg >= '0' && *arg <= '9' && !is_container_id(arg) &&
	    strspn(arg, "0123456789:") == strlen(arg))
		return parse_number(t, arg, set);
	if (*arg != '/' && strchr(arg, '/')) {
		complain("%s: the path of a cgroup begins with /", arg);
		return -EINVAL;
	}
	return parse_named(t, arg, set);
}

/* The same process or cgroup, and no other word to be said of it. */
static int by_identity(const struct target *x, const struct target *y)
{
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->error != y->error)
		return x->error < y->error ? -1 : 1;
	if (x->kind == TARGET_PROCESS)
		return (x->pid > y->pid) - (x->pid < y->pid);
	if (x->fd < 0 || y->fd < 0)
		return strcmp(x->path, y->path);
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int by_identity_and_place(const void *a, const void *b)
{
	const struct target *x = *(struct target *const *)a;
	const struct target *y = *(struct target *const *)b;
	int diff = by_identity(x, y);

	return diff ? diff : (x > y) - (x < y);
}

/*
 * A target that is named twice is one target: two releases of it would get in
 * each other's way, and the second would call it gone.  How many are left.
 */
size_t targets_unique(struct target *t, size_t nr)
{
	struct target **sorted;
	size_t left = 0;

	if (nr == 1)
		return nr;
	sorted = calloc(nr, sizeof(struct target *));
	if (!sorted)
		return nr;
	for (size_t i = 0; i < nr; i++)
		sorted[i] = &t[i];
	qsort(sorted, nr, sizeof(struct target *), by_identity_and_place);
	/* "done" marks the double ones until they are gone. */
	for (size_t i = 1; i < nr; i++)
		sorted[i]->done = !by_identity(sorted[i - 1], sorted[i]);
	free(sorted);
	for (size_t i = 0; i < nr; i++) {
		if (t[i].done) {
			if (t[i].fd >= 0)
				close(t[i].fd);
			continue;
		}
		if (left != i)
			t[left] = t[i];
		left++;
	}
	return left;
}

static uint64_t number_in(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	char buf[64] = "";
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n > 0 ? strtoull(buf, NULL, 10) : 0;
}

/* How much, roughly: the biggest goes first. */
void target_weigh(struct target *t)
{
	char path[64], buf[128] = "";
	unsigned long long pages = 0;
	FILE *f;

	if (t->fd < 0 && (t->error != -EMFILE || t->kind == TARGET_CGROUP))
		return;
	if (t->kind == TARGET_CGROUP) {
		t->weight = number_in(t->fd, "memory.current");
		if (!t->weight)
			t->weight = number_in(t->fd, "memory.usage_in_bytes");
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/statm", t->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(buf, sizeof(buf), f))
		sscanf(buf, "%*s %llu", &pages);
	fclose(f);
	t->weight = pages * 4096;
}

static enum exit_status status_of(const struct mrelease_report *r)
{
	switch (r->result) {
	case MRELEASE_RELEASED:
		return r->outstanding_bytes ? STATUS_UNCONFIRMED : STATUS_OK;
	case MRELEASE_WOULD_KILL:
		/* As the run would end. */
		return r->outstanding_bytes || r->notes & MRELEASE_NOTE_ZOMBIE ?
			       STATUS_UNCONFIRMED :
			       STATUS_OK;
	case MRELEASE_GONE:
		return STATUS_NO_TARGET;
	case MRELEASE_REFUSED:
		return STATUS_REFUSED;
	case MRELEASE_EXITED:
	case MRELEASE_UNCONFIRMED:
		return STATUS_UNCONFIRMED;
	default:
		return STATUS_NOT_KILLED;
	}
}

/* No handle: what that means. */
static void no_handle(struct target *t)
{
	struct mrelease_report *r = &t->report;

	r->error = t->error;
	switch (t->error) {
	case -ESRCH:
	case -ENOENT:
	case -ENODEV:
		r->result = MRELEASE_GONE;
		break;
	case -ESTALE:
		r->result = MRELEASE_REFUSED;
		r->refusal = MRELEASE_REFUSE_REUSED;
		break;
	case -EISDIR:
		r->result = MRELEASE_REFUSED;
		r->refusal = MRELEASE_REFUSE_THREAD;
		break;
	case -EPERM:
	case -EACCES:
		r->result = MRELEASE_REFUSED;
		break;
	default:
		r->result = MRELEASE_FAILED;
	}
}

static int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void target_release(struct target *t, const struct settings *set)
{
	struct mrelease_opts opts = set->opts;
	int ret;

	if (t->spared) {
		if (t->kind == TARGET_CGROUP)
			t->error = open_cgroup(t);
		else
			open_process(t);
	}
	if (t->fd < 0) {
		no_handle(t);
		t->status = status_of(&t->report);
		return;
	}
	if (set->wait_ns)
		opts.deadline_ns = monotonic_ns() + set->wait_ns;
	if (t->kind == TARGET_CGROUP || set->tree) {
		t->nr_members = MAX_MEMBERS;
		t->members = calloc(t->nr_members, sizeof(*t->members));
		if (t->members)
			t->members[0].size = sizeof(*t->members);
		else
			t->nr_members = 0;
	}
	if (t->kind == TARGET_CGROUP)
		ret = mrelease_cgroup(t->fd, &opts, &t->report, t->members,
				      &t->nr_members);
	else if (set->tree)
		ret = mrelease_tree(t->fd, &opts, &t->report, t->members,
				    &t->nr_members);
	else
		ret = mrelease_process(t->fd, &opts, &t->report);
	t->error = ret;
	t->report.error = ret;
	if (ret < 0 && t->report.result == MRELEASE_RELEASED)
		t->report.result = MRELEASE_FAILED;
	if (!t->report.pid)
		t->report.pid = t->pid;
	t->status = status_of(&t->report);
	t->late = t->found && (t->report.result == MRELEASE_GONE ||
			       t->report.notes & MRELEASE_NOTE_ZOMBIE);
}

/*
 * A process that was there and is not any more may be a member of another
 * target, which took it along.  Then that was its release.
 */
void target_adopt(struct target *t, const struct target *all, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (&all[i] == t)
			continue;
		for (size_t j = 0; j < all[i].nr_members; j++) {
			if (all[i].members[j].pid != t->pid)
				continue;
			t->report = all[i].members[j];
			t->status = status_of(&t->report);
			return;
		}
	}
}

/*
 * One status for all: theirs if they agree, 64 if some succeeded and some
 * did not, and else the gravest, which is the largest.
 */
enum exit_status targets_status(const struct target *t, size_t nr)
{
	enum exit_status worst = STATUS_OK;
	bool good = false;

	for (size_t i = 0; i < nr; i++) {
		if (t[i].status == STATUS_OK)
			good = true;
		else if (t[i].status > worst)
			worst = t[i].status;
	}
	return good && worst != STATUS_OK ? STATUS_PARTIAL : worst;
}
