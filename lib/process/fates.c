/* SPDX-License-Identifier: MIT */
/*
 * What becomes of objects.  A file handle of one says whether the kernel still
 * has it (ESTALE), and holds nothing meanwhile as a descriptor would.  hugetlb
 * has no handles: see hugetlb.c.
 */
#include <linux/stat.h>
#include <string.h>

#include "process/process.h"

/* Freed by task work of the exit, or by a reader of /proc a moment later. */
#define ASK_NS (50 * NSEC_PER_MSEC)
/* Devices and rings let go of their pages some time after the exit. */
#define PINS_NS (2 * NSEC_PER_SEC)
/* Most of them are gone by then: others are asked whether they map the rest. */
#define SEARCH_AFTER_NS (4 * NSEC_PER_MSEC)

static uint64_t times_mapped(uint64_t frame)
{
	cleanup_fd int fd = sys_openat(AT_FDCWD, "/proc/kpagecount", O_RDONLY);
	uint64_t n = 0;

	if (fd < 0 || !frame || sys_pread(fd, &n, 8, frame * 8) != 8)
		return 0;
	return n;
}

void objects_resolve(struct objects *o)
{
	for (unsigned int i = 0; i < o->nr; i++) {
		struct object *ob = &o->object[i];

		if (ob->mappings == 1)
			ob->in_use = true;
		else if (ob->mappings > 1)
			ob->in_use = times_mapped(ob->probe_frame) >
				     ob->mappings;
	}
}

struct handle {
	uint32_t bytes;
	int32_t type;
	unsigned char f[sizeof(((struct object *)NULL)->handle)];
};

/*
 * O_PATH will not do for the mount, but as the current directory.  That is ours in
 * a helper.  In the caller's thread nobody is held, and the mount can be opened.
 */
static int open_handle(int mount_fd, const struct handle *fh, bool in_helper)
{
	/* O_PATH: the close of a real open would drop the host's POSIX locks on it. */
	int fd = sys_open_by_handle_at(mount_fd, fh, O_PATH);
	cleanup_fd int real = -EBADF;

	if (fd != -EBADF)
		return fd;
	if (in_helper) {
		fd = sys_fchdir(mount_fd);
		return fd < 0 ? fd :
				sys_open_by_handle_at(AT_FDCWD, fh, O_PATH);
	}
	real = sys_openat(mount_fd, ".", O_RDONLY | O_DIRECTORY);
	return real < 0 ? real : sys_open_by_handle_at(real, fh, O_PATH);
}

static void ask_handle(struct object *ob, bool in_helper)
{
	struct handle fh = { .bytes = ob->handle_bytes,
			     .type = ob->handle_type };
	cleanup_fd int fd = -EBADF;
	struct statx stx;

	memcpy(fh.f, ob->handle, sizeof(fh.f));
	fd = open_handle(ob->mount_fd, &fh, in_helper);
	if (fd == -ESTALE) {
		ob->fate = OBJECT_GONE;
		return;
	}
	ob->fate = OBJECT_UNKNOWN;
	if (fd < 0 || sys_statx(fd, "", AT_EMPTY_PATH,
				STATX_NLINK | STATX_BLOCKS, &stx) < 0)
		return;
	ob->fate = OBJECT_THERE;
	ob->linked = stx.stx_nlink > 0;
	ob->left = MIN(stx.stx_blocks * 512, ob->bytes);
}

/* It has gone, and its pages may be pinned. */
static void ask_pins(const struct objects *o, struct object *ob)
{
	unsigned int noted;
	uint64_t aside;

	ob->pinned = false;
	ob->unsure = 0;
	if (ob->fate != OBJECT_GONE || !ob->may_be_pinned)
		return;
	ob->left = held_object(&o->held, ob - o->object, &noted, &aside);
	ob->left = MIN(ob->left, ob->bytes);
	ob->pinned = ob->left;
	if (!noted)
		ob->fate = OBJECT_UNKNOWN;
	else if (ob->left)
		ob->fate = OBJECT_THERE;
	else if (noted < ob->bytes / getpagesize())
		ob->unsure = MIN(3 * ob->bytes / noted + aside, ob->bytes);
	else
		ob->unsure = MIN(aside, ob->bytes);
}

