/* SPDX-License-Identifier: MIT */
/*
 * The release of one process, one file for each step.  Knows no group: what it
 * needs of one, it asks through the function pointers of struct release.
 */
#ifndef MRELEASE_RELEASE_H
#define MRELEASE_RELEASE_H

#include <sys/uio.h>

#include "process/process.h"

/* Default deadline of a call, and of the wait for the exit after it. */
#define DEFAULT_DEADLINE_NS  (30 * NSEC_PER_SEC)
#define DEFAULT_EXIT_WAIT_NS (2 * NSEC_PER_SEC)

/* pin.c */

/* Ahead of the release: which threads.  Lists them. */
void pin_choose(struct victim *v, struct scratch *s);
int pin_seize(struct victim *v, struct scratch *s);
/* Detach; waits for the exit stop that makes it possible. */
int pin_drop(struct victim *v, int64_t deadline_ns);
int pin_drop_one(struct victim *v, unsigned int i, int64_t deadline_ns);
/* The only pin stands in its exit stop, or does by then. */
bool pin_stands(struct victim *v, int64_t until_ns);
/* Wait for those that are dead already, and let go of none. */
void pin_look(struct victim *v);

/* robust.c */

struct release;

/* Once for many victims: see to it that none of them is in user mode. */
void robust_visit(struct release *r);
/*
 * 0: may be reaped.  1: must exit first.  -ETIMEDOUT, -ESRCH.
 * -EBUSY: only looked at, and would have to be waited for.
 */
int robust_settle(struct release *r, struct victim *v);
/* A thread that uses v's memory has nothing in its list. */
bool robust_is_empty(struct release *r, const struct victim *v, pid_t tid);
/* False: no lock in it can be known to a survivor. */
bool robust_matters(struct release *r, const struct victim *v);

/* others.c: processes that use a victim's memory, and their robust lists */

/* 0: it may be reaped.  -EBUSY: that would take the list of another one. */
int others_settle(struct release *r, struct victim *v);
/* Once for many victims: which of them are nobody else's (v->alone)? */
void others_look(struct release *r, struct victim **victims, size_t nr);

/* second.c: a second process beside the helper */

/* struct robust_list_head of <linux/futex.h>, 64-bit. */
struct robust_head {
	uint64_t next;
	int64_t futex_offset;
	uint64_t list_op_pending;
};

enum second_order {
	SECOND_WAIT,
	SECOND_REAP,
	SECOND_STOP,
	SECOND_READ,
	SECOND_CPUS,
	SECOND_OPEN,
};

/* What it reads, and where to: it may be written long after nobody waits. */
struct second_read {
	pid_t tid;
	unsigned int nr;
	struct iovec remote[MANY_THREADS];
	/* Or what it opens, below the victim's directory. */
	int dir_fd;
	int flags;
	char path[64];
	struct robust_head head[MANY_THREADS];
	long ret;
};

/* Where it pays, and there is another CPU. */
void release_start_second(struct release *r, struct victim *v);
/* Where there is one: it begins. */
void second_reaps(struct release *r);
void second_stop(struct release *r);
/* cpus_online(), 0 where it cannot be told; a tracer does not open the file itself. */
unsigned int second_cpus(struct release *r);
/* A file that the victim may watch: a tracer has it opened, and not for long. */
int second_open(struct release *r, const struct victim *v, const char *path,
		int flags);
/*
 * Heads of robust lists, by the number of a thread (many) or through mem (one, 0
 * for the number); bytes, or -errno.  A tracer never sleeps in it for good:
 * -EAGAIN, what is there cannot be told.
 */
long second_heads(struct release *r, const struct victim *v, pid_t tid,
		  const struct iovec *remote, struct robust_head *head,
		  unsigned int nr);

/* reap.c */

int reap(struct release *r, struct victim *v);

/* series.c: a kernel with the series of kernel/ */

/* 1, or why not: kill and reap in one call. */
int series_expedites(void);
/* All of it: also robust futexes and page cache. */
bool series_is_there(void);
/* SIGKILL, and its memory reaped; 0 once the signal is sent. */
int series_kill(struct release *r, struct victim *v);
/* process_mrelease(), with page cache where that is asked for. */
int series_reap(const struct release *r, const struct victim *v);

/* sharers.c */

struct sharers {
	pid_t first;
	unsigned int count;
};

