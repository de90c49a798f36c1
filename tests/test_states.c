/* SPDX-License-Identifier: MIT */
/*
 * States of a victim, ways to name it and states of the caller, each with each
 * of the others once or, with MRELEASE_TEST_ROUNDS=all, all with all.  What must
 * hold in every one of them:
 *
 *  - the victim is dead, or SIGKILL is on its way to it;
 *  - the call ends in its time;
 *  - "verified" is said only when the memory is back;
 *  - nobody else is dead, and nobody is left stopped or traced;
 *  - the sums of the report add up.
 *
 * docs/states.md is what it prints.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"

#define DEADLINE_NS (SEC_NS / 3)
/* What an idle machine needs a tenth of. */
#define LATE_NS (5 * SEC_NS)

struct row {
	const char *victim;
	const char *arg1;
	const char *arg2;
};

static const struct row rows[] = {
	{ "anon", "16", NULL },		  { "threads", "50", "16" },
	{ "zombie-leader", "16", NULL },  { "stopped", "16", NULL },
	{ "ignoring", "16", NULL },	  { "nice", "16", NULL },
	{ "mlocked", "4", NULL },	  { "memfd", "16", NULL },
	{ "shared-anon", "16", NULL },	  { "many-maps", "1000", "16" },
	{ "clone-vm", "16", NULL },	  { "clone-vm-root", "16", NULL },
	{ "vfork", "16", NULL },	  { "traced", "16", NULL },
	{ "traced-stopped", "16", NULL }, { "traced-exit", "16", NULL },
	{ "exec-traced", "16", NULL },	  { "pinned", "16", NULL },
	{ "dstate", "16", NULL },	  { "coredump", "16", NULL },
	{ "coredump", "16", "8" },	  { "fuse-file", "16", NULL },
	{ "exiting-child", NULL, NULL },  { "forkbomb", "16", NULL },
};

enum how { BY_PID, NO_PIN, BY_TREE, BY_CGROUP, HOWS };
static const char *const how_names[] = { "PID", "no pin", "tree", "cgroup" };

enum caller { FREE, NO_PROCESS, NO_DESCRIPTOR, NO_MEMORY, NO_TIME, CALLERS };
static const char *const caller_names[] = { "free", "no process",
					    "no descriptor", "no memory",
					    "no time" };

/* What the caller's process found out, for this one to read. */
static struct outcome {
	struct mrelease_report rep;
	int ret;
	int64_t ns;
} * outcome;

/* A service's: what a test runner has there decides nothing. */
static void lack_descriptors(void)
{
	const struct rlimit none = { 3, 3 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		if (fd < 0 || dup2(fd, i) < 0)
			_exit(6);
	if (setrlimit(RLIMIT_NOFILE, &none))
		_exit(6);
}

static void become(enum caller caller)
{
	if (caller == NO_PROCESS)
		lack_process();
	else if (caller == NO_DESCRIPTOR)
		lack_descriptors();
	else if (caller == NO_MEMORY)
		lack_memory();
}

/* In a process of its own. */
static void call(const struct victim *v, const struct cgroup *cg, enum how how,
		 enum caller caller)
{
	struct mrelease_opts opts =
		opts_with(how == NO_PIN ? MRELEASE_NO_PIN : 0);
	struct mrelease_report *rep = &outcome->rep;
	int64_t start;

	rep->size = sizeof(*rep);
	become(caller);
	start = now_ns();
	opts.deadline_ns = caller == NO_TIME ? 1 : start + DEADLINE_NS;
	if (how == BY_TREE)
		outcome->ret = mrelease_tree(v->fd, &opts, rep, NULL, NULL);
	else if (how == BY_CGROUP)
		outcome->ret = mrelease_cgroup(cg->fd, &opts, rep, NULL, NULL);
	else
		outcome->ret = mrelease_process(v->fd, &opts, rep);
	outcome->ns = now_ns() - start;
	_exit(0);
}

/* A main thread that is a zombie says nothing about the others. */
static bool dead_or_dying(void *arg)
{
	pid_t pid = *(pid_t *)arg, tid;
	char path[64];
	struct dirent *d;
	bool dead = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		tid = (pid_t)atoi(d->d_name);
		if (tid > 0 && !strchr("ZX", process_state(tid)) &&
		    !process_killed(tid))
			dead = false;
	}
	if (dir)
		closedir(dir);
	return dead;
}

