/* SPDX-License-Identifier: MIT */
/* What the watcher keeps until the end of a run; see watch.c. */
#ifndef LOWMEM_WATCH_H
#define LOWMEM_WATCH_H

#include "guest.h"

/* trace.c */
bool trace_start(void);
void trace_stop(void);
/* "signal" and "oom" lines from the kernel's trace; times since @start_ns */
void trace_print(int64_t start_ns);

#endif
