/* SPDX-License-Identifier: MIT */
/*
 * Victims that something holds: a tracer, a reader, a file server, a freezer,
 * their own core dump.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

static void traced_case(const char *name)
{
	struct mrelease_report rep;
	struct victim v;
	int i;

	for (i = 0; i < 10; i++) {
		victim_start(&v, name, "64", NULL);
		expect_report(&rep, release(&v, NULL, &rep) == 0);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_no_pin(&rep);
		expect_report(&rep, rep.notes & MRELEASE_NOTE_TRACED);
		expect_report(&rep, rep.tracer_pid == v.helper);
		expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
		assert_memory_back(&v);
		victim_end(&v);
	}
}

static void test_traced(void **state)
{
	(void)state;
	traced_case("traced");
}

static void test_traced_stopped(void **state)
{
	(void)state;
	traced_case("traced-stopped");
}

/*
 * Its tracer wants PTRACE_EVENT_EXIT and never answers: the memory is back,
 * the process is not gone, and both are said before the deadline.
 */
static void test_traced_exit(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	char line[16];

	(void)state;
	victim_start(&v, "traced-exit", "64", NULL);
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	assert_true(now_ns() < opts.deadline_ns + SEC_NS);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_VERIFIED);
	expect_report(&rep, rep.evidence == MRELEASE_EVIDENCE_PAGEMAP);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_TRACED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, rep.exit_ns == -1);
	assert_memory_back(&v);
	assert_int_equal(process_state(v.pid), 't');
	victim_command(&v, 'c');
	victim_reply(&v, line, sizeof(line));
	wait_for_state(v.pid, "Z");
}

/*
 * process_vm_readv() of another process holds the address space: kill -9
 * frees nothing for as long as the reader stalls.
 */
static void pinned_case(uint32_t flags)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep;
	struct victim v;

	victim_start(&v, "pinned", "64", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_released(&v, &rep,
			flags & MRELEASE_NO_PIN ? MRELEASE_PATH_UNPINNED : -1);
	expect_report(&rep, rep.evidence == MRELEASE_EVIDENCE_PAGEMAP);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_PINNED_ELSEWHERE);
	/* The reader was not hurt. */
	assert_true(process_exists(v.helper));
}

static void test_pinned_by_a_reader(void **state)
{
	(void)state;
	pinned_case(0);
}

/*
 * The same when the victim has become a zombie before anybody asks: its mm
 * cannot be found any more, or, by a patched kernel, be reaped but not looked
 * at.  That is said, and the memory is not claimed.
 */
static void test_pinned_zombie(void **state)
{
	struct mrelease_report rep;
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "pinned", "32", NULL);
	kill(v.pid, SIGKILL);
	wait_for_state(v.pid, "Z");
	assert_int_equal(victim_resident(&v), 32 * MIB);
	ret = release(&v, NULL, &rep);
	expect_report(&rep, ret == 0 || ret == -ESRCH);
	expect_report(&rep, rep.result != MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 0 && rep.released_bytes == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_ZOMBIE);
	assert_int_equal(victim_resident(&v),
			 kernel_reaps_exited() ? 0 : 32 * MIB);
}

/*
 * Prepared in time, killed by somebody else, a zombie by the time of the
 * release, and its memory held by the reader.  The handles of prepare still
 * tell that nothing has come back; or, with a patched kernel, that all has.
 */
static void test_prepared_then_zombie(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	struct victim v;

	(void)state;
	victim_start(&v, "pinned", "32", NULL);
	assert_int_equal(mrelease_prepare(v.fd, NULL, NULL, &target), 0);
	kill(v.pid, SIGKILL);
	wait_for_state(v.pid, "Z");
	mrelease_release(target, in_seconds(2), &rep);
	if (kernel_reaps_exited()) {
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.path == MRELEASE_PATH_KERNEL);
		assert_int_equal(victim_resident(&v), 0);
	} else {
		expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
		expect_report(&rep, rep.verified == 0);
		expect_report(&rep, rep.released_bytes == 0);
		assert_int_equal(victim_resident(&v), 32 * MIB);
	}
	mrelease_target_free(target);
}

