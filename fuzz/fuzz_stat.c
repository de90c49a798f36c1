/* SPDX-License-Identifier: MIT */
/* /proc/PID/stat: the process chooses its name, brackets and all. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct proc_stat st;

	memset(&st, 0xa5, sizeof(st));
	if (parse_stat(text, size, &st))
		return 0;
	promise(st.pid >= 0);
	promise(st.ppid >= 0);
	promise(memchr(st.comm, '\0', sizeof(st.comm)));
	/* Whatever the name is, the state comes after its last bracket. */
	promise(memrchr(text, ')', size));
	promise((const char *)memrchr(text, ')', size) + 2 < text + size);
	promise(((const char *)memrchr(text, ')', size))[2] == st.state);
	return 0;
}
