/* SPDX-License-Identifier: MIT */
/*
 * Which threads has a process, while they die?
 *
 * proc_task_readdir() ends early, or, when a listing takes more than one call,
 * goes on at the wrong place:
 *
 *	proc_task_readdir()			thread N
 *	next_tid(N - 1) is N
 *						dies, is unhashed
 *	N has no number: not listed
 *	next_tid(N): not alive, the end
 *
 * and N + 1 holds a lock.  Nothing in the listing shows it.  So it is whole
 * only if none died meanwhile, and it has as many as there are; who dies
 * brings the end of this nearer.
 *
 * Two thousand threads are not listed without a death among them in all the
 * time that they take to die.  They are therefore noted before the kill, and
 * the number that the kernel gave away last with them.  Whoever was added
 * since has one of the numbers after it: given away before the kill, because a
 * clone() that meets SIGKILL after it has its number is undone.
 */
#include <dirent.h>
#include <linux/stat.h>
#include <string.h>

#include "private.h"

/* More new numbers than this, or in more time, are not looked at. */
#define MAX_NEW	   512
#define MAX_NEW_NS (200 * NSEC_PER_MSEC)

/*
 * The links of the directory: a word, where the stat file would add up the
 * times of all threads.  0: none is left.
 */
static uint32_t count(const struct victim *v)
{
	struct statx stx;

	if (sys_statx(v->task_fd, "", AT_EMPTY_PATH, STATX_NLINK, &stx) < 0)
		return victim_threads(v);
	return MAX(stx.stx_nlink, 2u) - 2;
}

int threads_list(const struct victim *v, struct scratch *s,
		 int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole)
{
	uint32_t before = count(v), listed = 0;
	long len;
	int ret;

	*ret_whole = !before;
	if (!before)
		return 0;
	sys_lseek(v->task_fd, 0, SEEK_SET);
	/* A whole process of 8,000 threads is in one buffer: looked at once. */
	while ((len = sys_getdents64(v->task_fd, s->buf, sizeof(s->buf))) > 0) {
		if (count(v) != before)
			return 0;
		for (long off = 0; off < len;) {
			struct dirent64 *d = (void *)(s->buf + off);
			const char *p = d->d_name;
			uint64_t tid;

			off += d->d_reclen;
			if (parse_u64(&p, p + strlen(p), &tid) < 0)
				continue;
			listed++;
			ret = fn(arg, tid);
			if (ret)
				return ret;
		}
	}
	if (len < 0 && len != -ENOENT && len != -ESRCH)
		return 1;
	*ret_whole = listed == before;
	return 0;
}

struct note_arg {
	struct tids *tids;
	uint32_t nr;
};

static int note_one(void *arg, pid_t tid)
{
	struct note_arg *a = arg;

	if (a->tids->used + a->nr == ARRAY_SIZE(a->tids->tid))
		return 1;
	a->tids->tid[a->tids->used + a->nr++] = tid;
	return 0;
}

/* The number that was given away last in our PID namespace. */
static int last_number(const struct tids *tids, uint64_t *ret)
{
	const char *p;
	char buf[32];
	long len;

	if (tids->last_fd < 0)
		return tids->last_fd;
	len = read_at(tids->last_fd, buf, sizeof(buf));
	p = buf;
	return len < 0 ? (int)len : parse_u64(&p, buf + len, ret);
}

void tids_init(struct tids *tids)
{
	tids->used = 0;
	tids->last_fd = -EBADF;
}

void tids_open(struct tids *tids)
{
	if (tids->last_fd < 0)
		tids->last_fd = sys_openat(
			AT_FDCWD, "/proc/sys/kernel/ns_last_pid", O_RDONLY);
}

void threads_note(struct victim *v, struct tids *tids, struct scratch *s)
{
	v->nr_tids = 0;
	if (!tids || v->task_fd < 0 || v->rep.threads <= MANY_THREADS ||
	    v->rep.threads > ARRAY_SIZE(tids->tid) - tids->used)
		return;
	/* Some are born and some die: once more, and then without. */
	for (unsigned int i = 0; i < 2; i++) {
		struct note_arg arg = { .tids = tids };
		uint64_t last;
		bool whole;

		v->noted_ns = now_ns();
		if (last_number(tids, &v->last_tid) < 0)
			return;
		if (threads_list(v, s, note_one, &arg, &whole) ||
		    last_number(tids, &last) < 0 || last < v->last_tid)
			return;
		/*
		 * As many as there were: but one that came since makes up for
		 * one that was left out, and who died hides it from count().
		 */
		for (uint32_t n = 0; n < arg.nr; n++) {
			uint64_t tid = tids->tid[tids->used + n];

			whole = whole && (tid <= v->last_tid || tid > last);
		}
		if (!whole)
			continue;
		v->tids = &tids->tid[tids->used];
		v->nr_tids = arg.nr;
		tids->used += arg.nr;
		return;
	}
}

int threads_since(const struct victim *v, const struct tids *tids,
		  int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole)
{
	uint64_t last;
	int ret;

	*ret_whole = false;
	/* In that time the numbers cannot have begun anew and come as far. */
	if (last_number(tids, &last) < 0 || last < v->last_tid ||
	    last - v->last_tid > MAX_NEW || now_ns() - v->noted_ns > MAX_NEW_NS)
		return 0;
	for (uint64_t tid = v->last_tid + 1; tid <= last; tid++) {
		if (!threads_has(v, tid))
			continue;
		ret = fn(arg, tid);
		if (ret)
			return ret;
	}
	*ret_whole = true;
	return 0;
}

bool threads_has(const struct victim *v, pid_t tid)
{
	struct statx stx;
	char path[32];
	int ret;

	path_number(path, "", tid, "");
	ret = sys_statx(v->task_fd, path, 0, STATX_INO, &stx);
	return ret != -ENOENT && ret != -ESRCH;
}
