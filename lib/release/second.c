/* SPDX-License-Identifier: MIT */
/*
 * A second process beside the helper: it reaps from the other end, and reads for
 * the tracer what can make a reader sleep so that SIGKILL does not wake it, or
 * wait for what the tracer holds.
 *
 * A robust list lies where the victim has put it, and that may be a page of a
 * file whose server does not answer, or one under userfaultfd.  To read it is to
 * fault it in.  A tracer must not do that: as long as it sleeps, dead or alive,
 * nobody lets go of what it traces.
 *
 *	tracer				the second process
 *	is the page there? no
 *	an order to read it
 *					reads, faults, sleeps in D
 *	has waited long enough:
 *	the list is unknown; lets go
 *	of the victim, which exits
 *					left behind, with its buffers
 *
 * A file outside /proc can be watched by the victim (fanotify(7)), which answers
 * nobody while it is held: such files are opened here, too.  One that is opened when
 * nobody waits any more is closed with those that a dead helper left (files.c).
 */
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "release/release.h"

/* Private memory from which a second reaper pays for its start. */
#define SECOND_REAPER_BYTES (32ULL << 20)
/* For a page that is not there: from a disk it takes some ms. */
#define READ_NS NSEC_PER_SEC
/* For a file that is mapped, and so at hand: if nobody has to be asked. */
#define OPEN_NS (NSEC_PER_SEC / 5)

/* A page that is there, or in swap: no file system and no other process is asked */
static bool is_at_hand(const struct victim *v, uint64_t addr)
{
	uint64_t word;

	return sys_pread(v->pagemap_fd, &word, 8, addr / getpagesize() * 8) ==
		       8 &&
	       word & (PM_PRESENT | PM_SWAPPED) && !(word & PM_FILE);
}

static bool all_at_hand(const struct victim *v, const struct iovec *remote,
			unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		uint64_t addr = (uintptr_t)remote[i].iov_base;
		uint64_t last = addr + remote[i].iov_len - 1;
		uint64_t size = getpagesize();

		if (!is_at_hand(v, addr) ||
		    (addr / size != last / size && !is_at_hand(v, last)))
			return false;
	}
	return true;
}

/* By the thread's number, many at once; or through mem, where 0 says more. */
static long read_now(const struct victim *v, pid_t tid,
		     const struct iovec *remote, struct robust_head *head,
		     unsigned int nr)
{
	struct iovec local = { head, nr * sizeof(*head) };

	if (tid)
		return sys_process_vm_readv(tid, &local, remote, nr);
	return sys_pread(v->mem_fd, head, sizeof(*head),
			 (uintptr_t)remote->iov_base);
}

static void second_main(void *arg)
{
	struct release *r = arg;
	struct second_read *read = &r->second_read;
	uint32_t order;

	for (;;) {
		while (!(order = __atomic_load_n(&r->second_go,
						 __ATOMIC_ACQUIRE)))
			helper_wait_tick(&r->second, &r->second_go,
					 SECOND_WAIT);
		if (order == SECOND_READ)
			read->ret = read_now(r->v, read->tid, read->remote,
					     read->head, read->nr);
		else if (order == SECOND_CPUS)
			read->ret = cpus_online();
		else if (order == SECOND_OPEN)
			read->ret = sys_openat(read->dir_fd, read->path,
					       read->flags);
		else
			break;
		__atomic_store_n(&r->second_go, SECOND_WAIT, __ATOMIC_RELEASE);
		sys_futex(&r->second_go, FUTEX_WAKE, 1, NULL);
	}
	if (order != SECOND_REAP)
		return;
	cpus_leave(&r->cpus, r->first_cpu);
	series_reap(r, r->v);
}

static void order(struct release *r, enum second_order what)
{
	__atomic_store_n(&r->second_go, what, __ATOMIC_RELEASE);
	sys_futex(&r->second_go, FUTEX_WAKE, 1, NULL);
}

