/* SPDX-License-Identifier: MIT */
/* Many victims at once: what the files of a group share. */
#ifndef MRELEASE_GROUP_H
#define MRELEASE_GROUP_H

#include "release/release.h"

#define MAX_WORKERS 16
#define MAX_VICTIMS (256 * 1024)

struct group;

/* A PID that was met, 0 a free slot; and who it was, if it was dead then. */
struct seen {
	pid_t pid;
	uint32_t dead;
};

struct pin {
	pid_t tid;
	unsigned int pin;
	struct victim *v;
};

/* Victims, never moved: a pointer to one stays valid. */
struct chunk {
	struct chunk *next;
	struct victim victims[64];
};

struct worker {
	struct group *g;
	/* Counted from 0. */
	unsigned int nr;
	struct release r;
	struct helper helper;
	/* It has no member in hand, nor will it take one. */
	uint32_t idle;
	struct cache cache;
	struct scratch scratch;
	char stack[128 * 1024] __attribute__((aligned(4096)));
};

/* hierarchy.c */

/* What the kill needs, and what tells that it is done; -errno: not open. */
struct cgroup_files {
	bool v2;
	int kill_fd;
	int events_fd;
};

/*
 * Calls fn for each process in a cgroup and below; pid 0 is a process of another PID
 * namespace.  listed: when the list was read, in clock ticks since the boot; every
 * process on it had started by then.
 */
struct cgroup_walk {
	int (*fn)(void *arg, pid_t pid, uint64_t listed);
	void *arg;
	/* 0, or why a list was not read.  -EMFILE: only for want of descriptors. */
	int missed;
};

void cgroup_files_init(struct cgroup_files *f);
int cgroup_files_open(struct cgroup_files *f, int fd, int *ret_refusal);
void cgroup_files_close(struct cgroup_files *f);
bool cgroup_has_kill(const struct cgroup_files *f);
/* Every process in it and below, those being forked included. */
int cgroup_kill_all(const struct cgroup_files *f);
/* v2: 1 nobody is left, 0 deadline passed, -errno. */
int cgroup_wait_unpopulated(const struct cgroup_files *f, int64_t deadline_ns);
/* -EOPNOTSUPP: a threaded cgroup; or what fn returned, if negative. */
int cgroup_walk(struct cgroup_walk *w, int dir_fd);
/* A file with one number in it; 0 if there is none. */
uint64_t cgroup_number(int dir_fd, const char *name);
/* The memory controller has no anonymous memory and no swap of it. */
bool cgroup_is_uncharged(int fd, bool v2, struct scratch *s);

/* call.c: the caller's side; its thread owns this, helpers write to it */

enum root_is {
	ROOT_UNKNOWN,
	ROOT_ASKED,
	ROOT_SAME,
	ROOT_GONE,
};

enum turn {
	TURN_OPEN = 0,
	TURN_HELPER,
	/* It has been given up, and will be ended: it must not begin. */
	TURN_CALLER,
};

struct call {
	const struct group_ops *ops;
	/* The caller's descriptor of the target. */
	int fd;
	/* What each helper begins with. */
	struct release base;
	/* The report before there is a group. */
	struct mrelease_report rep;
	/* Of a cgroup: opened first, in the caller. */
	struct cgroup_files files;
	bool is_tree;
	/* Of a tree: its root, and does the helper's handle mean it? */
	pid_t root;
	uint32_t root_is;
	/* No helper works on beyond this, nor is another started. */
	int64_t last_ns;
	/* enum turn: who kills, once that is decided. */
	uint32_t turn;
	/* When the kill became due; 0: the soft signal has its time. */
	int64_t due_ns;
	/* When the soft signal was sent, by a helper before this one perhaps. */
	int64_t soft_ns;
	/* Every number in it may be killed. */
	bool checked;
	size_t listed;
	/* And so many of another PID namespace, before anybody is killed. */
	size_t nr_foreign;
	/* When the first of helper and caller killed it; 0: not yet. */
	int64_t kill_ns;
	/* By the caller, because the helper hung or took too long. */
	bool late;
	/* Whom the helper is about to wait for, perhaps; and how often so far. */
	pid_t touching;
	uint32_t touches;
	/* On whom a helper hung; twice in it: a member that is only signalled. */
	pid_t stuck[128];
	unsigned int nr_stuck;
	/* One of them was in D: others that are may be as bad. */
	bool hung_on_d;
};

bool call_killed(const struct call *c);
void call_kill_begins(struct call *c);

/* watch.c: the caller, while its helper works */

/* Past the deadline, before a helper is given up. */
#define CALL_GIVE_UP_NS (400 * NSEC_PER_MSEC)

enum outcome {
	OVER,
	/* It hangs on a member: once more, without that one. */
	AGAIN,
};

