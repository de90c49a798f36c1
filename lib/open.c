/* SPDX-License-Identifier: MIT */
/* What needs no release: a handle, and the version. */
#include "process/process.h"

int mrelease_open(pid_t pid, uint64_t inode)
{
	return identify_open(pid, inode);
}

const char *mrelease_version(void)
{
	return MRELEASE_VERSION;
}
