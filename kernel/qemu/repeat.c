// SPDX-License-Identifier: GPL-2.0-only
/*
 * repeat N PROGRAM [ARGUMENT...]: run it N times, one result: whether it
 * passed every time.  Prints what the first failing run printed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int i, n, bad = 0, status;
	char buf[4096];
	ssize_t got;
	FILE *out;

	if (argc < 3)
		return 2;
	n = atoi(argv[1]);
	printf("1..1\n");
	for (i = 0; i < n; i++) {
		pid_t pid;

		out = tmpfile();
		fflush(stdout);
		pid = fork();
		if (!pid) {
			dup2(fileno(out), 1);
			dup2(fileno(out), 2);
			execv(argv[2], argv + 2);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return 1;
		if (status && !bad++) {
			lseek(fileno(out), 0, SEEK_SET);
			printf("# run %d:\n", i + 1);
			fflush(stdout);
			while ((got = read(fileno(out), buf, sizeof(buf))) > 0)
				if (write(1, buf, got) < 0)
					return 1;
		}
		fclose(out);
	}
	printf("# %s: failed %d times of %d\n", argv[2], bad, n);
	printf("%sok 1 %s %d times\n", bad ? "not " : "", argv[2], n);
	return bad != 0;
}
