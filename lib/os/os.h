/* SPDX-License-Identifier: MIT */
/*
 * The ground floor: system calls, clocks, files, text from the kernel, CPUs,
 * helper processes.  Knows no victim.
 */
#ifndef MRELEASE_OS_H
#define MRELEASE_OS_H

#define MRELEASE_API __attribute__((visibility("default")))

#include "mrelease.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/sys.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define NSEC_PER_SEC  1000000000LL
#define NSEC_PER_MSEC 1000000LL
#define NSEC_PER_USEC 1000LL

/* util.c */

int64_t now_ns(void);
/* Clock ticks since the boot, as start times in /proc/PID/stat are counted. */
uint64_t boot_ticks(void);
/* CPU time of the calling thread. */
int64_t cpu_ns(void);
/* Wait for POLLIN/POLLPRI on fd: 1 ready, 0 deadline passed, -errno. */
int wait_fd(int fd, short events, int64_t deadline_ns);
/* Sleep until then; only where the kernel has no event to wait for. */
void pause_until(int64_t deadline_ns);
int64_t deadline_min(int64_t a, int64_t b);
/* t + ns, or MRELEASE_NO_DEADLINE where that is past all times. */
int64_t deadline_add(int64_t t, int64_t ns);
void close_keep(int *fd);
/* Those of them that are open, with as few calls as can be; they are not. */
void close_all(int *const *fds, unsigned int nr);
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

/* files.c: what a dead helper has left in the caller's table of descriptors */

/* Around each call that opens files in it. */
void files_begin(void);
void files_end(void);

/* What keeps files open between two calls. */
struct files_owner {
	struct files_owner *next;
	bool (*owns)(const struct files_owner *o, int fd);
};

/*
 * Before files_end().  The owners' lock is that of a search as well, which ends as
 * soon as a call has begun.
 */
void files_own(struct files_owner *o);
/* After files_begin(), before any of its files is closed. */
void files_disown(struct files_owner *o);
/* A helper that shares it did not come to its end. */
void files_left(void);

/* cpus.c: which CPUs, and being on another one than somebody else */

struct cpus {
	unsigned long mask[128];
};

/* CPUs that are on; 0: not known. */
unsigned int cpus_online(void);
/* How many a list of the kernel's has ("0-3,8"); 0: it is not whole. */
unsigned int cpus_parse(const char *buf, size_t len);
/* Those that this thread may use, a cpuset and its affinity considered. */
void cpus_get(struct cpus *c);
void cpus_set(const struct cpus *c);
unsigned int cpus_count(const struct cpus *c);
/* Run on that CPU: what ran there has been switched out since. */
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

/* Of an address space, in bytes. */
struct memory {
	uint64_t anon;
	uint64_t swap;
	uint64_t file;
	uint64_t shmem;
	uint64_t hugetlb;
	uint64_t tables;
	uint64_t pinned;
};

struct proc_status {
	struct memory mem;
	char comm[16];
	/* 0: the file did not say. */
	char state;
	pid_t pid;
	pid_t tgid;
	pid_t ppid;
	bool has_mm;
	/* A thread of the kernel; said since Linux 6.10. */
	bool kthread;
	bool says_kthread;
	/* It has another number in a PID namespace below that of /proc. */
	bool foreign_proc;
	uint64_t cap_eff;
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
	/* Not PROT_NONE. */
	bool accessible;
	/* Points into the line, not terminated. */
	const char *path;
	size_t path_len;
};

struct cgroup_events {
	/* -1: the file did not say. */
	int populated;
	int frozen;
};

/* A line of mountinfo.  All but numbers point into it, escaped as it is. */
struct mount_line {
	uint32_t major;
	uint32_t minor;
	const char *point;
	size_t point_len;
	const char *type;
	size_t type_len;
	/* Those of the superblock. */
	const char *options;
	size_t options_len;
};

int parse_u64(const char **p, const char *end, uint64_t *ret);
int parse_target(const char *s, pid_t *ret_pid, uint64_t *ret_inode);
int parse_stat(const char *buf, size_t len, struct proc_stat *ret);
int parse_status(const char *buf, size_t len, struct proc_status *ret);
/* One line of it; *ret is all zeros before the first. */
void parse_status_line(const char *line, size_t len, struct proc_status *ret);
int parse_mapping(const char *line, size_t len, struct mapping *ret);
int parse_mountinfo(const char *line, size_t len, struct mount_line *ret);
bool mount_is(const struct mount_line *m, const char *type);
int parse_cgroup_events(const char *buf, size_t len, struct cgroup_events *ret);
/* Next number of a list, one a line: 1 and *p moved on, 0 at the end. */
int parse_next_pid(const char **p, const char *end, pid_t *ret);
int parse_fdinfo_pid(const char *buf, size_t len, pid_t *ret_pid,
		     uint64_t *ret_flags);
/* Value in bytes of a "Name:  123 kB" line. */
/* Of a "Name:  123" line. */
int parse_count_line(const char *buf, size_t len, const char *name,
		     uint64_t *ret);
int parse_kib_line(const char *buf, size_t len, const char *name,
		   uint64_t *ret_bytes);
