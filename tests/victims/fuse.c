/* SPDX-License-Identifier: MIT */
/* The file server of fuse.h: a directory in which every name is one file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuse.h"
#include "victim.h"

#define FILE_NODE 2

static union {
	struct fuse_in_header head;
	char bytes[(1 << 17) + 4096 + FUSE_MIN_READ_BUFFER];
} request;

static char zeros[FUSE_FILE_SIZE];
static int exists;

void fuse_mount(struct fuse_server *server)
{
	char options[128];

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip_victim("no mount namespace of its own");
	server->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (server->fd < 0)
		skip_victim("/dev/fuse cannot be opened");
	/* Any directory will do, only we see what is mounted there. */
	strcpy(server->dir, "/mnt");
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40755,user_id=%u,group_id=%u,allow_other",
		 server->fd, getuid(), getgid());
	if (mount("victim", server->dir, "fuse", MS_NOSUID | MS_NODEV, options))
		skip_victim("a FUSE file system cannot be mounted");
}

static void answer(struct fuse_server *server, uint64_t unique, int err,
		   void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + (err ? 0 : len)),
		.error = -err,
		.unique = unique,
	};
	struct iovec iov[2] = { { &out, sizeof(out) }, { data, len } };

	/* ENOENT: the task that asked is gone. */
	if (writev(server->fd, iov, err || !len ? 1 : 2) < 0 && errno != ENOENT)
		die("/dev/fuse write");
}

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr attr = { .ino = node, .nlink = 1, .blksize = 4096 };

	attr.uid = getuid();
	attr.gid = getgid();
	attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0600;
	attr.size = node == FUSE_ROOT_ID ? 0 : FUSE_FILE_SIZE;
	return attr;
}

static struct fuse_entry_out entry(void)
{
	struct fuse_entry_out out = { .nodeid = FILE_NODE, .entry_valid = 60 };

	out.attr = attr_of(FILE_NODE);
	return out;
}

static void answer_init(struct fuse_server *server)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_write = 1 << 17,
		.flags = FUSE_BIG_WRITES,
	};

	answer(server, request.head.unique, 0, &out, sizeof(out));
}

static void answer_one(struct fuse_server *server)
{
	const struct fuse_in_header *head = &request.head;
	const void *arg = request.bytes + sizeof(*head);
	uint64_t unique = head->unique;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} created;
	struct fuse_attr_out attr = { .attr_valid = 60 };
	struct fuse_open_out opened = { 0 };
	struct fuse_write_out written = { 0 };
	struct fuse_entry_out found;

	switch (head->opcode) {
	case FUSE_INIT:
		answer_init(server);
		break;
	case FUSE_LOOKUP:
		found = entry();
		answer(server, unique, exists ? 0 : ENOENT, &found,
		       sizeof(found));
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		attr.attr = attr_of(head->nodeid);
		answer(server, unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_CREATE:
		exists = 1;
		memset(&created, 0, sizeof(created));
		created.entry = entry();
		answer(server, unique, 0, &created, sizeof(created));
		break;
	case FUSE_OPEN:
		/* No page cache for what is read(): a read asks us at once. */
		if (server->stall_on == FUSE_READ)
			opened.open_flags = FOPEN_DIRECT_IO;
		answer(server, unique, 0, &opened, sizeof(opened));
		break;
	case FUSE_READ:
		answer(server, unique, 0, zeros,
		       ((const struct fuse_read_in *)arg)->size);
		break;
	case FUSE_WRITE:
		written.size = ((const struct fuse_write_in *)arg)->size;
		answer(server, unique, 0, &written, sizeof(written));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
		answer(server, unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		/* No answer is expected, and an interrupt does not hurry us. */
		break;
	default:
		answer(server, unique, ENOSYS, NULL, 0);
		break;
	}
}

int fuse_serve_one(struct fuse_server *server)
{
	ssize_t n = read(server->fd, &request, sizeof(request));

	if (n < 0 && errno == ENODEV)
		return 0;
	if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
		return 1;
	if (n < (ssize_t)sizeof(request.head))
		die("/dev/fuse read");
	if (request.head.opcode == FUSE_OPEN)
		server->opens++;
	if (server->stall_on && request.head.opcode == server->stall_on &&
	    !server->stalled) {
		if (!server->stall_after) {
			server->stalled = request.head.unique;
			memcpy(&server->stalled_size,
			       request.bytes + sizeof(request.head) +
				       offsetof(struct fuse_read_in, size),
			       sizeof(server->stalled_size));
			return 1;
		}
		server->stall_after--;
	}
	answer_one(server);
	return 1;
}

void fuse_answer_stalled(struct fuse_server *server)
{
	if (server->stalled)
		answer(server, server->stalled, EIO, NULL, 0);
	server->stalled = 0;
	server->stall_on = 0;
}
