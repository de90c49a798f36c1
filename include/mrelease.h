/* SPDX-License-Identifier: MIT */
/*
 * libmrelease: kill a process, a process tree or a cgroup and have its memory
 * back, verified, before the call returns.
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

#ifdef __cplusplus
extern "C" {
#endif

#define MRELEASE_VERSION_MAJOR 0
#define MRELEASE_VERSION_MINOR 1
#define MRELEASE_VERSION       "0.1"

#ifndef MRELEASE_API
#define MRELEASE_API
#endif

/*
 * Option flags.  An unknown bit is -EINVAL, before anything is signalled; so
 * is -E2BIG, a later header's option that is not zero.
 */

/** Evict the page cache of local regular files that only the victim mapped. */
#define MRELEASE_EVICT_CACHE (1u << 0)
/** Do not use ptrace(2): release without a pin. */
#define MRELEASE_NO_PIN (1u << 1)
/** Also kill every process that shares the victim's address space. */
#define MRELEASE_KILL_SHARERS (1u << 2)
/** Allow an ancestor of the caller as a target (never the caller itself). */
#define MRELEASE_ALLOW_ANCESTOR (1u << 3)
/** Signal nobody: check and fill in the report only. */
#define MRELEASE_DRY_RUN (1u << 4)
/** Return once the memory is verified; do not wait for the exit. */
#define MRELEASE_NO_WAIT_EXIT (1u << 5)

/** Deadline value: wait for as long as it takes. */
#define MRELEASE_NO_DEADLINE INT64_MAX

/**
 * struct mrelease_opts - what the caller wants
 *
 * A null pointer, or all members zero but size, means the defaults.
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

/** How a release ended. */
enum mrelease_result {
	/** Killed, and the memory is back: see the evidence. */
	MRELEASE_RELEASED = 0,
	/** It has exited, but nothing could show that its memory is back. */
	MRELEASE_EXITED,
	/** It was no longer there; nothing was signalled. */
	MRELEASE_GONE,
	/** Refused or not permitted; nothing was signalled. */
	MRELEASE_REFUSED,
	/** Killed, but not all of its memory is known to be back. */
	MRELEASE_UNCONFIRMED,
	/** It could not be killed, or something failed before the kill. */
	MRELEASE_FAILED,
	/** MRELEASE_DRY_RUN: would be killed. */
	MRELEASE_WOULD_KILL,
};

/** How far a release got. */
enum mrelease_stage {
	MRELEASE_STAGE_NONE = 0,
	/** Checked, handles open. */
	MRELEASE_STAGE_PREPARED,
	/** Address space pinned (skipped where ptrace is not to be had). */
	MRELEASE_STAGE_PINNED,
	/** SIGKILL sent. */
	MRELEASE_STAGE_KILLED,
	/** Private memory unmapped from outside. */
	MRELEASE_STAGE_REAPED,
	/** Memory seen to be back. */
	MRELEASE_STAGE_VERIFIED,
	/** The process has exited. */
	MRELEASE_STAGE_EXITED,
};

/** By which way the memory came back. */
enum mrelease_path {
	MRELEASE_PATH_NONE = 0,
	/** Reaped while a pin kept the address space findable. */
	MRELEASE_PATH_PINNED,
	/** Reaped without a pin. */
	MRELEASE_PATH_UNPINNED,
	/** Not reaped: the exit itself freed it. */
	MRELEASE_PATH_EXIT,
	/** The soft signal was enough. */
	MRELEASE_PATH_SOFT,
	/** Reaped by the call that killed it, or after its exit: patched
	 *  kernels only. */
	MRELEASE_PATH_KERNEL,
};

/** What shows that the memory is back. */
enum mrelease_evidence {
	MRELEASE_EVIDENCE_NONE = 0,
	/** pagemap: no page present or swapped in any private mapping. */
	MRELEASE_EVIDENCE_PAGEMAP,
	/** Every thread has exited and the address space has no user left. */
	MRELEASE_EVIDENCE_EXIT,
	/** Group: unpopulated, and every member verified by the above. */
	MRELEASE_EVIDENCE_MEMBERS,
	/** Group: unpopulated, and the memory cgroup is charged no anon. */
	MRELEASE_EVIDENCE_MEMCG,
};

