/* SPDX-License-Identifier: MIT */
/* Memory of our own. */
#include <sys/mman.h>

#include "memory.h"

void *memory_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/*
	 * The first of 65536 candidates would otherwise take 2 MiB, with
	 * which THP=always makes three times the daemon.
	 */
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}
