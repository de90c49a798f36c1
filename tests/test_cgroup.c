/* SPDX-License-Identifier: MIT */
/* A cgroup, v1 and v2: all members die, the memory of each is back. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"

static void kind_case(enum cgroup_kind kind, uint32_t flags)
{
	struct mrelease_report rep;
	struct victim v[8];
	struct cgroup cg;
	size_t i;

	cgroup_make(&cg, kind);
	fill_cgroup(&cg, v, 4, "4");
	fill_cgroup(&cg, v + 4, 4, "32");
	expect_report(&rep, release_cgroup(&cg, flags, &rep) == 0);
	if (flags & MRELEASE_NO_PIN) {
		/* Not every race is won, but no lie is told. */
		expect_report(&rep, rep.members == 8);
	} else {
		expect_all_released(&rep, 8, 144 * MIB);
		assert_true(members[0].kinds[MRELEASE_ANON].before_bytes >=
			    32 * MIB);
	}
	assert_int_equal(cgroup_members(&cg), 0);
	for (i = 0; i < 8; i++) {
		assert_memory_back(&v[i]);
		assert_killed(&v[i]);
	}
	close(cg.fd);
}

static void test_v2(void **state)
{
	(void)state;
	kind_case(CGROUP_V2, 0);
}

static void test_v2_no_pin(void **state)
{
	(void)state;
	kind_case(CGROUP_V2, MRELEASE_NO_PIN);
}

static void test_v1_freezer(void **state)
{
	(void)state;
	kind_case(CGROUP_FREEZER, 0);
}

static void test_v1_memory(void **state)
{
	(void)state;
	kind_case(CGROUP_MEMORY, 0);
}

static void frozen_case(enum cgroup_kind kind)
{
	struct mrelease_report rep;
	struct victim v[4];
	struct cgroup cg;
	size_t i;

	cgroup_make(&cg, kind);
	fill_cgroup(&cg, v, 4, "8");
	cgroup_freeze(&cg);
	expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
	close(cg.fd);
	/* A whole v1 cgroup that is to die has to be thawed for it. */
	expect_all_released(&rep, 4, 32 * MIB);
	for (i = 0; i < 4; i++)
		assert_killed(&v[i]);
}

static void test_frozen_v2(void **state)
{
	(void)state;
	frozen_case(CGROUP_V2);
}

static void test_frozen_v1(void **state)
{
	(void)state;
	frozen_case(CGROUP_FREEZER);
}

static void nested_case(enum cgroup_kind kind)
{
	struct cgroup top, middle, leaf, empty;
	struct mrelease_report rep;
	struct victim v[6];
	size_t i;

	cgroup_make(&top, kind);
	cgroup_make_below(&middle, &top, "middle");
	cgroup_make_below(&leaf, &middle, "leaf with a space");
	cgroup_make_below(&empty, &top, "empty");
	fill_cgroup(&top, v, 2, "8");
	fill_cgroup(&middle, v + 2, 2, "8");
	fill_cgroup(&leaf, v + 4, 2, "8");
	expect_report(&rep, release_cgroup(&top, 0, &rep) == 0);
	close(top.fd);
	close(middle.fd);
	close(leaf.fd);
	close(empty.fd);
	expect_all_released(&rep, 6, 48 * MIB);
	for (i = 0; i < 6; i++)
		assert_killed(&v[i]);
}

static void test_nested_v2(void **state)
{
	(void)state;
	nested_case(CGROUP_V2);
}

static void test_nested_v1(void **state)
{
	(void)state;
	nested_case(CGROUP_FREEZER);
}

/* The siblings and the parent's own members are not hurt. */
static void test_only_below(void **state)
{
	struct cgroup top, a, b;
	struct mrelease_report rep;
	struct victim above, in_a, in_b;

	(void)state;
	cgroup_make(&top, CGROUP_V2);
	cgroup_make_below(&a, &top, "a");
	cgroup_make_below(&b, &top, "b");
	fill_cgroup(&top, &above, 1, "4");
	fill_cgroup(&a, &in_a, 1, "4");
	fill_cgroup(&b, &in_b, 1, "4");
	expect_report(&rep, release_cgroup(&a, 0, &rep) == 0);
	close(top.fd);
	close(a.fd);
	close(b.fd);
	expect_all_released(&rep, 1, 4 * MIB);
	assert_killed(&in_a);
	assert_untouched(&above);
	assert_untouched(&in_b);
}

