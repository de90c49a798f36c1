/* SPDX-License-Identifier: MIT */
/* From a number to a handle that cannot come to mean another process. */
#include <linux/stat.h>
#include <string.h>
#include <sys/statfs.h>

#include "private.h"

/* PID_FS_MAGIC of <linux/magic.h>, Linux 6.9. */
#define PID_FS_MAGIC_ 0x50494446

/* TGID of a thread, or 0 when there is no such thing. */
static pid_t tgid_of(pid_t tid)
{
	char path[64], buf[4096];
	uint64_t tgid;
	const char *p;
	long len;

	path_number(path, "/proc/", tid, "/status");
	len = read_file(AT_FDCWD, path, buf, sizeof(buf));
	if (len <= 0)
		return 0;
	p = strstr(buf, "\nTgid:\t");
	if (!p)
		return 0;
	p += strlen("\nTgid:\t");
	return parse_u64(&p, buf + len, &tgid) < 0 ? 0 : (pid_t)tgid;
}

/* Before Linux 5.3, or under a filter: the /proc directory is the handle. */
static int open_dir(pid_t pid)
{
	char path[64];
	int fd;

	path_number(path, "/proc/", pid, "");
	fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	return fd == -ENOENT ? -ESRCH : fd;
}

bool is_pidfs(int fd)
{
	struct statfs sfs;

	return sys_fstatfs(fd, &sfs) == 0 && sfs.f_type == PID_FS_MAGIC_;
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

int mrelease_open(pid_t pid, uint64_t inode)
{
	cleanup_fd int fd = -EBADF;
	pid_t tgid;
	int ret;

	if (pid <= 0)
		return -EINVAL;
	tgid = tgid_of(pid);
	if (tgid && tgid != pid)
		return -EISDIR;
	fd = sys_pidfd_open(pid, 0);
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

const char *mrelease_version(void)
{
	return MRELEASE_VERSION;
}
