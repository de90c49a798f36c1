/* SPDX-License-Identifier: MIT */
/* Victims: programs that misbehave on purpose, for the tests to release. */
#ifndef VICTIM_H
#define VICTIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

#define MIB ((size_t)1 << 20)

/* main.c */
void die(const char *what) __attribute__((noreturn));
void skip_victim(const char *why) __attribute__((noreturn));
void die_with_parent(void);
void ready(pid_t pid, pid_t helper, const void *addr, size_t len);
void say(const char *line);
int next_command(void);
void serve(const unsigned char *addr, size_t len) __attribute__((noreturn));
unsigned long number(int argc, char **argv, int i, unsigned long fallback);
unsigned char *map_anon(size_t len);
void fill(unsigned char *addr, size_t len);
int is_filled(const unsigned char *addr, size_t len);
unsigned char *fill_anon(size_t len);

/* plain.c */
int is_zombie(pid_t pid);
int victim_anon(int argc, char **argv);
int victim_grouped(int argc, char **argv);
int victim_threads(int argc, char **argv);
int victim_zombie_leader(int argc, char **argv);
int victim_stopped(int argc, char **argv);
int victim_ignoring(int argc, char **argv);
int victim_polite(int argc, char **argv);
int victim_shrinking(int argc, char **argv);
int victim_nice(int argc, char **argv);
int victim_spinning(int argc, char **argv);
int victim_zombie(int argc, char **argv);

/* maps.c */
int victim_memfd(int argc, char **argv);
int victim_shared_anon(int argc, char **argv);
int victim_sysv(int argc, char **argv);
int victim_hugetlb(int argc, char **argv);
int victim_file(int argc, char **argv);
int victim_reserve(int argc, char **argv);
int victim_mlocked(int argc, char **argv);
int victim_many_maps(int argc, char **argv);

/* robust.c */
int victim_robust(int argc, char **argv);
int victim_robust_thread(int argc, char **argv);
int victim_robust_pending(int argc, char **argv);
int victim_robust_exec(int argc, char **argv);
int victim_robust_slow(int argc, char **argv);
int victim_robust_late(int argc, char **argv);
int victim_robust_sharer(int argc, char **argv);
int victim_robust_survivor(int argc, char **argv);
int victim_robust_pending_survivor(int argc, char **argv);

/* share.c */
int victim_clone_vm(int argc, char **argv);
int victim_clone_vm_root(int argc, char **argv);
int victim_clone_vm_headless(int argc, char **argv);
int victim_clone_vm_root_headless(int argc, char **argv);
int victim_vfork(int argc, char **argv);

/* traced.c */
int victim_traced(int argc, char **argv);
int victim_traced_stopped(int argc, char **argv);
int victim_traced_exit(int argc, char **argv);
int victim_exec_traced(int argc, char **argv);

/* number.c */
int victim_renumber(int argc, char **argv);
int victim_mortal_child(int argc, char **argv);

/* pinned.c */
int victim_pinned(int argc, char **argv);

/* fuse.c, fuse_victims.c */
int victim_dstate(int argc, char **argv);
int victim_coredump(int argc, char **argv);
int victim_exiting_child(int argc, char **argv);
int victim_fuse_file(int argc, char **argv);
int victim_exec_fuse(int argc, char **argv);
int victim_exit_fuse(int argc, char **argv);
int victim_fuse_list(int argc, char **argv);
int victim_fuse_mmap(int argc, char **argv);

/* tree.c */
int victim_tree(int argc, char **argv);
int victim_forkbomb(int argc, char **argv);
int victim_rabbit(int argc, char **argv);

#endif /* VICTIM_H */
