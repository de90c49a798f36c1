/* SPDX-License-Identifier: MIT */
/*
 * The three ways to kill one process, each with the time until its memory is
 * back as that way can know it.
 */
#include <errno.h>
#include <signal.h>

#include "bench.h"
#include "sys.h"

#define RELEASE_SECONDS 60

/* The exit is all that this way has to go by. */
static void kill_and_wait(struct victim *v, struct way_run *run)
{
	int64_t start = now_ns();

	if (sys_pidfd_send_signal(v->pidfd, SIGKILL))
		bench_die("SIGKILL to %d: %m", v->pid);
	victim_wait(v);
	run->back_ns = now_ns() - start;
	run->call_ns = run->back_ns;
}

/*
 * As lmkd, earlyoom and others do it: the call comes straight after the
 * signal, and an error is ignored.  Its caller then knows no more than that
 * the process has exited, so that is when the memory counts as back.
 */
static void kill_and_mrelease(struct victim *v, struct way_run *run)
{
	int64_t start = now_ns();
	int64_t called;

	if (sys_pidfd_send_signal(v->pidfd, SIGKILL))
		bench_die("SIGKILL to %d: %m", v->pid);
	if (sys_process_mrelease(v->pidfd))
		run->error = -errno;
	called = now_ns() - start;
	victim_wait(v);
	run->call_ns = now_ns() - start;
	run->back_ns = run->error ? run->call_ns : called;
	run->lost = run->error == -ESRCH;
}

static void release(struct victim *v, uint32_t flags, struct way_run *run)
{
	int64_t start = now_ns();
	struct mrelease_opts opts = {
		.size = sizeof(opts),
		.flags = flags,
		.deadline_ns = start + RELEASE_SECONDS * NSEC_PER_SEC,
	};
	struct mrelease_report *rep = &run->report;

	rep->size = sizeof(*rep);
	run->error = mrelease_process(v->pidfd, &opts, rep);
	run->call_ns = now_ns() - start;
	run->prepare_ns = rep->prepare_ns;
	run->verified = !run->error && rep->result == MRELEASE_RELEASED &&
			rep->verified == 1 && rep->release_ns >= 0;
	run->lost = !run->verified;
	/* never seen to be back: the whole call, and the check fails */
	run->back_ns = run->verified ? rep->release_ns : run->call_ns;
	/* a library that flatters itself is worse than a slow one */
	if (run->back_ns + run->prepare_ns > run->call_ns)
		bench_die("release_ns %lld + prepare_ns %lld, but the call "
			  "took %lld",
			  (long long)run->back_ns, (long long)run->prepare_ns,
			  (long long)run->call_ns);
}

/* Kill the victim that way.  The caller ends it. */
void way_kill(enum bench_way way, struct victim *v, uint32_t flags,
	      struct way_run *run)
{
	*run = (struct way_run){ .start_ns = now_ns() };
	if (way == WAY_WAIT)
		kill_and_wait(v, run);
	else if (way == WAY_MRELEASE)
		kill_and_mrelease(v, run);
	else
		release(v, flags, run);
	run->left_bytes = victim_bytes_left(v);
	if (run->left_bytes > 0)
		run->verified = false;
}

void way_count(struct bench_stat *st, const struct way_run *run)
{
	st->runs++;
	st->verified += run->verified;
	st->lost += run->lost;
	if (run->report.size && !run->verified)
		count_unverified(st, &run->report);
	series_add(&st->back, run->back_ns);
	series_add(&st->call, run->call_ns);
	series_add(&st->prepare, run->prepare_ns);
}

/* A victim of its own, killed that way, counted and ended. */
void way_once(enum bench_way way, const struct victim_spec *spec,
	      struct bench_stat *st)
{
	struct way_run run;
	struct victim v;
	int error;

	error = victim_start(spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	way_kill(way, &v, 0, &run);
	victim_end(&v);
	way_count(st, &run);
}
