/* SPDX-License-Identifier: MIT */
/*
 * Pages that are in no page table any more, and not free: pinned for a device
 * or io_uring (FOLL_PIN), or with a reference that no counter shows: in a pipe
 * (vmsplice(2)), or on its way to the network (MSG_ZEROCOPY).  The counters of the
 * system are moved by every process.  So frames are noted while they are mapped,
 * and /proc/kpageflags says afterwards what they are:
 *
 *	anonymous, in no page table	it has not been freed: that is when it
 *					ceases to be anonymous
 *	of shmem, in no page table	its object has gone, and it has not
 *	anything else			free, or somebody else's by now
 *
 * But for the last few that a CPU has put aside to add them to the LRU lists: each
 * CPU keeps up to 31, anonymous and unmapped, until it adds more, which an idle one
 * does not.  A pinned page is on a list, as a rule; one of these is not.
 *
 * A frame that was freed can be allocated by a stranger, and looks held for the
 * moment between its unmapping and its freeing:
 *
 *	we				a stranger
 *					allocates the frame, maps it
 *					exits: unmaps it
 *	anonymous, in no page table
 *					frees it
 *
 * So one look is not enough (verdict.c), and what was once seen not to be held is
 * not asked again.  A page that stays in the swap cache may be the stranger's, too,
 * and its memory is to be had: it counts as put aside.
 */
#include <string.h>

#include "process/process.h"

/* <linux/kernel-page-flags.h> */
#define KPF_ANON       (1ULL << 12)
#define KPF_SWAPBACKED (1ULL << 14)
#define KPF_HUGE       (1ULL << 17)
#define KPF_SWAPCACHE  (1ULL << 13)
#define KPF_LRU	       (1ULL << 5)
/* Of several pages: never put aside, and in older kernels not told of each page. */
#define KPF_COMPOUND_HEAD (1ULL << 15)
#define KPF_COMPOUND_TAIL (1ULL << 16)
#define KPF_COMPOUND	  (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL)
/* The biggest that is not of hugetlb, where pages are of 4 KiB. */
#define BIG_PAGES 512

enum now { FREE, PUT_ASIDE, HELD };

void held_init(struct held *h)
{
	h->flags_fd = h->counts_fd = -EBADF;
	h->nr = 0;
	h->members = 1;
	h->every = 0;
}

void held_close(struct held *h)
{
	close_keep(&h->flags_fd);
	close_keep(&h->counts_fd);
	h->nr = 0;
}

bool held_open(struct held *h)
{
	if (h->flags_fd == -EBADF) {
		h->flags_fd =
			sys_openat(AT_FDCWD, "/proc/kpageflags", O_RDONLY);
		h->counts_fd =
			sys_openat(AT_FDCWD, "/proc/kpagecount", O_RDONLY);
	}
	return h->flags_fd >= 0 && h->counts_fd >= 0;
}

static bool read_word(int fd, uint64_t frame, uint64_t *ret)
{
	return sys_pread(fd, ret, 8, frame * 8) == 8;
}

bool held_note(struct held *h, enum held_type type, uint64_t word,
	       uint64_t bytes, unsigned int object)
{
	uint64_t frame = word & PM_FRAME, flags;
	struct held_frame *f = &h->frame[h->nr];

	/* 0: not shown to us. */
	if (!frame || h->nr == MAX_HELD || !held_open(h) ||
	    !read_word(h->flags_fd, frame, &flags))
		return false;
	f->frame = frame;
	f->pages = bytes / getpagesize();
	f->object = object;
	f->type = type == HELD_ANON && flags & KPF_HUGE ? HELD_HUGE : type;
	h->nr++;
	return true;
}

void held_note_later(struct held *h, uint64_t word)
{
	uint64_t frame = word & PM_FRAME;

	if (!frame || h->nr == MAX_HELD)
		return;
	h->frame[h->nr++] = (struct held_frame){
		.frame = frame,
		.type = HELD_SAMPLED,
	};
}