/* By SIGKILL, or an exit of its own: it runs no user code any more, or soon. */
bool is_dying(pid_t pid);
/* fn is called for each; a negative return value stops the search. */
int sharers_find(const struct victim *v, struct scratch *s,
		 int (*fn)(void *arg, pid_t pid), void *arg,
		 struct sharers *ret);
void sharers_note(struct victim *v, const struct sharers *found);
int sharers_check(struct release *r, struct victim *v);
int sharers_kill(struct release *r, struct victim *v);
/* False: one of those that were killed is still there. */
bool sharers_exit(struct release *r);
void sharers_wait(struct release *r);
void sharers_close(struct release *r);

/* verify.c */

/* 0 and bytes still there in private mappings; -ESRCH: no mm any more. */
int verify_private(struct victim *v, struct scratch *s, uint64_t *ret_bytes);

/* local.c */

enum local_is {
	LOCAL_NO,
	LOCAL_YES,
	/* An overlay, whose layers nobody has asked about yet. */
	LOCAL_MAYBE,
	/* One whose layers are local. */
	LOCAL_OVERLAY,
};

struct local {
	unsigned int nr;
	struct {
		uint32_t major;
		uint32_t minor;
		enum local_is is;
	} devices[256];
};

/* What is mounted, read through the caller's buffer. */
void local_find(struct local *l, char *buf, size_t size);
/* Never LOCAL_MAYBE.  The buffer is needed for the first file of an overlay. */
enum local_is local_device(struct local *l, uint32_t major, uint32_t minor,
			   char *buf, size_t size);

/* cache.c */

struct cache_range {
	/* O_PATH, to be opened later; or open. */
	int fd;
	bool owner;
	uint32_t major;
	uint32_t minor;
	uint64_t inode;
	uint64_t offset;
	uint64_t len;
	/* Bytes in the page cache while it was mapped. */
	int64_t before;
	/* Of an overlay: cachestat() sees its own cache, which is empty. */
	bool overlay;
};

struct cache {
	/* Evicted by the reaping itself (series.c), or by us afterwards. */
	bool by_kernel;
	/* Files are opened when they are evicted: the table is our own. */
	bool later;
	struct local local;
	unsigned int nr;
	struct cache_range ranges[1024];
};

void cache_open(struct release *r, struct victim *v, struct scratch *s);
/* Once the mappings are gone; later: and it is let go, since this may wait for it. */
void cache_evict(struct cache *c, struct victim *v);
void cache_close(struct cache *c);

/* verdict.c */

/* Before the kill, or before anything is unmapped: the account. */
void verdict_count(struct release *r, struct victim *v, int64_t until_ns);
/* A dry run: what would be outstanding. */
void verdict_foresee(struct release *r, struct victim *v);
/* After the exits, once for all victims: what has become of objects? */
void verdict_ask(struct release *r);
/* A dry run: who else maps their objects?  Asks all processes there are. */
void verdict_search(struct release *r);

/* Of so many bytes of all victims it cannot be told what became of them. */
void verdict_untold(struct release *r, uint64_t bytes);

/* What was killed: settle its account, and say how it ended. */
void release_finish(struct release *r, struct victim *v);
/* Add a member's report to that of its group. */
void verdict_add(struct mrelease_report *rep, const struct mrelease_report *m);

/* report.c */

int opts_check(const struct mrelease_opts *in, struct mrelease_opts *out);
void report_out(const struct mrelease_report *in, struct mrelease_report *out);
int report_error(int error, struct mrelease_report *out);
/* Of a struct that the caller has filled in: more is a size that was not set. */
#define STRUCT_MAX 4096
bool report_ok(const struct mrelease_report *out);

/* release.c */

/* A helper that was started with the preparation. */
enum standby {
	STANDBY_NONE,
	STANDBY_PREPARES,
	STANDBY_WAITS,
	/* It has its order, */
	STANDBY_GO,
	/* and has seen it. */
	STANDBY_BEGUN,
};

/* Who sends SIGKILL?  One of the two, by compare-and-exchange (run.c). */
enum killer {
	KILLER_NOBODY,
	KILLER_HELPER,
	KILLER_CALLER,
};

struct credentials {
	uid_t euid;
	uint64_t effective;
};

