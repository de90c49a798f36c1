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
#include <sys/ioctl.h>

#include "private.h"

struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

/* struct pm_scan_arg of <linux/fs.h>, Linux 6.7. */
struct scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define SCAN	     _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE    (1 << 2)
#define SCAN_PRESENT (1 << 3)
#define SCAN_SWAPPED (1 << 4)
#define SCAN_HUGE    (1 << 6)

/* pagemap: swapped and present are bits 62 and 63, file or shared is 61. */
#define PM_FILE	 (1ULL << 61)
#define PM_THERE (3ULL << 62)
/* At most this many words of pagemap: 64 GiB of 4 KiB pages. */
#define PM_BUDGET (16ULL << 20)

struct leftover {
	struct page_region regions[64];
	unsigned int nr;
};

static uint64_t overlap(const struct mapping *m, const struct page_region *p)
{
	uint64_t start = MAX(m->start, p->start);
	uint64_t end = MIN(m->end, p->end);

	return end > start ? end - start : 0;
}

static bool path_is(const struct mapping *m, const char *prefix)
{
	return has_prefix(m->path, m->path_len, prefix);
}

/* Mappings whose pages are not memory of the process. */
static bool not_memory(const struct mapping *m)
{
	if (m->shared || path_is(m, "[v"))
		return true;
	return path_is(m, "/dev/") && !path_is(m, "/dev/shm/") &&
	       !path_is(m, "/dev/zero") && !path_is(m, "/dev/hugepages/");
}

/*
 * Which of the regions lie in private mappings, and in which?
 *
 * What lies in no mapping that maps would show is still there all the same:
 * opened after the exit, maps is empty, whoever holds the address space.
 */
static int classify(struct victim *v, struct scratch *s,
		    const struct leftover *left, uint64_t *bytes,
		    uint64_t *hugetlb)
{
	uint64_t unexplained = 0;
	const char *line;
	struct lines l;
	size_t len;

	for (unsigned int i = 0; i < left->nr; i++)
		unexplained += left->regions[i].end - left->regions[i].start;
	lines_open(&l, v->maps_fd, s->buf, sizeof(s->buf));
	while (lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0)
			continue;
		for (unsigned int i = 0; i < left->nr; i++) {
			const struct page_region *p = &left->regions[i];
			uint64_t n = overlap(&m, p);

			unexplained -= MIN(n, unexplained);
			if (not_memory(&m))
				continue;
			/* A THP would have been reaped, hugetlb is not. */
			if (path_is(&m, "/anon_hugepage") ||
			    (v->rep.before.hugetlb_bytes &&
			     p->categories & SCAN_HUGE))
				*hugetlb += n;
			else
				*bytes += n;
		}
	}
	*bytes += unexplained;
	return l.error;
}

static int verify_scan(struct victim *v, struct scratch *s, uint64_t *bytes,
		       uint64_t *hugetlb)
{
	struct leftover left;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.vec = (uintptr_t)left.regions,
		.vec_len = ARRAY_SIZE(left.regions),
		.category_inverted = SCAN_FILE,
		.category_mask = SCAN_FILE,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_PRESENT | SCAN_SWAPPED | SCAN_HUGE,
	};
	/* As far as user addresses go; the kernel says where it stopped. */
	static const uint64_t ends[] = {
		(1ULL << 63) - (1ULL << 30), (1ULL << 56) - 4096,
		(1ULL << 52) - 4096,	     (1ULL << 47) - 4096,
		(1ULL << 47) - 65536,	     (1ULL << 39) - 4096,
		(1ULL << 38) - 4096,
	};
	unsigned int i = 0;
	long n;

	do {
		arg.end = ends[i];
		n = sys_ioctl(v->pagemap_fd, SCAN, &arg);
		if (n == -EINTR)
			continue;
		/* Not in this machine's address space: try a smaller one. */
		if (n == -EFAULT && ++i < ARRAY_SIZE(ends))
			continue;
		if (n < 0)
			return n;
		left.nr = n;
		if (n && classify(v, s, &left, bytes, hugetlb) < 0)
			return -ESRCH;
		arg.start = arg.walk_end;
	} while (n < 0 || arg.walk_end < arg.end);
	return 0;
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

static int verify_words(struct victim *v, struct scratch *s, uint64_t *bytes,
			uint64_t *hugetlb)
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

		if (parse_mapping(line, len, &m) < 0 || not_memory(&m))
			continue;
		ret = count_words(v->pagemap_fd, &m, words, half / 8, &budget,
				  path_is(&m, "/anon_hugepage") ? hugetlb :
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
int verify_private(struct victim *v, struct scratch *s, uint64_t *ret_bytes,
		   uint64_t *ret_hugetlb)
{
	int ret;

	*ret_bytes = 0;
	*ret_hugetlb = 0;
	if (v->pagemap_fd < 0 || v->maps_fd < 0)
		return -EACCES;
	ret = verify_scan(v, s, ret_bytes, ret_hugetlb);
	if (ret < 0 && ret != -ESRCH) {
		*ret_bytes = 0;
		*ret_hugetlb = 0;
		ret = verify_words(v, s, ret_bytes, ret_hugetlb);
	}
	if (ret == 0 && victim_mm_users(v) != 1)
		ret = -ESRCH;
	return ret;
}
