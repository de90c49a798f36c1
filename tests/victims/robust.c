/* SPDX-License-Identifier: MIT */
/*
 * Victims that hold robust process-shared locks, and the survivor that comes
 * after them.  Both are this program, so that a 32-bit victim (another layout
 * of pthread_mutex_t) has a 32-bit survivor.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victim.h"

#define SHM_LEN	    ((size_t)65536)
#define NR_LOCKS    64
#define PATIENCE_NS 5000000000ll

/* What lies on SHM_FD. */
struct locks {
	pthread_mutex_t mutex[NR_LOCKS];
	/* A robust futex by hand, see victim_robust_pending(). */
	struct robust_list pending;
	_Atomic uint32_t pending_word;
	/* That stand where they are to. */
	atomic_ulong children;
};

static struct locks *locks;
static unsigned char *memory;
static size_t memory_len;
static atomic_ulong held;

static void map_locks(int create)
{
	void *p;

	if (create && ftruncate(SHM_FD, (off_t)SHM_LEN))
		die("ftruncate");
	p = mmap(NULL, SHM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, SHM_FD, 0);
	if (p == MAP_FAILED)
		die("mmap SHM_FD");
	locks = p;
}

static void make_mutexes(unsigned long n)
{
	pthread_mutexattr_t attr;
	unsigned long i;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (i = 0; i < n; i++) {
		errno = pthread_mutex_init(&locks->mutex[i], &attr);
		if (errno)
			die("pthread_mutex_init");
	}
	pthread_mutexattr_destroy(&attr);
}

static void hold(unsigned long i)
{
	errno = pthread_mutex_lock(&locks->mutex[i]);
	if (errno)
		die("pthread_mutex_lock");
	atomic_fetch_add(&held, 1);
}

static void prepare(int argc, char **argv, unsigned long n)
{
	memory_len = number(argc, argv, 1, 1) * MIB;
	if (n > NR_LOCKS)
		die("too many locks");
	map_locks(1);
	make_mutexes(n);
	memory = fill_anon(memory_len);
}

