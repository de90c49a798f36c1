/* SPDX-License-Identifier: MIT */
/*
 * Raw system calls that return -errno and never touch errno.
 *
 * Why not libc's wrappers: the helper processes of helper.c run on the
 * caller's memory with the caller's thread pointer, so errno would be a
 * variable of a thread that is running at the same time.  It also keeps
 * pthread_cancel() out: nothing here is a cancellation point.
 */
#ifndef MRELEASE_SYS_H
#define MRELEASE_SYS_H

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __SIZEOF_POINTER__ != 8
#error "libmrelease supports 64-bit kernels with 64-bit callers only"
#endif

/* From Linux 5.1 on every architecture (but alpha) has the same numbers. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
/* RESOLVE_CACHED of <linux/openat2.h>, Linux 5.12. */
#define RESOLVE_CACHED_ 0x20
/* Linux 5.9. */
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/*
 * What getdents64 fills in.  With 64 bits that is struct dirent, too; musl
 * has had no other name for it since 1.2.4.
 */
#if !defined(__GLIBC__) && !defined(dirent64)
#define dirent64 dirent
#endif

#if defined(__x86_64__)

#define SYS_RAW 1

static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

#define SYS_RAW 1

static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

#elif defined(__riscv) && __riscv_xlen == 64

#define SYS_RAW 1

static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	register long a7 __asm__("a7") = nr;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
			 : "memory");
	return a0;
}

#else

/*
 * Elsewhere through libc, errno kept.  SYS_RAW 0 switches the helper
 * processes off, and with them the pin.
 */
#define SYS_RAW 0

static inline long sys_call6(long nr, long a, long b, long c, long d, long e,
			     long f)
{
	int saved = errno;
	long ret = syscall(nr, a, b, c, d, e, f);

	if (ret == -1)
		ret = -errno;
	errno = saved;
	return ret;
}

#endif

/* A function, so that a result may be left unused. */
static inline int sys_int(long ret)
{
	return ret;
}

