/* SPDX-License-Identifier: MIT */
/* The calls for one process: prepare, release, free, or all three at once. */
#include "release/release.h"

struct mrelease_target {
	struct release r;
	struct victim v;
	bool used;
	/* Between two calls, what it has open is noted (files.c). */
	struct files_owner owner;
	/* It is in the list of owners; no call is under way with it. */
	bool owned, rests;
	struct cache cache;
	struct scratch scratch;
	struct objects objects;
	struct tids tids;
	char second_stack[32 * 1024] __attribute__((aligned(4096)));
	char stack[96 * 1024] __attribute__((aligned(4096)));
};

static bool owns(const struct files_owner *o, int fd)
{
	const struct mrelease_target *t =
		(const void *)((const char *)o -
			       offsetof(struct mrelease_target, owner));

	return victim_has_fd(&t->v, fd) || objects_have_fd(&t->objects, fd) ||
	       fd == t->tids.last_fd || fd == t->r.self.claims_fd ||
	       (fd && fd == t->r.helper.status_fd);
}

/* It waits for its release, for as long as its owner likes. */
static void target_rests(struct mrelease_target *t)
{
	t->owner.owns = owns;
	files_own(&t->owner);
	t->owned = t->rests = true;
	files_end();
}

/* For good, and without a lock: a kill comes after this. */
static void target_works(struct mrelease_target *t)
{
	if (t->rests)
		files_begin();
	t->rests = false;
}

/* Waits for nobody. */
static int target_open(struct mrelease_target *t, int pidfd)
{
	victim_init(&t->v);
	t->r.v = &t->v;
	t->r.scratch = &t->scratch;
	t->r.objects = &t->objects;
	objects_init(&t->objects);
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
	return victim_identify(&t->v, pidfd, &t->r.self);
}

static void target_close(struct mrelease_target *t)
{
	target_works(t);
	if (t->owned)
		files_disown(&t->owner);
	standby_end(&t->r);
	victim_close(&t->v);
	objects_close(&t->objects);
	self_close_claims(&t->r.self);
	close_keep(&t->tids.last_fd);
	files_end();
	/* A helper that could not be ended may yet write there. */
	if (!t->r.stranded)
		pages_free(t, sizeof(*t));
}

/* A dry run may be made again and again: each has a helper of its own. */
static bool is_kept(const struct mrelease_opts *o)
{
	return (o->flags & (MRELEASE_STANDBY | MRELEASE_DRY_RUN)) ==
	       MRELEASE_STANDBY;
}

static int prepare(int pidfd, const struct mrelease_opts *opts,
		   struct mrelease_report *report, bool ahead,
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
	t = ahead ? pages_alloc(sizeof(*t)) : pages_reserve(sizeof(*t));
	if (!t)
		return report_error(-ENOMEM, report);
	files_begin();
	release_init(&t->r, &o, o.deadline_ns);
	ret = target_open(t, pidfd);
	/* Not released at once: all is opened now, and its pidfd is its own. */
	if (ret == 0 && ahead)
		ret = t->v.dir_fd < 0 ? -EMFILE :
					release_ready(&t->r, is_kept(&o));
	t->v.rep.error = ret;
	t->v.rep.prepare_ns = now_ns() - t->r.start_ns;
	report_out(&t->v.rep, report);
	if (ret < 0) {
		target_close(t);
		return ret;
	}
	if (ahead)
		target_rests(t);
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

	if (!report_ok(report) || !t || deadline_ns < 0)
		return -EINVAL;
	/* The report may be that of the release that there was. */
	if (t->used)
		return -EALREADY;
	v = &t->v;
	target_works(t);
	release_set_deadline(&t->r, deadline_ns);
	if (t->r.opts.flags & MRELEASE_DRY_RUN) {
		ret = release_dry(&t->r);
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

/* There is no memory for a target: kill it, and wait for its exit. */
static int release_bare(int pidfd, const struct mrelease_opts *opts,
			struct mrelease_report *report)
{
	struct release r = { 0 };
	struct mrelease_opts o;
	struct victim v;
	int ret;

	if (opts_check(opts, &o) < 0 || o.flags & MRELEASE_DRY_RUN)
		return -ENOMEM;
	files_begin();
	victim_init(&v);
	release_init(&r, &o, o.deadline_ns);
	r.v = &v;
	ret = victim_identify(&v, pidfd, &r.self);
	if (ret == 0)
		ret = release_run(&r);
	v.rep.error = ret;
	report_out(&v.rep, report);
	victim_close(&v);
	files_end();
	return ret;
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
	if (ret == -ENOMEM)
		return release_bare(pidfd, opts, report);
	if (!t)
		return ret;
	prepare_ns = t->v.rep.prepare_ns;
	ret = mrelease_release(t, opts ? opts->deadline_ns : 0, report);
	if (report)
		report->prepare_ns += prepare_ns;
	mrelease_target_free(t);
	return ret;
}
