/* SPDX-License-Identifier: MIT */
/*
 * What members of a group share copy-on-write with one another only.
 *
 * A fork(2) moves no page, so relatives have a shared page at the same address:
 * those that map the same frame there are counted, and /proc/kpagecount says
 * how often the frame is mapped in all.  As often: then nobody else has it, and
 * it goes with the last of them.
 */
#include "process/process.h"

/* Some pages of a cluster, at equal distances. */
struct frames {
	unsigned int every;
	unsigned int nr;
	uint64_t frame[KIN_COMPARE];
	/* By all processes, and by our members; 0: not a page to be compared. */
	uint64_t mapped[KIN_COMPARE];
	uint64_t found[KIN_COMPARE];
};

static bool is_shared(uint64_t word)
{
	return (word & (PM_PRESENT | PM_FILE | PM_EXCLUSIVE)) == PM_PRESENT;
}

static void choose(struct kin *k, struct frames *f, const uint64_t *words,
		   unsigned int nr)
{
	f->every = nr / KIN_COMPARE + !!(nr % KIN_COMPARE);
	f->nr = 0;
	for (unsigned int at = 0; at < nr; at += f->every) {
		uint64_t *mapped = &f->mapped[f->nr];
		uint64_t frame = words[at] & PM_FRAME;

		*mapped = 0;
		f->found[f->nr] = 0;
		f->frame[f->nr++] = frame;
		if (!is_shared(words[at]))
			continue;
		k->blind |= !frame;
		if (frame && sys_pread(k->counts_fd, mapped, 8, frame * 8) != 8)
			*mapped = 0;
	}
}

/* False: every frame was found as often as it is mapped. */
static bool find_in(const struct victim *p, struct frames *f, uint64_t start)
{
	uint64_t words[WIDE];
	unsigned int last = (f->nr - 1) * f->every;
	bool more = false;
	long n = 0;

	if (p->pagemap_fd >= 0)
		n = sys_pread(p->pagemap_fd, words, (last + 1) * 8,
			      start / getpagesize() * 8);
	for (unsigned int i = 0; i < f->nr; i++) {
		const long at = (long)i * f->every;

		if (!f->mapped[i])
			continue;
		if (at < n / 8 && is_shared(words[at]) &&
		    (words[at] & PM_FRAME) == f->frame[i])
			f->found[i]++;
		more |= f->found[i] < f->mapped[i];
	}
	return more;
}

static void add_cluster(struct kin *k, struct victim *v, const struct frames *f)
{
	uint64_t pages = 0, ours = 0, others = 0;

	for (unsigned int i = 0; i < f->nr; i++) {
		if (!f->mapped[i])
			continue;
		pages++;
		if (f->found[i] >= f->mapped[i])
			ours += KIN_PART / f->found[i];
		else
			others += KIN_PART / MAX(f->found[i], 1u);
	}
	v->kinship.pages += pages;
	v->kinship.ours += ours;
	v->kinship.others += others;
	if (!pages)
		return;
	k->nr++;
	k->pages += pages;
	k->ours += ours;
	k->pages2 += pages * pages;
	k->ours2 += ours * ours;
	k->both += pages * ours;
}

void kin_compare(struct kin *k, struct victim *v, uint64_t start,
		 const uint64_t *words, unsigned int nr)
{
	const struct victim *p = v;
	struct frames f;

	k->blind |= k->counts_fd < 0;
	if (k->blind)
		return;
	choose(k, &f, words, nr);
	do {
		if (!find_in(p, &f, start))
			break;
		p = p->kinship.next;
	} while (p != v);
	add_cluster(k, v, &f);
}
