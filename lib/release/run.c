/* SPDX-License-Identifier: MIT */
/*
 * The caller's side of a release: start the helper, see to it that the kill is
 * not late, and that the call ends.
 *
 * Whatever the helper does before the kill can wait for somebody: PTRACE_SEIZE
 * for the cred_guard_mutex and every open of mem for the exec_update_lock of a
 * process in execve(), which can hang on a dead filesystem or on a debugger of
 * the victim's own; kcmp(2) for that of a stranger.  All of it is worth having
 * and none of it is worth a wait.  The caller is idle meanwhile, and what it
 * needs for the kill waits for nobody:
 *
 *	helper				caller
 *	waits for a lock
 *					its budget is spent
 *					nobody -> caller; SIGKILL
 *					(the victim dies, the lock is free)
 *	nobody -> helper fails: sends
 *	the signal again, and goes on
 *	with what is still possible
 *
 * One word decides who sends it, so that the times in the report have one owner.
 * A helper that is killed between the word and the signal has said nothing: the
 * caller then sends it, too.
 */
#include <string.h>
#include <sys/resource.h>

#include "release/release.h"

/* What comes before the kill may take that long. */
#define BUDGET_NS (10 * NSEC_PER_MSEC)
/* And that long for want of a CPU. */
#define PATIENCE_NS (200 * NSEC_PER_MSEC)
/* A helper that has not seen the deadline pass by itself. */
#define SLACK_NS (NSEC_PER_SEC / 4)
/* Until a helper that was sent SIGKILL is left behind. */
#define STRANDED_NS (NSEC_PER_SEC / 2)
/* A call returns within this time after its deadline. */
#define END_NS (450 * NSEC_PER_MSEC)
/* Without a helper: for a victim to begin its exit. */
#define ALONE_NS (20 * NSEC_PER_MSEC)
/* Preparing ahead of a release, where nothing is urgent; and for want of a CPU. */
#define AHEAD_NS      (NSEC_PER_SEC / 10)
#define AHEAD_BUSY_NS NSEC_PER_SEC

