/* SPDX-License-Identifier: MIT */
/*
 * What this kernel and these privileges allow, found out by calling.
 *
 * A refused argument tells as much as a success: EBADF or EINVAL comes from
 * a kernel that knows the call, ENOSYS or a filter's EPERM from one that
 * does not.
 */
#include <dirent.h>
#include <linux/capability.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "release/release.h"

#define KCMP_VM 1

static int32_t known(long ret, long expected)
{
	return ret == expected || ret >= 0 ? 1 : (int32_t)ret;
}

static int32_t has_cap(const struct proc_status *st, unsigned int cap)
{
	return st->cap_eff >> cap & 1 ? 1 : -EPERM;
}

struct probe {
	struct mrelease_features *f;
	struct helper tracer;
	struct helper child;
	char stack[64 * 1024] __attribute__((aligned(4096)));
	char child_stack[16 * 1024] __attribute__((aligned(4096)));
	struct scratch scratch;
};

static void child_main(void *arg)
{
	struct probe *p = arg;

	/* Until it is killed, or its parent has gone. */
	for (;;)
		helper_wait_tick(&p->child, &p->child.alive, 1);
}

/* In a helper, which may trace without the host seeing anything of it. */
static void tracer_main(void *arg)
{
	struct probe *p = arg;
	struct mrelease_features *f = p->f;
	cleanup_fd int fd = -EBADF;
	uint64_t head, len;
	pid_t pid;

	if (helper_start_beside(&p->child, &p->tracer) < 0)
		return;
	pid = p->child.pid;
	f->ptrace_seize =
		known(sys_ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEEXIT), 0);
	f->get_robust_list = known(sys_get_robust_list(pid, &head, &len), 0);
	f->kcmp = known(sys_kcmp(sys_getpid(), pid, KCMP_VM), 0);
	fd = sys_pidfd_open(pid, 0);
	f->pidfd_open = known(fd, 0);
	sys_kill(pid, SIGKILL);
	if (f->ptrace_seize == 1) {
		struct victim v = { .pins = { pid }, .nr_pins = 1 };

		pin_drop(&v, now_ns() + NSEC_PER_SEC);
	}
}

/*
 * Every cgroup but the root has the file.  Look into the children of the
 * root; where there are none, make one for a moment.
 */
static int32_t probe_cgroup_kill(const char *mount)
{
	cleanup_fd int dir =
		sys_openat(AT_FDCWD, mount, O_RDONLY | O_DIRECTORY);
	const struct dirent64 *e;
	char buf[4096], path[64];
	struct statx stx;
	struct dents d;
	int ret;

	if (dir < 0)
		return dir;
	dents_open(&d, dir, buf, sizeof(buf));
	while ((e = dents_next(&d))) {
		cleanup_fd int fd = -EBADF;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		fd = sys_openat(dir, e->d_name, O_PATH | O_DIRECTORY);
		if (fd < 0)
			continue;
		ret = sys_statx(fd, "cgroup.kill", 0, STATX_INO, &stx);
		return ret == 0 ? 1 : ret;
	}
	path_number(path, "mrelease-probe.", sys_getpid(), "");
	ret = sys3(SYS_mkdirat, dir, path, 0700);
	if (ret < 0)
		return ret;
	path_number(path, "mrelease-probe.", sys_getpid(), "/cgroup.kill");
	ret = sys_statx(dir, path, 0, STATX_INO, &stx);
	path_number(path, "mrelease-probe.", sys_getpid(), "");
	sys3(SYS_unlinkat, dir, path, AT_REMOVEDIR);
	return ret == 0 ? 1 : ret;
}

static void probe_cgroups(struct mrelease_features *f, struct scratch *s)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY);
	struct mount_line m;
	const char *line;
	struct lines l;
	size_t len;

	if (fd < 0)
		return;
	lines_open(&l, fd, s->buf, sizeof(s->buf));
	while (lines_next(&l, &line, &len)) {
		if (parse_mountinfo(line, len, &m) < 0)
			continue;
		if (mount_is(&m, "cgroup") &&
		    memmem(m.options, m.options_len, "freezer", 7))
			f->cgroup1_freezer = 1;
		if (!mount_is(&m, "cgroup2"))
			continue;
		f->cgroup2 = 1;
		if (f->cgroup_kill == 1)
			continue;
		/* In place of the space behind it. */
		s->buf[m.point + m.point_len - s->buf] = '\0';
		f->cgroup_kill = probe_cgroup_kill(m.point);
	}
}

