/* SPDX-License-Identifier: MIT */
/* What the files of the library share; nothing here is exported. */
#ifndef MRELEASE_PRIVATE_H
#define MRELEASE_PRIVATE_H

#define MRELEASE_API __attribute__((visibility("default")))

#include "mrelease.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sys.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define NSEC_PER_SEC  1000000000LL
#define NSEC_PER_MSEC 1000000LL
#define NSEC_PER_USEC 1000LL

/* Default deadline of a call, and of the wait for the exit after it. */
#define DEFAULT_DEADLINE_NS  (30 * NSEC_PER_SEC)
#define DEFAULT_EXIT_WAIT_NS (2 * NSEC_PER_SEC)

/* Threads of a victim that are pinned: a second one in case the first */
/* holds a robust futex and has to be let go (robust.c). */
#define MAX_PINS 2

/* More threads than this are worth something of their own. */
#define MANY_THREADS 64

/* util.c */

int64_t now_ns(void);
/* CPU time of the calling thread. */
int64_t cpu_ns(void);
/* Wait for POLLIN/POLLPRI on fd: 1 ready, 0 deadline passed, -errno. */
int wait_fd(int fd, short events, int64_t deadline_ns);
/* Sleep until then; only where the kernel has no event to wait for. */
void pause_until(int64_t deadline_ns);
int64_t deadline_min(int64_t a, int64_t b);
void close_keep(int *fd);
/* Whole file from offset 0 into buf, NUL-terminated: length or -errno. */
long read_at(int fd, char *buf, size_t size);
long read_file(int dir_fd, const char *path, char *buf, size_t size);
/* prefix + decimal + suffix; buf must have room for 20 digits more. */
void path_number(char *buf, const char *prefix, uint64_t n, const char *suffix);
/* Touched now (alloc), or as they are used (reserve); NULL on failure. */
void *pages_alloc(size_t size);
void *pages_reserve(size_t size);
void pages_free(void *p, size_t size);

static inline void cleanup_fd_fn(int *fd)
{
	close_keep(fd);
}

#define cleanup_fd __attribute__((cleanup(cleanup_fd_fn)))

static inline int take_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

/* cpus.c: which CPUs, and being on another one than somebody else */

struct cpus {
	unsigned long mask[128];
};

/* CPUs that are on; 0: not known. */
unsigned int cpus_online(void);
/* Those that this thread may use, a cpuset and its affinity considered. */
void cpus_get(struct cpus *c);
void cpus_set(const struct cpus *c);
unsigned int cpus_count(const struct cpus *c);
/* Run on that CPU: whoever ran there has been switched out since. */
int cpus_visit(unsigned int cpu);
/* Every CPU there is: how many could be visited. */
unsigned int cpus_visit_all(void);
/* Move to one of them that is not that; not bound to it afterwards. */
void cpus_leave(const struct cpus *c, unsigned int cpu);
/* Move to the n-th of them, modulo their number; not bound to it. */
void cpus_go(const struct cpus *c, unsigned int n);

/* parse.c: pure functions over text from the kernel; fuzzed */

struct proc_stat {
	pid_t pid;
	char comm[16];
	char state;
	pid_t ppid;
	uint32_t flags;
	uint32_t threads;
	uint64_t start_time;
	/* Of the address space: 0 if there is none, or it is not shown. */
	uint64_t start_stack;
	uint64_t pending;
	uint32_t processor;
};

struct proc_status {
	struct mrelease_memory mem;
	bool has_mm;
	bool dumping_core;
	/* SIGKILL is pending for the process as a whole. */
	bool killed;
	uint32_t threads;
	pid_t tracer;
};

struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint32_t major;
	uint32_t minor;
	uint64_t inode;
	bool shared;
	bool writable;
	/* Points into the line, not terminated. */
	const char *path;
	size_t path_len;
};

struct cgroup_events {
	/* -1: the file did not say. */
	int populated;
	int frozen;
};

