/* SPDX-License-Identifier: MIT */
/*
 * Whether somebody must go, who, and why.  Pure functions: numbers in, a
 * decision out.  No I/O, no clock, no state: the same input gives the same
 * decision, today and when a recorded trace is replayed.
 */
#ifndef MRELEASED_POLICY_H
#define MRELEASED_POLICY_H

#include <stdbool.h>
#include <sys/types.h>

#include "snapshot.h"
#include "text.h"

/* Of those best by score, so many at most. */
#define MAX_BEST       8
#define MAX_HISTORY    128
#define MAX_RELEASES   4
#define MAX_CANDIDATES 65536
/* A release that has not ended by then is given up. */
#define RELEASE_DEADLINE_NS (30 * NS_PER_S)
/* Cgroups that are known at one time. */
#define MAX_UNITS 4096

/* Never chosen: a rule, oom_score_adj -1000, PID 1, a kernel thread, us. */
#define CANDIDATE_NEVER	 (1u << 0)
#define CANDIDATE_PREFER (1u << 1)
#define CANDIDATE_AVOID	 (1u << 2)
/* Being killed by us, or dying anyway. */
#define CANDIDATE_DYING (1u << 3)
/* Leads a session on a terminal: a login shell, never a job. */
#define CANDIDATE_TERMINAL (1u << 4)
/* Seen for the first time since growth was last measured. */
#define CANDIDATE_NEW (1u << 5)
/* Has a handler for SIGTERM, or waits for it: it can do something about it. */
#define CANDIDATE_ASKABLE (1u << 6)

struct candidate {
	pid_t pid;
	/* Index of the parent in the same array, -1: not among them. */
	int32_t parent;
	/* Since boot, clock ticks: with the PID, who it is. */
	uint64_t start;
	uint64_t anon_bytes;
	/* Mapped, shared or not. */
	uint64_t shmem_bytes;
	/* Of that, what nobody else seems to have mapped. */
	uint64_t shmem_own_bytes;
	uint64_t swap_bytes;
	/* Of both, what a child of fork(2) shares with its living parent. */
	uint64_t inherited_bytes;
	/* Anonymous and swapped memory gained in the growth window. */
	uint64_t growth_bytes;
	/* The same of shmem_bytes. */
	uint64_t shmem_growth_bytes;
	int64_t age_s;
	pid_t session;
	pid_t pgrp;
	/* The cgroup with which it goes, by a number of its own; 0: none. */
	uint32_t unit;
	int32_t oom_score_adj;
	uint32_t flags;
	uid_t uid;
	char comm[16];
};

/* One release under way, or ended a moment ago. */
enum release_phase {
	RELEASE_NONE = 0,
	/* SIGTERM was sent; its memory is its own affair until grace is over. */
	RELEASE_ASKED,
	/* SIGKILL was sent; memory is coming back. */
	RELEASE_KILLED,
	/* The library has returned, or the process has exited when asked. */
	RELEASE_DONE,
};

struct release_view {
	enum release_phase phase;
	pid_t pid;
	/* Monotonic, ns: of the first signal, of SIGKILL, of the end. */
	int64_t asked_ns;
	int64_t killed_ns;
	int64_t done_ns;
	/* How long it may take to go when asked. */
	int64_t grace_ns;
	uint64_t expected_bytes;
	uint64_t released_bytes;
	uint64_t outstanding_bytes;
	bool verified;
};

struct line {
	/* Bytes, or thousandths of the total: the other is 0. */
	uint64_t bytes;
	uint32_t permille;
	/* A default: it gives way to a lower line that was set. */
	bool implied;
};

enum victim_order {
	/* Size, oom_score_adj, growth, preferences. */
	ORDER_SCORE = 0,
	/* earlyoom's --sort-by-rss: the biggest, but for the preferences. */
	ORDER_SIZE,
};

struct policy_config {
	/* At or below both, processes are asked to go (SIGTERM). */
	struct line mem_term;
	struct line swap_term;
	/* At or below both, one is killed at once. */
	struct line mem_kill;
	struct line swap_kill;
	/* Handles are opened when this much or less is available. */
	struct line near;
	/* A low that ends sooner is none of our business. */
	int64_t hold_ns;
	/* The longest that a process may take to go when asked; 0: SIGKILL. */
	int64_t grace_ns;
	/* A release that takes longer is waited for while memory comes. */
	int64_t patience_ns;
	/* After a release: time to look what it brought. */
	int64_t settle_ns;
	/* Time that all tasks stall, in thousandths; 0: not looked at. */
	uint32_t stall_permille;
	/* For how long they do. */
	int64_t stall_ns;
	/* Who has less than this, in thousandths of the total, stays. */
	uint32_t min_gain_permille;
	enum victim_order order;
	/* A whole job may be chosen where one process does not explain it. */
	bool trees;
};

/* What the daemon knows at one moment. */
struct policy_view {
	/* Oldest first. */
	const struct snapshot *history;
	size_t nr_history;
	const struct candidate *candidates;
	size_t nr_candidates;
	/* How long growth_bytes was measured over, ns; 0: it was not. */
	int64_t growth_ns;
	/* What available memory and shmem did in that time. */
	int64_t available_growth_bytes;
	int64_t shmem_growth_bytes;
	/* What a release took here, ns; 0: none was measured yet. */
	int64_t release_ns;
	/* When the last victim had ended, or was given up; 0: none yet. */
	int64_t acted_ns;
	const struct release_view *releases;
	size_t nr_releases;
	const struct policy_config *config;
};

