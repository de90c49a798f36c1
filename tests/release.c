/* SPDX-License-Identifier: MIT */
/* Releases, and what every report must hold. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
	for (int i = 0; i < MRELEASE_NR_KINDS; i++) {
		const struct mrelease_entry *e = &r->kinds[i];

		if (!e->before_bytes)
			continue;
		printf("# kind %d before %llu exclusive %llu back %llu ", i,
		       (unsigned long long)e->before_bytes,
		       (unsigned long long)e->exclusive_bytes,
		       (unsigned long long)e->back_bytes);
		printf("outstanding %llu kept %llu unsure %llu why %d by %d\n",
		       (unsigned long long)e->outstanding_bytes,
		       (unsigned long long)e->kept_bytes,
		       (unsigned long long)e->unsure_bytes, e->reason,
		       e->holder_pid);
	}
	printf("# released %llu outstanding %llu kept %llu evicted %llu\n",
	       (unsigned long long)r->released_bytes,
	       (unsigned long long)r->outstanding_bytes,
	       (unsigned long long)r->kept_bytes,
	       (unsigned long long)r->cache_evicted_bytes);
	printf("# release %lld exit %lld prepare %lld ns\n",
	       (long long)r->release_ns, (long long)r->exit_ns,
	       (long long)r->prepare_ns);
	/* A child of a test leaves through _exit(). */
	fflush(stdout);
}

void child_failed(const struct mrelease_report *rep)
{
	show_report(rep);
	_exit(rep->notes & MRELEASE_NOTE_NOT_READY ? CHILD_WAS_LATE : 1);
}

/* Nothing comes back that was not there, nothing is lost count of. */
static void check_account(const struct mrelease_report *r)
{
	struct mrelease_entry sum = { 0 };

	for (int i = 0; i < MRELEASE_NR_KINDS; i++) {
		const struct mrelease_entry *e = &r->kinds[i];

		expect_report(r, e->exclusive_bytes <= e->before_bytes);
		expect_report(r, e->back_bytes <= e->exclusive_bytes);
		expect_report(r, e->unsure_bytes <= e->back_bytes);
		expect_report(r, e->back_bytes + e->outstanding_bytes +
						 e->kept_bytes ==
					 e->before_bytes);
		expect_report(r, !e->outstanding_bytes || e->reason);
		if (i == MRELEASE_CACHE)
			continue;
		expect_report(r, !e->kept_bytes || e->reason);
		expect_report(r, !e->back_bytes || e->evidence);
		sum.before_bytes += e->before_bytes;
		sum.back_bytes += e->back_bytes;
		sum.outstanding_bytes += e->outstanding_bytes;
		sum.kept_bytes += e->kept_bytes;
	}
	expect_report(r, r->before_bytes == sum.before_bytes);
	expect_report(r, r->released_bytes == sum.back_bytes);
	expect_report(r, r->outstanding_bytes == sum.outstanding_bytes);
	expect_report(r, r->kept_bytes == sum.kept_bytes);
}

static int64_t cpu_time_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * SEC_NS + ts.tv_nsec;
}

/* Do we get a CPU for ourselves, now? */
static bool shares_its_cpu(void)
{
	int64_t start = now_ns(), cpu = cpu_time_ns(), now;

	do
		now = now_ns();
	while (now - start < SEC_NS / 20);
	return cpu_time_ns() - cpu < (now - start) * 4 / 5;
}

/* That, or half of the time or more a task waits for a CPU. */
bool machine_is_busy(void)
{
	double avg10 = 0, load = 0;
	FILE *f;

	if (shares_its_cpu())
		return true;
	f = fopen("/proc/pressure/cpu", "re");
	if (f) {
		if (fscanf(f, "some avg10=%lf", &avg10) != 1)
			avg10 = 0;
		fclose(f);
		return avg10 >= 50;
	}
	return getloadavg(&load, 1) == 1 &&
	       load >= 2 * (double)sysconf(_SC_NPROCESSORS_ONLN);
}

void report_failed(const struct mrelease_report *rep, const char *file,
		   int line)
{
	show_report(rep);
	if (rep->notes & MRELEASE_NOTE_NOT_READY)
		late_once_more();
	if (rep->notes & MRELEASE_NOTE_NOT_READY && machine_is_busy())
		skip_test("busy",
			  "killed before it was counted, others use "
			  "the CPUs (%s:%d)",
			  file, line);
	_fail(file, line);
}

void check_report(const struct mrelease_report *r, int ret)
{
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
	if (r->stage >= MRELEASE_STAGE_KILLED)
		check_account(r);
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
	expect_report(r, r->kinds[MRELEASE_ANON].before_bytes +
					 r->kinds[MRELEASE_SWAP].before_bytes >=
				 v->len);
	/* A few MiB of stack, heap and thread stacks at most. */
	expect_report(r,
		      r->kinds[MRELEASE_ANON].before_bytes < v->len + 64 * MIB);
	expect_report(r, r->released_bytes >= v->len);
	expect_report(r, r->stage == MRELEASE_STAGE_EXITED);
	expect_report(r, r->exit_ns >= 0);
	if (v->pagemap_fd >= 0)
		assert_memory_back(v);
	assert_true(process_gone(v->pid));
}

void expect_locks(struct victim *survivor, const char *locks)
{
	char line[64], want[64];

	snprintf(want, sizeof(want), "locked %s 0 0", locks);
	victim_reply(survivor, line, sizeof(line));
	assert_string_equal(line, want);
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
