/* SPDX-License-Identifier: MIT */
/*
 * Prepare a process, and release it: prepare PID [standby].  Between the two
 * it calls getpgid(MARK), for a test that watches its system calls.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mrelease.h>

#include "prepare.h"

int main(int argc, char **argv)
{
	struct mrelease_report report = { .size = sizeof(report) };
	struct mrelease_opts opts = { .size = sizeof(opts) };
	struct mrelease_target *target;
	int fd, ret;

	if (argc < 2)
		return 2;
	if (argc > 2 && !strcmp(argv[2], "standby"))
		opts.flags = MRELEASE_STANDBY;
	fd = mrelease_open(atoi(argv[1]), 0);
	if (fd < 0 || mrelease_prepare(fd, &opts, NULL, &target))
		return 2;
	getpgid(PREPARE_MARK);
	ret = mrelease_release(target, 0, &report);
	mrelease_target_free(target);
	if (ret || !report.verified || report.path != MRELEASE_PATH_PINNED)
		return 1;
	return 0;
}
