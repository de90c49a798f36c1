/* SPDX-License-Identifier: MIT */
/* cgroup.events and cgroup.procs. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data, *p = text, *before;
	struct cgroup_events events;
	pid_t pid;
	int ret;

	ret = parse_cgroup_events(text, size, &events);
	promise(events.populated >= -1 && events.populated <= 1);
	promise(events.frozen >= -1 && events.frozen <= 1);
	promise((ret == 0) == (events.populated >= 0));
	for (;;) {
		before = p;
		pid = -1;
		ret = parse_next_pid(&p, text + size, &pid);
		promise(p >= before && p <= text + size);
		if (!ret)
			break;
		/* Every number is some bytes further, or it never ends. */
		promise(p > before);
		promise(pid >= 0);
	}
	promise(p == text + size);
	return 0;
}