int parse_u64(const char **p, const char *end, uint64_t *ret);
int parse_target(const char *s, pid_t *ret_pid, uint64_t *ret_inode);
int parse_stat(const char *buf, size_t len, struct proc_stat *ret);
int parse_status(const char *buf, size_t len, struct proc_status *ret);
int parse_mapping(const char *line, size_t len, struct mapping *ret);
int parse_mountinfo(const char *line, size_t len, uint32_t *ret_major,
		    uint32_t *ret_minor, const char **ret_type,
		    size_t *ret_type_len);
int parse_cgroup_events(const char *buf, size_t len, struct cgroup_events *ret);
/* Next number of a list, one a line: 1 and *p moved on, 0 at the end. */
int parse_next_pid(const char **p, const char *end, pid_t *ret);
int parse_fdinfo_pid(const char *buf, size_t len, pid_t *ret_pid,
		     uint64_t *ret_flags);
/* Value in bytes of a "Name:  123 kB" line. */
int parse_kib_line(const char *buf, size_t len, const char *name,
		   uint64_t *ret_bytes);
/* Value of a "name 123" line, as in memory.stat. */
int parse_key_u64(const char *buf, size_t len, const char *key, uint64_t *ret);
bool has_prefix(const char *s, size_t len, const char *prefix);

/* lines.c: a file from the kernel, line by line, through a small buffer */

struct lines {
	int fd;
	char *buf;
	size_t size;
	size_t start;
	size_t len;
	uint64_t offset;
	int error;
};

void lines_open(struct lines *l, int fd, char *buf, size_t size);
/* 1 and the line without its newline, 0 at the end or on an error. */
int lines_next(struct lines *l, const char **ret_line, size_t *ret_len);

/* helper.c: a process on our memory, invisible to the host's wait loops */

#define HELPER_OWN_FILES (1u << 0)
#define HELPER_SIGCHLD	 (1u << 1)

struct helper {
	void (*fn)(void *arg);
	void *arg;
	void *stack;
	size_t stack_size;
	uint32_t flags;
	pid_t parent;
	pid_t pid;
	/* The PID while it lives; the kernel clears it and wakes us. */
	uint32_t alive;
};

int helper_start(struct helper *h);
/* 0: it has ended and is reaped.  -ETIMEDOUT: it runs on. */
int helper_wait(struct helper *h, int64_t deadline_ns);
void helper_kill(struct helper *h);
/* It uses our memory no more.  For helpers of a helper that was killed. */
void helper_gone(struct helper *h);

/* victim.c: one process and the handles on it */

struct victim {
	pid_t pid;
	/* The thread whose /proc files are open; pid unless that one is dead */
	pid_t tid;
	int pidfd;
	/* /proc/PID, or its live thread's directory (O_PATH). */
	int dir_fd;
	int mem_fd;
	int pagemap_fd;
	int stat_fd;
	int status_fd;
	int maps_fd;
	int task_fd;
	int meminfo_fd;
	/* No pidfd: pidfd is a /proc/PID directory. */
	bool is_dir;
	/* pidfd_send_signal is not to be had: kill(2), checked. */
	bool use_kill;
	bool zombie;
	/* Of a group: its number may have been met again (members.c). */
	bool noted_dead;
	/* Past its exit_mm() when last looked at. */
	bool no_mm;
	bool compat;
	/* A tree's: traced by us, every thread; or else sent SIGSTOP. */
	bool held;
	bool stopped_by_us;
	/* Every thread of it was seen to stand. */
	bool stands;
	bool killed;
	bool reaped;
	bool done;
	/* Of a group: its robust lists were seen to be empty. */
	bool settled;
	/* Of a group: they were not when all were looked at. */
	bool holder;
	/* Of a group: the worker, counted from 1, that comes back to it. */
	uint8_t put_off_by;
	/* Of a group: another has lists in the same memory (shared.c). */
	bool shares_lists;
	pid_t pins[MAX_PINS];
	unsigned int nr_pins;
	/* Bit per pin: it stands in its exit stop. */
	unsigned int stopped;
	/* Bit per pin: a worker asks the tracer to let it go. */
	uint32_t want_unpin;
	/* It is being reaped, and with help from which workers: a bit each. */
	uint32_t reaping;
	uint32_t helping;
	/* Every thread that it had before the kill; or none are noted. */
	const pid_t *tids;
	uint32_t nr_tids;
	/* When, and the number that had been given away last. */
	int64_t noted_ns;
	uint64_t last_tid;
	/* Clock ticks since the boot: with the number, who it is. */
	uint64_t start_time;
	/* Where its stack began when the handles were opened. */
	uint64_t start_stack;
	int64_t kill_ns;
	uint64_t shmem_before;
	struct mrelease_report rep;
};

