/* SPDX-License-Identifier: MIT */
/* Options, structs that grow, handles: the API's own rules. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static void expect_bad(struct victim *v, const struct mrelease_opts *opts)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target = NULL;
	size_t n = 0;

	assert_int_equal(mrelease_process(v->fd, opts, &rep), -EINVAL);
	expect_report(&rep, rep.result == MRELEASE_FAILED);
	expect_report(&rep, rep.error == -EINVAL);
	assert_int_equal(mrelease_prepare(v->fd, opts, NULL, &target), -EINVAL);
	assert_null(target);
	assert_int_equal(mrelease_tree(v->fd, opts, &rep, NULL, &n), -EINVAL);
	assert_untouched(v);
}

/* Before anything is signalled, and whatever the other options say. */
static void test_bad_options(void **state)
{
	struct mrelease_opts opts;
	struct victim v;
	int bit;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	for (bit = 7; bit < 32; bit++) {
		opts = opts_with(1u << bit);
		expect_bad(&v, &opts);
		opts = opts_with(1u << bit | MRELEASE_DRY_RUN);
		expect_bad(&v, &opts);
	}
	opts = opts_with(0);
	opts.reserved = 1;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.size = 0;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.size = 4;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.soft_signal = 65;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.soft_signal = -1;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.soft_signal = SIGTERM;
	opts.grace_ns = -1;
	expect_bad(&v, &opts);
	opts = opts_with(0);
	opts.deadline_ns = -1;
	expect_bad(&v, &opts);
}

/*
 * A caller that was compiled with a later header: what it adds must be zero,
 * we would not know what it asks for.
 */
static void test_bigger_options(void **state)
{
	struct {
		struct mrelease_opts opts;
		uint64_t later;
	} big = { 0 };
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	big.opts = opts_with(0);
	big.opts.size = sizeof(big);
	big.later = 1;
	ret = mrelease_process(v.fd, &big.opts, &rep);
	assert_true(ret == -EINVAL || ret == -E2BIG);
	assert_untouched(&v);
	big.later = 0;
	assert_int_equal(mrelease_process(v.fd, &big.opts, &rep), 0);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	assert_killed(&v);
}

/* Smaller than any header ever had it: refused, and not a byte written. */
static void test_smaller_report(void **state)
{
	unsigned char buf[sizeof(struct mrelease_report)];
	struct mrelease_report *rep = (void *)buf;
	struct victim v;
	size_t i;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	memset(buf, 0x5a, sizeof(buf));
	rep->size = 16;
	assert_int_equal(mrelease_process(v.fd, NULL, rep), -EINVAL);
	for (i = 16; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0x5a);
	assert_untouched(&v);
}

/* A size that was not set is often an address: nothing is written, or signalled. */
static void test_huge_sizes(void **state)
{
	struct mrelease_report rep = { .size = (size_t)&rep };
	struct mrelease_features features = { .size = (size_t)&rep };
	struct mrelease_opts opts = opts_with(0);
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	assert_int_equal(mrelease_process(v.fd, NULL, &rep), -EINVAL);
	assert_int_equal(mrelease_probe(&features), -EINVAL);
	opts.size = (size_t)&rep;
	assert_int_equal(mrelease_process(v.fd, &opts, NULL), -EINVAL);
	assert_untouched(&v);
}

/* One of a later header: what we do not know is zeroed, not left as it is. */
static void test_bigger_report(void **state)
{
	unsigned char buf[sizeof(struct mrelease_report) * 2];
	struct mrelease_report *rep = (void *)buf;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	memset(buf, 0x5a, sizeof(buf));
	rep->size = sizeof(*rep) + 16;
	assert_int_equal(mrelease_process(v.fd, NULL, rep), 0);
	assert_int_equal(rep->result, MRELEASE_RELEASED);
	assert_int_equal(buf[sizeof(*rep)], 0);
	assert_int_equal(buf[sizeof(*rep) + 15], 0);
	assert_int_equal(buf[sizeof(*rep) + 16], 0x5a);
	assert_killed(&v);
}

static void test_report_without_size(void **state)
{
	struct mrelease_report rep = { 0 };
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	assert_int_equal(mrelease_process(v.fd, NULL, &rep), -EINVAL);
	assert_untouched(&v);
}

static void test_defaults_and_no_report(void **state)
{
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "16", NULL);
	assert_int_equal(mrelease_process(v.fd, NULL, NULL), 0);
	assert_memory_back(&v);
	assert_killed(&v);
}

static void test_prepare_and_free(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	unsigned int fds, i;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "16", NULL);
	fds = count_fds();
	for (i = 0; i < 100; i++) {
		assert_int_equal(mrelease_prepare(v.fd, NULL, &rep, &target),
				 0);
		expect_report(&rep, rep.stage == MRELEASE_STAGE_PREPARED);
		expect_report(&rep, rep.kinds[MRELEASE_ANON].before_bytes >=
					    16 * MIB);
		/* Seven, says the header, and no pin yet. */
		assert_in_range(count_fds(), fds + 1, fds + 9);
		assert_int_equal(process_tracer(v.pid), 0);
		mrelease_target_free(target);
	}
	assert_int_equal(count_fds(), fds);
	mrelease_target_free(NULL);
	assert_untouched(&v);
}