/* Value of a "name 123" line, as in memory.stat. */
int parse_key_u64(const char *buf, size_t len, const char *key, uint64_t *ret);
/* Its pages are memory of the process, hugetlb among them. */
bool mapping_is_private(const struct mapping *m);
bool has_prefix(const char *s, size_t len, const char *prefix);

/*
 * dents.c: a directory of /proc or of a cgroup, from where fd stands.  Nothing
 * is allocated; an entry is valid until the next is asked for.
 */

struct dents {
	int fd;
	char *buf;
	size_t size;
	long len;
	long off;
	/* Of getdents64() so far. */
	unsigned int reads;
	/* -errno, once there is no next. */
	int error;
};

struct dirent64;

void dents_open(struct dents *d, int fd, char *buf, size_t size);
/* NULL: the end, or an error. */
const struct dirent64 *dents_next(struct dents *d);
/* The next that is a number; 0: there is none. */
pid_t dents_pid(struct dents *d);
/* fn for each number, from the beginning on; 1: it has said so. */
int dents_numbers(int fd, char *buf, size_t size,
		  int (*fn)(void *arg, pid_t nr), void *arg);
/* The next one is there without a system call. */
bool dents_in_hand(const struct dents *d);

/*
 * lines.c: a file from the kernel, line by line, through a small buffer, for
 * files without a bound: nothing is cut off behind a line that is long.
 */

struct lines {
	int fd;
	/* Made whole at each read: a short one is the end. */
	bool one_piece;
	bool end;
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
/* /proc/PID/status, open or by its path: 0, -ESRCH, or another -errno. */
int status_read(int fd, struct proc_status *ret);
int status_read_path(int dir_fd, const char *path, struct proc_status *ret);

/* pages.c: PAGEMAP_SCAN */

#define PAGES_FILE    (1 << 2)
#define PAGES_PRESENT (1 << 3)
#define PAGES_SWAPPED (1 << 4)
#define PAGES_ZERO    (1 << 5)
#define PAGES_HUGE    (1 << 6)
/* Linux 6.16; EINVAL before. */
#define PAGES_GUARD (1 << 8)

struct pages_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct pages_scan {
	/* Moved on by each call. */
	uint64_t start;
	/* 0: as far as user addresses go. */
	uint64_t end;
	uint64_t all_of;
	uint64_t any_of;
	uint64_t none_of;
	/* To be told of as well. */
	uint64_t also;
	struct pages_region *regions;
	unsigned int room;
	/* It has not come to the end. */
	bool more;
};

/* How many regions were filled in; or -errno. */
int pages_scan(int fd, struct pages_scan *s);
/* 1: one of the mappings is shared and writable; -ENOTTY before Linux 6.11. */
int mappings_lend(int maps_fd);

/* helper.c: a process on our memory, invisible to the host's wait loops */

struct helper {
	void (*fn)(void *arg);
	void *arg;
	void *stack;
	size_t stack_size;
	pid_t parent;
	/* Both written by the kernel; it clears "alive" at the end, and wakes us. */
	pid_t pid;
	uint32_t alive;
	/* Its status, opened ahead by its owner, who closes it; 0: it is not. */
	int status_fd;
	/* fn has returned. */
	bool finished;
	/* The helper's to set: what it opens is in no table of the caller's. */
	bool own_files;
};

int helper_start(struct helper *h);
/*
 * In a helper: another, which is a child of the host's like the starter.  The
 * host's thread ends it and waits for it; the starter may ask helper_gone().
 */
int helper_start_beside(struct helper *h, const struct helper *starter);
/* 0: it has ended and is reaped.  -ETIMEDOUT: it runs on. */
int helper_wait(struct helper *h, int64_t deadline_ns);
void helper_kill(struct helper *h);
/*
 * The same with an end: -ETIMEDOUT where it sleeps in a call that SIGKILL does
 * not interrupt.  It will run no more of our code, but the kernel may yet write
 * to its buffers, its stack and h: all of that has to stay.
 */
int helper_end(struct helper *h, int64_t until_ns);
/* Started by this process, and not by the one that it was forked from. */
bool helper_is_ours(const struct helper *h);
bool helper_is_alive(const struct helper *h);
/* It is somebody else's. */
void helper_forget(struct helper *h);
/* Of its main thread: the letter of "State:"; 0: it cannot be told. */
char state_of_process(pid_t pid);
/* Is that one runnable?  Also true if it cannot be told. */
bool process_runs(pid_t pid);
bool helper_runs(const struct helper *h);
/* So that nothing is opened for that later. */
void helper_open_status(struct helper *h);
void helper_close_status(struct helper *h);
/* 0: it uses our memory no more; its parent has yet to wait for it. */
int helper_gone(struct helper *h, int64_t until_ns);
/* A helper that waits asks after its host as often as that. */
#define HELPER_TICK_NS NSEC_PER_SEC
/* In a helper only: it ends, and this does not return, if its host has gone. */
void helper_needs_host(const struct helper *h);
/* The same, and then a wait of a tick, unless *word is no longer that. */
void helper_wait_tick(const struct helper *h, uint32_t *word, uint32_t value);

#endif /* MRELEASE_OS_H */