static void probe_files(struct mrelease_features *f)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY);
	uint64_t arg[12] = { sizeof(arg) };
	cleanup_fd int pidfd = -EBADF;

	/* An empty range: nothing to do for a kernel that knows the call. */
	f->pagemap_scan =
		fd < 0 ? fd :
			 known(sys_ioctl(fd, _IOWR('f', 16, uint64_t[12]), arg),
			       0);
	pidfd = sys_pidfd_open(sys_getpid(), 0);
	f->pidfs = pidfd >= 0 && is_pidfs(pidfd);
	f->pidfd_send_signal = known(sys_pidfd_send_signal(-1, 0), -EBADF);
	f->process_mrelease = known(sys_process_mrelease(-1, 0), -EBADF);
	f->cachestat = known(sys_cachestat(-1, NULL, NULL), -EBADF);
	if (f->cachestat == -EFAULT)
		f->cachestat = 1;
	f->kernel_release = series_expedites();
	f->kernel_robust = series_is_there();
}

/* A file of our own: a capability in a user namespace is not enough. */
static int32_t probe_map_files(struct scratch *s)
{
	cleanup_fd int maps = sys_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY);
	cleanup_fd int dir = sys_openat(AT_FDCWD, "/proc/self/map_files",
					O_PATH | O_DIRECTORY);
	const char *line;
	struct statx stx;
	struct lines l;
	size_t len;
	int ret;

	if (maps < 0 || dir < 0)
		return MIN(maps, dir);
	lines_open(&l, maps, s->buf, sizeof(s->buf));
	while (lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0 || !m.inode)
			continue;
		/* "START-END" is both the line's head and the file's name. */
		s->buf[line - s->buf + strcspn(line, " ")] = '\0';
		ret = sys_statx(dir, line, 0, STATX_INO, &stx);
		return ret == 0 ? 1 : ret;
	}
	return 0;
}

int mrelease_probe(struct mrelease_features *features)
{
	struct mrelease_features f = { .size = sizeof(f) };
	struct proc_status st;
	struct probe *p;
	size_t size;

	if (!features ||
	    features->size < offsetof(struct mrelease_features, pidfd_open) ||
	    features->size > STRUCT_MAX)
		return -EINVAL;
	p = pages_alloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	files_begin();
	p->f = &f;
	p->tracer.fn = tracer_main;
	p->tracer.arg = p;
	p->tracer.stack = p->stack;
	p->tracer.stack_size = sizeof(p->stack);
	p->child.fn = child_main;
	p->child.arg = p;
	p->child.stack = p->child_stack;
	p->child.stack_size = sizeof(p->child_stack);
	f.ptrace_seize = -ENOSYS;
	f.get_robust_list = -ENOSYS;
	f.kcmp = -ENOSYS;
	f.pidfd_open = -ENOSYS;
	if (helper_start(&p->tracer) == 0 &&
	    helper_wait(&p->tracer, now_ns() + 5 * NSEC_PER_SEC) < 0)
		helper_kill(&p->tracer);
	helper_kill(&p->child);
	probe_files(&f);
	probe_cgroups(&f, &p->scratch);
	if (status_read_path(AT_FDCWD, "/proc/self/status", &st) == 0) {
		f.ptrace_any = has_cap(&st, CAP_SYS_PTRACE);
		f.kill_any = has_cap(&st, CAP_KILL);
	}
	f.map_files = probe_map_files(&p->scratch);
	pages_free(p, sizeof(*p));
	files_end();
	size = features->size;
	memcpy(features, &f, MIN(size, sizeof(f)));
	/* A later header's members: we know nothing of them. */
	if (size > sizeof(f))
		memset((char *)features + sizeof(f), 0, size - sizeof(f));
	features->size = size;
	return 0;
}
