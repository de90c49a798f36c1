/* SPDX-License-Identifier: MIT */
/* A user of the installed library, as C and as C++. */
#include <mrelease.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	struct mrelease_report report;
	int pidfd, ret, status;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	memset(&report, 0, sizeof(report));
	report.size = sizeof(report);
	pidfd = mrelease_open(pid, 0);
	if (pidfd < 0)
		return 1;
	ret = mrelease_process(pidfd, NULL, &report);
	close(pidfd);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		return 2;
	printf("mrelease %s: %d %d\n", mrelease_version(), ret,
	       report.verified);
	return ret || report.result != MRELEASE_RELEASED || !report.verified;
}
