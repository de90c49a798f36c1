/* SPDX-License-Identifier: MIT */
/*
 * mreleased for real, in a memory cgroup of 256 MiB as its machine: who dies,
 * who lives, and what is said.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

static void test_hog(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	start_innocents();
	hog = start_process("hog", 300, 100, NULL);
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	expect_said("(hog)");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
	expect_not_said("(innocent-0):");
	print_said("first signal");
}

static void end_it(int sig)
{
	(void)sig;
	_exit(3);
}

static void end_on_term(void)
{
	signal(SIGTERM, end_it);
}

/* A handler that does nothing is no better than none. */
static void forget_it(int sig)
{
	(void)sig;
}

static void forget_term(void)
{
	signal(SIGTERM, forget_it);
}

/* Below the first line there is time: it may end by itself. */
static void test_asked(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, "-o", "AskAvailable=50%", "-o", "Hold=0", NULL);
	start_innocents();
	hog = start_process("hog", 300, 20, end_on_term);
	/* A zombie as long as we do not look: it has exited all the same. */
	expect_said("has exited when asked");
	/* Nor was that found out by the end of its grace. */
	expect_not_said("SIGKILL now");
	assert_int_equal(test_wait(hog), 3);
	expect_innocents_live();
	stop_daemon();
}

static void test_asked_in_vain(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, "-o", "AskAvailable=50%", "-o", "Hold=0", "-o",
		     "Grace=500ms", NULL);
	start_innocents();
	hog = start_process("hog", 300, 20, forget_term);
	expect_signal(hog, SIGKILL);
	expect_said("SIGKILL now, it did not exit when asked");
	expect_said("are back after");
	expect_innocents_live();
	stop_daemon();
}

static int group_pipe[2];

/* In a group of its own, with one that does nothing. */
static void lead_a_group(void)
{
	pid_t pid;

	setpgid(0, 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_NAME, "bystander");
		for (;;)
			pause();
	}
	if (write(group_pipe[1], &pid, sizeof(pid)) != sizeof(pid))
		_exit(1);
}

/* -g: the victim's process group, but not if one of it is protected. */
static void kill_group(const char *rule, bool dies)
{
	pid_t hog, bystander;

	make_machine();
	assert_int_equal(pipe2(group_pipe, O_CLOEXEC), 0);
	start_daemon(NULL, "-g", "-o", rule, NULL);
	start_innocents();
	hog = start_process("hog", 300, 100, lead_a_group);
	assert_int_equal(read(group_pipe[0], &bystander, sizeof(bystander)),
			 sizeof(bystander));
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	if (!dies) {
		stop_daemon();
		assert_int_equal(kill(bystander, SIGTERM), 0);
	}
	/* It is ours now that its parent is gone. */
	expect_signal(bystander, dies ? SIGKILL : SIGTERM);
	if (dies)
		stop_daemon();
	expect_innocents_live();
	close(group_pipe[0]);
	close(group_pipe[1]);
}

static void test_group(void **state)
{
	(void)state;
	kill_group("Never=comm:^nobody$", true);
	assert_int_equal(harness_teardown(state), 0);
	harness_setup(state);
	kill_group("Never=comm:^bystander$", false);
}

/* Thirty small ones of one job: all of them, and nobody else. */
static void test_job(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	start_innocents();
	hog = test_fork();
	if (!hog) {
		enter("job");
		setsid();
		for (int i = 0; i < 30; i++) {
			if (!fork()) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				grow(10, 40);
				for (;;)
					pause();
			}
			usleep(100000);
		}
		for (;;)
			pause();
	}
	expect_signal(hog, SIGKILL);
	expect_said("descendants");
	expect_said("are back after");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
}

