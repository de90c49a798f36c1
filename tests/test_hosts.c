/* SPDX-License-Identifier: MIT */
/* What the program that calls sees of a call: no signal, no child, no zombie. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"
#include "notify.h"

static volatile sig_atomic_t told;

static void on_sigchld(int sig)
{
	(void)sig;
	told++;
}

/* Orphans of its descendants come to it, as to the first process of a container. */
static void be_subreaper(void)
{
	struct sigaction act = { .sa_handler = on_sigchld };

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || sigaction(SIGCHLD, &act, NULL))
		_exit(2);
}

/* The victims are the test's children: whatever comes here is the library's. */
static void expect_nothing_seen(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, __WALL | WNOHANG);

	if (pid != -1 || errno != ECHILD) {
		printf("# child %d is left, status %x\n", pid, status);
		_exit(3);
	}
	if (told) {
		printf("# SIGCHLD came %d times\n", (int)told);
		_exit(4);
	}
}

enum target { PROCESS, CGROUP, TREE };

static int release_any(enum target target, struct victim *v, struct cgroup *cg,
		       uint32_t flags, struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);

	if (target == CGROUP)
		return release_cgroup(cg, flags, rep);
	if (target == TREE)
		return release_tree(v, flags, rep);
	rep->size = sizeof(*rep);
	return mrelease_process(v->fd, &opts, rep);
}

/* The helper dies in the middle of its work, as at the hands of an OOM killer. */
static int kill_sender(void *arg, unsigned int n, pid_t sender)
{
	pid_t host = *(pid_t *)arg;

	if (!n && sender != host)
		kill(sender, SIGKILL);
	return 0;
}

static void host_sees_nothing(enum target target, struct victim *v,
			      struct cgroup *cg, uint32_t flags, bool accident)
{
	pid_t child = test_fork();

	if (!child) {
		struct mrelease_report rep;
		pid_t self = getpid();
		struct notify last = {
			.call = SYS_pidfd_send_signal,
			.signal = SIGKILL,
			.fn = kill_sender,
			.arg = &self,
		};

		be_subreaper();
		if (accident)
			notify_begin(&last);
		if (release_any(target, v, cg, flags, &rep))
			_exit(1);
		expect_nothing_seen();
		_exit(0);
	}
	switch (test_wait(child)) {
	case 0:
		return;
	case 77:
		skip_test("seccomp", "no listener for a filter");
	case 1:
		fail_msg("the release failed");
		break;
	default:
		fail_msg("the host saw a helper");
	}
}

static void tree_case(uint32_t flags, bool accident)
{
	struct victim v;

	victim_start(&v, "tree", "2", "3", "1", NULL);
	host_sees_nothing(TREE, &v, NULL, flags, accident);
}

static void cgroup_case(enum cgroup_kind kind, unsigned int nr, bool accident)
{
	struct victim v[50];
	struct cgroup cg;

	cgroup_make(&cg, kind);
	fill_cgroup(&cg, v, nr, "1");
	host_sees_nothing(CGROUP, NULL, &cg, 0, accident);
	close(cg.fd);
}

/* Big enough for a second reaper. */
static void process_case(bool accident)
{
	struct victim v;

	victim_start(&v, "anon", "64", NULL);
	host_sees_nothing(PROCESS, &v, NULL, 0, accident);
}

static void test_subreaper(void **state)
{
	(void)state;
	process_case(false);
	tree_case(0, false);
	stops_expected = true;
	tree_case(MRELEASE_NO_PIN, false);
	cgroup_case(CGROUP_V2, 50, false);
}

static void test_helper_killed_process(void **state)
{
	(void)state;
	process_case(true);
}

static void test_helper_killed_tree(void **state)
{
	(void)state;
	tree_case(0, true);
	stops_expected = true;
	tree_case(MRELEASE_NO_PIN, true);
}

static void test_helper_killed_cgroup(void **state)
{
	(void)state;
	cgroup_case(CGROUP_V2, 50, true);
}

static void test_helper_killed_rounds(void **state)
{
	(void)state;
	cgroup_case(CGROUP_MEMORY, 10, true);
}

static void test_probe(void **state)
{
	pid_t child;

	(void)state;
	child = test_fork();
	if (!child) {
		struct mrelease_features f = { .size = sizeof(f) };

		be_subreaper();
		if (mrelease_probe(&f))
			_exit(1);
		expect_nothing_seen();
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_subreaper),
		harness_test(test_helper_killed_process),
		harness_test(test_helper_killed_tree),
		harness_test(test_helper_killed_cgroup),
		harness_test(test_helper_killed_rounds),
		harness_test(test_probe),
	};

	return run_group(tests);
}
