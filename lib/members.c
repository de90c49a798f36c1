/* SPDX-License-Identifier: MIT */
/* The members of a group: met by number, opened once, biggest first. */
#include <string.h>

#include "group.h"

static struct seen *seen_slot(const struct group *g, pid_t pid)
{
	size_t i = (uint32_t)pid * 2654435761u % SEEN_SLOTS;

	while (g->seen[i].pid && g->seen[i].pid != pid)
		i = (i + 1) % SEEN_SLOTS;
	return &g->seen[i];
}

/* Never 0, which is who has not been seen dead. */
static uint32_t dead_mark(uint64_t start_time)
{
	return (uint32_t)start_time | 1;
}

/*
 * A member that is alive keeps its number.  That of a dead one is soon
 * somebody else's, where there are 32768 of them and a bomb goes off.
 */
static bool is_known(struct group *g, pid_t pid)
{
	const struct seen *s = seen_slot(g, pid);
	char path[64], buf[1024];
	struct proc_stat st;
	long len;

	if (s->pid != pid)
		return false;
	if (!s->dead)
		return true;
	path_number(path, "/proc/", pid, "/stat");
	len = read_file(AT_FDCWD, path, buf, sizeof(buf));
	if (len <= 0 || parse_stat(buf, len, &st) < 0)
		return true;
	if (dead_mark(st.start_time) != s->dead)
		return false;
	if (st.state != 'Z' && st.state != 'X')
		g->met_dying = true;
	return true;
}

bool group_is_dead_one(const struct group *g, const struct proc_stat *st)
{
	const struct seen *s = seen_slot(g, st->pid);

	return s->pid == st->pid && s->dead == dead_mark(st->start_time);
}

bool group_has(const struct group *g, pid_t pid)
{
	const struct seen *s = seen_slot(g, pid);

	return s->pid == pid && !s->dead;
}

static void note(struct group *g, pid_t pid, uint32_t dead)
{
	struct seen *s = seen_slot(g, pid);

	g->nr_seen += !s->pid;
	s->pid = pid;
	s->dead = dead;
}

/* Once: the number can be a new member's by the second time. */
void group_note_dead(struct group *g, struct victim *v)
{
	if (v->noted_dead)
		return;
	v->noted_dead = true;
	note(g, v->pid, dead_mark(v->start_time));
}

bool group_gone(struct group *g, struct victim *v)
{
	/* A zombie answers 0, and keeps its number. */
	if (victim_signal(v, 0) != -ESRCH)
		return false;
	if (!v->noted_dead)
		g->unknown = true;
	group_note_dead(g, v);
	return true;
}

void group_thin(struct group *g)
{
	g->thin = true;
	for (size_t i = 0; i < g->nr; i++)
		victim_thin(&g->victims[i]);
}

bool is_scarcity(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

static int open_member(struct group *g, struct victim *v, pid_t pid)
{
	int ret;

	victim_init(v);
	ret = victim_open_pid(v, pid, &g->base.self);
	if (!is_scarcity(ret) || !g->is_tree)
		return ret;
	victim_close(v);
	group_thin(g);
	victim_init(v);
	ret = victim_open_pid(v, pid, &g->base.self);
	victim_thin(v);
	return ret;
}

int group_add(struct group *g, pid_t pid)
{
	struct victim *v = &g->victims[g->nr];
	int ret;

	g->met_dying = false;
	if (pid == 0) {
		g->rep.notes |= MRELEASE_NOTE_FOREIGN_PIDNS;
		return 0;
	}
	if (is_known(g, pid))
		return 0;
	/* seen_slot() ends at a free one: there must always be some. */
	if (g->nr == MAX_VICTIMS - 1 || g->nr_seen >= SEEN_SLOTS / 4 * 3) {
		g->rep.notes |= MRELEASE_NOTE_HANDLES;
		return g->is_tree ? -ENFILE : 0;
	}
	g->unknown = true;
	ret = open_member(g, v, pid);
	if (ret == -EPERM || ret == -EACCES) {
		g->rep.refusal = v->rep.refusal;
		g->rep.pid = pid;
		victim_close(v);
		return -EPERM;
	}
	if (is_scarcity(ret)) {
		victim_close(v);
		g->rep.notes |= MRELEASE_NOTE_HANDLES;
		/*
		 * cgroup.kill finds a member without us, it will only not be
		 * looked at.  Of a tree it would get away.
		 */
		return g->is_tree ? ret : 0;
	}
	/* Dead, or past its exit_mm(): there is nothing left to release. */
	if (ret < 0 || v->zombie || v->no_mm || v->pagemap_fd == -ESRCH ||
	    v->pagemap_fd == -ENOENT || victim_mm_users(v) == 0) {
		if (v->start_time)
			group_note_dead(g, v);
		g->met_dying = v->start_time && !v->zombie;
		victim_close(v);
		return 0;
	}
	note(g, pid, 0);
	g->nr++;
	return 1;
}

void group_ready(struct group *g, struct victim *v)
{
	if (v->rep.threads <= MANY_THREADS)
		return;
	tids_open(&g->tids);
	threads_note(v, &g->tids, &g->scratch);
}

static uint64_t weight(const struct victim *v)
{
	return v->rep.before.anon_bytes + v->rep.before.swap_bytes;
}

static void sift_down(struct victim *v, size_t i, size_t nr)
{
	struct victim tmp;
	size_t child;

	/* A min-heap, so that the sorted order is from the biggest down. */
	while ((child = 2 * i + 1) < nr) {
		if (child + 1 < nr && weight(&v[child + 1]) < weight(&v[child]))
			child++;
		if (weight(&v[i]) <= weight(&v[child]))
			return;
		tmp = v[i];
		v[i] = v[child];
		v[child] = tmp;
		i = child;
	}
}

/* Heapsort: libc's qsort() may call malloc(). */
void group_sort(struct group *g)
{
	struct victim *v = g->victims, tmp;

	for (size_t i = g->nr / 2; i-- > 0;)
		sift_down(v, i, g->nr);
	for (size_t n = g->nr; n-- > 1;) {
		tmp = v[0];
		v[0] = v[n];
		v[n] = tmp;
		sift_down(v, 0, n);
	}
}

/* 0 when anybody took it; else why nobody did. */
int group_signal(struct group *g, int sig)
{
	int ret, bad = 0;
	bool any = false;

	for (size_t i = 0; i < g->nr; i++) {
		ret = victim_signal(&g->victims[i], sig);
		if (ret == 0)
			any = true;
		else if (ret != -ESRCH)
			bad = ret;
	}
	return any ? 0 : bad;
}
