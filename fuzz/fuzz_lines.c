/* SPDX-License-Identifier: MIT */
/*
 * Lines through a small buffer.  The first byte is its size; a line that does
 * not fit is passed over whole, every other one comes out as it is.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

static const char *next_fitting(const char *p, const char *end, size_t max,
				size_t *len)
{
	const char *nl;

	while (p != end && (nl = memchr(p, '\n', (size_t)(end - p)))) {
		*len = (size_t)(nl - p);
		/* With its newline it has to fit. */
		if (*len < max)
			return p;
		p = nl + 1;
	}
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	const char *text = (const char *)data + 1, *want, *line;
	const char *end = (const char *)data + size;
	size_t room, len, want_len;
	struct lines l;
	char *buf;

	if (size < 2)
		return 0;
	room = data[0] % 64 + 1u;
	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	promise(fd >= 0);
	promise(!ftruncate(fd, 0));
	promise(pwrite(fd, text, size - 1, 0) == (ssize_t)(size - 1));
	/* Exactly as big as it says, for ASan to watch. */
	buf = malloc(room);
	promise(buf);
	lines_open(&l, fd, buf, room);
	want = next_fitting(text, end, room, &want_len);
	while (lines_next(&l, &line, &len)) {
		promise(line >= buf && line + len <= buf + room);
		promise(want);
		promise(len == want_len && !memcmp(line, want, len));
		want = next_fitting(want + want_len + 1, end, room, &want_len);
	}
	promise(!want);
	promise(!l.error);
	free(buf);
	return 0;
}