/* Handles that a child would inherit through exec keep victims alive. */
static void test_handles_are_cloexec(void **state)
{
	struct mrelease_target *target;
	bool before[256], is_open;
	unsigned int n = 0;
	struct victim v;
	int fd;

	(void)state;
	victim_start(&v, "anon", "1", NULL);
	for (fd = 0; fd < 256; fd++)
		before[fd] = fcntl(fd, F_GETFD) >= 0;
	assert_int_equal(mrelease_prepare(v.fd, NULL, NULL, &target), 0);
	for (fd = 0; fd < 256; fd++) {
		is_open = fcntl(fd, F_GETFD) >= 0;
		if (!is_open || before[fd])
			continue;
		n++;
		assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	}
	assert_in_range(n, 1, 9);
	mrelease_target_free(target);
}

static void test_prepare_then_release(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) }, first;
	struct mrelease_target *target;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "32", NULL);
	assert_int_equal(mrelease_prepare(v.fd, NULL, NULL, &target), 0);
	assert_untouched(&v);
	assert_int_equal(mrelease_release(target, in_seconds(20), &rep), 0);
	check_report(&rep, 0);
	expect_released(&v, &rep, -1);
	assert_killed(&v);
	/* The verdict stays. */
	first = rep;
	assert_int_equal(mrelease_release(target, 0, &rep), -EALREADY);
	assert_int_equal(mrelease_release(target, -1, &rep), -EINVAL);
	assert_memory_equal(&rep, &first, sizeof(rep));
	mrelease_target_free(target);
}

/* Prepared, and then it ended by itself: gone, and no other is hit. */
static void test_prepared_but_gone(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target;
	struct victim v;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	assert_int_equal(mrelease_prepare(v.fd, NULL, NULL, &target), 0);
	kill(v.pid, SIGKILL);
	assert_killed(&v);
	assert_int_equal(mrelease_release(target, 0, &rep), -ESRCH);
	expect_report(&rep, rep.result == MRELEASE_GONE);
	expect_report(&rep, rep.exit_ns == -1 && rep.release_ns == -1);
	mrelease_target_free(target);
}

/* A deadline in the past is a result, after the kill, and not an error. */
static void test_deadline_passed(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	int64_t start;

	(void)state;
	victim_start(&v, "dstate", "16", NULL);
	opts.deadline_ns = 1;
	start = now_ns();
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	assert_true(now_ns() - start < SEC_NS);
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED ||
				    rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.exit_ns == -1);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
}

static void test_probe(void **state)
{
	struct mrelease_features f = { .size = sizeof(f) };

	(void)state;
	assert_int_equal(mrelease_probe(&f), 0);
	/* This very harness used them. */
	assert_true(f.ptrace_seize == 1 || f.ptrace_seize < 0);
	assert_true(f.pidfd_open == 1 || f.pidfd_open < 0);
	if (f.pidfs == 1)
		assert_int_equal(f.pidfd_open, 1);
	if (geteuid()) {
		assert_int_not_equal(f.kill_any, 1);
		assert_int_not_equal(f.ptrace_any, 1);
	}
	f.size = 0;
	assert_int_equal(mrelease_probe(&f), -EINVAL);
	assert_string_equal(mrelease_version(), MRELEASE_VERSION);
}

/* A later header's members: not left as the caller's memory was. */
static void test_longer_features(void **state)
{
	struct {
		struct mrelease_features f;
		int32_t later[4];
	} longer;

	(void)state;
	memset(&longer, 0xff, sizeof(longer));
	longer.f.size = sizeof(longer);
	assert_int_equal(mrelease_probe(&longer.f), 0);
	assert_int_equal(longer.f.size, sizeof(longer));
	assert_int_equal(longer.later[0], 0);
	assert_int_equal(longer.later[3], 0);
}

/* Members of a later header: each has its place, and nothing between is lost. */
static void test_bigger_members(void **state)
{
	struct bigger {
		struct mrelease_report rep;
		uint64_t later[3];
	} members[3];
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep = { .size = sizeof(rep) };
	size_t n = ARRAY_LEN(members);
	struct victim v;

	(void)state;
	memset(members, 0xff, sizeof(members));
	members[0].rep.size = sizeof(members[0]);
	victim_start(&v, "tree", "1", "2", "1", NULL);
	assert_int_equal(mrelease_tree(v.fd, &opts, &rep, &members[0].rep, &n),
			 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(members[i].rep.size, sizeof(members[i]));
		assert_true(process_exists(members[i].rep.pid));
		assert_int_equal(members[i].later[0], 0);
		assert_int_equal(members[i].later[2], 0);
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(members[i].rep.pid,
					     members[k].rep.pid);
	}
	n = 1;
	members[0].rep.size = 0;
	assert_int_equal(mrelease_tree(v.fd, &opts, &rep, &members[0].rep, &n),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_bad_options),
		harness_test(test_bigger_options),
		harness_test(test_huge_sizes),
		harness_test(test_smaller_report),
		harness_test(test_bigger_report),
		harness_test(test_report_without_size),
		harness_test(test_defaults_and_no_report),
		harness_test(test_prepare_and_free),
		harness_test(test_handles_are_cloexec),
		harness_test(test_prepare_then_release),
		harness_test(test_prepared_but_gone),
		harness_test(test_deadline_passed),
		harness_test(test_probe),
		harness_test(test_longer_features),
		harness_test(test_bigger_members),
	};

	return run_group(tests);
}
