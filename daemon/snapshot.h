/* SPDX-License-Identifier: MIT */
/*
 * What the machine, or one cgroup, looked like at one moment: plain numbers.
 * sense.c fills it in, everything else only reads it.
 */
#ifndef MRELEASED_SNAPSHOT_H
#define MRELEASED_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

/* /proc/pressure/memory, or memory.pressure of the cgroup, could be read. */
#define SNAPSHOT_PSI (1u << 0)
/* /proc/vmstat could be read. */
#define SNAPSHOT_VMSTAT (1u << 1)
/* The numbers are those of a cgroup; total_bytes is its limit. */
#define SNAPSHOT_CGROUP (1u << 2)

struct snapshot {
	/* CLOCK_MONOTONIC, ns. */
	int64_t time_ns;
	/* SNAPSHOT_* bits. */
	uint32_t has;
	/* What there is to be used: without the pools of huge pages. */
	uint64_t total_bytes;
	/* MemTotal, with them. */
	uint64_t machine_bytes;
	/* What can be had without swapping. */
	uint64_t available_bytes;
	uint64_t free_bytes;
	uint64_t swap_total_bytes;
	uint64_t swap_free_bytes;
	uint64_t anon_bytes;
	/* tmpfs, memfd, SysV and shared anonymous memory. */
	uint64_t shmem_bytes;
	/* Page cache and shmem that somebody maps; 0: not known. */
	uint64_t mapped_bytes;
	/* Page cache without shmem. */
	uint64_t cache_bytes;
	uint64_t hugetlb_bytes;
	uint64_t slab_bytes;
	/* Since boot, us: some and all tasks stalled on memory. */
	uint64_t some_us;
	uint64_t full_us;
	/* Since boot, pages: read back soon after they were reclaimed. */
	uint64_t refault_file;
	uint64_t refault_anon;
	uint64_t swapped_in;
	/* Since boot: kills by the kernel's OOM killer. */
	uint64_t oom_kills;
};

#endif /* MRELEASED_SNAPSHOT_H */
