/* SPDX-License-Identifier: MIT */
/* Memory that no counter of a process shows. */
#include <dirent.h>
#include <linux/stat.h>
#include <string.h>

#include "process/process.h"

static bool is_mapped(const struct objects *o, const struct statx *stx)
{
	for (unsigned int i = 0; i < o->nr; i++)
		if (o->object[i].inode == stx->stx_ino &&
		    o->object[i].major == stx->stx_dev_major &&
		    o->object[i].minor == stx->stx_dev_minor)
			return true;
	return false;
}

static void add_open(const struct objects *o, struct unmapped *f, int dir_fd,
		     const char *name)
{
	struct statx stx;
	bool known = false;

	/* What the kernel knows: a network file system is not asked. */
	if (sys_statx(dir_fd, name, AT_STATX_DONT_SYNC,
		      STATX_NLINK | STATX_BLOCKS, &stx) < 0 ||
	    stx.stx_dev_major || stx.stx_nlink || !stx.stx_blocks)
		return;
	for (unsigned int i = 0; i < o->nr_devices; i++)
		known |= !o->devices[i].major &&
			 o->devices[i].minor == stx.stx_dev_minor;
	if (!known || is_mapped(o, &stx))
		return;
	for (unsigned int i = 0; i < f->nr; i++)
		if (f->seen[i] == stx.stx_ino)
			return;
	if (f->nr < ARRAY_SIZE(f->seen))
		f->seen[f->nr++] = stx.stx_ino;
	f->bytes += stx.stx_blocks * 512;
}

void account_unmapped(struct objects *o, const struct victim *v,
		      struct scratch *s, struct unmapped *f)
{
	cleanup_fd int fd = -EBADF;
	const struct dirent64 *e;
	struct dents d;

	if (v->dir_fd < 0)
		return;
	fd = sys_openat(v->dir_fd, v->tid == v->pid ? "fd" : "../../fd",
			O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return;
	objects_devices(o, v, s);
	dents_open(&d, fd, s->buf, sizeof(s->buf));
	while ((e = dents_next(&d)))
		if (e->d_name[0] != '.')
			add_open(o, f, fd, e->d_name);
}