/* Who we are: never a target.  Filled in before any helper starts. */
struct self {
	pid_t pid;
	pid_t ancestors[64];
	unsigned int nr_ancestors;
	bool allow_ancestor;
	/* /proc numbers processes as another PID namespace than ours does. */
	bool foreign_proc;
};

void self_init(struct self *self, uint32_t flags);
int self_refuses(const struct self *self, pid_t pid);
void victim_init(struct victim *v);
/* Takes no ownership of pidfd: dups it. */
int victim_open(struct victim *v, int pidfd, const struct self *self);
int victim_open_pid(struct victim *v, pid_t pid, const struct self *self);
int victim_complete(struct victim *v);
void victim_close(struct victim *v);
void victim_thin(struct victim *v);
/* It has called exec since its handles were opened; and its stat, or 0s. */
bool victim_execed(const struct victim *v, struct proc_stat *ret);
/* Then they are on an address space that it has left: open them again. */
void victim_renew(struct victim *v);
int victim_refuse(struct victim *v, enum mrelease_refusal why);
int victim_signal(struct victim *v, int sig);
int victim_stat(const struct victim *v, struct proc_stat *ret);
/* Threads that are not gone; 0: none is. */
uint32_t victim_threads(const struct victim *v);
int victim_status(const struct victim *v, struct proc_status *ret);
/* By a signal to all of it, ours or not; or gone. */
bool victim_is_killed(const struct victim *v);
/* 1: every thread has exited; 0: not yet. */
int victim_exited(const struct victim *v);
int victim_wait_exit(const struct victim *v, int64_t deadline_ns);
/* 1: somebody uses the address space; 0: nobody; -errno: cannot tell. */
int victim_mm_users(const struct victim *v);
int victim_measure(struct victim *v);
bool victim_frozen(const struct victim *v);

/* One worker's buffer; a whole listing of 8,000 threads fits (robust.c). */
struct scratch {
	char buf[256 * 1024];
};

/* threads.c: which threads a process has, while they die */

/* Room for those of many processes, or of one very big one. */
struct tids {
	/* The number that was given away last; -EBADF: not open. */
	int last_fd;
	uint32_t used;
	pid_t tid[16 * 1024];
};

void tids_init(struct tids *tids);
void tids_open(struct tids *tids);
/*
 * fn for each of them, listed in pieces of that many bytes; 1: cannot be
 * listed, or what fn returned.
 */
int threads_list(const struct victim *v, struct scratch *s, size_t bytes,
		 int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole);
/* Before the kill: note them, if they are many and there is room. */
void threads_note(struct victim *v, struct tids *tids, struct scratch *s);
/* After it: those that were not noted; whole: there are no others. */
int threads_since(const struct victim *v, const struct tids *tids,
		  int (*fn)(void *arg, pid_t tid), void *arg, bool *ret_whole);
/* False: that number is none of its threads' any more. */
bool threads_has(const struct victim *v, pid_t tid);

/* identify.c */

bool is_pidfs(int fd);

/* pin.c */

