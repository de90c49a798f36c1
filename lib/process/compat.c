/* SPDX-License-Identifier: MIT */
/* Is it a 32-bit process on a 64-bit kernel? */
#include <string.h>

#include "process/process.h"

/*
 * 32-bit?  The auxiliary vector is an array of pairs of the victim's own
 * word size, and AT_PHENT in it is the size of its program headers.
 */
static bool is_compat_by_auxv(int dir_fd)
{
	union {
		char bytes[2048];
		uint32_t w32[512];
		uint64_t w64[256];
	} auxv;
	const unsigned int at_phent = 4, phent32 = 32, phent64 = 56;
	long len;

	memset(&auxv, 0, sizeof(auxv));
	len = read_file(dir_fd, "auxv", auxv.bytes, sizeof(auxv.bytes));
	if (len <= 0)
		return false;
	for (long i = 0; i + 1 < len / 8; i += 2)
		if (auxv.w64[i] == at_phent && auxv.w64[i + 1] == phent64)
			return false;
	for (long i = 0; i + 1 < len / 4; i += 2)
		if (auxv.w32[i] == at_phent && auxv.w32[i + 1] == phent32)
			return true;
	return false;
}

/* Almost everything 64-bit has a robust list registered; else the auxv. */
bool victim_is_compat(const struct victim *v)
{
	uint64_t head = 0, len;

	if (sys_get_robust_list(v->tid, &head, &len) == 0 && head)
		return false;
	return is_compat_by_auxv(v->dir_fd);
}