/*
 * A page of a big one that another process has mapped in part: after a fork the
 * pages that were copied leave holes, which the kernel splits off and frees when it
 * needs memory.  Nobody has pinned them.
 */
static bool others_are_mapped(const struct held *h, uint64_t frame)
{
	uint64_t flags[BIG_PAGES], counts[BIG_PAGES];
	uint64_t first = frame - frame % BIG_PAGES;
	unsigned int from = frame % BIG_PAGES, to = from;

	if (sys_pread(h->flags_fd, flags, sizeof(flags), first * 8) !=
		    sizeof(flags) ||
	    sys_pread(h->counts_fd, counts, sizeof(counts), first * 8) !=
		    sizeof(counts))
		return false;
	while (from && !(flags[from] & KPF_COMPOUND_HEAD))
		from--;
	while (to + 1 < BIG_PAGES && flags[to + 1] & KPF_COMPOUND_TAIL)
		to++;
	for (unsigned int i = from; i <= to; i++)
		if (counts[i])
			return true;
	return false;
}

static enum now what_is(const struct held *h, const struct held_frame *f)
{
	uint64_t flags, count;

	if (!f->frame)
		return FREE;
	if (!read_word(h->flags_fd, f->frame, &flags))
		return HELD;
	if (f->type == HELD_OBJECT ?
		    !(flags & KPF_SWAPBACKED) || flags & KPF_ANON :
		    !(flags & KPF_ANON))
		return FREE;
	/* Mapped: it was freed, and is somebody else's. */
	if (read_word(h->counts_fd, f->frame, &count) && count)
		return FREE;
	/* Private huge pages of hugetlb have an entry of their own. */
	if (f->type == HELD_SAMPLED && flags & KPF_HUGE)
		return FREE;
	if (f->type != HELD_OBJECT && flags & KPF_SWAPCACHE)
		return PUT_ASIDE;
	if (f->type == HELD_SAMPLED && flags & KPF_COMPOUND &&
	    others_are_mapped(h, f->frame))
		return PUT_ASIDE;
	return flags & (KPF_LRU | KPF_COMPOUND | KPF_HUGE) ? HELD : PUT_ASIDE;
}

static enum now look(struct held *h, struct held_frame *f)
{
	enum now now = what_is(h, f);

	if (now == FREE)
		f->frame = 0;
	return now;
}

unsigned int held_count(struct held *h, const struct held_row *row,
			enum held_type type, unsigned int *ret_noted,
			unsigned int *ret_aside)
{
	unsigned int nr = 0;

	*ret_noted = 0;
	*ret_aside = 0;
	for (unsigned int i = row->first; i < row->first + row->nr; i++) {
		struct held_frame *f = &h->frame[i];

		if (f->type != type)
			continue;
		(*ret_noted)++;
		switch (look(h, f)) {
		case FREE:
			break;
		case PUT_ASIDE:
			(*ret_aside)++;
			break;
		case HELD:
			nr++;
			break;
		}
	}
	return nr;
}

bool held_any(struct held *h, const struct held_row *row, unsigned int few)
{
	unsigned int step = MAX(row->nr / few, 1u);
	bool any = false;

	for (unsigned int i = 0; i < row->nr; i += step)
		any |= look(h, &h->frame[row->first + i]) != FREE;
	return any;
}

uint64_t held_object(const struct held *h, unsigned int object,
		     unsigned int *ret_noted, uint64_t *ret_aside)
{
	uint64_t pages[] = { [FREE] = 0, [PUT_ASIDE] = 0, [HELD] = 0 };

	*ret_noted = 0;
	for (unsigned int i = 0; i < h->nr; i++) {
		const struct held_frame *f = &h->frame[i];

		if (f->type != HELD_OBJECT || f->object != object)
			continue;
		(*ret_noted)++;
		pages[what_is(h, f)] += f->pages;
	}
	*ret_aside = pages[PUT_ASIDE] * getpagesize();
	return pages[HELD] * getpagesize();
}
