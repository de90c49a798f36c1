/* SPDX-License-Identifier: MIT */
/* What the files of the command share. */
#ifndef MRELEASE_PROGRAM_H
#define MRELEASE_PROGRAM_H

#include <limits.h>
#include <mrelease.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum exit_status {
	STATUS_OK = 0,
	STATUS_NO_TARGET = 1,
	STATUS_USAGE = 2,
	STATUS_REFUSED = 3,
	STATUS_UNCONFIRMED = 4,
	STATUS_NOT_KILLED = 5,
	STATUS_PARTIAL = 64,
};

struct settings {
	struct mrelease_opts opts;
	int64_t wait_ns;
	bool signal_given;
	bool check;
	bool tree;
	bool json;
	bool quiet;
	bool verbose;
	/* How many descriptors this process may have. */
	int max_fds;
};

enum target_kind {
	TARGET_PROCESS,
	TARGET_CGROUP,
};

struct target {
	/* As the user wrote it. */
	const char *arg;
	enum target_kind kind;
	pid_t pid;
	uint64_t inode;
	/* pidfd or cgroup directory; -1 with error set if there is none. */
	int fd;
	int error;
	/* It was there, and is opened when its turn comes. */
	bool spared;
	/* Cgroup: its directory, and what makes it this one. */
	char path[PATH_MAX];
	dev_t dev;
	ino_t ino;
	/* Roughly what it holds, for the order. */
	uint64_t weight;
	struct mrelease_report report;
	struct mrelease_report *members;
	size_t nr_members;
	enum exit_status status;
	bool done;
	/* There was a process when the command line was read. */
	bool found;
	/* Gone by the time of its release: to be looked into at the end. */
	bool late;
};

/* mrelease.c */
/* Control characters of an argument or a name do not get to the terminal. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* parse.c */
int parse_signal(const char *s);
int parse_time(const char *s, int64_t *ret_ns);

/* name.c */
enum hierarchy {
	HIERARCHY_V2,
	/* systemd's own of version 1. */
	HIERARCHY_V1,
};
/* Its mount point; -ENXIO: there is none. */
int cgroup_mount(char *buf, size_t size, enum hierarchy which);
/* ret_path has room for PATH_MAX. */
int find_unit(const char *name, char *ret_path);
int find_container(const char *name, char *ret_path);
bool is_container_id(const char *s);

/* target.c */
int target_parse(struct target *t, const char *arg, const struct settings *set);
size_t targets_unique(struct target *t, size_t nr);
void target_weigh(struct target *t);
void target_release(struct target *t, const struct settings *set);
void target_adopt(struct target *t, const struct target *all, size_t nr);
enum exit_status targets_status(const struct target *t, size_t nr);

/* run.c */
/* -errno if a result could not be written. */
int targets_run(struct target *t, size_t nr, const struct settings *set);

/* output.c */
void output_target(FILE *out, const struct target *t,
		   const struct settings *set);
void output_bytes(char *buf, size_t size, uint64_t bytes);
void output_text(char *buf, size_t size, const char *text);
/* Standard output: 0, or -errno if anything on it could not be written. */
int output_flush(void);

/* json.c */
/* 0 or -ENOMEM; output_flush() tells whether it was written. */
int json_target(FILE *out, const struct target *t);
const char *result_name(int result);
const char *evidence_name(int evidence);
const char *path_name(int path);
const char *kind_name(int kind);
const char *reason_name(int reason);
void note_text(char *buf, size_t size, const struct mrelease_report *r);
const char *error_text(const struct target *t, char *buf, size_t size);

/* check.c */
int check_main(bool json);

#endif /* MRELEASE_PROGRAM_H */
