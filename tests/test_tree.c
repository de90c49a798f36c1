/* SPDX-License-Identifier: MIT */
/* A process and all its descendants, also while they fork. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"

/*
 * What descends from the victim, also after it has died: its orphans come to
 * us, the subreaper, and are the only children that run its program.
 */
static unsigned int family_left(void)
{
	pid_t children[MAX_MEMBERS];
	unsigned int i, n, left = 0;

	n = process_children(getpid(), children, MAX_MEMBERS);
	for (i = 0; i < n; i++) {
		if (!process_exists(children[i]))
			continue;
		printf("# %d is left: %c%s\n", children[i],
		       process_state(children[i]),
		       same_program(children[i]) ? ", a helper?" : "");
		left++;
	}
	return left;
}

static void test_standing_tree(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	size_t i;

	(void)state;
	/* 1 + 3 + 9 + 27 */
	victim_start(&v, "tree", "3", "3", "2", NULL);
	expect_report(&rep, release_tree(&v, 0, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.members == 40 && rep.members_verified == 40);
	expect_report(&rep, rep.threads == 40);
	expect_report(&rep, rep.released_bytes >= 80 * MIB);
	expect_report(&rep, rep.outstanding_bytes == 0);
	assert_int_equal(nr_members, 40);
	for (i = 0; i < nr_members; i++)
		assert_true(process_gone(members[i].pid));
	assert_int_equal(family_left(), 0);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_no_pin(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "tree", "2", "4", "1", NULL);
	stops_expected = true;
	expect_report(&rep, release_tree(&v, MRELEASE_NO_PIN, &rep) == 0);
	expect_report(&rep, rep.members == 21);
	assert_int_equal(family_left(), 0);
	assert_killed(&v);
}

static void test_only_below(void **state)
{
	struct mrelease_report rep;
	struct victim v, other;

	(void)state;
	victim_start(&other, "anon", "4", NULL);
	victim_start(&v, "tree", "1", "3", "1", NULL);
	expect_report(&rep, release_tree(&v, 0, &rep) == 0);
	expect_report(&rep, rep.members == 4);
	assert_untouched(&other);
}

static void test_dry_run(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	/* 1 + 2 + 4 + 8 */
	victim_start(&v, "tree", "3", "2", "1", NULL);
	expect_report(&rep, release_tree(&v, MRELEASE_DRY_RUN, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	expect_report(&rep, rep.members == 15);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 15 * MIB);
	/* The commands of the tree are answered by any of them. */
	assert_true(process_exists(v.pid));
	assert_int_equal(process_tracer(v.pid), 0);
	assert_int_equal(family_left(), 1);
}

/*
 * A victim that is our child, and is sent SIGSTOP before SIGKILL: without ptrace, or
 * where it could not be traced in time, which the report says.
 */
static void expect_stops(uint32_t flags, const struct mrelease_report *rep)
{
	if (flags & MRELEASE_NO_PIN || rep->notes & MRELEASE_NOTE_NO_PIN)
		stops_expected = true;
}

/*
 * Members that fork and exit without end below a root that stays, and gets
 * the orphans.  However the release ends, nobody is left.
 */
static void forking_case(const char *name, const char *live, uint32_t flags,
			 struct mrelease_report *rep)
{
	struct victim v;
	int64_t start;

	victim_start(&v, name, live, NULL);
	start = now_ns();
	expect_report(rep, release_tree(&v, flags, rep) == 0);
	expect_stops(flags, rep);
	printf("# %s %s: %lld ms, %u members\n", name, live,
	       (long long)(now_ns() - start) / 1000000, rep->members);
	assert_int_equal(family_left(), 0);
	expect_report(rep, rep->stage == MRELEASE_STAGE_EXITED);
	expect_report(rep, rep->members > 1);
	assert_killed(&v);
}

static void test_forking(void **state)
{
	struct mrelease_report rep;
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++) {
		forking_case("forkbomb", "16", 0, &rep);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.members_verified == rep.members);
	}
}

/*
 * A member that holds its mmap_lock in fork() and gets no CPU for long cannot be told
 * from one that hangs.  When that happens twice, it is killed without being inspected,
 * and the report says so.
 */
