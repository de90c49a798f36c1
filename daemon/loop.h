/* SPDX-License-Identifier: MIT */
/* The daemon's state, and one look at the machine. */
#ifndef MRELEASED_LOOP_H
#define MRELEASED_LOOP_H

#include "act.h"
#include "config.h"
#include "history.h"
#include "sense.h"
#include "struck.h"
#include "table.h"
#include "trace.h"

#define RELEASE_BUCKETS 10
/* What goes on is said this often. */
#define SAY_AGAIN_NS (60 * NS_PER_S)

/* Upper ends of the histogram of release times; metrics.c. */
extern const int64_t release_buckets_ns[RELEASE_BUCKETS];

struct totals {
	uint64_t looks;
	uint64_t sweeps;
	uint64_t asked;
	uint64_t killed;
	uint64_t released_bytes;
	uint64_t unconfirmed;
	uint64_t in_vain;
	/* Of verified releases; the last is for what took longer. */
	uint64_t buckets[RELEASE_BUCKETS + 1];
	int64_t release_ns;
};

struct mreleased {
	struct config config;
	/* The cgroup that is watched has been removed. */
	bool gone;
	struct sense sense;
	struct history history;
	struct table table;
	/* What the machine looked like when it was filled. */
	struct snapshot swept;
	struct act act;
	struct trace trace;
	struct policy_scratch *scratch;
	struct decision last;
	/* What it was decided from. */
	struct policy_view view;
	struct release_view views[MAX_RELEASES];
	struct totals totals;
	/* How long the last releases of one process took; 0: none yet. */
	int64_t lately_ns[4];
	size_t nr_lately;
	int64_t acted_ns;
	/* Who was killed: not chosen again, however long it stays. */
	struct strikes strikes;
	/* Why nobody was killed, and when that was said. */
	enum policy_reason said_reason;
	int64_t said_ns;
	/* Why the last victim could not be signalled, -errno; 0: it could. */
	int refused;
	/* What went wrong last, and when that was said. */
	int error;
	int64_t error_ns;
	int64_t reported_ns;
	/* When the metrics were written. */
	int64_t metrics_ns;
	/* In a dry run: when somebody would have been killed. */
	int64_t dry_ns;
	/* How long the last choice of somebody took. */
	int64_t decision_ns;
};

/* Everything but the configuration, which is there.  0 or -errno. */
int mreleased_open(struct mreleased *d);
/* The first look, which touches all memory that will be needed. */
void mreleased_start(struct mreleased *d);
/*
 * Look, decide, act.  Return: ns until the next look; @triggered: the kernel
 * says that tasks stall.
 */
int64_t mreleased_look(struct mreleased *d, bool triggered);
/* The newest snapshot; there is one from mreleased_start() on. */
static inline const struct snapshot *mreleased_now(const struct mreleased *d)
{
	return &d->history.s[d->history.nr - 1];
}

/* strike.c: what was decided is done. */
void mreleased_obey(struct mreleased *d, const struct decision *dec);
/* rest.c: ns until the next look, after this decision. */
int64_t next_look(const struct mreleased *d, const struct decision *dec);
/* Is it time to look at all processes again? */
bool is_sweep_due(const struct mreleased *d, const struct decision *dec);
/* The rules have changed: from now on nobody goes by the old ones. */
void mreleased_ask_rules(struct mreleased *d);
/*
 * For who asks: what would be decided now, which is not done, and who would go if
 * somebody had to.
 */
void mreleased_consider(struct mreleased *d, struct decision *dec,
			struct choice *would_go);
/* How much there is now is said. */
void mreleased_tell_memory(struct mreleased *d);
/* Cgroups have changed: that of each process is read anew. */
void mreleased_ask_cgroups(struct mreleased *d);

#endif /* MRELEASED_LOOP_H */
