/* SPDX-License-Identifier: MIT */
/* A course of memory, and what is decided at its end. */
#include "course.h"

static struct policy_scratch scratch;
struct course m;

int course_begin(void **state)
{
	(void)state;
	memset(&m, 0, sizeof(m));
	policy_defaults(&m.config);
	m.now.total_bytes = TOTAL;
	m.now.available_bytes = 600 * MIB;
	m.now.time_ns = 1000 * NS_PER_S;
	m.now.has = SNAPSHOT_PSI | SNAPSHOT_VMSTAT;
	return 0;
}

void look(int64_t ms, uint64_t available_mib)
{
	m.now.time_ns += ms * NS_PER_MS;
	m.now.available_bytes = available_mib * MIB;
	history_push(&m.history, &m.now);
}

void fall(int64_t ms, int64_t to_mib)
{
	int64_t from = (int64_t)(m.now.available_bytes / MIB);

	for (int64_t t = 50; t <= ms; t += 50)
		look(50, (uint64_t)(from + (to_mib - from) * t / ms));
}

struct candidate *add(const char *comm, uint64_t mib)
{
	struct candidate *c = &m.c[m.nr];

	*c = (struct candidate){
		.pid = 1000 + (pid_t)m.nr,
		.parent = -1,
		.session = 1000 + (pid_t)m.nr,
		.anon_bytes = mib * MIB,
		.age_s = 1000,
		.uid = 1000,
	};
	strncpy(c->comm, comm, sizeof(c->comm) - 1);
	m.nr++;
	return c;
}

void innocents(void)
{
	for (int i = 0; i < 6; i++)
		add("innocent", 70);
}

struct candidate *hog(uint64_t mib, uint64_t growth_mib)
{
	struct candidate *c = add("hog", mib);

	c->growth_bytes = growth_mib * MIB;
	m.growth_ns = 2 * NS_PER_S;
	m.available_growth = -(int64_t)(growth_mib * MIB);
	return c;
}

struct decision decide(void)
{
	struct policy_view view = {
		.history = m.history.s,
		.nr_history = m.history.nr,
		.candidates = m.c,
		.nr_candidates = m.nr,
		.releases = m.releases,
		.nr_releases = MAX_RELEASES,
		.config = &m.config,
		.growth_ns = m.growth_ns,
		.release_ns = m.release_ns,
		.acted_ns = m.acted_ns,
		.available_growth_bytes = m.available_growth,
		.shmem_growth_bytes = m.shmem_growth,
	};
	struct decision a, b;

	policy_decide(&view, &scratch, &a);
	/* What is in the scratch memory must not matter. */
	memset(&scratch, 0x5a, sizeof(scratch));
	policy_decide(&view, &scratch, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_true(a.wait_ns > 0);
	return a;
}

void expect(enum policy_action action, enum policy_reason reason,
	    const char *comm)
{
	struct decision d = decide();

	if (d.action != action || d.reason != reason)
		fail_msg("action %d because \"%s\", not %d because \"%s\"",
			 d.action, reason_text(d.reason), action,
			 reason_text(reason));
	if (comm)
		assert_string_equal(m.c[d.victim].comm, comm);
}
