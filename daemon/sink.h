/* SPDX-License-Identifier: MIT */
/* Where words go: the journal, syslog or stderr, through a thread apart. */
#ifndef MRELEASED_SINK_H
#define MRELEASED_SINK_H

#include <stdbool.h>
#include <stddef.h>

enum sink_kind {
	/* A message, wherever those go. */
	SINK_MESSAGE,
	/* A datagram for the journal, with the message as its last line. */
	SINK_FIELDS,
	/* Lines for standard output, and for standard error, as they are. */
	SINK_OUTPUT,
	SINK_ERROR,
};

/* What a message may come to with all of its fields. */
#define SINK_SIZE 4096

/* Call it again when @use_syslog is known better. */
void sink_open(bool use_syslog);
/* True: the journal is there, and takes fields. */
bool sink_takes_fields(void);
/*
 * Until sink_start() a message is written at once.  Afterwards it is put into a
 * buffer and a thread writes it, which may wait for a reader as long as it
 * likes; what finds no room is lost, and how many, is said.  One thread calls
 * this.
 */
void sink_put(int level, enum sink_kind kind, const char *text, size_t len);
int sink_start(void);
/* Wait until all of it is written, but not for long. */
void sink_flush(void);

#endif /* MRELEASED_SINK_H */
