/* SPDX-License-Identifier: MIT */
/* A line of /proc/PID/maps: the process chooses the paths it maps. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct mapping m;

	memset(&m, 0xa5, sizeof(m));
	if (parse_mapping(text, size, &m))
		return 0;
	promise(m.start <= m.end);
	promise(m.path >= text);
	promise(m.path + m.path_len == text + size);
	return 0;
}
