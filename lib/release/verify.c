/* SPDX-License-Identifier: MIT */
/*
 * Is any of it still there?  Evidence, never a timer.
 *
 * PAGEMAP_SCAN (Linux 6.7) walks the page tables that exist, so a reserved
 * terabyte costs nothing.  Before, pagemap has a word for every page of the
 * address space, and the reading is bounded.
 *
 * A clean page table counts only while mm_users was not 0 (victim_mm_users()
 * after the scan): otherwise exit_mmap() may be at work, with pages out of
 * the page table but not yet given back.
 */
#include <string.h>

#include "release/release.h"

/* pagemap: swapped and present are bits 62 and 63, file or shared is 61. */
#define PM_FILE	 (1ULL << 61)
#define PM_THERE (3ULL << 62)
/* At most this many words of pagemap: 64 GiB of 4 KiB pages. */
#define PM_BUDGET (16ULL << 20)

/* What PAGEMAP_SCAN found, region by region. */
struct leftover {
	int fd;
	struct pages_scan scan;
	struct pages_region regions[64];
	int nr;
	int at;
	bool guards;
};

static bool path_is(const struct mapping *m, const char *prefix)
{
	return has_prefix(m->path, m->path_len, prefix);
}

/* More regions: 1, 0 at the end; or -errno. */
static int leftover_fill(struct leftover *left)
{
	left->at = 0;
	do {
		left->nr = pages_scan(left->fd, &left->scan);
		/* Guard pages are not told from swapped ones before 6.16. */
		if (left->nr == -EINVAL && left->scan.none_of & PAGES_GUARD) {
			left->scan.none_of &= ~(uint64_t)PAGES_GUARD;
			left->guards = true;
			left->scan.more = true;
			left->nr = 0;
		}
	} while (left->nr == 0 && left->scan.more);
	return left->nr < 0 ? left->nr : left->nr > 0;
}

/* The region at hand; NULL: there are no more. */
static struct pages_region *leftover_get(struct leftover *left)
{
	while (left->at < left->nr &&
	       left->regions[left->at].start >= left->regions[left->at].end)
		left->at++;
	if (left->at < left->nr)
		return &left->regions[left->at];
	if (!left->scan.more || leftover_fill(left) <= 0)
		return NULL;
	return leftover_get(left);
}

static void leftover_open(struct leftover *left, int fd)
{
	memset(left, 0, sizeof(*left));
	left->fd = fd;
	left->scan.any_of = PAGES_PRESENT | PAGES_SWAPPED;
	left->scan.also = PAGES_HUGE;
	left->scan.none_of = PAGES_FILE | PAGES_GUARD;
	left->scan.regions = left->regions;
	left->scan.room = ARRAY_SIZE(left->regions);
	left->scan.more = true;
}

/*
 * Bytes of the regions below that address, which are then done with; of those
 * that are huge pages only if that is asked for.
 */
static uint64_t leftover_take(struct leftover *left, uint64_t below, bool huge)
{
	struct pages_region *p;
	uint64_t bytes = 0;

	while ((p = leftover_get(left)) && p->start < below) {
		uint64_t end = MIN(p->end, below);

		if (huge || !(p->categories & PAGES_HUGE))
			bytes += end - p->start;
		p->start = end;
	}
	return bytes;
}

/* Guard pages pass for swapped ones: what does the kernel count? */
static bool nothing_swapped(struct victim *v)
{
	struct proc_status st;

	return victim_status(v, &st) == 0 && st.has_mm && !st.mem.swap &&
	       !st.mem.anon;
}

/*
 * Which of the regions lie in private mappings?  Both come in the order of
 * their addresses, so maps is read once, and only where there is something.
 *
 * What lies in no mapping that maps would show is still there all the same:
 * opened after the exit, maps is empty even if the address space is held.
 */
static int verify_scan(struct victim *v, struct scratch *s, uint64_t *bytes)
{
	struct leftover left;
	const char *line;
	struct lines l;
	size_t len;

	leftover_open(&left, v->pagemap_fd);
	if (!leftover_get(&left))
		return MIN(left.nr, 0);
	lines_open(&l, v->maps_fd, s->buf, sizeof(s->buf));
	while (leftover_get(&left) && lines_next(&l, &line, &len)) {
		struct mapping m;
		uint64_t n;

		if (parse_mapping(line, len, &m) < 0)
			continue;
		*bytes += leftover_take(&left, m.start, true);
		/*
		 * hugetlb is not unmapped from outside, and has an entry of
		 * its own.  A huge page in a mapping of a file is hugetlb:
		 * private copies of its pages are never transparent ones.
		 */
		n = leftover_take(&left, m.end, !m.inode);
		if (mapping_is_private(&m) && !path_is(&m, "/anon_hugepage"))
			*bytes += n;
	}
	*bytes += leftover_take(&left, UINT64_MAX, true);
	if (left.nr < 0)
		return left.nr;
	if (*bytes && left.guards && nothing_swapped(v))
		*bytes = 0;
	return l.error < 0 ? -ESRCH : 0;
}

/* A private mapping's words of pagemap; *budget goes down. */
static int count_words(int fd, const struct mapping *m, uint64_t *words,
		       unsigned int nr_words, uint64_t *budget, uint64_t *bytes)
{
	const uint64_t page = getpagesize();
	uint64_t addr = m->start;

	while (addr < m->end) {
		uint64_t want = MIN((m->end - addr) / page, nr_words);
		long n;

		if (want > *budget)
			return -E2BIG;
		*budget -= want;
		n = sys_pread(fd, words, want * 8, addr / page * 8);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		if (n == 0)
			return -ESRCH;
		for (long i = 0; i < n / 8; i++)
			if (words[i] & PM_THERE && !(words[i] & PM_FILE))
				*bytes += page;
		addr += n / 8 * page;
	}
	return 0;
}

static int verify_words(struct victim *v, struct scratch *s, uint64_t *bytes)
{
	/* Half the buffer for the lines of maps, half for the words. */
	const size_t half = sizeof(s->buf) / 2;
	uint64_t *words = (uint64_t *)(void *)(s->buf + half);
	uint64_t budget = PM_BUDGET;
	const char *line;
	struct lines l;
	size_t len;
	int ret;

	lines_open(&l, v->maps_fd, s->buf, half);
	while (lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0 ||
		    !mapping_is_private(&m) || path_is(&m, "/anon_hugepage"))
			continue;
		ret = count_words(v->pagemap_fd, &m, words, half / 8, &budget,
				  bytes);
		if (ret < 0)
			return ret;
	}
	/* An empty maps says nothing of what is there. */
	if (!l.offset)
		return -ENODATA;
	return l.error;
}

/*
 * 0: *ret_bytes are still there in private mappings, hugetlb apart.
 * -ESRCH: no address space any more.  Else it cannot be told.
 */
int verify_private(struct victim *v, struct scratch *s, uint64_t *ret_bytes)
{
	int ret;

	*ret_bytes = 0;
	if (v->pagemap_fd < 0 || v->maps_fd < 0)
		return -EACCES;
	ret = verify_scan(v, s, ret_bytes);
	if (ret < 0 && ret != -ESRCH) {
		*ret_bytes = 0;
		ret = verify_words(v, s, ret_bytes);
	}
	if (ret == 0 && victim_mm_users(v) != 1)
		ret = -ESRCH;
	return ret;
}
