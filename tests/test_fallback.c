/* SPDX-License-Identifier: MIT */
/*
 * Kernels and sandboxes with less: run by "without CALL... -- test_fallback".
 * Everything here must hold whatever is missing; what is weaker then is said
 * where it is asserted.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* MRELEASE_WITHOUT as without(1) was given it; NULL when run by hand. */
static bool missing(const char *call)
{
	const char *p = getenv("MRELEASE_WITHOUT");
	size_t len = strlen(call);

	while (p && *p) {
		if (!strncmp(p, call, len) && strchr(",:", p[len]))
			return true;
		p = strchr(p, ',');
		p = p ? p + 1 : NULL;
	}
	return false;
}

static struct mrelease_features features;

static void expect_feature(const char *call, int32_t value)
{
	if (missing(call) && value != -ENOSYS && value != -EPERM &&
	    value != -ENOTTY)
		fail_msg("probe says %d of %s, which is not there", value,
			 call);
	/* Not asserted the other way: this kernel may lack it, too. */
	if (!missing(call) && value != 1)
		print_message("# %s: %d\n", call, value);
}

/* The filter is on, and the probe, which only calls, sees it. */
static void test_probe(void **state)
{
	long ret;

	(void)state;
	if (missing("pidfd_open")) {
		ret = syscall(SYS_pidfd_open, getpid(), 0);
		assert_int_equal(ret, -1);
	}
	if (missing("ptrace"))
		assert_int_equal(ptrace(PTRACE_TRACEME, 0, 0, 0), -1);
	features.size = sizeof(features);
	assert_int_equal(mrelease_probe(&features), 0);
	expect_feature("pidfd_open", features.pidfd_open);
	expect_feature("pidfd_send_signal", features.pidfd_send_signal);
	expect_feature("process_mrelease", features.process_mrelease);
	expect_feature("ptrace", features.ptrace_seize);
	expect_feature("get_robust_list", features.get_robust_list);
	expect_feature("kcmp", features.kcmp);
	expect_feature("pagemap_scan", features.pagemap_scan);
	expect_feature("cachestat", features.cachestat);
}

static void expect_path(const struct mrelease_report *rep)
{
	if (missing("process_mrelease")) {
		expect_report(rep, rep->path == MRELEASE_PATH_EXIT);
		expect_report(rep, rep->notes & MRELEASE_NOTE_NO_MRELEASE);
	}
	if (missing("ptrace")) {
		expect_report(rep, rep->path != MRELEASE_PATH_PINNED);
		expect_report(rep, rep->notes & MRELEASE_NOTE_NO_PIN);
	}
	if (missing("pidfd_open"))
		expect_report(rep, rep->notes & MRELEASE_NOTE_NO_PIDFD);
}

static void release_some(const char *name, const char *a, const char *b,
			 int most)
{
	struct mrelease_report rep;
	struct victim v;

	for (int n = rounds(most); n > 0; n--) {
		victim_start(&v, name, a, b, NULL);
		expect_report(&rep, release(&v, NULL, &rep) == 0);
		expect_released(&v, &rep, -1);
		expect_path(&rep);
		assert_int_equal(process_tracer(v.pid) > 0, 0);
		victim_end(&v);
	}
}

static void test_anon(void **state)
{
	(void)state;
	release_some("anon", "32", NULL, 10);
	release_some("anon", "0", NULL, 10);
}

static void test_threads(void **state)
{
	(void)state;
	release_some("threads", "200", "16", 3);
}

static void test_stopped(void **state)
{
	(void)state;
	release_some("stopped", "16", NULL, 3);
}

static void test_ignoring(void **state)
{
	(void)state;
	release_some("ignoring", "16", NULL, 3);
}

static void test_zombie_leader(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "zombie-leader", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.released_bytes >= 16 * MIB);
	assert_killed(&v);
}

/* Its leader is a zombie, and the others cannot exit: nor has it. */
static void test_zombie_leader_frozen(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	struct cgroup cg;

	(void)state;
	cgroup_make(&cg, CGROUP_FREEZER);
	victim_start(&v, "zombie-leader", "4", NULL);
	cgroup_add(&cg, v.pid);
	cgroup_freeze(&cg);
	opts.deadline_ns = now_ns() + SEC_NS / 3;
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.stage < MRELEASE_STAGE_EXITED);
	expect_report(&rep, rep.exit_ns < 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	cgroup_thaw(&cg);
	victim_end(&v);
	close(cg.fd);
}

