/* SPDX-License-Identifier: MIT */
/*
 * The command, killed at every step that somebody else notices: what it had in
 * hand is never left stopped, traced or frozen, and is either untouched or
 * dead.  Nor does what is left of the command wait for a deadline: that is
 * longer than PATIENCE_S here.
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

static const char *step_name(const struct step *at)
{
	static char name[80];

	snprintf(name, sizeof(name), "task %u, call %ld for the %u. time, %s",
		 at->task, at->nr, at->count, at->entry ? "entry" : "exit");
	return name;
}

static void expect_settled(pid_t pid, const struct step *at)
{
	char what[160];

	snprintf(what, sizeof(what), "%s: victim dead or untouched",
		 step_name(at));
	wait_until(settled, &pid, what);
}

/*
 * The main task's own steps are the same death for both kinds; of the others
 * the one kind kills the helper itself.
 */
static bool is_of_kind(const struct step *at, enum step_kill who)
{
	return who == STEP_KILL_MAIN || at->task;
}

struct tally {
	unsigned int steps;
	unsigned int reached;
	unsigned int alive;
	unsigned int dead;
};

/*
 * Both must have been seen, or the steps were not the steps.  A helper's death
 * spares nobody: the caller is there.
 */
static void show_tally(const struct tally *t, enum step_kill who)
{
	printf("# %u steps, %u reached: %u alive, %u dead\n", t->steps,
	       t->reached, t->alive, t->dead);
	assert_true(t->reached > t->steps / 2);
	if (who == STEP_KILL_MAIN)
		assert_true(t->alive > 3);
	else
		assert_int_equal(t->alive, 0);
	assert_true(t->dead > 3);
}

/* One that lives on is the next one's victim, too. */
static void start_dead(struct victim *v, bool *alive)
{
	if (*alive)
		return;
	victim_start(v, "anon", "1", NULL);
	*alive = true;
}

static void count_victim(struct victim *v, bool *alive, struct tally *t)
{
	*alive = victim_alive_and_intact(v);
	if (*alive) {
		t->alive++;
	} else {
		t->dead++;
		victim_end(v);
	}
}

/* Nobody waits for those: the stepper took their deaths away. */
static void wait_for_rest(void)
{
	while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
		;
}

/* number is one of the arguments: the victim's. */
static void every_step_of(char *const argv[], char number[16],
			  enum step_kill who)
{
	struct step steps[MAX_STEPS];
	struct tally tally = { 0 };
	unsigned int i, nr;
	bool alive = false;
	struct victim v;

	start_dead(&v, &alive);
	snprintf(number, 16, "%d", v.pid);
	nr = steps_note(argv, steps);
	count_victim(&v, &alive, &tally);
	assert_false(alive);
	tally.dead = 0;
	for (i = 0; i < nr; i++) {
		if (!is_of_kind(&steps[i], who))
			continue;
		start_dead(&v, &alive);
		snprintf(number, 16, "%d", v.pid);
		tally.steps++;
		tally.reached += step_and_kill(argv, &steps[i], who);
		expect_settled(v.pid, &steps[i]);
		count_victim(&v, &alive, &tally);
		wait_for_rest();
	}
	if (alive)
		victim_end(&v);
	show_tally(&tally, who);
}

static void every_step(const char *option1, const char *option2,
		       enum step_kill who)
{
	char number[16], *argv[7] = { (char *)command(), (char *)option1,
				      (char *)"-w", (char *)"60s" };

	argv[4] = (char *)option2;
	argv[5] = number;
	every_step_of(argv, number, who);
}

/* The helper is there before, and waits. */
static void every_prepared_step(enum step_kill who)
{
	char number[16], program[PATH_MAX];
	char *argv[] = { program, number, (char *)"standby", NULL };

	snprintf(program, sizeof(program), "%s", beside("prepare"));
	every_step_of(argv, number, who);
}

