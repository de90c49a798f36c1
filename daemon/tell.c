/* SPDX-License-Identifier: MIT */
/* What a decision and a release come to, in a person's words. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "say.h"
#include "text.h"

/* Without floating point, which may allocate: "9.5 %" */
static const char *share(uint64_t part, uint64_t whole, char *buf, size_t size)
{
	uint64_t permille = whole ? (part >> 10) * 1000 / ((whole >> 10) + 1) :
				    0;

	snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " %%", permille / 10,
		 permille % 10);
	return buf;
}

static const char *swap_text(const struct snapshot *s, char *buf, size_t size)
{
	char percent[24];

	if (!s->swap_total_bytes)
		return "no swap";
	snprintf(buf, size, "swap %s of %s free (%s)",
		 say_bytes(s->swap_free_bytes), say_bytes(s->swap_total_bytes),
		 share(s->swap_free_bytes, s->swap_total_bytes, percent,
		       sizeof(percent)));
	return buf;
}

void tell_memory(const struct snapshot *s)
{
	char percent[24], swap[96];

	say(SAY_INFO, "%s of %s available (%s), %s",
	    say_bytes(s->available_bytes), say_bytes(s->total_bytes),
	    share(s->available_bytes, s->total_bytes, percent, sizeof(percent)),
	    swap_text(s, swap, sizeof(swap)));
}

void tell_start(const struct snapshot *s, const struct policy_config *c)
{
	tell_memory(s);
	say(SAY_INFO,
	    "asking at %s available and %s swap free, killing at %s and %s",
	    say_bytes(line_bytes(&c->mem_term, s->total_bytes)),
	    say_bytes(line_bytes(&c->swap_term, s->swap_total_bytes)),
	    say_bytes(kill_line(&c->mem_kill, &c->mem_term, s->total_bytes)),
	    say_bytes(kill_line(&c->swap_kill, &c->swap_term,
				s->swap_total_bytes)));
}

static void tell_why(const struct decision *d, const struct snapshot *s)
{
	char percent[24], swap[96], speed[64] = "";

	if (d->rate > 1 << 20)
		snprintf(speed, sizeof(speed), ", %s/s going, %s left",
			 say_bytes((uint64_t)d->rate), say_time(d->cliff_ns));
	say(SAY_WARNING, "%s: %s of %s available (%s), %s%s, stalled %u.%u %%",
	    reason_text(d->reason), say_bytes(s->available_bytes),
	    say_bytes(s->total_bytes),
	    share(s->available_bytes, s->total_bytes, percent, sizeof(percent)),
	    swap_text(s, swap, sizeof(swap)), speed, d->stall_permille / 10,
	    d->stall_permille % 10);
}