/* A process and what descends from it in its job. */
struct tree_sum {
	uint64_t gain;
	uint64_t growth;
	uint32_t members;
	/* Members that are big enough to count, and those of them that grow. */
	uint32_t counted;
	uint32_t growers;
	int32_t oom_score_adj;
	/* CANDIDATE_AVOID: one of them.  CANDIDATE_PREFER: all. */
	uint32_t flags;
};

/* Room for sums over trees, one for each candidate; contents do not matter. */
struct policy_scratch {
	struct tree_sum tree[MAX_CANDIDATES];
	/* The tree must stay. */
	uint8_t blocked[MAX_CANDIDATES];
	uint64_t unit_gain[MAX_UNITS];
	uint64_t unit_growth[MAX_UNITS];
	uint32_t unit_members[MAX_UNITS];
	uint8_t unit_blocked[MAX_UNITS];
};

enum policy_level {
	/* Nothing to do, nothing to prepare. */
	LEVEL_CALM = 0,
	/* Handles are to be opened. */
	LEVEL_NEAR,
	/* At or below the first line. */
	LEVEL_LOW,
	/* At or below the second one, or stalled. */
	LEVEL_CRITICAL,
};

enum policy_action {
	/* Look again after wait_ns. */
	ACTION_NONE = 0,
	/* SIGTERM to the victim. */
	ACTION_ASK,
	/* Kill the victim and have its memory back. */
	ACTION_KILL,
	/* SIGKILL for the release that was asked. */
	ACTION_ESCALATE,
};

enum policy_reason {
	REASON_CALM = 0,
	/* Low, but not for long enough to tell it from a spike. */
	REASON_HOLD,
	/* Low, but neither falling nor stalling. */
	REASON_STEADY,
	/* Both below the first line, and falling. */
	REASON_LOW,
	/* Both below the second line. */
	REASON_CRITICAL,
	/* The second line is nearer than the time to wait. */
	REASON_CLIFF,
	/* All tasks stall on memory, and it is short. */
	REASON_STALL,
	/* Memory is coming back. */
	REASON_RELEASING,
	/* The kernel's OOM killer has killed somebody a moment ago. */
	REASON_KERNEL_OOM,
	/* It was asked to go, and has time left. */
	REASON_ASKED,
	/* A release has just ended: first see what it brought. */
	REASON_SETTLE,
	/* It did not go in the time it had. */
	REASON_GRACE_OVER,
	/* tmpfs files that no process has mapped grow. */
	REASON_TMPFS,
	/* All tasks stall on page cache: nobody's memory would help. */
	REASON_CACHE,
	/* Nobody who may be killed has enough to matter. */
	REASON_NOBODY,
	/* SIGKILL is all that it would understand, and it may be a spike. */
	REASON_WAIT,
};

struct decision {
	enum policy_level level;
	enum policy_action action;
	enum policy_reason reason;
	/* Index among the candidates, or the releases (ESCALATE). */
	size_t victim;
	/* With all that descends from it. */
	bool tree;
	/* With the cgroup that it is in. */
	bool whole;
	uint32_t members;
	/* Who would have been next; -1: nobody. */
	int64_t second;
	uint64_t expected_bytes;
	/* Until the first line is behind us, and a little more. */
	uint64_t need_bytes;
	/* Bytes a second that memory and swap go; negative: they come. */
	int64_t rate;
	/* Until the second line at this rate, ns; INT64_MAX: not in sight. */
	int64_t cliff_ns;
	/* ASK: how long it may take. */
	int64_t grace_ns;
	/* Time that all tasks stalled lately, in thousandths. */
	uint32_t stall_permille;
	/* Look again after so long. */
	int64_t wait_ns;
};

void policy_defaults(struct policy_config *config);
void policy_decide(const struct policy_view *view,
		   struct policy_scratch *scratch, struct decision *ret);
uint64_t line_bytes(const struct line *line, uint64_t total);
/* The second of two lines; one that is only implied is never above the first. */
uint64_t kill_line(const struct line *kill, const struct line *term,
		   uint64_t total);
/*
 * The last one that is at least so old; the oldest if none is.  What was before
 * the end of a victim is its doing, and says nothing of those who are left.
 */
const struct snapshot *snapshot_before(const struct policy_view *v, int64_t ns);
const char *reason_text(enum policy_reason reason);

/* choose.c */

struct choice {
	/* Index among the candidates, -1: nobody. */
	int64_t victim;
	int64_t second;
	bool tree;
	bool whole;
	uint32_t members;
	uint64_t gain_bytes;
	int64_t score;
	/* Where nobody is chosen: why. */
	enum policy_reason reason;
};

void choose_victim(const struct policy_view *view,
		   struct policy_scratch *scratch, enum policy_level level,
		   uint64_t need_bytes, struct choice *ret);
/* What would come back, as far as numbers tell. */
uint64_t candidate_gain(const struct candidate *c);
/* May it be chosen, and would it help? */
bool candidate_may_go(const struct candidate *c);
/* The first @max of them by score, best first.  Return: how many. */
size_t best_candidates(const struct candidate *c, size_t nr, uint64_t total,
		       const struct policy_config *config,
		       const struct candidate **best, size_t max);
int64_t candidate_score(const struct candidate *c, uint64_t total,
			const struct policy_config *config);

#endif /* MRELEASED_POLICY_H */
