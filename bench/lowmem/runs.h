/* SPDX-License-Identifier: MIT */
/*
 * The runs that the guests have written down, and what is read from them.
 * Times are milliseconds since the load was started, memory is KiB.
 */
#ifndef LOWMEM_RUNS_H
#define LOWMEM_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NAME_ROOM    24
#define NR_INNOCENTS 6
/* what each innocent has, percent of the machine; as in guest.h */
#define INNOCENT_SHARE 7
/* below the first memory is low; with the second it is back */
#define LOW_PERCENT    10
#define ENOUGH_PERCENT 15
#define NEVER	       INT64_MAX
#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))

struct sample {
	int64_t ms;
	int64_t avail;
	int64_t free;
	int64_t swap;
	/* what load-hog.slice is charged */
	int64_t hog;
};

/* How big a hog was. */
struct size {
	int64_t ms;
	int pid;
	int64_t kib;
};

/* The first signal that a victim got. */
struct victim {
	int64_t ms;
	int pid;
	int sig;
	char name[NAME_ROOM];
	char by[NAME_ROOM];
	/* -1: not an innocent */
	int innocent;
	bool oom;
	/* what came back from those killed before was enough already */
	bool beyond;
};

struct run {
	char daemon[NAME_ROOM];
	char load[NAME_ROOM];
	char swap[NAME_ROOM];
	unsigned long seed;
	int64_t total;
	struct sample *samples;
	size_t nr_samples;
	struct size *sizes;
	size_t nr_sizes;
	struct victim *victims;
	size_t nr_victims;
	int pids[NR_INNOCENTS];
	int64_t stall_ms[NR_INNOCENTS];
	/* NEVER: alive at the end */
	int64_t died_ms[NR_INNOCENTS];
	bool hogs_left;
	/* the guest gave no answer to the end */
	bool hung;
	/* or did not start */
	bool daemon_died;
	/* of the host, at the end */
	double host_load;
	/* of "idle" runs: KiB, and context switches in so many seconds */
	bool is_idle;
	long rss_kib;
	long switches;
	long idle_seconds;
};

/* What is compared. */
struct verdict {
	unsigned int innocents;
	unsigned int beyond;
	unsigned int oom;
	/* killed where no kill helps, or none is needed */
	unsigned int in_vain;
	unsigned int victims;
	int64_t stall_ms;
	/* below the first line; NEVER: it was not */
	int64_t low_ms;
	/* from there until memory is back for good; NEVER: not seen */
	int64_t back_ms;
};

/* runs.c */
/* Allocates *@runs, with what is in them; exits where memory or a file fails. */
size_t read_runs(const char *path, struct run **runs);

/* judge.c */
/* No kill helps against this load, or it is over before long. */
bool recovers_by_itself(const char *load);
void judge(struct run *run, struct verdict *verdict);
/* available memory at @s, without what dead innocents had */
int64_t avail_without(const struct run *run, const struct sample *s);

/* table.c */
void print_brief(struct run *run);
void print_table(struct run *runs, size_t nr);
bool write_csv(const char *path, struct run *runs, size_t nr);

/* picture.c */
/* One picture for each load and swap that two daemons have met. */
bool draw_pictures(const char *prefix, struct run *runs, size_t nr);

#endif