/* A cgroup that goes as a whole, although each of it is small. */
static void test_whole_cgroup(void **state)
{
	struct cgroup pod;
	pid_t pids[6];

	(void)state;
	make_machine();
	cgroup_make_below(&pod, &machine, "pod");
	start_daemon(NULL, "-o", "Whole=unit:pod", NULL);
	start_innocents();
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		pids[i] = test_fork();
		if (!pids[i]) {
			cgroup_add(&pod, getpid());
			prctl(PR_SET_NAME, "pod-member");
			grow(35, 20);
			for (;;)
				pause();
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		expect_signal(pids[i], SIGKILL);
	expect_said("/pod (6 processes)");
	expect_said("are back after");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
	close(pod.fd);
}

/* What an owner has said of a cgroup, as systemd writes it. */
static void test_omitted_cgroup(void **state)
{
	struct cgroup pod;
	pid_t hog;

	(void)state;
	make_machine();
	cgroup_make_below(&pod, &machine, "pod");
	if (setxattr(pod.path, "user.oomd_omit", "1", 1, 0) &&
	    setxattr(pod.path, "trusted.oomd_omit", "1", 1, 0))
		skip_test("xattr", "no attributes on cgroups: %s",
			  strerror(errno));
	start_daemon(NULL, "-o", "MinGain=20%", NULL);
	start_innocents();
	hog = test_fork();
	if (!hog) {
		cgroup_add(&pod, getpid());
		grow(185, 200);
		for (;;)
			pause();
	}
	expect_said("nobody is killed");
	assert_int_equal(waitpid(hog, NULL, WNOHANG), 0);
	expect_innocents_live();
	stop_daemon();
	expect_not_said("killing process");
	close(pod.fd);
}

/* The rule protects the only one who would be worth it. */
static void test_never(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, "--ignore", "^hog$", "-o", "MinGain=20%", NULL);
	start_innocents();
	hog = start_process("hog", 185, 200, NULL);
	expect_said("nobody is killed");
	expect_innocents_live();
	assert_int_equal(waitpid(hog, NULL, WNOHANG), 0);
	stop_daemon();
	expect_not_said("killing process");
}

static void test_dry_run(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, "--dryrun", NULL);
	start_innocents();
	hog = start_process("hog", 185, 200, NULL);
	expect_said("would be killing process");
	assert_int_equal(waitpid(hog, NULL, WNOHANG), 0);
	expect_innocents_live();
	stop_daemon();
}

/* Shared memory that no process has mapped: as files in tmpfs. */
static void test_tmpfs(void **state)
{
	pid_t writer;

	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	start_innocents();
	writer = test_fork();
	if (!writer) {
		static char block[1 << 20];
		int fd = memfd_create("file", MFD_CLOEXEC);

		enter("writer");
		memset(block, 1, sizeof(block));
		for (int i = 0; i < 185; i++) {
			if (write(fd, block, sizeof(block)) < 0)
				_exit(1);
			usleep(10000);
		}
		for (;;)
			pause();
	}
	expect_said("nobody is killed, it would be in vain: tmpfs");
	expect_innocents_live();
	assert_int_equal(waitpid(writer, NULL, WNOHANG), 0);
	stop_daemon();
	expect_not_said("killing process");
}

/* While all is well the table is up to ten seconds old. */
static void wait_for_status(char *out, size_t size, const char *sock,
			    const char *part)
{
	int64_t deadline = in_seconds(PATIENCE_S);

	do {
		run_tool(out, size, "status", "--status-socket", sock, NULL);
		if (strstr(out, part))
			return;
		usleep(100000);
	} while (now_ns() < deadline);
	expect_text(out, part);
}

