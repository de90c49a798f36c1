/* SPDX-License-Identifier: MIT */
/*
 * One process: who it is, the handles on it, its threads.  Knows no release.
 */
#ifndef MRELEASE_PROCESS_H
#define MRELEASE_PROCESS_H

#include "os/os.h"
#include "process/account.h"
#include "process/objects.h"

/* Threads of a victim that are pinned: a second one in case the first */
/* holds a robust futex and has to be let go (robust.c). */
#define MAX_PINS 2

/* More threads than this are worth something of their own. */
#define MANY_THREADS 64

/* Of a mapping of secret memory. */
#define SECRET_FRAMES 4

/* kin.c: of a group's members, what they share copy-on-write */

/* In parts of a page: one that three members map counts a third for each. */
#define KIN_PART (1U << 16)

struct kinship {
	/* A ring of those without an exec since a fork; NULL: it is alone. */
	struct victim *next;
	uint32_t index;
	uint32_t nr;
	/* Shared pages that were compared with those of its kin. */
	uint64_t pages;
	/* Their parts: mapped by the kin only, or by others as well. */
	uint64_t ours;
	uint64_t others;
};

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
	/* No pidfd: pidfd is a /proc/PID directory. */
	bool is_dir;
	/* The pidfd is the caller's own: there was no other to be had. */
	bool borrowed;
	/* Its pidfd has an inode of its own: pidfs; and which, 0: unknown. */
	bool own_inode;
	uint64_t inode;
	/* pidfd_send_signal is not to be had: kill(2), checked. */
	bool use_kill;
	bool zombie;
	/* Of a group: its number may have been met again (members.c). */
	bool noted_dead;
	/* Past its exit_mm() when last looked at. */
	bool no_mm;
	/* Of a group: asking it anything but its status hangs (call.c). */
	bool hands_off;
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
	/* Of a group: no worker has it in hand; and then 2, its exit is seen. */
	uint32_t through;
	/* Another has lists in the same memory: not reaped (shared.c, others.c) */
	bool shares_lists;
	/* Of a group: nobody outside it uses that memory (others.c). */
	bool alone;
	uint64_t mm_pages;
	/* For the second pin, as it was prepared; 0: not chosen. */
	pid_t second_tid;
	pid_t pins[MAX_PINS];
	unsigned int nr_pins;
	/* Bit per pin: it stands in its exit stop. */
	unsigned int stopped;
	/* Bit per pin: a worker asks the tracer to let it go. */
	uint32_t want_unpin;
	/* It is in the tracer's list of those that want something. */
	bool asked;
	struct victim *next_asked;
	/* Pins that are wanted and have not stopped, as last counted. */
	unsigned int nr_pending;
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
	/* What it was after the kill; state 0: not looked at. */
	struct proc_stat last;
	/* Where its stack began when the handles were opened. */
	uint64_t start_stack;
	int64_t kill_ns;
	/* When it was seen to have exited; 0: not yet, or not looked for. */
	int64_t exited_ns;
	/* Bytes that were still in its private mappings when last looked at. */
	uint64_t seen_left;
	/* claim.c: it was tried; another release is at it, and reports it. */
	bool claimed;
	bool not_ours;
	/* It is known how much of it nobody else has. */
	bool counted;
	/* Its private memory was seen to be out of its page tables. */
	bool private_back;
	/* Its objects of shmem and hugetlb were looked for: a row of links. */
	bool linked;
	uint32_t first_link;
	uint32_t nr_links;
	/* As the kernel counts them: each mapping. */
	uint64_t rss_shmem;
	uint64_t rss_hugetlb;
	struct huge huge;
	/* Pinned for devices or io_uring, of any kind; and frames for that. */
	uint64_t pinned_bytes;
	struct held_row frames;
	/* Of memfd_secret(2), and nobody else's: some frames of each mapping. */
	unsigned int nr_secrets;
	struct {
		uint64_t frame[SECRET_FRAMES];
		uint64_t bytes;
	} secret[4];
	struct kinship kinship;
	struct mrelease_report rep;
};

/* Processes above one another that are looked at. */
#define MAX_ANCESTORS 512

/* Who we are: never a target.  Filled in before any helper starts. */
struct self {
	pid_t pid;
	pid_t parent;
	/* For more than one question; not listed, they are looked up. */
	bool listed;
	/* The list is incomplete, for want of descriptors. */
	bool blind;
	pid_t ancestors[MAX_ANCESTORS];
	unsigned int nr_ancestors;
	/* There are others, of which it cannot be told who they are. */
	bool more;
	bool allow_ancestor;
	/* /proc numbers processes as another PID namespace than ours does. */
	bool foreign_proc;
	/* claim.c: its locks are of this file.  -EBADF: not open, -errno: none. */
	int claims_fd;
};