enum target { PROCESS, TREE, CGROUP };

/* Its memory is taken from outside, and the answer is the same for each target. */
static void uninterruptible(enum target target)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct cgroup cg;
	struct victim v;
	char line[16];
	int ret;

	victim_start(&v, "dstate", "64", NULL);
	if (target == CGROUP) {
		cgroup_make(&cg, CGROUP_V2);
		cgroup_add(&cg, v.pid);
	}
	opts.deadline_ns = in_seconds(1);
	ret = target == PROCESS ? release(&v, &opts, &rep) :
	      target == TREE	? mrelease_tree(v.fd, &opts, &rep, NULL, NULL) :
				  mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	expect_report(&rep, ret == 0);
	assert_true(now_ns() < opts.deadline_ns + SEC_NS);
	assert_int_equal(process_state(v.pid), 'D');
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.evidence == MRELEASE_EVIDENCE_PAGEMAP);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_DSTATE);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, rep.exit_ns == -1);
	expect_report(&rep, target != PROCESS ||
				    rep.stage == MRELEASE_STAGE_VERIFIED);
	assert_memory_back(&v);
	/* And it goes on to die: nobody holds it in an exit stop. */
	victim_command(&v, 'a');
	victim_reply(&v, line, sizeof(line));
	wait_for_state(v.pid, "Z");
	victim_end(&v);
	if (target == CGROUP)
		close(cg.fd);
}

static void test_uninterruptible(void **state)
{
	(void)state;
	uninterruptible(PROCESS);
}

static void test_uninterruptible_in_a_tree(void **state)
{
	(void)state;
	uninterruptible(TREE);
}

static void test_uninterruptible_in_a_cgroup(void **state)
{
	(void)state;
	uninterruptible(CGROUP);
}

/* The kernel does not reap what dumps core.  It is said, nothing is claimed. */
static void test_coredump_stalled(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	char line[16];

	(void)state;
	victim_start(&v, "coredump", "16", NULL);
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	assert_true(now_ns() < opts.deadline_ns + SEC_NS);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_COREDUMP);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, rep.outstanding_bytes >= 16 * MIB);
	expect_report(&rep, rep.released_bytes < MIB);
	victim_command(&v, 'a');
	victim_reply(&v, line, sizeof(line));
	wait_for_state(v.pid, "Z");
}

static bool killed(void *arg)
{
	const struct victim *v = arg;

	return process_killed(v->pid) || process_gone(v->pid);
}

/* Interleaving: SIGKILL is sent; only then the write of the dump returns. */
static void *answer_after_kill(void *arg)
{
	struct victim *v = arg;

	wait_until(killed, v, "SIGKILL pending");
	victim_command(v, 'a');
	return NULL;
}

static void coredump_ends(const char *threads)
{
	struct mrelease_report rep;
	pthread_t thread;
	struct victim v;

	victim_start(&v, "coredump", "16", threads, NULL);
	assert_int_equal(pthread_create(&thread, NULL, answer_after_kill, &v),
			 0);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	pthread_join(thread, NULL);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_COREDUMP);
}

static void test_coredump_ends(void **state)
{
	(void)state;
	coredump_ends(NULL);
}

/* They die without an exit stop, behind a dump that SIGKILL ends. */
static void test_coredump_of_threads(void **state)
{
	(void)state;
	coredump_ends("4");
}

/* SIGABRT asks for a core dump, and SIGKILL comes in the middle of it. */
static void test_coredump_asked_for(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	pthread_t thread;
	struct victim v;

	(void)state;
	opts.soft_signal = SIGABRT;
	opts.grace_ns = SEC_NS / 4;
	victim_start(&v, "coredump", "16", "4", "1", NULL);
	assert_int_equal(pthread_create(&thread, NULL, answer_after_kill, &v),
			 0);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	pthread_join(thread, NULL);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_COREDUMP);
	assert_true(process_gone(v.pid));
}

