/* SPDX-License-Identifier: MIT */
/*
 * The handles on a process, which outlive it.
 *
 * A number is only ever an input.  Everything is opened below /proc/PID and
 * then checked against the pidfd: a PID cannot be reused before its process
 * is reaped, so if the pidfd still has a process after the opening, the
 * opened directory was of that process.
 *
 * victim_identify() waits for nobody, so the caller of the library does it
 * himself.  victim_handles() may wait for the process (victim.c): it is done
 * where the waiting can be given up.
 *
 * /proc/PID/mem and pagemap hold mm_count, not mm_users: they delay nothing,
 * and they still answer when the process is gone.
 */
#include <dirent.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/ioctl.h>

#include "process/process.h"

#define PF_KTHREAD 0x00200000
/* PIDFD_THREAD (Linux 6.9), a flag of the open file. */
#define PIDFD_THREAD_FLAG O_EXCL

/* PIDFD_GET_INFO of <linux/pidfd.h>, Linux 6.13, in its first size. */
struct pidfd_info_ {
	uint64_t mask;
	uint64_t cgroupid;
	uint32_t pid;
	uint32_t tgid;
	uint32_t ppid;
	uint32_t ids[8];
	uint32_t spare;
};

#define PIDFD_GET_INFO_ _IOWR(0xff, 11, struct pidfd_info_)

void victim_init(struct victim *v)
{
	memset(v, 0, sizeof(*v));
	v->pidfd = v->mem_fd = v->pagemap_fd = v->stat_fd = -EBADF;
	v->status_fd = v->maps_fd = v->task_fd = -EBADF;
	v->dir_fd = -EBADF;
	v->rep.size = sizeof(v->rep);
	v->rep.release_ns = -1;
	v->rep.exit_ns = -1;
	v->rep.result = MRELEASE_FAILED;
}

void victim_close(struct victim *v)
{
	int *const fds[] = {
		&v->pidfd,   &v->dir_fd,    &v->mem_fd,	 &v->pagemap_fd,
		&v->stat_fd, &v->status_fd, &v->maps_fd, &v->task_fd,
	};

	if (v->borrowed)
		v->pidfd = -EBADF;
	close_all(fds, ARRAY_SIZE(fds));
}

bool victim_has_fd(const struct victim *v, int fd)
{
	return fd == v->pidfd || fd == v->dir_fd || fd == v->mem_fd ||
	       fd == v->pagemap_fd || fd == v->stat_fd || fd == v->status_fd ||
	       fd == v->maps_fd || fd == v->task_fd;
}

/* Descriptors are scarce: what can be opened again is closed. */
void victim_thin(struct victim *v)
{
	close_keep(&v->mem_fd);
	/* Not stat: with a dead leader it is not in dir_fd's directory. */
	close_keep(&v->status_fd);
	close_keep(&v->maps_fd);
	close_keep(&v->task_fd);
}

bool is_scarcity(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

int victim_refuse(struct victim *v, enum mrelease_refusal why)
{
	v->rep.result = MRELEASE_REFUSED;
	v->rep.refusal = why;
	return -EPERM;
}

static int victim_gone(struct victim *v)
{
	v->rep.result = MRELEASE_GONE;
	return -ESRCH;
}

/* A /proc/PID directory has a status file in it; a pidfd has nothing. */
static int pid_of_dir(struct victim *v, int fd, pid_t *ret_pid)
{
	struct proc_status st;
	struct statx dir, proc;
	int ret = status_read_path(fd, "status", &st);

	if (ret < 0)
		return ret;
	if (st.pid <= 0)
		return -EINVAL;
	/* In another procfs (a container's, its host's) numbers mean other processes. */
	if (sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO, &dir) < 0 ||
	    sys_statx(AT_FDCWD, "/proc", 0, STATX_INO, &proc) < 0 ||
	    dir.stx_dev_major != proc.stx_dev_major ||
	    dir.stx_dev_minor != proc.stx_dev_minor)
		return victim_refuse(v, MRELEASE_REFUSE_FOREIGN);
	if (st.tgid != st.pid)
		return victim_refuse(v, MRELEASE_REFUSE_THREAD);
	v->is_dir = true;
	v->rep.notes |= MRELEASE_NOTE_NO_PIDFD;
	*ret_pid = st.pid;
	return 0;
}

