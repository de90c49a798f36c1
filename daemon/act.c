/* SPDX-License-Identifier: MIT */
/* The releases. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "act.h"
#include "text.h"

/* The library has this long to send SIGKILL before we do. */
#define PUSH_NS (300 * NS_PER_MS)
/* And this long to pin the victim, before its process group is killed. */
#define GROUP_NS   (10 * NS_PER_MS)
#define STACK_SIZE (256 * 1024)

static int send_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) ? -errno : 0;
}

static void run(struct release *r)
{
	struct mrelease_opts opts = { .size = sizeof(opts) };

	int64_t began = clock_ns();

	r->report = (struct mrelease_report){ .size = sizeof(r->report) };
	opts.deadline_ns = began + RELEASE_DEADLINE_NS;
	if (r->victim.cgroup_fd >= 0)
		r->ret = mrelease_cgroup(r->victim.cgroup_fd, &opts, &r->report,
					 NULL, NULL);
	else if (r->victim.tree)
		r->ret = mrelease_tree(r->pidfd, &opts, &r->report, NULL, NULL);
	else if (r->target)
		r->ret = mrelease_release(r->target, opts.deadline_ns,
					  &r->report);
	else
		r->ret = mrelease_process(r->pidfd, &opts, &r->report);
	if (!r->signalled_ns && !r->ret)
		r->signalled_ns = began + r->report.prepare_ns;
}

static void *release_thread(void *arg)
{
	struct release *r = arg;
	uint64_t one = 1;

	for (;;) {
		while (sem_wait(&r->go))
			;
		run(r);
		r->finished = true;
		if (write(r->act->event_fd, &one, sizeof(one)) < 0)
			continue; /* The loop looks now and then anyway. */
	}
	return NULL;
}

int act_open(struct act *a, const char *root)
{
	pthread_attr_t attr;
	char path[PATH_MAX];
	int ret = 0;

	memset(a, 0, sizeof(*a));
	snprintf(path, sizeof(path), "%s/proc", root);
	a->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	a->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->proc_fd < 0 || a->event_fd < 0)
		return -errno;
	ret = handles_start(a);
	if (ret)
		return ret;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (size_t i = 0; i < MAX_RELEASES && !ret; i++) {
		a->releases[i].act = a;
		a->releases[i].pidfd = -1;
		if (sem_init(&a->releases[i].go, 0, 0))
			ret = -errno;
		if (!ret)
			ret = -pthread_create(&a->releases[i].thread, &attr,
					      release_thread, &a->releases[i]);
	}
	pthread_attr_destroy(&attr);
	return ret;
}

struct release *act_free(struct act *a)
{
	for (size_t i = 0; i < MAX_RELEASES; i++)
		if (!a->releases[i].used)
			return &a->releases[i];
	return NULL;
}

/* The handle's descriptors become the release's; without one, open now. */
static int take(struct act *a, struct release *r, const struct victim *v)
{
	struct handle *h = handle_of(a, v->pid, v->start);

	r->target = NULL;
	r->pidfd = -1;
	if (h && h->state == HANDLE_READY) {
		r->pidfd = h->pidfd;
		r->target = v->tree || v->cgroup_fd >= 0 ? NULL : h->target;
		if (r->target)
			h->target = NULL;
		h->pidfd = -1;
	} else {
		r->pidfd = open_victim(a, v->pid, v->start);
	}
	if (r->pidfd < 0)
		return r->pidfd;
	r->victim = *v;
	r->used = true;
	r->finished = r->told = r->pushed = r->group_killed = false;
	r->ordered = r->killed = r->counted = false;
	r->view = (struct release_view){
		.pid = v->pid,
		.expected_bytes = v->expected_bytes,
	};
	return 0;
}

static void go(struct release *r)
{
	r->view.phase = RELEASE_KILLED;
	r->view.killed_ns = clock_ns();
	sem_post(&r->go);
}

int act_ask(struct act *a, struct release *r, const struct victim *v,
	    int64_t grace_ns)
{
	int ret = take(a, r, v);

	if (ret)
		return ret;
	ret = send_signal(r->pidfd, SIGTERM);
	r->signalled_ns = clock_ns();
	if (ret) {
		act_forget(a, r);
		return ret;
	}
	r->view.phase = RELEASE_ASKED;
	r->view.asked_ns = r->signalled_ns;
	r->view.grace_ns = grace_ns;
	return 0;
}

