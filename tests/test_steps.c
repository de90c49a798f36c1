/* SPDX-License-Identifier: MIT */
/*
 * The command, killed at every step it takes: what it had in hand is never
 * left stopped, traced or frozen, and is either untouched or dead.  Nor does
 * what is left of the command wait for a deadline: that is longer than
 * PATIENCE_S here.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "stepper.h"

static char mrelease[PATH_MAX];

static const char *command(void)
{
	snprintf(mrelease, sizeof(mrelease), "%s", beside("../mrelease"));
	if (access(mrelease, X_OK))
		skip_test("command", "the command was not built");
	return mrelease;
}

/*
 * Dead, or alive as if nobody had come.  A SIGKILL that is on its way and a
 * tracer that is about to be torn down take their time: that is waited for,
 * but a stop that stays is a failure.
 */
static bool settled(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	char state = process_state(pid);

	if (process_gone(pid))
		return true;
	return !process_killed(pid) && !process_tracer(pid) && state != 't' &&
	       state != 'T';
}

static void expect_settled(pid_t pid, unsigned int step)
{
	char what[64];

	snprintf(what, sizeof(what), "step %u: victim dead or untouched", step);
	wait_until(settled, &pid, what);
}

static void every_step(const char *name, const char *option1,
		       const char *option2, enum step_kill who,
		       unsigned int stride)
{
	char number[16], *argv[7] = { (char *)command(), (char *)option1,
				      (char *)"-w", (char *)"60s" };
	unsigned int step, alive = 0, dead = 0;
	struct victim v;
	bool reached;

	for (step = 1, reached = true; reached; step += stride) {
		victim_start(&v, name, "1", NULL);
		snprintf(number, sizeof(number), "%d", v.pid);
		argv[4] = (char *)option2;
		argv[5] = number;
		reached = step_and_kill(argv, step, who);
		expect_settled(v.pid, step);
		if (victim_alive_and_intact(&v))
			alive++;
		else
			dead++;
		victim_end(&v);
		/* Nobody waits for it: the stepper took its death away. */
		while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
			;
	}
	printf("# up to step %u: %u alive, %u dead\n", step, alive, dead);
	/* Both must have been seen, or the steps were not the steps. */
	assert_true(alive > 10);
	assert_true(dead > 10);
}

static void test_process_main_killed(void **state)
{
	(void)state;
	every_step("anon", "-q", "--", STEP_KILL_MAIN, 1);
}

static void test_process_any_task_killed(void **state)
{
	(void)state;
	every_step("anon", "-q", "--", STEP_KILL_TASK, 1);
}

static void test_tree_main_killed(void **state)
{
	(void)state;
	every_step("anon", "-q", "-t", STEP_KILL_MAIN, 3);
}

static void test_tree_any_task_killed(void **state)
{
	(void)state;
	every_step("anon", "-q", "-t", STEP_KILL_TASK, 3);
}

static bool thawed(void *arg)
{
	const struct cgroup *cg = arg;
	char path[PATH_MAX + 32], buf[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", cg->path,
		 cg->kind == CGROUP_V2 ? "cgroup.freeze" : "freezer.state");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(fd);
	return buf[0] == '0' || !strncmp(buf, "THAWED", 6);
}

/*
 * Three members in a cgroup.  The steps are many, and near the start all
 * alike: every @stride-th is taken.
 */
static void every_step_of_a_cgroup(enum cgroup_kind kind, enum step_kill who,
				   unsigned int stride)
{
	char *argv[6] = { (char *)command(), (char *)"-q", (char *)"-w",
			  (char *)"60s" };
	unsigned int step, dead = 0, i;
	char what[64];
	struct victim v[3];
	struct cgroup cg;
	bool reached;

	cgroup_make(&cg, kind);
	argv[4] = cg.path;
	for (step = 1, reached = true; reached; step += stride) {
		for (i = 0; i < ARRAY_LEN(v); i++) {
			victim_start(&v[i], "anon", "1", NULL);
			cgroup_add(&cg, v[i].pid);
		}
		reached = step_and_kill(argv, step, who);
		snprintf(what, sizeof(what), "step %u: the cgroup thawed",
			 step);
		wait_until(thawed, &cg, what);
		for (i = 0; i < ARRAY_LEN(v); i++) {
			expect_settled(v[i].pid, step);
			if (!victim_alive_and_intact(&v[i]))
				dead++;
			victim_end(&v[i]);
		}
		while (waitpid(-1, NULL, __WALL) > 0)
			;
	}
	close(cg.fd);
	printf("# %u steps: %u dead\n", step, dead);
	assert_true(dead > 3);
}

static void test_cgroup_v2_main_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_V2, STEP_KILL_MAIN, 7);
}

static void test_cgroup_v2_any_task_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_V2, STEP_KILL_TASK, 7);
}

static void test_freezer_main_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_FREEZER, STEP_KILL_MAIN, 7);
}

static void test_freezer_any_task_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_FREEZER, STEP_KILL_TASK, 7);
}

/* Held with SIGSTOP: nobody stays stopped. */
static void test_stopped_tree_main_killed(void **state)
{
	(void)state;
	every_step("anon", "--no-pin", "-t", STEP_KILL_MAIN, 3);
}

static void test_stopped_tree_any_task_killed(void **state)
{
	(void)state;
	every_step("anon", "--no-pin", "-t", STEP_KILL_TASK, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_process_main_killed),
		harness_test(test_process_any_task_killed),
		harness_test(test_tree_main_killed),
		harness_test(test_tree_any_task_killed),
		harness_test(test_cgroup_v2_main_killed),
		harness_test(test_cgroup_v2_any_task_killed),
		harness_test(test_freezer_main_killed),
		harness_test(test_freezer_any_task_killed),
		harness_test(test_stopped_tree_main_killed),
		harness_test(test_stopped_tree_any_task_killed),
	};

	return run_group(tests);
}