/* What it did can be asked for, scraped, and decided again. */
static void test_status_and_trace(void **state)
{
	static char out[32768];
	char dir[] = "/tmp/mreleased-test-XXXXXX", sock[64], trace[64];
	char metrics[64];
	pid_t hog;
	FILE *f;

	(void)state;
	make_machine();
	assert_non_null(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/status", dir);
	snprintf(trace, sizeof(trace), "%s/trace", dir);
	snprintf(metrics, sizeof(metrics), "%s/m.prom", dir);
	start_daemon(NULL, "--status-socket", sock, "--record", trace,
		     "--metrics", metrics, NULL);
	start_innocents();
	wait_for_status(out, sizeof(out), sock, "innocent-1");
	run_tool(out, sizeof(out), "status", "--json", "--status-socket", sock,
		 NULL);
	expect_text(out, "\"comm\":\"innocent-1\"");
	expect_text(out, "\"killed\":0");
	hog = start_process("hog", 300, 100, NULL);
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	run_tool(out, sizeof(out), "status", "--json", "--status-socket", sock,
		 NULL);
	expect_text(out, "\"killed\":1");
	stop_daemon();
	run_tool(out, sizeof(out), "--simulate", trace, NULL);
	expect_text(out, "then and now: kill");
	expect_text(out, " 1 kills now, 0 other than then");
	run_tool(out, sizeof(out), "--simulate", trace, "--ignore", "^hog$",
		 NULL);
	expect_text(out, "  now: ");
	f = fopen(metrics, "re");
	assert_non_null(f);
	out[fread(out, 1, sizeof(out) - 1, f)] = '\0';
	fclose(f);
	expect_text(out, "\nmreleased_kills_total 1\n");
	expect_text(out, "\nmreleased_release_seconds_count 1\n");
	unlink(trace);
	unlink(metrics);
	/* The socket is gone already. */
	assert_int_equal(rmdir(dir), 0);
}

/*
 * With the unit's system calls, capabilities and user: a call that is missing
 * would be the end of mreleased, and of nobody else.
 */
static void test_as_unit(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_as_unit();
	start_daemon(NULL, "-o", "AskAvailable=40%", "-o", "Hold=0", NULL);
	as_unit = false;
	start_innocents();
	hog = start_process("asked", 300, 20, end_on_term);
	assert_int_equal(test_wait(hog), 3);
	expect_said("has exited when asked");
	hog = start_process("hog", 300, 100, NULL);
	expect_signal(hog, SIGKILL);
	expect_said("(hog) are back after");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Reloading: a mistake is told and changes nothing, a right one counts. */
static void test_reload(void **state)
{
	char path[] = "/tmp/mreleased-test-XXXXXX";
	pid_t hog;
	int fd;

	(void)state;
	make_machine();
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	put(path, "[Victims]\nNever=^hog$\nMinGain=20%\n");
	start_daemon(NULL, "--config", path, NULL);
	start_innocents();
	put(path, "[Victims]\nNever=(\n");
	kill(daemon_run.pid, SIGHUP);
	expect_said("going on with the old one");
	hog = start_process("hog", 185, 200, NULL);
	expect_said("nobody is killed");
	put(path, "[Victims]\nMinGain=20%\n");
	kill(daemon_run.pid, SIGHUP);
	expect_said("configuration read again");
	unlink(path);
	expect_signal(hog, SIGKILL);
	expect_innocents_live();
	stop_daemon();
}

/*
 * From the moment that it wakes up to kill until the thread has its order,
 * mreleased calls neither malloc nor open: the preloaded library counts.
 */
static void test_no_allocation(void **state)
{
	char path[PATH_MAX];
	const char *line, *kill_line;
	pid_t hog;

	(void)state;
	make_machine();
	snprintf(path, sizeof(path), "%s", beside("libcount.so"));
	if (access(path, R_OK))
		skip_test("preload", "no libcount.so");
	start_daemon(path, NULL);
	start_innocents();
	hog = start_process("hog", 300, 40, NULL);
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	stop_daemon();
	kill_line = strstr(daemon_run.log, "killing process");
	assert_non_null(kill_line);
	/* The last order before it was said. */
	for (line = NULL;;) {
		const char *next =
			strstr(line ? line + 1 : daemon_run.log, "count: ");

		if (!next || next > kill_line)
			break;
		line = next;
	}
	assert_non_null(line);
	if (strncmp(line, "count: 0 opens 0 allocations", 28)) {
		show_log();
		fail();
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_hog),
		harness_test(test_asked),
		harness_test(test_asked_in_vain),
		harness_test(test_group),
		harness_test(test_job),
		harness_test(test_whole_cgroup),
		harness_test(test_omitted_cgroup),
		harness_test(test_never),
		harness_test(test_dry_run),
		harness_test(test_tmpfs),
		harness_test(test_as_unit),
		harness_test(test_status_and_trace),
		harness_test(test_reload),
		harness_test(test_no_allocation),
	};

	return run_group(tests);
}
