/* SPDX-License-Identifier: MIT */
/* Entries of the account, and their arithmetic. */
#include <string.h>

#include "process/account.h"

/* Page tables of so much, and of so much of the memory, are ordinary. */
#define TABLES_BYTES (1ULL << 20)
#define TABLES_SHARE 256

static void open_entry(struct mrelease_entry *e, uint64_t bytes)
{
	memset(e, 0, sizeof(*e));
	e->before_bytes = bytes;
	e->exclusive_bytes = bytes;
}

void account_open(struct mrelease_report *rep, const struct memory *m)
{
	struct mrelease_entry *k = rep->kinds;
	uint64_t sum = m->anon + m->swap + m->shmem + m->hugetlb + m->file;
	uint64_t ordinary = TABLES_BYTES + sum / TABLES_SHARE;
	uint64_t pinned = MIN(m->pinned, m->anon);

	open_entry(&k[MRELEASE_ANON], m->anon - pinned);
	open_entry(&k[MRELEASE_PINNED], pinned);
	open_entry(&k[MRELEASE_SWAP], m->swap);
	open_entry(&k[MRELEASE_SHMEM], m->shmem);
	open_entry(&k[MRELEASE_HUGETLB], m->hugetlb);
	open_entry(&k[MRELEASE_TABLES], m->tables > ordinary ? m->tables : 0);
	open_entry(&k[MRELEASE_CACHE], m->file);
	k[MRELEASE_CACHE].exclusive_bytes = 0;
	k[MRELEASE_CACHE].kept_bytes = m->file;
	account_total(rep);
}

uint64_t account_private(const struct mrelease_report *rep)
{
	return rep->kinds[MRELEASE_ANON].before_bytes +
	       rep->kinds[MRELEASE_COW].before_bytes +
	       rep->kinds[MRELEASE_PINNED].before_bytes +
	       rep->kinds[MRELEASE_SWAP].before_bytes;
}

void account_guess(struct mrelease_report *rep, uint64_t exclusive,
		   uint64_t anon)
{
	struct mrelease_entry *e = &rep->kinds[MRELEASE_ANON];
	struct mrelease_entry *cow = &rep->kinds[MRELEASE_COW];
	uint64_t bytes = e->before_bytes + cow->before_bytes;

	e->before_bytes = bytes;
	if (anon)
		e->before_bytes = (unsigned __int128)bytes * exclusive / anon;
	e->exclusive_bytes = e->before_bytes;
	e->unsure_bytes = e->before_bytes;
	cow->before_bytes = bytes - e->before_bytes;
	cow->kept_bytes = cow->before_bytes;
	cow->reason = cow->before_bytes ? MRELEASE_REASON_COW : 0;
	account_total(rep);
}

void account_settle(struct mrelease_entry *e, uint64_t outstanding,
		    enum mrelease_reason reason,
		    enum mrelease_evidence evidence)
{
	e->outstanding_bytes = MIN(outstanding, e->exclusive_bytes);
	e->back_bytes = e->exclusive_bytes - e->outstanding_bytes;
	e->kept_bytes = e->before_bytes - e->exclusive_bytes;
	if (e->outstanding_bytes)
		e->reason = reason;
	if (e->back_bytes)
		e->evidence = evidence;
	e->unsure_bytes = MIN(e->unsure_bytes, e->back_bytes);
}

void account_disown(struct mrelease_report *rep)
{
	for (unsigned int i = 0; i < MRELEASE_CACHE; i++) {
		struct mrelease_entry *e = &rep->kinds[i];

		if (e->back_bytes && !e->outstanding_bytes)
			e->reason = MRELEASE_REASON_CLAIMED;
		e->exclusive_bytes -= MIN(e->back_bytes, e->exclusive_bytes);
		e->kept_bytes += e->back_bytes;
		e->back_bytes = 0;
		e->unsure_bytes = 0;
		e->evidence = MRELEASE_EVIDENCE_NONE;
	}
}

void account_add(struct mrelease_entry *sum, const struct mrelease_entry *e)
{
	sum->before_bytes += e->before_bytes;
	sum->exclusive_bytes += e->exclusive_bytes;
	sum->back_bytes += e->back_bytes;
	sum->outstanding_bytes += e->outstanding_bytes;
	sum->kept_bytes += e->kept_bytes;
	sum->unsure_bytes += e->unsure_bytes;
	/* What is outstanding says more than what is kept. */
	if (!sum->reason || (e->outstanding_bytes && !sum->outstanding_bytes)) {
		sum->reason = e->reason;
		sum->holder_pid = e->holder_pid;
	}
	sum->evidence = MAX(sum->evidence, e->evidence);
}

void account_total(struct mrelease_report *rep)
{
	struct mrelease_entry sum = { 0 };

	for (unsigned int i = 0; i < MRELEASE_CACHE; i++)
		account_add(&sum, &rep->kinds[i]);
	rep->before_bytes = sum.before_bytes;
	rep->exclusive_bytes = sum.exclusive_bytes;
	rep->released_bytes = sum.back_bytes;
	rep->outstanding_bytes = sum.outstanding_bytes;
	rep->kept_bytes = sum.kept_bytes;
	rep->unsure_bytes = sum.unsure_bytes;
}