/*
 * Before Linux 6.13, by the descriptors of this thread, which may have some of its
 * own.  -1: reaped.  0: not in our PID namespace.
 */
static int pid_by_fdinfo(int fd, pid_t *ret_pid)
{
	char path[64], buf[1024];
	uint64_t flags;
	long len;

	path_number(path, "/proc/thread-self/fdinfo/", fd, "");
	len = read_file(AT_FDCWD, path, buf, sizeof(buf));
	if (len < 0)
		return len == -ENOENT ? -EBADF : (int)len;
	return parse_fdinfo_pid(buf, len, ret_pid, &flags);
}

/* Of a pidfd without a descriptor more: there may be none to be had. */
int victim_number(struct victim *v, int fd)
{
	struct pidfd_info_ info = { .mask = 1 };
	pid_t pid = 0;
	int ret;

	ret = sys_ioctl(fd, PIDFD_GET_INFO_, &info);
	if (ret == 0) {
		pid = info.tgid;
		/* Linux 6.13: with pidfs. */
		v->own_inode = true;
	} else if (ret != -ESRCH) {
		ret = pid_of_dir(v, fd, &pid);
		if (ret == -ENOTDIR || ret == -ENOENT)
			ret = pid_by_fdinfo(fd, &pid);
	}
	/* Also said of one that has no number in our PID namespace. */
	if (ret == -ESRCH && sys_pidfd_send_signal(fd, 0) != -ESRCH)
		ret = 0;
	if (ret == -ESRCH || pid < 0)
		return victim_gone(v);
	if (ret < 0)
		return ret;
	if (pid == 0)
		return victim_refuse(v, MRELEASE_REFUSE_FOREIGN);
	if (!v->is_dir && sys_fcntl(fd, F_GETFL, 0) & PIDFD_THREAD_FLAG)
		return victim_refuse(v, MRELEASE_REFUSE_THREAD);
	v->pid = pid;
	return 0;
}

int victim_parent(int pidfd, pid_t *ret_ppid)
{
	struct pidfd_info_ info = { .mask = 1 };
	int ret = sys_ioctl(pidfd, PIDFD_GET_INFO_, &info);

	if (ret == 0)
		*ret_ppid = info.ppid;
	return ret;
}

int victim_list_threads(struct victim *v)
{
	if (v->task_fd < 0 && v->dir_fd >= 0)
		v->task_fd = sys_openat(v->dir_fd,
					v->tid == v->pid ? "task" : "..",
					O_RDONLY | O_DIRECTORY);
	return v->task_fd;
}

/*
 * What the reaping and the looking need.  Permissions may hide any of these;
 * the release does with what is there.
 */
int victim_files(struct victim *v)
{
	int fd = v->dir_fd;

	if (fd < 0 || v->maps_fd >= 0)
		return 0;
	v->mem_fd = sys_openat(fd, "mem", O_RDONLY);
	v->maps_fd = sys_openat(fd, "maps", O_RDONLY);
	if (v->mem_fd == -EMFILE || v->maps_fd == -EMFILE)
		return -EMFILE;
	v->compat = victim_is_compat(v);
	if (v->compat)
		v->rep.notes |= MRELEASE_NOTE_COMPAT;
	return 0;
}

int victim_complete(struct victim *v)
{
	int ret = victim_files(v);

	if (ret == 0 && victim_list_threads(v) == -EMFILE)
		ret = -EMFILE;
	return ret;
}

/*
 * The least that is needed: the files that tell how much there is, and later that the
 * address space has no users.  If the main thread has left the address space, its files
 * tell nothing, and those of a live thread are used.
 */
int victim_open_memory(struct victim *v, const struct proc_stat *st)
{
	/* The files of a zombie belong to root: an ordinary user gets EACCES, not ESRCH. */
	if (st->state == 'Z' && st->threads > 1)
		victim_use_live_thread(v);
	if (v->status_fd < 0)
		v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	v->pagemap_fd = sys_openat(v->dir_fd, "pagemap", O_RDONLY);
	if (v->pagemap_fd == -ESRCH && v->tid == v->pid && st->threads > 1) {
		victim_use_live_thread(v);
		if (v->tid != v->pid)
			v->pagemap_fd =
				sys_openat(v->dir_fd, "pagemap", O_RDONLY);
	}
	if (v->status_fd == -EMFILE || v->pagemap_fd == -EMFILE)
		return -EMFILE;
	return 0;
}

