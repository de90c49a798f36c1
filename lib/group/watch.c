/* SPDX-License-Identifier: MIT */
/*
 * The caller watches its helper: does it get on, and is the kill late?  What it does
 * where that is not so: call.c.
 */
#include <linux/futex.h>
#include <time.h>

#include "group/group.h"

/* Without getting on, before the kill and after it. */
#define STALL_NS	(50 * NSEC_PER_MSEC)
#define STALL_KILLED_NS (250 * NSEC_PER_MSEC)
/* How often the helper is looked at. */
#define POLL_NS (5 * NSEC_PER_MSEC)
/* Before the kill, if the member is in D; then on another one, with less time left. */
#define STALL_D_NS    (20 * NSEC_PER_MSEC)
#define STALL_NEXT_NS (10 * NSEC_PER_MSEC)
/* The same while the member is runnable and has no CPU. */
#define STALL_BUSY_NS (400 * NSEC_PER_MSEC)
/* For the preparation as a whole: this, and more for each member. */
#define PREPARE_NS	  (50 * NSEC_PER_MSEC)
#define PREPARE_MEMBER_NS (500 * NSEC_PER_USEC)
/* The same before the kill, and more for each member: then it is for want of all else. */
#define KILL_BY_NS (50 * NSEC_PER_MSEC)

/* When the helper was last seen to get on. */
struct progress {
	uint32_t touches;
	int64_t cpu_ns;
	int64_t since_ns;
};

