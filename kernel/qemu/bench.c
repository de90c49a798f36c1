// SPDX-License-Identifier: GPL-2.0-only
/*
 * bench WHAT: the numbers that the logs of the series quote.
 *
 *	exit N		fork + exit + wait, and fork + exec + exit + wait; under
 *			-icount shift=0 a nanosecond is an instruction
 *	meet N		kill + process_mrelease of a victim of 64 mappings that
 *			is free to run, and frees its memory at the same time
 *	esrch N		how often kill, a delay, process_mrelease finds nothing
 *	back N [STATE]	from the kill to the last byte of 64 MiB uncharged, of a
 *			victim that is free to run, starved, or stuck in state
 *			D: median, p95, p99; and whether EXPEDITE is behind kill +
 *			process_mrelease by more than chance explains
 *	locks N		how often the page table locks of a victim of 256 MiB
 *			are fought for, it on one CPU and process_mrelease on
 *			another; for a kernel with CONFIG_LOCK_STAT
 *	threads N	process_mrelease of a victim with N threads that hold no
 *			robust futex and cannot run meanwhile
 *	split N		process_mrelease of 1 GiB that cannot exit, by a caller that
 *			no worker can help and by one that has help, in turns
 *	oom N		from the death of a victim of the OOM killer, 1 GiB, that
 *			cannot exit, until its memory is gone
 *	cache N		process_mrelease of a zombie that has 16 MiB of a file
 *			mapped, which somebody else has used as well: with and
 *			without its page cache, and with a mapping whose use is
 *			not noted down, as if nobody had touched the pages.  On
 *			both kinds of LRU; see "exit" for -icount
 *
 * One result line each, "ok", and for "back" two more: the numbers are in the
 * comments.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <time.h>

#include "mm/mrelease_common.h"
#include "mm/mrelease_fuse.h"

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void fatal(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return x < y ? -1 : x > y;
}

enum quantile { MEDIAN, P95, P99, QUANTILES };
static const char * const quantile_names[] = { "median", "p95", "p99" };

static long long quantile(const long long *sorted, int n, enum quantile q)
{
	static const int percent[] = { 50, 95, 99 };

	return sorted[n * percent[q] / 100];
}

static void quantiles(const char *what, long long *ns, int n)
{
	qsort(ns, n, sizeof(*ns), compare);
	printf("%s: median %lld us, p95 %lld us, p99 %lld us, max %lld us, n %d\n",
	       what, quantile(ns, n, MEDIAN) / 1000,
	       quantile(ns, n, P95) / 1000, quantile(ns, n, P99) / 1000,
	       ns[n - 1] / 1000, n);
}

static unsigned int coin(void)
{
	static unsigned long long x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 63;
}

/* @b minus @a, for each quantile; round i of one belongs to that of the other */
static void differences(const long long *a, const long long *b, int n,
			bool swap, long long *diff)
{
	static long long *x, *y;
	int i;

	x = realloc(x, n * sizeof(*x));
	y = realloc(y, n * sizeof(*y));
	for (i = 0; i < n; i++) {
		bool other = swap && coin();

		x[i] = other ? b[i] : a[i];
		y[i] = other ? a[i] : b[i];
	}
	qsort(x, n, sizeof(*x), compare);
	qsort(y, n, sizeof(*y), compare);
	for (i = 0; i < QUANTILES; i++)
		diff[i] = quantile(y, n, i) - quantile(x, n, i);
}

/*
 * Is @b slower than @a?  If it is not, it makes no difference which of the two
 * numbers of a round is whose.  So swap them at random, many times, and see how
 * far the quantiles come apart by chance: further than they did, in all but one
 * of 500 times, and it was not chance.  What chance can do is also the smallest
 * difference that would have been seen: if that is a fifth of the time itself,
 * nothing has been shown.
 */
