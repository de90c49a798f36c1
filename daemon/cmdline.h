/* SPDX-License-Identifier: MIT */
/* Command lines, for which a reader may have to wait. */
#ifndef MRELEASED_CMDLINE_H
#define MRELEASED_CMDLINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* So many are read in one go. */
#define CMDLINE_BATCH 64

struct cmdline {
	/* 0, -EBUSY: asked, and not answered in time, or -errno. */
	int error;
	/* Blanks between the arguments; of a very long one the first 64 KiB.  Or NULL. */
	const char *text;
};

/*
 * Those of @nr processes, CMDLINE_BATCH at most, until the next call.  Return: how
 * many were asked, from the first on.  The time that it waits is taken off @left_ns;
 * of one that does not answer that is 10 ms.  With none left nobody is asked.
 * Only one thread may call this.
 */
size_t cmdline_ask(int proc_fd, const pid_t *pids, size_t nr, int64_t *left_ns,
		   struct cmdline *ret);

#endif /* MRELEASED_CMDLINE_H */