struct release {
	struct mrelease_opts opts;
	struct self self;
	int64_t start_ns;
	int64_t deadline_ns;
	bool deadline_given;
	struct victim *v;
	/* enum killer; and when it was the caller, since when. */
	uint32_t killer;
	int64_t caller_kill_ns;
	/* The handles are open and the sharers checked. */
	bool prepared;
	/* The soft signal was enough. */
	bool soft_ended;
	struct scratch *scratch;
	/* NULL: threads are not noted before the kill. */
	struct tids *tids;
	/* shmem and hugetlb of all victims; NULL: not looked at. */
	struct objects *objects;
	/* All victims' pins, and secret memory, are waited for; 0: not yet. */
	int64_t pins_until_ns;
	int64_t secret_until_ns;
	/* What could not be told, and is too little to be said. */
	uint64_t untold;
	/* The helper hangs: nothing that can wait any more. */
	bool given_up;
	/* NULL: no cache is to be evicted. */
	struct cache *cache;
	struct helper helper;
	/* enum standby, a futex: that helper was started ahead (standby.c). */
	uint32_t standby;
	struct credentials standby_as;
	/* Does the release have that process for another victim?  NULL: no. */
	bool (*has_victim)(const void *group, pid_t pid);
	const void *group;
	/* pidfds of sharers that were killed with it. */
	int sharer_fds[64];
	unsigned int nr_sharer_fds;
	/* One did not exit in time: nothing may be reaped. */
	bool sharer_left;
	/* Second reaper for big address spaces. */
	struct helper second;
	/* One of them could not be ended: nothing of it is freed. */
	bool stranded;
	/* enum second_order, a futex. */
	uint32_t second_go;
	struct second_read second_read;
	/* It sleeps on in what it reads: it may write there yet. */
	bool second_lost;
	unsigned int first_cpu;
	/* 0: not known yet. */
	unsigned int online_cpus;
	/* The caller's, once it is asked whether there is more than one. */
	struct cpus cpus;
	/* The kernel has the series of kernel/. */
	bool series;
	/* Every CPU has been visited since the kill (robust.c). */
	bool visited;
	/* Threads of victims are traced by us: we wait for no page of theirs. */
	bool traces;
	/* Robust lists are only looked at: nobody is waited for. */
	bool look_only;
	/* That we run in, and so may trace and change affinity; NULL: none. */
	const struct helper *in_helper;
	/* Pins belong to another process: ask it. */
	int (*unpin)(struct release *r, struct victim *v, unsigned int pin);
	/* Workers of a group that live, a bit each; NULL: there are none. */
	uint32_t (*alive_workers)(struct release *r);
	int ret;
};

void release_set_deadline(struct release *r, int64_t deadline_ns);
void release_init(struct release *r, const struct mrelease_opts *opts,
		  int64_t deadline_ns);
/* The steps, in a helper where there can be one. */
void release_one(void *arg);
/* Robust lists, reap, verify, cache: from SIGKILL to memory back. */
void release_memory(struct release *r, struct victim *v);
void release_wait_exit(struct release *r, struct victim *v);
/* For a caller that may not wait: only what can be seen without. */
void release_look_exit(struct release *r, struct victim *v);

/* ready.c */

/* What can wait for the victim, before the kill: in a helper. */
int release_prepare(struct release *r);
/* -EPERM: one of those who are to die with it may not be killed. */
int release_check_sharers(struct release *r);
/* All that comes before the kill; late: some of it is to be done after it. */
int release_hold(struct release *r, struct victim *v, bool *ret_late);
void release_catch_up(struct release *r, struct victim *v);

/* run.c: the caller's side */

bool kill_claim(struct release *r, enum killer who);
/* Nobody has said that it sends the signal. */
bool kill_is_pending(const struct release *r);
int release_run(struct release *r);
int release_dry(struct release *r);
int release_zombie(struct release *r);
/*
 * Ahead of the release; what is not done in time is done by that.  Keep: the
 * helper waits for its order.
 */
int release_ready(struct release *r, bool keep);
/* It is late: but a helper that only waits for a CPU gets more, up to a second. */
bool release_may_wait(struct release *r, int64_t began_ns, int64_t *until_ns);
void release_end_helper(struct release *r);
bool release_start_helper(struct release *r, void (*fn)(void *arg));
/* In a helper, all that release_ready() does. */
void release_prepare_main(void *arg);

/* standby.c */

/*
 * Start one, and prepare in it: true when that was done in time, as by
 * release_may_wait().
 */
bool standby_prepare(struct release *r, int64_t began_ns, int64_t until_ns);
/* The order to release; false: there is none that could. */
bool standby_go(struct release *r);
/* It is dead, and has done nothing. */
bool standby_never_began(const struct release *r);
/* It is not needed any more. */
void standby_end(struct release *r);

#endif /* MRELEASE_RELEASE_H */
