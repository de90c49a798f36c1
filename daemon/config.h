/* SPDX-License-Identifier: MIT */
/* mreleased.conf, its drop-ins, and what the command line sets over them. */
#ifndef MRELEASED_CONFIG_H
#define MRELEASED_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "policy.h"
#include "rules.h"

#define MAX_HOOK 1024

/* Where the one for the whole machine has its own, and its lock, by default. */
#define CONFIG_STATUS_SOCKET "/run/mreleased/status"

struct config {
	struct policy_config policy;
	struct rules rules;
	/* The cgroup that is watched; empty: the whole machine. */
	char cgroup[PATH_MAX];
	/* Where mreleased status asks; empty: nowhere. */
	char status_socket[108];
	/* Written for the textfile collector of node_exporter. */
	char metrics[PATH_MAX];
	/* Every snapshot and decision is appended. */
	char record[PATH_MAX];
	/* Programs run before and after a kill. */
	char before_kill[MAX_HOOK];
	char after_kill[MAX_HOOK];
	/* Between two lines about how much memory there is, ns; 0: none. */
	int64_t report_ns;
	bool dry_run;
	/* earlyoom's -g: the whole process group goes. */
	bool process_group;
	bool ignore_root;
	bool debug;
	/* Called by earlyoom's name: no setting of a file. */
	bool earlyoom;
};

/* Where messages about a configuration go. */
typedef void (*config_complain)(void *arg, const char *where, const char *what);

void config_defaults(struct config *c);
void config_clear(struct config *c);
/*
 * One setting, by its name in the file.  Return: 0, or -EINVAL and @why says
 * what is wrong with it.
 */
int config_set(struct config *c, const char *key, const char *value, char *why,
	       size_t size);
/* A text in the file's form; every mistake is told.  0 or -EINVAL. */
int config_parse(struct config *c, const char *name, const char *text,
		 config_complain complain, void *arg);
/*
 * @file, or where it is looked for if that is NULL, with the drop-ins.  A file
 * that is not there is no mistake unless it was asked for by name.
 */
int config_load(struct config *c, const char *file, config_complain complain,
		void *arg);
/* In a form that config_parse() understands, with every setting. */
void config_print(const struct config *c, FILE *out);
/* Where the second line gives way to the first, that is set; of so much memory and swap. */
void config_settle(struct policy_config *p, uint64_t total,
		   uint64_t swap_total);

/* values.c: 0, or -EINVAL */
int value_line(const char *text, struct line *ret);
int value_permille(const char *text, uint32_t *ret);
int value_time(const char *text, int64_t *ret_ns);
int value_bool(const char *text, bool *ret);
void print_line_value(const struct line *l, FILE *out);
void print_permille(uint32_t permille, FILE *out);
void print_time(int64_t ns, FILE *out);

#endif /* MRELEASED_CONFIG_H */
