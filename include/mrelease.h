/* SPDX-License-Identifier: MIT */
/*
 * libmrelease: kill a process, a process tree or a cgroup, reclaim its memory,
 * and report, before the call returns, whether the memory is back.
 *
 * Every function returns 0 (or a documented value >= 0) or -errno.  Nothing
 * here prints, logs, exits, installs a signal handler or calls malloc().
 * All functions are thread-safe; one struct mrelease_target must not be used
 * by two threads at once.  Times are CLOCK_MONOTONIC nanoseconds, sizes are
 * bytes.  Structs that begin with a size member can grow: set it to
 * sizeof(struct ...) of the header you were compiled with.
 */
#ifndef MRELEASE_H
#define MRELEASE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mrelease/report.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MRELEASE_VERSION_MAJOR 0
#define MRELEASE_VERSION_MINOR 2
#define MRELEASE_VERSION       "0.2"

#ifndef MRELEASE_API
#define MRELEASE_API
#endif

/*
 * Option flags.  An unknown bit gives -EINVAL.  A non-zero member that this
 * library does not know (newer header) gives -E2BIG.  Either way, nothing is
 * signalled.
 */

/** Evict the page cache of local regular files that only the victim mapped. */
#define MRELEASE_EVICT_CACHE (1u << 0)
/** Do not use ptrace(2): release without a pin. */
#define MRELEASE_NO_PIN (1u << 1)
/** Also kill every process that shares the victim's address space. */
#define MRELEASE_KILL_SHARERS (1u << 2)
/** Allow an ancestor of the caller as a target (never the caller itself). */
#define MRELEASE_ALLOW_ANCESTOR (1u << 3)
/** Send no signal: check and fill in the report only. */
#define MRELEASE_DRY_RUN (1u << 4)
/** Return once the memory is verified; do not wait for the exit. */
#define MRELEASE_NO_WAIT_EXIT (1u << 5)
/** mrelease_prepare(): the helper process is started, and waits.  It exits when
 *  the thread that called does, and has the credentials of that call: drop
 *  privileges first.  All other functions ignore this flag. */
#define MRELEASE_STANDBY (1u << 6)

/** Deadline value: wait for as long as it takes. */
#define MRELEASE_NO_DEADLINE INT64_MAX

/**
 * struct mrelease_opts - what the caller wants
 *
 * A null pointer, or all members zero except size, means the defaults.
 */
struct mrelease_opts {
	/** sizeof(struct mrelease_opts). */
	size_t size;
	/** MRELEASE_* option flags. */
	uint32_t flags;
	/** Signal to send first, 0 for none.  SIGKILL follows in any case. */
	int32_t soft_signal;
	/** How long the soft signal may take before SIGKILL follows, ns. */
	int64_t grace_ns;
	/**
	 * Absolute CLOCK_MONOTONIC deadline for everything, ns.
	 * 0: 30 seconds from the call.  MRELEASE_NO_DEADLINE: none.
	 */
	int64_t deadline_ns;
	/** Reaping workers for a group; 0: one per CPU, at most 16. */
	uint32_t workers;
	/** Must be zero. */
	uint32_t reserved;
};

/**
 * struct mrelease_features - what this kernel and these privileges allow
 *
 * Each member is 1, or the -errno with which the kernel refused, or 0 when
 * there is no error to name (a file that is not there).
 */
struct mrelease_features {
	/** sizeof(struct mrelease_features). */
	size_t size;
	/** pidfd_open(2), Linux 5.3. */
	int32_t pidfd_open;
	/** pidfd_send_signal(2), Linux 5.1. */
	int32_t pidfd_send_signal;
	/** process_mrelease(2), Linux 5.15. */
	int32_t process_mrelease;
	/** PTRACE_SEIZE of a child of ours, Linux 3.4. */
	int32_t ptrace_seize;
	/** PTRACE_SEIZE of any process: CAP_SYS_PTRACE in the effective set. */
	int32_t ptrace_any;
	/** get_robust_list(2). */
	int32_t get_robust_list;
	/** PAGEMAP_SCAN ioctl, Linux 6.7. */
	int32_t pagemap_scan;
	/** kcmp(2), Linux 3.5, CONFIG_KCMP. */
	int32_t kcmp;
	/** Signalling other users' processes: CAP_KILL in the effective set. */
	int32_t kill_any;
	/** Inode numbers identify processes (pidfs), Linux 6.9. */
	int32_t pidfs;
	/** A cgroup v2 hierarchy is mounted. */
	int32_t cgroup2;
	/** cgroup.kill, Linux 5.14. */
	int32_t cgroup_kill;
	/** The v1 freezer is mounted. */
	int32_t cgroup1_freezer;
	/** /proc/PID/map_files: CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN. */
	int32_t map_files;
	/** cachestat(2), Linux 6.5. */
	int32_t cachestat;
	/** Kill and reap in one call (patched kernels). */
	int32_t kernel_release;
	/** Reaping that keeps robust futexes, and evicts (patched kernels). */
	int32_t kernel_robust;
};

