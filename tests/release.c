/* SPDX-License-Identifier: MIT */
/* Releases, and what every report must hold. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

struct mrelease_opts opts_with(uint32_t flags)
{
	struct mrelease_opts opts = { .size = sizeof(opts), .flags = flags };

	opts.deadline_ns = in_seconds(PATIENCE_S);
	return opts;
}

void show_report(const struct mrelease_report *r)
{
	printf("# result %d stage %d path %d evidence %d refusal %d\n",
	       r->result, r->stage, r->path, r->evidence, r->refusal);
	printf("# verified %d error %d pid %d comm %.16s threads %u\n",
	       r->verified, r->error, r->pid, r->comm, r->threads);
	printf("# notes %x sharers %u first %d tracer %d members %u/%u\n",
	       r->notes, r->sharers, r->sharer_pid, r->tracer_pid,
	       r->members_verified, r->members);
	printf("# before anon %llu swap %llu file %llu shmem %llu huge %llu\n",
	       (unsigned long long)r->before.anon_bytes,
	       (unsigned long long)r->before.swap_bytes,
	       (unsigned long long)r->before.file_bytes,
	       (unsigned long long)r->before.shmem_bytes,
	       (unsigned long long)r->before.hugetlb_bytes);
	printf("# released %llu outstanding %llu evicted %llu\n",
	       (unsigned long long)r->released_bytes,
	       (unsigned long long)r->outstanding_bytes,
	       (unsigned long long)r->cache_evicted_bytes);
	printf("# release %lld exit %lld prepare %lld ns\n",
	       (long long)r->release_ns, (long long)r->exit_ns,
	       (long long)r->prepare_ns);
	/* A child of a test leaves through _exit(). */
	fflush(stdout);
}

void check_report(const struct mrelease_report *r, int ret)
{
	uint64_t before = r->before.anon_bytes + r->before.swap_bytes +
			  r->before.shmem_bytes + r->before.hugetlb_bytes;

	expect_report(r, r->size == sizeof(*r));
	expect_report(r, r->error == ret);
	expect_report(r, memchr(r->comm, '\0', sizeof(r->comm)));
	expect_report(r, r->verified == 0 || r->verified == 1);
	expect_report(r, r->verified == (r->evidence != 0));
	expect_report(r, (r->refusal != 0) == (r->result == MRELEASE_REFUSED));
	expect_report(r, (r->release_ns >= 0) == (r->verified == 1));
	if (r->result == MRELEASE_RELEASED)
		expect_report(r, r->verified == 1);
	if (r->result == MRELEASE_REFUSED || r->result == MRELEASE_GONE) {
		expect_report(r, r->stage <= MRELEASE_STAGE_PREPARED);
		expect_report(r, r->path == MRELEASE_PATH_NONE);
		expect_report(r, r->released_bytes == 0);
		expect_report(r, r->exit_ns == -1);
	}
	/* Nothing comes back that was not there, nothing is lost count of. */
	if (r->stage >= MRELEASE_STAGE_KILLED)
		expect_report(r, r->released_bytes + r->outstanding_bytes ==
					 before);
}

int release(struct victim *v, const struct mrelease_opts *opts,
	    struct mrelease_report *rep)
{
	struct mrelease_opts defaults = opts_with(0);
	int ret, before = 4711;

	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	errno = before;
	ret = mrelease_process(v->fd, opts ? opts : &defaults, rep);
	assert_int_equal(errno, before);
	check_report(rep, ret);
	expect_report(rep, rep->pid == v->pid);
	return ret;
}

void expect_released(struct victim *v, const struct mrelease_report *r,
		     int path)
{
	expect_report(r, r->result == MRELEASE_RELEASED);
	expect_report(r, r->verified == 1);
	expect_report(r, path < 0 || r->path == path);
	expect_report(r, r->before.anon_bytes + r->before.swap_bytes >= v->len);
	/* A few MiB of stack, heap and thread stacks at most. */
	expect_report(r, r->before.anon_bytes < v->len + 64 * MIB);
	expect_report(r, r->released_bytes >= v->len);
	expect_report(r, r->stage == MRELEASE_STAGE_EXITED);
	expect_report(r, r->exit_ns >= 0);
	if (v->pagemap_fd >= 0)
		assert_memory_back(v);
	assert_true(process_gone(v->pid));
}

/* The series in kernel/ finds the memory of a process that has exited. */
bool kernel_reaps_exited(void)
{
	struct mrelease_features f = { .size = sizeof(f) };

	assert_int_equal(mrelease_probe(&f), 0);
	return f.kernel_release == 1;
}

bool kernel_keeps_robust(void)
{
	struct mrelease_features f = { .size = sizeof(f) };

	assert_int_equal(mrelease_probe(&f), 0);
	return f.kernel_robust == 1;
}

void expect_no_pin(const struct mrelease_report *r)
{
	expect_report(r, r->path == MRELEASE_PATH_UNPINNED ||
				 r->path == MRELEASE_PATH_EXIT ||
				 (r->path == MRELEASE_PATH_KERNEL &&
				  kernel_reaps_exited()));
	expect_report(r, r->notes & MRELEASE_NOTE_NO_PIN);
}

void expect_refused(const struct mrelease_report *r, int ret, int refusal)
{
	expect_report(r, ret == -EPERM);
	expect_report(r, r->result == MRELEASE_REFUSED);
	expect_report(r, r->refusal == refusal);
}
