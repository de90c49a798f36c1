/* SPDX-License-Identifier: MIT */
/* The members of a group: met by number, opened once, biggest first. */
#include <string.h>

#include "group/group.h"

/* A bigger table with the same in it. */
static void *grown(void *old, size_t size, size_t new_size)
{
	void *p = pages_reserve(new_size);

	if (!p)
		return NULL;
	if (old)
		memcpy(p, old, size);
	return p;
}

static int room_for_pointers(struct group *g)
{
	const size_t one = sizeof(struct victim *);
	size_t room = g->room ? 2 * g->room : 4096;
	struct victim **old = g->victims, **p;

	if (g->nr < g->room)
		return 0;
	p = grown(old, g->room * one, room * one);
	if (!p)
		return -ENOMEM;
	g->victims = p;
	pages_free(old, g->room * one);
	g->room = room;
	return 0;
}

int group_room(struct group *g)
{
	struct chunk *c = g->chunks;
	int ret = room_for_pointers(g);

	if (ret < 0)
		return ret;
	if (!c || g->nr_used == ARRAY_SIZE(c->victims)) {
		c = pages_reserve(sizeof(*c));
		if (!c)
			return -ENOMEM;
		c->next = g->chunks;
		g->chunks = c;
		g->nr_used = 0;
	}
	g->victims[g->nr] = &c->victims[g->nr_used];
	return 0;
}

void group_free(struct group *g)
{
	struct chunk *c, *next;

	for (c = g->chunks; c; c = next) {
		next = c->next;
		pages_free(c, sizeof(*c));
	}
	pages_free(g->victims, g->room * sizeof(struct victim *));
	pages_free(g->seen, g->nr_slots * sizeof(struct seen));
	pages_free(g->pins, g->nr_pin_slots * sizeof(struct pin));
	pages_free(g, sizeof(*g));
}

/* NULL: it is not there, and there is no table either. */
static struct seen *slot_in(struct seen *seen, size_t nr_slots, pid_t pid)
{
	size_t i = (uint32_t)pid * 2654435761u % nr_slots;

	while (seen[i].pid && seen[i].pid != pid)
		i = (i + 1) % nr_slots;
	return &seen[i];
}

static const struct seen *seen_slot(const struct group *g, pid_t pid)
{
	static const struct seen none;

	return g->seen ? slot_in(g->seen, g->nr_slots, pid) : &none;
}

