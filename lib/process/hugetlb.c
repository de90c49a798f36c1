/* SPDX-License-Identifier: MIT */
/*
 * hugetlb.  What is mapped shared belongs to inodes, which have no file
 * handles; and every process moves the counter of free huge pages.  So each
 * inode is watched: inotify says IN_DELETE_SELF once an inode without a name
 * has no descriptor and no mapping any more, and its pages go.  A watch does
 * not keep them, as a descriptor of ours would.
 *
 * Private pages go with the address space, but for those that others have
 * since a fork(2): pagemap tells these.
 */
#include <linux/stat.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>

#include "process/process.h"

/* Private pages of one process that are looked at, at equal distances. */
#define MANY_PAGES 1024
#define HUGE_BYTES (2ULL << 20)

int hugetlb_watch(struct objects *o, const struct victim *v, const char *path)
{
	static const char fds[] = "/proc/thread-self/fd/";
	char buf[128], digits[16];
	unsigned int n = sizeof(digits), fd = v->dir_fd;
	char *p;

	if (v->dir_fd < 0 || strlen(path) > sizeof(buf) - sizeof(fds) - 16)
		return -EBADF;
	if (o->watch_fd < 0)
		o->watch_fd = sys_inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (o->watch_fd < 0)
		return o->watch_fd;
	digits[--n] = '\0';
	do {
		digits[--n] = '0' + fd % 10;
		fd /= 10;
	} while (fd);
	p = stpcpy(stpcpy(buf, fds), digits + n);
	*p++ = '/';
	memcpy(p, path, strlen(path) + 1);
	return sys_inotify_add_watch(o->watch_fd, buf, IN_DELETE_SELF);
}

static void note_gone(struct objects *o, int watch)
{
	for (unsigned int i = 0; i < o->nr; i++)
		if (o->object[i].hugetlb && o->object[i].watch == watch)
			o->object[i].watch_ended = true;
}

void hugetlb_news(struct objects *o)
{
	char buf[4096] __attribute__((aligned(8)));
	long len;

	while (o->watch_fd >= 0 &&
	       (len = sys_read(o->watch_fd, buf, sizeof(buf))) > 0) {
		const struct inotify_event *e;

		for (long at = 0; at < len; at += sizeof(*e) + e->len) {
			e = (const void *)(buf + at);
			if (e->mask & IN_DELETE_SELF)
				note_gone(o, e->wd);
		}
	}
}

void hugetlb_ask(struct object *ob)
{
	if (ob->watch < 0) {
		ob->fate = OBJECT_UNKNOWN;
	} else if (ob->watch_ended) {
		ob->fate = OBJECT_GONE;
	} else {
		ob->fate = OBJECT_THERE;
		ob->left = ob->bytes;
	}
}

/* The size of its pages, which the inode knows. */
static uint64_t page_size(const struct victim *v, const struct mapping *m)
{
	struct statx stx;
	char path[64];

	map_files_path(path, m);
	if (sys_statx(v->dir_fd, path, 0, STATX_TYPE, &stx) < 0 ||
	    stx.stx_blksize < (uint64_t)getpagesize())
		return HUGE_BYTES;
	return stx.stx_blksize;
}

bool hugetlb_private(struct victim *v, const struct mapping *m)
{
	struct huge *h = &v->huge;
	uint64_t size = page_size(v, m), pages = (m->end - m->start) / size;
	uint64_t step = pages / MANY_PAGES + 1, word;
	bool file = false;

	for (uint64_t i = 0; i < pages; i += step) {
		if (sys_pread(v->pagemap_fd, &word, 8,
			      (m->start + i * size) / getpagesize() * 8) != 8) {
			h->unread = true;
			break;
		}
		if (!(word & PM_PRESENT))
			continue;
		/* Not written to: a page of the file's. */
		if (word & PM_FILE) {
			file = true;
			continue;
		}
		h->seen++;
		h->bytes += MIN(step, pages - i) * size;
		if (!(word & PM_EXCLUSIVE)) {
			h->cow++;
			h->cow_bytes += MIN(step, pages - i) * size;
		}
	}
	h->sampled |= step > 1;
	return file;
}

/* What a sample may be wrong by. */
static uint64_t unsure(const struct huge *h)
{
	uint64_t own = h->seen - h->cow, error;

	if (!h->sampled)
		return 0;
	if (h->seen < 4)
		return UINT64_MAX;
	error = 3 * h->bytes / h->seen;
	if (h->cow)
		error = MAX(error, sample_error(h->bytes, h->seen, h->seen, own,
						h->seen, own, own));
	return error;
}

uint64_t hugetlb_account(const struct victim *v, struct mrelease_entry *e)
{
	const struct huge *h = &v->huge;
	uint64_t own = h->bytes - h->cow_bytes;

	e->before_bytes += h->bytes;
	e->kept_bytes += h->cow_bytes;
	if (h->cow_bytes && !e->reason)
		e->reason = MRELEASE_REASON_COW;
	e->exclusive_bytes += own;
	e->unsure_bytes += MIN(unsure(h), own);
	return own;
}
