/* SPDX-License-Identifier: MIT */
/*
 * Robust futexes: a process that dies holding one must leave its survivors
 * EOWNERDEAD, as after a plain kill -9, and never a deadlock.
 *
 * The kernel walks each thread's list at its exit, in the thread's private
 * memory.  process_mrelease() takes that memory away first; then the kernel
 * finds an unreadable list, gives up without a word, and every task that waits
 * for one of the mutexes waits for ever.  So before anything is reaped, every
 * thread that has not walked its list is looked at, and one that holds
 * something runs its exit first.
 *
 * What makes an empty list stay empty?  This interleaving must not happen:
 *
 *	we				a victim thread, in user mode
 *	SIGKILL is pending for it
 *	read its list: empty
 *					cmpxchg takes the mutex, list_add
 *					the interrupt arrives, it dies
 *	process_mrelease()
 *
 * A list is therefore read only after its thread was seen in the kernel with
 * SIGKILL pending; from there it cannot get back to user mode.  Either it
 * sleeps, or it has taken the signal, or it has been switched out, which is
 * forced by running on its CPU ourselves.
 */
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "release/release.h"

#define SIGKILL_BIT (1ULL << (SIGKILL - 1))

enum list_state {
	LIST_EMPTY,
	LIST_HELD,
	LIST_UNKNOWN,
};

static bool in_kernel(const struct proc_stat *st)
{
	return st->state != 'R' || !(st->pending & SIGKILL_BIT);
}

/* All CPUs: 0, or -EXDEV when a cpuset keeps us from some of them. */
static int visit_all(struct release *r)
{
	unsigned int visited;
	struct cpus own;

	if (r->visited)
		return 0;
	if (!r->in_helper)
		return -EXDEV;
	cpus_get(&own);
	visited = cpus_visit_all();
	cpus_set(&own);
	if (!r->online_cpus)
		r->online_cpus = second_cpus(r);
	return r->online_cpus && visited >= r->online_cpus ? 0 : -EXDEV;
}

void robust_visit(struct release *r)
{
	r->visited = visit_all(r) == 0;
}

/* One thread, by its stat file: wait until it cannot run user code again. */
static int settle_thread(struct release *r, struct victim *v, int stat_fd)
{
	char buf[1024];
	struct proc_stat st;
	bool visited = false;

	for (unsigned int i = 0;; i++) {
		long len = read_at(stat_fd, buf, sizeof(buf));

		/* Gone: it has walked its list. */
		if (len <= 0 || parse_stat(buf, len, &st) < 0)
			return 0;
		if (in_kernel(&st))
			return 0;
		/* The signal's own interrupt takes microseconds. */
		if (i < 16 && v->last.threads != 1)
			continue;
		if (!visited && r->in_helper) {
			struct cpus own;

			visited = true;
			cpus_get(&own);
			if (cpus_visit(st.processor) == 0) {
				cpus_set(&own);
				return 0;
			}
		}
		if (r->look_only)
			return -EBUSY;
		if (now_ns() >= r->deadline_ns)
			return -ETIMEDOUT;
		if (victim_wait_exit(v, now_ns() + NSEC_PER_MSEC) > 0)
			return 0;
	}
}

/* Where is the list?  LIST_HELD: at *ret_addr, and has to be looked at. */
static enum list_state list_find(pid_t tid, uint64_t *ret_addr)
{
	uint64_t len;
	long ret;

	*ret_addr = 0;
	ret = sys_get_robust_list(tid, ret_addr, &len);
	if (ret == -ESRCH)
		return LIST_EMPTY;
	if (ret < 0)
		return LIST_UNKNOWN;
	/* Never registered one, or the kernel has walked it. */
	return *ret_addr ? LIST_HELD : LIST_EMPTY;
}

static enum list_state head_state(const struct robust_head *head, uint64_t addr)
{
	return head->next != addr || head->list_op_pending ? LIST_HELD :
							     LIST_EMPTY;
}