static bool ask_one(const struct objects *o, struct object *ob, bool in_helper)
{
	ob->left = 0;
	if (ob->hugetlb)
		hugetlb_ask(ob);
	else if (ob->handle_bytes && ob->mount_fd >= 0)
		ask_handle(ob, in_helper);
	else
		ob->fate = OBJECT_UNKNOWN;
	ask_pins(o, ob);
	if (ob->pinned)
		return false;
	/* What has a name stays; anything else may be on its way. */
	return ob->fate == OBJECT_GONE || ob->linked || ob->sysv ||
	       ob->in_use || ob->fate == OBJECT_UNKNOWN;
}

static bool ask_all(struct objects *o, bool in_helper, bool *ret_pinned)
{
	bool settled = true;

	*ret_pinned = false;
	hugetlb_news(o);
	for (unsigned int i = 0; i < o->nr; i++) {
		settled = ask_one(o, &o->object[i], in_helper) && settled;
		*ret_pinned |= o->object[i].pinned;
	}
	return settled;
}

void objects_ask(struct objects *o, struct mappers *m, int64_t deadline_ns)
{
	int64_t pause_ns = NSEC_PER_MSEC / 4, start = now_ns();
	int64_t until = deadline_min(deadline_ns, start + ASK_NS);
	int64_t pins_until = deadline_min(deadline_ns, start + PINS_NS);
	bool in_helper = m && m->in_helper;

	o->asked = true;
	for (;;) {
		bool pinned, settled = ask_all(o, in_helper, &pinned);
		int64_t now = now_ns();

		if (m && (settled || now >= start + SEARCH_AFTER_NS)) {
			mappers_find(m, o, deadline_ns);
			m = NULL;
			settled = ask_all(o, in_helper, &pinned);
		}
		if (!m && (settled || now >= (pinned ? pins_until : until)))
			break;
		pause_until(deadline_min(pins_until, now + pause_ns));
		pause_ns = MIN(pause_ns * 2, 20 * NSEC_PER_MSEC);
	}
	/* A process that is not a victim maps it; it is freed when that one exits. */
	for (unsigned int i = 0; i < o->nr; i++)
		o->object[i].in_use |= o->object[i].holder &&
				       o->object[i].fate != OBJECT_GONE;
}

static bool is_like_a_file(const struct object *ob)
{
	return ob->linked && !ob->shared_writable;
}

static void keep(struct mrelease_entry *e, const struct object *ob,
		 uint64_t bytes, enum mrelease_reason reason)
{
	e->kept_bytes += bytes;
	/* Of several reasons, that of the most. */
	if (!bytes || e->outstanding_bytes || bytes < e->kept_bytes / 2)
		return;
	e->reason = reason;
	e->holder_pid = ob->in_use ? ob->holder : 0;
}

static void back(struct mrelease_entry *e, const struct object *ob,
		 uint64_t bytes)
{
	if (!bytes)
		return;
	if (ob->not_ours) {
		e->exclusive_bytes -= bytes;
		keep(e, ob, bytes, MRELEASE_REASON_CLAIMED);
		return;
	}
	e->back_bytes += bytes;
	e->unsure_bytes += ob->unsure;
	e->evidence = MRELEASE_EVIDENCE_OBJECT;
}

/* There, and nobody is known to map it: some descriptor has it. */
static bool is_held(const struct object *ob)
{
	return ob->fate == OBJECT_THERE && !ob->linked && !ob->sysv &&
	       !ob->in_use && !ob->pinned;
}

uint64_t objects_untold(const struct objects *o)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < o->nr; i++) {
		const struct object *ob = &o->object[i];

		/* Once, however many have it: one page of 400 members is one. */
		if (!ob->sized)
			bytes += ob->guess;
		else if (is_held(ob))
			bytes += ob->left;
	}
	return bytes;
}

