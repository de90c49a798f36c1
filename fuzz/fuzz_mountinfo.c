/* SPDX-License-Identifier: MIT */
/* A line of /proc/self/mountinfo. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *type = NULL;
	uint32_t major, minor;
	size_t len = 0;

	if (parse_mountinfo(text, size, &major, &minor, &type, &len))
		return 0;
	promise(type > text + 3);
	promise(type + len <= text + size);
	promise(!memcmp(type - 3, " - ", 3));
	promise(!memchr(type, ' ', len));
	return 0;
}
