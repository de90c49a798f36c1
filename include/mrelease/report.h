/* SPDX-License-Identifier: MIT */
/*
 * The report of a release: results, notes, the kinds of memory, the memory
 * accounting.  Part of mrelease.h, which is what a program includes.
 *
 * Sizes are bytes, times nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef MRELEASE_REPORT_H
#define MRELEASE_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** How a release ended. */
enum mrelease_result {
	/** Killed, and the memory is back: see the evidence. */
	MRELEASE_RELEASED = 0,
	/** It has exited, but there was no evidence that its memory is back. */
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
	/** Address space pinned (skipped where ptrace is unavailable). */
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

/** How the memory came back. */
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
	/** Group: unpopulated, and the memory controller charges none. */
	MRELEASE_EVIDENCE_MEMCG,
	/** shmem: the kernel no longer has the object. */
	MRELEASE_EVIDENCE_OBJECT,
	/** kpageflags: its frames are free, or used for something else. */
	MRELEASE_EVIDENCE_FRAMES,
};

/*
 * Why memory is outstanding, and what else is worth knowing: bits of struct
 * mrelease_report.notes.
 */

/** A living process shares the address space: see sharer_pid. */
#define MRELEASE_NOTE_SHARED (1u << 0)
/** hugetlb that is not back: see kinds[MRELEASE_HUGETLB]. */
#define MRELEASE_NOTE_HUGETLB (1u << 1)
/** shmem (tmpfs, memfd, SysV) that is not back: see the kinds. */
#define MRELEASE_NOTE_SHMEM (1u << 2)
/** Another process holds the dying address space. */
#define MRELEASE_NOTE_PINNED_ELSEWHERE (1u << 3)
/** A thread held a robust futex: it ran that part of its exit first. */
#define MRELEASE_NOTE_ROBUST (1u << 4)
/**
 * The robust lists could not be read, or a dying process that shares the memory
 * has not walked its own list: the exits came before the reaping.
 */
#define MRELEASE_NOTE_ROBUST_UNKNOWN (1u << 5)
/**
 * 32-bit victim, whose robust lists cannot be read: with writable shared
 * memory mapped, the exit came before the reaping.
 */
#define MRELEASE_NOTE_COMPAT (1u << 6)
/** No pin: ptrace was refused, already in use, or switched off. */
#define MRELEASE_NOTE_NO_PIN (1u << 7)
/** process_mrelease is unavailable. */
#define MRELEASE_NOTE_NO_MRELEASE (1u << 8)
/** Not yet exited by the deadline. */
#define MRELEASE_NOTE_NOT_EXITED (1u << 9)
/** It is in uninterruptible sleep (D). */
#define MRELEASE_NOTE_DSTATE (1u << 10)
/** It is frozen, in a v1 cgroup, where it cannot die until it is thawed. */
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
/**
 * Some processes were killed without being inspected, because descriptors,
 * memory or a helper process were lacking, or (group) because reading their
 * /proc files blocked.
 */
#define MRELEASE_NOTE_HANDLES (1u << 17)
/** Group: members outside our PID namespace. */
#define MRELEASE_NOTE_FOREIGN_PIDNS (1u << 18)
/** No pidfd was available: the open /proc/PID directory was the handle. */
#define MRELEASE_NOTE_NO_PIDFD (1u << 19)
/** Traced by another process: see tracer_pid. */
#define MRELEASE_NOTE_TRACED (1u << 20)
/**
 * The preparation was not finished in time, and SIGKILL was sent without it; the
 * pin, the open files or the sharers may be missing.  The limit is 10 ms (200 ms
 * with MRELEASE_KILL_SHARERS, or while the helper waits for a CPU), and for a
 * group 50 ms plus 0.5 ms per member.
 */
#define MRELEASE_NOTE_NOT_READY (1u << 21)

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
	/** The number now belongs to another process. */
	MRELEASE_REFUSE_REUSED,
	/** Not in our PID namespace, or /proc is that of another. */
	MRELEASE_REFUSE_FOREIGN,
	/** The root cgroup (v2), a threaded cgroup, or no cgroup at all. */
	MRELEASE_REFUSE_CGROUP,
};

/**
 * Kinds of memory: the index of struct mrelease_report.kinds.  Every page is
 * of one kind only.
 */
enum mrelease_kind {
	/** Anonymous, and private copies of file pages; not mapped by others. */
	MRELEASE_ANON = 0,
	/**
	 * The same, shared copy-on-write with processes related by fork(2).
	 * A group counts each page once: exclusive if only members have it.
	 */
	MRELEASE_COW,
	/** Swapped out. */
	MRELEASE_SWAP,
	/** tmpfs, memfd, System V, shared anonymous: each object counts once. */
	MRELEASE_SHMEM,
	/**
	 * shmem that no process maps: a descriptor of a process that has not
	 * exited holds it, or the memory controller charges the cgroup for it.
	 */
	MRELEASE_UNMAPPED,
	/** hugetlb pages. */
	MRELEASE_HUGETLB,
	/** Anonymous, and pinned for a device or io_uring (VmPin). */
	MRELEASE_PINNED,
	/** Page tables, if more than 1 MiB plus 1/256 of the other memory. */
	MRELEASE_TABLES,
	/** memfd_secret(2), and what drivers map. */
	MRELEASE_SPECIAL,
	/** Mapped page cache: reclaimable; not part of any sum. */
	MRELEASE_CACHE,
	MRELEASE_NR_KINDS,
};

