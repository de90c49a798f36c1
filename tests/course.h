/* SPDX-License-Identifier: MIT */
/*
 * What mreleased decides, case by case.  A case is a course of memory and who
 * is there; nothing in it reads a clock or a file.
 */
#ifndef COURSE_H
#define COURSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"
#include "policy.h"
#include "text.h"

#define MIB   ((uint64_t)1 << 20)
#define TOTAL (1000 * MIB)

/* A machine of 1000 MiB, so that a MiB is a thousandth. */
struct course {
	struct history history;
	struct snapshot now;
	struct candidate c[300];
	size_t nr;
	struct release_view releases[MAX_RELEASES];
	struct policy_config config;
	int64_t growth_ns;
	int64_t available_growth;
	int64_t shmem_growth;
	int64_t release_ns;
	int64_t acted_ns;
};

extern struct course m;

/* 600 MiB are available, nobody is there. */
int course_begin(void **state);
/* @ms later this much is available. */
void look(int64_t ms, uint64_t available_mib);
/* From what was to @to_mib in @ms, a look each 50 ms. */
void fall(int64_t ms, int64_t to_mib);
struct candidate *add(const char *comm, uint64_t mib);
/* Six of 70 MiB. */
void innocents(void);
/* "hog", which has grown in the last two seconds. */
struct candidate *hog(uint64_t mib, uint64_t growth_mib);
/* Decided twice: what is in the scratch memory does not matter. */
struct decision decide(void);
/* @comm is the victim's, NULL: not asked. */
void expect(enum policy_action action, enum policy_reason reason,
	    const char *comm);

#define course_test(f) cmocka_unit_test_setup(f, course_begin)

#endif /* COURSE_H */