/* A frozen process of v1 cannot die, but its memory can come back. */
static void test_frozen_v1(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	cgroup_make(&cg, CGROUP_FREEZER);
	victim_start(&v, "anon", "64", NULL);
	cgroup_add(&cg, v.pid);
	cgroup_freeze(&cg);
	opts.deadline_ns = in_seconds(2);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	close(cg.fd);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_FROZEN);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	assert_memory_back(&v);
	/* Somebody else froze it: not ours to thaw. */
	assert_true(cgroup_frozen(&cg));
	assert_int_equal(process_tracer(v.pid), 0);
}

static void test_frozen_v2(void **state)
{
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&v, "anon", "64", NULL);
	cgroup_add(&cg, v.pid);
	cgroup_freeze(&cg);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	close(cg.fd);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
}

/* Out of CPU time for the rest of a second, again and again. */
static void test_throttled(void **state)
{
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	cgroup_make(&cg, CGROUP_CPU);
	victim_start(&v, "spinning", "64", NULL);
	cgroup_add(&cg, v.pid);
	cgroup_throttle(&cg);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	close(cg.fd);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.released_bytes >= 64 * MIB);
	assert_memory_back(&v);
}

/* The first of them waits for the exit, and it comes late. */
static void *answer_late(void *arg)
{
	const struct timespec late = { 3, 0 };
	struct victim *v = arg;

	nanosleep(&late, NULL);
	victim_command(v, 'a');
	return NULL;
}

/*
 * With a deadline the exit is waited for until then, and not only for so long
 * as nobody has said how long (2 s).
 */
static void test_exit_is_waited_for(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	pthread_t thread;
	struct victim v;

	(void)state;
	victim_start(&v, "dstate", "16", NULL);
	assert_int_equal(pthread_create(&thread, NULL, answer_late, &v), 0);
	opts.deadline_ns = in_seconds(3 + PATIENCE_S);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	pthread_join(thread, NULL);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	assert_true(process_gone(v.pid));
}

/* Mapped by one that stands in its exit stop: shared memory is not back. */
static void test_shared_of_one_that_stands(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];
	struct victim v;

	(void)state;
	stops_expected = true;
	victim_start(&v, "shared-anon", "16", NULL);
	if (ptrace(PTRACE_SEIZE, v.pid, 0, PTRACE_O_TRACEEXIT))
		skip_test("traced", "ptrace: %s", strerror(errno));
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, e->before_bytes >= 16 * MIB);
	expect_report(&rep, e->back_bytes == 0);
	expect_report(&rep, e->outstanding_bytes >= 16 * MIB);
	expect_report(&rep, e->reason == MRELEASE_REASON_NOT_EXITED ||
				    e->reason == MRELEASE_REASON_UNKNOWN);
	wait_for_state(v.pid, "t");
	assert_int_equal(waitpid(v.pid, NULL, __WALL), v.pid);
	ptrace(PTRACE_DETACH, v.pid, 0, 0);
	assert_killed(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_traced),
		harness_test(test_traced_stopped),
		harness_test(test_traced_exit),
		harness_test(test_pinned_by_a_reader),
		harness_test(test_pinned_zombie),
		harness_test(test_prepared_then_zombie),
		harness_test(test_uninterruptible),
		harness_test(test_uninterruptible_in_a_tree),
		harness_test(test_uninterruptible_in_a_cgroup),
		harness_test(test_coredump_stalled),
		harness_test(test_coredump_ends),
		harness_test(test_coredump_of_threads),
		harness_test(test_coredump_asked_for),
		harness_test(test_throttled),
		harness_test(test_frozen_v1),
		harness_test(test_frozen_v2),
		harness_test(test_exit_is_waited_for),
		harness_test(test_shared_of_one_that_stands),
	};

	return run_group(tests);
}
