/* SPDX-License-Identifier: MIT */
/* From a number to a handle that cannot come to mean another process. */
#include <linux/stat.h>
#include <string.h>
#include <sys/statfs.h>

#include "process/process.h"

/* PID_FS_MAGIC of <linux/magic.h>, Linux 6.9. */
#define PID_FS_MAGIC_ 0x50494446

/* The number of a thread that is not the first of its process. */
static bool is_thread(pid_t pid)
{
	struct proc_status st;
	char path[64];
	int ret;

	path_number(path, "/proc/", pid, "/status");
	files_begin();
	ret = status_read_path(AT_FDCWD, path, &st);
	files_end();
	return ret == 0 && st.tgid != pid;
}

/* Before Linux 5.3, or under a filter: the /proc directory is the handle. */
static int open_dir(pid_t pid)
{
	char path[64];
	int fd;

	path_number(path, "/proc/", pid, "");
	fd = sys_openat_unmarked(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	return fd == -ENOENT ? -ESRCH : fd;
}

bool is_pidfs(int fd)
{
	struct statfs sfs;

	return sys_fstatfs(fd, &sfs) == 0 && sfs.f_type == PID_FS_MAGIC_;
}

/* The same for all of them; asked of the first. */
bool kernel_has_pidfs(int pidfd)
{
	static int answer;
	int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);

	if (!known && pidfd >= 0) {
		known = is_pidfs(pidfd) ? 1 : -1;
		__atomic_store_n(&answer, known, __ATOMIC_RELAXED);
	}
	return known > 0;
}

static int check_inode(int fd, uint64_t inode)
{
	struct statx stx = { 0 };
	int ret;

	/* Before pidfs all pidfds shared one inode, which means nothing. */
	if (!is_pidfs(fd))
		return -EOPNOTSUPP;
	ret = sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx);
	if (ret < 0)
		return ret;
	return stx.stx_ino == inode ? 0 : -ESTALE;
}

int identify_open(pid_t pid, uint64_t inode)
{
	cleanup_fd int fd = -EBADF;
	int ret;

	if (pid <= 0)
		return -EINVAL;
	fd = sys_pidfd_open(pid, 0);
	/* It refuses threads, with words that differ; a filter refuses all. */
	if (fd < 0 && is_thread(pid))
		return -EISDIR;
	if (fd == -ENOSYS || fd == -EPERM) {
		if (inode)
			return -EOPNOTSUPP;
		return open_dir(pid);
	}
	if (fd < 0)
		return fd;
	if (inode) {
		ret = check_inode(fd, inode);
		if (ret < 0)
			return ret;
	}
	return take_fd(&fd);
}