static void test_prepared_main_killed(void **state)
{
	(void)state;
	every_prepared_step(STEP_KILL_MAIN);
}

static void test_prepared_helper_killed(void **state)
{
	(void)state;
	every_prepared_step(STEP_KILL_TASK);
}

static void test_process_main_killed(void **state)
{
	(void)state;
	every_step("-q", "--", STEP_KILL_MAIN);
}

static void test_process_helper_killed(void **state)
{
	(void)state;
	every_step("-q", "--", STEP_KILL_TASK);
}

static void test_tree_main_killed(void **state)
{
	(void)state;
	every_step("-q", "-t", STEP_KILL_MAIN);
}

static void test_tree_helper_killed(void **state)
{
	(void)state;
	every_step("-q", "-t", STEP_KILL_TASK);
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

#define NR_MEMBERS 2

static void every_step_of_a_cgroup(enum cgroup_kind kind, enum step_kill who)
{
	char *argv[6] = { (char *)command(), (char *)"-q", (char *)"-w",
			  (char *)"60s" };
	bool alive[NR_MEMBERS] = { false };
	struct victim v[NR_MEMBERS];
	struct step steps[MAX_STEPS];
	struct tally tally = { 0 };
	unsigned int i, j, nr = 1;
	struct cgroup cg;
	char what[160];

	cgroup_make(&cg, kind);
	argv[4] = cg.path;
	/* Step 0 is the run that notes them. */
	for (i = 0; i <= nr; i++) {
		if (i && !is_of_kind(&steps[i - 1], who))
			continue;
		for (j = 0; j < NR_MEMBERS; j++) {
			if (alive[j])
				continue;
			start_dead(&v[j], &alive[j]);
			cgroup_add(&cg, v[j].pid);
		}
		if (!i) {
			nr = steps_note(argv, steps);
		} else {
			tally.steps++;
			tally.reached +=
				step_and_kill(argv, &steps[i - 1], who);
			snprintf(what, sizeof(what), "%s: the cgroup thawed",
				 step_name(&steps[i - 1]));
			wait_until(thawed, &cg, what);
		}
		for (j = 0; j < NR_MEMBERS; j++) {
			if (i)
				expect_settled(v[j].pid, &steps[i - 1]);
			count_victim(&v[j], &alive[j], &tally);
		}
		wait_for_rest();
	}
	for (j = 0; j < NR_MEMBERS; j++) {
		if (alive[j])
			victim_end(&v[j]);
	}
	close(cg.fd);
	show_tally(&tally, who);
}

static void test_cgroup_v2_main_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_V2, STEP_KILL_MAIN);
}

static void test_cgroup_v2_helper_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_V2, STEP_KILL_TASK);
}

static void test_freezer_main_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_FREEZER, STEP_KILL_MAIN);
}

static void test_freezer_helper_killed(void **state)
{
	(void)state;
	every_step_of_a_cgroup(CGROUP_FREEZER, STEP_KILL_TASK);
}

/* Held with SIGSTOP: nobody stays stopped. */
static void test_stopped_tree_main_killed(void **state)
{
	(void)state;
	every_step("--no-pin", "-t", STEP_KILL_MAIN);
}

static void test_stopped_tree_helper_killed(void **state)
{
	(void)state;
	every_step("--no-pin", "-t", STEP_KILL_TASK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_prepared_main_killed),
		harness_test(test_prepared_helper_killed),
		harness_test(test_process_main_killed),
		harness_test(test_process_helper_killed),
		harness_test(test_tree_main_killed),
		harness_test(test_tree_helper_killed),
		harness_test(test_cgroup_v2_main_killed),
		harness_test(test_cgroup_v2_helper_killed),
		harness_test(test_freezer_main_killed),
		harness_test(test_freezer_helper_killed),
		harness_test(test_stopped_tree_main_killed),
		harness_test(test_stopped_tree_helper_killed),
	};

	return run_group(tests);
}