static int64_t helper_cpu_ns(const struct helper *h)
{
	/* The clock of a process, by its number: CPUCLOCK_SCHED. */
	struct timespec ts = { 0 };

	sys_clock_gettime((int)(~(uint32_t)h->pid << 3 | 2), &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

enum stall {
	GETS_ON,
	HANGS,
	HANGS_ON_D,
	/* On no member: a file of the system's does not open, say. */
	HANGS_ALONE,
};

/*
 * The caller will not wait for the rest to be prepared.  Elsewhere there is time to be
 * sure: in a fork bomb many members are in D for a moment, and their lock is held.
 */
static bool kills_in_time(const struct call *c)
{
	return !c->is_tree && cgroup_has_kill(&c->files);
}

/* The soft signal has its time. */
static bool gives_time(const struct call *c)
{
	return !__atomic_load_n(&c->due_ns, __ATOMIC_ACQUIRE);
}

/*
 * In a fork bomb of hundreds, a member that holds its mmap_lock in fork() may get a CPU
 * only after hundreds of milliseconds.  A helper that waits for that lock is not stuck.
 * There is a limit all the same: only the member's main thread is seen to be runnable,
 * and another thread may hold the lock.
 */
static enum stall stalled(struct call *c, const struct group *g,
			  struct progress *p)
{
	uint32_t touches = __atomic_load_n(&c->touches, __ATOMIC_ACQUIRE);
	pid_t member = __atomic_load_n(&c->touching, __ATOMIC_ACQUIRE);
	int64_t cpu = helper_cpu_ns(&g->helper), now = now_ns();

	if (touches != p->touches || cpu != p->cpu_ns) {
		*p = (struct progress){ touches, cpu, now };
		return GETS_ON;
	}
	now -= p->since_ns;
	if (!member && gives_time(c)) {
		/* Its sleep counts from the end of the grace time on. */
		p->since_ns += now;
		return GETS_ON;
	}
	if (!member)
		return now < STALL_KILLED_NS || call_killed(c) ||
				       helper_runs(&g->helper) ?
			       GETS_ON :
			       HANGS_ALONE;
	if (now < (c->hung_on_d ? STALL_NEXT_NS : STALL_D_NS) ||
	    helper_runs(&g->helper))
		return GETS_ON;
	if (!call_killed(c) && kills_in_time(c) && member != SYSTEM_FILE &&
	    state_of_process(member) == 'D')
		return HANGS_ON_D;
	if (now < (call_killed(c) ? STALL_KILLED_NS : STALL_NS))
		return GETS_ON;
	return now >= STALL_BUSY_NS || member == SYSTEM_FILE ||
			       !process_runs(member) ?
		       HANGS :
		       GETS_ON;
}

bool call_killed(const struct call *c)
{
	return __atomic_load_n(&c->kill_ns, __ATOMIC_ACQUIRE) != 0;
}

/* The first to kill sets the time; a second kill is harmless. */
void call_kill_begins(struct call *c)
{
	int64_t nobody = 0;

	__atomic_compare_exchange_n(&c->kill_ns, &nobody, now_ns(), false,
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static bool kill_is_late(const struct call *c)
{
	int64_t due = __atomic_load_n(&c->due_ns, __ATOMIC_ACQUIRE);

	if (gives_time(c))
		return false;
	due += PREPARE_NS + (int64_t)c->listed * PREPARE_MEMBER_NS;
	return now_ns() >= deadline_min(due, c->base.deadline_ns);
}

/* In the caller's thread; false: it may not, or has no file for it. */
static bool kill_now(struct call *c)
{
	if (c->is_tree || !cgroup_has_kill(&c->files) ||
	    c->base.opts.flags & MRELEASE_DRY_RUN)
		return false;
	if (!c->checked && call_check(c, c->fd, &c->rep) < 0)
		return false;
	call_kill_begins(c);
	c->late = true;
	return cgroup_kill_all(&c->files) == 0;
}

static void wake(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	sys_futex(word, FUTEX_WAKE, 1, NULL);
}

/*
 * The helper has opened the number of a tree's root.  It is the process of our
 * handle if that one is still there: a number is not used again before.
 */
static void answer(struct call *c)
{
	int ret;

	if (__atomic_load_n(&c->root_is, __ATOMIC_ACQUIRE) != ROOT_ASKED)
		return;
	ret = sys_pidfd_send_signal(c->fd, 0);
	wake(&c->root_is, ret == -ESRCH ? ROOT_GONE : ROOT_SAME);
}

int call_ask_root(struct call *c, struct helper *h)
{
	struct timespec ts = { .tv_nsec = 100 * NSEC_PER_MSEC };

	wake(&c->root_is, ROOT_ASKED);
	/* The caller waits for our end. */
	sys_futex(&h->alive, FUTEX_WAKE, 1, NULL);
	while (__atomic_load_n(&c->root_is, __ATOMIC_ACQUIRE) == ROOT_ASKED)
		sys_futex(&c->root_is, FUTEX_WAIT, ROOT_ASKED, &ts);
	return c->root_is == ROOT_SAME ? 0 : -ESRCH;
}

/* 1: it has ended. */
bool call_wait_a_moment(struct helper *h, int64_t ns)
{
	struct timespec ts = { .tv_nsec = ns };
	uint32_t alive = __atomic_load_n(&h->alive, __ATOMIC_ACQUIRE);

	if (!alive)
		return 1;
	sys_futex(&h->alive, FUTEX_WAIT, alive, &ts);
	return !__atomic_load_n(&h->alive, __ATOMIC_ACQUIRE);
}

/* The longest that a helper may take to begin the kill. */
static int64_t kill_by_ns(const struct call *c)
{
	int64_t by = MAX(c->base.deadline_ns, c->base.start_ns);

	return deadline_add(
		by, MIN(CALL_GIVE_UP_NS,
			KILL_BY_NS + (int64_t)c->listed * PREPARE_MEMBER_NS));
}

static bool take_turn(struct call *c, enum turn whose)
{
	uint32_t turn = TURN_OPEN;

	return __atomic_compare_exchange_n(&c->turn, &turn, whose, false,
					   __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE) ||
	       turn == whose;
}

/*
 * A helper that is given up as it begins to kill must not get half through:
 *
 *	the caller			the helper
 *	it is late, or hangs
 *					wakes up, kills some of a tree
 *	ends it: those that it had
 *	stopped and not killed go on,
 *	and nobody knows them
 */
void call_take_turn(struct call *c, const struct helper *h)
{
	while (!take_turn(c, TURN_HELPER))
		helper_wait_tick(h, &c->turn, TURN_CALLER);
}

/* While the helper works. */
enum outcome call_watch(struct call *c, struct group *g)
{
	struct progress p = { 0 };
	bool may_kill = true;

	while (!call_wait_a_moment(&g->helper, POLL_NS)) {
		enum stall stall;
		bool late;

		answer(c);
		if (now_ns() >= c->last_ns ||
		    (!call_killed(c) && now_ns() >= kill_by_ns(c) &&
		     take_turn(c, TURN_CALLER)))
			return OVER;
		stall = stalled(c, g, &p);
		late = !call_killed(c) && kill_is_late(c);
		if (may_kill && !call_killed(c) && (stall == HANGS || late)) {
			may_kill = kill_now(c);
			if (may_kill)
				continue;
		}
		if (stall == GETS_ON)
			continue;
		if (stall == HANGS_ALONE && !take_turn(c, TURN_CALLER))
			continue;
		if (stall == HANGS_ALONE)
			return OVER;
		if (c->nr_stuck + 2 > ARRAY_SIZE(c->stuck))
			return OVER;
		c->stuck[c->nr_stuck++] = c->touching;
		/* Before the kill it may have been for want of a CPU. */
		if (call_killed(c) || stall == HANGS_ON_D)
			c->stuck[c->nr_stuck++] = c->touching;
		c->hung_on_d |= stall == HANGS_ON_D;
		return AGAIN;
	}
	return OVER;
}
