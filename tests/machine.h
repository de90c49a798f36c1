/* SPDX-License-Identifier: MIT */
/*
 * A memory cgroup of 256 MiB as a machine, mreleased on it, and who lives
 * there: three innocents of 20 MiB, and whatever a test adds.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "harness.h"

struct daemon {
	pid_t pid;
	int fd;
	/* All that it has said. */
	char log[65536];
	size_t len;
};

extern struct cgroup machine;
extern struct daemon daemon_run;
extern pid_t innocents[3];

/* Skips the test where there can be no such cgroup. */
void make_machine(void);
/* The arguments end with NULL. */
void start_daemon(const char *preload, ...) __attribute__((sentinel));
/* As the unit file would: its filter, its capabilities, not root. */
extern bool as_unit;
/* The next daemon, until it is taken back; or the test is skipped. */
void start_as_unit(void);
/* Another name for the program than its own; NULL. */
extern const char *daemon_name;
/* Not this cgroup: the whole machine. */
extern bool whole_machine;
/* In the child, before it becomes mreleased; NULL: nothing. */
extern void (*before_daemon)(void);
/* Reads the rest of what it says, too. */
void stop_daemon(void);
/* It ends by itself, with this exit status. */
void wait_daemon(int status);
bool read_log(int ms);
void show_log(void);
/* Fails, with all that was said, if it does not come. */
void expect_said(const char *text);
void expect_not_said(const char *text);
void print_said(const char *text);
/* Output of mreleased with these arguments; the status must be 0. */
void run_tool(char *out, size_t size, ...) __attribute__((sentinel));
void expect_text(const char *text, const char *part);

/* In a child: become one of the machine, under this name. */
void enter(const char *name);
/* MiB a second; 0: as fast as it goes. */
void grow(uint64_t mib, int rate);
pid_t start_process(const char *name, uint64_t mib, int rate,
		    void (*before)(void));
void start_innocents(void);
void expect_innocents_live(void);
/* The kernel has killed nobody of the machine at its limit. */
void expect_no_oom(void);
void expect_signal(pid_t pid, int sig);

#endif /* MACHINE_H */