#define sys_arg(x)     ((long)(x))
#define sys0(nr)       sys_call6(nr, 0, 0, 0, 0, 0, 0)
#define sys1(nr, a)    sys_call6(nr, sys_arg(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys_call6(nr, sys_arg(a), sys_arg(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) \
	sys_call6(nr, sys_arg(a), sys_arg(b), sys_arg(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) \
	sys_call6(nr, sys_arg(a), sys_arg(b), sys_arg(c), sys_arg(d), 0, 0)
#define sys5(nr, a, b, c, d, e)                                       \
	sys_call6(nr, sys_arg(a), sys_arg(b), sys_arg(c), sys_arg(d), \
		  sys_arg(e), 0)
#define sys6(nr, a, b, c, d, e, f)                                    \
	sys_call6(nr, sys_arg(a), sys_arg(b), sys_arg(c), sys_arg(d), \
		  sys_arg(e), sys_arg(f))

/* A file that the caller of the library gets. */
#define sys_openat_unmarked(dir, path, flags) \
	sys_int(sys4(SYS_openat, dir, path, (flags) | O_CLOEXEC, 0))

/* Of a file that we opened for reading: files.c. */
#define FILES_MARK (O_NONBLOCK | O_SYNC)

static inline int files_marked(int flags)
{
	return flags & (O_ACCMODE | O_PATH) ? flags : flags | FILES_MARK;
}

#define sys_openat(dir, path, flags) \
	sys_openat_unmarked(dir, path, files_marked(flags))
/* Without asking a file system: EAGAIN where the kernel does not know the path. */
static inline int sys_open_cached(int dir, const char *path, int flags)
{
	const struct {
		uint64_t flags;
		uint64_t mode;
		uint64_t resolve;
	} how = { (unsigned int)files_marked(flags) | O_CLOEXEC, 0,
		  RESOLVE_CACHED_ };

	return sys_int(sys4(SYS_openat2, dir, path, &how, sizeof(how)));
}
#define FILES_MEMFD "mrelease"
#define sys_memfd_create(flags) \
	sys_int(sys2(SYS_memfd_create, FILES_MEMFD, flags))
#define sys_name_to_handle_at(dir, path, fh, id, flags) \
	sys_int(sys5(SYS_name_to_handle_at, dir, path, fh, id, flags))
#define sys_open_by_handle_at(mount, fh, flags) \
	sys_int(sys3(SYS_open_by_handle_at, mount, fh, (flags) | O_CLOEXEC))
#define sys_close(fd)		   sys_int(sys1(SYS_close, fd))
#define sys_read(fd, buf, n)	   sys3(SYS_read, fd, buf, n)
#define sys_pread(fd, buf, n, off) sys4(SYS_pread64, fd, buf, n, off)
#define sys_write(fd, buf, n)	   sys3(SYS_write, fd, buf, n)
#define sys_lseek(fd, off, whence) sys3(SYS_lseek, fd, off, whence)
#define sys_getdents64(fd, buf, n) sys3(SYS_getdents64, fd, buf, n)
#define sys_ioctl(fd, cmd, arg)	   sys3(SYS_ioctl, fd, cmd, arg)
#define sys_fcntl(fd, cmd, arg)	   sys_int(sys3(SYS_fcntl, fd, cmd, arg))
#define sys_ppoll(fds, n, ts)	   sys_int(sys5(SYS_ppoll, fds, n, ts, 0, 8))
#define sys_inotify_init1(flags)   sys_int(sys1(SYS_inotify_init1, flags))
#define sys_inotify_add_watch(fd, path, mask) \
	sys_int(sys3(SYS_inotify_add_watch, fd, path, mask))
#define sys_statx(fd, path, flags, mask, buf) \
	sys_int(sys5(SYS_statx, fd, path, flags, mask, buf))
#define sys_readlinkat(dir, path, buf, n) \
	sys4(SYS_readlinkat, dir, path, buf, n)
#define sys_statfs(path, buf)	   sys_int(sys2(SYS_statfs, path, buf))
#define sys_fstatfs(fd, buf)	   sys_int(sys2(SYS_fstatfs, fd, buf))
#define sys_mmap(len, prot, flags) sys6(SYS_mmap, 0, len, prot, flags, -1, 0)
#define sys_munmap(p, len)	   sys_int(sys2(SYS_munmap, p, len))
#define sys_mprotect(p, len, prot) sys_int(sys3(SYS_mprotect, p, len, prot))
#define sys_kill(pid, sig)	   sys_int(sys2(SYS_kill, pid, sig))
#define sys_getpid()		   sys_int(sys0(SYS_getpid))
#define sys_getppid()		   sys_int(sys0(SYS_getppid))
#define sys_geteuid()		   sys_int(sys0(SYS_geteuid))
#define sys_capget(head, data)	   sys_int(sys2(SYS_capget, head, data))
#define sys_exit(code)		   sys1(SYS_exit, code)
#define sys_prctl(op, arg)	   sys_int(sys5(SYS_prctl, op, arg, 0, 0, 0))
#define sys_futex(word, op, val, ts) \
	sys_int(sys6(SYS_futex, word, op, val, ts, 0, 0))
#define sys_wait4(pid, status, opts) \
	sys_int(sys4(SYS_wait4, pid, status, opts, 0))
#define sys_ptrace(req, pid, addr, data) sys4(SYS_ptrace, req, pid, addr, data)
#define sys_sigprocmask(how, set, old) \
	sys_int(sys4(SYS_rt_sigprocmask, how, set, old, 8))
#define sys_sigtimedwait(set, ts) \
	sys_int(sys4(SYS_rt_sigtimedwait, set, 0, ts, 8))
#define sys_getcpu(cpu) sys_int(sys3(SYS_getcpu, cpu, NULL, NULL))
#define sys_sched_setaffinity(pid, len, mask) \
	sys_int(sys3(SYS_sched_setaffinity, pid, len, mask))
#define sys_sched_getaffinity(pid, len, mask) \
	sys_int(sys3(SYS_sched_getaffinity, pid, len, mask))
#define sys_setpriority(which, who, prio) \
	sys_int(sys3(SYS_setpriority, which, who, prio))
#define sys_tgkill(tgid, tid, sig) sys3(SYS_tgkill, tgid, tid, sig)
#define sys_get_robust_list(tid, head, len) \
	sys_int(sys3(SYS_get_robust_list, tid, head, len))
#define sys_process_vm_readv(tid, local, remote, n) \
	sys6(SYS_process_vm_readv, tid, local, 1, remote, n, 0)
#define sys_kcmp(p1, p2, type) sys_int(sys5(SYS_kcmp, p1, p2, type, 0, 0))
#define sys_prlimit(pid, what, new, old) \
	sys_int(sys4(SYS_prlimit64, pid, what, new, old))
#define sys_close_range(lo, hi, flags) \
	sys_int(sys3(SYS_close_range, lo, hi, flags))
#define sys_fchdir(fd)	   sys_int(sys1(SYS_fchdir, fd))
#define sys_unshare(flags) sys_int(sys1(SYS_unshare, flags))
#define sys_fadvise(fd, off, len, advice) \
	sys_int(sys4(SYS_fadvise64, fd, off, len, advice))
#define sys_clock_gettime(clock, ts) sys_int(sys2(SYS_clock_gettime, clock, ts))
#define sys_pidfd_open(pid, flags)   sys_int(sys2(SYS_pidfd_open, pid, flags))
#define sys_pidfd_send_signal(fd, sig) \
	sys_int(sys4(SYS_pidfd_send_signal, fd, sig, 0, 0))
#define sys_process_mrelease(fd, flags) \
	sys_int(sys2(SYS_process_mrelease, fd, flags))
#define sys_cachestat(fd, range, out) \
	sys_int(sys4(SYS_cachestat, fd, range, out, 0))

#endif /* MRELEASE_SYS_H */
