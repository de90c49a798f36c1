/* SPDX-License-Identifier: MIT */
/*
 * Two processes use one LMDB database.  One is killed inside a write
 * transaction, the other then begins one.  LMDB's writer lock is a robust
 * process-shared mutex, so this is the robust scenario in somebody else's
 * program.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#ifdef HAVE_LMDB
#include <lmdb.h>

/* the writer has exited by then: its lock is free or lost for good */
#define LMDB_TIMEOUT_MS 1000
#define LMDB_VICTIM	(4 * MIB)

struct survivor {
	pid_t pid;
	int go_fd;
	int answer_fd;
};

static int open_env(const char *dir, MDB_env **env)
{
	int error = mdb_env_create(env);

	if (!error)
		error = mdb_env_set_mapsize(*env, 16 * MIB);
	/* durability is not what is measured here */
	if (!error)
		error = mdb_env_open(*env, dir, MDB_NOSYNC, 0600);
	return error;
}

static int put(MDB_txn *txn)
{
	char text[] = "still here";
	MDB_val val = { sizeof(text), text };
	MDB_dbi dbi;
	int error = mdb_dbi_open(txn, NULL, 0, &dbi);

	return error ? error : mdb_put(txn, dbi, &val, &val, 0);
}

/* The victim: a write transaction that never ends. */
static int begin_write(void *arg)
{
	MDB_env *env;
	MDB_txn *txn;
	int error = open_env(arg, &env);

	if (!error)
		error = mdb_txn_begin(env, NULL, 0, &txn);
	return error ? error : put(txn);
}

static int write_once(MDB_env *env)
{
	MDB_txn *txn;
	int error = mdb_txn_begin(env, NULL, 0, &txn);

	if (!error)
		error = put(txn);
	return error ? error : mdb_txn_commit(txn);
}

/*
 * It has the database open before the victim dies: the first to open one
 * makes its locks afresh.
 */
static void survivor_main(const char *dir, int go_fd, int answer_fd)
{
	MDB_env *env;
	int answer = open_env(dir, &env);
	char go;

	if (write(answer_fd, &answer, sizeof(answer)) != sizeof(answer) ||
	    answer || read(go_fd, &go, 1) != 1)
		_exit(1);
	answer = write_once(env);
	if (write(answer_fd, &answer, sizeof(answer)) != sizeof(answer))
		_exit(1);
	_exit(0);
}

/* Its answer, or ETIMEDOUT: it hangs in mdb_txn_begin(). */
static int survivor_answer(struct survivor *s)
{
	struct pollfd pfd = { s->answer_fd, POLLIN, 0 };
	int answer = ECHILD;

	if (poll(&pfd, 1, LMDB_TIMEOUT_MS) == 0)
		return ETIMEDOUT;
	if (read(s->answer_fd, &answer, sizeof(answer)) != sizeof(answer))
		return ECHILD;
	return answer;
}

static int survivor_start(const char *dir, struct survivor *s)
{
	pid_t self = getpid();
	int go[2];
	int answer[2];

	if (pipe2(go, 0) || pipe2(answer, 0))
		bench_die("pipe: %m");
	fflush(NULL);
	s->pid = fork();
	if (s->pid < 0)
		bench_die("fork: %m");
	if (!s->pid) {
		tie_to_parent(self);
		close(go[1]);
		close(answer[0]);
		survivor_main(dir, go[0], answer[1]);
	}
	close(go[0]);
	close(answer[1]);
	s->go_fd = go[1];
	s->answer_fd = answer[0];
	return survivor_answer(s);
}

static void survivor_end(struct survivor *s)
{
	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(s->go_fd);
	close(s->answer_fd);
}

static void remove_db(const char *dir)
{
	char path[BENCH_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	unlink(path);
	rmdir(dir);
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct victim_spec spec = VICTIM_SPEC(LMDB_VICTIM);
	struct survivor survivor;
	struct way_run run;
	struct victim v;
	int error;

	/* a database per run: a deadlock stays in its lock file */
	if (mkdir(arg, 0700))
		bench_die("%s: %m", (const char *)arg);
	error = survivor_start(arg, &survivor);
	if (error)
		bench_die("LMDB: %s", mdb_strerror(error));
	spec.setup = begin_write;
	spec.arg = arg;
	error = victim_start(&spec, &v);
	if (error)
		bench_die("LMDB: %s", mdb_strerror(error));
	way_kill(way, &v, 0, &run);
	victim_end(&v);
	if (write(survivor.go_fd, "g", 1) != 1)
		bench_die("LMDB: the other process has gone");
	error = survivor_answer(&survivor);
	survivor_end(&survivor);
	remove_db(arg);
	if (error && error != ETIMEDOUT)
		bench_die("LMDB: %s", mdb_strerror(error));

	way_count(st, &run);
	st->ownerdead += !error;
	st->deadlocks += error == ETIMEDOUT;
}

static bool judge(struct bench_result *res)
{
	const struct bench_stat *ours = &res->way[WAY_OURS];
	bool ok;

	ok = check_is(res, "the next writer goes on", ours->ownerdead,
		      ours->runs);
	ok &= check_is(res, "deadlocks", ours->deadlocks, 0);
	ok &= check_verified(res);
	return ok;
}

int scn_lmdb(const struct bench_opts *o, struct bench_result *res)
{
	char dir[BENCH_PATH_MAX];
	struct bench_plan plan = { once, judge, dir };

	snprintf(dir, sizeof(dir), "%s/lmdb", o->dir);
	interleave(o, res, &plan);
	for (int way = 0; way < NR_WAYS; way++) {
		struct bench_stat *st = &res->way[way];

		snprintf(st->cell, sizeof(st->cell), "deadlocks: %u of %u",
			 st->deadlocks, st->runs);
		st->bad = st->deadlocks;
		if (st->deadlocks)
			snprintf(st->brief, sizeof(st->brief),
				 "hangs: %u of %u", st->deadlocks, st->runs);
		else
			snprintf(st->brief, sizeof(st->brief), "goes on");
	}
	snprintf(res->note, sizeof(res->note), "%s",
		 mdb_version(NULL, NULL, NULL));
	return 0;
}

#else /* !HAVE_LMDB */

int scn_lmdb(const struct bench_opts *o, struct bench_result *res)
{
	(void)o;
	return bench_skip(res, "built without liblmdb (liblmdb-dev)");
}

#endif
