/* SPDX-License-Identifier: MIT */
/*
 * Address spaces that others live in: a living process never loses a page,
 * whatever happens to the one it shares with.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static void release_under_a_sharer(const char *name, uint32_t flags)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep;
	struct victim v;
	int64_t start = now_ns();

	victim_start(&v, name, "32", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	/* The sharer will not go, so there is nothing to wait 20 s for. */
	assert_true(now_ns() - start < 10 * SEC_NS);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.verified == 0);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED ||
				    rep.stage == MRELEASE_STAGE_KILLED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_SHARED);
	expect_report(&rep, rep.sharers == 1);
	expect_report(&rep, rep.sharer_pid == v.helper);
	expect_report(&rep, rep.outstanding_bytes >= 32 * MIB);
	assert_killed(&v);
	/* The pagemap is the shared one: not a page is missing. */
	assert_true(process_exists(v.helper));
	assert_int_equal(process_tracer(v.helper), 0);
	assert_int_equal(victim_resident(&v), 32 * MIB);
	assert_true(victim_memory_intact(&v));
}

static void test_clone_vm(void **state)
{
	(void)state;
	need_kcmp();
	release_under_a_sharer("clone-vm", 0);
}

static void test_clone_vm_no_pin(void **state)
{
	(void)state;
	need_kcmp();
	release_under_a_sharer("clone-vm", MRELEASE_NO_PIN);
}

/* Of the sharer only another thread lives: what it shows is no memory. */
static void test_headless_sharer(void **state)
{
	(void)state;
	need_kcmp();
	release_under_a_sharer("clone-vm-headless", 0);
	release_under_a_sharer("clone-vm-headless", MRELEASE_NO_PIN);
}

/* A stranger in an execve() that does not end holds up no search for sharers. */
static void test_stranger_in_exec(void **state)
{
	struct victim stranger;

	(void)state;
	need_root();
	need_kcmp();
	victim_start(&stranger, "exec-fuse", "1", NULL);
	release_under_a_sharer("clone-vm", 0);
	release_under_a_sharer("clone-vm", MRELEASE_NO_PIN);
	victim_end(&stranger);
}

static void test_vfork_parent(void **state)
{
	(void)state;
	need_kcmp();
	release_under_a_sharer("vfork", 0);
}

/* The child of vfork() is the target: its parent goes on in that memory. */
static void test_vfork_child(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	int fd;

	(void)state;
	need_kcmp();
	victim_start(&v, "vfork", "32", NULL);
	fd = mrelease_open(v.helper, 0);
	assert_true(fd >= 0);
	assert_int_equal(mrelease_process(fd, &opts, &rep), 0);
	check_report(&rep, 0);
	close(fd);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_SHARED);
	expect_report(&rep, rep.sharer_pid == v.pid);
	assert_true(process_gone(v.helper));
	assert_true(process_exists(v.pid));
	assert_int_equal(victim_resident(&v), 32 * MIB);
}

static void kill_both(const char *name)
{
	struct mrelease_opts opts = opts_with(MRELEASE_KILL_SHARERS);
	struct mrelease_report rep;
	struct victim v;

	victim_start(&v, name, "32", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.sharers == 1);
	assert_true(process_gone(v.helper));
	assert_killed(&v);
}

static void test_kill_sharers(void **state)
{
	(void)state;
	need_kcmp();
	kill_both("clone-vm");
}

static void test_kill_headless_sharer(void **state)
{
	(void)state;
	need_kcmp();
	kill_both("clone-vm-headless");
}

static void test_kill_vfork_child_too(void **state)
{
	(void)state;
	need_kcmp();
	kill_both("vfork");
}

static bool gone(void *pid)
{
	return process_gone(*(pid_t *)pid);
}

/*
 * Killed with it, and frozen: it has yet to walk its robust list, in memory that is
 * not to be reaped until then.
 */
static void test_kill_frozen_sharer(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_KILL_SHARERS);
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	need_kcmp();
	cgroup_make(&cg, CGROUP_FREEZER);
	victim_start(&v, "clone-vm", "16", NULL);
	cgroup_add(&cg, v.helper);
	cgroup_freeze(&cg);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, !rep.verified);
	assert_true(victim_resident(&v) >= 16 * MIB);
	cgroup_thaw(&cg);
	wait_until(gone, &v.helper, "the sharer's exit");
	victim_end(&v);
	close(cg.fd);
}

static void dry_run_names_the_sharer(const char *name)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep;
	struct victim v;

	victim_start(&v, name, "4", NULL);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_SHARED);
	expect_report(&rep, rep.sharer_pid == v.helper);
	/* Who keeps all of it. */
	expect_report(&rep, rep.outstanding_bytes >= 4 * MIB);
	assert_untouched(&v);
	assert_true(process_exists(v.helper));
}

static void test_dry_run_names_the_sharer(void **state)
{
	(void)state;
	need_kcmp();
	dry_run_names_the_sharer("clone-vm");
	dry_run_names_the_sharer("clone-vm-headless");
}

#define NOBODY 65534

/* Nobody's, but able to look everywhere: may not signal root's processes. */
static void become_nobody_who_sees(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
						 0 };
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	data[0].effective = 1u << CAP_SYS_PTRACE;
	data[0].permitted = 1u << CAP_SYS_PTRACE;
	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) || setgid(NOBODY) ||
	    setuid(NOBODY) || syscall(SYS_capset, &head, data))
		_exit(2);
}

/*
 * The victim is ours to kill, its sharer is not: asked to kill both, the
 * library has to refuse before it signals the first.
 */
