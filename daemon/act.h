/* SPDX-License-Identifier: MIT */
/*
 * Handles of those who may go, and the releases.  The library's calls, which
 * may wait, are made by threads that were started at the beginning; the loop
 * never waits for them.
 */
#ifndef MRELEASED_ACT_H
#define MRELEASED_ACT_H

#include <mrelease.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "policy.h"

/* As many are kept open while memory is getting short. */
#define MAX_HANDLES 4

enum handle_state {
	HANDLE_FREE = 0,
	/* The thread is at it: not to be touched. */
	HANDLE_OPENING,
	/* Opened; target may be NULL if that could not be. */
	HANDLE_READY,
};

/* A process that is likely to be chosen, with everything open. */
struct handle {
	_Atomic int state;
	pid_t pid;
	uint64_t start;
	/* -1: none. */
	int pidfd;
	/* /proc/PID/status, read without opening anything. */
	int status_fd;
	struct mrelease_target *target;
	/* Of the last look, whether it is still wanted. */
	bool wanted;
};

/* Of a process group, others than the victim. */
#define MAX_MATES 8

/* A copy: the table goes on without it. */
struct victim {
	pid_t pid;
	uint64_t start;
	uid_t uid;
	int oom_score_adj;
	char comm[16];
	uint64_t anon_bytes;
	uint64_t swap_bytes;
	uint64_t growth_bytes;
	bool tree;
	/* Its cgroup's directory, which goes as a whole; -1: none. */
	int cgroup_fd;
	char cgroup[128];
	/* Killed with it, without an account; 0: nobody. */
	pid_t group;
	/* Others in it; while one of them is, no other group has that number. */
	struct {
		pid_t pid;
		uint64_t start;
	} mates[MAX_MATES];
	size_t nr_mates;
	uint32_t members;
	uint64_t expected_bytes;
	enum policy_reason reason;
	/* Who would have been next; 0: nobody. */
	pid_t second_pid;
	char second_comm[16];
	uint64_t second_bytes;
};

struct release {
	struct release_view view;
	struct victim victim;
	int pidfd;
	struct mrelease_target *target;
	/* What the thread leaves. */
	struct mrelease_report report;
	int ret;
	/* When the first signal was sent; 0: not known. */
	int64_t signalled_ns;
	struct snapshot before;
	/* The thread has returned; the loop has not looked yet. */
	_Atomic bool finished;
	/* The end was told. */
	bool told;
	/* We sent SIGKILL besides, because the library took its time. */
	bool pushed;
	/* SIGKILL was ordered; it is known to have been sent; that was counted. */
	bool ordered;
	bool killed;
	bool counted;
	/* The rest of its process group was killed. */
	bool group_killed;
	bool used;
	pthread_t thread;
	sem_t go;
	struct act *act;
};

struct act {
	struct release releases[MAX_RELEASES];
	struct handle handles[MAX_HANDLES];
	/* Written to when a thread has finished something. */
	int event_fd;
	int proc_fd;
	/* As many handles as there are descriptors for. */
	size_t max_handles;
	pthread_t opener;
	sem_t open_go;
};

/* Starts the threads.  Return: 0 or -errno. */
int act_open(struct act *a, const char *root);

/* handles.c */

/* Keep the best @nr_best open, let go of the rest.  Cheap if nothing changed. */
void handles_update(struct act *a, const struct candidate *const *best,
		    size_t nr_best);
void handles_drop(struct act *a);
/* NULL: there is none, or not yet. */
struct handle *handle_of(struct act *a, pid_t pid, uint64_t start);
unsigned int handles_ready(const struct act *a);
int handles_start(struct act *a);
/* pidfd of the process that this is, -errno. */
int open_victim(struct act *a, pid_t pid, uint64_t start);

/* act.c */

/* Is there room for one more? */
struct release *act_free(struct act *a);
/* SIGTERM.  Return: 0 or -errno, and nothing has happened. */
int act_ask(struct act *a, struct release *r, const struct victim *v,
	    int64_t grace_ns);
/* Kill, and have the memory back: returns at once. */
int act_kill(struct act *a, struct release *r, const struct victim *v);
/* SIGKILL and no more: no release, no account.  The second closes @cgroup_fd. */
int act_kill_unseen(struct act *a, const struct victim *v);
int act_cgroup_unseen(int cgroup_fd);
/* SIGKILL for one that was asked; @exited: it went, and is only looked at. */
void act_escalate(struct act *a, struct release *r);
/*
 * What has finished since the last call becomes RELEASE_DONE; one that was
 * asked and has exited is included.  Return: how many are newly done.
 */
size_t act_collect(struct act *a, int64_t now_ns);
/* A release that takes long: the signal goes out without the library. */
void act_push(struct act *a, int64_t now_ns);
/* For the policy. */
size_t act_views(const struct act *a, struct release_view *views);
/* Done, told and settled: its place is free again. */
void act_forget(struct act *a, struct release *r);

#endif /* MRELEASED_ACT_H */