static bool second_start(struct release *r)
{
	if (!r->second.stack || r->second_lost)
		return false;
	if (r->second.pid > 0)
		return true;
	r->second_go = SECOND_WAIT;
	r->second.fn = second_main;
	r->second.arg = r;
	return helper_start_beside(&r->second, &r->helper) == 0;
}

void release_start_second(struct release *r, struct victim *v)
{
	if (account_private(&v->rep) < SECOND_REAPER_BYTES)
		return;
	cpus_get(&r->cpus);
	if (cpus_count(&r->cpus) > 1)
		second_start(r);
}

void second_reaps(struct release *r)
{
	if (r->second.pid > 0 && !r->second_lost)
		order(r, SECOND_REAP);
}

void second_stop(struct release *r)
{
	if (r->second.pid <= 0 || r->second_lost)
		return;
	if (!__atomic_load_n(&r->second_go, __ATOMIC_ACQUIRE))
		order(r, SECOND_STOP);
	if (helper_gone(&r->second, r->deadline_ns) < 0)
		sys_kill(r->second.pid, SIGKILL);
}

/* What it answers; -EAGAIN: it has taken too long. */
static long ask(struct release *r, enum second_order what, int64_t ns)
{
	int64_t until = deadline_min(r->deadline_ns, now_ns() + ns);

	order(r, what);
	while (__atomic_load_n(&r->second_go, __ATOMIC_ACQUIRE) == what) {
		int64_t left = until - now_ns();
		struct timespec ts = {
			.tv_sec = left / NSEC_PER_SEC,
			.tv_nsec = left % NSEC_PER_SEC,
		};

		if (left <= 0 || !helper_is_alive(&r->second)) {
			r->second_lost = true;
			sys_kill(r->second.pid, SIGKILL);
			return -EAGAIN;
		}
		sys_futex(&r->second_go, FUTEX_WAIT, what, &ts);
	}
	return r->second_read.ret;
}

/* -EAGAIN: there is nobody to read it, or it has taken too long. */
static long read_aside(struct release *r, const struct victim *v, pid_t tid,
		       const struct iovec *remote, struct robust_head *head,
		       unsigned int nr)
{
	struct second_read *read = &r->second_read;
	long ret;

	if (r->look_only || v != r->v || !second_start(r))
		return -EAGAIN;
	read->tid = tid;
	read->nr = nr;
	for (unsigned int i = 0; i < nr; i++)
		read->remote[i] = remote[i];
	ret = ask(r, SECOND_READ, READ_NS);
	if (ret == -EAGAIN)
		return ret;
	for (unsigned int i = 0; i < nr; i++)
		head[i] = read->head[i];
	return ret;
}

unsigned int second_cpus(struct release *r)
{
	if (!r->traces)
		return cpus_online();
	return second_start(r) ? MAX(ask(r, SECOND_CPUS, OPEN_NS), 0) : 0;
}

int second_open(struct release *r, const struct victim *v, const char *path,
		int flags)
{
	struct second_read *read = &r->second_read;

	if (!r->traces)
		return sys_openat(v->dir_fd, path, flags);
	if (strlen(path) >= sizeof(read->path) || !second_start(r))
		return -EAGAIN;
	read->dir_fd = v->dir_fd;
	read->flags = flags;
	memcpy(read->path, path, strlen(path) + 1);
	return ask(r, SECOND_OPEN, OPEN_NS);
}

long second_heads(struct release *r, const struct victim *v, pid_t tid,
		  const struct iovec *remote, struct robust_head *head,
		  unsigned int nr)
{
	/* The caller's own thread must not fault a page in: it might sleep for ever. */
	if (!r->in_helper)
		return all_at_hand(v, remote, nr) ?
			       read_now(v, tid, remote, head, nr) :
			       -EAGAIN;
	/* A helper without tracees may sleep. */
	if (!r->traces)
		return read_now(v, tid, remote, head, nr);
	/* Of many, to be told that each is there takes longer than an order. */
	if ((nr < MANY_THREADS || !second_start(r)) &&
	    all_at_hand(v, remote, nr))
		return read_now(v, tid, remote, head, nr);
	return read_aside(r, v, tid, remote, head, nr);
}
