/* SPDX-License-Identifier: MIT */
/* PID and PID:INODE, as somebody wrote them. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), again[64];
	uint64_t inode = 0;
	pid_t pid = -1;

	promise(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (!parse_target(text, &pid, &inode)) {
		promise(pid >= 0);
		promise(strspn(text, "0123456789:") == strlen(text));
		promise((strchr(text, ':') != NULL) == (inode != 0));
		/* What it says is what was read, but for leading zeros. */
		if (text[0] != '0' && !strstr(text, ":0")) {
			snprintf(again, sizeof(again), inode ? "%d:%llu" : "%d",
				 pid, (unsigned long long)inode);
			promise(!strcmp(text, again));
		}
	}
	free(text);
	return 0;
}