static void judge(const char *what, int result, const long long *a,
		  const long long *b, int n)
{
	enum { SWAPS = 4000 };
	long long got[QUANTILES], diff[QUANTILES], none[QUANTILES];
	long long *chance[QUANTILES], *zero;
	bool behind = false, blind = false;
	int i, q;

	zero = calloc(n, sizeof(*zero));
	differences(a, b, n, false, got);
	differences(zero, a, n, false, none);
	for (q = 0; q < QUANTILES; q++)
		chance[q] = calloc(SWAPS, sizeof(**chance));
	for (i = 0; i < SWAPS; i++) {
		differences(a, b, n, true, diff);
		for (q = 0; q < QUANTILES; q++)
			chance[q][i] = diff[q];
	}
	for (q = 0; q < QUANTILES; q++) {
		long long limit;

		qsort(chance[q], SWAPS, sizeof(**chance), compare);
		limit = chance[q][SWAPS - SWAPS / 500];
		printf("# %s: %s %+lld us, by chance up to %+lld us\n", what,
		       quantile_names[q], got[q] / 1000, limit / 1000);
		if (got[q] > limit)
			behind = true;
		if (q != P99 && limit > none[q] / 5)
			blind = true;
		free(chance[q]);
	}
	free(zero);
	printf("%sok %d %s%s\n", behind ? "not " : "", result, what,
	       !behind && blind ? " # SKIP the host is too busy to tell" : "");
}

static void run_exit(int n)
{
	char *argv[] = { "/tests/bench", "nothing", NULL };
	long long start = 0, ns;
	int exec, i, status;

	for (exec = 0; exec < 2; exec++) {
		/* The first ones warm caches up. */
		for (i = -500; i < n; i++) {
			pid_t pid;

			if (i == 0)
				start = now();
			pid = fork();
			if (!pid) {
				if (exec)
					execv(argv[0], argv);
				_exit(0);
			}
			if (pid < 0 || waitpid(pid, &status, 0) != pid)
				fatal("fork");
		}
		ns = now() - start;
		printf("# cost: %s %lld ns each, n %d\n",
		       exec ? "fork+exec+exit+wait" : "fork+exit+wait", ns / n,
		       n);
	}
}

