/* SPDX-License-Identifier: MIT */
/*
 * Starts a load, and writes down what happens until memory is back and some
 * seconds more, for those who are killed too late to be of any use.  It is
 * locked in memory, real-time, and nobody's victim; nothing is printed before
 * the end, so that it does not disturb.  Its lines are read by runs.c.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "watch.h"

#define PERIOD	       (20 * MSEC)
#define SIZES_PERIOD   (200 * MSEC)
#define AFTERWARDS     (5 * SEC)
#define LOW_PERCENT    10
#define ENOUGH_PERCENT 15
#define MAX_SAMPLES    4096
#define MAX_SIZES      4096
/* how long memory may be low before it counts as never back */
#define AT_MOST_LOW (20 * SEC)
#define NR_STACKS   4
#define STACK_ROOM  2048
#define MAX_HOGS    128
/* a change of a hog's size that is written down, KiB */
#define SIZE_STEP 2048

struct sample {
	int32_t ms;
	uint32_t avail_kib;
	uint32_t free_kib;
	uint32_t swap_kib;
	uint32_t hog_kib;
	/* PSI full avg10, hundredths of a percent */
	uint32_t full;
};

struct size {
	int32_t ms;
	pid_t pid;
	uint32_t kib;
};

static struct {
	int64_t start_ns;
	uint64_t total_kib;
	uint64_t swap_kib;
	struct slot *slots;
	int pidfd[NR_INNOCENTS];
	int32_t died_ms[NR_INNOCENTS];
	struct sample samples[MAX_SAMPLES];
	size_t nr_samples;
	struct size sizes[MAX_SIZES];
	size_t nr_sizes;
	/* the last size of each hog, by its turn in cgroup.procs */
	struct size last[MAX_HOGS];
	bool seen_hogs;
	bool hogs;
	int64_t low_ns;
	int64_t back_ns;
	char stacks[NR_STACKS][STACK_ROOM];
	size_t nr_stacks;
} w;

static int32_t since_start(int64_t ns)
{
	return (int32_t)((ns - w.start_ns) / MSEC);
}

static void take_sample(int64_t now)
{
	struct sample *s = &w.samples[w.nr_samples];
	char buf[4096], *full;

	read_text("/proc/meminfo", buf, sizeof(buf));
	s->ms = since_start(now);
	s->avail_kib = (uint32_t)number_after(buf, "MemAvailable:");
	s->free_kib = (uint32_t)number_after(buf, "MemFree:");
	s->swap_kib = (uint32_t)number_after(buf, "SwapFree:");
	read_text(HOG_SLICE "/memory.current", buf, sizeof(buf));
	s->hog_kib = (uint32_t)(strtoull(buf, NULL, 10) >> 10);
	read_text("/proc/pressure/memory", buf, sizeof(buf));
	full = strstr(buf, "full avg10=");
	s->full = full ? (uint32_t)(strtod(full + 11, NULL) * 100) : 0;
	/* With swap left, somebody may still be waited for. */
	if (!w.low_ns && s->avail_kib * 100 < w.total_kib * LOW_PERCENT &&
	    s->swap_kib * 100 <= w.swap_kib * LOW_PERCENT)
		w.low_ns = now;
	if (s->avail_kib * 100 < w.total_kib * ENOUGH_PERCENT)
		w.back_ns = 0;
	else if (!w.back_ns)
		w.back_ns = now;
	if (w.nr_samples + 1 < MAX_SAMPLES)
		w.nr_samples++;
}

static void note_size(int64_t now, pid_t pid)
{
	struct size *last = w.last;
	char path[64], buf[128];
	uint32_t kib;

	while (last->pid != pid) {
		if (!last->pid)
			last->pid = pid;
		else if (++last == w.last + MAX_HOGS)
			return;
	}
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	if (read_text(path, buf, sizeof(buf)) <= 0)
		return;
	kib = (uint32_t)strtoul(strchr(buf, ' ') ?: "", NULL, 10) * 4;
	/* nothing left: what it had at its death is what counts */
	if (!kib ||
	    (kib < last->kib + SIZE_STEP && last->kib < kib + SIZE_STEP))
		return;
	last->kib = kib;
	last->ms = since_start(now);
	if (w.nr_sizes < MAX_SIZES)
		w.sizes[w.nr_sizes++] = *last;
}

static void note_sizes(int64_t now, char *const units[])
{
	char path[256], buf[2048];

	read_text(HOG_SLICE "/cgroup.events", buf, sizeof(buf));
	w.hogs = number_after(buf, "populated ");
	if (w.hogs)
		w.seen_hogs = true;
	for (; *units; units++) {
		snprintf(path, sizeof(path), HOG_SLICE "/%s/cgroup.procs",
			 *units);
		read_text(path, buf, sizeof(buf));
		for (char *p = buf; *p;) {
			pid_t pid = (pid_t)strtol(p, &p, 10);

			if (pid > 0)
				note_size(now, pid);
			while (*p == '\n')
				p++;
		}
	}
}

