/* SPDX-License-Identifier: MIT */
/*
 * Which devices have files that can be opened without a stranger's help.
 *
 * An open() can hang for ever on a network filesystem or on FUSE, and a
 * killer must not.  What is mounted says which devices are of a type that
 * is known to be local.  Nothing is opened to find out.
 *
 * An overlay is as local as its layers.  Its options name their directories;
 * the mount that such a path lies on is the one with the longest mount point
 * that the path begins with, the last of those if they are several.  A
 * symbolic link in it could lead elsewhere: then the open may wait, in a
 * helper that is given up at the deadline.  In a container, whose layers have
 * no path that it could see, and for relative paths, it cannot be told.
 */
#include <string.h>

#include "release/release.h"

#define MAX_LAYERS 128

struct layer {
	const char *path;
	size_t len;
	/* Of the mount point found so far. */
	size_t best;
	bool local;
};

struct layers {
	unsigned int nr;
	struct layer layer[MAX_LAYERS];
};

static bool is_local_type(const struct mount_line *m)
{
	static const char *const types[] = {
		"bcachefs", "btrfs", "erofs",  "exfat",	  "ext2",
		"ext3",	    "ext4",  "f2fs",   "hfsplus", "iso9660",
		"jfs",	    "minix", "nilfs2", "ntfs3",	  "reiserfs",
		"squashfs", "udf",   "vfat",   "xfs",	  "zfs",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++)
		if (mount_is(m, types[i]))
			return true;
	return false;
}

static bool is_known(const struct local *l, const struct mount_line *m)
{
	for (unsigned int i = 0; i < l->nr; i++)
		if (l->devices[i].major == m->major &&
		    l->devices[i].minor == m->minor)
			return true;
	return false;
}

/* As many as there is room for. */
void local_find(struct local *l, char *buf, size_t size)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY);
	struct mount_line m;
	struct lines lines;
	const char *line;
	size_t len;

	l->nr = 0;
	if (fd < 0)
		return;
	lines_open(&lines, fd, buf, size);
	while (l->nr < ARRAY_SIZE(l->devices) &&
	       lines_next(&lines, &line, &len)) {
		bool overlay;

		if (parse_mountinfo(line, len, &m) < 0)
			continue;
		overlay = mount_is(&m, "overlay");
		if ((!overlay && !is_local_type(&m)) || is_known(l, &m))
			continue;
		l->devices[l->nr].major = m.major;
		l->devices[l->nr].minor = m.minor;
		l->devices[l->nr++].is = overlay ? LOCAL_MAYBE : LOCAL_YES;
	}
}

/* "/a:/b::/c": false if there are more than there is room for. */
static bool add_layers(struct layers *l, const char *p, const char *end)
{
	while (p < end) {
		const char *colon = memchr(p, ':', end - p);
		size_t len = (colon ? colon : end) - p;

		if (len && l->nr == MAX_LAYERS)
			return false;
		if (len)
			l->layer[l->nr++] =
				(struct layer){ .path = p, .len = len };
		p += len + 1;
	}
	return true;
}

static bool find_layers(struct layers *l, const char *p, const char *end)
{
	static const char *const keys[] = { "lowerdir=", "lowerdir+=",
					    "datadir+=", "upperdir=" };

	while (p < end) {
		const char *comma = memchr(p, ',', end - p);
		const char *stop = comma ? comma : end;

		for (unsigned int i = 0; i < ARRAY_SIZE(keys); i++)
			if (has_prefix(p, stop - p, keys[i]) &&
			    !add_layers(l, p + strlen(keys[i]), stop))
				return false;
		p = stop + 1;
	}
	return l->nr;
}

static bool lies_on(const struct layer *layer, const struct mount_line *m)
{
	if (layer->len < m->point_len ||
	    memcmp(layer->path, m->point, m->point_len) != 0)
		return false;
	return m->point_len == 1 || layer->len == m->point_len ||
	       layer->path[m->point_len] == '/';
}

static void place(struct layers *l, const struct mount_line *m)
{
	for (unsigned int i = 0; i < l->nr; i++) {
		struct layer *layer = &l->layer[i];

		if (m->point_len < layer->best || !lies_on(layer, m))
			continue;
		layer->best = m->point_len;
		layer->local = is_local_type(m);
	}
}

/* The first half of the buffer gets the options, the second the lines. */
static bool overlay_is_local(uint32_t major, uint32_t minor, char *buf,
			     size_t size)
{
	cleanup_fd int fd =
		sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY);
	size_t half = size / 2, options = 0, len;
	struct layers layers = { 0 };
	struct mount_line m;
	struct lines lines;
	const char *line;

	if (fd < 0)
		return false;
	lines_open(&lines, fd, buf + half, half);
	while (!options && lines_next(&lines, &line, &len)) {
		if (parse_mountinfo(line, len, &m) < 0 || m.major != major ||
		    m.minor != minor)
			continue;
		options = MIN(m.options_len, half);
		memcpy(buf, m.options, options);
	}
	if (!find_layers(&layers, buf, buf + options))
		return false;
	lines_open(&lines, fd, buf + half, half);
	while (lines_next(&lines, &line, &len))
		if (parse_mountinfo(line, len, &m) == 0)
			place(&layers, &m);
	for (unsigned int i = 0; i < layers.nr; i++)
		if (!layers.layer[i].local)
			return false;
	return true;
}

enum local_is local_device(struct local *l, uint32_t major, uint32_t minor,
			   char *buf, size_t size)
{
	for (unsigned int i = 0; i < l->nr; i++) {
		if (l->devices[i].major != major ||
		    l->devices[i].minor != minor)
			continue;
		if (l->devices[i].is == LOCAL_MAYBE)
			l->devices[i].is =
				overlay_is_local(major, minor, buf, size) ?
					LOCAL_OVERLAY :
					LOCAL_NO;
		return l->devices[i].is;
	}
	return LOCAL_NO;
}