void tell_decision(const struct decision *d, const struct snapshot *s,
		   const struct victim *v, bool dry_run)
{
	const char *comm = say_name(v->comm);
	const struct say_field fields[] = {
		{ "PID", NULL, v->pid },
		{ "UID", NULL, (int64_t)v->uid },
		{ "COMM", comm, 0 },
		{ "CGROUP", v->cgroup, 0 },
		{ "REASON", reason_text(v->reason), 0 },
		{ "SIGNAL", d->action == ACTION_ASK ? "SIGTERM" : "SIGKILL",
		  0 },
		{ "EXPECTED_BYTES", NULL, (int64_t)v->expected_bytes },
		{ "ANON_BYTES", NULL, (int64_t)v->anon_bytes },
		{ "SWAP_BYTES", NULL, (int64_t)v->swap_bytes },
		{ "GROWTH_BYTES", NULL, (int64_t)v->growth_bytes },
		{ "OOM_SCORE_ADJ", NULL, v->oom_score_adj },
		{ "AVAILABLE_BYTES", NULL, (int64_t)s->available_bytes },
		{ "STALL_PERMILLE", NULL, d->stall_permille },
	};
	char second[96] = "", tree[192] = "", grew[48] = "", grace[48] = "";
	char uid[24] = "";

	tell_why(d, s);
	if (v->second_pid)
		snprintf(second, sizeof(second), "; next would be %d (%s), %s",
			 v->second_pid, say_name(v->second_comm),
			 say_bytes(v->second_bytes));
	if (v->tree)
		snprintf(tree, sizeof(tree), " and its %u descendants",
			 v->members - 1);
	if (*v->cgroup)
		snprintf(tree, sizeof(tree), " and cgroup %s (%u processes)",
			 v->cgroup, v->members);
	if (v->growth_bytes)
		snprintf(grew, sizeof(grew), ", grew by %s lately",
			 say_bytes(v->growth_bytes));
	/* Of the small root of a big tree it was not asked. */
	if (v->uid != (uid_t)-1)
		snprintf(uid, sizeof(uid), "uid %u, ", v->uid);
	if (d->action == ACTION_ASK)
		snprintf(grace, sizeof(grace), " (SIGTERM, %s)",
			 say_time(d->grace_ns));
	say_event(SAY_WARNING, MESSAGE_KILL, fields, ARRAY_SIZE(fields),
		  "%s%s process %d (%s)%s%s: %soom_score_adj %d, "
		  "%s to come back%s%s",
		  dry_run ? "would be " : "",
		  d->action == ACTION_ASK ? "asking" : "killing", v->pid, comm,
		  tree, grace, uid, v->oom_score_adj,
		  say_bytes(v->expected_bytes), grew, second);
}

void tell_no_victim(const struct decision *d, const struct snapshot *s,
		    int refused)
{
	char why[160];
	const struct say_field fields[] = {
		{ "REASON", reason_text(d->reason), 0 },
		{ "AVAILABLE_BYTES", NULL, (int64_t)s->available_bytes },
		{ "ANON_BYTES", NULL, (int64_t)s->anon_bytes },
		{ "SHMEM_BYTES", NULL, (int64_t)s->shmem_bytes },
		{ "CACHE_BYTES", NULL, (int64_t)s->cache_bytes },
		{ "HUGETLB_BYTES", NULL, (int64_t)s->hugetlb_bytes },
		{ "SLAB_BYTES", NULL, (int64_t)s->slab_bytes },
	};

	snprintf(why, sizeof(why), "it would be in vain: %s",
		 reason_text(d->reason));
	if (d->reason == REASON_NOBODY && refused)
		snprintf(why, sizeof(why),
			 "who was chosen could not be signalled (%s), and %s",
			 strerror(-refused), reason_text(d->reason));
	say_event(SAY_WARNING, MESSAGE_NO_VICTIM, fields, ARRAY_SIZE(fields),
		  "nobody is killed, %s; %s of %s "
		  "available; processes have %s, tmpfs and shared memory %s, "
		  "page cache %s, huge pages %s, kernel %s",
		  why, say_bytes(s->available_bytes), say_bytes(s->total_bytes),
		  say_bytes(s->anon_bytes), say_bytes(s->shmem_bytes),
		  say_bytes(s->cache_bytes), say_bytes(s->hugetlb_bytes),
		  say_bytes(s->slab_bytes));
}

