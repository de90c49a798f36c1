/* SPDX-License-Identifier: MIT */
/*
 * A FUSE file server by hand, to stop its users where the kernel lets nothing
 * stop them but an answer: once the server has read a request, its sender
 * waits in uninterruptible sleep, SIGKILL or not.
 */
#ifndef VICTIM_FUSE_H
#define VICTIM_FUSE_H

#include <stddef.h>
#include <stdint.h>

#define FUSE_FILE_SIZE (1u << 20)

struct fuse_server {
	/* /dev/fuse */
	int fd;
	/* Where it is mounted, in a mount namespace of our own. */
	char dir[64];
	/* FUSE_READ and the like, that is not answered; 0 for none. */
	uint32_t stall_on;
	/* Answer that many of them first. */
	unsigned int stall_after;
	/* Its request, once stalled; 0 before. */
	uint64_t stalled;
	/* Bytes the stalled request wants, for the answer. */
	uint32_t stalled_size;
	/* FUSE_OPEN requests seen. */
	unsigned int opens;
};

void fuse_mount(struct fuse_server *server);
/* One request; 0 when the file system is gone. */
int fuse_serve_one(struct fuse_server *server);
void fuse_answer_stalled(struct fuse_server *server);

#endif /* VICTIM_FUSE_H */
