/* SPDX-License-Identifier: MIT */
/*
 * Processes that use the victim's memory and are no threads of it, and their
 * robust lists (CLONE_VM without CLONE_THREAD).
 *
 * The kernel reaps as soon as all users of an address space are dying; that
 * they have walked their lists it does not ask:
 *
 *	we, releasing A			B, in the same memory, holds a lock
 *					is killed: by us, by somebody else,
 *					an hour ago; is frozen, or in D state
 *	process_mrelease(A)
 *					exits: finds no list, wakes nobody
 *
 * So before A is reaped each of them is looked for.  It must have left the
 * memory, which it does after its list is walked, or its list must be empty
 * and stay so: SIGKILL is pending for it, and it was in the kernel afterwards
 * (robust.c).  Else A is not reaped, and the exits free the memory.
 *
 * Only memory that is shared and writable has locks of which a survivor can
 * know; without any nobody is looked for.
 *
 * kcmp(2) compares, and waits for a process in execve() that closes a file of a
 * server which does not answer: it holds its exec_update_lock for as long, and
 * has nothing mapped but a new stack.  So it is asked only about processes that
 * have as many pages of mappings as the victim: statm waits for nobody.  The
 * victim's own number is read again afterwards; when it has changed meanwhile,
 * all are compared again.
 */
#include <dirent.h>
#include <string.h>
#include <sys/resource.h>

#include "release/release.h"

#define KCMP_VM 1
/* A vfork() child execs soon, and most of those that die are gone soon. */
#define WAIT_NS (200 * NSEC_PER_MSEC)
/* Comparisons for a group, of less than a microsecond each. */
#define MAX_KCMP (64 * 1024)
/* Of a group's buffer: for a listing; the rest is a set of sizes. */
#define LIST_BYTES (32 * 1024)

/* One release: who else there is. */
struct others {
	struct release *r;
	struct victim *v;
	int proc_fd;
	pid_t tid;
	uint64_t pages;
	unsigned int nr;
	/* Not known to be dying. */
	unsigned int living;
	pid_t first_living;
	/* Some that cannot be told to be done with their lists. */
	bool busy;
	pid_t killed[16];
	unsigned int nr_killed;
};

/* Dying, a single thread, of the victim's kind: its list can be asked for. */
static void add_other(struct others *o, pid_t pid, bool killed)
{
	struct proc_status st;
	char path[32];

	path_number(path, "", pid, "/status");
	if (status_read_path(o->proc_fd, path, &st) < 0)
		return;
	o->nr++;
	if (killed && st.threads == 1 && !o->v->compat &&
	    o->nr_killed < ARRAY_SIZE(o->killed)) {
		o->killed[o->nr_killed++] = pid;
		return;
	}
	o->busy = true;
	if (killed || is_dying(pid))
		return;
	if (!o->living++)
		o->first_living = pid;
}

static bool killed(int proc_fd, pid_t pid)
{
	struct proc_status st;
	char path[32];

	path_number(path, "", pid, "/status");
	return status_read_path(proc_fd, path, &st) == 0 && st.killed;
}

static int look_at(void *arg, pid_t pid)
{
	struct others *o = arg;
	bool is_killed;
	pid_t tid;
	int cmp;

	if (pid == o->v->pid ||
	    (o->r->has_victim && o->r->has_victim(o->r->group, pid)))
		return 0;
	tid = user_in(o->proc_fd, pid, &o->pages);
	if (!tid)
		return 0;
	is_killed = killed(o->proc_fd, pid);
	cmp = sys_kcmp(o->tid, tid, KCMP_VM);
	/* Not to be told: under a living one the kernel reaps nothing. */
	if (cmp == 0 || (cmp < 0 && cmp != -ESRCH && is_killed))
		add_other(o, pid, is_killed);
	return 0;
}

/* Not in user mode any more since they were killed, and their lists empty? */
static bool all_empty(struct others *o)
{
	bool empty = !o->busy;

	if (!empty)
		return false;
	/* Once more: they may have been killed after the last visit. */
	o->r->visited = false;
	robust_visit(o->r);
	if (!o->r->visited)
		return false;
	for (unsigned int i = 0; i < o->nr_killed; i++) {
		if (robust_is_empty(o->r, o->v, o->killed[i]))
			continue;
		empty = false;
		sys_setpriority(PRIO_PROCESS, o->killed[i], -20);
	}
	return empty;
}