static const char *note_text(uint32_t notes)
{
	static const struct {
		uint32_t note;
		const char *text;
	} texts[] = {
		{ MRELEASE_NOTE_SHARED, "; a living process shares it" },
		{ MRELEASE_NOTE_PINNED_ELSEWHERE,
		  "; another process holds it" },
		{ MRELEASE_NOTE_SHMEM, "; shared memory is still in use" },
		{ MRELEASE_NOTE_HUGETLB,
		  "; huge pages come back with the exit only" },
		{ MRELEASE_NOTE_DSTATE,
		  "; it sits in uninterruptible sleep (D)" },
		{ MRELEASE_NOTE_FROZEN, "; it is frozen" },
		{ MRELEASE_NOTE_COREDUMP, "; it is dumping core" },
		{ MRELEASE_NOTE_NOT_EXITED, "; it has not exited yet" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (notes & texts[i].note)
			return texts[i].text;
	return "";
}

static const char *why_exited(const struct release *r)
{
	/* No descriptor, memory or helper process was to be had for more. */
	if (r->report.stage >= MRELEASE_STAGE_KILLED)
		return ", and what it had was not inspected";
	/* Whose signal it was cannot be told. */
	if (r->pushed || (r->view.asked_ns && r->ordered))
		return "";
	return r->view.asked_ns ? " when asked" : " by itself";
}

void tell_release(const struct release *r, const struct snapshot *after)
{
	const struct mrelease_report *rep = &r->report;
	const char *comm = say_name(r->victim.comm);
	int64_t took = rep->release_ns >= 0 ?
			       rep->release_ns :
			       r->view.done_ns - r->view.killed_ns;
	int64_t trigger_ns =
		r->signalled_ns ? r->signalled_ns - r->before.time_ns : 0;
	const struct say_field fields[] = {
		{ "PID", NULL, r->victim.pid },
		{ "COMM", comm, 0 },
		{ "RELEASED_BYTES", NULL, (int64_t)rep->released_bytes },
		{ "OUTSTANDING_BYTES", NULL, (int64_t)rep->outstanding_bytes },
		{ "VERIFIED", NULL, rep->verified },
		{ "DURATION_USEC", NULL, took / 1000 },
		/* From the look that showed it to the first signal. */
		{ "TRIGGER_USEC", NULL, trigger_ns / 1000 },
		{ "AVAILABLE_BYTES", NULL, (int64_t)after->available_bytes },
	};

	say(SAY_DEBUG,
	    "process %d (%s): first signal %" PRId64
	    " us after the look, ordered after %" PRId64
	    " us, prepared by the library in %" PRId64 " us",
	    r->victim.pid, comm, trigger_ns / 1000,
	    (r->view.killed_ns - r->before.time_ns) / 1000,
	    rep->prepare_ns / 1000);
	/* Reaped by its parent already, or not yet. */
	if (r->ret == -ESRCH ||
	    (rep->result == MRELEASE_EXITED && !rep->outstanding_bytes)) {
		say_event(SAY_NOTICE, MESSAGE_RELEASED, fields,
			  ARRAY_SIZE(fields),
			  "process %d (%s) has exited%s; available %s, before "
			  "%s",
			  r->victim.pid, comm, why_exited(r),
			  say_bytes(after->available_bytes),
			  say_bytes(r->before.available_bytes));
		return;
	}
	if (rep->verified && !rep->outstanding_bytes) {
		say_event(SAY_NOTICE, MESSAGE_RELEASED, fields,
			  ARRAY_SIZE(fields),
			  "%s of process %d (%s) are back after %s; available "
			  "%s, before %s",
			  say_bytes(rep->released_bytes), r->victim.pid, comm,
			  say_time(took), say_bytes(after->available_bytes),
			  say_bytes(r->before.available_bytes));
		return;
	}
	say_event(SAY_WARNING, MESSAGE_NOT_BACK, fields, ARRAY_SIZE(fields),
		  "process %d (%s): %s are back after %s, %s are not known to "
		  "be%s%s%s; available %s, before %s",
		  r->victim.pid, comm, say_bytes(rep->released_bytes),
		  say_time(took), say_bytes(rep->outstanding_bytes),
		  note_text(rep->notes), r->ret ? ": " : "",
		  r->ret ? strerror(-r->ret) : "",
		  say_bytes(after->available_bytes),
		  say_bytes(r->before.available_bytes));
}

void tell_let_be(const struct victim *v)
{
	say(SAY_NOTICE,
	    "process %d (%s) has not exited; there is memory, and it is let be",
	    v->pid, say_name(v->comm));
}

void tell_failure(const struct victim *v, int error)
{
	say(SAY_ERROR, "process %d (%s) could not be signalled: %s", v->pid,
	    say_name(v->comm), strerror(-error));
}
