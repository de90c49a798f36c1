/* SPDX-License-Identifier: MIT */
/*
 * Robust futexes: a process that dies holding one must leave its survivors
 * EOWNERDEAD, as after a plain kill -9, and never a deadlock.
 *
 * The kernel walks each thread's list at its exit, in the thread's private
 * memory.  process_mrelease() takes that memory away first; then the kernel
 * finds an unreadable list, gives up without a word, and everybody who waits
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
#include <dirent.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>

#include "private.h"

#define SIGKILL_BIT (1ULL << (SIGKILL - 1))

/* struct robust_list_head of <linux/futex.h>, 64-bit. */
struct robust_head {
	uint64_t next;
	int64_t futex_offset;
	uint64_t list_op_pending;
};

enum list_state {
	LIST_EMPTY,
	LIST_HELD,
	LIST_UNKNOWN,
};

static bool in_kernel(const struct proc_stat *st)
{
	return st->state != 'R' || !(st->pending & SIGKILL_BIT);
}

/*
 * 32-bit?  The auxiliary vector is an array of pairs of the victim's own
 * word size, and AT_PHENT in it is the size of its program headers.
 */
static bool is_compat_by_auxv(int dir_fd)
{
	union {
		char bytes[2048];
		uint32_t w32[512];
		uint64_t w64[256];
	} auxv;
	const unsigned int at_phent = 4, phent32 = 32, phent64 = 56;
	long len;

	memset(&auxv, 0, sizeof(auxv));
	len = read_file(dir_fd, "auxv", auxv.bytes, sizeof(auxv.bytes));
	if (len <= 0)
		return false;
	for (long i = 0; i + 1 < len / 8; i += 2)
		if (auxv.w64[i] == at_phent && auxv.w64[i + 1] == phent64)
			return false;
	for (long i = 0; i + 1 < len / 4; i += 2)
		if (auxv.w32[i] == at_phent && auxv.w32[i + 1] == phent32)
			return true;
	return false;
}

/* Almost everything 64-bit has a robust list registered; else the auxv. */
bool robust_is_compat(const struct victim *v)
{
	uint64_t head = 0, len;

	if (sys_get_robust_list(v->tid, &head, &len) == 0 && head)
		return false;
	return is_compat_by_auxv(v->dir_fd);
}

/* All CPUs: 0, or -EXDEV when a cpuset keeps us from some of them. */
static int visit_all(const struct release *r)
{
	unsigned int visited;

	if (r->visited)
		return 0;
	if (!r->in_helper)
		return -EXDEV;
	visited = cpus_visit_all();
	cpus_set(&r->cpus);
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
		if (i < 16)
			continue;
		if (!visited && r->in_helper) {
			visited = true;
			if (cpus_visit(st.processor) == 0) {
				cpus_set(&r->cpus);
				return 0;
			}
		}
		if (now_ns() >= r->deadline_ns)
			return -ETIMEDOUT;
		if (victim_wait_exit(v, now_ns() + NSEC_PER_MSEC) > 0)
			return 0;
	}
}

static enum list_state list_state(const struct victim *v, pid_t tid)
{
	struct robust_head head;
	uint64_t addr = 0, len;
	long ret;

	ret = sys_get_robust_list(tid, &addr, &len);
	if (ret == -ESRCH)
		return LIST_EMPTY;
	if (ret < 0)
		return LIST_UNKNOWN;
	/* Never registered one, or the kernel has walked it. */
	if (!addr)
		return LIST_EMPTY;
	if (v->mem_fd < 0)
		return LIST_UNKNOWN;
	ret = sys_pread(v->mem_fd, &head, sizeof(head), addr);
	/* No mm any more, or a head that the kernel could not read either. */
	if (ret != sizeof(head))
		return LIST_EMPTY;
	return head.next != addr || head.list_op_pending ? LIST_HELD :
							   LIST_EMPTY;
}

/*
 * Can a lock in this address space be known to anybody who survives?  Only
 * in memory that is shared and writable; a lock in private memory dies with
 * its only users.  Asked when the lists cannot be read.
 */