/* Before Linux 6.10 only stat says so; and a thread of the kernel never execs */
static bool is_kthread(const struct victim *v, const struct proc_status *st)
{
	struct proc_stat stat;

	if (st->kthread || st->has_mm || st->says_kthread || st->state == 'Z' ||
	    st->state == 'X')
		return st->kthread;
	return victim_stat(v, &stat) == 0 && stat.flags & PF_KTHREAD;
}

static int victim_check(struct victim *v, const struct self *self,
			const struct proc_status *st)
{
	int ret, why = self_refuses_child(self, v->pid, st->ppid);

	if (!why && is_kthread(v, st))
		why = MRELEASE_REFUSE_KTHREAD;
	if (why)
		return victim_refuse(v, why);
	ret = victim_signal(v, 0);
	if (ret == -EPERM || ret == -EACCES)
		return victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
	if (ret == -EINVAL)
		return victim_refuse(v, MRELEASE_REFUSE_FOREIGN);
	if (ret == -ESRCH)
		return victim_gone(v);
	return ret;
}

/*
 * A process that shows no directory: reaped, or hidden from us (hidepid).
 * EPERM is the kernel's word or a filter's: kill(2) tells them apart.
 */
static int victim_unseen(struct victim *v)
{
	int ret = v->is_dir ? -ESRCH : sys_pidfd_send_signal(v->pidfd, 0);

	if (ret == -ENOSYS || ret == -EPERM)
		ret = sys_kill(v->pid, 0);
	if (ret == -ESRCH)
		return victim_gone(v);
	return victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
}

/* With v->pid and v->pidfd set: who is it, and may it be killed? */
static int identify(struct victim *v, const struct self *self)
{
	struct proc_status st;
	char path[64];
	int ret;

	v->tid = v->pid;
	v->rep.pid = v->pid;
	path_number(path, "/proc/", v->pid, "");
	if (v->is_dir)
		v->dir_fd = sys_openat(v->pidfd, ".", O_PATH | O_DIRECTORY);
	else
		v->dir_fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (v->dir_fd < 0)
		return v->dir_fd == -ENOENT ? victim_unseen(v) : v->dir_fd;
	v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	if (v->status_fd == -ENOENT || v->status_fd == -ESRCH)
		return victim_unseen(v);
	if (v->status_fd < 0)
		return v->status_fd;
	ret = victim_status(v, &st);
	if (ret < 0)
		return ret == -ESRCH ? victim_gone(v) : ret;
	memcpy(v->rep.comm, st.comm, sizeof(v->rep.comm));
	v->rep.threads = st.threads;
	if (st.has_mm)
		account_open(&v->rep, &st.mem);
	ret = victim_check(v, self, &st);
	if (ret < 0)
		return ret;
	v->rep.stage = MRELEASE_STAGE_PREPARED;
	if ((st.state == 'Z' || st.state == 'X') && st.threads <= 1) {
		v->zombie = true;
		v->rep.notes |= MRELEASE_NOTE_ZOMBIE;
	}
	return 0;
}

int victim_handles(struct victim *v)
{
	struct proc_stat st;
	int ret;

	if (v->zombie || v->dir_fd < 0 || v->pagemap_fd >= 0)
		return 0;
	if (v->stat_fd < 0)
		v->stat_fd = sys_openat(v->dir_fd, "stat", O_RDONLY);
	if (v->stat_fd == -EMFILE)
		return v->stat_fd;
	ret = victim_stat(v, &st);
	if (ret < 0)
		return ret == -ESRCH ? victim_gone(v) : ret;
	v->start_time = st.start_time;
	v->start_stack = st.start_stack;
	return victim_open_memory(v, &st);
}

/*
 * Asked after pagemap was opened: where that failed for want of an address
 * space, there is none now either.
 */