struct mrelease_target;

/**
 * mrelease_open() - get a checked pidfd for a process ID
 * @pid: process ID in the caller's namespace, > 0
 * @inode: pidfs inode (Linux 6.9) that the process must have, 0: any
 *
 * Return: a pidfd (O_CLOEXEC, the caller closes it); before Linux 5.3 an
 * open /proc/PID directory, which every function here accepts as well.
 * -EINVAL: pid <= 0.  -ESRCH: no such process.  -EISDIR: a thread, not a
 * process.  -ESTALE: another inode, the number was reused.  -EOPNOTSUPP:
 * inode given, but this kernel has no pidfs.  Or an errno of pidfd_open(2).
 */
MRELEASE_API int mrelease_open(pid_t pid, uint64_t inode);

/**
 * mrelease_prepare() - open everything that the kill path needs
 * @pidfd: pidfd, or an open /proc/PID directory; stays the caller's
 * @opts: options, copied; NULL for defaults.  deadline_ns is ignored: it is
 *        an argument of mrelease_release()
 * @report: filled in as far as known, with the refusal if any; may be NULL
 * @ret_target: on success the target, freed with mrelease_target_free()
 *
 * Takes no pin and changes nothing about the process.  Holds up to ten file
 * descriptors (O_CLOEXEC), some more for one with shared, huge or pinned
 * pages, and about 630 KiB of resident memory.
 *
 * Return: 0; -EINVAL bad options or not a pidfd; -E2BIG an option of a newer
 * header that is not zero; -EBADF pidfd is not open; -ESRCH gone; -EPERM
 * refused (report->refusal says why); -EMFILE, -ENOMEM, ...
 */
MRELEASE_API int mrelease_prepare(int pidfd, const struct mrelease_opts *opts,
				  struct mrelease_report *report,
				  struct mrelease_target **ret_target);

/**
 * mrelease_release() - kill a prepared target and reclaim its memory
 * @target: from mrelease_prepare(); can be released once
 * @deadline_ns: absolute CLOCK_MONOTONIC time; 0: 30 s from now
 * @report: what happened; may be NULL
 *
 * Opens no file and allocates no memory in user space before SIGKILL is sent,
 * except with MRELEASE_KILL_SHARERS or MRELEASE_EVICT_CACHE, or if the victim has
 * called execve() since.  Afterwards files below /proc are opened to account for
 * memory (swap, shmem, hugetlb, pinned and secret pages), to look for processes
 * that share the memory, and if a cpuset keeps the caller from some CPUs;
 * the release depends on none of them.
 *
 * Runs a helper process that shares the caller's memory and file descriptors
 * for the time of the call, at nice -20 if that is allowed; it sends no
 * SIGCHLD and only wait calls with __WALL or __WCLONE see it.
 *
 * Return: 0 if the release went as far as it could, see report->result; if the
 * deadline passes, that is a result (MRELEASE_UNCONFIRMED), not an error.
 * -EINVAL: no target, a negative deadline, or a report that is too short.
 * -ESRCH: it was gone before it was signalled.  -EPERM: refused.
 * -EALREADY: released before.  With -EINVAL and -EALREADY the report is not
 * written.
 */
MRELEASE_API int mrelease_release(struct mrelease_target *target,
				  int64_t deadline_ns,
				  struct mrelease_report *report);

