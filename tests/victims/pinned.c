/* SPDX-License-Identifier: MIT */
/*
 * A victim whose address space a stalled reader keeps: process_vm_readv()
 * holds mm_users of the victim while it faults in the reader's own page, and
 * that page lies under a userfaultfd which nobody answers.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "victim.h"

static unsigned char *memory;
static size_t memory_len;
static unsigned char *blocked;
static pid_t victim;

static int open_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };

#ifdef USERFAULTFD_IOC_NEW
	int dev;

	if (fd < 0) {
		dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (dev >= 0) {
			fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC);
			close(dev);
		}
	}
#endif
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		skip_victim("userfaultfd for kernel faults is not to be had");
	return fd;
}

/* The victim's first page, into the page that never comes. */
static void *read_and_stall(void *unused)
{
	struct iovec local = { blocked, 4096 }, remote = { memory, 4096 };

	(void)unused;
	process_vm_readv(victim, &local, 1, &remote, 1, 0);
	/* Only the command 'r' brings us here. */
	say("ok\n");
	return NULL;
}

static void reader(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero = { 0 };
	int fd = open_userfaultfd();
	struct uffd_msg msg;
	pthread_t thread;

	blocked = map_anon(4096);
	reg.range.start = (uintptr_t)blocked;
	reg.range.len = 4096;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER");
	if (pthread_create(&thread, NULL, read_and_stall, NULL))
		die("pthread_create");
	/*
	 * The fault message comes out of the reader's get_user_pages(), after
	 * mm_access() has taken the victim's mm_users: from here on it is held.
	 */
	if (read(fd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		die("userfaultfd read");
	ready(victim, getpid(), memory, memory_len);
	while (next_command() != 'r')
		;
	zero.range = reg.range;
	ioctl(fd, UFFDIO_ZEROPAGE, &zero);
	pthread_join(thread, NULL);
	for (;;)
		next_command();
}

/*
 * pinned [MIB [shared]]: the command 'r' lets the reader go.  "shared": with
 * writable shared memory, in which there could be robust mutexes.
 */
int victim_pinned(int argc, char **argv)
{
	int pipefd[2];
	char c;

	memory_len = number(argc, argv, 1, 16) * MIB;
	memory = map_anon(memory_len);
	if (argc > 2 && mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		die("mmap");
	if (pipe(pipefd))
		die("pipe");
	victim = fork();
	if (victim < 0)
		die("fork");
	if (!victim) {
		die_with_parent();
		fill(memory, memory_len);
		close(pipefd[0]);
		close(pipefd[1]);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	if (read(pipefd[0], &c, 1) != 0)
		die("read");
	reader();
	return 0;
}
