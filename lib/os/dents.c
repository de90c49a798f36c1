/* SPDX-License-Identifier: MIT */
/* A directory of the kernel's, entry by entry, through a buffer of the caller's. */
#include <dirent.h>
#include <string.h>

#include "os/os.h"

void dents_open(struct dents *d, int fd, char *buf, size_t size)
{
	*d = (struct dents){ .fd = fd, .buf = buf, .size = size };
}

const struct dirent64 *dents_next(struct dents *d)
{
	const struct dirent64 *e;

	if (d->off >= d->len) {
		d->off = 0;
		d->len = sys_getdents64(d->fd, d->buf, d->size);
		if (d->len <= 0) {
			d->error = d->len;
			d->len = 0;
			return NULL;
		}
		d->reads++;
	}
	e = (const void *)(d->buf + d->off);
	d->off += e->d_reclen;
	return e;
}

pid_t dents_pid(struct dents *d)
{
	const struct dirent64 *e;
	uint64_t nr;

	while ((e = dents_next(d))) {
		const char *p = e->d_name;

		if (parse_u64(&p, p + strlen(p), &nr) == 0 && !*p && nr)
			return nr;
	}
	return 0;
}

bool dents_in_hand(const struct dents *d)
{
	return d->off < d->len;
}

int dents_numbers(int fd, char *buf, size_t size,
		  int (*fn)(void *arg, pid_t nr), void *arg)
{
	struct dents d;
	pid_t nr;

	sys_lseek(fd, 0, SEEK_SET);
	dents_open(&d, fd, buf, size);
	while ((nr = dents_pid(&d)))
		if (fn(arg, nr))
			return 1;
	return d.error;
}