static void expect_all_seen(const struct mrelease_report *rep)
{
	expect_report(rep, rep->result == MRELEASE_RELEASED ||
				   (rep->notes & MRELEASE_NOTE_CANNOT_VERIFY &&
				    rep->members_verified + 2 >= rep->members));
}

static void test_forking_hard(void **state)
{
	struct mrelease_report rep;
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++) {
		forking_case("forkbomb", "100", 0, &rep);
		expect_all_seen(&rep);
	}
}

/* Stopped with SIGSTOP instead of traced. */
static void test_forking_no_pin(void **state)
{
	struct mrelease_report rep;
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++)
		forking_case("forkbomb", may_hurry() ? "50" : "8",
			     MRELEASE_NO_PIN, &rep);
}

static void test_rabbit(void **state)
{
	struct mrelease_report rep;
	int i;

	(void)state;
	for (i = 0; i < rounds(5); i++) {
		forking_case("rabbit", "10000000", 0, &rep);
		forking_case("rabbit", "10000000", MRELEASE_NO_PIN, &rep);
	}
}

/*
 * Children that PTRACE_O_TRACEFORK does not attach: the parent asked for it
 * with CLONE_UNTRACED.
 */
static void test_untraced(void **state)
{
	const char *const bombs[][3] = {
		{ "forkbomb", "16", "10000000" },
		/* More than a release at nice 0 gets to the end of. */
		{ "forkbomb", may_hurry() ? "100" : "8", "10000000" },
		{ "rabbit", "10000000", "1" },
	};
	struct mrelease_report rep;
	struct victim v;
	int64_t start;
	size_t i;

	(void)state;
	for (i = 0; i < 4 * ARRAY_LEN(bombs); i++) {
		const char *const *args = bombs[i % ARRAY_LEN(bombs)];

		victim_start(&v, args[0], args[1], args[2], "1", NULL);
		start = now_ns();
		expect_report(&rep, release_tree(&v, 0, &rep) == 0);
		expect_stops(0, &rep);
		printf("# %s %s: %lld ms, %u members\n", args[0], args[1],
		       (long long)(now_ns() - start) / 1000000, rep.members);
		assert_int_equal(family_left(), 0);
		expect_all_seen(&rep);
		assert_killed(&v);
	}
}

/* Who is neither alive nor a zombie keeps its children: they are ours. */
static void test_below_an_exiting_one(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	size_t i;

	(void)state;
	victim_start(&v, "exiting-child", NULL);
	expect_report(&rep, release_tree(&v, 0, &rep) == 0);
	expect_report(&rep, rep.members == 2);
	for (i = 0; i < nr_members; i++)
		assert_true(process_gone(members[i].pid));
	victim_command(&v, 'a');
}

/* All threads are attached, one is the pin: the others are let go as well. */
static void test_many_threads(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	int64_t start;
	int i;

	(void)state;
	for (i = 0; i < rounds(20); i++) {
		victim_start(&v, "threads", "500", "1", NULL);
		start = now_ns();
		expect_report(&rep, release_tree(&v, 0, &rep) == 0);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
		/* The deadline is in 20 s. */
		assert_true(now_ns() - start < 10 * SEC_NS);
		assert_killed(&v);
	}
}

/*
 * As somebody who has few descriptors and may not have more.  The members
 * then share what there is; where it is too few they are killed unseen.
 */