enum outcome call_watch(struct call *c, struct group *g);
/* In a helper, before the kill: does not return where it has been given up. */
void call_take_turn(struct call *c, const struct helper *h);
/* True: it has ended. */
bool call_wait_a_moment(struct helper *h, int64_t ns);
/*
 * Called by the caller or its helper, with its own descriptor of the cgroup.  -EPERM: a
 * member may not be killed, rep says which.  -EMFILE, -EACCES, -ELOOP: a list could not
 * be read, so it is not known.
 */
int call_check(struct call *c, int fd, struct mrelease_report *rep);
/* In the helper: does the number still mean the root? */
int call_ask_root(struct call *c, struct helper *h);
/* What an -errno before the first signal means. */
void call_refused(struct mrelease_report *rep, int error);

/* bare.c: no helper is to be had, or each hung: the kill, and no more */

int bare_run(struct call *c, struct mrelease_report *report, size_t *nr_members,
	     int error);

struct group_ops {
	/* In the caller, first: what the kill needs; -errno refused. */
	int (*open)(struct call *c);
	/* In the helper, with descriptors of its own. */
	int (*enter)(struct group *g);
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

struct watchdog {
	struct group *g;
	void (*undo)(struct group *g);
	/* It is at its post. */
	uint32_t watching;
	struct helper helper;
	char stack[16 * 1024] __attribute__((aligned(4096)));
};

/* The last that was met of those whose stacks begin at the same place. */
struct stacks {
	struct victim *last[16 * 1024];
};

/* What the members share copy-on-write: each page once. */
struct cow {
	bool counted;
	/* Nobody else has it. */
	uint64_t ours;
	uint64_t others;
	uint64_t unsure;
};

struct group {
	struct call *call;
	const struct group_ops *ops;
	struct release base;
	struct helper helper;
	/* The target's, in the helper's own table. */
	int fd;
	struct cgroup_files files;
	struct watchdog watchdog;
	/* Grows; the order is that of the tree, or the biggest first. */
	struct victim **victims;
	size_t nr;
	/* Listed, but of another PID namespace: not looked at. */
	size_t nr_foreign;
	/* In the listing that is under way. */
	size_t met_foreign;
	/* The root is a member though it has no memory any more. */
	bool keep_dead;
	size_t room;
	struct chunk *chunks;
	/* Of the last chunk. */
	unsigned int nr_used;
	/* Open addressing: each process is opened once.  Grows. */
	struct seen *seen;
	size_t nr_seen;
	size_t nr_slots;
	pid_t tracer;
	/* Requests of the workers to the tracer. */
	uint32_t requests;
	/* Members of which something is wanted, the last that asked first. */
	struct victim *asked;
	/* The tracer's: pins by their threads; NULL: no memory for it. */
	struct pin *pins;
	size_t nr_pin_slots;
	/* Pins that are there; those that are to go and have not stopped. */
	size_t nr_pinned;
	size_t nr_pending;
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
	/* And has a CPU, or waits for one. */
	bool awake;
	/* Members have four descriptors only, for want of more. */
	bool thin;
	/* The order of the victims is that of a tree: parents first. */
	bool is_tree;
	/* Workers: 0 wait, 1 go, 2 stop. */
	uint32_t go;
	size_t next;
	size_t finished;
	unsigned int nr_workers;
	/* The first is "own" where there could be none. */
	struct worker *workers[MAX_WORKERS];
	/* The helper's, for what it does itself. */
	struct worker own;
	/* Each sleeps where SIGKILL does not wake it. */
	bool workers_stuck;
	/* Has the helper's files, while that exits with tracees. */
	struct helper keeper;
	/* A futex. */
	uint32_t keeper_may_end;
	char keeper_stack[16 * 1024] __attribute__((aligned(4096)));
	/* The first listing was opened before anybody was killed. */
	bool all_opened;
	/* From here on somebody may have been killed. */
	bool killing;
	int64_t kill_ns;
	struct mrelease_report rep;
	int ret;
	bool done;
	struct tids tids;
	struct stacks stacks;
	struct kin kin;
	struct cow cow;
	struct objects objects;
	/* By the memory controller: shmem that no member maps. */
	uint64_t charged_bytes;
	struct scratch scratch;
	char stack[1024 * 1024] __attribute__((aligned(4096)));
};

/* group.c */

void group_init(struct group *g);

/* account.c */

/* Before the kill: what of the members' memory nobody else has. */
void group_count(struct group *g);

/* cow.c */

/* Before they are counted: who is related to whom? */
void cow_find_kin(struct group *g);
/* Afterwards: with whom do they share what they share? */
void cow_compare(struct group *g, const struct budget *b);
/* All of that is known. */
void cow_sum(struct group *g);
/* The group's entry, from that and from what became of the members. */
void cow_account(struct group *g);

/* charges.c: what the memory controller charges, of a cgroup */

void charges_before(struct group *g);
void charges_after(struct group *g);
/* A dry run: what of it would stay? */
void charges_foresee(struct group *g);

/* account.c */

/* After the exits: what became of it. */
void group_ask(struct group *g);
/* Each page once: the sums of the members' reports, corrected. */
void group_account(struct group *g);

/* members.c */

/* About to ask something of that process that may wait for it; 0: done. */
/* Instead of a member's number: a file of the system's, which may not open. */
#define SYSTEM_FILE INT32_MAX
void group_touch(struct group *g, pid_t pid);
/* Helpers before this one hung on it. */
bool group_is_stuck(const struct group *g, pid_t pid);
/* Room for one more, at victims[nr]; -ENOMEM. */
int group_room(struct group *g);
/* All tables; nobody uses them any more. */
void group_free(struct group *g);
/* Open and check a PID: 1 new, 0 known or gone, -errno refused. */
/* listed: as in cgroup_walk. */
int group_add(struct group *g, pid_t pid, uint64_t listed);
void group_thin(struct group *g);
int group_signal(struct group *g, int sig);
void group_sort(struct group *g);
/* Its number may be somebody else's from now on. */
void group_note_dead(struct group *g, struct victim *v);
/* Is that process the one of its number that was noted dead? */
bool group_is_dead_one(const struct group *g, const struct proc_stat *st);
/* Is it one of them? */
bool group_has(const struct group *g, pid_t pid);
/* The same, for struct release. */
bool group_has_victim(const void *group, pid_t pid);
/* Is it reaped?  Then its number means nobody, or a stranger. */
bool group_gone(struct group *g, struct victim *v);

/* Held, or pinned: what is to be known of it before the kill. */
void group_ready(struct group *g, struct victim *v);

/* call.c */

int group_run(int fd, const struct group_ops *ops,
	      const struct mrelease_opts *opts, struct mrelease_report *report,
	      struct mrelease_report *members, size_t *nr_members);

/* hold.c: a tree's processes, so that they do not fork unseen */

/* As soon as it is found; found first and held later, it forks and exits. */
void hold_process(struct group *g, struct victim *v);
bool hold_thread(struct group *g, struct victim *v, pid_t tid);
/* A thread that is to stand and does not: its state; 0: it stands, or has exited. */
char hold_runs(const struct victim *v, uint64_t tid);
bool hold_is_ours(const struct group *g, struct victim *v);
/* Let those that were sent SIGSTOP go on. */
void hold_undo(struct group *g);

/* children.c: add those of a tree's process; with a hold, held at once */

/* fn for each child of one thread, below an open task directory. */
int children_read(int task_fd, const char *tid,
		  int (*fn)(void *arg, pid_t pid, uint64_t listed), void *arg);
int children_of_thread(struct group *g, const struct victim *v, const char *tid,
		       bool holding);
/* No CONFIG_PROC_CHILDREN: by the parent's number in every stat file. */
int children_by_ppid(struct group *g, pid_t parent, bool holding);

/* shared.c */

/* After the kill, before anything is reaped: whose memory has to wait? */
void shared_look(struct group *g);

/* exits.c */

/* Note who has exited since the last time; how many have not. */
size_t exits_note(struct group *g);
/* Wait for the exits, and give the verdict. */
void group_exits(struct group *g);

/* worker.c */

void workers_start(struct group *g);
void workers_go(struct group *g, uint32_t how);
void workers_join(struct group *g);
void workers_free(struct group *g);
/* It lives, and has a member in hand or may yet take one. */
bool worker_works(const struct group *g, unsigned int nr);
/* One of them does. */
bool workers_work(const struct group *g);
/* All that work sleep, and not for want of a CPU. */
bool workers_sleep(const struct group *g);
/* The work itself, where there could be no worker. */
void work(struct worker *w);

/* tracer.c: the group's one tracer, and what the workers ask of it */

/* Handle stops and requests until all is done or the deadline. */
void tracer_loop(struct group *g);
/* Handle the stops that there are. */
void tracer_drain(struct group *g);
/* A member's want_unpin has changed. */
void tracer_ask(struct group *g, struct victim *v);
int tracer_unpin(struct release *r, struct victim *v, unsigned int pin);
void tracer_wake(struct group *g);

/* watchdog.c: called back if we are killed before watchdog_stop() */

int watchdog_start(struct group *g, void (*undo)(struct group *g));
void watchdog_stop(struct group *g);
/* In the host's thread: the helper is dead. */
void watchdog_tell(struct group *g);

#endif /* MRELEASE_GROUP_H */