bool kill_claim(struct release *r, enum killer who)
{
	uint32_t nobody = KILLER_NOBODY;

	return __atomic_compare_exchange_n(&r->killer, &nobody, who, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

bool kill_is_pending(const struct release *r)
{
	return __atomic_load_n(&r->killer, __ATOMIC_ACQUIRE) == KILLER_NOBODY;
}

/* 0, or why it could not be sent. */
static int kill_now(struct release *r)
{
	r->caller_kill_ns = now_ns();
	return kill_claim(r, KILLER_CALLER) ? victim_signal(r->v, SIGKILL) : 0;
}

/* Until the helper has ended, or it is time to kill without it. */
static void wait_for_kill(struct release *r)
{
	int64_t now = now_ns();
	/* Sharers that are to die with it are not found without its memory. */
	int64_t budget = r->opts.flags & MRELEASE_KILL_SHARERS ? PATIENCE_NS :
								 BUDGET_NS;
	int64_t due = deadline_min(now + budget, r->deadline_ns);
	int64_t last = deadline_min(now + PATIENCE_NS, r->deadline_ns);

	while (helper_wait(&r->helper, due) < 0 && kill_is_pending(r)) {
		now = now_ns();
		if (now >= last || !helper_runs(&r->helper)) {
			kill_now(r);
			return;
		}
		due = deadline_min(now + BUDGET_NS, last);
	}
}

static int64_t give_up_ns(int64_t deadline_ns)
{
	int64_t now = now_ns();

	return deadline_add(MAX(deadline_ns, now), SLACK_NS);
}

/*
 * SIGKILL does not end a path walk, a fault or a remote read that waits for a
 * file system whose server has taken the request and does not answer.  Such a
 * helper is left behind with all that it may write to, and no other is started
 * on its stack.
 */
void release_end_helper(struct release *r)
{
	int64_t now = now_ns();
	/* What is left of the time that a call has after its deadline. */
	int64_t last = deadline_add(MAX(r->deadline_ns, r->start_ns), END_NS);
	int64_t until = deadline_min(now + STRANDED_NS,
				     MAX(last, now + STRANDED_NS / 10));

	if (helper_end(&r->helper, until) < 0)
		r->stranded = true;
	/* Beside it, and ours to wait for. */
	if (helper_end(&r->second, until) < 0)
		r->stranded = true;
}

bool release_start_helper(struct release *r, void (*fn)(void *arg))
{
	if (r->stranded) {
		r->in_helper = NULL;
		return false;
	}
	/* Of one that was before. */
	helper_close_status(&r->helper);
	r->helper.fn = fn;
	r->helper.arg = r;
	/* Before it begins: it asks. */
	r->in_helper = &r->helper;
	if (helper_start(&r->helper) < 0)
		r->in_helper = NULL;
	else
		/* By one that has a CPU: the helper may have to wait for its. */
		sys_setpriority(PRIO_PROCESS, r->helper.pid, -20);
	return r->in_helper;
}

/* Run it, and if it is stuck give it up: true when it came to its end. */
static bool run_helper(struct release *r, void (*fn)(void *arg),
		       int64_t deadline_ns)
{
	if (!release_start_helper(r, fn))
		return false;
	if (helper_wait(&r->helper, deadline_ns) == 0)
		return true;
	release_end_helper(r);
	return false;
}

/*
 * No helper could be had, or it is dead.  Nothing is looked at that could wait:
 * the exit, and whether the address space has users.
 */
static int finish_alone(struct release *r, bool wait)
{
	struct victim *v = r->v;
	int ret = 0;

	if (r->cache)
		cache_close(r->cache);
	sharers_close(r);
	if (!v->killed) {
		/* Or it was killed before it could say so. */
		if (kill_is_pending(r))
			ret = kill_now(r);
		else if (r->killer == KILLER_HELPER)
			ret = victim_signal(v, SIGKILL);
		if (ret < 0 && !r->caller_kill_ns)
			return ret;
		if (!v->kill_ns) {
			v->kill_ns = r->caller_kill_ns ? r->caller_kill_ns :
							 now_ns();
			v->rep.prepare_ns = v->kill_ns - r->start_ns;
		}
		if (ret < 0)
			return ret;
		v->killed = true;
		v->rep.stage = MRELEASE_STAGE_KILLED;
		v->rep.path = MRELEASE_PATH_EXIT;
		v->rep.notes |= MRELEASE_NOTE_NOT_READY | MRELEASE_NOTE_NO_PIN;
	}
	if (wait)
		victim_wait_exit(v, r->deadline_ns);
	release_look_exit(r, v);
	r->given_up = true;
	release_finish(r, v);
	return 0;
}

void release_prepare_main(void *arg)
{
	struct release *r = arg;

	r->ret = release_prepare(r);
	if (r->ret == 0)
		r->ret = release_check_sharers(r);
	r->v->done = true;
}

/* A machine that is busy takes longer, and that is no reason to do without. */
bool release_may_wait(struct release *r, int64_t began_ns, int64_t *until_ns)
{
	int64_t last = deadline_min(began_ns + AHEAD_BUSY_NS, r->deadline_ns);

	if (*until_ns >= last || !helper_runs(&r->helper))
		return false;
	*until_ns = deadline_min(*until_ns + AHEAD_NS, last);
	return true;
}

static bool run_ahead(struct release *r, int64_t began_ns)
{
	int64_t until_ns = deadline_min(began_ns + AHEAD_NS, r->deadline_ns);

	if (!release_start_helper(r, release_prepare_main))
		return false;
	while (helper_wait(&r->helper, until_ns) < 0) {
		if (release_may_wait(r, began_ns, &until_ns))
			continue;
		release_end_helper(r);
		return false;
	}
	return true;
}

int release_ready(struct release *r, bool keep)
{
	int64_t now = now_ns();
	struct victim *v = r->v;
	struct mrelease_report rep = v->rep;
	bool ended;

	v->done = false;
	if (v->zombie)
		return 0;
	if (!(r->opts.flags & MRELEASE_DRY_RUN))
		self_open_claims(&r->self);
	ended = (keep ? standby_prepare(r, now, now + AHEAD_NS) :
			run_ahead(r, now)) &&
		v->done;
	v->done = false;
	if (!ended) {
		v->rep = rep;
		return 0;
	}
	return r->ret;
}

/* Ask politely: 1 when that was enough. */
static int soft(struct release *r)
{
	struct victim *v = r->v;
	int ret;

	if (!r->prepared) {
		ret = release_ready(r, false);
		if (ret < 0 && !is_scarcity(ret))
			return ret;
	}
	v->kill_ns = now_ns();
	v->rep.prepare_ns = v->kill_ns - r->start_ns;
	ret = victim_signal(v, r->opts.soft_signal);
	if (ret < 0)
		return ret;
	ret = victim_wait_exit(
		v, deadline_min(deadline_add(v->kill_ns, r->opts.grace_ns),
				r->deadline_ns));
	if (ret <= 0)
		return ret;
	v->killed = true;
	v->rep.path = MRELEASE_PATH_SOFT;
	return 1;
}

/*
 * There is no helper: all that follows would be the caller's, and a question
 * about a victim that sleeps on where SIGKILL does not wake it may wait as long:
 * in execve(), for its exec_update_lock.  One that runs, wants to, or is gone
 * can be asked.  A frozen one is not told from the others: wchan waits, too.
 */
static bool hangs(const struct victim *v)
{
	struct proc_status st;

	if (victim_wait_exit(v, now_ns() + ALONE_NS) > 0 ||
	    victim_status(v, &st) < 0)
		return false;
	/* Of the main thread: of a zombie the others may sleep on. */
	return st.state != 'R' && (st.state != 'Z' || st.threads > 1);
}

static bool begin(struct release *r)
{
	return standby_go(r) || release_start_helper(r, release_one);
}

static int run(struct release *r)
{
	struct victim *v = r->v;
	int ret;

	if (!r->scratch || !begin(r)) {
		/* What follows can wait for the victim, so this comes first. */
		ret = r->soft_ended ? 0 : kill_now(r);
		if (ret < 0)
			return ret;
		if (!r->scratch || r->stranded || hangs(v))
			return finish_alone(r, true);
		release_one(r);
		return r->ret;
	}
	if (!r->soft_ended)
		wait_for_kill(r);
	if (standby_never_began(r) && release_start_helper(r, release_one) &&
	    !r->soft_ended)
		wait_for_kill(r);
	helper_wait(&r->helper, give_up_ns(r->deadline_ns));
	/* Stuck in a lock of the victim's; or over, but for the second reaper. */
	release_end_helper(r);
	return v->done ? r->ret : finish_alone(r, true);
}

int release_run(struct release *r)
{
	struct victim *v = r->v;
	int ret = 0;

	self_open_claims(&r->self);
	victim_claim(v, &r->self);
	/* What was prepared may have been another's since. */
	if (r->prepared && r->opts.soft_signal && victim_is_killed(v))
		victim_measure(v);
	if (r->prepared && r->opts.soft_signal && r->objects)
		objects_claim(r->objects, &r->self);
	if (r->opts.soft_signal)
		ret = soft(r);
	r->soft_ended = ret > 0;
	if (ret >= 0)
		ret = run(r);
	if (ret == -ESRCH)
		v->rep.result = MRELEASE_GONE;
	else if (ret == -EPERM && v->rep.result != MRELEASE_REFUSED)
		victim_refuse(v, MRELEASE_REFUSE_PERMISSION);
	self_close_claims(&r->self);
	return ret;
}

static void dry_main(void *arg)
{
	struct release *r = arg;
	struct victim *v = r->v;
	struct sharers found;

	r->ret = r->prepared ? 0 : release_prepare(r);
	if (r->ret == 0)
		r->ret = release_check_sharers(r);
	if (r->ret == 0 && !(r->opts.flags & MRELEASE_KILL_SHARERS) &&
	    sharers_find(v, r->scratch, NULL, NULL, &found) == 0)
		sharers_note(v, &found);
	/* Refused, or gone, as it would be then: that has been said. */
	if (r->ret != -EPERM && r->ret != -ESRCH) {
		v->rep.result = MRELEASE_WOULD_KILL;
		verdict_foresee(r, v);
	}
	v->done = true;
}

/* What would happen; what cannot be told in time is not. */
int release_dry(struct release *r)
{
	struct victim *v = r->v;

	v->done = false;
	if (!v->zombie)
		run_helper(r, dry_main, r->deadline_ns);
	if (v->done && (r->ret == -EPERM || r->ret == -ESRCH))
		return r->ret;
	if (v->done)
		return 0;
	v->rep.result = MRELEASE_WOULD_KILL;
	if (v->zombie)
		verdict_foresee(r, v);
	return 0;
}

static void reap_zombie(void *arg)
{
	struct release *r = arg;

	sys_process_mrelease(r->v->pidfd, 0);
}

/*
 * There is nothing left to kill, and no address space to look at.  A patched
 * kernel has the memory back all the same, if somebody else holds it; in a
 * helper, because that can wait for a lock.
 */
int release_zombie(struct release *r)
{
	run_helper(r, reap_zombie, r->deadline_ns);
	r->v->rep.result = MRELEASE_EXITED;
	return 0;
}
