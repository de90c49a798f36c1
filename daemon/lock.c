/* SPDX-License-Identifier: MIT */
/*
 * One mreleased for the whole machine: two that watch the same memory kill two where
 * one is enough.
 *
 * The lock is a POSIX one, in a file beside the status socket.  A hook's process does
 * not inherit it, and the kernel tells which process holds it.  That matters: a daemon
 * that was killed keeps its lock, as a zombie, while one of its threads hangs in a
 * file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "text.h"

/* -1: the lock is not ours.  No other one may be open: its end ends the lock. */
static int lock_fd = -1;

/* Where /proc does not say, it lives. */
static bool is_dead(pid_t pid)
{
	char path[32], buf[1024];
	const char *end;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (pid <= 0 || text_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return false;
	end = strrchr(buf, ')');
	return end && !strncmp(end, ") Z", 3);
}

/* Anybody may make a file of this name in /tmp, and keep the lock. */
static bool is_trusted(int fd, const char *path)
{
	char copy[PATH_MAX];
	struct stat st, dir;

	snprintf(copy, sizeof(copy), "%s", path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return false;
	return !st.st_uid || st.st_uid == geteuid() ||
	       (!stat(dirname(copy), &dir) && dir.st_uid == st.st_uid);
}

/* Without a socket there is no place for it. */
static int error = -ENOENT;

int lock_error(void)
{
	return error;
}

pid_t lock_machine(const char *socket_path)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	int fd;

	if (!*socket_path || lock_fd >= 0)
		return 0;
	snprintf(path, sizeof(path), "%s.lock", socket_path);
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		  0600);
	/* There is no such directory, or it is not ours: nobody can be told. */
	if (fd < 0) {
		error = -errno;
		return 0;
	}
	if (!is_trusted(fd, path)) {
		error = -EPERM;
		close(fd);
		return 0;
	}
	error = 0;
	/* The file stays open, and with it the lock. */
	if (!fcntl(fd, F_SETLK, &l)) {
		lock_fd = fd;
		return 0;
	}
	if (fcntl(fd, F_GETLK, &l))
		l.l_type = F_UNLCK;
	close(fd);
	if (l.l_type == F_UNLCK)
		return 0;
	return !is_dead(l.l_pid) ? l.l_pid : 0;
}

bool lock_is_taken(const char *socket_path)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[PATH_MAX];
	bool taken;
	int fd;

	snprintf(path, sizeof(path), "%s.lock", socket_path);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	taken = is_trusted(fd, path) && !fcntl(fd, F_GETLK, &l) &&
		l.l_type != F_UNLCK && !is_dead(l.l_pid);
	close(fd);
	return taken;
}

void lock_give_up(void)
{
	if (lock_fd >= 0)
		close(lock_fd);
	lock_fd = -1;
}
