/* SPDX-License-Identifier: MIT */
/*
 * shmem and hugetlb belong to objects (inodes), which may go on when a process
 * that mapped them is gone: linked in tmpfs or hugetlbfs, System V segments,
 * mapped by others, held by a descriptor.  So what becomes free is asked of the
 * object, and each counts once, however many of its mappings there were.
 */
#ifndef MRELEASE_OBJECTS_H
#define MRELEASE_OBJECTS_H

#include "os/os.h"

struct victim;
struct scratch;
struct budget;

#define MAX_OBJECTS 512
#define MAX_LINKS   4096
#define MAX_DEVICES 32

enum object_fate {
	OBJECT_NOT_ASKED = 0,
	OBJECT_GONE,
	OBJECT_THERE,
	/* It has no handle, or that may not be used. */
	OBJECT_UNKNOWN,
};

/* held.c: pages that are in no page table any more, and may not be free */

#define MAX_HELD 2048

enum held_type {
	HELD_ANON,
	/* The same, of a process that has pinned nothing. */
	HELD_SAMPLED,
	/* Anonymous too, of hugetlb. */
	HELD_HUGE,
	/* Of an object of shmem. */
	HELD_OBJECT,
};

struct held_frame {
	uint64_t frame;
	/* It stands for so many. */
	uint32_t pages;
	uint16_t object;
	uint16_t type;
};

struct held {
	/* /proc/kpageflags and kpagecount; -EBADF: not yet open. */
	int flags_fd;
	int counts_fd;
	uint32_t nr;
	/* Processes that share the room for samples; and the one at hand: */
	uint32_t members;
	/* every such page is noted, of so many met, up to so many (pins.c). */
	uint32_t every;
	uint32_t met;
	uint32_t end;
	struct held_frame frame[MAX_HELD];
};

/* Those of one process, at such a distance, bytes. */
struct held_row {
	uint32_t first;
	uint32_t nr;
	uint64_t step;
};

void held_init(struct held *h);
void held_close(struct held *h);
/* Of this word of pagemap; false: frames are not shown, or there is no room. */
bool held_note(struct held *h, enum held_type type, uint64_t word,
	       uint64_t bytes, unsigned int object);
/* The same, and nothing is read or opened for it. */
void held_note_later(struct held *h, uint64_t word);
bool held_open(struct held *h);
/* How many are held, of so many that were noted; one that was not never is again. */
unsigned int held_count(struct held *h, const struct held_row *row,
			enum held_type type, unsigned int *ret_noted,
			unsigned int *ret_aside);
/* Some are held or put aside, of so many at equal distances. */
bool held_any(struct held *h, const struct held_row *row, unsigned int few);
/* The bytes of one object. */
uint64_t held_object(const struct held *h, unsigned int object,
		     unsigned int *ret_noted, uint64_t *ret_aside);

struct object {
	uint32_t major;
	uint32_t minor;
	uint64_t inode;
	uint64_t bytes;
	/* Victims that map it. */
	uint32_t owners;
	const struct victim *last_owner;
	/* Of our mappings, those of a page that is mapped more than once. */
	uint32_t mappings;
	uint64_t probe_offset;
	uint64_t probe_frame;
	/* Mappings in which no such page was found. */
	unsigned int probes;
	bool hugetlb;
	bool sysv;
	bool linked;
	bool shared_writable;
	/* hugetlb: what is told when it goes, -errno: nothing; and it was. */
	int watch;
	bool watch_ended;
	/* Mapped by processes that are no victims; by which, if that is known. */
	bool in_use;
	/* Some owner of it has pinned pages; and they keep what is left. */
	bool may_be_pinned;
	bool pinned;
	/* That can be pinned for all that a sample tells. */
	uint64_t unsure;
	pid_t holder;
	/* Of a System V segment: whose number it is. */
	uint64_t ipc_inode;
	/* Another release has a victim that maps it (claim.c). */
	bool claim_tried;
	bool not_ours;
	/* bytes are known; or else what its owners can have of it, at most. */
	bool sized;
	uint64_t guess;
	/* A memfd; or O_PATH of the mount point. */
	int mount_fd;
	uint32_t handle_bytes;
	int32_t handle_type;
	unsigned char handle[32];
	enum object_fate fate;
	/* Still there, of bytes. */
	uint64_t left;
};

struct object_device {
	uint32_t major;
	uint32_t minor;
	bool hugetlb;
	/* Owned; -EBADF: none. */
	int fd;
};

struct mappers;
struct self;

struct objects {
	struct object_device devices[MAX_DEVICES];
	unsigned int nr_devices;
	bool internal_known;
	/* inotify, of hugetlb; -EBADF: not yet open. */
	int watch_fd;
	struct held held;
	bool asked;
	/* There was no room for some. */
	bool more;
	/* Memory of unknown fate, all victims together, is below the limit. */
	bool little;
	unsigned int nr;
	struct object object[MAX_OBJECTS];
	unsigned int nr_links;
	uint16_t link[MAX_LINKS];
};

void objects_init(struct objects *o);
void objects_close(struct objects *o);
/* One of the files that it closes. */
bool objects_have_fd(const struct objects *o, int fd);
/* While its address space is whole: what of such it maps. */
void objects_collect(struct objects *o, struct victim *v, struct scratch *s,
		     const struct budget *b);
/* Of the only victim: it is to be looked at anew. */
void objects_forget(struct objects *o, struct victim *v);
/* All victims are known: who else maps each of them? */
void objects_resolve(struct objects *o);
/* The victims are gone: and the objects?  NULL: others are not asked. */
void objects_ask(struct objects *o, struct mappers *m, int64_t deadline_ns);
/* Bytes that are there, and held by nobody who is known. */
uint64_t objects_untold(const struct objects *o);
/* While victims map them, before a kill: which are ours to report? */
void objects_claim(struct objects *o, const struct self *self);
/* Which devices are shmem or hugetlb. */
void objects_devices(struct objects *o, const struct victim *v,
		     struct scratch *s);
/* "map_files/START-END", of at most 64 bytes. */
struct mapping;
void map_files_path(char *buf, const struct mapping *m);
/* The entry of one victim, or (NULL) of all together, each object once. */
void objects_entry(const struct objects *o, const struct victim *v,
		   bool hugetlb, struct mrelease_entry *e);

/* hugetlb.c */

/* Private huge pages of a process, as far as they were looked at. */
struct huge {
	/* There is a mapping of hugetlb, private or shared. */
	bool found;
	/* Not the file's; and those of them that others have since a fork. */
	uint32_t seen;
	uint32_t cow;
	/* The same, with the pages in between, bytes. */
	uint64_t bytes;
	uint64_t cow_bytes;
	/* There are pages in between. */
	bool sampled;
	/* Some could not be looked at. */
	bool unread;
};

/* What inotify calls it when the inode goes; or -errno. */
int hugetlb_watch(struct objects *o, const struct victim *v, const char *path);
/* Which of them have gone? */
void hugetlb_news(struct objects *o);
void hugetlb_ask(struct object *ob);
/* Look at a private mapping of v; true: it has pages of the file as well. */
bool hugetlb_private(struct victim *v, const struct mapping *m);
/* Add private pages to the entry: how much of them nobody else has. */
uint64_t hugetlb_account(const struct victim *v, struct mrelease_entry *e);

#endif /* MRELEASE_OBJECTS_H */
