/* SPDX-License-Identifier: MIT */
/*
 * Which thread of a process has its memory?
 *
 * The main thread may have exited while others live on: a zombie then, of which
 * /proc/PID shows no memory, no maps and no namespaces, which belongs to root,
 * and which kcmp(2) finds equal to any thread without an address space.  The
 * same holds from its exit_mm() until it is a zombie.  So a question about the
 * memory of a process is put to one of the threads that are in it.
 *
 * statm tells, and waits for nobody, not even for an execve() that hangs.
 */
#include <linux/stat.h>

#include "process/process.h"

/* Pages of mappings; 0: no address space. */
static uint64_t statm_pages(int dir_fd, const char *path)
{
	char buf[128];
	const char *p = buf;
	uint64_t pages;
	long len = read_file(dir_fd, path, buf, sizeof(buf));

	return len <= 0 || parse_u64(&p, buf + len, &pages) < 0 ? 0 : pages;
}

struct task_look {
	int task_fd;
	/* 0: any number that is not 0. */
	uint64_t pages;
	pid_t tid;
};

static int task_look(void *arg, pid_t tid)
{
	struct task_look *l = arg;
	char path[64];
	uint64_t pages;

	path_number(path, "", tid, "/statm");
	pages = statm_pages(l->task_fd, path);
	if (!pages || (l->pages && pages != l->pages))
		return 0;
	l->pages = pages;
	l->tid = tid;
	return 1;
}

pid_t user_listed(int task_fd, uint64_t *pages)
{
	struct task_look l = { .task_fd = task_fd, .pages = *pages };
	char buf[2048];

	dents_numbers(task_fd, buf, sizeof(buf), task_look, &l);
	*pages = l.pages;
	return l.tid;
}

pid_t user_of(const struct victim *v, uint64_t *ret_pages)
{
	char path[64];

	for (unsigned int i = 0; i < v->nr_pins; i++) {
		if (!v->pins[i])
			continue;
		path_number(path, "/proc/", v->pins[i], "/statm");
		*ret_pages = statm_pages(AT_FDCWD, path);
		if (*ret_pages)
			return v->pins[i];
	}
	*ret_pages = v->dir_fd < 0 ? 0 : statm_pages(v->dir_fd, "statm");
	if (*ret_pages)
		return v->tid;
	/* Its main thread has left the memory, and another one has not. */
	return v->task_fd < 0 ? 0 : user_listed(v->task_fd, ret_pages);
}

pid_t user_besides(int proc_fd, pid_t pid, uint64_t *pages)
{
	cleanup_fd int task_fd = -EBADF;
	struct statx stx;
	char path[64];

	/* Of most that have no memory, a thread of the kernel or a zombie. */
	path_number(path, "", pid, "/task");
	if (sys_statx(proc_fd, path, 0, STATX_NLINK, &stx) < 0 ||
	    stx.stx_nlink <= 3)
		return 0;
	task_fd = sys_openat(proc_fd, path, O_RDONLY | O_DIRECTORY);
	return task_fd < 0 ? 0 : user_listed(task_fd, pages);
}

char user_state(pid_t pid)
{
	cleanup_fd int proc_fd = -EBADF;
	struct proc_status st;
	uint64_t pages = 0;
	char path[64];
	pid_t tid;

	path_number(path, "/proc/", pid, "/status");
	if (status_read_path(AT_FDCWD, path, &st) < 0)
		return 0;
	if (st.state != 'Z' || st.threads <= 1)
		return st.state;
	proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	tid = proc_fd < 0 ? 0 : user_besides(proc_fd, pid, &pages);
	return tid ? state_of_process(tid) : st.state;
}

pid_t user_in(int proc_fd, pid_t pid, uint64_t *pages)
{
	uint64_t found;
	char path[64];

	path_number(path, "", pid, "/statm");
	found = statm_pages(proc_fd, path);
	if (!found)
		return user_besides(proc_fd, pid, pages);
	if (*pages && found != *pages)
		return 0;
	*pages = found;
	return pid;
}
