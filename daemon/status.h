/* SPDX-License-Identifier: MIT */
/* What mreleased sees now, for people, programs and Prometheus. */
#ifndef MRELEASED_STATUS_H
#define MRELEASED_STATUS_H

#include "loop.h"
#include "options.h"

/* A text that grows in a fixed buffer; what does not fit is left out. */
struct text {
	char *buf;
	size_t size;
	size_t len;
};

void text_add(struct text *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* A JSON string with its quotes. */
void text_json(struct text *t, const char *value);

/* status.c */

/* A listening socket, or -errno; a socket left behind is replaced. */
int status_listen(const char *path);
/* Answers each client that waits; never waits itself. */
void status_answer(int fd, struct mreleased *d);

/* client.c: exit status */
int status_main(const char *path, const struct options *o);

/*
 * metrics.c: written beside the file and renamed, by a thread once it is started.
 * -EAGAIN: it is at the one before.
 */
int metrics_start(void);
int metrics_write(const char *path, const struct mreleased *d);
/* The last numbers, if the disk is not too slow for them; 0 or -errno. */
int metrics_end(const char *path, const struct mreleased *d);
/* What became of it: -errno, once; or 0. */
int metrics_error(void);

#endif /* MRELEASED_STATUS_H */
