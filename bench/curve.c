/* SPDX-License-Identifier: MIT */
/*
 * Watch memory come back: a process of its own reads the charge of the
 * victim's memory cgroup, or AnonPages of the machine where there is none,
 * again and again while somebody else kills the victim.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define SAMPLES_MAX 65536
/* what is drawn is a logarithm of time: sample in proportion to it */
#define SAMPLE_NS   100000
#define SAMPLE_PART 400
/* /proc/meminfo takes too long to read to be read that often */
#define MEMINFO_NS 1000000
/* the watch ends by itself should nobody end it */
#define WATCH_NS (300 * NSEC_PER_SEC)

struct shared {
	_Atomic int64_t killed_ns;
	_Atomic size_t nr;
	struct curve_point point[SAMPLES_MAX];
};

struct recorder {
	struct bench_memcg memcg;
	struct shared *shared;
	pid_t pid;
};

static int64_t usage_bytes(const struct bench_memcg *m)
{
	char buf[32];
	ssize_t n;

	if (m->usage_fd < 0)
		return meminfo_bytes("AnonPages");
	n = pread(m->usage_fd, buf, sizeof(buf) - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	return strtoll(buf, NULL, 10);
}

/* Ahead of the busy loops, or the curve shows our turns instead of theirs. */
static void be_punctual(void)
{
	struct sched_param param = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_FIFO, &param))
		setpriority(PRIO_PROCESS, 0, -20);
}

__attribute__((noreturn)) static void watch(struct recorder *r)
{
	struct shared *sh = r->shared;
	int64_t end = now_ns() + WATCH_NS;
	size_t nr = 0;

	be_punctual();
	while (nr < SAMPLES_MAX && now_ns() < end) {
		int64_t killed = atomic_load(&sh->killed_ns);
		int64_t nap = r->memcg.usage_fd < 0 ? MEMINFO_NS : SAMPLE_NS;
		struct timespec ts;

		sh->point[nr].bytes = usage_bytes(&r->memcg);
		sh->point[nr].at_ns = now_ns();
		if (killed && sh->point[nr].at_ns - killed > 0)
			nap += (sh->point[nr].at_ns - killed) / SAMPLE_PART;
		else if (!killed)
			/* only the last one before the kill is of use */
			nr = 0;
		atomic_store(&sh->nr, ++nr);
		ts.tv_sec = 0;
		ts.tv_nsec = nap < NSEC_PER_SEC ? nap : NSEC_PER_SEC - 1;
		nanosleep(&ts, NULL);
	}
	_exit(0);
}

/* The victim joins recorder_procs_fd() before it touches its memory. */
struct recorder *recorder_start(void)
{
	struct recorder *r = calloc(1, sizeof(*r));

	if (!r)
		bench_die("out of memory");
	memcg_make("curve", &r->memcg);
	r->shared = mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->shared == MAP_FAILED)
		bench_die("mmap: %m");
	return r;
}

int recorder_procs_fd(const struct recorder *r)
{
	return r->memcg.procs_fd;
}

/* Just before the kill: everything sampled from here on counts. */
void recorder_arm(struct recorder *r)
{
	pid_t self = getpid();

	fflush(NULL);
	r->pid = fork();
	if (r->pid < 0)
		bench_die("fork: %m");
	if (!r->pid) {
		tie_to_parent(self);
		watch(r);
	}
	while (!atomic_load(&r->shared->nr))
		sched_yield();
	atomic_store(&r->shared->killed_ns, now_ns());
}

/* After the kill: what was sampled, in time since SIGKILL. */
void recorder_stop(struct recorder *r, int64_t start_ns, struct curve *curve)
{
	struct shared *sh = r->shared;
	int64_t last;
	size_t nr;

	/* the last step down must be on it */
	nap_ms(20);
	kill(r->pid, SIGKILL);
	while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
		;
	nr = atomic_load(&sh->nr);
	curve->point = calloc(nr, sizeof(*curve->point));
	if (!nr || !curve->point)
		bench_die("nothing was sampled");
	last = sh->point[nr - 1].bytes;
	/* AnonPages counts every process: only what went is the victim's */
	if (r->memcg.usage_fd >= 0)
		last = 0;
	for (size_t i = 0; i < nr; i++) {
		curve->point[i].at_ns = sh->point[i].at_ns - start_ns;
		curve->point[i].bytes = sh->point[i].bytes - last;
	}
	curve->nr = nr;
	curve->start_ns = start_ns;
}

/* Once the victim has been reaped: its cgroup is empty then. */
void recorder_end(struct recorder *r)
{
	if (!r)
		return;
	memcg_end(&r->memcg);
	munmap(r->shared, sizeof(*r->shared));
	free(r);
}
