/* SPDX-License-Identifier: MIT */
/*
 * A victim built like a Java server: thousands of threads, hundreds of mapped
 * files, a big heap.  What is prepared before the kill must not grow with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define JVM_THREADS	2000
#define JVM_FILES	500
#define JVM_FILE_BYTES	(16 * 1024)
#define JVM_STACK_BYTES (64 * 1024)
#define JVM_PREPARE_MS	10.0
#define JVM_VS_WAIT	0.75
#define JVM_VS_MRELEASE 1.10

static void *idle_thread(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void jar_path(const char *dir, unsigned int i, char *buf, size_t size)
{
	snprintf(buf, size, "%s/jvm-%03u.jar", dir, i);
}

static int make_files(const char *dir)
{
	static char data[JVM_FILE_BYTES];
	char path[BENCH_PATH_MAX];

	memset(data, 'j', sizeof(data));
	for (unsigned int i = 0; i < JVM_FILES; i++) {
		ssize_t n;
		int fd;

		jar_path(dir, i, path, sizeof(path));
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return errno;
		n = write(fd, data, sizeof(data));
		close(fd);
		if (n != (ssize_t)sizeof(data))
			return ENOSPC;
	}
	return 0;
}

static void remove_files(const char *dir)
{
	char path[BENCH_PATH_MAX];

	for (unsigned int i = 0; i < JVM_FILES; i++) {
		jar_path(dir, i, path, sizeof(path));
		unlink(path);
	}
}

static int map_files(const char *dir)
{
	char path[BENCH_PATH_MAX];
	volatile const char *mem;

	for (unsigned int i = 0; i < JVM_FILES; i++) {
		int fd;

		jar_path(dir, i, path, sizeof(path));
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return errno;
		mem = mmap(NULL, JVM_FILE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
		if (mem == MAP_FAILED)
			return errno;
		(void)*mem;
	}
	return 0;
}

static int start_threads(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int error = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, JVM_STACK_BYTES);
	for (unsigned int i = 0; i < JVM_THREADS - 1 && !error; i++)
		error = pthread_create(&thread, &attr, idle_thread, NULL);
	pthread_attr_destroy(&attr);
	return error;
}

static int setup(void *arg)
{
	int error = map_files(arg);

	return error ? error : start_threads();
}

static void once(enum bench_way way, void *arg, struct bench_stat *st)
{
	way_once(way, arg, st);
}

static bool judge(struct bench_result *res)
{
	double prepare = (double)series_median(&res->way[WAY_OURS].prepare);
	bool ok;

	ok = check_max(res, "preparation, ms", prepare / 1e6, JVM_PREPARE_MS);
	ok &= check_ratio(res, WAY_WAIT, JVM_VS_WAIT);
	ok &= check_ratio(res, WAY_MRELEASE, JVM_VS_MRELEASE);
	ok &= check_verified(res);
	return ok;
}

int scn_jvm(const struct bench_opts *o, struct bench_result *res)
{
	struct victim_spec spec = VICTIM_SPEC(GIB);
	struct bench_plan plan = { once, judge, &spec };
	struct victim v;
	int error;

	if (!have_memory(GIB, res))
		return 0;
	error = make_files(o->dir);
	spec.setup = setup;
	spec.arg = (void *)(uintptr_t)o->dir;
	if (!error) {
		error = victim_start(&spec, &v);
		victim_end(&v);
	}
	if (error)
		bench_skip(res, "%d threads, %d files: %s", JVM_THREADS,
			   JVM_FILES, strerror(error));
	else
		interleave(o, res, &plan);
	remove_files(o->dir);
	return 0;
}
