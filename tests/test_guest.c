/* SPDX-License-Identifier: MIT */
/*
 * A guest in somebody else's program: what the host does with its children,
 * signals, threads and descriptors goes on as if nothing happened.
 *
 * The victims here are grandchildren whose parent does not wait for them, so
 * that the host has no event of its own to see: whatever it sees is ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define NR_VICTIMS 20

static atomic_bool stop;
static atomic_uint seen, handled;
static volatile int what_status;
static volatile pid_t what_pid;

static void count_sigchld(int sig)
{
	(void)sig;
	atomic_fetch_add(&handled, 1);
}

/* As an event loop's child watcher does, as fast as it can. */
static void *reap_loop(void *unused)
{
	int status;
	pid_t pid;

	(void)unused;
	while (!atomic_load(&stop)) {
		pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
		if (pid > 0) {
			what_pid = pid;
			what_status = status;
			atomic_fetch_add(&seen, 1);
		}
	}
	return NULL;
}

/*
 * A task is in state T before its parent is told (do_signal_stop()), and off the
 * CPU after it.  Where wchan says nothing that is not waited for.
 */
static void wait_until_told(pid_t pid)
{
	const struct timespec pause = { 0, 1000000 };
	char path[64];
	int c = '0';

	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	for (int i = 0; i < 200 && c == '0'; i++) {
		FILE *f = fopen(path, "re");

		c = f ? fgetc(f) : EOF;
		if (f)
			fclose(f);
		if (c == '0')
			nanosleep(&pause, NULL);
	}
}

static void start_victims(struct victim *v, unsigned int n)
{
	while (n--) {
		victim_start(v, "stopped", "8", NULL);
		wait_until_told(v++->pid);
	}
}

/* Start the watcher and the handler only once the victims stand. */
static void begin_watching(pthread_t *thread)
{
	struct sigaction act = { .sa_handler = count_sigchld };

	atomic_store(&stop, false);
	atomic_store(&seen, 0);
	atomic_store(&handled, 0);
	assert_int_equal(sigaction(SIGCHLD, &act, NULL), 0);
	assert_int_equal(pthread_create(thread, NULL, reap_loop, NULL), 0);
}

static void end_watching(pthread_t thread)
{
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	if (atomic_load(&seen))
		fail_msg("waitpid() saw %u, last %d with status %x", seen,
			 what_pid, (unsigned int)what_status);
	assert_int_equal(atomic_load(&handled), 0);
}

static void test_wait_loops_and_sigchld(void **state)
{
	struct victim v[NR_VICTIMS];
	struct mrelease_report rep;
	pthread_t thread;
	size_t i;

	(void)state;
	start_victims(v, NR_VICTIMS);
	begin_watching(&thread);
	for (i = 0; i < NR_VICTIMS; i++) {
		expect_report(&rep, release(&v[i], NULL, &rep) == 0);
		expect_released(&v[i], &rep, -1);
	}
	end_watching(thread);
}

/* The probe forks a child of its own: nor must that one be seen. */
static void test_probe_unseen(void **state)
{
	struct mrelease_features f = { .size = sizeof(f) };
	struct victim v;
	pthread_t thread;
	int i;

	(void)state;
	/* A child that stays, or waitpid() would tell ECHILD only. */
	victim_start(&v, "anon", "1", NULL);
	begin_watching(&thread);
	for (i = 0; i < 20; i++)
		assert_int_equal(mrelease_probe(&f), 0);
	end_watching(thread);
}

static void test_group_unseen(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v[NR_VICTIMS];
	struct cgroup cg;
	pthread_t thread;
	size_t i, n = 0;
	int ret;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	start_victims(v, NR_VICTIMS);
	for (i = 0; i < NR_VICTIMS; i++)
		cgroup_add(&cg, v[i].pid);
	begin_watching(&thread);
	ret = mrelease_cgroup(cg.fd, &opts, &rep, NULL, &n);
	end_watching(thread);
	close(cg.fd);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == NR_VICTIMS);
}

static void test_tree_unseen(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	pthread_t thread;
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "stopped", "8", NULL);
	wait_until_told(v.pid);
	begin_watching(&thread);
	ret = mrelease_tree(v.fd, &opts, &rep, NULL, NULL);
	end_watching(thread);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 1);
	assert_memory_back(&v);
}