/* 0: nobody who has a list left to walk. */
static int look(struct others *o)
{
	struct scratch *s = o->r->scratch;
	uint64_t after;
	int ret;

	do {
		o->nr = o->living = o->nr_killed = 0;
		o->busy = false;
		o->tid = user_of(o->v, &o->pages);
		/* Then nothing is reaped, either. */
		if (!o->tid)
			return 0;
		ret = dents_numbers(o->proc_fd, s->buf, sizeof(s->buf), look_at,
				    o);
		if (ret < 0)
			return ret;
		user_of(o->v, &after);
	} while (after && after != o->pages && now_ns() < o->r->deadline_ns);
	return o->nr && !all_empty(o) ? -EBUSY : 0;
}

int others_settle(struct release *r, struct victim *v)
{
	int64_t until = deadline_min(r->deadline_ns, now_ns() + WAIT_NS);
	struct others o = { .r = r, .v = v };
	cleanup_fd int proc_fd = -EBADF;

	if (v->alone || !robust_matters(r, v))
		return 0;
	proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	if (proc_fd < 0)
		return proc_fd;
	o.proc_fd = proc_fd;
	while (look(&o) < 0) {
		bool kill = r->opts.flags & MRELEASE_KILL_SHARERS;

		if (o.living && kill) {
			sharers_kill(r, v);
			if (!sharers_exit(r))
				return -ETIMEDOUT;
		}
		if (now_ns() < until && (kill || !o.living)) {
			pause_until(now_ns() + NSEC_PER_MSEC / 2);
			continue;
		}
		/* Living or not, it frees the memory when it goes. */
		v->shares_lists = true;
		v->rep.notes |= MRELEASE_NOTE_ROBUST_UNKNOWN;
		if (o.living) {
			v->rep.sharers = o.living;
			v->rep.sharer_pid = o.first_living;
			v->rep.notes |= MRELEASE_NOTE_SHARED;
		}
		return -EBUSY;
	}
	return 0;
}

/* Many victims: the sizes of their memory, a bit each. */
struct many {
	struct release *r;
	struct victim **victims;
	size_t nr;
	int proc_fd;
	size_t budget;
	unsigned char *set;
};

#define SET_BITS ((sizeof(struct scratch) - LIST_BYTES) * 8)

static size_t bit_of(uint64_t pages)
{
	return pages * 0x9e3779b97f4a7c15ULL % SET_BITS;
}

static void compare_all(struct many *m, pid_t tid, uint64_t pages, bool dies)
{
	for (size_t i = 0; i < m->nr; i++) {
		struct victim *v = m->victims[i];
		uint64_t now;

		if (!v->alone || v->mm_pages != pages)
			continue;
		if (!dies && !m->budget)
			return;
		m->budget -= m->budget > 0;
		if (sys_kcmp(user_of(v, &now), tid, KCMP_VM) == 0)
			v->alone = false;
	}
}

static int look_at_many(void *arg, pid_t pid)
{
	struct many *m = arg;
	uint64_t pages = 0;
	pid_t tid;
	size_t bit;

	if (m->r->has_victim && m->r->has_victim(m->r->group, pid))
		return 0;
	tid = user_in(m->proc_fd, pid, &pages);
	bit = bit_of(pages);
	if (tid && m->set[bit / 8] & 1u << bit % 8)
		compare_all(m, tid, pages, killed(m->proc_fd, pid));
	return 0;
}

/* Whose memory has changed meanwhile is its worker's to look at. */
static void look_again(struct many *m)
{
	for (size_t i = 0; i < m->nr; i++) {
		struct victim *v = m->victims[i];
		uint64_t now;

		if (!v->alone || !v->mm_pages)
			continue;
		user_of(v, &now);
		v->alone = !now || now == v->mm_pages;
	}
}

void others_look(struct release *r, struct victim **victims, size_t nr)
{
	struct many m = { .r = r, .victims = victims, .nr = nr };
	cleanup_fd int proc_fd = -EBADF;
	size_t wanted = 0, bit;

	m.budget = MAX_KCMP;
	m.set = (unsigned char *)r->scratch->buf + LIST_BYTES;
	for (size_t i = 0; i < nr; i++) {
		struct victim *v = victims[i];

		v->mm_pages = 0;
		v->alone = v->killed && !v->hands_off && v->maps_fd >= 0;
		if (!v->alone || !robust_matters(r, v))
			continue;
		user_of(v, &v->mm_pages);
		wanted += v->mm_pages != 0;
	}
	if (!wanted)
		return;
	proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
	m.proc_fd = proc_fd;
	memset(m.set, 0, SET_BITS / 8);
	for (size_t i = 0; i < nr; i++) {
		struct victim *v = victims[i];

		if (!v->mm_pages)
			continue;
		bit = bit_of(v->mm_pages);
		m.set[bit / 8] |= 1u << bit % 8;
		v->alone = proc_fd >= 0;
	}
	if (proc_fd < 0)
		return;
	dents_numbers(proc_fd, r->scratch->buf, LIST_BYTES, look_at_many, &m);
	look_again(&m);
}
