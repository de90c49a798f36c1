/* SPDX-License-Identifier: MIT */
/* Reading the kernel's text without stdio, and without allocating. */
#ifndef MRELEASED_TEXT_H
#define MRELEASED_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define NS_PER_MS ((int64_t)1000000)
#define NS_PER_S  ((int64_t)1000000000)

/*
 * Read a file of the kernel from its beginning; the buffer is terminated with
 * NUL.  Return: the length, or -errno.
 */
ssize_t text_read(int fd, char *buf, size_t size);
/* The same for a path below @dirfd. */
ssize_t text_read_at(int dirfd, const char *path, char *buf, size_t size);
/* Skip blanks and read digits; false if there are none or they overflow. */
bool text_number(const char **p, uint64_t *ret_value);
/* The same with an optional minus sign. */
bool text_signed(const char **p, int64_t *ret_value);
/*
 * The number behind a line's first word: "MemFree:  12 kB", "pgscan 12".
 * Unit kB is multiplied out.  False: there is no such line.
 */
bool text_field(const char *text, const char *name, uint64_t *ret_value);
/* With its NUL; false, and nothing is written, if there is no room for it. */
bool text_copy(char *to, size_t size, const char *from);
/* CLOCK_MONOTONIC, ns. */
int64_t clock_ns(void);

#endif /* MRELEASED_TEXT_H */