/* Another child of the host dies meanwhile: the host gets it, and once. */
static void test_own_children_are_told(void **state)
{
	struct victim v[NR_VICTIMS];
	struct mrelease_report rep;
	int status;
	pid_t child;
	size_t i;

	(void)state;
	start_victims(v, NR_VICTIMS);
	for (i = 0; i < NR_VICTIMS; i++) {
		child = test_fork();
		if (!child)
			_exit(7);
		expect_report(&rep, release(&v[i], NULL, &rep) == 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
}

struct worker {
	pthread_t thread;
	struct victim v[4];
	struct mrelease_report rep[4];
	int ret[4];
	sigset_t mask;
};

static void *release_all(void *arg)
{
	struct worker *w = arg;
	size_t i;

	for (i = 0; i < ARRAY_LEN(w->v); i++) {
		w->rep[i].size = sizeof(w->rep[i]);
		w->ret[i] = mrelease_process(w->v[i].fd, NULL, &w->rep[i]);
	}
	sigprocmask(SIG_BLOCK, NULL, &w->mask);
	return NULL;
}

/* Eight threads, each with a small stack and every signal blocked. */
static void test_eight_threads(void **state)
{
	static struct worker workers[8];
	sigset_t all, old;
	pthread_attr_t attr;
	size_t i, j;

	(void)state;
	for (i = 0; i < ARRAY_LEN(workers); i++) {
		for (j = 0; j < 4; j++)
			victim_start(&workers[i].v[j], "anon", "16", NULL);
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (i = 0; i < ARRAY_LEN(workers); i++) {
		assert_int_equal(pthread_create(&workers[i].thread, &attr,
						release_all, &workers[i]),
				 0);
	}
	for (i = 0; i < ARRAY_LEN(workers); i++)
		pthread_join(workers[i].thread, NULL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	for (i = 0; i < ARRAY_LEN(workers); i++) {
		/* What the library blocks for itself it unblocks again, */
		/* and what the host blocks it leaves blocked. */
		assert_int_equal(sigismember(&workers[i].mask, SIGUSR1), 1);
		for (j = 0; j < 4; j++) {
			struct mrelease_report *rep = &workers[i].rep[j];

			expect_report(rep, workers[i].ret[j] == 0);
			check_report(rep, 0);
			expect_released(&workers[i].v[j], rep, -1);
			assert_killed(&workers[i].v[j]);
		}
	}
	pthread_attr_destroy(&attr);
}

static void *release_one(void *arg)
{
	struct victim *v = arg;
	static __thread struct mrelease_report rep;
	int ret;

	rep.size = sizeof(rep);
	ret = mrelease_process(v->fd, NULL, &rep);
	if (ret && ret != -ESRCH)
		return (void *)1;
	return NULL;
}

/* The same victim, from four threads: all end, and it is gone once. */
static void test_the_same_victim_twice(void **state)
{
	pthread_t threads[4];
	struct victim v;
	void *bad;
	size_t i;
	int round;

	(void)state;
	for (round = 0; round < rounds(20); round++) {
		victim_start(&v, "anon", "32", NULL);
		for (i = 0; i < ARRAY_LEN(threads); i++) {
			assert_int_equal(pthread_create(&threads[i], NULL,
							release_one, &v),
					 0);
		}
		for (i = 0; i < ARRAY_LEN(threads); i++) {
			pthread_join(threads[i], &bad);
			assert_null(bad);
		}
		assert_memory_back(&v);
		assert_killed(&v);
		victim_end(&v);
	}
}

/* CPU affinity, scheduling and the thread's name are the host's, too. */
static void test_thread_attributes(void **state)
{
	struct mrelease_report rep;
	char before[16], after[16];
	cpu_set_t cpus, cpus_after;
	struct victim v;

	(void)state;
	assert_int_equal(pthread_getname_np(pthread_self(), before, 16), 0);
	assert_int_equal(
		pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus), 0);
	victim_start(&v, "anon", "300", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	pthread_getaffinity_np(pthread_self(), sizeof(cpus), &cpus_after);
	assert_true(CPU_EQUAL(&cpus, &cpus_after));
	pthread_getname_np(pthread_self(), after, 16);
	assert_string_equal(before, after);
	assert_killed(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_wait_loops_and_sigchld),
		harness_test(test_probe_unseen),
		harness_test(test_group_unseen),
		harness_test(test_tree_unseen),
		harness_test(test_own_children_are_told),
		harness_test(test_eight_threads),
		harness_test(test_the_same_victim_twice),
		harness_test(test_thread_attributes),
	};

	return run_group(tests);
}
