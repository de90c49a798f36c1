/* SPDX-License-Identifier: MIT */
/* A line of /proc/self/mountinfo. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *end = text + size;
	struct mount_line m = { 0 };

	if (parse_mountinfo(text, size, &m))
		return 0;
	promise(m.point > text && m.point + m.point_len < m.type);
	promise(m.type_len && !memcmp(m.type - 3, " - ", 3));
	promise(m.type + m.type_len <= end);
	promise(!memchr(m.type, ' ', m.type_len));
	promise(m.options >= m.type && m.options + m.options_len <= end);
	promise(!memchr(m.options, ' ', m.options_len));
	return 0;
}