/*
 * Why memory is outstanding, or what else a reader of the report should know:
 * bits of struct mrelease_report.notes.
 */

/** A living process shares the address space: see sharer_pid. */
#define MRELEASE_NOTE_SHARED (1u << 0)
/** hugetlb pages come back with the exit only. */
#define MRELEASE_NOTE_HUGETLB (1u << 1)
/** shmem (tmpfs, memfd, SysV) that is still linked or used elsewhere. */
#define MRELEASE_NOTE_SHMEM (1u << 2)
/** Another process holds the dying address space. */
#define MRELEASE_NOTE_PINNED_ELSEWHERE (1u << 3)
/** A thread held a robust futex: it ran its exit before anything was reaped. */
#define MRELEASE_NOTE_ROBUST (1u << 4)
/** The robust lists could not be read: the exit came before the reaping. */
#define MRELEASE_NOTE_ROBUST_UNKNOWN (1u << 5)
/**
 * 32-bit victim, whose robust lists cannot be read: with writable shared
 * memory mapped, the exit came before the reaping.
 */
#define MRELEASE_NOTE_COMPAT (1u << 6)
/** No pin: ptrace was refused, already used, or switched off. */
#define MRELEASE_NOTE_NO_PIN (1u << 7)
/** process_mrelease is not to be had. */
#define MRELEASE_NOTE_NO_MRELEASE (1u << 8)
/** Not yet exited by the deadline. */
#define MRELEASE_NOTE_NOT_EXITED (1u << 9)
/** It sits in uninterruptible sleep (D). */
#define MRELEASE_NOTE_DSTATE (1u << 10)
/** It is frozen, by somebody else. */
#define MRELEASE_NOTE_FROZEN (1u << 11)
/** It was a zombie already: its memory cannot be found or verified. */
#define MRELEASE_NOTE_ZOMBIE (1u << 12)
/** It was dying already when the call began. */
#define MRELEASE_NOTE_WAS_DYING (1u << 13)
/** It was dumping core. */
#define MRELEASE_NOTE_COREDUMP (1u << 14)
/** Neither PAGEMAP_SCAN nor a bounded read of pagemap could tell. */
#define MRELEASE_NOTE_CANNOT_VERIFY (1u << 15)
/** Some mappings could not be evicted from the page cache. */
#define MRELEASE_NOTE_CACHE_PARTIAL (1u << 16)
/** Group: more members than could be given handles. */
#define MRELEASE_NOTE_HANDLES (1u << 17)
/** Group: members outside our PID namespace. */
#define MRELEASE_NOTE_FOREIGN_PIDNS (1u << 18)
/** A pidfd was not to be had: identity was checked by start time. */
#define MRELEASE_NOTE_NO_PIDFD (1u << 19)
/** Traced by another process: see tracer_pid. */
#define MRELEASE_NOTE_TRACED (1u << 20)

/**
 * Why a target was refused: struct mrelease_report.refusal.
 */
enum mrelease_refusal {
	MRELEASE_REFUSE_NONE = 0,
	/** No permission to signal it, or a sharer of it. */
	MRELEASE_REFUSE_PERMISSION,
	/** PID 1 of our PID namespace. */
	MRELEASE_REFUSE_INIT,
	/** A kernel thread. */
	MRELEASE_REFUSE_KTHREAD,
	/** A thread, not a process. */
	MRELEASE_REFUSE_THREAD,
	/** The caller itself. */
	MRELEASE_REFUSE_SELF,
	/** An ancestor of the caller. */
	MRELEASE_REFUSE_ANCESTOR,
	/** The number means another process by now. */
	MRELEASE_REFUSE_REUSED,
	/** Not in our PID namespace, or /proc is that of another. */
	MRELEASE_REFUSE_FOREIGN,
	/** The root cgroup, a threaded cgroup, or no cgroup at all. */
	MRELEASE_REFUSE_CGROUP,
};

