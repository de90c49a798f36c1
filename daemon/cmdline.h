/* SPDX-License-Identifier: MIT */
/* Command lines, for which a reader may have to wait. */
#ifndef MRELEASED_CMDLINE_H
#define MRELEASED_CMDLINE_H

#include <stdint.h>
#include <sys/types.h>

/*
 * That of a process, with blanks between the arguments, until the next call; of a
 * very long one the first 64 KiB.  0, -EBUSY: not in time, or -errno, and NULL.
 * It waits until @until_ns at most.  Only one thread may call this.
 */
int cmdline_read(int proc_fd, pid_t pid, int64_t until_ns, const char **ret);

#endif /* MRELEASED_CMDLINE_H */
