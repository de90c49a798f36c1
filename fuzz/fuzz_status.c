/* SPDX-License-Identifier: MIT */
/* /proc/PID/status, and the "Name:  123 kB" and "name 123" lines of others. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct proc_status st;
	uint64_t bytes;
	pid_t pid;
	uint64_t flags;

	memset(&st, 0xa5, sizeof(st));
	promise(parse_status(text, size, &st) == 0);
	promise(st.tracer >= 0);
	promise(st.mem.anon % 1024 == 0);
	promise(st.mem.swap % 1024 == 0);
	promise(st.mem.file % 1024 == 0);
	promise(st.mem.shmem % 1024 == 0);
	promise(st.mem.hugetlb % 1024 == 0);
	if (!parse_kib_line(text, size, "VmRSS", &bytes))
		promise(bytes % 1024 == 0);
	parse_key_u64(text, size, "anon", &bytes);
	if (!parse_fdinfo_pid(text, size, &pid, &flags))
		promise(pid >= -1);
	return 0;
}
