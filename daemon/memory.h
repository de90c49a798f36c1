/* SPDX-License-Identifier: MIT */
/* Memory of our own: mapped at the start, and there when it is touched. */
#ifndef MRELEASED_MEMORY_H
#define MRELEASED_MEMORY_H

#include <stddef.h>

/* Zeroed, for good, in small pages.  NULL: there is none. */
void *memory_map(size_t size);

#endif /* MRELEASED_MEMORY_H */
