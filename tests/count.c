/* SPDX-License-Identifier: MIT */
/*
 * Preloaded: how often the program allocated and opened between its last
 * wake-up and each order to one of its threads, which is a semaphore's post.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nr, size_t size);
void *__libc_realloc(void *p, size_t size);

static __thread unsigned int opens, allocations;

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t nr, size_t size)
{
	allocations++;
	return __libc_calloc(nr, size);
}

void *realloc(void *p, size_t size)
{
	allocations++;
	return __libc_realloc(p, size);
}

static int mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, int) : 0;
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	opens++;
	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT,
							      "open");
	return real(path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
	static int (*real)(int, const char *, int, ...);
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	opens++;
	if (!real)
		real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT,
								   "openat");
	return real(dirfd, path, flags, mode);
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	static int (*real)(int, struct epoll_event *, int, int);
	int ret;

	if (!real)
		real = (int (*)(int, struct epoll_event *, int,
				int))dlsym(RTLD_NEXT, "epoll_wait");
	ret = real(epfd, events, max, timeout);
	opens = allocations = 0;
	return ret;
}

int sem_post(sem_t *sem)
{
	static int (*real)(sem_t *);
	char line[64];
	int n;

	if (!real)
		real = (int (*)(sem_t *))dlsym(RTLD_NEXT, "sem_post");
	n = snprintf(line, sizeof(line), "count: %u opens %u allocations\n",
		     opens, allocations);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	return real(sem);
}
