/* SPDX-License-Identifier: MIT */
/*
 * Which pages of a process are pinned nothing tells; VmPin says only how many.
 * So frames are noted at equal distances, of all of its anonymous memory, and
 * what is still held of them after the exit stands for the rest (held.c).
 *
 * Other references are in no count at all.  So of a process without pinned pages
 * some frames are noted as well, of the words of pagemap that are read anyhow
 * (sample.c).  A few of them are asked afterwards, and all if one of those is held.
 */
#include "process/process.h"

/* Frames of one process, if there is room; and of a mapping of an object. */
#define MANY_FRAMES   512
#define OBJECT_FRAMES 32
/* Without pinned pages: to be noted, and to be asked first. */
#define SAMPLE_FRAMES 256
#define FIRST_FRAMES  64

static bool note_page(struct held *h, const struct victim *v, uint64_t at,
		      uint64_t step)
{
	uint64_t word;

	if (sys_pread(v->pagemap_fd, &word, 8, at / getpagesize() * 8) != 8 ||
	    (word & (PM_PRESENT | PM_FILE | PM_EXCLUSIVE)) !=
		    (PM_PRESENT | PM_EXCLUSIVE))
		return true;
	return held_note(h, HELD_ANON, word, step, 0);
}

void pins_sample(struct objects *o, struct victim *v, uint64_t bytes,
		 uint64_t words)
{
	const uint64_t page = getpagesize(), pages = MIN(bytes / page, words);
	struct held *h = &o->held;
	uint32_t room = MAX_HELD / 2 / MAX(h->members, 1u);
	uint32_t want = MIN(MAX(room, 1u), SAMPLE_FRAMES);

	h->every = 0;
	if (v->pinned_bytes >= LITTLE_BYTES)
		return;
	v->frames = (struct held_row){
		.first = h->nr,
		.step = MAX(bytes / want, page),
	};
	if (bytes < LITTLE_BYTES)
		return;
	/* Odd: not the same page of each cluster. */
	h->every = pages / want | 1;
	h->met = 0;
	h->end = MIN(h->nr + 2 * want, MAX_HELD);
}

void pins_sample_word(struct objects *o, struct victim *v, uint64_t word)
{
	struct held *h = &o->held;

	if (!h->every || h->nr >= h->end || h->met++ % h->every)
		return;
	held_note_later(h, word);
	v->frames.nr = h->nr - v->frames.first;
}

void pins_note(struct objects *o, struct victim *v)
{
	const struct mrelease_entry *k = v->rep.kinds;
	uint64_t bytes = k[MRELEASE_ANON].before_bytes +
			 k[MRELEASE_PINNED].before_bytes +
			 k[MRELEASE_COW].before_bytes + v->huge.bytes;
	const uint64_t page = getpagesize();
	struct pages_region r[256];
	struct pages_scan scan = {
		.all_of = PAGES_PRESENT,
		.none_of = PAGES_FILE,
		.regions = r,
		.room = ARRAY_SIZE(r),
	};
	uint64_t want = MIN((MAX_HELD - o->held.nr) / 2, MANY_FRAMES), skip = 0;

	if (v->pinned_bytes < LITTLE_BYTES)
		return;
	v->frames = (struct held_row){ .first = o->held.nr };
	if (v->pagemap_fd < 0 || !want)
		return;
	v->frames.step = (bytes / page + want - 1) / want * page;
	do {
		int n = pages_scan(v->pagemap_fd, &scan);

		for (int i = 0; i < n; i++) {
			uint64_t at = r[i].start + skip;

			for (; at < r[i].end; at += v->frames.step)
				if (!note_page(&o->held, v, at, v->frames.step))
					goto out;
			skip = at - r[i].end;
		}
		if (n < 0)
			break;
	} while (scan.more);
out:
	v->frames.nr = o->held.nr - v->frames.first;
}

void pins_note_object(struct objects *o, struct object *ob,
		      const struct victim *v, const struct mapping *m)
{
	const uint64_t page = getpagesize(), pages = (m->end - m->start) / page;
	const uint64_t step = pages / OBJECT_FRAMES + 1;

	ob->may_be_pinned = true;
	for (uint64_t at = 0; !ob->hugetlb && at < pages; at += step) {
		uint64_t word;

		if (sys_pread(v->pagemap_fd, &word, 8,
			      (m->start / page + at) * 8) != 8 ||
		    (word & (PM_PRESENT | PM_FILE)) != (PM_PRESENT | PM_FILE))
			continue;
		if (!held_note(&o->held, HELD_OBJECT, word,
			       MIN(step, pages - at) * page, ob - o->object))
			return;
	}
}

uint64_t pins_held(struct objects *o, const struct victim *v,
		   enum held_type type, uint64_t bytes, uint64_t *ret_unsure)
{
	const struct held_row *row = &v->frames;
	unsigned int noted, aside;
	unsigned int nr = held_count(&o->held, row, type, &noted, &aside);
	uint64_t error = 0;

	*ret_unsure = 0;
	if (!row->nr)
		return UINT64_MAX;
	if (row->step > (uint64_t)getpagesize())
		error = noted ? 3 * bytes / noted : bytes;
	/* Of those that were noted. */
	if (!nr || !noted) {
		error += (unsigned __int128)bytes * aside / (noted + !noted);
		*ret_unsure = MIN(error, bytes);
		return 0;
	}
	/* As much as can be, for all that the sample tells. */
	if (error)
		error = MAX(error, sample_error(bytes, noted, noted, nr, noted,
						nr, nr));
	error = MIN(error, bytes);
	return MIN((unsigned __int128)bytes * nr / noted + error, bytes);
}

/*
 * Clusters of pages are alike: each counts as one, however many frames of it were
 * noted.  Of what no frame is held of nothing is said, as where none are shown.
 */
uint64_t pins_referenced(struct objects *o, const struct victim *v,
			 uint64_t bytes, uint64_t *ret_unsure)
{
	const struct held_row *row = &v->frames;
	unsigned int noted, aside, nr, n, m;
	uint64_t left, error;

	*ret_unsure = 0;
	if (!row->nr || !held_open(&o->held) ||
	    !held_any(&o->held, row, FIRST_FRAMES))
		return 0;
	nr = held_count(&o->held, row, HELD_SAMPLED, &noted, &aside);
	if (!noted)
		return 0;
	left = (unsigned __int128)bytes * aside / noted;
	if (left >= LITTLE_BYTES)
		*ret_unsure = left;
	left = (unsigned __int128)bytes * nr / noted;
	if (left < LITTLE_BYTES)
		return 0;
	if (nr == noted)
		return bytes;
	n = MIN(noted, FIRST_FRAMES);
	m = (nr * n + noted - 1) / noted;
	error = row->step > (uint64_t)getpagesize() ?
			MAX(3 * bytes / noted,
			    sample_error(bytes, n, n, m, n, m, m)) :
			0;
	return MIN(left + MIN(error, bytes), bytes);
}
