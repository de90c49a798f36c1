/* SPDX-License-Identifier: MIT */
/*
 * Who else maps an object?  A mapping is enough, also one of which no page was
 * ever touched: a child has those of its parent, and its page tables have none
 * of their pages.  So neither the pages nor their counts tell, only the maps
 * of other processes.  That is asked where an object is there though the victim
 * has gone, and in a dry run.
 *
 * To open the maps of a process can wait for it, in an execve() of its, and to
 * read them as well.  A helper does it, and is ended if it hangs; then that
 * process is left out, and the others are asked.
 */
#include <linux/stat.h>
#include <string.h>

#include "process/process.h"

/* For all of them. */
#define SEARCH_NS NSEC_PER_SEC
/* For one that hangs. */
#define STALL_NS (20 * NSEC_PER_MSEC)

/* A file that is only read or executed is in no entry. */
static bool is_sought(const struct object *ob)
{
	return !ob->in_use && ob->fate != OBJECT_GONE &&
	       (!ob->linked || ob->shared_writable);
}

static bool nothing_sought(const struct objects *o)
{
	for (unsigned int i = 0; i < o->nr; i++)
		if (is_sought(&o->object[i]))
			return false;
	return true;
}

static uint64_t inode_of(int dir_fd, const char *path)
{
	struct statx stx;

	return sys_statx(dir_fd, path, 0, STATX_INO, &stx) < 0 ? 0 :
								 stx.stx_ino;
}

/* A file of the thread that is asked, as one of its process. */
static void path_of(const struct mappers *m, char *path, const char *file)
{
	if (m->tid == m->at) {
		path_number(path, "", m->at, file);
		return;
	}
	path_number(path, "", m->at, "/task/");
	path_number(path + strlen(path), "", m->tid, file);
}

/* The numbers of System V segments are those of a namespace. */
static bool same_ipc(const struct mappers *m, const struct object *ob)
{
	char path[64];

	if (!ob->sysv)
		return true;
	path_of(m, path, "/ns/ipc");
	return inode_of(m->proc_fd, path) == ob->ipc_inode;
}

static bool is_killed(const struct mappers *m, pid_t pid)
{
	struct proc_status st;
	char path[64];

	path_number(path, "", pid, "/status");
	return status_read_path(m->proc_fd, path, &st) < 0 || st.killed;
}

static void look_at_line(struct mappers *m, const struct mapping *l)
{
	bool sysv = has_prefix(l->path, l->path_len, "/SYSV");

	for (unsigned int i = 0; i < m->o->nr; i++) {
		struct object *ob = &m->o->object[i];

		if (!is_sought(ob) || ob->inode != l->inode ||
		    ob->minor != l->minor || ob->major != l->major ||
		    ob->sysv != sysv || !same_ipc(m, ob))
			continue;
		ob->holder = m->at;
		/* One that is dying may be gone in a moment. */
		ob->in_use = !is_killed(m, m->at);
	}
}

/* False: that thread shows none. */
static bool look_at_maps(struct mappers *m)
{
	char path[64];
	const char *line;
	struct lines l;
	size_t len;
	bool any = false;

	path_of(m, path, "/maps");
	m->maps_fd = sys_openat(m->proc_fd, path, O_RDONLY);
	if (m->maps_fd < 0)
		return false;
	lines_open(&l, m->maps_fd, m->s->buf, sizeof(m->s->buf) / 2);
	while (lines_next(&l, &line, &len)) {
		struct mapping map;

		any = true;
		if (parse_mapping(line, len, &map) == 0 && !map.major)
			look_at_line(m, &map);
	}
	close_keep(&m->maps_fd);
	return any;
}

/*
 * The maps of a main thread that has exited are empty, or root's; its other
 * threads have the process's all the same.
 */
static void look_at(struct mappers *m, pid_t pid)
{
	uint64_t pages = 0;

	m->tid = pid;
	if (look_at_maps(m))
		return;
	m->tid = user_besides(m->proc_fd, pid, &pages);
	if (m->tid)
		look_at_maps(m);
}

static bool is_skipped(const struct mappers *m, pid_t pid)
{
	for (unsigned int i = 0; i < m->nr_stuck; i++)
		if (m->stuck[i] == pid)
			return true;
	/* Helpers are on the memory of their caller, which is asked itself. */
	return pid == sys_getpid() || pid == m->us || pid == m->own ||
	       (m->is_victim && m->is_victim(m->group, pid));
}

/* Children come after their parents, so those come first. */
static void search(void *arg)
{
	struct mappers *m = arg;
	const size_t half = sizeof(m->s->buf) / 2;
	struct dents d;
	pid_t pid;

	for (; m->round < 2; m->round++, m->at = 0) {
		sys_lseek(m->proc_fd, 0, SEEK_SET);
		dents_open(&d, m->proc_fd, m->s->buf + half, half);
		while ((pid = dents_pid(&d))) {
			if ((pid > m->own) == !!m->round || pid < m->at ||
			    is_skipped(m, pid))
				continue;
			__atomic_store_n(&m->at, pid, __ATOMIC_RELEASE);
			look_at(m, pid);
			if (nothing_sought(m->o))
				return;
		}
	}
}

/* 0: it has come to its end.  -ETIMEDOUT: it hangs, or time is up. */
static int watch(struct mappers *m, int64_t until_ns)
{
	pid_t at = -1;

	for (;;) {
		int64_t next = deadline_min(until_ns, now_ns() + STALL_NS);
		pid_t now;

		if (helper_wait(m->helper, next) == 0)
			return 0;
		now = __atomic_load_n(&m->at, __ATOMIC_ACQUIRE);
		if (now_ns() >= until_ns ||
		    (now == at && !helper_runs(m->helper)))
			return -ETIMEDOUT;
		at = now;
	}
}

void mappers_find(struct mappers *m, struct objects *o, int64_t deadline_ns)
{
	int64_t until_ns = deadline_min(deadline_ns, now_ns() + SEARCH_NS);
	cleanup_fd int proc_fd = -EBADF;

	if (nothing_sought(o) || !m->helper->stack)
		return;
	proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	if (proc_fd < 0)
		return;
	m->o = o;
	m->us = m->in_helper ? sys_getpid() : 0;
	m->proc_fd = proc_fd;
	m->maps_fd = -EBADF;
	m->at = m->round = m->nr_stuck = 0;
	m->helper->fn = search;
	m->helper->arg = m;
	while (helper_start(m->helper) == 0 && watch(m, until_ns) < 0) {
		helper_kill(m->helper);
		close_keep(&m->maps_fd);
		if (now_ns() >= until_ns || m->nr_stuck == ARRAY_SIZE(m->stuck))
			return;
		m->stuck[m->nr_stuck++] = m->at;
	}
}
