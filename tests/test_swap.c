/* SPDX-License-Identifier: MIT */
/* Victims whose memory lies in swap: it is theirs, and comes back as well. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* Have what the victim filled written to swap. */
static void swap_out(struct victim *v)
{
	struct iovec memory = { (void *)(uintptr_t)v->addr, v->len };
	long long wanted = (long long)v->len / 2 / 1024;

	/* A page that is in use for a moment is left out; half will do. */
	for (int i = 0; process_status(v->pid, "VmSwap", 10) < wanted; i++) {
		if (i == 100)
			skip_test("swap", "the kernel swaps nothing out");
		if (syscall(SYS_process_madvise, v->fd, &memory, 1,
			    MADV_PAGEOUT, 0) < 0)
			skip_test("swap", "process_madvise: %s",
				  strerror(errno));
	}
}

static void start_swapped(struct victim *v, const char *name)
{
	need_swap();
	victim_start(v, name, "16", NULL);
	swap_out(v);
}

static void swapped_case(uint32_t flags)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report rep;
	uint64_t used, after;
	struct victim v;

	start_swapped(&v, "anon");
	used = swap_used();
	assert_true(used >= 8 * MIB);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.kinds[MRELEASE_SWAP].before_bytes >= 8 * MIB);
	expect_report(&rep, rep.outstanding_bytes == 0);
	expect_released(&v, &rep, -1);
	/* The slots are free, but for what others use of them meanwhile. */
	after = swap_used();
	if (after + 7 * MIB > used)
		fail_msg("%llu bytes of swap in use, %llu before",
			 (unsigned long long)after, (unsigned long long)used);
	assert_killed(&v);
}

static void test_swapped(void **state)
{
	(void)state;
	swapped_case(0);
}

static void test_swapped_without_pin(void **state)
{
	(void)state;
	swapped_case(MRELEASE_NO_PIN);
}

/* What is only looked at stays where it is, and is still the victim's. */
static void test_dry_run(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	start_swapped(&v, "anon");
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.result == MRELEASE_WOULD_KILL);
	expect_report(&rep, rep.kinds[MRELEASE_SWAP].before_bytes >= 8 * MIB);
	assert_int_equal(victim_resident(&v), v.len);
	assert_untouched(&v);
}

/* Swapped memory of a victim that another process keeps from being freed. */
static void test_swapped_and_pinned(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	start_swapped(&v, "pinned");
	expect_report(&rep, release(&v, NULL, &rep) == 0);
	expect_report(&rep, rep.kinds[MRELEASE_SWAP].before_bytes >= 8 * MIB);
	expect_report(&rep, rep.verified == 1);
	assert_memory_back(&v);
}

/*
 * Nothing is reaped (see "without" in meson.build), and a reader holds it: what
 * lies in swap is not back either.
 */
static void test_swapped_and_held(void **state)
{
	struct mrelease_features f = { .size = sizeof(f) };
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	assert_int_equal(mrelease_probe(&f), 0);
	start_swapped(&v, "pinned");
	opts.deadline_ns = in_seconds(1);
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	if (f.process_mrelease == 1) {
		expect_report(&rep, rep.verified == 1);
		return;
	}
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.outstanding_bytes >= 15 * MIB);
	expect_report(&rep, rep.released_bytes < MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_swapped),
		harness_test(test_swapped_without_pin),
		harness_test(test_dry_run),
		harness_test(test_swapped_and_pinned),
		harness_test(test_swapped_and_held),
	};

	return run_group(tests);
}