/**
 * struct mrelease_memory - memory by kind, bytes
 */
struct mrelease_memory {
	/** Anonymous, and private copies of file pages. */
	uint64_t anon_bytes;
	/** Swapped out. */
	uint64_t swap_bytes;
	/** Mapped page cache: belongs to no process and stays unless evicted. */
	uint64_t file_bytes;
	/** tmpfs, memfd, SysV and shared anonymous memory. */
	uint64_t shmem_bytes;
	/** hugetlb pages. */
	uint64_t hugetlb_bytes;
};

/**
 * struct mrelease_report - what happened
 *
 * The caller sets size; everything else is written by the library, on
 * failure too.
 */
struct mrelease_report {
	/** sizeof(struct mrelease_report). */
	size_t size;
	/** enum mrelease_result. */
	int32_t result;
	/** enum mrelease_stage. */
	int32_t stage;
	/** enum mrelease_path. */
	int32_t path;
	/** enum mrelease_evidence. */
	int32_t evidence;
	/** enum mrelease_refusal, when result is MRELEASE_REFUSED. */
	int32_t refusal;
	/** 1 when the evidence covers all private memory, else 0. */
	int32_t verified;
	/** 0, or the -errno that the call returned. */
	int32_t error;
	/**
	 * PID in the caller's namespace.  A tree's root; for a cgroup 0, or
	 * the member for whose sake it was refused.
	 */
	pid_t pid;
	/** Name of the main thread, NUL-terminated. */
	char comm[16];
	/** Threads before the kill (summed for a group). */
	uint32_t threads;
	/** MRELEASE_NOTE_* bits. */
	uint32_t notes;
	/** What was there before the kill. */
	struct mrelease_memory before;
	/** What is known to be back, page cache not counted. */
	uint64_t released_bytes;
	/** What was there before and is not known to be back. */
	uint64_t outstanding_bytes;
	/** Page cache given back (MRELEASE_EVICT_CACHE). */
	uint64_t cache_evicted_bytes;
	/** SIGKILL (or soft signal) to memory verified, ns; -1: never seen. */
	int64_t release_ns;
	/** SIGKILL (or soft signal) to exit seen, ns; -1: never seen. */
	int64_t exit_ns;
	/** Start of the call to the first signal, ns: the preparation. */
	int64_t prepare_ns;
	/** Living processes that share the address space. */
	uint32_t sharers;
	/** The first of them, 0 if none. */
	pid_t sharer_pid;
	/** Who traces it, 0 if nobody. */
	pid_t tracer_pid;
	/** Group: members seen. */
	uint32_t members;
	/** Group: members verified. */
	uint32_t members_verified;
	/** Must be ignored. */
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
 * mrelease_open() - a pidfd for a number, checked
 * @pid: process ID in the caller's namespace, > 0
 * @inode: pidfs inode (Linux 6.9) the process must have, 0: any
 *
 * Return: a pidfd (O_CLOEXEC, the caller closes it); before Linux 5.3 an
 * open /proc/PID directory, which every function here takes as well.
 * -EINVAL: pid <= 0.  -ESRCH: no such process.  -EISDIR: a thread, not a
 * process.  -ESTALE: another inode, the number was reused.  -EOPNOTSUPP:
 * inode given, but this kernel has no pidfs.  Or an errno of pidfd_open(2).
 */
MRELEASE_API int mrelease_open(pid_t pid, uint64_t inode);

/**
 * mrelease_prepare() - open everything the kill path needs
 * @pidfd: pidfd, or an open /proc/PID directory; stays the caller's
 * @opts: options, copied; NULL for defaults.  deadline_ns is ignored: that
 *        of mrelease_release() counts
 * @report: filled in as far as known, with the refusal if any; may be NULL
 * @ret_target: on success the target, freed with mrelease_target_free()
 *
 * Takes no pin and changes nothing about the process.  Holds up to
 * ten file descriptors (O_CLOEXEC) and about 520 KiB of resident memory.
 *
 * Return: 0; -EINVAL bad options or not a pidfd; -ESRCH gone; -EPERM refused
 * (report->refusal says why); -EMFILE, -ENOMEM, ...
 */
MRELEASE_API int mrelease_prepare(int pidfd, const struct mrelease_opts *opts,
				  struct mrelease_report *report,
				  struct mrelease_target **ret_target);

/**
 * mrelease_release() - kill a prepared target and have its memory back
 * @target: from mrelease_prepare(); can be released once
 * @deadline_ns: absolute CLOCK_MONOTONIC time; 0: 30 s from now
 * @report: what happened; may be NULL
 *
 * Opens no file and allocates no memory in user space.  Exceptions, none of
 * which the release depends on: MRELEASE_EVICT_CACHE and
 * MRELEASE_KILL_SHARERS; naming the sharers when the kernel refuses to reap;
 * a cpuset that keeps the caller from some CPUs.
 *
 * Runs a helper process that shares the caller's memory and file descriptors
 * for the time of the call, at nice -20 where that is allowed, and for a
 * victim of more than 64 threads SCHED_FIFO until its memory is back; it
 * sends no
 * SIGCHLD and only wait calls with __WALL or __WCLONE could see it.
 *
 * Return: 0 when the release went as far as it could, see report->result;
 * a deadline that passes is a result (MRELEASE_UNCONFIRMED), not an error.
 * -ESRCH: it was gone before it was signalled.  -EPERM: refused.
 * -EALREADY: released before.  -ETIMEDOUT: the deadline came before the
 * signal.  -EINTR: somebody killed the helper process, before the signal.
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
 * Return: as mrelease_prepare() and mrelease_release().
 */
MRELEASE_API int mrelease_process(int pidfd, const struct mrelease_opts *opts,
				  struct mrelease_report *report);

/**
 * mrelease_cgroup() - kill every process below a cgroup, memory back
 * @cgroup_fd: the cgroup's directory (v1 or v2); stays the caller's
 * @opts: options; NULL for defaults
 * @report: the sums and the verdict; may be NULL
 * @members: room for one report per member, biggest first; may be NULL.  Set
 *           the size of the first: it is that of each
 * @nr_members: in: room in @members; out: entries written; may be NULL
 *
 * cgroup.kill (Linux 5.14) or else freeze, kill, thaw; then as
 * mrelease_process() for each member, in parallel.  The work is done by
 * helper processes with file descriptors of their own.
 *
 * Return: as mrelease_process(); -EPERM and refusal CGROUP for the root
 * cgroup or a threaded one, SELF or ANCESTOR for one that holds the caller;
 * -EBADF also for an O_PATH descriptor; -ESRCH for an empty cgroup.
 */
MRELEASE_API int mrelease_cgroup(int cgroup_fd,
				 const struct mrelease_opts *opts,
				 struct mrelease_report *report,
				 struct mrelease_report *members,
				 size_t *nr_members);

/**
 * mrelease_tree() - a process and all its descendants
 * @pidfd: the root of the tree; stays the caller's
 * @opts: options; NULL for defaults
 * @report: the sums and the verdict; may be NULL
 * @members: room for one report per member, biggest first; may be NULL
 * @nr_members: in: room in @members; out: entries written; may be NULL
 *
 * With ptrace no child can be forked unseen: new children are attached by
 * the kernel.  Without, or with MRELEASE_NO_PIN, the tree is stopped with
 * SIGSTOP first, of which the root's parent may be told.
 *
 * Return: as mrelease_process(); -EMFILE: fewer than four descriptors for
 * each process, nothing was killed.
 */
MRELEASE_API int mrelease_tree(int pidfd, const struct mrelease_opts *opts,
			       struct mrelease_report *report,
			       struct mrelease_report *members,
			       size_t *nr_members);

/**
 * mrelease_probe() - what this kernel and these privileges allow
 * @features: size set by the caller
 *
 * Finds out by calling, never from a version.  Forks one child of its own.
 *
 * Where the root of the cgroup v2 hierarchy has no child to look at, it makes
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
