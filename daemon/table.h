/* SPDX-License-Identifier: MIT */
/*
 * Every process that could be chosen: one sweep over /proc, or over the members of a
 * cgroup.  All memory is mapped at the start.
 */
#ifndef MRELEASED_TABLE_H
#define MRELEASED_TABLE_H

#include <stdbool.h>
#include <sys/types.h>

#include "policy.h"
#include "units.h"

/*
 * Calm, a sweep takes one part in so many of the time between two (rest.c), and what
 * the one before saw must still be of use then (table.c).
 */
#define CALM_SHARE 200

struct rules;

/* What a sweep remembers of a process for the next one. */
struct memory_of {
	uint64_t start;
	/* Anonymous and swapped bytes, and shmem, at two times past. */
	uint64_t base_bytes[2];
	uint64_t base_shmem[2];
	/* Where its stack begins, as for all since the same execve(); 0: unknown. */
	uint64_t stack;
	/* What it had of its parent when it was first seen. */
	uint64_t inherited;
	int32_t oom_score_adj;
	/* CANDIDATE_* of the rules, once they were asked. */
	uint32_t rule_flags;
	/* Whose it was when that was last read; -1: it was not yet. */
	uid_t uid;
	/* The cgroup with which it goes, 0: none. */
	uint32_t unit;
	/* Bits of those with whom it goes (struck.c). */
	uint32_t struck;
	bool rules_known;
	/* They were asked, for this program: what cannot be read again is as it was. */
	bool rules_were_known;
	/* Its command line never was: until then it is "never", and for that alone. */
	bool unasked;
	/* In this sweep it is to be. */
	bool to_ask;
};

struct base {
	/* 0: there is none. */
	int64_t time_ns;
	uint64_t available_bytes;
	uint64_t shmem_bytes;
};

struct table {
	/* By PID, ascending. */
	struct candidate *c;
	struct memory_of *m;
	size_t nr;
	/* Of the sweep before; swapped with each. */
	struct candidate *old_c;
	struct memory_of *old_m;
	size_t old_nr;
	/* [0] is the older one, against which growth is measured. */
	struct base base[2];
	int64_t swept_ns;
	/* How long the last sweep took. */
	int64_t took_ns;
	/* -EMFILE, -ENFILE: no descriptor was left to read one with. */
	int starved;
	/* Processes for which there was no room. */
	size_t left_out;
	int proc_fd;
	/* -1: all processes. */
	int cgroup_fd;
	/*
	 * Of a cgroup, others are listed as well: as parents and of process groups only,
	 * and never to be chosen, so that nothing goes that would take them along.
	 */
	bool with_others;
	pid_t *pids;
	size_t nr_pids;
	pid_t *others;
	size_t nr_others;
	/* Ours and our ancestors'. */
	pid_t own[16];
	size_t nr_own;
	const struct rules *rules;
	struct units units;
	bool swap;
	/* How long the command lines of a sweep may be waited for, and what is left. */
	int64_t patience_ns;
	int64_t cmdline_ns;
	/* The next whose turn it is, or the first above that number. */
	pid_t cmdline_from;
	size_t nr_unasked;
	/* Since boot, s, when the sweep began. */
	int64_t now_s;
	char buf[32768];
};

/* @cgroup_fd, @cgroup: -1 and NULL, or the one to watch.  Maps everything.  Return: 0 or -errno. */
int table_open(struct table *t, const char *root, int cgroup_fd,
	       const char *cgroup, const struct rules *rules);
/*
 * Look at all processes.  Return: 0 or -errno; -EMFILE and -ENFILE where
 * descriptors are short, and the table is as it was.
 */
int table_sweep(struct table *t, const struct snapshot *now);
/* Cgroups have changed. */
void table_ask_again(struct table *t);
/* The rules have changed. */
void table_forget_rules(struct table *t, const struct rules *rules);
/* Where it is; -1: not there. */
int32_t table_index(const struct table *t, pid_t pid);
/* NULL: not there. */
struct candidate *table_find(struct table *t, pid_t pid, uint64_t start);
/* Growth over what time, and what the system did in it. */
void table_view(const struct table *t, const struct snapshot *now,
		struct policy_view *view);
/* The numbers of /proc/PID/status, read anew; opens nothing. */
void table_update(struct table *t, struct candidate *c, const char *status);

/* growth.c */

/* Against what was noted of it. */
void table_measure(struct candidate *c, const struct memory_of *m);
/* What needs all of them: parents, and whose shmem is whose. */
void table_finish(struct table *t, const struct snapshot *now);

/* ask.c */

/* A read of @n failed since the process is gone; else notes if that was for want. */
bool table_gone(struct table *t, ssize_t n);
/* What the rules and its cgroup say: into @m. */
void table_ask(struct table *t, struct candidate *c, struct memory_of *m);
/* After a sweep: as many command lines as there is time for. */
void table_ask_lines(struct table *t);
/* Still in the cgroup with which it is to go?  That is read anew. */
bool table_is_in(struct table *t, const struct candidate *c);

/* pids.c */

struct linux_dirent64 {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

/* Fills pids and others, sorted.  Return: 0 or -errno. */
int table_list(struct table *t);
/* Notes it if @error, an errno, is that of a descriptor that was not to be had. */
void table_starved(struct table *t, int error);

/* process.c: the texts of one process */

struct process_stat {
	char comm[16];
	char state;
	pid_t ppid;
	pid_t session;
	int tty;
	uint32_t kernel_flags;
	unsigned int threads;
	pid_t pgrp;
	uint64_t start;
	uint64_t rss_pages;
	/* 0: not for us to know. */
	uint64_t stack;
};

int process_parse_stat(const char *text, struct process_stat *ret);
/* anon, shmem and swap, and the user; what is missing is 0. */
void process_parse_status(const char *text, struct candidate *c);

#endif /* MRELEASED_TABLE_H */
