/* SPDX-License-Identifier: MIT */
/*
 * Two releases of one process at once must not both report its memory as what
 * they gave back.  Which of them does is settled by a lock that stands for the
 * process, taken before its memory is measured and held until the report is made.
 *
 *	release A			release B
 *	locks
 *	measures: 1 GiB			cannot lock: what comes back is A's
 *	kills, reaps, unlocks
 *					another one, C, locks
 *					measures: nothing is left
 *
 * An object of shmem can be mapped by victims of several releases; it goes with
 * the last of them, and each may see it gone.  So an object has a lock, too.
 *
 *	release A, of process 1		release B, of process 2
 *	locks the object
 *	(1 maps it)
 *					cannot lock it: A reports it
 *	1 has exited
 *					2 has exited, the object is gone
 *	the object is gone: reports it
 *
 * Had it been there still, A would have let it be, and unlocked; the next release
 * that locks it has a victim that maps it yet.
 *
 * A lock is one byte, by number, of the clear_refs file of process 1.  Everybody
 * has that file, and only root may write to it, which a write lock needs.  On what
 * any user can open (the victim's pidfd, its status) a stranger could hold the lock
 * for ever, and root would be told that nothing came back.
 *
 * Each release has an open file of its own, whose locks end with it: a release that
 * is killed leaves none behind.  Two that may not open it, or have two mounts of
 * /proc, may count the same memory.
 */
#include "process/process.h"

void self_open_claims(struct self *self)
{
	if (self->claims_fd == -EBADF)
		self->claims_fd =
			sys_openat(AT_FDCWD, "/proc/1/clear_refs", O_WRONLY);
}

/* Unlock before the close: a child of the host may share the open file. */
static void end_claims(struct self *self)
{
	struct flock all = { .l_type = F_UNLCK };

	if (self->claims_fd >= 0)
		sys_fcntl(self->claims_fd, F_OFD_SETLK, &all);
	close_keep(&self->claims_fd);
}

void self_close_claims(struct self *self)
{
	end_claims(self);
}

bool self_drop_claims(struct self *self)
{
	if (self->claims_fd < 0)
		return false;
	end_claims(self);
	/* It is not opened again. */
	self->claims_fd = -EMFILE;
	return true;
}

/* Spread over the 2^62 bytes that a file may have. */
static uint64_t byte_of(uint64_t n, uint64_t salt)
{
	n = (n ^ salt) * 0x9e3779b97f4a7c15ULL;
	n = (n ^ n >> 29) * 0xbf58476d1ce4e5b9ULL;
	return (n ^ n >> 32) >> 2;
}

/* False: another release has it. */
static bool lock(const struct self *self, uint64_t byte)
{
	struct flock l = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};
	int ret;

	if (self->claims_fd < 0)
		return true;
	ret = sys_fcntl(self->claims_fd, F_OFD_SETLK, &l);
	return ret != -EAGAIN && ret != -EACCES;
}

/* An inode is never that of another process; a number is, later. */
static uint64_t process_byte(const struct victim *v)
{
	return v->inode ? byte_of(v->inode, 1) : byte_of(v->pid, 2);
}

void victim_claim(struct victim *v, const struct self *self)
{
	if (v->claimed)
		return;
	v->claimed = true;
	if (self->claims_fd >= 0)
		v->not_ours = !lock(self, process_byte(v));
}

static uint64_t object_byte(const struct object *ob)
{
	return byte_of(ob->inode ^ ob->ipc_inode << 1 ^ ob->sysv,
		       (uint64_t)ob->major << 32 | ob->minor);
}

void objects_claim(struct objects *o, const struct self *self)
{
	for (unsigned int i = 0; i < o->nr; i++) {
		struct object *ob = &o->object[i];

		/* What has a name stays anyway. */
		if (ob->claim_tried || (ob->linked && !ob->sysv))
			continue;
		ob->claim_tried = true;
		/* If its last owner is gone, so may be one that claimed it. */
		ob->not_ours = !lock(self, object_byte(ob)) ||
			       victim_mm_users(ob->last_owner) == 0;
	}
}