static void test_reserved(void **state)
{
	(void)state;
	release_some("reserve", "1", NULL, 1);
}

static void test_soft(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	int status;

	(void)state;
	opts.soft_signal = SIGTERM;
	opts.grace_ns = 10 * SEC_NS;
	victim_start(&v, "polite", "8", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.path == MRELEASE_PATH_SOFT);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	assert_int_equal(waitpid(v.pid, &status, 0), v.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* Never a deadlock, whatever cannot be looked at. */
static void robust(const char *name, const char *locks, const char *program)
{
	struct victim_setup setup = { .program = program };
	struct victim holder, survivor;
	struct mrelease_report rep;
	uint32_t unknown = MRELEASE_NOTE_ROBUST_UNKNOWN;
	char line[64], want[64];
	int i;

	snprintf(want, sizeof(want), "locked %s 0 0", locks);
	for (i = 0; i < 5; i++) {
		setup.shm_fd = make_shm();
		victim_start_with(&holder, &setup, name, "4", locks, NULL);
		expect_report(&rep, release(&holder, NULL, &rep) == 0);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		/*
		 * Unread lists are no obstacle where no lock could be shared
		 * with a survivor; here it is, and the exit has to come first.
		 * Unless the kernel takes care of that.
		 */
		if (kernel_keeps_robust()) {
			expect_report(&rep, !(rep.notes & unknown));
		} else if (!program && missing("get_robust_list")) {
			if (!missing("process_mrelease"))
				expect_report(&rep, rep.notes & unknown);
			expect_report(&rep, rep.path == MRELEASE_PATH_EXIT);
		}
		victim_start_with(&survivor, &setup, "robust-survivor", locks,
				  NULL);
		victim_reply(&survivor, line, sizeof(line));
		assert_string_equal(line, want);
		victim_end(&holder);
		victim_end(&survivor);
	}
}

static void test_robust(void **state)
{
	(void)state;
	robust("robust", "1", NULL);
	robust("robust-thread", "8", NULL);
}

static void test_robust_32bit(void **state)
{
	char program[PATH_MAX];

	(void)state;
	snprintf(program, sizeof(program), "%s", victim32_program());
	robust("robust", "1", program);
	robust("robust-thread", "8", program);
}

/*
 * Held by a stalled reader: what is said is what is so.  With robust lists that
 * cannot be read nothing is reaped before the exit; after it a stock kernel
 * finds nothing to reap, one with the series in kernel/ does.
 */
static void test_pinned(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	/* That is where the reader stalls. */
	if (missing("process_vm_readv"))
		return;
	victim_start(&v, "pinned", "16", "shared", NULL);
	opts.deadline_ns = in_seconds(2);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.verified == (victim_resident(&v) == 0));
	if (!missing("get_robust_list") || missing("process_mrelease") ||
	    kernel_keeps_robust())
		return;
	expect_report(&rep, rep.notes & MRELEASE_NOTE_ROBUST_UNKNOWN);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_PINNED_ELSEWHERE);
	if (kernel_reaps_exited()) {
		expect_report(&rep, rep.path == MRELEASE_PATH_KERNEL);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		assert_int_equal(victim_resident(&v), 0);
	} else {
		expect_report(&rep, rep.path == MRELEASE_PATH_EXIT);
		expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
		assert_int_equal(victim_resident(&v), 16 * MIB);
	}
}

/* The sharer keeps every byte, even where nobody could tell that it shares. */
static void test_sharer(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "clone-vm", "16", NULL);
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.verified == 0);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.outstanding_bytes >= 16 * MIB);
	assert_true(process_gone(v.pid));
	assert_true(process_exists(v.helper));
	assert_true(victim_memory_intact(&v));
}

