/* SPDX-License-Identifier: MIT */
/* Every process that could be chosen. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/oom.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "rules.h"
#include "table.h"
#include "text.h"

/* Of the kernel's task flags, in /proc/PID/stat. */
#define PF_EXITING 0x00000004u
#define PF_KTHREAD 0x00200000u
/*
 * An older measure says nothing of who takes the memory now; older, too, than calm
 * sweeps are apart (rest.c), which is longer where there are thousands of processes.
 */
#define STALE_NS (90 * NS_PER_S)
/* But what is younger than this has grown by all that it has. */
#define BORN_S	 10
#define UNITS_NS (60 * NS_PER_S)
/* Who has less is not looked at closer. */
#define SMALL_PAGES 64
/* For all command lines of a sweep that do not come at once. */
#define CMDLINE_NS (20 * NS_PER_MS)
/* Until then its maker may still set its oom_score_adj. */
#define YOUNG_S 10

/* We cannot report on our own end, and our parents' is ours. */
static void find_own(struct table *t)
{
	struct process_stat st;
	pid_t pid = getpid();
	char path[32];

	while (pid > 1 && t->nr_own < ARRAY_SIZE(t->own)) {
		t->own[t->nr_own++] = pid;
		snprintf(path, sizeof(path), "%d/stat", pid);
		if (text_read_at(t->proc_fd, path, t->buf, sizeof(t->buf)) <=
			    0 ||
		    process_parse_stat(t->buf, &st))
			break;
		pid = st.ppid;
	}
}

int table_open(struct table *t, const char *root, int cgroup_fd,
	       const char *cgroup, const struct rules *rules)
{
	char path[PATH_MAX];

	memset(t, 0, sizeof(*t));
	t->cgroup_fd = cgroup_fd;
	t->rules = rules;
	t->patience_ns = CMDLINE_NS;
	snprintf(path, sizeof(path), "%s/proc", root);
	t->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->proc_fd < 0)
		return -errno;
	t->c = memory_map(MAX_CANDIDATES * sizeof(*t->c));
	t->old_c = memory_map(MAX_CANDIDATES * sizeof(*t->c));
	t->m = memory_map(MAX_CANDIDATES * sizeof(*t->m));
	t->old_m = memory_map(MAX_CANDIDATES * sizeof(*t->m));
	t->pids = memory_map(MAX_CANDIDATES * sizeof(*t->pids));
	t->others = memory_map(MAX_CANDIDATES * sizeof(*t->others));
	if (!t->c || !t->old_c || !t->m || !t->old_m || !t->pids || !t->others)
		return -ENOMEM;
	find_own(t);
	return units_open(&t->units, cgroup);
}

int32_t table_index(const struct table *t, pid_t pid)
{
	size_t low = 0, high = t->nr;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->c[mid].pid < pid)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->nr && t->c[low].pid == pid ? (int32_t)low : -1;
}

struct candidate *table_find(struct table *t, pid_t pid, uint64_t start)
{
	int32_t i = table_index(t, pid);

	return i >= 0 && t->c[i].start == start ? &t->c[i] : NULL;
}

static bool is_own(const struct table *t, pid_t pid)
{
	for (size_t i = 0; i < t->nr_own; i++)
		if (t->own[i] == pid)
			return true;
	return false;
}

void table_update(struct table *t, struct candidate *c, const char *status)
{
	uint64_t threads = 1;

	/* An exited leader shows nothing of what its threads have. */
	text_field(status, "Threads", &threads);
	if (!strstr(status, "\nVmRSS:")) {
		if (threads <= 1)
			c->flags |= CANDIDATE_DYING;
		return;
	}
	process_parse_status(status, c);
	table_measure(c, &t->m[c - t->c]);
}

static bool read_process(struct table *t, pid_t pid, struct candidate *c,
			 struct process_stat *st)
{
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "%d/stat", pid);
	n = text_read_at(t->proc_fd, path, t->buf, sizeof(t->buf));
	if (n < 0)
		table_starved(t, (int)-n);
	if (n <= 0 || process_parse_stat(t->buf, st))
		return false;
	*c = (struct candidate){ .pid = pid,
				 .parent = -1,
				 .start = st->start,
				 .session = st->session,
				 .pgrp = st->pgrp,
				 .uid = (uid_t)-1 };
	memcpy(c->comm, st->comm, sizeof(c->comm));
	if (st->kernel_flags & PF_KTHREAD)
		return false;
	if (pid == 1 || is_own(t, pid))
		c->flags |= CANDIDATE_NEVER;
	/* Of a leader that has exited, other threads may live. */
	if ((st->kernel_flags & PF_EXITING || st->state == 'Z' ||
	     st->state == 'X') &&
	    st->threads <= 1)
		c->flags |= CANDIDATE_DYING;
	if (st->session == pid && st->tty)
		c->flags |= CANDIDATE_TERMINAL;
	return true;
}