static void test_empty(void **state)
{
	struct mrelease_report rep;
	struct cgroup cg;
	int ret;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	ret = release_cgroup(&cg, 0, &rep);
	close(cg.fd);
	expect_report(&rep, ret == -ESRCH);
	expect_report(&rep, rep.result == MRELEASE_GONE);
	expect_report(&rep, rep.members == 0);
	assert_int_equal(nr_members, 0);
}

/* Its service manager has removed it: as one that is empty, and no refusal. */
static void test_removed(void **state)
{
	static const enum cgroup_kind kinds[] = { CGROUP_V2, CGROUP_FREEZER };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(kinds); i++) {
		struct mrelease_report rep;
		struct cgroup cg;

		cgroup_make(&cg, kinds[i]);
		assert_int_equal(rmdir(cg.path), 0);
		expect_report(&rep, release_cgroup(&cg, 0, &rep) == -ESRCH);
		expect_report(&rep, rep.result == MRELEASE_GONE);
		expect_report(&rep, rep.refusal == MRELEASE_REFUSE_NONE);
		close(cg.fd);
	}
}

/* More members than there is room for: the sums are complete all the same. */
static void test_little_room(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_report few[2];
	struct victim v[5];
	struct cgroup cg;
	size_t n = 2;
	int ret;

	(void)state;
	memset(few, 0, sizeof(few));
	few[0].size = few[1].size = sizeof(few[0]);
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, v, 4, "2");
	fill_cgroup(&cg, v + 4, 1, "16");
	ret = mrelease_cgroup(cg.fd, &opts, &rep, few, &n);
	close(cg.fd);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.members == 5 && rep.members_verified == 5);
	expect_report(&rep, rep.released_bytes >= 24 * MIB);
	assert_int_equal(n, 2);
	assert_int_equal(few[0].pid, v[4].pid);
}

static void test_dry_run(void **state)
{
	struct mrelease_report rep;
	struct victim v[3];
	struct cgroup cg;
	size_t i;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	fill_cgroup(&cg, v, 3, "4");
	expect_report(&rep, release_cgroup(&cg, MRELEASE_DRY_RUN, &rep) == 0);
	close(cg.fd);
	expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	expect_report(&rep, rep.members == 3);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >= 12 * MIB);
	for (i = 0; i < 3; i++)
		assert_untouched(&v[i]);
	assert_false(cgroup_frozen(&cg));
}

static void test_200_processes(void **state)
{
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	setup.procs[0] = cg.procs;
	/* A root and its 199 children. */
	victim_start_with(&v, &setup, "tree", "1", "199", "4", NULL);
	expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
	close(cg.fd);
	expect_all_released(&rep, 200, 800 * MIB);
}

static void refuse_fd(int fd)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep = { .size = sizeof(rep) };
	size_t n = 0;
	int ret;

	assert_true(fd >= 0);
	ret = mrelease_cgroup(fd, &opts, &rep, NULL, &n);
	expect_refused(&rep, ret, MRELEASE_REFUSE_CGROUP);
	close(fd);
}

/* Dry runs: a refusal that is missing must not cost this machine its life. */
static void test_refused(void **state)
{
	struct cgroup cg, threaded;
	char path[PATH_MAX + 32], *slash;
	int fd;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	/* Its parent is where we are ourselves; the root, most likely. */
	snprintf(path, sizeof(path), "%s", cg.path);
	slash = strrchr(path, '/');
	*slash = '\0';
	refuse_fd(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	refuse_fd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	refuse_fd(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	cgroup_make_below(&threaded, &cg, "threaded");
	snprintf(path, sizeof(path), "%.4000s/cgroup.type", threaded.path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "threaded", 8), 8);
	close(fd);
	refuse_fd(fcntl(threaded.fd, F_DUPFD_CLOEXEC, 0));
	close(threaded.fd);
	close(cg.fd);
}

/* We are in it ourselves: refused, as the caller would be hit. */
static void test_refused_with_the_caller(void **state)
{
	struct cgroup cg;
	pid_t child;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
		struct mrelease_report rep = { .size = sizeof(rep) };

		cgroup_add(&cg, getpid());
		mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
		if (rep.error == -EPERM &&
		    rep.refusal == MRELEASE_REFUSE_SELF &&
		    rep.refused_pid == getpid() && rep.pid == 0)
			_exit(0);
		child_failed(&rep);
	}
	assert_int_equal(test_wait(child), 0);
	close(cg.fd);
}

static void test_soft_signal(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim polite, ignoring;
	struct cgroup cg;
	int status, ret;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&polite, "polite", "8", NULL);
	victim_start(&ignoring, "ignoring", "8", NULL);
	cgroup_add(&cg, polite.pid);
	cgroup_add(&cg, ignoring.pid);
	opts.soft_signal = SIGTERM;
	opts.grace_ns = SEC_NS / 2;
	ret = mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	close(cg.fd);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.exit_ns >= SEC_NS / 2);
	assert_int_equal(waitpid(polite.pid, &status, 0), polite.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	assert_killed(&ignoring);
}