int pin_seize(struct victim *v, struct scratch *s);
/* Detach; waits for the exit stop that makes it possible. */
int pin_drop(struct victim *v, int64_t deadline_ns);
int pin_drop_one(struct victim *v, unsigned int i, int64_t deadline_ns);

/* robust.c */

struct release;

/* 32-bit: its lists cannot be read. */
bool robust_is_compat(const struct victim *v);

/* Once for many victims: see to it that none of them is in user mode. */
void robust_visit(struct release *r);
/*
 * 0: may be reaped.  1: must exit first.  -ETIMEDOUT, -ESRCH.
 * -EBUSY: only looked at, and would have to be waited for.
 */
int robust_settle(struct release *r, struct victim *v);

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

/* verify.c */

/* 0 and bytes still there in private mappings; -ESRCH: no mm any more. */
int verify_private(struct victim *v, struct scratch *s, uint64_t *ret_bytes,
		   uint64_t *ret_hugetlb);

/* cache.c */

struct cache_range {
	int fd;
	bool owner;
	uint32_t major;
	uint32_t minor;
	uint64_t inode;
	uint64_t offset;
	uint64_t len;
	/* Bytes in the page cache while it was mapped. */
	int64_t before;
};

struct cache {
	/* Evicted by the reaping itself (series.c), or by us afterwards. */
	bool by_kernel;
	struct {
		uint32_t major;
		uint32_t minor;
	} devices[64];
	unsigned int nr_devices;
	unsigned int nr;
	struct cache_range ranges[1024];
};

void cache_open(struct cache *c, struct victim *v, struct scratch *s);
void cache_evict(struct cache *c, struct victim *v);

/* report.c */

int opts_check(const struct mrelease_opts *in, struct mrelease_opts *out);
void report_out(const struct mrelease_report *in, struct mrelease_report *out);
int report_error(int error, struct mrelease_report *out);
bool report_ok(const struct mrelease_report *out);

/* release.c */

struct group;

struct release {
	struct mrelease_opts opts;
	struct self self;
	int64_t start_ns;
	int64_t deadline_ns;
	bool deadline_given;
	struct victim *v;
	struct scratch *scratch;
	/* NULL: threads are not noted before the kill. */
	struct tids *tids;
	/* NULL: no cache is to be evicted. */
	struct cache *cache;
	struct helper helper;
	/* NULL: of one process. */
	const struct group *group;
	/* pidfds of sharers that were killed with it. */
	int sharer_fds[64];
	unsigned int nr_sharer_fds;
	/* One did not exit in time: nothing may be reaped. */
	bool sharer_left;
	/* Second reaper for big address spaces. */
	struct helper second;
	uint32_t second_go;
	unsigned int first_cpu;
	unsigned int online_cpus;
	/* The caller's. */
	struct cpus cpus;
	/* The kernel has the series of kernel/. */
	bool series;
	/* Every CPU has been visited since the kill (robust.c). */
	bool visited;
	/* Robust lists are only looked at: nobody is waited for. */
	bool look_only;
	/* We run in a helper of our own: may trace, may change affinity. */
	bool in_helper;
	/* Pins belong to another process: ask it. */
	int (*unpin)(struct release *r, struct victim *v, unsigned int pin);
	/* Workers of a group that live, a bit each; NULL: there are none. */
	uint32_t (*alive_workers)(struct release *r);
	int ret;
};

void release_set_deadline(struct release *r, int64_t deadline_ns);
void release_init(struct release *r, const struct mrelease_opts *opts,
		  int64_t deadline_ns);
/* In a helper, where there can be one. */
int release_run(struct release *r);
int release_zombie(struct release *r);
int release_soft(struct release *r, struct victim *v);
/* Robust lists, reap, verify, cache: from SIGKILL to memory back. */
void release_memory(struct release *r, struct victim *v);
void release_wait_exit(struct release *r, struct victim *v);
void release_finish(struct release *r, struct victim *v);

#endif /* MRELEASE_PRIVATE_H */
