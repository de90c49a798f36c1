/* SPDX-License-Identifier: MIT */
/* Which objects of shmem and hugetlb a process maps. */
#include <linux/stat.h>
#include <string.h>
#include <sys/mman.h>

#include "process/process.h"

/* Pages of a mapping that are asked who else has them. */
#define PROBES 16
/* And so many mappings of one object. */
#define MAX_PROBES 256
/* Between two questions whether there is time left. */
#define BUDGET_LINES 64

void objects_init(struct objects *o)
{
	o->nr = 0;
	o->nr_links = 0;
	o->nr_devices = 0;
	o->internal_known = false;
	o->more = false;
	o->little = false;
	o->asked = false;
	o->watch_fd = -EBADF;
	held_init(&o->held);
}

void objects_close(struct objects *o)
{
	for (unsigned int i = 0; i < o->nr_devices; i++)
		close_keep(&o->devices[i].fd);
	o->nr_devices = 0;
	close_keep(&o->watch_fd);
	held_close(&o->held);
}

bool objects_have_fd(const struct objects *o, int fd)
{
	for (unsigned int i = 0; i < o->nr_devices; i++)
		if (o->devices[i].fd == fd)
			return true;
	return fd == o->watch_fd || fd == o->held.flags_fd ||
	       fd == o->held.counts_fd;
}

static struct object_device *find_device(struct objects *o, uint32_t major,
					 uint32_t minor)
{
	for (unsigned int i = 0; i < o->nr_devices; i++)
		if (o->devices[i].major == major &&
		    o->devices[i].minor == minor)
			return &o->devices[i];
	return NULL;
}

static void add_device(struct objects *o, uint32_t major, uint32_t minor,
		       bool hugetlb, int fd)
{
	struct object_device *d = &o->devices[o->nr_devices];

	if (o->nr_devices == MAX_DEVICES ||
	    find_device(o, major, minor) != NULL) {
		close_keep(&fd);
		return;
	}
	o->nr_devices++;
	*d = (struct object_device){ major, minor, hugetlb, fd };
}

/* memfd, System V and shared anonymous memory are on mounts without a name. */
static void add_internal(struct objects *o, unsigned int flags)
{
	int fd = sys_memfd_create(MFD_CLOEXEC | flags);
	struct statx stx;

	if (fd < 0)
		return;
	if (sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) < 0) {
		sys_close(fd);
		return;
	}
	if (flags)
		close_keep(&fd);
	add_device(o, stx.stx_dev_major, stx.stx_dev_minor, flags != 0, fd);
}

/*
 * The mount point, below the root of that process.  A directory above it may be
 * on a server that does not answer, and the walk through it sleeps so that SIGKILL
 * does not wake it.  The kernel knows the way to what is mounted, if it asks nobody.
 *
 * And the mount is not really opened, but named (O_PATH):
 *
 *	helper				a victim with fanotify(7) on the mount
 *	holds it in its exit stop
 *	open(): waits for its answer
 *					stands: does not answer, and cannot
 *					close its group
 */
static int open_mount(const struct victim *v, const struct mount_line *m)
{
	cleanup_fd int root = -EBADF;
	char path[256] = ".";
	struct statx stx;
	int fd;

	if (m->point_len >= sizeof(path) - 1 ||
	    memchr(m->point, '\\', m->point_len))
		return -ENAMETOOLONG;
	/* It begins with the slash. */
	memcpy(path + 1, m->point, m->point_len);
	path[1 + m->point_len] = '\0';
	root = sys_openat(v->dir_fd, "root", O_PATH | O_DIRECTORY);
	if (root < 0)
		return root;
	fd = sys_open_cached(root, path, O_PATH | O_DIRECTORY);
	/* Before Linux 5.12. */
	if (fd == -ENOSYS || fd == -EINVAL || fd == -EPERM)
		fd = sys_openat(root, path, O_PATH | O_DIRECTORY);
	if (fd >= 0 &&
	    (sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx) < 0 ||
	     stx.stx_dev_major != m->major || stx.stx_dev_minor != m->minor))
		close_keep(&fd);
	return fd;
}

static void add_mounts(struct objects *o, const struct victim *v,
		       struct scratch *s)
{
	cleanup_fd int fd = sys_openat(v->dir_fd, "mountinfo", O_RDONLY);
	struct mount_line m;
	const char *line;
	struct lines l;
	size_t len;

