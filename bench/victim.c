/* SPDX-License-Identifier: MIT */
/*
 * A victim: a child of ours with private memory, ready and asleep.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "sys.h"

#define PAGE_BYTES	4096u
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)

struct ready {
	uintptr_t addr;
	int error;
};

/* Nothing of ours outlives the bench, whatever ends it. */
void tie_to_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* the parent may have gone before the line above */
	if (getppid() != parent)
		_exit(1);
}

static int touch(uint64_t bytes, uintptr_t *ret_addr)
{
	volatile char *mem;

	*ret_addr = 0;
	if (!bytes)
		return 0;
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return errno;
	/* 4 KiB pages: the case that takes time, and the one of the figures */
	madvise((void *)(uintptr_t)mem, bytes, MADV_NOHUGEPAGE);
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		mem[at] = 1;
	*ret_addr = (uintptr_t)mem;
	return 0;
}

__attribute__((noreturn)) static void
victim_main(const struct victim_spec *spec, pid_t parent, int out)
{
	struct ready ready = { 0 };

	tie_to_parent(parent);
	if (spec->procs_fd >= 0 && write(spec->procs_fd, "0", 1) != 1)
		ready.error = errno;
	if (!ready.error)
		ready.error = touch(spec->anon_bytes, &ready.addr);
	if (!ready.error && spec->setup)
		ready.error = spec->setup(spec->arg);
	if (!ready.error && spec->nice &&
	    setpriority(PRIO_PROCESS, 0, spec->nice))
		ready.error = errno;
	if (write(out, &ready, sizeof(ready)) != sizeof(ready) || ready.error)
		_exit(1);
	for (;;)
		pause();
}

static int open_pagemap(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* 0, or the errno with which the victim could not be made. */
int victim_start(const struct victim_spec *spec, struct victim *v)
{
	pid_t self = getpid();
	struct ready ready;
	int fds[2];
	ssize_t n;

	*v = (struct victim){ .pidfd = -1, .pagemap_fd = -1 };
	if (pipe2(fds, O_CLOEXEC))
		return errno;
	fflush(NULL);
	v->pid = fork();
	if (v->pid < 0)
		bench_die("fork: %m");
	if (!v->pid) {
		close(fds[0]);
		victim_main(spec, self, fds[1]);
	}
	close(fds[1]);
	do {
		n = read(fds[0], &ready, sizeof(ready));
	} while (n < 0 && errno == EINTR);
	close(fds[0]);
	if (n != sizeof(ready))
		ready.error = ECHILD;
	if (ready.error) {
		victim_end(v);
		return ready.error;
	}
	v->anon_addr = ready.addr;
	v->anon_bytes = spec->anon_bytes;
	v->pidfd = sys_pidfd_open(v->pid);
	v->pagemap_fd = open_pagemap(v->pid);
	if (v->pidfd < 0) {
		ready.error = errno;
		victim_end(v);
	}
	return ready.error;
}

/*
 * How much of the victim's memory is still there, by our own reading: the
 * library's word is what is under test.  An address space nobody uses any
 * more answers end-of-file.  -1: cannot tell.
 */
int64_t victim_bytes_left(const struct victim *v)
{
	static uint64_t entry[64 * 1024];
	uint64_t pages = v->anon_bytes / PAGE_BYTES;
	uint64_t left = 0;
	uint64_t at = 0;

	if (v->pagemap_fd < 0)
		return -1;
	while (at < pages) {
		uint64_t want = pages - at;
		off_t off = (off_t)((v->anon_addr / PAGE_BYTES + at) *
				    sizeof(entry[0]));
		ssize_t n;

		if (want > ARRAY_SIZE(entry))
			want = ARRAY_SIZE(entry);
		n = pread(v->pagemap_fd, entry, want * sizeof(entry[0]), off);
		if (n < 0)
			return -1;
		if (!n)
			break;
		n /= (ssize_t)sizeof(entry[0]);
		for (ssize_t i = 0; i < n; i++) {
			if (entry[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))
				left++;
		}
		at += (uint64_t)n;
	}
	return (int64_t)(left * PAGE_BYTES);
}

void victim_wait(struct victim *v)
{
	if (v->reaped || v->pid <= 0)
		return;
	while (waitpid(v->pid, NULL, 0) < 0 && errno == EINTR)
		;
	v->reaped = true;
}

/* Reap the victim if it exits in time. */
bool victim_exits(struct victim *v, int timeout_ms)
{
	struct pollfd pfd = { v->pidfd, POLLIN, 0 };

	if (poll(&pfd, 1, timeout_ms) != 1)
		return false;
	victim_wait(v);
	return true;
}

void victim_end(struct victim *v)
{
	if (!v->reaped && v->pid > 0) {
		/* not reaped yet, so the number is still this child's */
		kill(v->pid, SIGKILL);
		victim_wait(v);
	}
	if (v->pidfd >= 0)
		close(v->pidfd);
	if (v->pagemap_fd >= 0)
		close(v->pagemap_fd);
	v->pidfd = -1;
	v->pagemap_fd = -1;
}
