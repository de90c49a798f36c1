/* SPDX-License-Identifier: MIT */
/* Victims that are forks of the test itself, and share what it has. */
#ifndef OWN_H
#define OWN_H

#include "harness.h"

/* fn has returned in it when this returns; it then waits for its end. */
pid_t own_start(void (*fn)(int arg), int arg);
/* The same, and it does what it has to when that process is dead. */
pid_t own_stranger(void (*fn)(int arg), int arg, void (*then)(void),
		   pid_t victim);
/* Of a stranger, or an orphan. */
void own_end(pid_t pid);
/* mrelease_process(), and its report is checked. */
void own_kill(pid_t pid, uint32_t flags, struct mrelease_report *rep);
/* mrelease_tree() */
void own_kill_tree(pid_t pid, uint32_t flags, struct mrelease_report *rep);

/* In a victim: memory that is filled, or an exit. */
char *own_anon(size_t size, int flags);
/* An io_uring in which that memory is registered, and so pinned; -errno. */
int own_ring(void *p, size_t size);
/* A child that keeps the ring, and every other file, but not that memory. */
void own_keep_files(void *p, size_t size);
/* Skips the test where there is none. */
void own_need_ring(void);

/* Skips it where frames, or the files of mappings, are not shown to us. */
void own_need_frames(void);
void own_need_map_files(void);

#define HUGE (2 * MIB)

/* Of /proc/meminfo; -1: it has no such line. */
long own_meminfo(const char *name);
/* So many free pages of hugetlb, for this test; or skips it. */
void own_need_huge(long pages);
/* harness_teardown(), and the pool as it was. */
int own_huge_teardown(void **state);

#endif /* OWN_H */