static void sharer_not_permitted(const char *name)
{
	struct mrelease_opts opts = opts_with(MRELEASE_KILL_SHARERS);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	pid_t child;

	victim_start(&v, name, "16", NULL);
	child = test_fork();
	if (!child) {
		int ret;

		become_nobody_who_sees();
		/* A dry run ends as the run would. */
		opts.flags |= MRELEASE_DRY_RUN;
		ret = mrelease_process(v.fd, &opts, &rep);
		if (ret != -EPERM || rep.result != MRELEASE_REFUSED)
			_exit(3);
		opts.flags &= ~(uint32_t)MRELEASE_DRY_RUN;
		ret = mrelease_process(v.fd, &opts, &rep);
		if (ret == -EPERM && rep.result == MRELEASE_REFUSED &&
		    rep.refusal == MRELEASE_REFUSE_PERMISSION)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	assert_true(process_exists(v.helper));
	assert_untouched(&v);
}

static void test_sharer_not_permitted(void **state)
{
	(void)state;
	need_kcmp();
	need_root();
	sharer_not_permitted("clone-vm-root");
	sharer_not_permitted("clone-vm-root-headless");
}

/*
 * Without the right to look at root's sharer nobody can find it beforehand.
 * It may come out after the kill only, but the sharer keeps its memory, and
 * nothing is called verified.
 */
static void test_sharer_not_to_be_seen(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	pid_t child;

	(void)state;
	need_kcmp();
	need_root();
	victim_start(&v, "clone-vm-root", "16", NULL);
	opts.deadline_ns = in_seconds(5);
	child = test_fork();
	if (!child) {
		if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
			_exit(2);
		mrelease_process(v.fd, &opts, &rep);
		if (rep.result == MRELEASE_UNCONFIRMED && !rep.verified &&
		    rep.outstanding_bytes >= 16 * MIB)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	assert_true(process_gone(v.pid));
	assert_true(process_exists(v.helper));
	assert_true(victim_memory_intact(&v));
}

/* A thread pool is no sharer: one process, however many threads. */
static void test_threads_are_no_sharers(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "threads", "20", "16", NULL);
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_released(&v, &rep, -1);
	expect_report(&rep, rep.sharers == 0);
	expect_report(&rep, !(rep.notes & MRELEASE_NOTE_SHARED));
	assert_killed(&v);
}

/*
 * Somebody else has killed the one that shares the memory and holds the lock;
 * it stands before the walk of its list for as long as its tracer likes.  To
 * the kernel it is dying, so that the victim could be reaped.
 */
static void test_dying_sharer(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim_setup setup = { 0 };
	struct victim v, survivor;
	char line[64];
	int status;

	(void)state;
	need_kcmp();
	stops_expected = true;
	setup.shm_fd = make_shm();
	victim_start_with(&v, &setup, "robust-sharer", "16", NULL);
	if (ptrace(PTRACE_SEIZE, v.helper, 0, PTRACE_O_TRACEEXIT))
		skip_test("traced", "ptrace: %s", strerror(errno));
	kill(v.helper, SIGKILL);
	assert_int_equal(waitpid(v.helper, &status, __WALL), v.helper);
	assert_int_equal(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	opts.deadline_ns = now_ns() + SEC_NS / 2;
	assert_int_equal(mrelease_process(v.fd, &opts, &rep), 0);
	if (!kernel_keeps_robust()) {
		expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
		expect_report(&rep, rep.notes & MRELEASE_NOTE_ROBUST_UNKNOWN);
		expect_report(&rep, rep.outstanding_bytes >= 16 * MIB);
	}
	ptrace(PTRACE_DETACH, v.helper, 0, 0);
	victim_start_with(&survivor, &setup, "robust-pending-survivor", NULL);
	victim_reply(&survivor, line, sizeof(line));
	assert_string_equal(line, "locked 1 0 0");
	assert_memory_back(&v);
	assert_killed(&v);
	victim_end(&survivor);
	victim_end(&v);
}

static int just_be(void *arg)
{
	for (;;)
		pause();
	return arg != NULL;
}

/* The caller shares the victim's memory: it is not killed with it. */
static void test_sharer_is_the_caller(void **state)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t child;

	(void)state;
	need_kcmp();
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(MRELEASE_KILL_SHARERS);
		struct mrelease_report rep = { .size = sizeof(rep) };
		pid_t victim = clone(just_be, stack + sizeof(stack),
				     CLONE_VM | SIGCHLD, NULL);
		int ret =
			mrelease_process(mrelease_open(victim, 0), &opts, &rep);

		if (ret != -EPERM || rep.result != MRELEASE_REFUSED ||
		    process_killed(victim) || process_gone(victim)) {
			child_failed(&rep);
		}
		kill(victim, SIGKILL);
		_exit(waitpid(victim, NULL, 0) != victim);
	}
	assert_int_equal(test_wait(child), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_clone_vm),
		harness_test(test_clone_vm_no_pin),
		harness_test(test_headless_sharer),
		harness_test(test_stranger_in_exec),
		harness_test(test_vfork_parent),
		harness_test(test_vfork_child),
		harness_test(test_kill_sharers),
		harness_test(test_kill_headless_sharer),
		harness_test(test_kill_vfork_child_too),
		harness_test(test_kill_frozen_sharer),
		harness_test(test_dry_run_names_the_sharer),
		harness_test(test_sharer_not_permitted),
		harness_test(test_sharer_not_to_be_seen),
		harness_test(test_threads_are_no_sharers),
		harness_test(test_dying_sharer),
		harness_test(test_sharer_is_the_caller),
	};

	return run_group(tests);
}
