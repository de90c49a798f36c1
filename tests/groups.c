/* SPDX-License-Identifier: MIT */
/* Releases of whole cgroups and trees, with a report for each member. */
#include <string.h>

#include "groups.h"

struct mrelease_report members[MAX_MEMBERS];
size_t nr_members;

static void clear_reports(struct mrelease_report *rep)
{
	size_t i;

	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	memset(members, 0, sizeof(members));
	for (i = 0; i < MAX_MEMBERS; i++)
		members[i].size = sizeof(members[i]);
	nr_members = MAX_MEMBERS;
}

/* The group's report does not show which member was not verified. */
static void show_first_unverified(const struct mrelease_report *rep)
{
	for (size_t i = 0; !rep->verified && i < nr_members; i++) {
		if (members[i].verified ||
		    members[i].stage < MRELEASE_STAGE_KILLED)
			continue;
		show_report(&members[i]);
		return;
	}
}

int release_cgroup(const struct cgroup *cg, uint32_t flags,
		   struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int ret;

	clear_reports(rep);
	ret = mrelease_cgroup(cg->fd, &opts, rep, members, &nr_members);
	show_first_unverified(rep);
	expect_report(rep, rep->error == ret);
	expect_report(rep, rep->pid == 0);
	return ret;
}

int release_tree(const struct victim *root, uint32_t flags,
		 struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int ret;

	clear_reports(rep);
	ret = mrelease_tree(root->fd, &opts, rep, members, &nr_members);
	show_first_unverified(rep);
	expect_report(rep, rep->error == ret);
	return ret;
}

void expect_all_released(const struct mrelease_report *rep, unsigned int n,
			 uint64_t bytes)
{
	uint64_t last = UINT64_MAX;
	size_t i;

	expect_report(rep, rep->result == MRELEASE_RELEASED);
	expect_report(rep, rep->verified == 1);
	expect_report(rep, rep->evidence == MRELEASE_EVIDENCE_MEMBERS ||
				   rep->evidence == MRELEASE_EVIDENCE_MEMCG);
	expect_report(rep, rep->members == n);
	expect_report(rep, rep->members_verified == n);
	expect_report(rep, rep->kinds[MRELEASE_ANON].before_bytes >= bytes);
	expect_report(rep, rep->released_bytes >= bytes);
	expect_report(rep, rep->outstanding_bytes == 0);
	assert_int_equal(nr_members, n);
	for (i = 0; i < n; i++) {
		const struct mrelease_report *m = &members[i];
		uint64_t size = m->before_bytes;

		expect_report(m, m->result == MRELEASE_RELEASED);
		expect_report(m, m->verified == 1);
		expect_report(m, m->pid > 0);
		/* Biggest first. */
		expect_report(m, size <= last);
		last = size;
		assert_true(process_gone(m->pid));
	}
}

/* Children of the test, each moved in before it is said to be there. */
void fill_cgroup(const struct cgroup *cg, struct victim *v, unsigned int n,
		 const char *mib)
{
	struct victim_setup setup = { 0 };

	setup.procs[0] = cg->procs;
	while (n--)
		victim_start_with(v++, &setup, "anon", mib, NULL);
}
