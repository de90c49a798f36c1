/* SPDX-License-Identifier: MIT */
/*
 * A fork bomb in a cgroup: members that are not there yet when the kill
 * begins.  The bomb has three fuses of its own, a cap on how many live at a
 * time, a cap on how many are ever made, and a clock; the fourth is the
 * guard, which kills the cgroup when this run ends in any way.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define BOMB_ALIVE   200
#define BOMB_TOTAL   200000
#define BOMB_SECONDS 30
/* for its first thousand, on a machine whose CPUs are others' */
#define BOMB_START_S 2
/* children that one process makes before it makes room */
#define BOMB_BROOD   20
#define BOMB_LIMIT_S 2.0
#define BOMB_GIVE_UP 10
#define BOMB_MEMBERS 4096

struct fuse {
	_Atomic int alive;
	_Atomic int total;
	int64_t end_ns;
};

/* that were not in full swing in time: a figure of the machine, not of ours */
static unsigned int duds;

static struct bomb {
	struct fuse *fuse;
	struct bench_cgroup cg;
	struct mrelease_report *members;
	size_t seen;
	/* of all releases that were not late */
	size_t ready;
	size_t verified;
} the_bomb;

__attribute__((noreturn)) static void bomb_main(struct fuse *fuse)
{
	unsigned int brood = 0;

	signal(SIGCHLD, SIG_IGN);
	while (now_ns() < fuse->end_ns &&
	       atomic_load(&fuse->total) < BOMB_TOTAL && brood < BOMB_BROOD) {
		pid_t pid;

		if (atomic_fetch_add(&fuse->alive, 1) >= BOMB_ALIVE) {
			atomic_fetch_sub(&fuse->alive, 1);
			/* full house: go, so that somebody new can come */
			if (brood)
				break;
			sched_yield();
			continue;
		}
		pid = fork();
		if (!pid) {
			brood = 0;
			continue;
		}
		if (pid < 0) {
			atomic_fetch_sub(&fuse->alive, 1);
			sched_yield();
			continue;
		}
		atomic_fetch_add(&fuse->total, 1);
		brood++;
	}
	atomic_fetch_sub(&fuse->alive, 1);
	_exit(0);
}

static pid_t light(struct bomb *bomb)
{
	struct fuse *fuse = bomb->fuse;
	int64_t give_up = now_ns() + BOMB_START_S * NSEC_PER_SEC;
	pid_t self = getpid();
	pid_t pid;

	atomic_store(&fuse->alive, 1);
	atomic_store(&fuse->total, 0);
	fuse->end_ns = now_ns() + BOMB_SECONDS * NSEC_PER_SEC;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_die("fork: %m");
	if (!pid) {
		tie_to_parent(self);
		if (write(bomb->cg.procs_fd, "0", 1) != 1)
			_exit(1);
		bomb_main(fuse);
	}
	/* in full swing: the cap is reached and members come and go */
	while (atomic_load(&fuse->total) < 5 * BOMB_ALIVE) {
		if (now_ns() > give_up) {
			duds++;
			break;
		}
		nap_ms(1);
	}
	return pid;
}

static int kill_bomb(struct bomb *bomb, int64_t start)
{
	int error = cgroup_kill(&bomb->cg);

	return error ? error :
		       cgroup_wait_empty(&bomb->cg,
					 start + BOMB_GIVE_UP * NSEC_PER_SEC);
}

static void release_bomb(struct bomb *bomb, int64_t start,
			 struct bench_stat *st)
{
	struct mrelease_opts opts = { .size = sizeof(opts) };
	struct mrelease_report rep = { .size = sizeof(rep) };
	size_t nr = BOMB_MEMBERS;
	int error;

	for (size_t i = 0; i < BOMB_MEMBERS; i++)
		bomb->members[i].size = sizeof(bomb->members[i]);
	opts.deadline_ns = start + BOMB_GIVE_UP * NSEC_PER_SEC;
	error = mrelease_cgroup(bomb->cg.dir_fd, &opts, &rep, bomb->members,
				&nr);
	bomb->seen = rep.members;
	series_add(&st->prepare, rep.prepare_ns);
	if (!error && rep.result == MRELEASE_RELEASED && rep.verified == 1)
		st->verified++;
	else
		count_unverified(st, &rep);
	if (error || rep.verified || !(rep.notes & MRELEASE_NOTE_NOT_READY)) {
		bomb->ready += rep.members;
		bomb->verified += rep.members_verified;
	}
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	struct bomb *bomb = arg;
	int64_t start;
	int64_t took;
	int total;
	pid_t pid;

	if (way == WAY_MRELEASE)
		return;
	pid = light(bomb);
	start = now_ns();
	if (way == WAY_OURS)
		release_bomb(bomb, start, st);
	else
		kill_bomb(bomb, start);
	took = now_ns() - start;
	total = atomic_load(&bomb->fuse->total);

	/* dead means: nobody in it, and nobody forks any more */
	st->lost += cgroup_wait_empty(&bomb->cg, now_ns()) != 0;
	nap_ms(20);
	st->lost += atomic_load(&bomb->fuse->total) != total;
	cgroup_kill(&bomb->cg);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	st->runs++;
	series_add(&st->back, took);
}

/*
 * Members come and go.  One that exits while its files are opened may be without
 * them: that its memory is back cannot be told, and then it is not for the whole.
 */
static bool judge(struct bench_result *res)
{
	struct bench_stat *ours = &res->way[WAY_OURS];
	bool ok;

	ok = check_max(res, "the slowest until dead and verified, s",
		       (double)series_at(&ours->back, 100) / 1e9, BOMB_LIMIT_S);
	ok &= check_is(res, "releases with a member left, or born later",
		       ours->lost, 0);
	ok &= check_min(res, "% of the members verified",
			the_bomb.ready ? 100.0 * (double)the_bomb.verified /
						 (double)the_bomb.ready :
					 0,
			99);
	return ok;
}

int scn_bomb(const struct bench_opts *o, struct bench_result *res)
{
	struct bench_plan plan = { once, judge, &the_bomb };
	char prepare[24];
	int error;

	duds = 0;
	the_bomb.fuse = mmap(NULL, sizeof(*the_bomb.fuse),
			     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);
	the_bomb.members = calloc(BOMB_MEMBERS, sizeof(*the_bomb.members));
	if (the_bomb.fuse == MAP_FAILED || !the_bomb.members)
		bench_die("out of memory");
	error = cgroup_make("bomb", &the_bomb.cg);
	if (!error)
		error = cgroup_kill(&the_bomb.cg);
	if (error) {
		bench_skip(res, "no cgroup v2 with cgroup.kill: %s",
			   strerror(error));
	} else {
		interleave(o, res, &plan);
		snprintf(res->note, sizeof(res->note),
			 "%d alive at a time; mrelease saw %zu, longest "
			 "preparation: %s; %u not in full swing",
			 BOMB_ALIVE, the_bomb.seen,
			 fmt_ns(series_at(&res->way[WAY_OURS].prepare, 100),
				prepare, sizeof(prepare)),
			 duds);
	}
	cgroup_end(&the_bomb.cg);
	munmap(the_bomb.fuse, sizeof(*the_bomb.fuse));
	free(the_bomb.members);
	return 0;
}
