/* SPDX-License-Identifier: MIT */
/* Processes that are files of the test's own. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "procs.h"
#include "text.h"

char root[PATH_MAX];
struct table table;
struct rules rules;

void put(const char *path, const char *text)
{
	char full[PATH_MAX + 64];
	int fd;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	unlink(full);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

void make_dir(const char *path)
{
	char full[PATH_MAX + 64];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	unlink(full);
	if (mkdir(full, 0700))
		assert_int_equal(access(full, F_OK), 0);
}

void put_process(const struct process *p)
{
	char path[64], text[1024];

	snprintf(path, sizeof(path), "proc/%d", p->pid);
	make_dir(path);
	snprintf(text, sizeof(text),
		 "%d (%s) %c %d %d 7 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 %lu "
		 "1000000 %lu 18446744073709551615 1 1 %u 0 0\n",
		 p->pid, p->comm, p->state ? p->state : 'S', p->ppid,
		 p->pgrp ? p->pgrp : 7, (unsigned long)p->start,
		 (unsigned long)(p->kib / 4), p->stack);
	snprintf(path, sizeof(path), "proc/%d/stat", p->pid);
	put(path, text);
	snprintf(text, sizeof(text),
		 "Name:\t%s\nUid:\t0\t0\t0\t0\nVmRSS:\t%lu kB\n"
		 "RssAnon:\t%lu kB\nThreads:\t1\n",
		 p->comm, (unsigned long)p->kib, (unsigned long)p->kib);
	snprintf(path, sizeof(path), "proc/%d/status", p->pid);
	put(path, text);
	snprintf(text, sizeof(text), "%d\n", p->oom_score_adj);
	snprintf(path, sizeof(path), "proc/%d/oom_score_adj", p->pid);
	put(path, text);
	snprintf(path, sizeof(path), "proc/%d/cgroup", p->pid);
	put(path, "0::/\n");
}

void sweep(void)
{
	struct snapshot now = { .time_ns = clock_ns(), .total_bytes = GIB };

	assert_int_equal(table_sweep(&table, &now), 0);
}

const struct candidate *find(const struct process *p)
{
	const struct candidate *c = table_find(&table, p->pid, p->start);

	assert_non_null(c);
	return c;
}

void sweep_until_protected(const struct process *p)
{
	int64_t end = clock_ns() + 20 * NS_PER_S;

	do {
		table_forget_rules(&table, &rules);
		sweep();
	} while (!(find(p)->flags & CANDIDATE_NEVER) && clock_ns() < end);
	assert_true(find(p)->flags & CANDIDATE_NEVER);
}

int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/mreleased-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(root))
		return -1;
	make_dir("proc");
	make_dir("cgroup");
	memset(&rules, 0, sizeof(rules));
	return table_open(&table, root, -1, NULL, &rules);
}

int tear_down(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}