static void test_refusals(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep = { .size = sizeof(rep) };
	int fd, ret;

	(void)state;
	assert_int_equal(mrelease_open(0, 0), -EINVAL);
	assert_int_equal(mrelease_open(INT_MAX, 0), -ESRCH);
	fd = mrelease_open(getpid(), 0);
	assert_true(fd >= 0);
	ret = mrelease_process(fd, &opts, &rep);
	expect_refused(&rep, ret, MRELEASE_REFUSE_SELF);
	close(fd);
	fd = mrelease_open(getppid(), 0);
	assert_true(fd >= 0);
	ret = mrelease_process(fd, &opts, &rep);
	expect_refused(&rep, ret, MRELEASE_REFUSE_ANCESTOR);
	close(fd);
	fd = mrelease_open(2, 0);
	if (fd >= 0 && process_status(2, "PPid", 10) == 0) {
		ret = mrelease_process(fd, &opts, &rep);
		expect_refused(&rep, ret, MRELEASE_REFUSE_KTHREAD);
	}
	if (fd >= 0)
		close(fd);
}

static void test_thread_id(void **state)
{
	struct victim v;

	(void)state;
	victim_start(&v, "threads", "2", "1", NULL);
	assert_int_equal(mrelease_open(process_other_thread(v.pid), 0),
			 -EISDIR);
	assert_untouched(&v);
}

static void cgroup_case(enum cgroup_kind kind)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim_setup setup = { 0 };
	struct cgroup cg;
	struct victim v;
	int ret;

	cgroup_make(&cg, kind);
	setup.procs[0] = cg.procs;
	victim_start_with(&v, &setup, "tree", "2", "4", "2", NULL);
	ret = mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	close(cg.fd);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 21 && rep.members_verified == 21);
	assert_int_equal(cgroup_members(&cg), 0);
}

static void test_cgroup_v2(void **state)
{
	(void)state;
	cgroup_case(CGROUP_V2);
}

static void test_cgroup_v1(void **state)
{
	(void)state;
	cgroup_case(CGROUP_FREEZER);
}

static bool nobody_left(void *arg)
{
	pid_t children[64];
	unsigned int i, n;

	(void)arg;
	n = process_children(getpid(), children, ARRAY_LEN(children));
	for (i = 0; i < n; i++) {
		if (process_exists(children[i]))
			return false;
	}
	return true;
}

static void test_tree(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "tree", "2", "3", "2", NULL);
	stops_expected = missing("ptrace");
	ret = mrelease_tree(v.fd, &opts, &rep, NULL, NULL);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 13);
	assert_true(nobody_left(NULL));
}

/* Members that fork and exit all the time, below a root that stays. */
static void test_forking_tree(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	int ret, i;

	(void)state;
	for (i = 0; i < 3; i++) {
		victim_start(&v, "forkbomb", "32", NULL);
		/* Where it cannot be traced it is stopped. */
		stops_expected = missing("ptrace");
		ret = mrelease_tree(v.fd, &opts, &rep, NULL, NULL);
		expect_report(&rep, ret == 0);
		expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
		assert_true(nobody_left(NULL));
		victim_end(&v);
	}
}

/* It is not waited for the exit of what was seen to be back; else it is. */
static void test_no_wait_exit(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_NO_WAIT_EXIT);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "16", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.verified || rep.stage == MRELEASE_STAGE_EXITED);
	assert_killed(&v);
}

/*
 * Moved to where it is killed, a process leaves what it had charged behind:
 * that nothing is charged here says nothing of it.  A reader holds it.
 */
static void test_charged_elsewhere(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct cgroup cg;
	struct victim v;

	(void)state;
	/* That is where the reader stalls. */
	if (missing("process_vm_readv"))
		return;
	cgroup_make(&cg, CGROUP_MEMORY);
	victim_start(&v, "pinned", "16", NULL);
	cgroup_add(&cg, v.pid);
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep,
		      mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL) == 0);
	close(cg.fd);
	if (rep.verified)
		assert_memory_back(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_probe),
		harness_test(test_anon),
		harness_test(test_threads),
		harness_test(test_stopped),
		harness_test(test_ignoring),
		harness_test(test_zombie_leader),
		harness_test(test_zombie_leader_frozen),
		harness_test(test_reserved),
		harness_test(test_soft),
		harness_test(test_robust),
		harness_test(test_robust_32bit),
		harness_test(test_pinned),
		harness_test(test_sharer),
		harness_test(test_refusals),
		harness_test(test_thread_id),
		harness_test(test_cgroup_v2),
		harness_test(test_cgroup_v1),
		harness_test(test_tree),
		harness_test(test_forking_tree),
		harness_test(test_no_wait_exit),
		harness_test(test_charged_elsewhere),
	};

	return run_group(tests);
}
