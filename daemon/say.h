/* SPDX-License-Identifier: MIT */
/*
 * What people and machines read: the journal with fields, or stderr, or
 * syslog.  Once the daemon runs nothing here waits for a reader (sink.h), and
 * nothing allocates.
 */
#ifndef MRELEASED_SAY_H
#define MRELEASED_SAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "act.h"

/* sd-daemon(3)'s numbers, which are syslog's. */
enum say_level {
	SAY_ERROR = 3,
	SAY_WARNING = 4,
	SAY_NOTICE = 5,
	SAY_INFO = 6,
	SAY_DEBUG = 7,
};

/* What a release's end or a change of mind is called in the catalog. */
#define MESSAGE_KILL	  "4c6bbd0b4f0a4f0c9dd0e7b7f5a5d1e1"
#define MESSAGE_RELEASED  "8a1f7f1d52d54cb59d5f1c20a6f4b0e2"
#define MESSAGE_NOT_BACK  "b7b8f0f7a4a24f4a8a3c6a0f9a1d63e3"
#define MESSAGE_NO_VICTIM "d2c1f6f2f0c84a7fa5c4d4f1b9e2a7e4"

struct say_field {
	const char *name;
	/* Text, or if that is NULL the number. */
	const char *text;
	int64_t number;
};

/* @debug: say SAY_DEBUG too; @syslog: through syslog(3). */
void say_open(bool debug, bool syslog);
void say(enum say_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same with fields and a MESSAGE_ID, which may be NULL. */
void say_event(enum say_level level, const char *id,
	       const struct say_field *fields, size_t nr_fields,
	       const char *format, ...) __attribute__((format(printf, 5, 6)));
/* "92.1 MiB"; one of some buffers, used in turn. */
const char *say_bytes(uint64_t bytes);
/* "0.4 s", "38 ms" */
const char *say_time(int64_t ns);
/* A name that may come from anybody: what is not printable becomes "?". */
const char *say_name(const char *name);

/* notify.c: sd_notify(3)'s protocol; nothing if nobody listens */
void notify_open(void);
void notify(const char *text);
/* How often systemd wants to hear of us, ns; 0: not at all. */
int64_t notify_watchdog_ns(void);

/* tell.c: what a decision and a release come to, in a person's words */
void tell_start(const struct snapshot *s, const struct policy_config *c);
void tell_memory(const struct snapshot *s);
void tell_decision(const struct decision *d, const struct snapshot *s,
		   const struct victim *v, bool dry_run);
/* @refused: why the last victims could not be signalled, -errno; 0. */
void tell_no_victim(const struct decision *d, const struct snapshot *s,
		    int refused);
void tell_release(const struct release *r, const struct snapshot *after);
/* Asked, and not killed although it lives. */
void tell_let_be(const struct victim *v);
void tell_failure(const struct victim *v, int error);

/* earlyoom.c: what it would say, where we are called by its name */
void earlyoom_start(const struct snapshot *s, const struct policy_config *c);
void earlyoom_memory(const struct snapshot *s);

/*
 * For what prints and ends, not for the daemon: was all of it written?  If not, that
 * is said on standard error.
 */
bool say_written(FILE *out);

#endif /* MRELEASED_SAY_H */