	if (fd < 0)
		return;
	lines_open(&l, fd, s->buf + sizeof(s->buf) / 2, sizeof(s->buf) / 2);
	while (lines_next(&l, &line, &len)) {
		bool hugetlb;

		if (parse_mountinfo(line, len, &m) < 0 ||
		    find_device(o, m.major, m.minor))
			continue;
		hugetlb = mount_is(&m, "hugetlbfs");
		if (hugetlb || mount_is(&m, "tmpfs") ||
		    mount_is(&m, "devtmpfs"))
			add_device(o, m.major, m.minor, hugetlb,
				   hugetlb ? -EBADF : open_mount(v, &m));
	}
}

void objects_devices(struct objects *o, const struct victim *v,
		     struct scratch *s)
{
	if (!o->internal_known) {
		o->internal_known = true;
		add_internal(o, 0);
		add_internal(o, MFD_HUGETLB);
		add_internal(o, MFD_HUGETLB | 21U << 26);
		add_internal(o, MFD_HUGETLB | 30U << 26);
	}
	add_mounts(o, v, s);
}

static struct object_device *device_of(struct objects *o,
				       const struct victim *v,
				       struct scratch *s,
				       const struct mapping *m, bool *looked)
{
	struct object_device *d;

	if (!o->internal_known) {
		o->internal_known = true;
		add_internal(o, 0);
		if (v->rep.kinds[MRELEASE_HUGETLB].before_bytes) {
			add_internal(o, MFD_HUGETLB);
			add_internal(o, MFD_HUGETLB | 21U << 26);
			add_internal(o, MFD_HUGETLB | 30U << 26);
		}
	}
	d = find_device(o, m->major, m->minor);
	if (d || *looked)
		return d;
	*looked = true;
	add_mounts(o, v, s);
	return find_device(o, m->major, m->minor);
}

void map_files_path(char *buf, const struct mapping *m)
{
	static const char digits[] = "0123456789abcdef";
	const uint64_t ends[] = { m->start, m->end };
	char *p = stpcpy(buf, "map_files/");

	for (unsigned int i = 0; i < 2; i++) {
		int shift = 60;

		while (shift > 0 && !(ends[i] >> shift))
			shift -= 4;
		for (; shift >= 0; shift -= 4)
			*p++ = digits[ends[i] >> shift & 15];
		*p++ = i ? '\0' : '-';
	}
}

static void describe(struct objects *o, struct object *ob,
		     const struct victim *v, const struct mapping *m)
{
	struct {
		uint32_t bytes;
		int32_t type;
		unsigned char f[sizeof(ob->handle)];
	} fh = { .bytes = sizeof(ob->handle) };
	struct statx stx;
	char path[64];
	int mount_id;

	map_files_path(path, m);
	if (sys_statx(v->dir_fd, path, 0,
		      STATX_TYPE | STATX_NLINK | STATX_BLOCKS, &stx) < 0 ||
	    stx.stx_dev_major != m->major || stx.stx_dev_minor != m->minor)
		return;
	ob->sized = true;
	ob->bytes = stx.stx_blocks * 512;
	ob->linked = stx.stx_nlink > 0;
	if (ob->hugetlb) {
		ob->watch = hugetlb_watch(o, v, path);
		return;
	}
	/* A device node on devtmpfs: to open one may do anything. */
	if ((stx.stx_mode & S_IFMT) != S_IFREG ||
	    sys_name_to_handle_at(v->dir_fd, path, &fh, &mount_id,
				  AT_SYMLINK_FOLLOW) < 0)
		return;
	ob->handle_bytes = fh.bytes;
	ob->handle_type = fh.type;
	memcpy(ob->handle, fh.f, sizeof(ob->handle));
}

static bool named(const struct mapping *m, const char *prefix)
{
	return has_prefix(m->path, m->path_len, prefix);
}

static struct object *get_object(struct objects *o, const struct victim *v,
				 const struct mapping *m,
				 const struct object_device *d)
{
	struct object *ob;
	struct statx stx;

	for (unsigned int i = 0; i < o->nr; i++) {
		ob = &o->object[i];
		if (ob->inode == m->inode && ob->major == m->major &&
		    ob->minor == m->minor)
			return ob;
	}
	if (o->nr == MAX_OBJECTS)
		return NULL;
	ob = &o->object[o->nr++];
	memset(ob, 0, sizeof(*ob));
	ob->major = m->major;
	ob->minor = m->minor;
	ob->inode = m->inode;
	ob->hugetlb = d->hugetlb;
	ob->mount_fd = d->fd;
	ob->sysv = named(m, "/SYSV");
	ob->watch = -EBADF;
	if (ob->sysv && sys_statx(v->dir_fd, "ns/ipc", 0, STATX_INO, &stx) == 0)
		ob->ipc_inode = stx.stx_ino;
	describe(o, ob, v, m);
	return ob;
}