static void few_descriptors(rlim_t most, bool seen)
{
	struct victim_setup setup = { .uid = is_root() ? 65534 : 0 };
	const struct rlimit lim = { most, most };
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	pid_t child;
	int ret;

	victim_start_with(&v, &setup, "tree", "2", "7", "1", NULL);
	stops_expected = !seen;
	child = test_fork();
	if (!child) {
		if (setrlimit(RLIMIT_NOFILE, &lim) ||
		    (setup.uid && (setgroups(0, NULL) || setgid(setup.uid) ||
				   setuid(setup.uid))))
			_exit(1);
		ret = mrelease_tree(v.fd, &opts, &rep, NULL, NULL);
		if (ret == 0 && rep.members >= 57 && rep.verified == seen &&
		    !(rep.notes & MRELEASE_NOTE_HANDLES) == seen)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	assert_int_equal(family_left(), 0);
	assert_killed(&v);
}

static void test_few_descriptors(void **state)
{
	(void)state;
	few_descriptors(270, true);
}

static void test_too_few_descriptors(void **state)
{
	(void)state;
	few_descriptors(60, false);
}

/* The caller is below it: never, not even with the override. */
static void test_refuses_our_own_tree(void **state)
{
	pid_t child;

	(void)state;
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
		struct mrelease_report rep = { .size = sizeof(rep) };
		int fd = mrelease_open(getppid(), 0), ret;

		ret = mrelease_tree(fd, &opts, &rep, NULL, NULL);
		if (ret != -EPERM || rep.refusal != MRELEASE_REFUSE_ANCESTOR)
			_exit(1);
		opts.flags |= MRELEASE_ALLOW_ANCESTOR;
		ret = mrelease_tree(fd, &opts, &rep, NULL, NULL);
		/* Allowed as a target, but we ourselves are no member. */
		if (ret && ret != -EPERM)
			_exit(2);
		_exit(0);
	}
	assert_int_equal(test_wait(child), 0);
}

/* Their numbers are more than one reading of the list has room for. */
static void test_many_children(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "tree", "1", "400", NULL);
	expect_report(&rep, release_tree(&v, 0, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 401);
	assert_int_equal(family_left(), 0);
	assert_killed(&v);
}

static void *for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* Nobody's, with a child of root's, which forked it before it became that. */
static pid_t start_foreign_child(bool headless, pid_t *ret_child)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = test_fork();
	if (!pid) {
		pid_t child = fork();
		pthread_t thread;

		prctl(PR_SET_NAME, child ? "the-root" : "the-child");
		if (child &&
		    (setgroups(0, NULL) || setgid(65534) || setuid(65534)))
			_exit(1);
		if (child && write(ends[1], &child, sizeof(child)) < 0)
			_exit(1);
		if (child && headless &&
		    !pthread_create(&thread, NULL, for_ever, NULL))
			syscall(SYS_exit, 0);
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], ret_child, sizeof(*ret_child)),
			 sizeof(*ret_child));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

/*
 * Where ptrace is refused (see "without" in meson.build) the root is stopped
 * before its child is found, which may not be killed.  Then it goes on, unless
 * somebody else had stopped it.
 */
static void undone_case(bool stopped, bool headless)
{
	pid_t root, thread, below, child;

	root = thread = start_foreign_child(headless, &below);
	if (headless) {
		wait_for_state(root, "Z");
		thread = process_other_thread(root);
	}
	if (stopped) {
		kill(root, SIGSTOP);
		wait_for_state(thread, "T");
	}
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		struct mrelease_report rep = { .size = sizeof(rep) };
		int fd, ret;

		if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(1);
		fd = mrelease_open(root, 0);
		ret = mrelease_tree(fd, &opts, &rep, NULL, NULL);
		if (ret == -EPERM && rep.result == MRELEASE_REFUSED &&
		    rep.refused_pid == below && rep.pid == root &&
		    !strcmp(rep.comm, "the-root"))
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	wait_for_state(thread, stopped ? "T" : "S");
	assert_int_equal(process_tracer(root), 0);
	assert_true(process_exists(below) && !process_killed(below));
	/* An orphan of ours, and no child of the harness's. */
	kill(root, SIGKILL);
	assert_int_equal(waitpid(root, NULL, 0), root);
	kill(below, SIGKILL);
	assert_int_equal(waitpid(below, NULL, 0), below);
}

static void test_refused_is_undone(void **state)
{
	(void)state;
	need_root();
	stops_expected = true;
	undone_case(false, false);
	undone_case(true, false);
	undone_case(false, true);
	undone_case(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_standing_tree),
		harness_test(test_no_pin),
		harness_test(test_only_below),
		harness_test(test_dry_run),
		harness_test(test_forking),
		harness_test(test_forking_hard),
		harness_test(test_forking_no_pin),
		harness_test(test_rabbit),
		harness_test(test_untraced),
		harness_test(test_below_an_exiting_one),
		harness_test(test_many_threads),
		harness_test(test_few_descriptors),
		harness_test(test_too_few_descriptors),
		harness_test(test_refuses_our_own_tree),
		harness_test(test_many_children),
		harness_test(test_refused_is_undone),
	};

	return run_group(tests);
}