/* Its tracer, reader or server: as it was. */
static void expect_bystander(pid_t pid)
{
	assert_true(process_exists(pid));
	assert_false(process_killed(pid));
	assert_int_equal(process_tracer(pid), 0);
	assert_int_not_equal(process_state(pid), 'T');
}

static void expect_outcome(struct victim *v, enum how how, bool spared)
{
	const struct mrelease_report *rep = &outcome->rep;

	check_report(rep, outcome->ret);
	expect_report(rep, outcome->ret == 0);
	expect_report(rep, outcome->ns < DEADLINE_NS + LATE_NS);
	expect_report(rep, rep->stage >= MRELEASE_STAGE_KILLED);
	if (!spared)
		wait_until(dead_or_dying, &v->pid, "the victim is dying");
	/* A sharer below the root of a tree, or in the cgroup, is a victim. */
	if (v->helper && how < BY_TREE)
		expect_bystander(v->helper);
	if (rep->verified && v->pagemap_fd >= 0)
		expect_report(rep, victim_resident(v) == 0);
}

/*
 * Held at its exit it is sent no further signal by cgroup.kill.  Nor does that
 * reach the threads of a process whose main thread has exited (Linux 6.18), and
 * without a descriptor there is no other way: that is "unconfirmed".
 */
static bool spared(const struct row *row, enum how how, enum caller caller)
{
	return how == BY_CGROUP &&
	       (!strcmp(row->victim, "traced-exit") ||
		(!strcmp(row->victim, "zombie-leader") &&
		 caller == NO_DESCRIPTOR && !outcome->rep.verified));
}

static void run(const struct row *row, enum how how, enum caller caller)
{
	static const char *const results[] = { "released",	 "exited",
					       "gone",		 "refused",
					       "unconfirmed",	 "failed",
					       "would be killed" };
	const struct mrelease_report *rep = &outcome->rep;
	struct victim_setup setup = { 0 };
	struct victim v;
	struct cgroup cg;
	pid_t child;

	if (how == BY_CGROUP) {
		cgroup_make(&cg, CGROUP_V2);
		setup.procs[0] = cg.procs;
	}
	victim_start_with(&v, &setup, row->victim, row->arg1, row->arg2, NULL);
	memset(outcome, 0, sizeof(*outcome));
	child = test_fork();
	if (!child)
		call(&v, &cg, how, caller);
	assert_int_equal(test_wait(child), 0);
	assert_in_range(rep->result, 0, ARRAY_LEN(results) - 1);
	printf("# | %s%s%s | %s | %s | %s%s, %lld ms |\n", row->victim,
	       row->arg2 ? ", " : "", row->arg2 ? row->arg2 : "",
	       how_names[how], caller_names[caller], results[rep->result],
	       rep->verified ? ", verified" : "",
	       (long long)(outcome->ns / 1000000));
	expect_outcome(&v, how, spared(row, how, caller));
	victim_end(&v);
	if (how == BY_CGROUP)
		close(cg.fd);
}

static void test_row(void **state)
{
	size_t i = (size_t)((const struct row *)*state - rows);
	bool all = rounds(10) == 10;
	unsigned int how, caller;

	/* Trees of what cannot be traced are stopped. */
	stops_expected = true;
	for (how = 0; how < HOWS; how++)
		for (caller = 0; caller < CALLERS; caller++)
			if (all || caller == (i + how) % CALLERS)
				run(&rows[i], how, caller);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows)];
	size_t i;

	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED)
		return 1;
	for (i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].victim,
			.test_func = test_row,
			.setup_func = harness_setup,
			.teardown_func = harness_teardown,
			.initial_state = (void *)(uintptr_t)&rows[i],
		};
	return run_group(tests);
}