/* A fork(2) does not copy page tables of shmem: does this one map it? */
static bool maps_probe(const struct object *ob, const struct victim *v,
		       const struct mapping *m)
{
	uint64_t at = m->start + (ob->probe_offset - m->offset), word;

	return ob->probe_offset >= m->offset && at < m->end &&
	       sys_pread(v->pagemap_fd, &word, 8, at / getpagesize() * 8) ==
		       8 &&
	       word & PM_PRESENT && (word & PM_FRAME) == ob->probe_frame;
}

/* Is some page of this mapping mapped more than once? */
static void probe(struct object *ob, const struct victim *v,
		  const struct mapping *m)
{
	const uint64_t page = getpagesize(), pages = (m->end - m->start) / page;

	if (ob->mappings) {
		ob->mappings += maps_probe(ob, v, m);
		return;
	}
	if (ob->probes == MAX_PROBES)
		return;
	ob->probes++;
	for (unsigned int i = 0; i < PROBES; i++) {
		uint64_t at = pages * i / PROBES, word;

		if (sys_pread(v->pagemap_fd, &word, 8,
			      (m->start / page + at) * 8) != 8)
			return;
		if (!(word & PM_PRESENT) || word & PM_EXCLUSIVE)
			continue;
		ob->mappings = 1;
		ob->probe_offset = m->offset + at * page;
		ob->probe_frame = word & PM_FRAME;
		return;
	}
}

static void link_object(struct objects *o, struct victim *v, struct object *ob)
{
	if (ob->last_owner == v)
		return;
	ob->last_owner = v;
	ob->owners++;
	if (o->nr_links == MAX_LINKS) {
		o->more = true;
		return;
	}
	o->link[o->nr_links++] = ob - o->object;
	v->nr_links++;
}

void objects_forget(struct objects *o, struct victim *v)
{
	o->held.nr = 0;
	if (!v->linked)
		return;
	v->linked = false;
	memset(&v->huge, 0, sizeof(v->huge));
	o->nr = o->nr_links = 0;
	o->more = false;
	close_keep(&o->watch_fd);
}

void objects_collect(struct objects *o, struct victim *v, struct scratch *s,
		     const struct budget *b)
{
	unsigned int lines = 0;

	const struct mrelease_entry *k = v->rep.kinds;
	bool looked = false;
	const char *line;
	struct lines l;
	size_t len;

	if (v->linked || v->maps_fd < 0 ||
	    (!k[MRELEASE_SHMEM].before_bytes &&
	     !k[MRELEASE_HUGETLB].before_bytes))
		return;
	v->first_link = o->nr_links;
	v->nr_links = 0;
	lines_open(&l, v->maps_fd, s->buf, sizeof(s->buf) / 2);
	while (lines_next(&l, &line, &len)) {
		struct object_device *d;
		struct object *ob;
		struct mapping m;

		/* Set by the first line: an exited process has none, and nothing is known. */
		v->linked = true;
		/* Somebody waits for the kill; what is left cannot be told. */
		if (!(++lines % BUDGET_LINES) && budget_spent(b)) {
			o->more = true;
			return;
		}
		if (parse_mapping(line, len, &m) < 0 || m.major ||
		    (!m.inode && !named(&m, "/SYSV")))
			continue;
		d = device_of(o, v, s, &m, &looked);
		v->huge.found |= d && d->hugetlb;
		if (!d || (d->hugetlb && !m.shared && !hugetlb_private(v, &m)))
			continue;
		ob = get_object(o, v, &m, d);
		if (!ob) {
			o->more = true;
			continue;
		}
		ob->shared_writable |= m.shared && m.writable;
		if (m.shared || !d->hugetlb)
			probe(ob, v, &m);
		if (v->pinned_bytes >= LITTLE_BYTES)
			pins_note_object(o, ob, v, &m);
		ob->guess = MAX(ob->guess, MIN(m.end - m.start,
					       v->rss_shmem + v->rss_hugetlb));
		link_object(o, v, ob);
	}
}