/* robust [MIB [N]]: the main thread, the only one, holds N mutexes. */
int victim_robust(int argc, char **argv)
{
	unsigned long i, n = number(argc, argv, 2, 1);

	prepare(argc, argv, n);
	for (i = 0; i < n; i++)
		hold(i);
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

/* robust-exec [MIB [N]]: told to, by an 'x', it becomes robust-thread. */
int victim_robust_exec(int argc, char **argv)
{
	(void)argc;
	ready(getpid(), 0, NULL, 0);
	while (next_command() != 'x')
		;
	argv[0] = (char *)"robust-thread";
	execv("/proc/self/exe", argv - 1);
	die("execv");
}

static pid_t holders[NR_LOCKS];

static void *holder_thread(void *arg)
{
	holders[(uintptr_t)arg] = gettid();
	hold((unsigned long)(uintptr_t)arg);
	for (;;)
		pause();
	return NULL;
}

static void start_holders(unsigned long n)
{
	pthread_attr_t attr;
	pthread_t thread;
	unsigned long i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (i = 0; i < n; i++) {
		errno = pthread_create(&thread, &attr, holder_thread,
				       (void *)(uintptr_t)i);
		if (errno)
			die("pthread_create");
	}
	pthread_attr_destroy(&attr);
}

/* robust-thread [MIB [N]]: N threads, not the leader, hold a mutex each. */
int victim_robust_thread(int argc, char **argv)
{
	unsigned long n = number(argc, argv, 2, 1);

	prepare(argc, argv, n);
	start_holders(n);
	while (atomic_load(&held) < n)
		sched_yield();
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

static void *idle_thread(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void use_a_number(void)
{
	pid_t pid = vfork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

/*
 * robust-late [MIB [N [GAP]]]: a hundred threads that hold nothing, GAP numbers
 * apart, and when told to, by an 'h', N more that take a lock each; it says their
 * numbers, one a line.
 */
int victim_robust_late(int argc, char **argv)
{
	unsigned long i, k, n = number(argc, argv, 2, 1);
	unsigned long gap = number(argc, argv, 3, 0);
	pthread_attr_t attr;
	pthread_t thread;
	char line[16];

	prepare(argc, argv, n);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (i = 0; i < 100; i++) {
		if (pthread_create(&thread, &attr, idle_thread, NULL))
			die("pthread_create");
		for (k = 0; k < gap; k++)
			use_a_number();
	}
	pthread_attr_destroy(&attr);
	ready(getpid(), 0, memory, memory_len);
	while (next_command() != 'h')
		;
	start_holders(n);
	while (atomic_load(&held) < n)
		sched_yield();
	for (i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%d\n", holders[i]);
		say(line);
	}
	serve(memory, memory_len);
}

/* Holders that are the last to get a processor; we are not where they are. */
static void start_slow(const cpu_set_t *theirs, unsigned long first,
		       unsigned long n)
{
	struct sched_param param = { 0 };
	pthread_attr_t attr;
	pthread_t thread;
	unsigned long i;
	cpu_set_t all;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_IDLE);
	pthread_attr_setschedparam(&attr, &param);
	pthread_attr_setaffinity_np(&attr, sizeof(*theirs), theirs);
	for (i = first; i < first + n; i++) {
		errno = pthread_create(&thread, &attr, holder_thread,
				       (void *)(uintptr_t)i);
		if (errno)
			die("pthread_create");
	}
	pthread_attr_destroy(&attr);
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	while (atomic_load(&held) < n)
		sched_yield();
}

/*
 * robust-slow [MIB [N [CHILDREN]]]: N slow threads hold a mutex each, and as
 * many in each of the first three children; the rest do nothing.
 */
int victim_robust_slow(int argc, char **argv)
{
	unsigned long n = number(argc, argv, 2, 1);
	unsigned long i, children = number(argc, argv, 3, 3);
	cpu_set_t theirs;

	sched_getaffinity(0, sizeof(theirs), &theirs);
	prepare(argc, argv, 4 * n);
	for (i = 0; i < children; i++)
		if (!fork()) {
			die_with_parent();
			if (i < 3)
				start_slow(&theirs, (i + 1) * n, n);
			else
				/* Who is bigger is looked at first. */
				fill_anon(MIB);
			atomic_fetch_add(&locks->children, 1);
			serve(NULL, 0);
		}
	start_slow(&theirs, 0, n);
	while (atomic_load(&locks->children) < children)
		sched_yield();
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

/* The kernel's own struct robust_list_head: three longs of this ABI. */
static struct robust_list_head by_hand;

/*
 * robust-pending [MIB]: killed between taking the lock (the futex word holds
 * our thread id) and linking it into the list: the list is empty, and only
 * list_op_pending names the lock.
 */
int victim_robust_pending(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 1) * MIB;
	map_locks(1);
	memory = fill_anon(memory_len);
	by_hand.list.next = &by_hand.list;
	by_hand.futex_offset =
		(char *)&locks->pending_word - (char *)&locks->pending;
	by_hand.list_op_pending = &locks->pending;
	atomic_store(&locks->pending_word,
		     (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS);
	if (syscall(SYS_set_robust_list, &by_hand, sizeof(by_hand)))
		die("set_robust_list");
	ready(getpid(), 0, memory, memory_len);
	serve(memory, memory_len);
}

/*
 * robust-survivor [N]: says "ready", then locks N mutexes one after the other
 * and says how many of them told EOWNERDEAD, could be had just so, and could
 * not be had at all: "locked DEAD FREE STUCK".
 */
int victim_robust_survivor(int argc, char **argv)
{
	unsigned long i, n = number(argc, argv, 1, 1);
	unsigned int dead = 0, free = 0, stuck = 0;
	struct timespec deadline;
	char line[64];
	int err;

	map_locks(0);
	ready(getpid(), 0, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += PATIENCE_NS / 1000000000;
	for (i = 0; i < n; i++) {
		err = pthread_mutex_timedlock(&locks->mutex[i], &deadline);
		if (err == EOWNERDEAD)
			dead++;
		else if (err)
			stuck++;
		else
			free++;
		if (err == EOWNERDEAD)
			pthread_mutex_consistent(&locks->mutex[i]);
		if (!err || err == EOWNERDEAD)
			pthread_mutex_unlock(&locks->mutex[i]);
	}
	snprintf(line, sizeof(line), "locked %u %u %u\n", dead, free, stuck);
	say(line);
	serve(NULL, 0);
}

/* Raw calls only: a process of its own on its parent's thread pointer. */
static int sharer_with_a_lock(void *unused)
{
	struct sched_param param = { 0 };

	(void)unused;
	/* The last to get a processor: it dies late. */
	syscall(SYS_sched_setscheduler, 0, SCHED_IDLE, &param);
	atomic_store(&locks->pending_word,
		     (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS);
	if (syscall(SYS_set_robust_list, &by_hand, sizeof(by_hand)))
		return 1;
	atomic_fetch_add(&held, 1);
	for (;;)
		pause();
	return 0;
}

/* robust-sharer [MIB]: the lock of robust-pending, held by who shares it. */
int victim_robust_sharer(int argc, char **argv)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid;

	memory_len = number(argc, argv, 1, 1) * MIB;
	map_locks(1);
	memory = fill_anon(memory_len);
	by_hand.list.next = &by_hand.list;
	by_hand.futex_offset =
		(char *)&locks->pending_word - (char *)&locks->pending;
	by_hand.list_op_pending = &locks->pending;
	pid = clone(sharer_with_a_lock, stack + sizeof(stack),
		    CLONE_VM | SIGCHLD, NULL);
	if (pid < 0)
		die("clone");
	while (!atomic_load(&held))
		sched_yield();
	ready(getpid(), pid, memory, memory_len);
	serve(memory, memory_len);
}

/* robust-pending-survivor: the same for the lock of robust-pending. */
int victim_robust_pending_survivor(int argc, char **argv)
{
	struct timespec patience = { .tv_sec = PATIENCE_NS / 1000000000 };
	uint32_t word;

	(void)argc;
	(void)argv;
	map_locks(0);
	ready(getpid(), 0, NULL, 0);
	word = atomic_load(&locks->pending_word);
	while (!(word & FUTEX_OWNER_DIED)) {
		if (syscall(SYS_futex, &locks->pending_word, FUTEX_WAIT, word,
			    &patience, NULL, 0) &&
		    errno == ETIMEDOUT)
			break;
		word = atomic_load(&locks->pending_word);
	}
	say(word & FUTEX_OWNER_DIED ? "locked 1 0 0\n" : "locked 0 0 1\n");
	serve(NULL, 0);
}
