/* SPDX-License-Identifier: MIT */
/*
 * A file of the kernel read line by line through a buffer of the caller's.
 *
 * Offsets are our own and handed to pread, so that the same open file can be
 * read again from the start by anybody at any time.  A line longer than the
 * buffer is passed over whole.
 */
#include <string.h>

#include "private.h"

void lines_open(struct lines *l, int fd, char *buf, size_t size)
{
	memset(l, 0, sizeof(*l));
	l->fd = fd;
	l->buf = buf;
	l->size = size;
}

/* More bytes into the buffer: 1, 0 at the end of the file. */
static int lines_fill(struct lines *l)
{
	long n;

	if (l->start) {
		memmove(l->buf, l->buf + l->start, l->len);
		l->start = 0;
	}
	do {
		n = sys_pread(l->fd, l->buf + l->len, l->size - l->len,
			      l->offset);
	} while (n == -EINTR);
	if (n < 0)
		l->error = n;
	if (n <= 0)
		return 0;
	l->len += n;
	l->offset += n;
	return 1;
}

int lines_next(struct lines *l, const char **ret_line, size_t *ret_len)
{
	bool skipping = false;

	for (;;) {
		char *line = l->buf + l->start;
		char *nl = memchr(line, '\n', l->len);

		if (nl) {
			size_t n = nl - line;

			l->start += n + 1;
			l->len -= n + 1;
			if (skipping) {
				skipping = false;
				continue;
			}
			*ret_line = line;
			*ret_len = n;
			return 1;
		}
		if (l->len == l->size) {
			l->start = 0;
			l->len = 0;
			skipping = true;
		}
		if (!lines_fill(l))
			return 0;
	}
}
