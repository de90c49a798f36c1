/* SPDX-License-Identifier: MIT */
/*
 * What the behaviour tests share: victims, cgroups, skips with a reason, and
 * a look around after every test.
 *
 * Every test runs between harness_setup() and harness_teardown().  Teardown
 * ends and reaps whatever descends from the test, thaws and removes its
 * cgroups, and fails the test if the library left something: a descriptor, a
 * helper process, a stop seen by SIGCHLD, a changed signal mask.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include <cmocka.h>

#include "mrelease.h"

#define MIB	   ((uint64_t)1 << 20)
#define SEC_NS	   1000000000ll
#define PATIENCE_S 20

#define harness_test(f)                                             \
	((const struct CMUnitTest){ #f, harness_run, harness_setup, \
				    harness_teardown, (void *)(f) })
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* harness.c */

/* A stop of a child is no fault of the library's in this test. */
extern bool stops_expected;
int harness_setup(void **state);
int harness_teardown(void **state);
/* The test is *state; on a busy machine a few times, see late_once_more(). */
void harness_run(void **state);
/*
 * The library killed before it had prepared, as it must on a machine that gives
 * it no CPU.  A test that expected more begins anew; returns if it did so
 * already, or is not in its own process.
 */
void late_once_more(void);
/* Somebody else has the CPUs now: no time can be asked for.  Takes 50 ms. */
bool machine_is_busy(void);
/*
 * The run's last word: 0 or 1, never cmocka's count, which can wrap.
 * MRELEASE_TEST picks tests by name, with wildcards.
 */
#define run_group(tests)                                  \
	(cmocka_set_test_filter(getenv("MRELEASE_TEST")), \
	 cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL) ? 1 : 0)
/*
 * Not to be had here.  With MRELEASE_MUST_WORK=1 that is a failure, unless
 * MRELEASE_ACCEPT_SKIP names the tag (a list with commas).
 */
