/* SPDX-License-Identifier: MIT */
/*
 * PAGEMAP_SCAN (Linux 6.7): which pages of an address space are there.  It
 * walks the page tables that exist, so a reserved terabyte costs nothing.
 * PROCMAP_QUERY (Linux 6.11): whether a mapping of a kind is there, without a
 * line of text for each that is not.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "os/os.h"

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

#define SCAN _IOWR('f', 16, struct scan_arg)

/* As far as user addresses go; the kernel refuses what is beyond. */
static const uint64_t ends[] = {
#if defined(__x86_64__)
	(1ULL << 56) - 4096,
	(1ULL << 47) - 4096,
#elif defined(__riscv)
	(1ULL << 56) - 4096,
	(1ULL << 47) - 4096,
	(1ULL << 38) - 4096,
#else
	(1ULL << 63) - (1ULL << 30), (1ULL << 56) - 4096, (1ULL << 52) - 4096,
	(1ULL << 48) - 4096,	     (1ULL << 47) - 4096, (1ULL << 47) - 65536,
	(1ULL << 42) - 4096,	     (1ULL << 39) - 4096, (1ULL << 36) - 4096,
#endif
};

/* Which of them this machine has, as far as was found out. */
static unsigned int first_end;

static long scan(int fd, struct pages_scan *s, uint64_t end)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = s->start,
		.end = end,
		.vec = (uintptr_t)s->regions,
		.vec_len = s->room,
		.category_inverted = s->none_of,
		.category_mask = s->none_of | s->all_of,
		.category_anyof_mask = s->any_of,
		.return_mask = s->all_of | s->any_of | s->also,
	};
	long n;

	do {
		n = sys_ioctl(fd, SCAN, &arg);
	} while (n == -EINTR);
	if (n >= 0)
		s->start = arg.walk_end;
	s->more = n >= 0 && arg.walk_end < end;
	return n;
}

int pages_scan(int fd, struct pages_scan *s)
{
	unsigned int i = __atomic_load_n(&first_end, __ATOMIC_RELAXED);
	long n;

	if (s->end)
		return scan(fd, s, s->end);
	for (;; i++) {
		n = scan(fd, s, ends[i]);
		if (n != -EFAULT || i == ARRAY_SIZE(ends) - 1)
			break;
	}
	if (n >= 0)
		__atomic_store_n(&first_end, i, __ATOMIC_RELAXED);
	return n;
}

/* struct procmap_query of <linux/fs.h>, Linux 6.11. */
struct query_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t addr;
	uint64_t vma[6];
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t name_size;
	uint32_t build_id_size;
	uint64_t name_addr;
	uint64_t build_id_addr;
};

#define QUERY	       _IOWR('f', 17, struct query_arg)
#define QUERY_WRITABLE 0x02
#define QUERY_SHARED   0x08
#define QUERY_NEXT     0x10

int mappings_lend(int maps_fd)
{
	struct query_arg arg = {
		.size = sizeof(arg),
		.flags = QUERY_WRITABLE | QUERY_SHARED | QUERY_NEXT,
	};
	int ret = sys_ioctl(maps_fd, QUERY, &arg);

	if (ret == 0)
		return 1;
	return ret == -ENOENT ? 0 : ret;
}