static bool has_shared_memory(struct release *r, const struct victim *v)
{
	const char *line;
	struct lines l;
	size_t len;

	if (v->maps_fd < 0)
		return true;
	lines_open(&l, v->maps_fd, r->scratch->buf, sizeof(r->scratch->buf));
	while (lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0)
			return true;
		if (m.shared && m.writable)
			return true;
	}
	return l.error < 0 && l.error != -ESRCH;
}

/* Let a holder run its exit: until its list is walked. */
static int let_exit(struct release *r, struct victim *v, pid_t tid)
{
	int ret;

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
		if (list_state(v, tid) == LIST_EMPTY)
			return 0;
		if (i < 256)
			continue;
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
	enum list_state state = list_state(v, tid);
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
			state = list_state(v, tid);
		} else if (fd != -ENOENT && fd != -ESRCH) {
			state = LIST_HELD;
		}
	}
	if (state == LIST_HELD)
		return let_exit(r, v, tid);
	return state == LIST_UNKNOWN ? 1 : 0;
}

/* The threads of a listing in our buffer: as robust_settle(). */
static int settle_listed(struct release *r, struct victim *v, long len,
			 bool careful, uint32_t *listed)
{
	for (long off = 0; off < len;) {
		struct dirent64 *d = (void *)(r->scratch->buf + off);
		const char *p = d->d_name;
		uint64_t tid;
		int ret;

		off += d->d_reclen;
		if (parse_u64(&p, p + strlen(p), &tid) < 0)
			continue;
		(*listed)++;
		ret = settle_one(r, v, tid, careful);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * One listing of the threads, and whether it is whole.
 *
 * Threads die while we read, and proc_task_readdir() then ends early, or,
 * when a listing takes more than one call, goes on at the wrong place:
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
 */
static int settle_listing(struct release *r, struct victim *v, bool careful,
			  bool *ret_whole)
{
	char *buf = r->scratch->buf;
	uint32_t before = victim_threads(v), listed = 0;
	long len;
	int ret;

	*ret_whole = !before;
	if (!before)
		return 0;
	sys_lseek(v->task_fd, 0, SEEK_SET);
	/* A whole process of 8,000 threads is in one buffer: looked at once. */
	while ((len = sys_getdents64(v->task_fd, buf,
				     sizeof(r->scratch->buf))) > 0) {
		if (victim_threads(v) != before)
			return 0;
		ret = settle_listed(r, v, len, careful, &listed);
		if (ret)
			return ret;
	}
	if (len < 0 && len != -ENOENT && len != -ESRCH)
		return 1;
	*ret_whole = listed == before;
	return 0;
}

static int settle_many(struct release *r, struct victim *v)
{
	bool careful = visit_all(r) < 0;
	bool whole;
	int ret;

	if (v->task_fd < 0)
		return 1;
	for (;;) {
		ret = settle_listing(r, v, careful, &whole);
		if (ret || whole)
			return ret;
		if (now_ns() >= r->deadline_ns)
			return -ETIMEDOUT;
	}
}

int robust_settle(struct release *r, struct victim *v)
{
	/* Now, not when it was measured: with SIGKILL none is added. */
	uint32_t threads = victim_threads(v);
	int ret;

	if (v->compat) {
		/*
		 * Its list is a compat list, which a 64-bit caller cannot
		 * ask for.  Settled first, so that no mmap() of shared memory
		 * can still come to an end in user mode.
		 */
		ret = visit_all(r) < 0 || has_shared_memory(r, v);
		return ret;
	}
	if (!threads) {
		ret = 0;
	} else if (threads == 1) {
		ret = r->visited ? 0 : settle_thread(r, v, v->stat_fd);
		if (ret < 0)
			return ret;
		ret = settle_one(r, v, v->tid, false);
	} else {
		ret = settle_many(r, v);
	}
	if (ret != 1)
		return ret;
	if (!has_shared_memory(r, v))
		return 0;
	v->rep.notes |= MRELEASE_NOTE_ROBUST_UNKNOWN;
	return 1;
}
