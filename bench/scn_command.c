/* SPDX-License-Identifier: MIT */
/*
 * The command against /bin/kill, on a process that has next to nothing to
 * free: what the start and the checks cost.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define COMMAND_VS_KILL	   3.0
#define COMMAND_TIMEOUT_MS 5000

extern char **environ;

struct command {
	const char *mrelease;
	int error;
};

static int run_tool(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int status = 0;
	pid_t pid;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	error = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error)
		return error;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : ECANCELED;
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct victim_spec spec = VICTIM_SPEC(0);
	struct command *command = arg;
	char pid[16];
	char kill_path[] = "/bin/kill";
	char kill_signal[] = "-9";
	char *kill_argv[] = { kill_path, kill_signal, pid, NULL };
	char *our_argv[] = { (char *)(uintptr_t)command->mrelease, pid, NULL };
	struct victim v;
	int64_t start;
	int error;

	if (way == WAY_MRELEASE || command->error)
		return;
	error = victim_start(&spec, &v);
	if (error) {
		errno = error;
		bench_die("cannot make a victim: %m");
	}
	snprintf(pid, sizeof(pid), "%d", v.pid);
	start = now_ns();
	error = run_tool(way == WAY_OURS ? our_argv : kill_argv);
	/* a command that says it killed but did not must not hang us */
	if (!error && !victim_exits(&v, COMMAND_TIMEOUT_MS))
		error = ETIMEDOUT;
	series_add(&st->back, now_ns() - start);
	victim_end(&v);
	st->runs++;
	st->verified += !error;
	command->error = error;
}

static bool judge(struct bench_result *res)
{
	double ours = (double)series_median(&res->way[WAY_OURS].back);
	double theirs = (double)series_median(&res->way[WAY_WAIT].back);

	bool ok;

	ok = check_max(res, "mrelease / kill + wait, start to exit",
		       ours / theirs, COMMAND_VS_KILL);
	ok &= check_is(res, "commands that exited 0",
		       res->way[WAY_OURS].verified, res->way[WAY_OURS].runs);
	return ok;
}

int scn_command(const struct bench_opts *o, struct bench_result *res)
{
	struct command command = { o->command, 0 };
	struct bench_plan plan = { once, judge, &command };

	if (access(o->command, X_OK))
		return bench_skip(res, "%.100s: %s", o->command,
				  strerror(errno));
	if (access("/bin/kill", X_OK))
		return bench_skip(res, "/bin/kill: %s", strerror(errno));
	interleave(o, res, &plan);
	return 0;
}
