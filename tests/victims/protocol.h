/* SPDX-License-Identifier: MIT */
/*
 * How tests and victims talk to each other.
 *
 * Every victim speaks one protocol over file descriptors it inherits:
 *   3, READY_FD: it writes "ready PID HELPER ADDR LEN\n" once it stands where
 *      its name says.  PID is the process to release, HELPER the one that
 *      holds it there (tracer, reader, sharer, server) or 0, ADDR and LEN the
 *      private memory whose return can be looked for in pagemap.
 *   4, CTL_FD: end-of-file means that the test is gone or done, and every
 *      process that holds it exits.  A byte is a command: 'v' verifies the memory and
 *      answers "ok\n" or "bad\n" on READY_FD, others belong to the victim.
 *   5, SHM_FD: memory that the test shares with it, for those that need it.
 */
#ifndef VICTIM_PROTOCOL_H
#define VICTIM_PROTOCOL_H

#define READY_FD 3
#define CTL_FD	 4
#define SHM_FD	 5

/* Exit status of a victim that cannot be had here; its reason is on stderr */
#define VICTIM_SKIP 77

#endif /* VICTIM_PROTOCOL_H */
