/* SPDX-License-Identifier: MIT */
/*
 * Page cache that only the victim mapped, when it is asked for.
 *
 * The files are opened through /proc/PID/map_files while the address space
 * is there, and POSIX_FADV_DONTNEED is given for the mapped ranges once the
 * mappings are gone.  Pages that are dirty, or that others map, stay:
 * the kernel's own rule.
 *
 * Only files of devices that are local are opened (local.c).
 */
#include <linux/stat.h>
#include <string.h>
#include <sys/mman.h>

#include "release/release.h"

static void hex(char **p, uint64_t n)
{
	int shift = 60;

	while (shift > 0 && !(n >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*(*p)++ = "0123456789abcdef"[n >> shift & 15];
}

static int open_mapping(const struct victim *v, const struct mapping *m)
{
	char path[64] = "map_files/";
	char *p = path + strlen(path);
	struct statx stx;

	hex(&p, m->start);
	*p++ = '-';
	hex(&p, m->end);
	*p = '\0';
	/* Before it is opened: that of a device may do anything. */
	if (sys_statx(v->dir_fd, path, 0, STATX_TYPE, &stx) < 0 ||
	    (stx.stx_mode & S_IFMT) != S_IFREG)
		return -EINVAL;
	return sys_openat(v->dir_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/*
 * Linux before 6.5, and for an overlay's file: a mapping of our own, and which
 * of it is resident.
 */
static int64_t cached_by_mincore(const struct cache_range *r)
{
	const uint64_t page = getpagesize(), chunk = 4096 * page;
	unsigned char vec[4096];
	int64_t bytes = 0;

	for (uint64_t off = 0; off < r->len; off += chunk) {
		uint64_t n = MIN(r->len - off, chunk);
		long p = sys6(SYS_mmap, 0, n, PROT_READ, MAP_SHARED, r->fd,
			      r->offset + off);
		long ret;

		if (p < 0)
			return p;
		ret = sys3(SYS_mincore, p, n, vec);
		sys_munmap(p, n);
		if (ret < 0)
			return ret;
		for (uint64_t i = 0; i < n / page; i++)
			if (vec[i] & 1)
				bytes += page;
	}
	return bytes;
}

/* Bytes of the range that are in the page cache. */
static int64_t cached(const struct cache_range *r)
{
	uint64_t range[2] = { r->offset, r->len };
	uint64_t stat[5];

	if (!r->overlay && sys_cachestat(r->fd, range, stat) == 0)
		return (int64_t)(stat[0] * getpagesize());
	return cached_by_mincore(r);
}

static void add_mapping(struct cache *c, struct victim *v,
			const struct mapping *m, bool overlay)
{
	struct cache_range *r = &c->ranges[c->nr];
	int fd = -EBADF;

	if (c->nr == ARRAY_SIZE(c->ranges)) {
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
		return;
	}
	for (unsigned int i = 0; i < c->nr && fd < 0; i++)
		if (c->ranges[i].inode == m->inode &&
		    c->ranges[i].major == m->major &&
		    c->ranges[i].minor == m->minor)
			fd = c->ranges[i].fd;
	r->owner = fd < 0;
	if (fd < 0)
		fd = open_mapping(v, m);
	if (fd < 0) {
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
		return;
	}
	r->fd = fd;
	r->overlay = overlay;
	r->major = m->major;
	r->minor = m->minor;
	r->inode = m->inode;
	r->offset = m->offset;
	r->len = m->end - m->start;
	c->nr++;
	if (c->by_kernel)
		r->before = cached(r);
}

/* shmem and the like: not page cache that could be evicted. */
static bool is_memory(const struct mapping *m)
{
	static const char *const names[] = {
		"/memfd:", "/dev/", "/SYSV", "/anon_hugepage", "anon_inode:",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (has_prefix(m->path, m->path_len, names[i]))
			return true;
	return false;
}

/* While the address space is there: which files, and which parts of them. */
void cache_open(struct cache *c, struct victim *v, struct scratch *s)
{
	const size_t half = sizeof(s->buf) / 2;
	const char *line;
	struct lines l;
	size_t len;

	c->nr = 0;
	local_find(&c->local, s->buf, half);
	if (v->maps_fd < 0 || v->dir_fd < 0) {
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
		return;
	}
	lines_open(&l, v->maps_fd, s->buf + half, half);
	while (lines_next(&l, &line, &len)) {
		struct mapping m;
		enum local_is is;

		if (parse_mapping(line, len, &m) < 0 || !m.inode)
			continue;
		is = local_device(&c->local, m.major, m.minor, s->buf, half);
		if (is != LOCAL_NO)
			add_mapping(c, v, &m, is == LOCAL_OVERLAY);
		else if (!is_memory(&m))
			v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
	}
	if (l.error < 0 || (!c->nr && !l.offset))
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
}

/* Once the mappings are gone. */
void cache_evict(struct cache *c, struct victim *v)
{
	for (unsigned int i = 0; i < c->nr; i++) {
		struct cache_range *r = &c->ranges[i];
		int64_t before = c->by_kernel ? r->before : cached(r), after;

		if (!c->by_kernel)
			sys_fadvise(r->fd, r->offset, r->len,
				    POSIX_FADV_DONTNEED);
		after = cached(r);
		if (before < 0 || after < 0)
			v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
		else if (before > after)
			v->rep.cache_evicted_bytes += before - after;
	}
	cache_close(c);
}

void cache_close(struct cache *c)
{
	for (unsigned int i = 0; i < c->nr; i++)
		if (c->ranges[i].owner)
			sys_close(c->ranges[i].fd);
	c->nr = 0;
}
