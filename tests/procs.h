/* SPDX-License-Identifier: MIT */
/* Processes that are files of the test's own, and what mreleased makes of them. */
#ifndef PROCS_H
#define PROCS_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rules.h"
#include "table.h"

#define MIB ((uint64_t)1 << 20)
#define GIB (1024 * MIB)

extern char root[PATH_MAX];
extern struct table table;
extern struct rules rules;

struct process {
	int pid;
	int ppid;
	const char *comm;
	uint64_t kib;
	/* Where its stack begins. */
	unsigned int stack;
	int oom_score_adj;
	/* Clock ticks since boot. */
	uint64_t start;
	/* 0: 7, both of the process group and of the session. */
	int pgrp;
	/* 0: 'S'. */
	char state;
};

/* A file, or a directory, below the root. */
void put(const char *path, const char *text);
void make_dir(const char *path);
void put_process(const struct process *p);
/* Without swap, as where small processes are not read in full. */
void sweep(void);
/* Its command line is read again until it is protected: a reader may get no CPU. */
void sweep_until_protected(const struct process *p);
/* It is there. */
const struct candidate *find(const struct process *p);
int set_up(void **state);
int tear_down(void **state);

#endif /* PROCS_H */
