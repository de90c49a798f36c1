/* SPDX-License-Identifier: MIT */
/* A process that hangs: only what waits for nobody, and the rest later. */
#include <string.h>

#include "process/process.h"

/*
 * A victim in execve() holds locks for which stat, mem, maps, pagemap, kcmp(2)
 * and ptrace(2) wait; its status and a pidfd do not.
 */
int victim_open_hands_off(struct victim *v, pid_t pid, const struct self *self,
			  bool claim)
{
	char path[64], buf[32];
	int why = self_refuses(self, pid);
	long len;

	v->hands_off = true;
	v->pid = v->tid = v->rep.pid = pid;
	if (why)
		return victim_refuse(v, why);
	v->pidfd = sys_pidfd_open(pid, 0);
	if (v->pidfd < 0)
		return v->pidfd;
	path_number(path, "/proc/", pid, "");
	v->dir_fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (v->dir_fd < 0)
		return v->dir_fd;
	v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	len = read_file(v->dir_fd, "comm", buf, sizeof(buf));
	if (len > 1)
		memcpy(v->rep.comm, buf, MIN(len - 1, 15));
	if (sys_pidfd_send_signal(v->pidfd, 0) == -ESRCH) {
		v->rep.result = MRELEASE_GONE;
		return -ESRCH;
	}
	v->rep.notes |= MRELEASE_NOTE_NO_PIN;
	v->rep.stage = MRELEASE_STAGE_PREPARED;
	v->own_inode = kernel_has_pidfs(v->pidfd);
	victim_inode(v);
	if (claim)
		victim_claim(v, self);
	/* Its main thread has no memory any more: that of another one. */
	if (victim_measure(v) == -ESRCH) {
		victim_use_live_thread(v);
		victim_measure(v);
	}
	return 0;
}

int victim_open_late(struct victim *v)
{
	struct proc_stat st;
	int ret;

	v->stat_fd = sys_openat(v->dir_fd, "stat", O_RDONLY);
	if (v->stat_fd < 0 || victim_stat(v, &st) < 0)
		return -ESRCH;
	v->start_time = st.start_time;
	v->start_stack = st.start_stack;
	ret = victim_open_memory(v, &st);
	if (ret < 0 || v->pagemap_fd < 0)
		return ret < 0 ? ret : v->pagemap_fd;
	v->hands_off = false;
	return victim_complete(v);
}