/* What a member frees when it is asked is not called back by its kill. */
static void test_shrinks_when_asked(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_entry *e = &rep.kinds[MRELEASE_ANON];
	struct victim polite, shrinking;
	struct cgroup cg;
	int ret;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&polite, "polite", "16", NULL);
	victim_start(&shrinking, "shrinking", "32", NULL);
	cgroup_add(&cg, polite.pid);
	cgroup_add(&cg, shrinking.pid);
	opts.soft_signal = SIGTERM;
	opts.grace_ns = SEC_NS;
	ret = mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL);
	close(cg.fd);
	expect_report(&rep, ret == 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	assert_killed(&shrinking);
	expect_report(&rep, e->back_bytes >= 32 * MIB);
	expect_report(&rep, e->back_bytes < 40 * MIB);
	/* It may have given some of it to a child before it exited. */
	expect_report(&rep, e->unsure_bytes >= 16 * MIB);
}

/* Its threads live on without it; cgroup.kill may spare them. */
static void test_dead_leader(void **state)
{
	static const enum cgroup_kind kinds[] = { CGROUP_V2, CGROUP_MEMORY };
	struct victim_setup setup = { 0 };
	struct mrelease_report rep;
	struct cgroup cg;
	struct victim v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		cgroup_make(&cg, kinds[i]);
		setup.procs[0] = cg.procs;
		victim_start_with(&v, &setup, "zombie-leader", "16", NULL);
		expect_report(&rep, release_cgroup(&cg, 0, &rep) == 0);
		close(cg.fd);
		expect_all_released(&rep, 1, 16 * MIB);
		assert_killed(&v);
	}
}

static void drop_capability(int cap)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
						 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		_exit(2);
	data[cap / 32].effective &= ~(1u << cap % 32);
	data[cap / 32].permitted &= ~(1u << cap % 32);
	data[cap / 32].inheritable &= ~(1u << cap % 32);
	if (syscall(SYS_capset, &head, data))
		_exit(2);
}

/*
 * Not all files of all members fit: fewer of each.  If not even those do, some are
 * killed without being opened: what became of their memory the controller may
 * know, and nobody else.
 */
static void few_descriptors(rlim_t most, bool seen)
{
	const struct rlimit lim = { most, most };
	struct victim_setup setup = { 0 };
	struct cgroup cg;
	struct victim v;
	pid_t child;

	cgroup_make(&cg, CGROUP_V2);
	setup.procs[0] = cg.procs;
	victim_start_with(&v, &setup, "tree", "1", "30", "1", NULL);
	child = test_fork();
	if (!child) {
		struct mrelease_report r;

		if (setrlimit(RLIMIT_NOFILE, &lim))
			_exit(2);
		drop_capability(CAP_SYS_RESOURCE);
		if (release_cgroup(&cg, 0, &r) == 0 &&
		    !(r.notes & MRELEASE_NOTE_HANDLES) == seen &&
		    (r.verified == seen ||
		     r.evidence == MRELEASE_EVIDENCE_MEMCG))
			_exit(0);
		child_failed(&r);
	}
	assert_int_equal(test_wait(child), 0);
	assert_int_equal(cgroup_members(&cg), 0);
	close(cg.fd);
	assert_killed(&v);
}

static void test_few_descriptors(void **state)
{
	(void)state;
	/* Too few for all files of a member, and for the last list as well. */
	few_descriptors(150, true);
	few_descriptors(220, true);
}

static void test_too_few_descriptors(void **state)
{
	(void)state;
	few_descriptors(40, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_v2),
		harness_test(test_v2_no_pin),
		harness_test(test_v1_freezer),
		harness_test(test_v1_memory),
		harness_test(test_frozen_v2),
		harness_test(test_frozen_v1),
		harness_test(test_nested_v2),
		harness_test(test_nested_v1),
		harness_test(test_only_below),
		harness_test(test_empty),
		harness_test(test_removed),
		harness_test(test_little_room),
		harness_test(test_dry_run),
		harness_test(test_200_processes),
		harness_test(test_refused),
		harness_test(test_refused_with_the_caller),
		harness_test(test_soft_signal),
		harness_test(test_shrinks_when_asked),
		harness_test(test_dead_leader),
		harness_test(test_few_descriptors),
		harness_test(test_too_few_descriptors),
	};

	return run_group(tests);
}
