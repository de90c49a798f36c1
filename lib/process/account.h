/* SPDX-License-Identifier: MIT */
/*
 * The account: what a process has, one entry for each kind of memory, and what
 * becomes of it.  An entry is opened before the kill (what was there, and how
 * much of it nobody else has) and settled once, by the verdict.
 */
#ifndef MRELEASE_ACCOUNT_H
#define MRELEASE_ACCOUNT_H

#include "os/os.h"

/* So little of which nothing can be told is not worth a word. */
#define LITTLE_BYTES (256ULL << 10)

/* From the counters of the kernel: everything is exclusive, as far as known. */
void account_open(struct mrelease_report *rep, const struct memory *m);
/* Anonymous memory and swap: what process_mrelease(2) can unmap. */
uint64_t account_private(const struct mrelease_report *rep);
/*
 * So much of what nobody else had is not known to be free, for that reason;
 * the rest of it is free, which the evidence shows.
 */
void account_settle(struct mrelease_entry *e, uint64_t outstanding,
		    enum mrelease_reason reason,
		    enum mrelease_evidence evidence);
/* Not counted: of its anonymous memory so much of so much is exclusive. */
void account_guess(struct mrelease_report *rep, uint64_t exclusive,
		   uint64_t anon);
/* Another release reports what is back: here it counts as kept. */
void account_disown(struct mrelease_report *rep);
/* Add a member's entry to that of its group. */
void account_add(struct mrelease_entry *sum, const struct mrelease_entry *e);
/* The sums over all kinds. */
void account_total(struct mrelease_report *rep);

#endif /* MRELEASE_ACCOUNT_H */
