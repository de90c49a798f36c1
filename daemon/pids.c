/* SPDX-License-Identifier: MIT */
/* Which processes there are: those of /proc, or of a cgroup. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "table.h"
#include "text.h"

static void add_pid(struct table *t, pid_t pid)
{
	if (t->nr_pids == MAX_CANDIDATES)
		t->left_out++;
	else
		t->pids[t->nr_pids++] = pid;
}

static int list_proc(struct table *t)
{
	long n;

	if (lseek(t->proc_fd, 0, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		n = syscall(SYS_getdents64, t->proc_fd, t->buf, sizeof(t->buf));
		if (n < 0)
			return -errno;
		if (!n)
			return 0;
		for (long at = 0; at < n;) {
			struct linux_dirent64 *d = (void *)(t->buf + at);
			const char *p = d->name;
			uint64_t pid;

			if (text_number(&p, &pid) && !*p && pid <= INT_MAX)
				add_pid(t, (pid_t)pid);
			at += d->reclen;
		}
	}
}

void table_starved(struct table *t, int error)
{
	/* Our own limit can be helped, see sweep(). */
	if (error == EMFILE || (error == ENFILE && !t->starved))
		t->starved = -error;
}

static void list_procs_file(struct table *t, int dirfd)
{
	int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	uint64_t pid = 0;
	bool digits = false;
	ssize_t n;

	if (fd < 0) {
		table_starved(t, errno);
		return;
	}
	while ((n = read(fd, t->buf, sizeof(t->buf))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (t->buf[i] >= '0' && t->buf[i] <= '9') {
				pid = pid * 10 + (uint64_t)(t->buf[i] - '0');
				digits = true;
				continue;
			}
			if (digits && pid && pid <= INT_MAX)
				add_pid(t, (pid_t)pid);
			pid = 0;
			digits = false;
		}
	close(fd);
}

/* All members of a cgroup and of what is below it. */
static void list_cgroup(struct table *t, int dirfd, unsigned int depth)
{
	char buf[4096] __attribute__((aligned(8)));
	long n;

	list_procs_file(t, dirfd);
	if (depth > 16 || lseek(dirfd, 0, SEEK_SET) < 0)
		return;
	while ((n = syscall(SYS_getdents64, dirfd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n;) {
			struct linux_dirent64 *d = (void *)(buf + at);
			int fd = -1;

			at += d->reclen;
			if (d->type == DT_DIR && d->name[0] != '.')
				fd = openat(dirfd, d->name,
					    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd < 0) {
				if (d->type == DT_DIR && d->name[0] != '.')
					table_starved(t, errno);
				continue;
			}
			list_cgroup(t, fd, depth + 1);
			close(fd);
		}
}

/* Shell sort: no recursion, no allocation, and nearly sorted is cheap. */
static void sort_pids(pid_t *pids, size_t nr)
{
	static const size_t gaps[] = { 1750, 701, 301, 132, 57, 23, 10, 4, 1 };

	for (size_t g = 0; g < ARRAY_SIZE(gaps); g++)
		for (size_t i = gaps[g]; i < nr; i++) {
			pid_t pid = pids[i];
			size_t j = i;

			for (; j >= gaps[g] && pids[j - gaps[g]] > pid;
			     j -= gaps[g])
				pids[j] = pids[j - gaps[g]];
			pids[j] = pid;
		}
}

static void set_others_aside(struct table *t)
{
	pid_t *pids = t->others;

	t->others = t->pids;
	t->nr_others = t->nr_pids;
	t->pids = pids;
	t->nr_pids = 0;
}

int table_list(struct table *t)
{
	int ret = 0;

	t->nr_pids = t->nr_others = t->left_out = 0;
	t->starved = 0;
	if (t->cgroup_fd < 0 || t->with_others)
		ret = list_proc(t);
	/* Listed later, a member that is born meanwhile is not taken for another. */
	if (t->cgroup_fd >= 0) {
		set_others_aside(t);
		list_cgroup(t, t->cgroup_fd, 0);
	}
	if (t->nr_others > MAX_CANDIDATES - t->nr_pids) {
		t->left_out += t->nr_others - MAX_CANDIDATES + t->nr_pids;
		t->nr_others = MAX_CANDIDATES - t->nr_pids;
	}
	/* Half of a list is no list. */
	if (ret || t->starved)
		return ret ? ret : t->starved;
	sort_pids(t->pids, t->nr_pids);
	sort_pids(t->others, t->nr_others);
	return 0;
}
