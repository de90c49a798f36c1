/* SPDX-License-Identifier: MIT */
/*
 * A file of the kernel read line by line through a buffer of the caller's.
 *
 * Offsets are our own and handed to pread, so that the same open file can be
 * read again from the start by anybody at any time.  A line longer than the
 * buffer is passed over whole.
 */
#include <string.h>

#include "os/os.h"

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
	size_t room;
	long n;

	if (l->end)
		return 0;
	if (l->start) {
		memmove(l->buf, l->buf + l->start, l->len);
		l->start = 0;
	}
	room = l->size - l->len;
	do {
		n = sys_pread(l->fd, l->buf + l->len, room, l->offset);
	} while (n == -EINTR);
	if (n < 0)
		l->error = n;
	if (n <= 0)
		return 0;
	l->len += n;
	l->offset += n;
	l->end = l->one_piece && (size_t)n < room;
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

/*
 * The line "Groups:" has no bound: a user of a directory service is in hundreds
 * of them, and all that matters here comes after it.
 */
int status_read(int fd, struct proc_status *ret)
{
	char buf[4096];
	const char *line;
	struct lines l;
	size_t len;

	memset(ret, 0, sizeof(*ret));
	lines_open(&l, fd, buf, sizeof(buf));
	l.one_piece = true;
	while (lines_next(&l, &line, &len))
		parse_status_line(line, len, ret);
	if (l.error < 0)
		return l.error;
	return l.offset ? 0 : -ESRCH;
}

int status_read_path(int dir_fd, const char *path, struct proc_status *ret)
{
	cleanup_fd int fd = sys_openat(dir_fd, path, O_RDONLY);

	if (fd < 0)
		return fd;
	return status_read(fd, ret);
}