void victim_measure_opened(struct victim *v)
{
	if (!v->zombie && victim_measure(v) == -ESRCH) {
		v->rep.notes |= MRELEASE_NOTE_WAS_DYING;
		v->no_mm = true;
	}
}

void victim_renew(struct victim *v)
{
	struct proc_stat st;
	char path[64];
	int fd;

	close_keep(&v->mem_fd);
	close_keep(&v->maps_fd);
	close_keep(&v->pagemap_fd);
	v->rep.notes &= ~(uint32_t)MRELEASE_NOTE_COMPAT;
	/* The thread that calls exec is the leader from then on. */
	if (v->tid != v->pid) {
		path_number(path, "/proc/", v->pid, "");
		fd = v->is_dir ?
			     sys_openat(v->pidfd, ".", O_PATH | O_DIRECTORY) :
			     sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY);
		if (fd < 0 || victim_signal(v, 0) == -ESRCH) {
			close_keep(&fd);
			return;
		}
		close_keep(&v->dir_fd);
		close_keep(&v->status_fd);
		close_keep(&v->task_fd);
		v->dir_fd = take_fd(&fd);
		v->tid = v->pid;
		v->status_fd = sys_openat(v->dir_fd, "status", O_RDONLY);
	}
	/* Before the files: one more exec is one that is seen. */
	if (victim_stat(v, &st) == 0)
		v->start_stack = st.start_stack;
	v->pagemap_fd = sys_openat(v->dir_fd, "pagemap", O_RDONLY);
	/* Without an address space mem can be opened, and says nothing. */
	if (v->pagemap_fd >= 0)
		victim_complete(v);
}

/*
 * No descriptor or memory is to be had.  The number is known, so it can be told
 * whether it may be killed; and nothing of it can be looked at.
 */
static int identify_blind(struct victim *v, const struct self *self)
{
	const struct proc_status nothing = { .says_kthread = true };

	v->rep.notes |= MRELEASE_NOTE_HANDLES | MRELEASE_NOTE_CANNOT_VERIFY;
	return victim_check(v, self, &nothing);
}

/* Which it is for good (Linux 6.9). */
void victim_inode(struct victim *v)
{
	struct statx stx;

	if (v->own_inode &&
	    sys_statx(v->pidfd, "", AT_EMPTY_PATH, STATX_INO, &stx) == 0)
		v->inode = stx.stx_ino;
}

int victim_identify(struct victim *v, int pidfd, const struct self *self)
{
	int ret = victim_number(v, pidfd);

	if (ret < 0)
		return ret;
	v->pidfd = sys_fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
	if (v->pidfd < 0) {
		/* EINVAL: the limit is below the number that was asked for. */
		if (!is_scarcity(v->pidfd) && v->pidfd != -EINVAL)
			return v->pidfd;
		v->pidfd = pidfd;
		v->borrowed = true;
	}
	/* Known from now on: not to be asked before the kill. */
	if (!v->is_dir && !v->own_inode)
		v->own_inode = kernel_has_pidfs(v->pidfd);
	victim_inode(v);
	ret = identify(v, self);
	return is_scarcity(ret) ? identify_blind(v, self) : ret;
}

static int open_and_measure(struct victim *v)
{
	int ret = victim_handles(v);

	if (ret == 0)
		victim_measure_opened(v);
	return ret;
}

int victim_open(struct victim *v, int pidfd, const struct self *self)
{
	int ret = victim_identify(v, pidfd, self);

	return ret < 0 ? ret : open_and_measure(v);
}

int victim_open_pid(struct victim *v, pid_t pid, const struct self *self,
		    bool claim)
{
	int ret;

	v->pid = pid;
	v->pidfd = sys_pidfd_open(pid, 0);
	if (v->pidfd == -ENOSYS || v->pidfd == -EPERM) {
		v->pidfd = identify_open(pid, 0);
		v->is_dir = true;
		v->rep.notes |= MRELEASE_NOTE_NO_PIDFD;
	}
	if (v->pidfd < 0)
		return v->pidfd;
	v->own_inode = !v->is_dir && kernel_has_pidfs(v->pidfd);
	victim_inode(v);
	ret = identify(v, self);
	if (ret == 0 && claim)
		victim_claim(v, self);
	return ret < 0 ? ret : open_and_measure(v);
}