/* A victim with @nr mappings, so that they do not merge. */
static pid_t many_mappings(int nr, size_t size)
{
	int pfd[2], i;
	pid_t pid;
	char c;

	if (pipe(pfd))
		fatal("pipe");
	pid = fork();
	if (pid < 0)
		fatal("fork");
	if (!pid) {
		char *mem = mmap(NULL, nr * 2 * size, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				 -1, 0);

		for (i = 0; i < nr; i++) {
			if (mprotect(mem + i * 2 * size, size,
				     PROT_READ | PROT_WRITE))
				_exit(1);
			memset(mem + i * 2 * size, 1, size);
		}
		if (write(pfd[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(pfd[1]);
	if (read(pfd[0], &c, 1) != 1)
		fatal("victim");
	close(pfd[0]);
	return pid;
}

static void run_meet(int n)
{
	long long *reap = calloc(n, sizeof(*reap)), start;
	long long *gone = calloc(n, sizeof(*gone));
	int i, got = 0, missed = 0;

	for (i = 0; i < n; i++) {
		pid_t pid = many_mappings(64, 2 * MB);
		int fd = mr_pidfd_open(pid, 0), ret;

		start = now();
		mr_send(fd, SIGKILL, NULL, 0);
		ret = mr_release(fd, 0);
		reap[got] = now() - start;
		waitpid(pid, NULL, 0);
		gone[got] = now() - start;
		if (ret)
			missed++;
		else
			got++;
		close(fd);
	}
	printf("# 128 MiB in 64 mappings, kill + process_mrelease, errors %d\n",
	       missed);
	if (got) {
		quantiles("# kill to return", reap, got);
		quantiles("# kill to exit", gone, got);
	}
}

static void run_esrch(int n)
{
	static const size_t sizes[] = { 0, MB, 16 * MB, 64 * MB };
	static const int delays[] = { 0, 50, 200, 1000, 10000 };
	size_t s, d;
	int i;

	for (s = 0; s < 4; s++) {
		for (d = 0; d < 5; d++) {
			int esrch = 0;

			for (i = 0; i < n; i++) {
				struct mr_victim v;
				long long end;

				if (mr_spawn(&v, sizes[s], false))
					fatal("victim");
				mr_send(v.pidfd, SIGKILL, NULL, 0);
				end = now() + delays[d] * 1000LL;
				while (now() < end)
					;
				esrch += mr_release(v.pidfd, 0) == -ESRCH;
				mr_reap(&v);
			}
			printf("# %3zu MiB, %5d us after the kill: ESRCH %d of %d\n",
			       sizes[s] / MB, delays[d], esrch, n);
		}
	}
}

enum way { WAIT, RELEASE, EXPEDITE, WAYS };
static const char * const ways[] = {
	"kill + wait", "kill + process_mrelease", "EXPEDITE",
};

enum state { FREE, STARVED, STUCK, STATES };
static const char * const states[] = {
	"free", "starved", "stuck",
};

/* Two loops that have something better to do, on a machine with two CPUs. */
static void hogs(pid_t *pids)
{
	int i;

	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			fatal("fork");
		if (!pids[i])
			for (;;)
				;
	}
}

static char state_of(pid_t pid)
{
	char path[64], buf[256] = "", *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = '\0';
	close(fd);
	p = strrchr(buf, ')');
	return p ? p[2] : 0;
}

/*
 * Waits for a server that has its request and does not answer: once killed, in
 * state D until the server is gone.
 */
static void spawn_stuck(struct mr_victim *v, struct mr_server *s, size_t size)
{
	char path[64], c;
	int pfd[2];

	memset(v, 0, sizeof(*v));
	if (!mr_cgroup_make(&v->cg) || pipe(pfd))
		fatal("cgroup");
	v->pid = fork();
	if (v->pid < 0)
		fatal("fork");
	if (!v->pid) {
		char *buf;
		int fd;

		close(s->fd);
		mr_cgroup_join(&v->cg);
		buf = mr_fill(size);
		if (write(pfd[1], "", 1) != 1)
			_exit(1);
		snprintf(path, sizeof(path), "%s/file", s->dir);
		fd = open(path, O_RDONLY | O_DIRECT);
		if (fd < 0 || read(fd, buf, 4096) != 4096)
			_exit(1);
		_exit(0);
	}
	if (read(pfd[0], &c, 1) != 1)
		fatal("victim");
	close(pfd[0]);
	close(pfd[1]);
	mr_wait_stalled(s);
	if (mr_adopt(v, v->pid, NULL, size))
		fatal("pidfd");
}

/* Longer than that, and it is said that it was longer. */
#define PATIENCE_NS 3000000000LL

/* From the kill until the charge says that the memory is back. */
static long long one_back(enum state state, enum way way)
{
	struct mr_server server = {};
	struct sched_param sp = {};
	long long start, ns;
	struct mr_victim v;

	if (state == STUCK) {
		if (mr_server_start(&server))
			fatal("FUSE");
		spawn_stuck(&v, &server, 64 * MB);
	} else if (mr_spawn(&v, 64 * MB, true)) {
		fatal("victim");
	}
	if (state == STARVED)
		sched_setscheduler(v.pid, SCHED_IDLE, &sp);
	start = now();
	if (way == EXPEDITE) {
		mr_send(v.pidfd, SIGKILL, NULL, PIDFD_SIGNAL_EXPEDITE);
	} else {
		mr_send(v.pidfd, SIGKILL, NULL, 0);
		if (way == RELEASE)
			mr_release(v.pidfd, 0);
	}
	while (mr_cgroup_current(&v.cg) > (long)(2 * MB) &&
	       now() - start < PATIENCE_NS)
		usleep(100);
	ns = now() - start;
	/* Its exit is not what is measured. */
	if (state == STARVED)
		sched_setscheduler(v.pid, SCHED_OTHER, &sp);
	if (state == STUCK) {
		if (state_of(v.pid) != 'D')
			fatal("the victim is not stuck");
		mr_server_stop(&server);
	}
	mr_reap(&v);
	return ns;
}

/*
 * The ways take turns, in every order, so that what else happens hits all of
 * them.  "Starved": the victim is SCHED_IDLE and both CPUs are busy, as with a
 * batch job on a loaded machine.
 */
static void run_back(int n, const char *only)
{
	static const int orders[][WAYS] = {
		{ WAIT, RELEASE, EXPEDITE }, { EXPEDITE, RELEASE, WAIT },
		{ RELEASE, WAIT, EXPEDITE }, { EXPEDITE, WAIT, RELEASE },
		{ WAIT, EXPEDITE, RELEASE }, { RELEASE, EXPEDITE, WAIT },
	};
	int state, way, k, t, last = mr_has_expedite() ? EXPEDITE : RELEASE;
	int result = 2;
	long long *ns[WAYS];

	for (way = 0; way < WAYS; way++)
		ns[way] = calloc(n + 4, sizeof(**ns));
	for (state = 0; state < STATES; state++) {
		/* The first way takes all of the patience each time. */
		int rounds = state == STARVED ? (n + 9) / 10 : n;
		pid_t h[2] = {};

		if (only && strcmp(only, states[state]))
			continue;
		if (state == STARVED)
			hogs(h);
		for (k = 0; k < rounds; k++) {
			for (t = 0; t < WAYS; t++) {
				way = orders[k % 6][t];
				/* That one never comes back. */
				if (state == STUCK && way == WAIT && k >= 3)
					continue;
				if (way <= last)
					ns[way][k] = one_back(state, way);
			}
		}
		for (k = 0; k < 2 && state == STARVED; k++) {
			kill(h[k], SIGKILL);
			waitpid(h[k], NULL, 0);
		}
		/*
		 * Not if starved: a victim that has begun to free its memory
		 * and gets no CPU keeps what it has in its hands, also if the
		 * rest is reaped.
		 */
		if (state != STARVED && last == EXPEDITE)
			judge(state == FREE ?
			      "EXPEDITE against kill + process_mrelease, free" :
			      "EXPEDITE against kill + process_mrelease, stuck",
			      result++, ns[RELEASE], ns[EXPEDITE], rounds);
		for (way = 0; way <= last; way++) {
			if (state == STUCK && way == WAIT) {
				printf("# 64 MiB back, %s, %s: not within 3 s, %d of 3\n",
				       states[state], ways[way],
				       (ns[way][0] >= PATIENCE_NS) +
				       (ns[way][1] >= PATIENCE_NS) +
				       (ns[way][2] >= PATIENCE_NS));
				continue;
			}
			printf("# 64 MiB back, %s, ", states[state]);
			quantiles(ways[way], ns[way], rounds);
		}
	}
	for (way = 0; way < WAYS; way++)
		free(ns[way]);
}

struct lock_counts {
	long long contentions, wait_us, acquisitions;
};

/* Of all locks of page tables: the numbers that belong to their names. */
static void ptlock_counts(struct lock_counts *c)
{
	FILE *f = fopen("/proc/lock_stat", "re");
	char line[512], *p;

	memset(c, 0, sizeof(*c));
	if (!f)
		fatal("/proc/lock_stat");
	while (fgets(line, sizeof(line), f)) {
		double bounces, contentions, min, max, total, avg, moved, got;

		p = strstr(line, "ptlock_ptr");
		if (!p || !strchr(p, ':'))
			continue;
		if (sscanf(strchr(p, ':') + 1, "%lf %lf %lf %lf %lf %lf %lf %lf",
			   &bounces, &contentions, &min, &max, &total, &avg,
			   &moved, &got) != 8)
			continue;
		c->contentions += contentions;
		c->wait_us += total;
		c->acquisitions += got;
	}
	fclose(f);
}

static void on_cpu(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fatal("affinity");
}

static void run_locks(int n)
{
	static const int mappings[] = { 128, 1 };
	int m, i;

	for (m = 0; m < 2; m++) {
		struct lock_counts sum = {}, c;
		long long *ns = calloc(n, sizeof(*ns)), start;
		int missed = 0;

		for (i = 0; i < n; i++) {
			pid_t pid;
			int fd;

			on_cpu(1);
			pid = many_mappings(mappings[m],
					    256 * MB / mappings[m]);
			on_cpu(0);
			fd = mr_pidfd_open(pid, 0);
			if (!mr_write_file("/proc/lock_stat", "0"))
				fatal("/proc/lock_stat");
			start = now();
			mr_send(fd, SIGKILL, NULL, 0);
			missed += mr_release(fd, 0) != 0;
			waitpid(pid, NULL, 0);
			ns[i] = now() - start;
			ptlock_counts(&c);
			sum.contentions += c.contentions;
			sum.wait_us += c.wait_us;
			sum.acquisitions += c.acquisitions;
			close(fd);
		}
		printf("# 256 MiB in %d mappings, %d times, errors %d: page table locks taken %lld times, contended %lld times, waited for %lld us\n",
		       mappings[m], n, missed, sum.acquisitions,
		       sum.contentions, sum.wait_us);
		quantiles("# kill to exit", ns, n);
		free(ns);
	}
}

static int threads_up;

static void *sleeper(void *arg)
{
	__atomic_add_fetch(&threads_up, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return arg;
}

/* All of it on one CPU, where the caller has the say. */
static void run_threads(int n)
{
	struct sched_param sp = { .sched_priority = 50 };
	size_t stack = 4 * 4096;
	long long ns[5], start;
	cpu_set_t one;
	int i, pfd[2], ret = 0;
	pid_t pid;
	char c;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one) || pipe(pfd))
		fatal("setup");
	for (i = 0; i < 5; i++) {
		pid = fork();
		if (pid < 0)
			fatal("fork");
		if (!pid) {
			char *stacks = mmap(NULL, n * stack,
					    PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			pthread_attr_t attr;
			pthread_t t;
			int k;

			pthread_attr_init(&attr);
			for (k = 0; k < n; k++) {
				pthread_attr_setstack(&attr, stacks + k * stack,
						      stack);
				if (pthread_create(&t, &attr, sleeper, NULL))
					_exit(1);
			}
			while (__atomic_load_n(&threads_up, __ATOMIC_SEQ_CST) < n)
				sched_yield();
			if (write(pfd[1], "", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		if (read(pfd[0], &c, 1) != 1)
			fatal("threads");
		ret = mr_pidfd_open(pid, 0);
		if (sched_setscheduler(0, SCHED_FIFO, &sp))
			fatal("SCHED_FIFO");
		mr_send(ret, SIGKILL, NULL, 0);
		start = now();
		if (mr_release(ret, 0))
			fatal("process_mrelease");
		ns[i] = now() - start;
		sp.sched_priority = 0;
		sched_setscheduler(0, SCHED_OTHER, &sp);
		sp.sched_priority = 50;
		waitpid(pid, NULL, 0);
		close(ret);
	}
	printf("# %d threads, ", n);
	quantiles("process_mrelease", ns, 5);
}

static pid_t oom_child(struct mr_cgroup *cg, const char *adj, size_t size,
		       int up)
{
	pid_t pid = fork();
	char *addr;

	if (pid < 0)
		fatal("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mr_cgroup_join(cg);
	mr_write_file("/proc/self/oom_score_adj", adj);
	addr = mr_fill(size);
	if (write(up, &addr, sizeof(addr)) != sizeof(addr))
		_exit(1);
	for (;;)
		pause();
}

static void run_oom(int n)
{
	long long *ns = calloc(n, sizeof(*ns)), start;
	size_t size = 1024 * MB;
	int i, pfd[2], status;

	if (pipe(pfd))
		fatal("pipe");
	for (i = 0; i < n; i++) {
		struct mr_victim v = {};
		struct mr_cgroup cg;
		pid_t pid, filler;
		char file[128], *addr;

		if (!mr_cgroup_make(&cg))
			fatal("cgroup");
		snprintf(file, sizeof(file), "%s/memory.max", cg.path);
		mr_write_file(file, "1100M");
		pid = oom_child(&cg, "1000", size, pfd[1]);
		if (read(pfd[0], &addr, sizeof(addr)) != sizeof(addr) || !addr)
			fatal("victim");
		mr_adopt(&v, pid, addr, size);
		if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT))
			fatal("ptrace");
		filler = oom_child(&cg, "-1000", 200 * MB, pfd[1]);
		if (waitpid(pid, &status, __WALL) != pid ||
		    status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
			fatal("exit stop");
		start = now();
		while (mr_pages_there(&v))
			sched_yield();
		ns[i] = now() - start;
		ptrace(PTRACE_CONT, pid, NULL, NULL);
		kill(filler, SIGKILL);
		waitpid(filler, NULL, 0);
		mr_reap(&v);
		mr_cgroup_remove(&cg);
	}
	quantiles("# OOM kill of 1 GiB, memory gone after", ns, n);
}

/* Touches all of the file, and tells the address of some other memory. */
static void cache_child(int fd, size_t size, bool noted, int up)
{
	char *addr, *other;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	addr = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (addr == MAP_FAILED || (!noted && madvise(addr, size, MADV_RANDOM)))
		_exit(1);
	for (i = 0; i < size; i += 4096)
		*(volatile char *)(addr + i);
	if (up < 0)
		_exit(0);
	other = mr_fill(4096);
	if (write(up, &other, sizeof(other)) != sizeof(other))
		_exit(1);
	for (;;)
		pause();
}

static long long one_cache(int fd, size_t size, bool noted, unsigned int flags)
{
	struct mr_reader r = {};
	struct mr_victim v;
	long long start;
	int pfd[2], status, ret;
	char *addr;
	pid_t pid;

	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ||
	    pipe(pfd))
		fatal("setup");
	pid = fork();
	if (!pid)
		cache_child(fd, size, true, -1);
	if (waitpid(pid, &status, 0) != pid || status)
		fatal("the one who was there before");
	pid = fork();
	if (!pid)
		cache_child(fd, size, noted, pfd[1]);
	if (read(pfd[0], &addr, sizeof(addr)) != sizeof(addr))
		fatal("victim");
	memset(&v, 0, sizeof(v));
	if (mr_adopt(&v, pid, addr, 4096) || mr_reader_start(&r, &v))
		fatal("victim");
	kill(pid, SIGKILL);
	mr_wait_zombie(&v);
	start = now();
	ret = mr_release(v.pidfd, flags);
	start = now() - start;
	mr_reader_stop(&r);
	mr_reap(&v);
	close(pfd[0]);
	close(pfd[1]);
	if (ret)
		fatal("process_mrelease");

	return start;
}

static void run_cache(int n)
{
	static const char * const lru[] = { "classic LRU", "MGLRU" };
	char buf[4096] = "";
	size_t size = 16 * MB, i;
	int fd, gen, way, k;

	fd = open("/mnt/ext2/bench", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		fatal("/mnt/ext2");
	for (i = 0; i < size; i += sizeof(buf))
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			fatal("write");
	for (gen = 0; gen < 2; gen++) {
		if (!mr_write_file("/sys/kernel/mm/lru_gen/enabled",
				   gen ? "7" : "0"))
			fatal("lru_gen");
		for (way = 0; way < 4; way++) {
			bool evict = way & 2, noted = !(way & 1);
			long long sum = 0;

			if (evict && !mr_has_evict())
				continue;
			/* The first one warms caches up. */
			for (k = -1; k < n; k++) {
				long long ns = one_cache(fd, size, noted,
					evict ? PROCESS_MRELEASE_EVICT : 0);

				sum += k < 0 ? 0 : ns;
			}
			printf("# cache: %s, %s, use %s: %lld ns a page, n %d\n",
			       lru[gen], evict ? "evict" : "reap",
			       noted ? "noted" : "not noted",
			       sum / n / (long long)(size / 4096), n);
		}
	}
	close(fd);
}

static double fine_per_ns = 1;

/* The clock of this machine ticks every 4 ms; where there is a finer one: */
static long long fine_now(void)
{
#ifdef __x86_64__
	static long long first_ns, first;
	long long ticks = __builtin_ia32_rdtsc();

	if (!first) {
		first_ns = now();
		first = ticks;
		do {
			ticks = __builtin_ia32_rdtsc();
		} while (now() - first_ns < 1000000000LL);
		fine_per_ns = (double)(ticks - first) / (now() - first_ns);
	}
	return (ticks - first) / fine_per_ns;
#else
	return now();
#endif
}

#define REAP_CPUMASK "/sys/devices/virtual/workqueue/mm_reap/cpumask"

/*
 * The caller is on CPU 0 and does not leave it.  Workers that may run there
 * only, do not run before it is through: then it walks alone.
 */
static long long one_split(size_t size, const char *cpus)
{
	struct sched_param sp = { .sched_priority = 50 };
	struct mr_victim v = {};
	long long start, ns;
	char *addr = NULL;
	int pfd[2], status;

	if (cpus && !mr_write_file(REAP_CPUMASK, cpus))
		fatal(REAP_CPUMASK);
	if (pipe(pfd))
		fatal("pipe");
	v.pid = fork();
	if (v.pid < 0)
		fatal("fork");
	if (!v.pid) {
		cpu_set_t other;

		/* Where it stops when it dies: not in our way. */
		CPU_ZERO(&other);
		CPU_SET(1, &other);
		sched_setaffinity(0, sizeof(other), &other);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		addr = mr_fill(size);
		if (write(pfd[1], &addr, sizeof(addr)) != sizeof(addr))
			_exit(1);
		for (;;)
			pause();
	}
	if (read(pfd[0], &addr, sizeof(addr)) != sizeof(addr) || !addr)
		fatal("victim");
	close(pfd[0]);
	close(pfd[1]);
	if (mr_adopt(&v, v.pid, addr, size) ||
	    ptrace(PTRACE_SEIZE, v.pid, NULL, PTRACE_O_TRACEEXIT))
		fatal("ptrace");
	mr_send(v.pidfd, SIGKILL, NULL, 0);
	if (waitpid(v.pid, &status, __WALL) != v.pid ||
	    status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
		fatal("exit stop");
	if (sched_setscheduler(0, SCHED_FIFO, &sp))
		fatal("SCHED_FIFO");
	start = fine_now();
	status = mr_release(v.pidfd, 0);
	ns = fine_now() - start;
	sp.sched_priority = 0;
	sched_setscheduler(0, SCHED_OTHER, &sp);
	if (status || mr_pages_there(&v))
		fatal("process_mrelease");
	ptrace(PTRACE_CONT, v.pid, NULL, NULL);
	mr_reap(&v);
	return ns;
}

/* @n times 1 GiB, smaller ones more often, and each at least 20 times. */
static void run_split(int n)
{
	static const size_t sizes[] = { 1024 * MB, 256 * MB, 64 * MB };
	bool workers = !access(REAP_CPUMASK, W_OK);
	cpu_set_t one;
	char what[64];
	int i, s, m;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fatal("affinity");
	fine_now();
	for (s = 2; s >= 0; s--) {
		long long *ns[2];

		m = n * (sizes[0] / sizes[s]);
		if (m < 20)
			m = 20;
		ns[0] = calloc(m, sizeof(**ns));
		ns[1] = calloc(m, sizeof(**ns));
		for (i = -1; i < m; i++) {
			/* The first one warms up. */
			int k = i < 0 ? 0 : i;

			ns[0][k] = one_split(sizes[s], workers ? "1" : NULL);
			if (workers)
				ns[1][k] = one_split(sizes[s], "3");
		}
		for (i = 0; i < 1 + workers; i++) {
			snprintf(what, sizeof(what), "# %zu MiB, %s",
				 sizes[s] / MB, i ? "split" : "one CPU");
			quantiles(what, ns[i], m);
			printf("%s: best %lld us, first tenth %lld us, first quarter %lld us\n",
			       what, ns[i][0] / 1000, ns[i][m / 10] / 1000,
			       ns[i][m / 4] / 1000);
		}
		if (workers)
			printf("# %zu MiB: ratio of the medians %.2f, first quarters %.2f, first tenths %.2f, best %.2f\n",
			       sizes[s] / MB,
			       (double)ns[0][m / 2] / ns[1][m / 2],
			       (double)ns[0][m / 4] / ns[1][m / 4],
			       (double)ns[0][m / 10] / ns[1][m / 10],
			       (double)ns[0][0] / ns[1][0]);
		free(ns[0]);
		free(ns[1]);
	}
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (n <= 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%d\n", strcmp(argv[1], "back") || !mr_has_expedite() ? 1 :
			  argv[3] ? 2 : 3);
	if (!strcmp(argv[1], "exit"))
		run_exit(n);
	else if (!strcmp(argv[1], "meet"))
		run_meet(n);
	else if (!strcmp(argv[1], "esrch"))
		run_esrch(n);
	else if (!strcmp(argv[1], "back"))
		run_back(n, argv[3]);
	else if (!strcmp(argv[1], "locks"))
		run_locks(n);
	else if (!strcmp(argv[1], "threads"))
		run_threads(n);
	else if (!strcmp(argv[1], "split"))
		run_split(n);
	else if (!strcmp(argv[1], "oom"))
		run_oom(n);
	else if (!strcmp(argv[1], "cache"))
		run_cache(n);
	else
		return 2;
	printf("ok 1 %s\n", argv[1]);
	return 0;
}
