/* SPDX-License-Identifier: MIT */
/* Reads what watch.c and cell have written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runs.h"

/* from its signal to its words, on a machine that can hardly do either */
#define OOM_MS 1000

static void *more(void *list, size_t nr, size_t size)
{
	/* doubled whenever it is full */
	if (nr && (nr & (nr - 1)))
		return list;
	list = reallocarray(list, nr ? 2 * nr : 1, size);
	if (!list) {
		perror("lowmem-table");
		exit(1);
	}
	return list;
}

static struct run *add_run(struct run **runs, size_t *nr)
{
	struct run *r;

	*runs = more(*runs, *nr, sizeof(**runs));
	r = &(*runs)[(*nr)++];
	memset(r, 0, sizeof(*r));
	/* until its end is read */
	r->hung = true;
	for (size_t i = 0; i < NR_INNOCENTS; i++)
		r->died_ms[i] = NEVER;
	return r;
}

static void add_victim(struct run *r, const struct victim *v)
{
	for (size_t i = 0; i < r->nr_victims; i++) {
		if (r->victims[i].pid == v->pid)
			return;
	}
	r->victims = more(r->victims, r->nr_victims, sizeof(*r->victims));
	r->victims[r->nr_victims++] = *v;
}

/* The kernel says whom it takes, and then it sends its own signal. */
static void add_oom(struct run *r, int64_t ms, int pid)
{
	struct victim v = {
		.ms = ms, .pid = pid, .sig = 9, .oom = true, .by = "kernel"
	};

	for (size_t i = 0; i < r->nr_victims; i++) {
		if (r->victims[i].pid == pid &&
		    r->victims[i].ms >= ms - OOM_MS) {
			r->victims[i].oom = true;
			strcpy(r->victims[i].by, "kernel");
			return;
		}
	}
	add_victim(r, &v);
}

static bool is_ours(const char *name)
{
	return !strncmp(name, "innocent", 8) || !strncmp(name, "hog", 3);
}

/* A sender's comm can be up to 15 characters: all of them fit in NAME_ROOM. */
static void read_victim(struct run *r, const char *line)
{
	struct victim v = { 0 };

	if (sscanf(line, "signal %ld %23s %d %23s %d", &v.ms, v.by, &v.sig,
		   v.name, &v.pid) == 5)
		add_victim(r, &v);
}

static void read_sample(struct run *r, const char *line)
{
	struct sample s;

	if (sscanf(line, "sample %ld %ld %ld %ld %ld", &s.ms, &s.avail, &s.free,
		   &s.swap, &s.hog) != 5)
		return;
	r->samples = more(r->samples, r->nr_samples, sizeof(s));
	r->samples[r->nr_samples++] = s;
}

static void read_size(struct run *r, const char *line)
{
	struct size s;

	if (sscanf(line, "size %ld %d %ld", &s.ms, &s.pid, &s.kib) != 3)
		return;
	r->sizes = more(r->sizes, r->nr_sizes, sizeof(s));
	r->sizes[r->nr_sizes++] = s;
}

static void read_innocent(struct run *r, const char *line)
{
	unsigned int nr;
	int64_t ms;
	int pid;

	if (sscanf(line, "innocent %u %d %ld", &nr, &pid, &ms) == 3 &&
	    nr < NR_INNOCENTS) {
		r->pids[nr] = pid;
		r->stall_ms[nr] = ms;
	}
	if (sscanf(line, "died %ld %u", &ms, &nr) == 2 && nr < NR_INNOCENTS)
		r->died_ms[nr] = ms;
}

static void read_line(struct run *r, const char *line)
{
	int64_t ms;
	int pid;

	if (sscanf(line, "total %ld", &ms) == 1)
		r->total = ms;
	else if (!strncmp(line, "sample ", 7))
		read_sample(r, line);
	else if (!strncmp(line, "size ", 5))
		read_size(r, line);
	else if (!strncmp(line, "signal ", 7))
		read_victim(r, line);
	else if (sscanf(line, "oom %ld %d", &ms, &pid) == 2)
		add_oom(r, ms, pid);
	else if (sscanf(line, "idle %ld %ld %ld", &r->rss_kib, &r->switches,
			&r->idle_seconds) == 3)
		r->is_idle = true;
	else if (!strncmp(line, "daemon ", 7))
		r->daemon_died = strncmp(line + 7, "active", 6);
	else if (!strncmp(line, "hogsleft ", 9))
		r->hogs_left = line[9] == '1';
	else if (sscanf(line, "end %lf", &r->host_load) == 1)
		r->hung = strstr(line, "hung");
	else
		read_innocent(r, line);
}

/* Innocents by their PID, and nobody who is no part of the load. */
static void sort_out_victims(struct run *r)
{
	size_t nr = 0;

	for (size_t i = 0; i < r->nr_victims; i++) {
		struct victim *v = &r->victims[i];

		v->innocent = -1;
		for (int k = 0; k < NR_INNOCENTS; k++) {
			if (r->pids[k] != v->pid)
				continue;
			v->innocent = k;
			/* the kernel's words have no name */
			snprintf(v->name, sizeof(v->name), "innocent-%d", k);
		}
		if (v->innocent >= 0 || is_ours(v->name))
			r->victims[nr++] = *v;
	}
	r->nr_victims = nr;
}

size_t read_runs(const char *path, struct run **runs)
{
	FILE *f = fopen(path, "re");
	struct run *r = NULL;
	char line[512];
	size_t nr = 0;

	*runs = NULL;
	if (!f) {
		perror(path);
		exit(1);
	}
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "run ", 4)) {
			r = add_run(runs, &nr);
			sscanf(line, "run %23s %23s %23s %lu", r->daemon,
			       r->load, r->swap, &r->seed);
		} else if (r) {
			read_line(r, line);
		}
	}
	fclose(f);
	for (size_t i = 0; i < nr; i++)
		sort_out_victims(&(*runs)[i]);
	return nr;
}
