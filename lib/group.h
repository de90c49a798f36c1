/* SPDX-License-Identifier: MIT */
/* Many victims at once: what group.c, cgroup.c, tree.c and freeze.c share. */
#ifndef MRELEASE_GROUP_H
#define MRELEASE_GROUP_H

#include "private.h"

#define MAX_WORKERS 16
/* Address space only: pages are touched as victims are found. */
#define MAX_VICTIMS (256 * 1024)
#define SEEN_SLOTS  (2 * MAX_VICTIMS)

struct group;

/* A PID that was met, 0 a free slot; and who it was, if it was dead then. */
struct seen {
	pid_t pid;
	uint32_t dead;
};

struct worker {
	struct group *g;
	struct release r;
	struct helper helper;
	struct cache cache;
	struct scratch scratch;
	char stack[128 * 1024] __attribute__((aligned(4096)));
};

struct group_ops {
	/* Add every process that is there and not yet known; -errno. */
	int (*collect)(struct group *g);
	/* Pins, and whatever keeps the group from growing; may be NULL. */
	int (*hold)(struct group *g);
	int (*kill)(struct group *g);
	/* After the kill: 1 when nothing of the group is alive any more. */
	int (*wait_empty)(struct group *g, int64_t deadline_ns);
	/* Last, on every way out; may be NULL. */
	void (*finish)(struct group *g);
};

struct freezer {
	/* The file to write, -EBADF: nothing frozen. */
	int fd;
	bool v1;
};

struct watchdog {
	struct group *g;
	void (*undo)(struct group *g);
	/* It is at its post. */
	uint32_t watching;
	struct helper helper;
	char stack[16 * 1024] __attribute__((aligned(4096)));
};

struct group {
	const struct group_ops *ops;
	struct release base;
	struct helper helper;
	int fd;
	bool v2;
	bool has_kill;
	bool populated;
	struct freezer freezer;
	struct watchdog watchdog;
	struct victim *victims;
	size_t nr;
	/* Open addressing: each process is opened once. */
	struct seen *seen;
	size_t nr_seen;
	pid_t tracer;
	/* Requests of the workers to the tracer. */
	uint32_t requests;
	/* Every thread is traced, not only the pins. */
	bool traces_all;
	/* Met since it was reset: a process or a thread not known before. */
	bool unknown;
	/* The last that was met is without memory, but not yet a zombie. */
	bool met_dying;
	/* Of a tree: how many such ones above one another are being listed. */
	unsigned int depth;
	/*
	 * Met since it was reset: such a one; of a tree, that could not be
	 * listed.
	 */
	bool dying;
	/* Of a v1 cgroup: such ones are waited for. */
	bool leaving;
	/* Of a tree: children that were listed, known or not. */
	size_t listed;
	/* Of a tree: there are no "children" files. */
	bool by_ppid;
	/* Of a tree: what is held is to stand still by now. */
	bool stopping;
	/* Of a tree: one that is to stand still runs. */
	bool running;
	/* Members have four descriptors only, for want of more. */
	bool thin;
	/* The order of the victims is that of a tree: parents first. */
	bool is_tree;
	/* Workers: 0 wait, 1 go, 2 stop. */
	uint32_t go;
	size_t next;
	size_t finished;
	unsigned int nr_workers;
	struct worker *workers;
	/* From here on somebody may have been killed. */
	bool killing;
	int64_t kill_ns;
	struct mrelease_report rep;
	int ret;
	bool done;
	struct tids tids;
	struct scratch scratch;
	char stack[1024 * 1024] __attribute__((aligned(4096)));
};

/* members.c */

/* Open and check a PID: 1 new, 0 known or gone, -errno refused. */
int group_add(struct group *g, pid_t pid);
void group_thin(struct group *g);
int group_signal(struct group *g, int sig);
/* For want of descriptors or memory. */
bool is_scarcity(int error);
void group_sort(struct group *g);
/* Its number may be somebody else's from now on. */
void group_note_dead(struct group *g, struct victim *v);
/* Is that process the one of its number that was noted dead? */
bool group_is_dead_one(const struct group *g, const struct proc_stat *st);
/* Is it one of them? */
bool group_has(const struct group *g, pid_t pid);
/* Is it reaped?  Then its number means nobody, or a stranger. */
bool group_gone(struct group *g, struct victim *v);

/* Held, or pinned: what is to be known of it before the kill. */
void group_ready(struct group *g, struct victim *v);

/* group.c */

int group_run(int fd, const struct group_ops *ops,
	      const struct mrelease_opts *opts, struct mrelease_report *report,
	      struct mrelease_report *members, size_t *nr_members);

/* hold.c: a tree's processes, so that they do not fork unseen */

/* As soon as it is found; found first and held later, it forks and exits. */
void hold_process(struct group *g, struct victim *v);
bool hold_thread(struct group *g, struct victim *v, pid_t tid);
/* It is to stand; may it still be in the middle of a fork? */
bool hold_runs(const struct victim *v, uint64_t tid);
bool hold_is_ours(const struct group *g, struct victim *v);
/* Let those that were sent SIGSTOP go on. */
void hold_undo(struct group *g);

/* children.c: add those of a tree's process; with a hold, held at once */

int children_of_thread(struct group *g, const struct victim *v, const char *tid,
		       bool holding);
/* No CONFIG_PROC_CHILDREN: by the parent's number in every stat file. */
int children_by_ppid(struct group *g, pid_t parent, bool holding);

/* shared.c */

/* After the kill, before anything is reaped: whose memory has to wait? */
void shared_look(struct group *g);

/* worker.c */

void workers_start(struct group *g);
void workers_go(struct group *g, uint32_t how);
void workers_join(struct group *g);
/* The work itself, where there could be no worker. */
void work(struct worker *w);

/* tracer.c: the group's one tracer, and what the workers ask of it */

/* Handle stops and requests until all is done or the deadline. */
void tracer_loop(struct group *g);
/* Handle the stops that there are. */
void tracer_drain(struct group *g);
int tracer_unpin(struct release *r, struct victim *v, unsigned int pin);
void tracer_wake(struct group *g);

/* watchdog.c: called back if we are killed before watchdog_stop() */

int watchdog_start(struct group *g, void (*undo)(struct group *g));
void watchdog_stop(struct group *g);

/* freeze.c */

int freeze(struct group *g);
void thaw(struct group *g);

#endif /* MRELEASE_GROUP_H */