static enum list_state list_state(struct release *r, const struct victim *v,
				  pid_t tid)
{
	struct robust_head head;
	struct iovec remote = { .iov_len = sizeof(head) };
	enum list_state state;
	uint64_t addr;
	long len;

	state = list_find(tid, &addr);
	if (state != LIST_HELD)
		return state;
	if (v->mem_fd < 0)
		return LIST_UNKNOWN;
	remote.iov_base = (void *)(uintptr_t)addr;
	len = second_heads(r, v, 0, &remote, &head, 1);
	if (len == -EAGAIN)
		return LIST_UNKNOWN;
	if (len == sizeof(head))
		return head_state(&head, addr);
	/*
	 * Nobody uses that address space any more, so this thread has walked
	 * its list; if it has not, it lives in another one.  Else it is a head
	 * that the kernel could not read either.
	 */
	return len == 0 ? list_find(tid, &addr) : LIST_EMPTY;
}

bool robust_is_empty(struct release *r, const struct victim *v, pid_t tid)
{
	return list_state(r, v, tid) == LIST_EMPTY;
}

/*
 * Can a process that survives use a lock in this address space?  Only one in
 * memory that is shared and writable; a lock in private memory dies with its
 * only users.
 */
bool robust_matters(struct release *r, const struct victim *v)
{
	const char *line;
	struct lines l;
	size_t len;
	int ret;

	if (v->maps_fd < 0)
		return true;
	ret = mappings_lend(v->maps_fd);
	if (ret >= 0)
		return ret;
	lines_open(&l, v->maps_fd, r->scratch->buf, sizeof(r->scratch->buf));
	while (lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0)
			return true;
		if (m.shared && m.writable)
			return true;
	}
	/* An empty maps says nothing of an address space that is there. */
	if (!l.offset)
		return victim_mm_users(v) != 0;
	return l.error < 0 && l.error != -ESRCH;
}

/* Let a holder run its exit: until its list is walked. */
static int let_exit(struct release *r, struct victim *v, pid_t tid)
{
	int ret;

	/* Its number may have been given away since it was noted. */
	if (victim_list_threads(v) >= 0 && !threads_has(v, tid))
		return 0;
	if (r->look_only)
		return -EBUSY;
	v->rep.notes |= MRELEASE_NOTE_ROBUST;
	for (unsigned int i = 0; i < v->nr_pins; i++) {
		if (v->pins[i] != tid)
			continue;
		ret = r->unpin(r, v, i);
		if (ret < 0)
			return ret;
	}
	/* It dies anyway: a nice 19 holder need not take its time over it. */
	if (sys_setpriority(PRIO_PROCESS, tid, -20) < 0)
		sys_setpriority(PRIO_PROCESS, tid, 0);
	for (unsigned int i = 0;; i++) {
		if (list_state(r, v, tid) == LIST_EMPTY)
			return 0;
		if (i < 256)
			continue;
		if (v->task_fd >= 0 && !threads_has(v, tid))
			return 0;
		if (now_ns() >= r->deadline_ns)
			return -ETIMEDOUT;
		/* No event tells of a walked list: the exit, or 1 ms. */
		if (victim_wait_exit(v, now_ns() + NSEC_PER_MSEC) > 0)
			return 0;
	}
}

static int settle_one(struct release *r, struct victim *v, pid_t tid,
		      bool careful)
{
	enum list_state state = list_state(r, v, tid);
	int ret;

	if (state == LIST_EMPTY && careful) {
		cleanup_fd int fd = -EBADF;
		char path[32];

		path_number(path, "", tid, "/stat");
		fd = sys_openat(v->task_fd, path, O_RDONLY);
		if (fd >= 0) {
			ret = settle_thread(r, v, fd);
			if (ret < 0)
				return ret;
			state = list_state(r, v, tid);
		} else if (fd != -ENOENT && fd != -ESRCH) {
			state = LIST_HELD;
		}
	}
	if (state == LIST_HELD)
		return let_exit(r, v, tid);
	return state == LIST_UNKNOWN ? 1 : 0;
}

