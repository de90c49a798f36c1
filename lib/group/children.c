/* SPDX-License-Identifier: MIT */
/* The children of a tree's processes: listed, and added to the tree. */
#include <dirent.h>
#include <string.h>

#include "group/group.h"

static int add_children_of_dying(struct group *g, pid_t pid, bool holding);

static int add(struct group *g, pid_t pid, uint64_t listed, bool holding)
{
	int ret = group_add(g, pid, listed);

	g->listed++;
	if (ret > 0 && holding)
		hold_process(g, g->victims[g->nr - 1]);
	if (ret == 0 && g->met_dying)
		ret = add_children_of_dying(g, pid, holding);
	return ret;
}

int children_read(int task_fd, const char *tid,
		  int (*fn)(void *arg, pid_t pid, uint64_t listed), void *arg)
{
	char path[64], buf[1024];
	cleanup_fd int fd = -EBADF;
	const char *p, *end;
	size_t n = strlen(tid);
	uint64_t pid, listed;
	long len;
	int ret;

	if (n > 20)
		return 0;
	__builtin_memcpy(path, tid, n);
	__builtin_memcpy(path + n, "/children", sizeof("/children"));
	fd = sys_openat(task_fd, path, O_RDONLY);
	if (fd < 0)
		return fd;
	/* Read on and on: a number may be cut in two at the buffer's end. */
	for (uint64_t off = 0;; off += end - buf) {
		len = sys_pread(fd, buf, sizeof(buf), off);
		if (len <= 0)
			return 0;
		listed = boot_ticks();
		end = buf + len;
		while (end > buf && end[-1] != ' ')
			end--;
		if (end == buf)
			return 0;
		for (p = buf; p < end;) {
			if (parse_u64(&p, end, &pid) < 0)
				break;
			p++;
			ret = fn(arg, pid, listed);
			if (ret < 0)
				return ret;
		}
	}
}

struct add_arg {
	struct group *g;
	bool holding;
};

static int add_child(void *arg, pid_t pid, uint64_t listed)
{
	struct add_arg *a = arg;

	return add(a->g, pid, listed, a->holding);
}

int children_of_thread(struct group *g, const struct victim *v, const char *tid,
		       bool holding)
{
	struct add_arg a = { .g = g, .holding = holding };

	return children_read(v->task_fd, tid, add_child, &a);
}

/* No CONFIG_PROC_CHILDREN: by the parent's number in every stat file. */
int children_by_ppid(struct group *g, pid_t parent, bool holding)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	char list[4096], path[64], buf[1024];
	struct proc_stat st;
	struct dents d;
	pid_t pid;
	int ret;
	long n;

	if (fd < 0)
		return fd;
	dents_open(&d, fd, list, sizeof(list));
	while ((pid = dents_pid(&d))) {
		path_number(path, "", pid, "/stat");
		n = read_file(fd, path, buf, sizeof(buf));
		if (n <= 0 || parse_stat(buf, n, &st) < 0 || st.ppid != parent)
			continue;
		ret = add(g, pid, st.start_time, holding);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int add_children_of_threads(struct group *g, const struct victim *v,
				   bool holding)
{
	const struct dirent64 *e;
	struct dents d;
	char buf[4096];
	int ret;

	dents_open(&d, v->task_fd, buf, sizeof(buf));
	while ((e = dents_next(&d))) {
		if (e->d_name[0] == '.')
			continue;
		ret = children_of_thread(g, v, e->d_name, holding);
		if (ret < 0 && ret != -ENOENT && ret != -ESRCH)
			return ret;
	}
	return 0;
}

/*
 * No member any more, there is nothing of it to release; but between its
 * exit_mm() and the zombie, which may be long for a nice one, it still has
 * children.  They are of the tree, and nobody else lists them.
 */
static int add_children_of_dying(struct group *g, pid_t pid, bool holding)
{
	cleanup_fd int fd = -EBADF, task_fd = -EBADF;
	char path[64], buf[1024];
	struct proc_stat st;
	struct victim v;
	long len;
	int ret;

	/* A longer chain gets shorter, as its upper end becomes zombies. */
	if (g->depth == 16) {
		g->dying = true;
		return 0;
	}
	path_number(path, "/proc/", pid, "");
	fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return 0;
	/* By the directory that is listed then: not a stranger's. */
	len = read_file(fd, "stat", buf, sizeof(buf));
	if (len <= 0 || parse_stat(buf, len, &st) < 0 ||
	    !group_is_dead_one(g, &st))
		return 0;
	task_fd = sys_openat(fd, "task", O_RDONLY | O_DIRECTORY);
	if (task_fd < 0) {
		g->dying |= task_fd != -ENOENT && task_fd != -ESRCH;
		return 0;
	}
	victim_init(&v);
	v.task_fd = task_fd;
	g->depth++;
	ret = add_children_of_threads(g, &v, holding);
	if (ret == 0 && g->by_ppid)
		ret = children_by_ppid(g, pid, holding);
	g->depth--;
	return ret;
}
