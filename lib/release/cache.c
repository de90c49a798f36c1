/* SPDX-License-Identifier: MIT */
/*
 * Page cache that only the victim mapped, when it is asked for.
 *
 * The files are opened through /proc/PID/map_files while the address space
 * is there, and POSIX_FADV_DONTNEED is given for the mapped ranges once the
 * mappings are gone.  Pages that are dirty, or that others map, stay:
 * the kernel's own rule.
 *
 * To open a file can be to wait for the victim, if it watches the file with
 * fanotify(7), and while it is held it answers nobody.  So the tracer of one process
 * has it opened by another (second.c), and gives that up.  Workers of a group only
 * name the files (O_PATH), and open them when the member is let go.  In the
 * caller's table they would not: nothing marks such a file as ours (files.c).
 *
 * Only files of devices that are local are opened (local.c).
 */
#include <linux/stat.h>
#include <string.h>
#include <sys/mman.h>

#include "release/release.h"

#define READ_ONLY (O_RDONLY | O_NONBLOCK | O_NOCTTY)

static void hex(char **p, uint64_t n)
{
	int shift = 60;

	while (shift > 0 && !(n >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*(*p)++ = "0123456789abcdef"[n >> shift & 15];
}

static int open_mapping(struct release *r, const struct victim *v,
			const struct mapping *m)
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
	if (r->cache->later)
		return sys_openat(v->dir_fd, path, O_PATH);
	return second_open(r, v, path, READ_ONLY);
}

/*
 * Linux before 6.5, and for an overlay's file: a mapping of our own, and which
 * of it is resident.
 */
static int64_t cached_by_mincore(const struct cache_range *r, int fd)
{
	const uint64_t page = getpagesize(), chunk = 4096 * page;
	unsigned char vec[4096];
	int64_t bytes = 0;

	for (uint64_t off = 0; off < r->len; off += chunk) {
		uint64_t n = MIN(r->len - off, chunk);
		long p = sys6(SYS_mmap, 0, n, PROT_READ, MAP_SHARED, fd,
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
static int64_t cached(const struct cache_range *r, int fd)
{
	uint64_t range[2] = { r->offset, r->len };
	uint64_t stat[5];

	if (!r->overlay && sys_cachestat(fd, range, stat) == 0)
		return (int64_t)(stat[0] * getpagesize());
	return cached_by_mincore(r, fd);
}

static void add_mapping(struct release *rel, struct victim *v,
			const struct mapping *m, bool overlay)
{
	struct cache *c = rel->cache;
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
		fd = open_mapping(rel, v, m);
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
		r->before = cached(r, fd);
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
void cache_open(struct release *r, struct victim *v, struct scratch *s)
{
	struct cache *c = r->cache;
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
			add_mapping(r, v, &m, is == LOCAL_OVERLAY);
		else if (!is_memory(&m))
			v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
	}
	if (l.error < 0 || (!c->nr && !l.offset))
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
}

static void evict(struct cache_range *r, bool by_kernel, int fd,
		  struct victim *v)
{
	int64_t before = by_kernel ? r->before : cached(r, fd), after;

	if (!by_kernel)
		sys_fadvise(fd, r->offset, r->len, POSIX_FADV_DONTNEED);
	after = cached(r, fd);
	if (before < 0 || after < 0)
		v->rep.notes |= MRELEASE_NOTE_CACHE_PARTIAL;
	else if (before > after)
		v->rep.cache_evicted_bytes += before - after;
}

void cache_evict(struct cache *c, struct victim *v)
{
	cleanup_fd int file = -EBADF;
	int of = -EBADF;

	for (unsigned int i = 0; i < c->nr; i++) {
		struct cache_range *r = &c->ranges[i];
		char path[64];

		if (c->later && r->fd != of) {
			close_keep(&file);
			path_number(path, "/proc/self/fd/", r->fd, "");
			file = sys_openat(AT_FDCWD, path, READ_ONLY);
			of = r->fd;
		}
		evict(r, c->by_kernel, c->later ? file : r->fd, v);
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