/**
 * mrelease_target_free() - close the handles and free the memory
 * @target: may be NULL
 */
MRELEASE_API void mrelease_target_free(struct mrelease_target *target);

/**
 * mrelease_process() - prepare, release and free in one call
 * @pidfd: pidfd, or an open /proc/PID directory; stays the caller's
 * @opts: options; NULL for defaults
 * @report: what happened; may be NULL
 *
 * Return: as mrelease_prepare() and mrelease_release(), except -EMFILE and
 * -ENOMEM: without descriptors or memory the process is killed all the same.  A
 * dry run still returns -ENOMEM.
 */
MRELEASE_API int mrelease_process(int pidfd, const struct mrelease_opts *opts,
				  struct mrelease_report *report);

/**
 * mrelease_cgroup() - kill every process below a cgroup, reclaim the memory
 * @cgroup_fd: the cgroup's directory (v1 or v2); stays the caller's
 * @opts: options; NULL for defaults
 * @report: the sums and the verdict; may be NULL
 * @members: room for one report per member, biggest first; may be NULL.  Set
 *           the size of the first: it is that of each
 * @nr_members: in: room in @members; out: entries written; may be NULL
 *
 * Kills through cgroup.kill (Linux 5.14), or else with SIGKILL in rounds until no
 * new process appears; then does for each member what mrelease_process() does, in
 * parallel.  The work is done by helper processes with file descriptors of their
 * own.
 *
 * Return: as mrelease_process(); -EPERM and refusal CGROUP for the root cgroup
 * of v2 or a threaded one, SELF or ANCESTOR for one that contains the caller
 * (the root of v1: SELF or INIT);
 * -EBADF also for an O_PATH descriptor; -ESRCH for an empty cgroup; -EINVAL
 * also for members[0].size of less than a report; -EMFILE if a helper has no
 * descriptor either, and nothing was signalled; -EACCES, -ELOOP a list below it
 * could not be read, and nothing was signalled.  A dry run only: -ENOMEM,
 * -EAGAIN, -ENOSYS if there is no memory or no helper process; -ETIMEDOUT,
 * -EINTR the helper did not finish.
 */
MRELEASE_API int mrelease_cgroup(int cgroup_fd,
				 const struct mrelease_opts *opts,
				 struct mrelease_report *report,
				 struct mrelease_report *members,
				 size_t *nr_members);

/**
 * mrelease_tree() - kill a process and its descendants, reclaim the memory
 * @pidfd: the root of the tree; stays the caller's
 * @opts: options; NULL for defaults
 * @report: the sums and the verdict; may be NULL
 * @members: room for one report per member, biggest first; may be NULL
 * @nr_members: in: room in @members; out: entries written; may be NULL
 *
 * With ptrace no child can be forked unseen: new children are attached by
 * the kernel.  Without, or with MRELEASE_NO_PIN, the tree is stopped with
 * SIGSTOP first, which the root's parent can see.
 *
 * Return: as mrelease_process(); -EBADF pidfd is not open; -ESRCH the root is
 * gone; -EPERM the root or a descendant may not be killed; -EINVAL also for
 * members[0].size of less than a report.  A dry run only: -ENOMEM, -EAGAIN,
 * -ENOSYS if there is no memory or no helper process; -ETIMEDOUT, -EINTR the
 * helper did not finish.
 */
MRELEASE_API int mrelease_tree(int pidfd, const struct mrelease_opts *opts,
			       struct mrelease_report *report,
			       struct mrelease_report *members,
			       size_t *nr_members);

/**
 * mrelease_probe() - find out what this kernel and these privileges allow
 * @features: size set by the caller
 *
 * Finds out by trying, never from a version.  Starts two helper processes of its own.
 *
 * If the root of the cgroup v2 hierarchy has no child to inspect, it makes
 * one (mrelease-probe.PID) for a moment.
 *
 * Return: 0; -EINVAL bad size; -ENOMEM.
 */
MRELEASE_API int mrelease_probe(struct mrelease_features *features);

/**
 * mrelease_version() - version of the library, "MAJOR.MINOR"
 */
MRELEASE_API const char *mrelease_version(void);

#ifdef __cplusplus
}
#endif

#endif /* MRELEASE_H */