void self_init(struct self *self, uint32_t flags);
void self_list_ancestors(struct self *self);
/* enum mrelease_refusal. */
int self_refuses(const struct self *self, pid_t pid);
/* The same of one whose parent is known, which may be told sooner. */
int self_refuses_child(const struct self *self, pid_t pid, pid_t parent);
void victim_init(struct victim *v);
/* Whose number a pidfd, or a /proc/PID directory, is; -ESRCH: nobody's. */
int victim_number(struct victim *v, int fd);
/* v->inode, if its pidfd has one. */
void victim_inode(struct victim *v);
/* Of a pidfd, also where /proc hides it; before Linux 6.13: -errno. */
int victim_parent(int pidfd, pid_t *ret_ppid);
/*
 * Who is it, and may it be killed?  Waits for nobody.  Takes no ownership of
 * pidfd: dups it.
 */
int victim_identify(struct victim *v, int pidfd, const struct self *self);
/* What the release needs; may wait for it, in an execve() of its. */
int victim_handles(struct victim *v);
/* Of these, those that need its memory, once it has told its state. */
int victim_open_memory(struct victim *v, const struct proc_stat *st);
/* Once they are open: what it has, or that it has nothing any more. */
void victim_measure_opened(struct victim *v);
/* Both. */
int victim_open(struct victim *v, int pidfd, const struct self *self);
int victim_open_pid(struct victim *v, pid_t pid, const struct self *self,
		    bool claim);
/* Only what waits for nobody: to be signalled, and waited for. */
int victim_open_hands_off(struct victim *v, pid_t pid, const struct self *self,
			  bool claim);
/* The rest of one that was opened so; this may wait. */
int victim_open_late(struct victim *v);
/* More of it, and its list of threads. */
int victim_complete(struct victim *v);
/* Without that list, which one thread is by itself. */
int victim_files(struct victim *v);
/* v->task_fd, opened where it is not; or -errno. */
int victim_list_threads(struct victim *v);
/*
 * Is the thread that was just seized by its number a thread of that process?  The number
 * may have been reused since it was read; a tracee keeps its number, dead or alive.
 */
bool victim_has_thread(struct victim *v, pid_t tid);
/* Use the directory of a thread that has the memory, instead of the main thread's. */
void victim_use_live_thread(struct victim *v);
void victim_close(struct victim *v);
/* One of the files that victim_close() closes. */
bool victim_has_fd(const struct victim *v, int fd);
void victim_thin(struct victim *v);
/* It has called exec since its handles were opened; and its stat, or 0s. */
bool victim_execed(const struct victim *v, struct proc_stat *ret);
/* Then they are on an address space that it has left: open them again. */
void victim_renew(struct victim *v);
/* For want of descriptors or memory. */
bool is_scarcity(int error);
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
/* 32-bit: its robust lists cannot be read. */
bool victim_is_compat(const struct victim *v);

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
/* All of them have come to the end of their exit, waited for or not. */
bool threads_all_dead(struct victim *v, struct scratch *s);

/*
 * users.c: which thread of a process has its memory, where not all have.  Waits
 * for nobody.
 */

/* Of the victim's threads, and how many pages are mapped there; 0: none. */
pid_t user_of(const struct victim *v, uint64_t *ret_pages);
/* A thread of pid in memory of that size (0: any size, told then); 0: none. */
pid_t user_in(int proc_fd, pid_t pid, uint64_t *pages);
/* The same, once it is known that the main thread has left it. */
pid_t user_besides(int proc_fd, pid_t pid, uint64_t *pages);
/* The same of the threads in this list. */
pid_t user_listed(int task_fd, uint64_t *pages);
/* The letter of "State:" of one that has it; 0: it cannot be told. */
char user_state(pid_t pid);

/* kin.c */

/* Of all members together; parts are of KIN_PART. */
struct kin {
	/* /proc/kpagecount; -errno: not to be had. */
	int counts_fd;
	/* Clusters of the member at hand, and their pages; to be compared. */
	uint32_t clusters;
	uint32_t width;
	uint32_t compared;
	/* Sums over the clusters that were compared, for the error. */
	uint64_t nr;
	uint64_t pages;
	uint64_t ours;
	uint64_t pages2;
	uint64_t ours2;
	uint64_t both;
	/* Not every cluster was read and compared. */
	bool partial;
	/* Frames are not shown, or not how often they are mapped. */
	bool blind;
};

/* Pages of a cluster, of which one in so many is compared. */
#define NARROW	    64
#define WIDE	    512
#define KIN_COMPARE 8

/* pagemap: present, file or shared, mapped once only (Linux 4.2). */
#define PM_PRESENT   (1ULL << 63)
#define PM_SWAPPED   (1ULL << 62)
#define PM_FILE	     (1ULL << 61)
#define PM_EXCLUSIVE (1ULL << 56)
#define PM_FRAME     ((1ULL << 55) - 1)
/* kpageflags, of a frame. */
#define KPF_UNEVICTABLE (1ULL << 18)

/* A cluster of v's that has shared pages: who else has some of them? */
void kin_compare(struct kin *k, struct victim *v, uint64_t start,
		 const uint64_t *words, unsigned int nr);

/* sample.c */

