/* SPDX-License-Identifier: MIT */
/* The calls for one process: prepare, release, free, or all three at once. */
#include "private.h"

struct mrelease_target {
	struct release r;
	struct victim v;
	bool used;
	struct cache cache;
	struct scratch scratch;
	struct tids tids;
	char second_stack[32 * 1024] __attribute__((aligned(4096)));
	char stack[96 * 1024] __attribute__((aligned(4096)));
};

static int dry_run(struct release *r, struct victim *v)
{
	struct sharers found;
	int ret = 0;

	if (r->opts.flags & MRELEASE_KILL_SHARERS)
		ret = sharers_check(r, v);
	else if (sharers_find(v, r->scratch, NULL, NULL, &found) == 0)
		sharers_note(v, &found);
	if (ret == -EPERM)
		return ret;
	v->rep.result = MRELEASE_WOULD_KILL;
	v->rep.outstanding_bytes = 0;
	return 0;
}

static int target_open(struct mrelease_target *t, int pidfd)
{
	int ret;

	victim_init(&t->v);
	t->r.v = &t->v;
	t->r.scratch = &t->scratch;
	t->r.tids = &t->tids;
	tids_init(&t->tids);
	if (t->r.opts.flags & MRELEASE_EVICT_CACHE) {
		t->r.cache = &t->cache;
		t->cache.by_kernel = t->r.series;
	}
	t->r.helper.stack = t->stack;
	t->r.helper.stack_size = sizeof(t->stack);
	t->r.second.stack = t->second_stack;
	t->r.second.stack_size = sizeof(t->second_stack);
	ret = victim_open(&t->v, pidfd, &t->r.self);
	if (ret == 0)
		ret = victim_complete(&t->v);
	/*
	 * Without a pin the victim may be gone, and with it every way to
	 * compare address spaces, before process_mrelease() says EINVAL.
	 */
	if (ret == 0 && t->r.opts.flags & MRELEASE_NO_PIN) {
		struct sharers found;

		if (sharers_find(&t->v, &t->scratch, NULL, NULL, &found) == 0) {
			t->v.rep.sharers = found.count;
			t->v.rep.sharer_pid = found.first;
		}
	}
	if (ret == 0 && t->v.rep.threads > MANY_THREADS)
		tids_open(&t->tids);
	/* For the day that it has shmem; the kill path opens nothing. */
	if (ret == 0 && t->v.meminfo_fd < 0)
		t->v.meminfo_fd =
			sys_openat(AT_FDCWD, "/proc/meminfo", O_RDONLY);
	return ret;
}

static void target_close(struct mrelease_target *t)
{
	victim_close(&t->v);
	close_keep(&t->tids.last_fd);
	pages_free(t, sizeof(*t));
}

static int prepare(int pidfd, const struct mrelease_opts *opts,
		   struct mrelease_report *report, bool populate,
		   struct mrelease_target **ret_target)
{
	struct mrelease_target *t;
	struct mrelease_opts o;
	int ret;

	if (ret_target)
		*ret_target = NULL;
	if (!report_ok(report))
		return -EINVAL;
	ret = opts_check(opts, &o);
	if (ret < 0)
		return report_error(ret, report);
	if (!ret_target)
		return report_error(-EINVAL, report);
	t = populate ? pages_alloc(sizeof(*t)) : pages_reserve(sizeof(*t));
	if (!t)
		return report_error(-ENOMEM, report);
	release_init(&t->r, &o, o.deadline_ns);
	ret = target_open(t, pidfd);
	t->v.rep.error = ret;
	t->v.rep.prepare_ns = now_ns() - t->r.start_ns;
	report_out(&t->v.rep, report);
	if (ret < 0) {
		target_close(t);
		return ret;
	}
	*ret_target = t;
	return 0;
}

int mrelease_prepare(int pidfd, const struct mrelease_opts *opts,
		     struct mrelease_report *report,
		     struct mrelease_target **ret_target)
{
	return prepare(pidfd, opts, report, true, ret_target);
}

int mrelease_release(struct mrelease_target *t, int64_t deadline_ns,
		     struct mrelease_report *report)
{
	struct victim *v;
	int ret;

	if (!report_ok(report))
		return -EINVAL;
	if (!t || deadline_ns < 0)
		return report_error(-EINVAL, report);
	if (t->used)
		return report_error(-EALREADY, report);
	v = &t->v;
	release_set_deadline(&t->r, deadline_ns);
	if (t->r.opts.flags & MRELEASE_DRY_RUN) {
		ret = dry_run(&t->r, v);
	} else if (v->zombie) {
		t->used = true;
		ret = release_zombie(&t->r);
	} else {
		t->used = true;
		ret = release_run(&t->r);
	}
	v->rep.error = ret;
	report_out(&v->rep, report);
	return ret;
}

void mrelease_target_free(struct mrelease_target *t)
{
	if (!t)
		return;
	target_close(t);
}

int mrelease_process(int pidfd, const struct mrelease_opts *opts,
		     struct mrelease_report *report)
{
	struct mrelease_report scratch = { .size = sizeof(scratch) };
	struct mrelease_target *t;
	int64_t prepare_ns;
	int ret;

	/* The release follows at once: pages as they are used. */
	ret = prepare(pidfd, opts, report ? report : &scratch, false, &t);
	if (!t)
		return ret;
	prepare_ns = t->v.rep.prepare_ns;
	ret = mrelease_release(t, opts ? opts->deadline_ns : 0, report);
	if (report)
		report->prepare_ns += prepare_ns;
	mrelease_target_free(t);
	return ret;
}