void skip_test(const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* So many of n repetitions: all with MRELEASE_TEST_ROUNDS=all, else a fifth. */
int rounds(int n);
bool is_root(void);
void need_root(void);
/* Of linux/capability.h, in effect: root in a container lacks most of them. */
bool has_capability(int cap);
void need_capability(int cap, const char *name);
/* Whether an object of shared memory is there still: open_by_handle_at(2). */
bool may_ask_objects(void);
void need_objects(void);
/* nice -20: without it a release shares the CPUs with what it is about. */
bool may_hurry(void);
/* kcmp(2): without it no process is known to share another's memory. */
void need_kcmp(void);
/* fork() of a child that the teardown knows and that dies with us. */
pid_t test_fork(void);
/* The status of a child whose release was not ready, see child_failed(). */
#define CHILD_WAS_LATE 79
/*
 * Its exit status; fails the test if it was killed.  After CHILD_WAS_LATE the
 * test begins anew, see late_once_more().
 */
int test_wait(pid_t pid);
unsigned int count_fds(void);
int64_t now_ns(void);
int64_t in_seconds(int s);

/* victims.c */

struct victim {
	/* What we forked, and what is to be released: often the same. */
	pid_t child;
	pid_t pid;
	/* Sharer, tracer, reader, server: 0 if it needs none. */
	pid_t helper;
	/* Private memory of the victim that can be looked for. */
	uint64_t addr;
	uint64_t len;
	int ready_fd;
	int ctl_fd;
	int pagemap_fd;
	/* From mrelease_open(). */
	int fd;
};

/* For SHM_FD; closed by the teardown. */
int make_shm(void);

struct victim_setup {
	/* Other than the 64-bit victims. */
	const char *program;
	/* Given to it as SHM_FD; 0 for none. */
	int shm_fd;
	/* cgroup.procs files to join first. */
	const char *procs[2];
	/* User and group, 0 for ours. */
	uid_t uid;
};

/* The arguments end with NULL. */
void victim_start(struct victim *v, const char *name, ...)
	__attribute__((sentinel));
void victim_start_with(struct victim *v, const struct victim_setup *setup,
		       const char *name, ...) __attribute__((sentinel));
void victim_command(struct victim *v, char c);
/* One line from the victim, without its newline. */
void victim_reply(struct victim *v, char *buf, size_t size);
/* Is the memory as the victim, or its sharer, filled it? */
bool victim_memory_intact(struct victim *v);
/* False: it is dead.  A lost byte fails the test. */
bool victim_alive_and_intact(struct victim *v);
/* Bytes of it present or swapped; 0 as well when the mm is gone. */
uint64_t victim_resident(struct victim *v);
void victim_end(struct victim *v);
void victims_forget(void);
/* Path of another program of this build; overwritten by the next call. */
const char *beside(const char *name);
const char *victim32_program(void);
void victim_skipped(const char *name, int stderr_fd, int status);

/* Alive, same state as ever, every byte there. */
void assert_untouched(struct victim *v);
void assert_memory_back(struct victim *v);
/* Its parent (us) sees a death by SIGKILL, and once. */
void assert_killed(struct victim *v);

/* proc.c */

/* State letter, 0 if there is no such process. */
char process_state(pid_t pid);
pid_t process_tracer(pid_t pid);
/* A thread of it that is not its main thread. */
pid_t process_other_thread(pid_t pid);
/* Value of a "Name: N" line of /proc/PID/status; -1 if there is none. */
long long process_status(pid_t pid, const char *name, int base);
bool process_exists(pid_t pid);
bool process_gone(pid_t pid);
/* Is SIGKILL on its way to it? */
bool process_killed(pid_t pid);
unsigned int process_children(pid_t pid, pid_t *pids, unsigned int max);
bool same_program(pid_t pid);
/* Spin (yielding) until cond(arg); fails the test after PATIENCE_S. */
void wait_until(bool (*cond)(void *arg), void *arg, const char *what);
void wait_for_state(pid_t pid, const char *states);

/* cgroups.c */

enum cgroup_kind { CGROUP_V2, CGROUP_FREEZER, CGROUP_MEMORY, CGROUP_CPU };

struct cgroup {
	enum cgroup_kind kind;
	char path[PATH_MAX];
	char procs[PATH_MAX];
	int fd;
};

/* Skips the test where such a cgroup cannot be made. */
void cgroup_make(struct cgroup *cg, enum cgroup_kind kind);
void cgroup_make_below(struct cgroup *cg, const struct cgroup *parent,
		       const char *name);
void cgroup_add(const struct cgroup *cg, pid_t pid);
/* Write the file, and wait until the kernel says that it is so. */
void cgroup_freeze(const struct cgroup *cg);
void cgroup_thaw(const struct cgroup *cg);
/* For CGROUP_CPU, with a member that uses CPU time: it has run out of it. */
void cgroup_throttle(const struct cgroup *cg);
bool cgroup_frozen(const struct cgroup *cg);
unsigned int cgroup_members(const struct cgroup *cg);
/* Thaw and remove what test process @pid made; 0 for all gone. */
int cgroups_clean(pid_t pid);

/* swap.c */

/* Swap to use, made and turned off again by us if need be; or skips. */
void need_swap(void);
uint64_t swap_used(void);
/* Turn off what test process @pid made, and what dead ones left; 0 for all. */
int swap_clean(pid_t pid);

/* lack.c */

/* No process from here on, as at RLIMIT_NPROC or pids.max. */
void lack_process(void);
/* No memory that is not there yet. */
void lack_memory(void);

/* release.c */

struct mrelease_opts opts_with(uint32_t flags);
/* mrelease_process() on v->fd, with a filled-in report and its checks. */
int release(struct victim *v, const struct mrelease_opts *opts,
	    struct mrelease_report *rep);
/* Print the report as TAP comments: what a failing test shows. */
void show_report(const struct mrelease_report *rep);
/* Ends a child of the test that has released, and expected another report. */
void child_failed(const struct mrelease_report *rep) __attribute__((noreturn));
/*
 * Fails, after showing the report: but for a victim that was killed before it
 * could be counted, on a machine whose CPUs are others'.  Then it is skipped.
 */
#define expect_report(rep, cond)                                \
	do {                                                    \
		if (!(cond))                                    \
			report_failed(rep, __FILE__, __LINE__); \
	} while (0)
void report_failed(const struct mrelease_report *rep, const char *file,
		   int line);
/* The report's promises that hold whatever happened. */
void check_report(const struct mrelease_report *rep, int ret);
void expect_released(struct victim *v, const struct mrelease_report *rep,
		     int path);
bool kernel_reaps_exited(void);
/* And leaves robust futexes to the exit: all of the series. */
bool kernel_keeps_robust(void);
/* Reaped without a pin, or freed by the exit; and that is said. */
/* The survivor has had that many locks, each with EOWNERDEAD. */
void expect_locks(struct victim *survivor, const char *locks);
void expect_no_pin(const struct mrelease_report *rep);
void expect_refused(const struct mrelease_report *rep, int ret, int refusal);

#endif /* HARNESS_H */