struct exclusive {
	uint64_t bytes;
	/* So much of it may be shared all the same. */
	uint64_t unsure;
};

/*
 * Twice the standard error of bytes * sum / of, from the sums over so many
 * clusters, of squares and products; UINT64_MAX: there are too few.
 */
uint64_t sample_error(uint64_t bytes, uint64_t nr, uint64_t of, uint64_t sum,
		      uint64_t of2, uint64_t sum2, uint64_t both);
/* For counting: of the CPU, and where that is not to be had. */
struct budget {
	int64_t cpu_until_ns;
	int64_t until_ns;
};

bool budget_spent(const struct budget *b);
/*
 * Before anything of it is unmapped: what of its anonymous memory nobody else
 * maps.  A glance is a small sample; a count reads more where that finds
 * shared pages.  Of its pages frames are noted (pins.c), if o is not NULL.
 */
void account_glance(struct victim *v, struct objects *o, struct scratch *s,
		    const struct budget *b);
void account_count(struct victim *v, struct objects *o, struct scratch *s,
		   const struct budget *b);
/* After a glance: read more; if it has kin, compare what is shared. */
void account_compare(struct victim *v, struct scratch *s, struct kin *kin,
		     const struct budget *b);
/* special.c: what counts as file pages and is no page cache */

struct special {
	unsigned int nr;
	struct {
		uint64_t start;
		uint64_t end;
		bool secret;
	} range[32];
};

void special_note(struct special *s, const struct mapping *m);
/* Of memfd_secret(2), and nobody else's. */
uint64_t secret_bytes(const struct victim *v);
void account_special(struct victim *v, const struct special *s,
		     const struct budget *b);
/* Of its secret memory, the bytes that are free; UINT64_MAX: cannot tell. */
uint64_t secret_freed(const struct victim *v);

/* mappers.c: who else maps an object */

struct mappers {
	/* The caller's: a stack for it, and a buffer. */
	struct helper *helper;
	struct scratch *s;
	/* Who asks is no caller, but on the memory of one. */
	bool in_helper;
	/* Not to be asked: the victim (0: there are more). */
	pid_t own;
	bool (*is_victim)(const void *group, pid_t pid);
	const void *group;
	/* mappers.c's own. */
	struct objects *o;
	pid_t us;
	int proc_fd;
	int maps_fd;
	unsigned int round;
	/* Who is asked, by which thread, and those that did not answer. */
	pid_t at;
	pid_t tid;
	pid_t stuck[8];
	unsigned int nr_stuck;
};

/* Of objects that are not known to be in use. */
void mappers_find(struct mappers *m, struct objects *o, int64_t deadline_ns);

/*
 * What its objects of shmem or hugetlb are, and became; and what of hugetlb is
 * private, which goes with the address space.
 */
void account_objects(const struct objects *o, const struct victim *v,
		     bool hugetlb, struct mrelease_entry *e,
		     uint64_t *ret_private);
/* Of which it cannot be told what has become of it. */
uint64_t account_untold(const struct objects *o, const struct victim *v);
/* Objects without a name that some descriptor holds, each of them once. */
struct unmapped {
	uint64_t seen[512];
	unsigned int nr;
	uint64_t bytes;
};

/* Add those that are open in a process, and mapped by no victim. */
void account_unmapped(struct objects *o, const struct victim *v,
		      struct scratch *s, struct unmapped *f);

/* pins.c */

/* While its address space is whole: frames of a process with pinned pages, */
void pins_note(struct objects *o, struct victim *v);
/* and of an object that it maps. */
void pins_note_object(struct objects *o, struct object *ob,
		      const struct victim *v, const struct mapping *m);
/* Of its bytes of a kind, what is held after its exit; UINT64_MAX: cannot tell. */
uint64_t pins_held(struct objects *o, const struct victim *v,
		   enum held_type type, uint64_t bytes, uint64_t *ret_unsure);

/*
 * Of a process without them, and so many bytes, in so many words of pagemap at
 * most: frames are noted of the words that are handed over then.
 */
void pins_sample(struct objects *o, struct victim *v, uint64_t bytes,
		 uint64_t words);
void pins_sample_word(struct objects *o, struct victim *v, uint64_t word);
/* What of its bytes is held by references of others; 0, too, if it cannot be told. */
uint64_t pins_referenced(struct objects *o, const struct victim *v,
			 uint64_t bytes, uint64_t *ret_unsure);

/* claim.c: of several releases of a process, one reports its memory */

/* Before it is measured.  Waits for nobody. */
void self_open_claims(struct self *self);
void self_close_claims(struct self *self);
/* Something needs the descriptor more.  False: it was not taken. */
bool self_drop_claims(struct self *self);
void victim_claim(struct victim *v, const struct self *self);

/* identify.c */

bool is_pidfs(int fd);
/* A pidfd's inode is the process's own. */
bool kernel_has_pidfs(int pidfd);
/* mrelease_open() */
int identify_open(pid_t pid, uint64_t inode);

#endif /* MRELEASE_PROCESS_H */
