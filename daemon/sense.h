/* SPDX-License-Identifier: MIT */
/*
 * The one reader of the machine's memory: meminfo, pressure, vmstat, or the
 * files of one cgroup, v1 or v2.  Every file is opened at the start and only
 * read afterwards.
 */
#ifndef MRELEASED_SENSE_H
#define MRELEASED_SENSE_H

#include <stdbool.h>
#include <stddef.h>

#include "snapshot.h"

enum sense_file {
	SENSE_MEMINFO,
	SENSE_PRESSURE,
	SENSE_VMSTAT,
	/* Of the cgroup, if there is one. */
	SENSE_USAGE,
	SENSE_LIMIT,
	/* v2: above this the kernel slows down who allocates, without an end. */
	SENSE_HIGH,
	SENSE_SWAP_USAGE,
	SENSE_SWAP_LIMIT,
	/* v2: the same for who is swapped out. */
	SENSE_SWAP_HIGH,
	SENSE_STAT,
	SENSE_EVENTS,
	SENSE_FILES,
};

#define MAX_ABOVE 16
/* v1 has 2^63, less a page, where there is no limit. */
#define NO_LIMIT ((uint64_t)1 << 60)

/* One cgroup above; -1: it has no such limit, and what belongs to it is not read. */
struct sense_above {
	int usage_fd;
	int stat_fd;
	int limit_fd;
	int high_fd;
	int swap_usage_fd;
	int swap_limit_fd;
	int swap_high_fd;
};

struct sense {
	/* -1: not there. */
	int fds[SENSE_FILES];
	/* Cgroups above that one, from below. */
	struct sense_above above[MAX_ABOVE];
	size_t nr_above;
	/* Polled: the kernel says here that tasks stall.  -1: no PSI. */
	int trigger_fd;
	/* Why there is no trigger, -errno. */
	int trigger_error;
	/* Directory of the cgroup, -1: the whole machine. */
	int cgroup_fd;
	bool v1;
	/*
	 * As earlyoom counts since 1.8: of the machine, all memory is what is
	 * available and what processes have.  Set it when it is open.
	 */
	bool user_total;
	/*
	 * Of a cgroup: another mreleased sees to the machine, so that only the limits
	 * of cgroups count here.  To be set by the owner.
	 */
	bool machine_is_watched;
	char buf[16384];
};

/*
 * Return: 0 or -errno.  @cgroup is the path of a cgroup's directory, NULL for
 * the whole machine; @root stands before /proc, "" but for tests.
 */
int sense_open(struct sense *s, const char *cgroup, const char *root);
void sense_close(struct sense *s);
/* Opens and allocates nothing.  Return: 0 or -errno. */
int sense_read(struct sense *s, struct snapshot *ret);
/* The machine once, without opening a sense; memory only. */
int sense_machine(struct snapshot *ret, bool user_total);
/*
 * Arm a PSI trigger: @stall_us of partial stall within @window_us.  Windows
 * that are no multiple of 2 s need CAP_SYS_RESOURCE; without it 2 s is tried.
 */
int sense_arm(struct sense *s, const char *root, unsigned int stall_us,
	      unsigned int window_us);

/* @limit of swap, of which @usage is taken, is all that there is; into @snap. */
void sense_limit_swap(uint64_t limit, uint64_t usage, struct snapshot *snap);

/*
 * above.c: the least of what the limits above leave, of memory and of swap, into
 * @snap.  Where descriptors are few, of cgroups that have one when they are opened,
 * of memory one below @machine.
 */
void above_open(struct sense *s, uint64_t machine);
void above_close(struct sense *s);
void above_read(struct sense *s, uint64_t machine, struct snapshot *snap);

/* The texts, for tests and the fuzzer: -EINVAL if what must be is missing. */
int sense_parse_meminfo(const char *text, struct snapshot *s);
int sense_parse_pressure(const char *text, struct snapshot *s);
void sense_parse_vmstat(const char *text, struct snapshot *s);

#endif /* MRELEASED_SENSE_H */
