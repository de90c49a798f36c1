/* SPDX-License-Identifier: MIT */
/*
 * A program that releases a process and lives on: releases FD PID [PREPARED].  To FD
 * it writes the names of the descriptors that it has afterwards and did not have
 * before, or "none".  PREPARED is another process, prepared before and released
 * in the end; what is wrong with that is written as well.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <mrelease.h>

#define MAX_FILES 256

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static struct mrelease_target *prepare(pid_t pid)
{
	struct mrelease_target *target = NULL;

	if (mrelease_prepare(mrelease_open(pid, 0), NULL, NULL, &target))
		_exit(2);
	return target;
}

int main(int argc, char **argv)
{
	struct mrelease_opts opts = {
		.size = sizeof(opts),
		.flags = MRELEASE_EVICT_CACHE,
	};
	struct mrelease_report report = { .size = sizeof(report) };
	struct mrelease_target *prepared = NULL;
	bool before[MAX_FILES];
	unsigned int more = 0;
	int out, fd;

	if (argc < 3)
		return 2;
	out = atoi(argv[1]);
	fd = mrelease_open(atoi(argv[2]), 0);
	if (fd < 0)
		return 2;
	if (argc > 3)
		prepared = prepare(atoi(argv[3]));
	for (int i = 0; i < MAX_FILES; i++)
		before[i] = is_open(i);
	mrelease_process(fd, &opts, &report);
	for (int i = 0; i < MAX_FILES; i++) {
		char link[64], name[256];
		ssize_t n;

		if (before[i] || !is_open(i))
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", i);
		n = readlink(link, name, sizeof(name));
		dprintf(out, "%d: %.*s ", i, (int)n, name);
		more++;
	}
	if (prepared) {
		if (mrelease_release(prepared, 0, &report) || !report.verified)
			more += dprintf(out, "the other is not verified") > 0;
		mrelease_target_free(prepared);
	}
	if (!more)
		dprintf(out, "none");
	return 0;
}