static void note_deaths(int64_t now)
{
	for (unsigned int i = 0; i < NR_INNOCENTS; i++) {
		struct pollfd p = { .fd = w.pidfd[i], .events = POLLIN };
		struct slot *s = &w.slots[i];
		int64_t due = s->due_ns;

		if (p.fd < 0)
			continue;
		if (poll(&p, 1, 0) == 1) {
			close(p.fd);
			w.pidfd[i] = -1;
			w.died_ms[i] = since_start(now);
		} else if (due && now - due > s->worst_ns) {
			/* an answer that is still owed */
			s->worst_ns = now - due;
		}
	}
}

/*
 * Where the daemon is when memory has been low for a while: what it waits for
 * it does not tell afterwards.
 */
static void note_stacks(int64_t now)
{
	static const int after_ms[NR_STACKS] = { 300, 1000, 3000, 8000 };
	const char *pid = getenv("DAEMON_PID");
	char path[64];

	if (!pid || !w.low_ns || w.nr_stacks == NR_STACKS ||
	    (now - w.low_ns) / MSEC < after_ms[w.nr_stacks])
		return;
	snprintf(path, sizeof(path), "/proc/%s/stack", pid);
	read_text(path, w.stacks[w.nr_stacks++], STACK_ROOM);
}

static void print_stacks(void)
{
	for (size_t i = 0; i < w.nr_stacks; i++) {
		printf("# stack %zu\n", i);
		for (char *p = strtok(w.stacks[i], "\n"); p;
		     p = strtok(NULL, "\n"))
			printf("#   %s\n", p);
	}
}

static void print_all(void)
{
	char buf[4096];

	printf("total %lu\n", (unsigned long)w.total_kib);
	for (size_t i = 0; i < w.nr_samples; i++) {
		const struct sample *s = &w.samples[i];

		/* every second one is enough for a picture */
		if (i % 2 == 0)
			printf("sample %d %u %u %u %u %u\n", s->ms,
			       s->avail_kib, s->free_kib, s->swap_kib,
			       s->hog_kib, s->full);
	}
	for (size_t i = 0; i < w.nr_sizes; i++)
		printf("size %d %d %u\n", w.sizes[i].ms, w.sizes[i].pid,
		       w.sizes[i].kib);
	for (unsigned int i = 0; i < NR_INNOCENTS; i++) {
		printf("innocent %u %d %ld %lu\n", i, w.slots[i].pid,
		       (long)(w.slots[i].worst_ns / MSEC),
		       (unsigned long)w.slots[i].answers);
		if (w.pidfd[i] < 0)
			printf("died %d %u\n", w.died_ms[i], i);
	}
	print_stacks();
	printf("# started at %.3f\n", (double)w.start_ns / 1e9);
	trace_print(w.start_ns);
	read_text("/proc/vmstat", buf, sizeof(buf));
	printf("oomkills %lu\n", (unsigned long)number_after(buf, "oom_kill "));
	printf("hogsleft %d\n", w.hogs);
	fflush(stdout);
}

static void prepare(void)
{
	w.slots = map_slots();
	w.total_kib = meminfo("MemTotal:") >> 10;
	w.swap_kib = meminfo("SwapTotal:") >> 10;
	for (unsigned int i = 0; i < NR_INNOCENTS; i++) {
		struct slot *s = &w.slots[i];

		w.pidfd[i] = (int)syscall(SYS_pidfd_open, s->pid, 0);
		if (w.pidfd[i] < 0)
			die("an innocent is missing");
		s->worst_ns = 0;
		s->answers = 0;
	}
	if (!trace_start())
		die("tracing");
	write_text("/proc/self/oom_score_adj", "-1000");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		die("mlockall");
}

static void start_load(char *const units[])
{
	const char *argv[8] = { "systemctl", "--no-block", "start" };
	size_t nr = 3;

	while (*units && nr + 1 < ARRAY_SIZE(argv))
		argv[nr++] = *units++;
	if (fork())
		return;
	write_text("/proc/self/oom_score_adj", "0");
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* @limit_ns counts from the start, or from where memory is low. */
static bool is_over(int64_t now, int64_t limit_ns)
{
	if (w.seen_hogs && !w.hogs && w.back_ns && now - w.back_ns > AFTERWARDS)
		return true;
	if (w.low_ns)
		return now - w.low_ns > AT_MOST_LOW;
	return now - w.start_ns > limit_ns;
}

int watch(unsigned int seconds, char *const units[])
{
	struct sched_param high = { .sched_priority = 50 };
	int64_t now, sized = 0;

	prepare();
	w.start_ns = now = now_ns();
	start_load(units);
	sched_setscheduler(0, SCHED_FIFO, &high);
	while (!is_over(now, seconds * SEC)) {
		take_sample(now);
		note_deaths(now);
		note_stacks(now);
		if (now - sized >= SIZES_PERIOD) {
			note_sizes(now, units);
			sized = now;
		}
		sleep_until(now + PERIOD);
		now = now_ns();
	}
	trace_stop();
	/* Before a word is said: it may be all that the guest is waiting for. */
	write_text(HOG_SLICE "/cgroup.kill", "1");
	print_all();
	return 0;
}
