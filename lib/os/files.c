/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a dead helper has left in the caller's table.
 *
 * The helper of one process shares the caller's table, so that handles that
 * were prepared outlive it.  What it opens for a moment is known to its stack
 * only, and in the middle of an open to nobody but the kernel:
 *
 *	helper				a stranger
 *	openat()
 *	  its number is in the table
 *					SIGKILL
 *	dies on the way out of the
 *	call: the number is nowhere,
 *	and the file stays open in a
 *	caller that lives for months
 *
 * So the files themselves are marked.  What we open for reading also has the flags
 * FILES_MARK.  They change nothing for a reader, no security module asks a
 * permission for them (as for O_APPEND), and no program sets them on a file that it
 * only reads.  The kernel keeps them with the file.  When no call of ours is under
 * way in this process, a file with that mark which no prepared target has is one
 * that was left, and is closed.
 *
 * A call that begins in another thread ends the search; none of its own files
 * is closed:
 *
 *	search				another thread
 *	F_GETFL of 7: marked
 *	nobody has begun: 7 was
 *	opened before, by a helper
 *	that is dead
 *					begins: the search is over
 *	closes 7			opens: not 7, that was taken
 *
 * There is no mark for O_PATH, pidfd and inotify.  Those that are kept are noted
 * where the caller finds them; lost is one that a helper is killed in the middle
 * of opening.  Nor can two copies of this library in one process know of each
 * other's calls.
 */
#include <linux/futex.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "os/os.h"

/*
 * Calls under way that may have files in this process's table; above that, how
 * many have begun, so that one which has begun and ended meanwhile is seen.
 * Each has several files, of the 2^20 that a process may have as a rule.
 */
#define CALLS_MASK ((1U << 20) - 1)
#define BEGUN_ONE  (1U << 20)

static uint32_t calls;
/* A helper died in the middle of its work, and nobody has searched since. */
static uint32_t left;
/* Of targets that are prepared and wait.  Both are the lock's. */
static struct files_owner *owners;
static uint32_t lock;

void files_begin(void)
{
	__atomic_fetch_add(&calls, BEGUN_ONE + 1, __ATOMIC_SEQ_CST);
}

/* Of a millisecond each. */
#define LOCK_TRIES 200

/*
 * The lock is the number of the process that has it.  In a child of fork(2) that is
 * its parent's, if another thread had it then: nobody has it in the child, and the
 * list is whole, since each change of it is one store.  Both have the same number
 * where the child is the first process of another PID namespace, as its parent is of
 * its own: so a lock that is held for very long is taken, too.
 */
static void lock_owners(void)
{
	struct timespec ts = { .tv_nsec = NSEC_PER_MSEC };
	uint32_t us = sys_getpid(), holder = 0;
	int tries = 0;

	while (!__atomic_compare_exchange_n(&lock, &holder, us, false,
					    __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE)) {
		if (holder && (holder != us || tries++ == LOCK_TRIES))
			continue;
		sys_futex(&lock, FUTEX_WAIT, us, &ts);
		holder = 0;
	}
}

static void unlock_owners(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	sys_futex(&lock, FUTEX_WAKE, 1, NULL);
}

void files_own(struct files_owner *o)
{
	lock_owners();
	o->next = owners;
	__atomic_store_n(&owners, o, __ATOMIC_RELEASE);
	unlock_owners();
}

void files_disown(struct files_owner *o)
{
	lock_owners();
	for (struct files_owner **p = &owners; *p; p = &(*p)->next) {
		if (*p != o)
			continue;
		*p = o->next;
		break;
	}
	unlock_owners();
}

static bool is_owned(int fd)
{
	for (const struct files_owner *o = owners; o; o = o->next)
		if (o->owns(o, fd))
			return true;
	return false;
}

void files_left(void)
{
	__atomic_store_n(&left, 1, __ATOMIC_RELEASE);
}

/* Numbers from there on are not in the table. */
static int table_size(void)
{
	struct rlimit lim;
	char buf[2048];
	uint64_t size;
	long len;

	len = read_file(AT_FDCWD, "/proc/thread-self/status", buf, sizeof(buf));
	if (len > 0 && parse_count_line(buf, len, "FDSize", &size) == 0)
		return MIN(size, INT32_MAX);
	if (sys_prlimit(0, RLIMIT_NOFILE, NULL, &lim) < 0)
		return 0;
	return MIN(lim.rlim_cur, INT32_MAX);
}

/* Of a memfd the name is the mark; these flags are what any has. */
static bool is_our_memfd(int fd)
{
	static const char ours[] = "/memfd:" FILES_MEMFD " (deleted)";
	char link[64], name[sizeof(ours)];

	if (sys_fcntl(fd, F_GET_SEALS, 0) < 0)
		return false;
	path_number(link, "/proc/thread-self/fd/", fd, "");
	return sys_readlinkat(AT_FDCWD, link, name, sizeof(name)) ==
		       sizeof(ours) - 1 &&
	       memcmp(name, ours, sizeof(ours) - 1) == 0;
}

static bool is_marked(int fd)
{
	int flags = sys_fcntl(fd, F_GETFL, 0);

	if (flags < 0)
		return false;
	if ((flags & O_ACCMODE) == O_RDWR)
		return is_our_memfd(fd);
	return (flags & O_ACCMODE) == O_RDONLY &&
	       (flags & FILES_MARK) == FILES_MARK;
}

/* False: a call has begun before it was through. */
static bool search(uint32_t now)
{
	int size = table_size();

	for (int fd = 0; fd < size; fd++) {
		bool marked = is_marked(fd) && !is_owned(fd);

		if (__atomic_load_n(&calls, __ATOMIC_SEQ_CST) != now)
			return false;
		if (marked)
			sys_close(fd);
	}
	return true;
}

void files_end(void)
{
	uint32_t now = __atomic_sub_fetch(&calls, 1, __ATOMIC_SEQ_CST);

	if (now & CALLS_MASK ||
	    !__atomic_exchange_n(&left, 0, __ATOMIC_ACQ_REL))
		return;
	/* One search at a time: what one has found nobody else closes. */
	lock_owners();
	if (!search(now))
		files_left();
	unlock_owners();
}
