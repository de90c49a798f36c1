/* SPDX-License-Identifier: MIT */
/* The command line: ours, and earlyoom's. */
#ifndef MRELEASED_OPTIONS_H
#define MRELEASED_OPTIONS_H

#include "config.h"

enum mode {
	MODE_RUN,
	MODE_CHECK_CONFIG,
	MODE_PRINT_CONFIG,
	MODE_STATUS,
	MODE_SIMULATE,
};

struct options {
	enum mode mode;
	/* NULL: where it is looked for. */
	const char *config_file;
	const char *trace;
	bool priority;
	bool syslog;
	bool json;
	/* An option that was given and is for status only; NULL: none. */
	const char *status_only;
	/* Called by this name. */
	bool earlyoom;
	/* Seconds between two looks of status; 0: one. */
	int64_t watch_ns;
};

/* Settings of the command line, kept for each reload; they come last. */
struct override {
	char key[64];
	char value[1024];
};

/*
 * Return: 0, or the exit status with which the program is to end plus one
 * (--help and --version end with 0).
 */
int options_parse(int argc, char **argv, struct options *o);
/* Over the files, each time they are read.  0 or -EINVAL. */
int options_apply(struct config *c, config_complain complain, void *arg);

#endif /* MRELEASED_OPTIONS_H */
