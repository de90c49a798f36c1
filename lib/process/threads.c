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
 * the number that the kernel gave away last with them.  A thread added since
 * has one of the numbers after it: given away before the kill, because a
 * clone() that meets SIGKILL after it has its number is undone.
 */
#include <dirent.h>
#include <linux/stat.h>
#include <string.h>

#include "process/process.h"

/* More new numbers than this, or in more time, are not looked at. */
#define MAX_NEW	   512
#define MAX_NEW_NS (200 * NSEC_PER_MSEC)

/*
 * A number is given away some microseconds before its thread can be seen, or
 * more if who makes it loses the CPU.  This many were not noted for that.
 */
#define MAX_UNDER_WAY 256
/*
 * Noting is given up when it has cost us that much CPU time: entries of /proc
 * can take 100 us each.  The threads are listed after the kill then.
 */
#define MAX_NOTE_NS (6 * NSEC_PER_MSEC)
#define NOTE_BYTES  4096

/* The threads noted so far. */
struct note {
	pid_t *tid;
	uint32_t nr;
	uint32_t room;
	int64_t end_cpu_ns;
};

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

int threads_list(const struct victim *v, struct scratch *s, size_t bytes,
		 int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole)
{
	uint32_t before = count(v), listed = 0, reads = 0;
	struct dents d;
	pid_t tid;
	int ret;

	*ret_whole = !before;
	if (!before)
		return 0;
	sys_lseek(v->task_fd, 0, SEEK_SET);
	dents_open(&d, v->task_fd, s->buf, bytes);
	while ((tid = dents_pid(&d))) {
		/* After each part of the list. */
		if (d.reads != reads && count(v) != before)
			return 0;
		reads = d.reads;
		listed++;
		ret = fn(arg, tid);
		if (ret)
			return ret;
	}
	if (d.error < 0 && d.error != -ENOENT && d.error != -ESRCH)
		return 1;
	*ret_whole = listed == before;
	return 0;
}

static bool too_long(const struct note *n)
{
	return cpu_ns() >= n->end_cpu_ns;
}

static int note_one(void *arg, pid_t tid)
{
	struct note *n = arg;

	if (n->nr == n->room || (n->nr % 64 == 0 && too_long(n)))
		return 1;
	n->tid[n->nr++] = tid;
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

/* A thread of v?  Asked without an entry in /proc, which is slow to make. */
static bool probe(const struct victim *v, pid_t tid)
{
	long ret = sys_tgkill(v->pid, tid, 0);

	return !ret || (ret != -ESRCH && threads_has(v, tid));
}

/*
 * Most processes made their threads one after the other: the numbers that
 * follow their own are tried before /proc is asked to list them.
 */
static bool note_probe(const struct victim *v, struct note *n)
{
	uint32_t nr = count(v);
	uint64_t tid = v->tid;

	n->nr = 0;
	if (nr > n->room)
		return false;
	for (uint32_t tried = 0; n->nr < nr && tid <= v->last_tid; tried++) {
		/* Too far apart: listing them takes less time. */
		if (tried % 64 == 63 && (n->nr < tried / 4 || too_long(n)))
			return false;
		if (probe(v, tid))
			n->tid[n->nr++] = tid;
		tid++;
	}
	return n->nr == nr;
}

static bool note_list(const struct victim *v, struct scratch *s, struct note *n)
{
	bool whole;

	n->nr = 0;
	return !threads_list(v, s, NOTE_BYTES, note_one, n, &whole) && whole;
}

/*
 * They are all if at one moment there were as many: each of them was there
 * before it, and is there after it.  One that came meanwhile cannot make up
 * for one that was left out.
 */
static bool note_whole(const struct victim *v, const struct note *n)
{
	if (!n->nr || count(v) != n->nr)
		return false;
	for (uint32_t i = 0; i < n->nr; i++)
		if (!probe(v, n->tid[i]))
			return false;
	return true;
}

void threads_note(struct victim *v, struct tids *tids, struct scratch *s)
{
	struct note n;

	v->nr_tids = 0;
	if (!tids || v->task_fd < 0 || v->rep.threads <= MANY_THREADS)
		return;
	n.tid = &tids->tid[tids->used];
	n.room = ARRAY_SIZE(tids->tid) - tids->used;
	n.end_cpu_ns = cpu_ns() + MAX_NOTE_NS;
	/* Some are born and some die: once more, and then without. */
	for (unsigned int i = 0; i < 2; i++) {
		v->noted_ns = now_ns();
		if (last_number(tids, &v->last_tid) < 0)
			return;
		if (!note_probe(v, &n) && !note_list(v, s, &n))
			continue;
		if (!note_whole(v, &n))
			continue;
		v->tids = n.tid;
		v->nr_tids = n.nr;
		tids->used += n.nr;
		return;
	}
}

int threads_since(const struct victim *v, const struct tids *tids,
		  int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole)
{
	uint64_t last, tid;
	int ret;

	*ret_whole = false;
	/* In that time the numbers cannot have begun anew and come as far. */
	if (last_number(tids, &last) < 0 || last < v->last_tid ||
	    last - v->last_tid > MAX_NEW || now_ns() - v->noted_ns > MAX_NEW_NS)
		return 0;
	tid = v->last_tid > MAX_UNDER_WAY ? v->last_tid - MAX_UNDER_WAY : 1;
	for (; tid <= last; tid++) {
		if (!probe(v, tid))
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

static int is_alive(void *arg, pid_t tid)
{
	const struct victim *v = arg;
	struct proc_status st;
	char path[32];
	int ret;

	path_number(path, "", tid, "/status");
	ret = status_read_path(v->task_fd, path, &st);
	if (ret == -ENOENT || ret == -ESRCH)
		return 0;
	return ret < 0 || (st.state != 'Z' && st.state != 'X');
}

bool threads_all_dead(struct victim *v, struct scratch *s)
{
	bool whole;

	return victim_list_threads(v) >= 0 &&
	       threads_list(v, s, sizeof(s->buf), is_alive, v, &whole) == 0 &&
	       whole;
}

/*
 * Of a thread that has the memory, not of any that is no zombie: one that is past
 * its exit_mm() and still closes files shows as little as the main thread.
 */
void victim_use_live_thread(struct victim *v)
{
	uint64_t pages = 0;
	char path[32];
	pid_t tid;
	int fd;

	if (v->task_fd < 0)
		v->task_fd =
			sys_openat(v->dir_fd, "task", O_RDONLY | O_DIRECTORY);
	tid = v->task_fd < 0 ? 0 : user_listed(v->task_fd, &pages);
	if (!tid || tid == v->pid)
		return;
	path_number(path, "task/", tid, "");
	fd = sys_openat(v->dir_fd, path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return;
	v->tid = tid;
	close_keep(&v->dir_fd);
	close_keep(&v->status_fd);
	v->dir_fd = fd;
	v->status_fd = sys_openat(fd, "status", O_RDONLY);
}

/*
 *	we				the process
 *	its main thread is a zombie:
 *	another one, N, is chosen
 *					N exits; N is a stranger's thread
 *	PTRACE_SEIZE N: the stranger
 *	tgkill(process, N): ESRCH
 *
 * The process is checked last: while it exists, nobody else has its number.
 */
bool victim_has_thread(struct victim *v, pid_t tid)
{
	if (tid != v->pid && sys_tgkill(v->pid, tid, 0) == -ESRCH)
		return false;
	return victim_signal(v, 0) != -ESRCH;
}