/* slot_in() ends at a free one: a quarter of them always is. */
static int room_to_note(struct group *g)
{
	size_t nr = g->nr_slots ? 2 * g->nr_slots : 8192;
	struct seen *seen, *old = g->seen;

	if (g->nr_seen < g->nr_slots / 4 * 3)
		return 0;
	seen = pages_reserve(nr * sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < g->nr_slots; i++)
		if (old[i].pid)
			*slot_in(seen, nr, old[i].pid) = old[i];
	g->seen = seen;
	pages_free(old, g->nr_slots * sizeof(*old));
	g->nr_slots = nr;
	return 0;
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
	/* A main thread that is a zombie leaves its children to the others. */
	if ((st.state != 'Z' && st.state != 'X') || st.threads > 1)
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

bool group_has_victim(const void *group, pid_t pid)
{
	return group_has(group, pid);
}

static void note(struct group *g, pid_t pid, uint32_t dead)
{
	struct seen *s;

	if (!g->seen)
		return;
	s = slot_in(g->seen, g->nr_slots, pid);
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
		victim_thin(g->victims[i]);
}

void group_touch(struct group *g, pid_t pid)
{
	struct call *c = g->call;

	__atomic_store_n(&c->touches, c->touches + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&c->touching, pid, __ATOMIC_RELEASE);
}

bool group_is_stuck(const struct group *g, pid_t pid)
{
	unsigned int strikes = 0;

	for (unsigned int i = 0; i < g->call->nr_stuck; i++)
		strikes += g->call->stuck[i] == pid;
	return strikes > 1;
}

/*
 * Two have hung, and there is no time to find out about each that may: those that are
 * in D as well are left alone.  A worker looks at them after the kill.
 */
static bool may_hang(struct group *g, pid_t pid)
{
	struct call *c = g->call;

	if (group_is_stuck(g, pid))
		return true;
	if (!c->hung_on_d || c->nr_stuck < 4 || call_killed(c) ||
	    c->nr_stuck + 2 > ARRAY_SIZE(c->stuck) || user_state(pid) != 'D')
		return false;
	c->stuck[c->nr_stuck++] = pid;
	c->stuck[c->nr_stuck++] = pid;
	return true;
}

static int open_member(struct group *g, struct victim *v, pid_t pid)
{
	/* A helper before this one may have claims that are yet to end. */
	const bool claim = !(g->base.opts.flags & MRELEASE_DRY_RUN) &&
			   !g->call->nr_stuck;
	int ret;

	victim_init(v);
	if (may_hang(g, pid))
		return victim_open_hands_off(v, pid, &g->base.self, claim);
	group_touch(g, pid);
	ret = victim_open_pid(v, pid, &g->base.self, claim);
	if (is_scarcity(ret) && self_drop_claims(&g->base.self)) {
		victim_close(v);
		victim_init(v);
		ret = victim_open_pid(v, pid, &g->base.self, claim);
	}
	group_touch(g, 0);
	if (!is_scarcity(ret))
		return ret;
	victim_close(v);
	group_thin(g);
	victim_init(v);
	ret = victim_open_pid(v, pid, &g->base.self, claim);
	victim_thin(v);
	return ret;
}

/*
 * Has the number been given to another process since it was listed?
 *
 *	we				the rest of the system
 *	list: N
 *					N exits; the numbers come round, and
 *					N is a stranger
 *	open N: the stranger		has started after the listing
 *
 * Start times are in ticks of 10 ms.  Within one tick a number is not given twice,
 * since the kernel first gives all others.  The stat file of a process that hangs would
 * block: those are not asked, and two helpers have opened them before.
 */
static bool is_another(struct group *g, struct victim *v, uint64_t listed)
{
	struct proc_stat st;
	bool another;

	if (v->start_time)
		return v->start_time > listed;
	if (v->hands_off || v->dir_fd < 0)
		return false;
	group_touch(g, v->pid);
	another = victim_stat(v, &st) == 0 && st.start_time > listed;
	group_touch(g, 0);
	return another;
}

/*
 * Nothing uses the address space that its files are on any more.  Either the process
 * has exited, or it has called execve() since they were opened:
 *
 *	we				a child
 *	open its pagemap: the memory
 *	that it has from its parent
 *					execve(): that memory is gone
 *	no user: is it dead?
 */
static bool has_left_mm(struct group *g, struct victim *v)
{
	struct proc_status st;

	if (v->hands_off || victim_mm_users(v) != 0)
		return false;
	if (victim_status(v, &st) < 0 || !st.has_mm)
		return true;
	group_touch(g, v->pid);
	victim_renew(v);
	victim_measure(v);
	group_touch(g, 0);
	return false;
}

int group_add(struct group *g, pid_t pid, uint64_t listed)
{
	struct victim *v;
	int ret;

	g->met_dying = false;
	if (pid == 0) {
		g->met_foreign++;
		return 0;
	}
	if (is_known(g, pid))
		return 0;
	if (g->nr == MAX_VICTIMS || room_to_note(g) < 0 || group_room(g) < 0) {
		g->rep.notes |= MRELEASE_NOTE_HANDLES;
		return g->is_tree ? -ENFILE : 0;
	}
	v = g->victims[g->nr];
	g->unknown = true;
	ret = open_member(g, v, pid);
	if (is_another(g, v, listed)) {
		victim_close(v);
		return 0;
	}
	/* Of no use once somebody has been killed. */
	if ((ret == -EPERM || ret == -EACCES) && !call_killed(g->call)) {
		g->rep.refusal = v->rep.refusal;
		g->rep.refused_pid = pid;
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
	if (ret < 0 || (!g->keep_dead &&
			(v->zombie || v->no_mm || v->pagemap_fd == -ESRCH ||
			 v->pagemap_fd == -ENOENT || has_left_mm(g, v)))) {
		if (v->start_time)
			group_note_dead(g, v);
		g->met_dying = v->start_time && !v->zombie;
		victim_close(v);
		return 0;
	}
	note(g, pid, 0);
	g->nr++;
	g->nr_used++;
	return 1;
}

void group_ready(struct group *g, struct victim *v)
{
	if (v->hands_off || v->rep.threads <= MANY_THREADS)
		return;
	tids_open(&g->tids);
	threads_note(v, &g->tids, &g->scratch);
}

static uint64_t weight(const struct victim *v)
{
	return account_private(&v->rep);
}

static void sift_down(struct victim **v, size_t i, size_t nr)
{
	struct victim *tmp;
	size_t child;

	/* A min-heap, so that the sorted order is from the biggest down. */
	while ((child = 2 * i + 1) < nr) {
		if (child + 1 < nr && weight(v[child + 1]) < weight(v[child]))
			child++;
		if (weight(v[i]) <= weight(v[child]))
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
	struct victim **v = g->victims, *tmp;

	for (size_t i = g->nr / 2; i-- > 0;)
		sift_down(v, i, g->nr);
	for (size_t n = g->nr; n-- > 1;) {
		tmp = v[0];
		v[0] = v[n];
		v[n] = tmp;
		sift_down(v, 0, n);
	}
}

/* 0 when a member took the signal; else why none did. */
int group_signal(struct group *g, int sig)
{
	int ret, bad = 0;
	bool any = false;

	for (size_t i = 0; i < g->nr; i++) {
		ret = victim_signal(g->victims[i], sig);
		if (ret == 0)
			any = true;
		else if (ret != -ESRCH)
			bad = ret;
	}
	return any ? 0 : bad;
}
