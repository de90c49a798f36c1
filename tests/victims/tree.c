/* SPDX-License-Identifier: MIT */
/*
 * Families of processes.  No member has PDEATHSIG, a killer must not get them
 * for nothing; CTL_FD at end-of-file ends them all, and shared counters bound
 * how many there can ever be.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "victim.h"

struct counters {
	atomic_ulong live;
	atomic_ulong total;
	atomic_flag announced;
};

static struct counters *counters;
static unsigned long max_live, max_total, mib;
static pid_t root;

static bool untraced;

/* As fork(); but CLONE_UNTRACED keeps the child from a parent's tracer. */
static pid_t child_of_ours(void)
{
	if (!untraced)
		return fork();
	return (pid_t)syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
}

static void map_counters(void)
{
	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED)
		die("mmap");
	root = getpid();
	/*
	 * Nobody waits for the members: who ignores SIGCHLD has no zombies,
	 * and orphans come to the root, or a bomb would use up all numbers.
	 */
	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void test_is_over(void)
{
	struct pollfd pfd = { .fd = CTL_FD, .events = POLLIN };

	if (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLHUP)
		_exit(0);
}

/*
 * tree [DEPTH [WIDTH [MIB]]]: a standing tree; the root is level 0 and every
 * member fills MIB.  "ready" comes from the root, once all are there.
 */
static void grow(unsigned long depth, unsigned long width)
{
	unsigned char *memory;
	unsigned long i;
	pid_t pid;

	i = 0;
	while (depth && i < width) {
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid) {
			i++;
		} else {
			/* A root of what is below it */
			prctl(PR_SET_PDEATHSIG, 0);
			depth--;
			i = 0;
		}
	}
	memory = fill_anon(mib * MIB);
	atomic_fetch_add(&counters->live, 1);
	if (getpid() == root) {
		while (atomic_load(&counters->live) < max_live)
			sched_yield();
		ready(root, 0, memory, mib * MIB);
	}
	serve(memory, mib * MIB);
}

int victim_tree(int argc, char **argv)
{
	unsigned long depth = number(argc, argv, 1, 2);
	unsigned long width = number(argc, argv, 2, 3);
	unsigned long i, level = 1;

	mib = number(argc, argv, 3, 1);
	max_live = 1;
	for (i = 0; i < depth; i++) {
		level *= width;
		max_live += level;
	}
	map_counters();
	grow(depth, width);
	return 0;
}

/*
 * forkbomb [LIVE [TOTAL [UNTRACED]]]: every member forks for as long as fewer than LIVE
 * live and fewer than TOTAL were ever born; above that it exits, and makes
 * room for its cousins to fork.  The root stays.  "ready" comes when the bomb
 * has first reached its full size.
 */
static void bomb(void)
{
	unsigned long live;

	for (;;) {
		test_is_over();
		live = atomic_load(&counters->live);
		if (live >= max_live) {
			if (!atomic_flag_test_and_set(&counters->announced))
				ready(root, 0, NULL, 0);
			if (getpid() != root) {
				atomic_fetch_sub(&counters->live, 1);
				_exit(0);
			}
			sched_yield();
			continue;
		}
		if (atomic_fetch_add(&counters->total, 1) >= max_total)
			serve(NULL, 0);
		atomic_fetch_add(&counters->live, 1);
		switch (child_of_ours()) {
		case -1:
			atomic_fetch_sub(&counters->live, 1);
			sched_yield();
			break;
		case 0:
			prctl(PR_SET_PDEATHSIG, 0);
			break;
		default:
			break;
		}
	}
}

int victim_forkbomb(int argc, char **argv)
{
	max_live = number(argc, argv, 1, 64);
	max_total = number(argc, argv, 2, 1000000);
	untraced = number(argc, argv, 3, 0);
	map_counters();
	atomic_store(&counters->live, 1);
	bomb();
	return 0;
}

/*
 * rabbit [TOTAL [UNTRACED]]: a single process that never stands still: it forks, the
 * parent exits, the child goes on, TOTAL times.  A killer who lists, then
 * kills, always finds it gone.  "ready" names the process that stands by, as
 * the subreaper of all of them.
 */
int victim_rabbit(int argc, char **argv)
{
	unsigned long i;
	pid_t pid;

	max_total = number(argc, argv, 1, 1000000);
	untraced = number(argc, argv, 2, 0);
	map_counters();
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		serve(NULL, 0);
	for (i = 0; i < max_total; i++) {
		if (i == 16)
			ready(root, 0, NULL, 0);
		test_is_over();
		pid = child_of_ours();
		if (pid < 0)
			die("fork");
		if (pid)
			_exit(0);
	}
	serve(NULL, 0);
}
