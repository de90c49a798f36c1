/* SPDX-License-Identifier: MIT */
/*
 * shmem that no member maps is in no number of theirs: a buffer that was only
 * written, a file in tmpfs.  The memory controller charges the cgroup for it,
 * and goes on charging when all members are gone.
 */
#include "group/group.h"

/* The statistics are kept per CPU, and are as exact as that. */
#define SLACK_BYTES (1ULL << 20)
/* They follow a little later. */
#define SETTLE_NS (30 * NSEC_PER_MSEC)

/* UINT64_MAX: there is no controller, or it does not say. */
static uint64_t charged_shmem(struct group *g)
{
	char *buf = g->scratch.buf;
	uint64_t n;
	long len = read_file(g->fd, "memory.stat", buf, 65536);

	if (len <= 0 || (parse_key_u64(buf, len, "total_shmem", &n) < 0 &&
			 parse_key_u64(buf, len, "shmem", &n) < 0))
		return UINT64_MAX;
	return n;
}

static uint64_t above(uint64_t n, uint64_t known)
{
	n -= MIN(n, known);
	return n < SLACK_BYTES ? 0 : n;
}

void charges_before(struct group *g)
{
	struct mrelease_entry mapped = { 0 };
	uint64_t n = charged_shmem(g);

	g->charged_bytes = 0;
	if (n == UINT64_MAX)
		return;
	objects_entry(&g->objects, NULL, false, &mapped);
	g->charged_bytes = above(n, mapped.before_bytes);
}

void charges_after(struct group *g)
{
	struct mrelease_entry *e = &g->rep.kinds[MRELEASE_UNMAPPED];
	const struct mrelease_entry *mapped = &g->rep.kinds[MRELEASE_SHMEM];
	uint64_t stays = mapped->outstanding_bytes + mapped->kept_bytes, left;
	int64_t until = deadline_min(g->base.deadline_ns, now_ns() + SETTLE_NS);

	if (!g->charged_bytes)
		return;
	for (;;) {
		left = charged_shmem(g);
		if (left == UINT64_MAX)
			left = 0;
		/* One bound for all of which little is said. */
		left = above(left + g->base.untold, stays);
		if (!left || now_ns() >= until)
			break;
		pause_until(deadline_min(until, now_ns() + NSEC_PER_MSEC));
	}
	left -= MIN(left, g->base.untold);
	/* What members' descriptors hold is among it. */
	e->before_bytes = g->charged_bytes;
	e->exclusive_bytes = g->charged_bytes;
	e->kept_bytes = 0;
	account_settle(e, left, MRELEASE_REASON_CHARGED,
		       MRELEASE_EVIDENCE_MEMCG);
}

/*
 * What only members have open goes with them, unless somebody outside has it open
 * as well, which is not known; the rest has a name.
 */
void charges_foresee(struct group *g)
{
	struct mrelease_entry *e = &g->rep.kinds[MRELEASE_UNMAPPED];
	struct unmapped open = { .nr = 0 };
	int64_t until =
		deadline_min(g->base.deadline_ns, now_ns() + NSEC_PER_SEC);

	if (!g->charged_bytes)
		return;
	for (size_t i = 0; i < g->nr && now_ns() < until; i++) {
		const struct victim *v = g->victims[i];

		group_touch(g, v->pid);
		account_unmapped(&g->objects, v, &g->scratch, &open);
		group_touch(g, 0);
	}
	e->before_bytes = g->charged_bytes;
	e->exclusive_bytes = g->charged_bytes;
	e->unsure_bytes = MIN(open.bytes, g->charged_bytes);
	e->outstanding_bytes = g->charged_bytes - e->unsure_bytes;
	e->reason = e->outstanding_bytes ? MRELEASE_REASON_CHARGED : 0;
}