/** Why memory is outstanding or kept: struct mrelease_entry.reason. */
enum mrelease_reason {
	MRELEASE_REASON_NONE = 0,
	/** A living process uses the address space. */
	MRELEASE_REASON_SHARED_MM,
	/** It comes back with the exit, which has not been seen. */
	MRELEASE_REASON_NOT_EXITED,
	/** Another process holds the dying address space. */
	MRELEASE_REASON_HELD_MM,
	/** Others share these pages since a fork(2), or by KSM. */
	MRELEASE_REASON_COW,
	/** Others map it, or have it open. */
	MRELEASE_REASON_IN_USE,
	/** It has a name: a file in tmpfs or hugetlbfs, a System V segment. */
	MRELEASE_REASON_LINKED,
	/** Pinned for a device or io_uring, or in a pipe or the like. */
	MRELEASE_REASON_PINNED,
	/** The memory controller still charges it. */
	MRELEASE_REASON_CHARGED,
	/** It cannot be told whether it is back. */
	MRELEASE_REASON_UNKNOWN,
	/** Another release of the same process reports it. */
	MRELEASE_REASON_CLAIMED,
};

/**
 * struct mrelease_entry - one kind of memory, bytes
 *
 * After a kill before_bytes is the sum of back, outstanding and kept.
 */
struct mrelease_entry {
	/** Was there before the kill; of a group, each page counted once. */
	uint64_t before_bytes;
	/** The part that only the target had, and that could come back. */
	uint64_t exclusive_bytes;
	/** Has become free. */
	uint64_t back_bytes;
	/** Not known to be free: see the reason. */
	uint64_t outstanding_bytes;
	/** Living processes still use it, or another release reports it. */
	uint64_t kept_bytes;
	/**
	 * Upper bound (95 % confidence) on the part of exclusive_bytes that may
	 * still be shared or pinned, because only a sample of the pages was
	 * examined.  0: all of them were.
	 */
	uint64_t unsure_bytes;
	/** enum mrelease_evidence, for back_bytes. */
	int32_t evidence;
	/** enum mrelease_reason, for outstanding_bytes, or else kept_bytes. */
	int32_t reason;
	/** A process that has it, if known, else 0. */
	pid_t holder_pid;
	/** Must be ignored. */
	uint32_t reserved;
};

/**
 * struct mrelease_report - what happened
 *
 * The caller sets size; the library writes the rest, also when the call fails,
 * except where mrelease_release() says that the report is not written.
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
	/** 1 when every kind that was there is back or accounted for, else 0. */
	int32_t verified;
	/** 0, or the -errno that the call returned. */
	int32_t error;
	/** PID in the caller's namespace.  A tree's root; for a cgroup 0. */
	pid_t pid;
	/** Name of the main thread, NUL-terminated. */
	char comm[16];
	/** Threads before the kill (summed for a group). */
	uint32_t threads;
	/** MRELEASE_NOTE_* bits. */
	uint32_t notes;
	/** Memory before the kill: sum of the kinds, without page cache. */
	uint64_t before_bytes;
	/** The part that only the target had and that could come back. */
	uint64_t exclusive_bytes;
	/** What has become free. */
	uint64_t released_bytes;
	/** What only the target had and is not known to be free. */
	uint64_t outstanding_bytes;
	/** Living processes still use it, or another release reports it. */
	uint64_t kept_bytes;
	/** Upper bound on what may still be shared, see struct mrelease_entry. */
	uint64_t unsure_bytes;
	/** Page cache that was evicted (MRELEASE_EVICT_CACHE). */
	uint64_t cache_evicted_bytes;
	/** SIGKILL (or soft signal) to memory verified, ns; -1: not seen. */
	int64_t release_ns;
	/** SIGKILL (or soft signal) to exit seen, ns; -1: not seen. */
	int64_t exit_ns;
	/** Start of the call to the first signal, ns: the preparation. */
	int64_t prepare_ns;
	/** Living processes that share the address space. */
	uint32_t sharers;
	/** The first of them, 0 if none. */
	pid_t sharer_pid;
	/** The process that traces it, 0 if none. */
	pid_t tracer_pid;
	/** Group: members seen. */
	uint32_t members;
	/** Group: members verified. */
	uint32_t members_verified;
	/** Group: the member because of which it was refused, 0 if none. */
	pid_t refused_pid;
	/** Must be ignored. */
	uint32_t reserved[8];
	/**
	 * The memory by enum mrelease_kind.  Later versions may have more
	 * kinds: the struct grows here.
	 */
	struct mrelease_entry kinds[MRELEASE_NR_KINDS];
};

#endif /* MRELEASE_REPORT_H */