int act_kill(struct act *a, struct release *r, const struct victim *v)
{
	int ret = take(a, r, v);

	if (ret)
		return ret;
	r->signalled_ns = 0;
	r->ordered = true;
	go(r);
	return 0;
}

int act_kill_unseen(struct act *a, const struct victim *v)
{
	int fd = open_victim(a, v->pid, v->start), ret;

	if (fd < 0)
		return fd;
	ret = send_signal(fd, SIGKILL);
	close(fd);
	return ret;
}

int act_cgroup_unseen(int cgroup_fd)
{
	int ret = cgroup_fd, fd;

	if (cgroup_fd < 0)
		return ret;
	fd = openat(cgroup_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	ret = fd < 0 || write(fd, "1", 1) != 1 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	close(cgroup_fd);
	return ret;
}

void act_escalate(struct act *a, struct release *r)
{
	(void)a;
	r->ordered = true;
	go(r);
}

static bool has_exited(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents;
}

static void account(struct release *r, int64_t now_ns)
{
	const struct mrelease_report *rep = &r->report;

	r->killed |= r->ret >= 0 && (rep->result == MRELEASE_RELEASED ||
				     rep->result == MRELEASE_EXITED ||
				     rep->result == MRELEASE_UNCONFIRMED);
	r->view.phase = RELEASE_DONE;
	r->view.done_ns = now_ns;
	r->view.released_bytes = rep->released_bytes;
	r->view.outstanding_bytes = rep->outstanding_bytes;
	/* Asked, it was gone before anything could be looked at. */
	r->view.verified = rep->verified || r->ret == -ESRCH;
}

size_t act_collect(struct act *a, int64_t now_ns)
{
	uint64_t count;
	size_t done = 0;

	if (read(a->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return 0;
	for (size_t i = 0; i < MAX_RELEASES; i++) {
		struct release *r = &a->releases[i];

		if (!r->used)
			continue;
		/* The library looks whether its memory went with it. */
		if (r->view.phase == RELEASE_ASKED && has_exited(r->pidfd))
			go(r);
		if (r->view.phase == RELEASE_KILLED && r->finished) {
			account(r, now_ns);
			done++;
		}
	}
	return done;
}

/* A number is a group's own only as long as one of it is there. */
static bool group_is_there(struct act *a, const struct release *r)
{
	const struct victim *v = &r->victim;

	if (!has_exited(r->pidfd))
		return getpgid(v->pid) == v->group;
	for (size_t i = 0; i < v->nr_mates; i++) {
		int fd = open_victim(a, v->mates[i].pid, v->mates[i].start);

		if (fd < 0)
			continue;
		close(fd);
		if (getpgid(v->mates[i].pid) == v->group)
			return true;
	}
	return false;
}

/* Once the library has pinned the victim, or is through with it. */
static void kill_group(struct act *a, struct release *r, int64_t now_ns)
{
	if (r->group_killed || r->victim.group <= 1 ||
	    (!r->finished && now_ns - r->view.killed_ns < GROUP_NS))
		return;
	r->group_killed = true;
	if (group_is_there(a, r))
		kill(-r->victim.group, SIGKILL);
}

void act_push(struct act *a, int64_t now_ns)
{
	for (size_t i = 0; i < MAX_RELEASES; i++) {
		struct release *r = &a->releases[i];

		if (!r->used || r->view.phase != RELEASE_KILLED)
			continue;
		kill_group(a, r, now_ns);
		if (r->pushed || r->finished ||
		    now_ns - r->view.killed_ns < PUSH_NS)
			continue;
		/* A tree's root first would let its children go astray. */
		if (!r->victim.tree && r->victim.cgroup_fd < 0)
			r->killed = !send_signal(r->pidfd, SIGKILL);
		r->pushed = true;
	}
}

size_t act_views(const struct act *a, struct release_view *views)
{
	for (size_t i = 0; i < MAX_RELEASES; i++)
		views[i] = a->releases[i].used ? a->releases[i].view :
						 (struct release_view){ 0 };
	return MAX_RELEASES;
}

void act_forget(struct act *a, struct release *r)
{
	(void)a;
	mrelease_target_free(r->target);
	if (r->pidfd >= 0)
		close(r->pidfd);
	if (r->victim.cgroup_fd >= 0)
		close(r->victim.cgroup_fd);
	r->victim.cgroup_fd = -1;
	r->target = NULL;
	r->pidfd = -1;
	r->used = false;
	r->view.phase = RELEASE_NONE;
}
