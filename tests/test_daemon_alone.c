/* SPDX-License-Identifier: MIT */
/* One mreleased kills for the whole machine, and others see that it does. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

/* Where there is no place for the socket and the lock, it says so. */
static void test_no_lock(void **state)
{
	(void)state;
	need_root();
	whole_machine = true;
	start_daemon(NULL, "-o", "Never=comm:.", "--status-socket",
		     "/dev/full/status", NULL);
	expect_said("no \"mreleased status\", and a second mreleased would not "
		    "be noticed: /dev/full/status: Not a directory");
	stop_daemon();
}

/* It watches the whole machine.  If there is a shortage meanwhile, it may not kill. */
static void start_first(char *dir, char *sock, size_t size)
{
	need_root();
	assert_non_null(mkdtemp(dir));
	snprintf(sock, size, "%s/status", dir);
	whole_machine = true;
	start_daemon(NULL, "-o", "Never=comm:.", "--status-socket", sock, NULL);
}

/* Two would kill two where one is enough: the second does not begin. */
static void test_one_too_many(void **state)
{
	char dir[] = "/tmp/mreleased-test-XXXXXX", sock[64];
	char command[2 * PATH_MAX];
	int status;

	(void)state;
	start_first(dir, sock, sizeof(sock));
	snprintf(
		command, sizeof(command),
		"timeout 10 '%s' --config /dev/null -o Never=comm:. "
		"--status-socket %s 2>&1 | grep -q 'another mreleased watches'; "
		"s=(${PIPESTATUS[@]}); exit $((10 * s[0] + s[1]))",
		beside("../mreleased"), sock);
	setenv("MRELEASED", command, 1);
	status = system("exec bash -c \"$MRELEASED\"");
	unsetenv("MRELEASED");
	assert_true(WIFEXITED(status));
	/* Its own status is 1, and it has said why. */
	assert_int_equal(WEXITSTATUS(status), 10);
	stop_daemon();
	/* What is left of the last one keeps nobody. */
	whole_machine = true;
	start_daemon(NULL, "-o", "Never=comm:.", "--status-socket", sock, NULL);
	stop_daemon();
	strcat(sock, ".lock");
	assert_int_equal(unlink(sock), 0);
	rmdir(dir);
}

static void set_dry_run(const char *path, const char *value)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fprintf(f, "[Daemon]\nDryRun=%s\n", value);
	assert_int_equal(fclose(f), 0);
}

/* A dry run may be beside it; by a change of mind there are not two that kill. */
static void test_dry_run_beside(void **state)
{
	char dir[] = "/tmp/mreleased-test-XXXXXX", sock[64], conf[64];
	static struct daemon first, second;
	char command[2 * PATH_MAX];
	int status;

	(void)state;
	start_first(dir, sock, sizeof(sock));
	snprintf(conf, sizeof(conf), "%s/conf", dir);
	first = daemon_run;
	set_dry_run(conf, "yes");
	start_daemon(NULL, "--config", conf, "-o", "Never=comm:.",
		     "--status-socket", sock, NULL);
	set_dry_run(conf, "no");
	kill(daemon_run.pid, SIGHUP);
	expect_said("another mreleased watches this machine");
	expect_said("going on with the old configuration");
	second = daemon_run;
	daemon_run = first;
	stop_daemon();
	daemon_run = second;
	whole_machine = true;
	kill(daemon_run.pid, SIGHUP);
	expect_said("configuration read again");
	/* Now it is the one, and there is no room for another. */
	snprintf(command, sizeof(command),
		 "timeout 10 '%s' --config /dev/null -o Never=comm:. "
		 "--status-socket %s 2>/dev/null",
		 beside("../mreleased"), sock);
	status = system(command);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	stop_daemon();
	unlink(conf);
	strcat(sock, ".lock");
	unlink(sock);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_no_lock),
		harness_test(test_one_too_many),
		harness_test(test_dry_run_beside),
	};

	return run_group(tests);
}
