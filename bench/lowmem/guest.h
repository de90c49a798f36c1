/* SPDX-License-Identifier: MIT */
/*
 * One static program that runs in the guest under several names: innocents
 * that must not die, hogs that should, those who hold on to a hog's memory,
 * and the watcher that writes down what happens.
 */
#ifndef LOWMEM_GUEST_H
#define LOWMEM_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define RUN_DIR	     "/run/lowmem"
#define TEXT_DIR     "/var/lib/lowmem"
#define SLOTS_FILE   RUN_DIR "/slots"
#define HOG_FILE     RUN_DIR "/hog"
#define FUSE_DIR     RUN_DIR "/fuse"
#define SHM_DIR	     RUN_DIR "/shm"
#define HOG_SLICE    "/sys/fs/cgroup/load.slice/load-hog.slice"
#define NR_INNOCENTS 6
/* percent of the machine that each innocent has */
#define INNOCENT_SHARE 7
#define MSEC	       INT64_C(1000000)
#define SEC	       (1000 * MSEC)
#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))

/* What an innocent tells the watcher; written by its owner only. */
struct slot {
	pid_t pid;
	/* when the answer in the making is due, CLOCK_MONOTONIC */
	int64_t due_ns;
	/* the latest answer since the watcher has cleared it */
	int64_t worst_ns;
	uint64_t answers;
};

/* util.c */
int64_t now_ns(void);
void sleep_ms(unsigned int ms);
void sleep_until(int64_t at_ns);
void die(const char *what) __attribute__((noreturn));
ssize_t read_text(const char *path, char *buf, size_t size);
bool write_text(const char *path, const char *text);
uint64_t number_after(const char *text, const char *name);
/* a line of /proc/meminfo, bytes */
uint64_t meminfo(const char *name);
uint64_t share_of_memory(double percent);
struct slot *map_slots(void);
void random_seed(uint64_t seed);
uint64_t random_number(void);
/* fills pages as a heap is filled: a third of each cannot be compressed */
void fill_pages(char *to, uint64_t bytes);
/* a new private mapping, filled; never returns without it */
char *grow(uint64_t bytes);

/* innocent.c */
int innocent(unsigned int nr);

/* hog.c, hog_stuck.c: the loads */
int hog(const char *load);
void hog_threads(void);
void hog_dstate(void);
void hog_held(void);
void hog_slowexit(void);
void hog_brisk(void);

/* holders.c: who keeps a hog's memory */
int stuck_fuse(void);
int stalled_reader(void);

/* watch.c */
int watch(unsigned int seconds, char *const units[]);

#endif
