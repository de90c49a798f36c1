/* SPDX-License-Identifier: MIT */
/*
 * lowmem-guest innocent NR SEED | hog LOAD SEED | fuse | reader | spin |
 *		watch SECONDS UNIT...
 */
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "guest.h"

static void __attribute__((noreturn)) spin(void)
{
	for (;;)
		random_number();
}

static int run(int argc, char **argv)
{
	const char *what = argv[1];

	if (!strcmp(what, "fuse"))
		return stuck_fuse();
	if (!strcmp(what, "reader"))
		return stalled_reader();
	if (!strcmp(what, "spin"))
		spin();
	if (argc < 4)
		return 2;
	if (!strcmp(what, "watch"))
		return watch((unsigned int)atoi(argv[2]), argv + 3);
	random_seed(strtoull(argv[3], NULL, 10));
	if (!strcmp(what, "innocent"))
		return innocent((unsigned int)atoi(argv[2]));
	if (!strcmp(what, "hog"))
		return hog(argv[2]);
	return 2;
}

int main(int argc, char **argv)
{
	char name[16];
	int status;

	if (argc < 2)
		return 2;
	/* Which of them it is, for a killer that goes by the name. */
	snprintf(name, sizeof(name), "%.8s%s%.6s", argv[1], argc > 2 ? "-" : "",
		 argc > 2 ? argv[2] : "");
	prctl(PR_SET_NAME, name);
	status = run(argc, argv);
	if (status == 2)
		fprintf(stderr, "lowmem-guest: usage: see guest.c\n");
	return status;
}