/* The leader has exited: its memory is seen through another thread. */
static pid_t living_thread(struct table *t, pid_t pid)
{
	char path[32];
	pid_t found = pid;
	long n = 0;
	int fd;

	snprintf(path, sizeof(path), "%d/task", pid);
	fd = openat(t->proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return pid;
	n = syscall(SYS_getdents64, fd, t->buf, sizeof(t->buf));
	for (long at = 0; at < n;) {
		struct linux_dirent64 *d = (void *)(t->buf + at);
		const char *p = d->name;
		uint64_t tid;

		if (text_number(&p, &tid) && !*p && (pid_t)tid != pid)
			found = (pid_t)tid;
		at += d->reclen;
	}
	close(fd);
	return found;
}

static void read_closer(struct table *t, struct candidate *c,
			const struct process_stat *st)
{
	char path[48];

	if (st->state == 'Z' && st->threads > 1)
		snprintf(path, sizeof(path), "%d/task/%d/status", c->pid,
			 living_thread(t, c->pid));
	else
		snprintf(path, sizeof(path), "%d/status", c->pid);
	if (text_read_at(t->proc_fd, path, t->buf, sizeof(t->buf)) > 0)
		process_parse_status(t->buf, c);
}

static void read_adj(struct table *t, const struct candidate *c,
		     struct memory_of *m)
{
	const char *p = t->buf;
	char path[48];
	int64_t adj;
	ssize_t n;

	snprintf(path, sizeof(path), "%d/oom_score_adj", c->pid);
	n = text_read_at(t->proc_fd, path, t->buf, sizeof(t->buf));
	if (n > 0 && text_signed(&p, &adj))
		m->oom_score_adj = (int32_t)adj;
	else if (!table_gone(t, n))
		m->oom_score_adj = OOM_SCORE_ADJ_MIN;
}

/*
 * Of a small one only what protects it, and with it the tree and the cgroup that
 * it is in, and that is asked again from time to time only.
 */
static void read_details(struct table *t, struct candidate *c,
			 struct memory_of *m, const struct process_stat *st)
{
	int64_t since = (int64_t)(st->start / (uint64_t)sysconf(_SC_CLK_TCK));
	bool closer = st->rss_pages >= SMALL_PAGES || t->swap ||
		      st->state == 'Z' || !m->rules_known;

	if (closer)
		read_closer(t, c, st);
	if (closer || t->now_s - since < YOUNG_S)
		read_adj(t, c, m);
	c->oom_score_adj = m->oom_score_adj;
	if (c->oom_score_adj == OOM_SCORE_ADJ_MIN)
		c->flags |= CANDIDATE_NEVER;
	if (!m->rules_known)
		table_ask(t, c, m);
	c->flags |= m->rule_flags;
	c->unit = m->unit;
}

/* What is known of it, if it is the same. */
static void remember(struct table *t, struct candidate *c, struct memory_of *m,
		     const struct process_stat *st, size_t *old)
{
	while (*old < t->old_nr && t->old_c[*old].pid < c->pid)
		++*old;
	if (*old < t->old_nr && t->old_c[*old].pid == c->pid &&
	    t->old_m[*old].start == st->start) {
		*m = t->old_m[*old];
		/* Another program: its name, cgroup and user may be others, too. */
		if (strcmp(c->comm, t->old_c[*old].comm) ||
		    m->stack != st->stack)
			m->rules_known = m->rules_were_known = false;
	} else {
		*m = (struct memory_of){ .start = st->start, .uid = (uid_t)-1 };
		c->flags |= CANDIDATE_NEW;
	}
	m->stack = st->stack;
	m->to_ask = false;
}

static void measure(struct table *t, struct candidate *c, struct memory_of *m,
		    const struct process_stat *st, bool rebase)
{
	read_details(t, c, m, st);
	/* A small one is not read each time. */
	if (c->uid == (uid_t)-1)
		c->uid = m->uid;
	m->uid = c->uid;
	if (rebase && t->now_s - c->age_s >= BORN_S) {
		m->base_bytes[0] = m->base_bytes[1] =
			c->anon_bytes + c->swap_bytes;
		m->base_shmem[0] = m->base_shmem[1] = c->shmem_bytes;
	}
	table_measure(c, m);
}

/* @other: it is no member of what is watched.  A zombie keeps nobody. */
static void add_process(struct table *t, pid_t pid, bool other, size_t *old,
			bool rebase)
{
	struct candidate *c = &t->c[t->nr];
	struct memory_of *m = &t->m[t->nr];
	struct process_stat st;

	if (!read_process(t, pid, c, &st))
		return;
	remember(t, c, m, &st, old);
	m->unasked &= !other;
	c->age_s = (int64_t)(st.start / (uint64_t)sysconf(_SC_CLK_TCK));
	if (!other)
		measure(t, c, m, &st, rebase);
	else if (!(c->flags & CANDIDATE_DYING))
		c->flags |= CANDIDATE_NEVER;
	/* Until all are known. */
	c->parent = st.ppid;
	t->nr++;
}

/* By number; what is in both lists is a member. */
static void add_all(struct table *t, bool rebase)
{
	size_t old = 0, i = 0, k = 0;

	while ((i < t->nr_pids || k < t->nr_others) && !t->starved) {
		pid_t pid = i < t->nr_pids ? t->pids[i] : INT_MAX;
		bool other = k < t->nr_others && t->others[k] < pid;

		if (other)
			pid = t->others[k];
		add_process(t, pid, other, &old, rebase);
		while (i < t->nr_pids && t->pids[i] == pid)
			i++;
		while (k < t->nr_others && t->others[k] == pid)
			k++;
	}
}

static void swap_tables(struct table *t)
{
	struct candidate *c = t->c;
	struct memory_of *m = t->m;
	size_t nr = t->nr;

	t->c = t->old_c;
	t->m = t->old_m;
	t->nr = t->old_nr;
	t->old_c = c;
	t->old_m = m;
	t->old_nr = nr;
}

/* The numbers that this table has of cgroups may be those of others by now. */
static void forget_units(struct table *t)
{
	for (size_t i = 0; i < t->nr; i++) {
		if (t->m[i].rules_known)
			continue;
		t->c[i].flags |= t->c[i].unit ? CANDIDATE_NEVER : 0;
		t->c[i].unit = t->m[i].unit = 0;
	}
}

void table_ask_again(struct table *t)
{
	units_forget(&t->units);
	for (size_t i = 0; i < t->nr; i++)
		t->m[i].rules_known = false;
}

static bool is_stale(const struct table *t, int64_t now_ns)
{
	int64_t stale = CALM_SHARE * t->took_ns / 2 * 3;

	if (stale < STALE_NS)
		stale = STALE_NS;
	return !t->swept_ns || now_ns - t->swept_ns > stale;
}

int table_sweep(struct table *t, const struct snapshot *now)
{
	int64_t begin = clock_ns();
	bool rebase = is_stale(t, begin);
	struct timespec ts;
	int ret;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	t->now_s = ts.tv_sec;

	/* What owners say of their cgroups may change; a minute is soon. */
	if (begin - t->units.since_ns >
	    (units_full(&t->units) ? NS_PER_S : UNITS_NS))
		table_ask_again(t);
	t->swap = now->swap_total_bytes > now->swap_free_bytes;
	ret = table_list(t);
	if (ret)
		return ret;
	swap_tables(t);
	t->nr = 0;
	add_all(t, rebase);
	if (t->starved) {
		swap_tables(t);
		forget_units(t);
		return t->starved;
	}
	if (rebase)
		t->base[0] = t->base[1] = (struct base){ now->time_ns,
							 now->available_bytes,
							 now->shmem_bytes };
	table_finish(t, now);
	table_ask_lines(t);
	t->swept_ns = clock_ns();
	t->took_ns = t->swept_ns - begin;
	return 0;
}

void table_forget_rules(struct table *t, const struct rules *rules)
{
	t->rules = rules;
	table_ask_again(t);
	for (size_t i = 0; i < t->nr; i++)
		t->m[i].rules_were_known = false;
}

void table_view(const struct table *t, const struct snapshot *now,
		struct policy_view *view)
{
	view->candidates = t->c;
	view->nr_candidates = t->nr;
	view->growth_ns = now->time_ns - t->base[0].time_ns;
	/* Too short to tell growth from noise. */
	if (!t->base[0].time_ns || view->growth_ns < 50 * NS_PER_MS)
		view->growth_ns = 0;
	view->available_growth_bytes = (int64_t)now->available_bytes -
				       (int64_t)t->base[0].available_bytes;
	view->shmem_growth_bytes =
		(int64_t)now->shmem_bytes - (int64_t)t->base[0].shmem_bytes;
}