/* Add one object to an entry; ours: no other victim has it. */
static void add_object(struct mrelease_entry *e, const struct object *ob,
		       bool ours, bool little)
{
	uint64_t left = ob->bytes;

	e->before_bytes += ob->bytes;
	if (ob->in_use || !ours) {
		keep(e, ob, ob->bytes, MRELEASE_REASON_IN_USE);
		return;
	}
	e->exclusive_bytes += ob->bytes;
	if (ob->fate == OBJECT_NOT_ASKED) {
		/* A dry run: what has a name would stay. */
		if (!ob->linked && !ob->sysv)
			return;
	} else {
		if (ob->fate == OBJECT_GONE)
			left = 0;
		else if (ob->fate == OBJECT_THERE)
			left = ob->left;
		back(e, ob, ob->bytes - left);
	}
	if (!left)
		return;
	/* A page or two that living others hold are theirs. */
	if (little && is_held(ob)) {
		e->exclusive_bytes -= left;
		keep(e, ob, left, MRELEASE_REASON_IN_USE);
		return;
	}
	e->outstanding_bytes += left;
	e->holder_pid = 0;
	e->reason = ob->linked || ob->sysv     ? MRELEASE_REASON_LINKED :
		    ob->fate == OBJECT_UNKNOWN ? MRELEASE_REASON_UNKNOWN :
		    ob->pinned		       ? MRELEASE_REASON_PINNED :
						 MRELEASE_REASON_IN_USE;
}

void objects_entry(const struct objects *o, const struct victim *v,
		   bool hugetlb, struct mrelease_entry *e)
{
	unsigned int nr = v ? v->nr_links : o->nr;

	for (unsigned int i = 0; i < nr; i++) {
		const struct object *ob =
			&o->object[v ? o->link[v->first_link + i] : i];

		if (ob->hugetlb == hugetlb && !is_like_a_file(ob))
			add_object(e, ob, !v || ob->owners == 1, o->little);
	}
}

static bool all_sized(const struct objects *o, const struct victim *v)
{
	for (uint32_t i = 0; i < v->nr_links; i++)
		if (!o->object[o->link[v->first_link + i]].sized)
			return false;
	return true;
}

/*
 * What the kernel counts, and no object is known to have.  A little of one that was
 * killed before its objects were looked for can be the same page in all of them.
 */
static uint64_t unexplained(const struct objects *o, const struct victim *v,
			    bool hugetlb)
{
	if (!v->linked &&
	    (hugetlb ? v->rss_hugetlb : v->rss_shmem) < LITTLE_BYTES)
		return 0;
	if (!o || !v->linked || o->more ||
	    (hugetlb ? v->huge.unread || !v->huge.found : !v->nr_links))
		return hugetlb ? v->rss_hugetlb : v->rss_shmem;
	return 0;
}

uint64_t account_untold(const struct objects *o, const struct victim *v)
{
	uint64_t bytes = unexplained(o, v, false) + unexplained(o, v, true);
	uint64_t special = v->rep.kinds[MRELEASE_SPECIAL].exclusive_bytes;

	/* Before that it is to come back, as far as anybody can tell. */
	if (v->killed)
		bytes += special - MIN(secret_bytes(v), special);
	return bytes;
}

void account_objects(const struct objects *o, const struct victim *v,
		     bool hugetlb, struct mrelease_entry *e,
		     uint64_t *ret_private)
{
	uint64_t rss = hugetlb ? v->rss_hugetlb : v->rss_shmem;

	*ret_private = 0;
	memset(e, 0, sizeof(*e));
	if (!rss || (!v->linked && rss < LITTLE_BYTES))
		return;
	if (unexplained(o, v, hugetlb) || !all_sized(o, v)) {
		if (o && o->little)
			return;
		e->before_bytes = rss;
		e->exclusive_bytes = rss;
		e->outstanding_bytes = rss;
		e->reason = MRELEASE_REASON_UNKNOWN;
		return;
	}
	objects_entry(o, v, hugetlb, e);
	if (!hugetlb)
		return;
	*ret_private = hugetlb_account(v, e);
}
