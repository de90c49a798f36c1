/* SPDX-License-Identifier: MIT */
/* A host that has become another since: its user, its program, its namespaces. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define OTHER_USER 65534

static struct mrelease_target *prepare(const struct victim *v)
{
	struct mrelease_opts opts = opts_with(MRELEASE_STANDBY);
	struct mrelease_target *target;

	if (mrelease_prepare(v->fd, &opts, NULL, &target))
		_exit(2);
	return target;
}

static void change_user(void)
{
	if (setgid(OTHER_USER) || setuid(OTHER_USER))
		_exit(3);
}

static bool has_child(void)
{
	return process_children(getpid(), (pid_t[8]){ 0 }, 8) > 0;
}

/* A host, in a process of its own, exits with 0; the victim is none the worse for it. */
static void host_case(void (*host_main)(struct victim *v))
{
	struct victim v;
	pid_t host;

	need_root();
	victim_start(&v, "anon", "8", NULL);
	host = test_fork();
	if (!host)
		host_main(&v);
	assert_int_equal(test_wait(host), 0);
	assert_untouched(&v);
}

static void frees(struct victim *v)
{
	struct mrelease_target *target = prepare(v);

	change_user();
	mrelease_target_free(target);
	_exit(has_child() ? 4 : 0);
}

/*
 * The signal that tells a helper of its host's death is refused, as is the one that
 * the host would end it with.
 */
static void test_user(void **state)
{
	(void)state;
	host_case(frees);
}

static void dies(struct victim *v)
{
	pid_t host;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	host = fork();
	if (!host) {
		prepare(v);
		change_user();
		raise(SIGKILL);
	}
	if (host < 0 || waitpid(host, NULL, 0) != host)
		_exit(5);
	/* The orphan comes to us; one that does not end is no reason to wait. */
	alarm(20);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	_exit(errno == ECHILD ? 0 : 6);
}

static void test_user_dies(void **state)
{
	(void)state;
	host_case(dies);
}

static void releases(struct victim *v)
{
	struct mrelease_target *target = prepare(v);

	change_user();
	_exit(mrelease_release(target, in_seconds(10), NULL) == -EPERM ? 0 : 7);
}

/* What root has prepared is not released with root's permissions. */
static void test_user_releases(void **state)
{
	(void)state;
	host_case(releases);
}

static struct mrelease_target *prepared;

/* As /proc says, whose number of the host is that of its main thread. */
static void *release_without_main(void *arg)
{
	struct mrelease_report rep = { .size = sizeof(rep) };

	(void)arg;
	wait_for_state(getpid(), "Z");
	if (mrelease_release(prepared, in_seconds(20), &rep))
		_exit(8);
	mrelease_target_free(prepared);
	if (!rep.verified)
		child_failed(&rep);
	_exit(has_child() ? 9 : 0);
}

static void *prepare_it(void *arg)
{
	prepared = prepare(arg);
	return NULL;
}

/* The thread that made the helper exits, and the host lives on. */
static void thread_case(bool main_exits)
{
	struct victim v;
	pthread_t thread;
	pid_t host;

	victim_start(&v, "anon", "8", NULL);
	host = test_fork();
	if (!host && main_exits) {
		prepare_it(&v);
		if (pthread_create(&thread, NULL, release_without_main, NULL))
			_exit(10);
		syscall(SYS_exit, 0);
	}
	if (!host) {
		struct mrelease_report rep = { .size = sizeof(rep) };

		if (pthread_create(&thread, NULL, prepare_it, &v) ||
		    pthread_join(thread, NULL))
			_exit(10);
		if (mrelease_release(prepared, in_seconds(20), &rep) ||
		    !rep.verified)
			child_failed(&rep);
		mrelease_target_free(prepared);
		_exit(has_child() ? 9 : 0);
	}
	assert_int_equal(test_wait(host), 0);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_thread_exits(void **state)
{
	(void)state;
	thread_case(false);
	thread_case(true);
}

/* Its memory and its files would live on in the helper. */
static void test_program(void **state)
{
	struct victim v;
	struct pollfd closed;
	pid_t host;
	int ends[2];

	(void)state;
	victim_start(&v, "anon", "8", NULL);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	host = test_fork();
	if (!host) {
		prepare(&v);
		execlp("sleep", "sleep", "600", NULL);
		_exit(7);
	}
	close(ends[1]);
	closed = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	assert_int_equal(poll(&closed, 1, 20000), 1);
	assert_true(closed.revents & POLLHUP);
	close(ends[0]);
	assert_true(process_exists(host));
	kill(host, SIGKILL);
	assert_int_equal(waitpid(host, NULL, 0), host);
	assert_untouched(&v);
}

/* The first child in a namespace is its init: no helper may be that. */
static void in_new_namespace(struct victim *v)
{
	struct mrelease_features features = { .size = sizeof(features) };
	struct mrelease_report rep = { .size = sizeof(rep) };
	int status;
	pid_t first;

	if (unshare(CLONE_NEWPID))
		_exit(77);
	if (mrelease_probe(&features) || mrelease_process(v->fd, NULL, &rep))
		_exit(2);
	first = fork();
	if (!first)
		_exit(getpid() == 1 ? 0 : 3);
	if (first < 0 || waitpid(first, &status, 0) != first)
		_exit(4);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 5);
}

static void test_pid_namespace(void **state)
{
	struct victim v;
	pid_t host;

	(void)state;
	victim_start(&v, "anon", "8", NULL);
	host = test_fork();
	if (!host)
		in_new_namespace(&v);
	switch (test_wait(host)) {
	case 0:
		break;
	case 77:
		skip_test("unshare", "no new PID namespace");
	default:
		fail_msg("the namespace ended before it began");
	}
	assert_killed(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_user),
		harness_test(test_user_dies),
		harness_test(test_user_releases),
		harness_test(test_program),
		harness_test(test_pid_namespace),
		harness_test(test_thread_exits),
	};

	return run_group(tests);
}