/* Many threads, their list heads read some at a time. */
struct settle {
	struct release *r;
	struct victim *v;
	bool careful;
	/* process_vm_readv() is not to be had. */
	bool one_by_one;
	unsigned int nr;
	pid_t tid[MANY_THREADS];
	struct iovec remote[MANY_THREADS];
	struct robust_head head[MANY_THREADS];
};

static int settle_batch(struct settle *s)
{
	pid_t tid = s->v->pins[0] ? s->v->pins[0] : s->v->tid;
	unsigned int nr = s->nr, got = 0;
	long len;
	int ret;

	s->nr = 0;
	if (nr && !s->one_by_one) {
		len = second_heads(s->r, s->v, tid, s->remote, s->head, nr);
		s->one_by_one = len < 0;
		got = len > 0 ? len / sizeof(s->head[0]) : 0;
	}
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t addr = (uintptr_t)s->remote[i].iov_base;

		if (i < got && head_state(&s->head[i], addr) == LIST_EMPTY)
			continue;
		ret = settle_one(s->r, s->v, s->tid[i], false);
		if (ret)
			return ret;
	}
	return 0;
}

static int settle_add(void *arg, pid_t tid)
{
	struct settle *s = arg;
	uint64_t addr;

	if (s->careful)
		return settle_one(s->r, s->v, tid, true);
	switch (list_find(tid, &addr)) {
	case LIST_EMPTY:
		return 0;
	case LIST_UNKNOWN:
		return 1;
	default:
		break;
	}
	s->tid[s->nr] = tid;
	s->remote[s->nr].iov_base = (void *)(uintptr_t)addr;
	s->remote[s->nr].iov_len = sizeof(s->head[0]);
	if (++s->nr < ARRAY_SIZE(s->tid))
		return 0;
	return settle_batch(s);
}

/* Those noted before the kill, and who came after them. */
static int settle_noted(struct settle *s, bool *ret_whole)
{
	struct victim *v = s->v;
	int ret;

	for (uint32_t i = 0; i < v->nr_tids; i++) {
		ret = settle_add(s, v->tids[i]);
		if (ret)
			return ret;
	}
	ret = threads_since(v, s->r->tids, settle_add, s, ret_whole);
	return ret ? ret : settle_batch(s);
}

static int settle_many(struct release *r, struct victim *v)
{
	struct settle s = { .r = r, .v = v, .careful = visit_all(r) < 0 };
	bool whole = false;
	int ret = 0;

	if (victim_list_threads(v) < 0)
		return 1;
	if (v->nr_tids)
		ret = settle_noted(&s, &whole);
	while (!ret && !whole) {
		if (now_ns() >= r->deadline_ns)
			return -ETIMEDOUT;
		/* 8,000 threads are in one piece: looked at once. */
		ret = threads_list(v, r->scratch, sizeof(r->scratch->buf),
				   settle_add, &s, &whole);
		if (!ret)
			ret = settle_batch(&s);
	}
	return ret;
}

int robust_settle(struct release *r, struct victim *v)
{
	struct proc_stat st = v->last;
	int ret;

	/* Since it was opened: the lists are not where we would look. */
	if ((!st.state || !in_kernel(&st)) && victim_execed(v, &st))
		victim_renew(v);
	if (v->compat) {
		/*
		 * Its list is a compat list, which a 64-bit caller cannot
		 * ask for.  Settled first, so that no mmap() of shared memory
		 * can still come to an end in user mode.
		 */
		ret = visit_all(r) < 0 || robust_matters(r, v);
		return ret;
	}
	/* Threads now, not when it was measured: with SIGKILL none is added. */
	if (!st.threads) {
		ret = 0;
	} else if (st.threads == 1) {
		ret = r->visited || in_kernel(&st) ?
			      0 :
			      settle_thread(r, v, v->stat_fd);
		if (ret < 0)
			return ret;
		ret = settle_one(r, v, v->tid, false);
	} else {
		ret = settle_many(r, v);
	}
	if (ret != 1)
		return ret;
	if (!robust_matters(r, v))
		return 0;
	v->rep.notes |= MRELEASE_NOTE_ROBUST_UNKNOWN;
	return 1;
}
