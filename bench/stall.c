/* SPDX-License-Identifier: MIT */
/*
 * A stalled reader: a process in process_vm_readv(2) on the victim whose
 * destination page is missing and will never be filled, because it belongs to
 * a userfaultfd that nobody serves.  Inside that call it holds the victim's
 * address space, so an exit frees nothing.  A monitoring agent on a hung
 * network mount, or a debugger that was stopped, does the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "sys.h"

#define PAGE_BYTES 4096u

struct watch {
	int uffd;
	int out;
};

/* Tells the bench that the fault has come: from then on the reader stalls. */
static void *watch_fault(void *arg)
{
	struct watch *watch = arg;
	struct uffd_msg msg;
	int error = 0;

	if (read(watch->uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		error = EIO;
	if (write(watch->out, &error, sizeof(error)) != sizeof(error))
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

static int open_uffd(void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)page, .len = PAGE_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd;

	fd = sys_userfaultfd(O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int stall_main(const struct victim *v, int out)
{
	struct watch watch = { .out = out };
	struct iovec remote = { (void *)v->anon_addr, PAGE_BYTES };
	struct iovec local = { NULL, PAGE_BYTES };
	pthread_t thread;
	int error;

	local.iov_base = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (local.iov_base == MAP_FAILED)
		return errno;
	watch.uffd = open_uffd(local.iov_base);
	if (watch.uffd < 0)
		return errno;
	error = pthread_create(&thread, NULL, watch_fault, &watch);
	if (error)
		return error;
	if (process_vm_readv(v->pid, &local, 1, &remote, 1, 0) < 0)
		return errno;
	return EIO;
}

/* 0 once the reader hangs, or the errno that keeps it from hanging. */
int stall_start(const struct victim *v, struct stall *stall)
{
	pid_t self = getpid();
	int fds[2];
	int error;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC))
		return errno;
	fflush(NULL);
	stall->pid = fork();
	if (stall->pid < 0)
		bench_die("fork: %m");
	if (!stall->pid) {
		tie_to_parent(self);
		close(fds[0]);
		error = stall_main(v, fds[1]);
		if (write(fds[1], &error, sizeof(error)) != sizeof(error))
			_exit(2);
		_exit(1);
	}
	close(fds[1]);
	stall->ready_fd = fds[0];
	do {
		n = read(fds[0], &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(error))
		error = ECHILD;
	if (error)
		stall_end(stall);
	return error;
}

void stall_end(struct stall *stall)
{
	if (stall->pid <= 0)
		return;
	kill(stall->pid, SIGKILL);
	while (waitpid(stall->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(stall->ready_fd);
	stall->pid = 0;
}
