/* SPDX-License-Identifier: MIT */
/* Command lines, for which a reader may have to wait. */
#ifndef MRELEASED_CMDLINE_H
#define MRELEASED_CMDLINE_H

#include <sys/types.h>

/*
 * That of a process, with blanks between the arguments, until the next call.
 * NULL: it could not be read, or not in time.  One thread calls this.
 */
const char *cmdline_read(int proc_fd, pid_t pid);

#endif /* MRELEASED_CMDLINE_H */
