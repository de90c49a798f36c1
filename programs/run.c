/* SPDX-License-Identifier: MIT */
/* Several targets at once, the biggest first, and a sign of life meanwhile. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define MAX_THREADS 64
/* What one release has open at a time, and some more. */
#define FDS_PER_RELEASE 24

struct run {
	struct target *targets;
	/* Indexes, biggest first. */
	size_t *order;
	size_t nr;
	size_t next;
	size_t done;
	/* A terminal to show progress on, and is something shown now? */
	bool show;
	bool shown;
	/* The first failure to write a result: -errno. */
	int write_error;
	const struct settings *set;
	pthread_mutex_t lock;
	pthread_cond_t ended;
};

/* With run->lock held, or nobody else there. */
static void report(struct run *run, const struct target *t)
{
	int error = 0;

	if (run->shown)
		fputs("\r\033[K", stderr);
	run->shown = false;
	if (!run->set->json)
		output_target(stdout, t, run->set);
	else if (!run->set->quiet || t->status != STATUS_OK)
		error = json_target(stdout, t);
	if (!error)
		error = output_flush();
	if (!run->write_error)
		run->write_error = error;
}

static void *worker(void *arg)
{
	struct run *run = arg;

	for (;;) {
		struct target *t;

		pthread_mutex_lock(&run->lock);
		if (run->next == run->nr) {
			pthread_mutex_unlock(&run->lock);
			return NULL;
		}
		t = &run->targets[run->order[run->next++]];
		pthread_mutex_unlock(&run->lock);

		target_release(t, run->set);
		/* The only one's is closed by the exit. */
		if (run->nr > 1 && t->fd >= 0)
			close(t->fd);
		t->fd = -1;

		pthread_mutex_lock(&run->lock);
		t->done = true;
		run->done++;
		if (!t->late)
			report(run, t);
		pthread_cond_signal(&run->ended);
		pthread_mutex_unlock(&run->lock);
	}
}

/* With run->lock held: which one is it that takes so long? */
static void show_progress(struct run *run, double seconds)
{
	char line[512], who[256];
	struct winsize size;
	size_t i = 0, width = 80;

	while (i < run->nr && run->targets[i].done)
		i++;
	if (i == run->nr)
		return;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		width = size.ws_col;
	output_text(who, sizeof(who), run->targets[i].arg);
	snprintf(line, sizeof(line),
		 "mrelease: %zu of %zu done, %.0f s, waiting for %s", run->done,
		 run->nr, seconds, who);
	/* A line that wraps could not be taken back. */
	if (width < sizeof(line))
		line[width - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	run->shown = true;
}

static bool can_show(const struct settings *set)
{
	const char *term = getenv("TERM");

	return !set->quiet && !set->json && term && strcmp(term, "dumb") != 0 &&
	       isatty(STDERR_FILENO);
}

static void wait_all(struct run *run)
{
	struct timespec start, until;

	clock_gettime(CLOCK_REALTIME, &start);
	until = start;
	pthread_mutex_lock(&run->lock);
	while (run->done < run->nr) {
		until.tv_sec++;
		if (!run->show) {
			pthread_cond_wait(&run->ended, &run->lock);
			continue;
		}
		while (run->done < run->nr &&
		       pthread_cond_timedwait(&run->ended, &run->lock,
					      &until) == 0)
			;
		if (run->done < run->nr)
			show_progress(run, until.tv_sec - start.tv_sec);
	}
	pthread_mutex_unlock(&run->lock);
}

static struct target *sort_targets;

static int by_weight(const void *a, const void *b)
{
	const struct target *x = &sort_targets[*(const size_t *)a];
	const struct target *y = &sort_targets[*(const size_t *)b];

	return (x->weight < y->weight) - (x->weight > y->weight);
}

int targets_run(struct target *t, size_t nr, const struct settings *set)
{
	struct run run = {
		.targets = t,
		.nr = nr,
		.show = can_show(set),
		.set = set,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.ended = PTHREAD_COND_INITIALIZER,
	};
	size_t nr_threads = set->max_fds / 2 / FDS_PER_RELEASE;
	pthread_t threads[MAX_THREADS];
	size_t started = 0, first = 0;

	if (nr_threads > MAX_THREADS)
		nr_threads = MAX_THREADS;
	if (nr_threads > nr)
		nr_threads = nr;
	run.order = nr > 1 ? calloc(nr, sizeof(*run.order)) : &first;
	if (!run.order) {
		complain("out of memory, nothing was signalled");
		exit(STATUS_NOT_KILLED);
	}
	for (size_t i = 0; i < nr; i++) {
		run.order[i] = i;
		if (nr > 1)
			target_weigh(&t[i]);
	}
	sort_targets = t;
	qsort(run.order, nr, sizeof(*run.order), by_weight);
	if (nr > 1 || run.show) {
		for (; started < nr_threads; started++)
			if (pthread_create(&threads[started], NULL, worker,
					   &run))
				break;
	}
	/* One target and nobody to entertain, or no threads to be had. */
	if (!started)
		worker(&run);
	else
		wait_all(&run);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < nr; i++) {
		if (!t[i].late)
			continue;
		target_adopt(&t[i], t, nr);
		report(&run, &t[i]);
	}
	if (run.order != &first)
		free(run.order);
	return run.write_error;
}
