/* SPDX-License-Identifier: MIT */
/* Victims with every kind of mapping that a reaper treats differently. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "victim.h"

static unsigned char *map_shared(int fd, size_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | flags,
		       fd, 0);

	if (p == MAP_FAILED)
		die("mmap MAP_SHARED");
	fill(p, len);
	return p;
}

/* Some private memory beside the kind in question. */
static unsigned char *private;
#define PRIVATE_LEN (4 * MIB)

static void announce(void)
{
	private = fill_anon(PRIVATE_LEN);
	ready(getpid(), 0, private, PRIVATE_LEN);
	serve(private, PRIVATE_LEN);
}

/*
 * memfd [MIB]: shared memory on SHM_FD, which the test holds too: it does not
 * come back with the victim.  Without SHM_FD a memfd of its own, which does.
 */
int victim_memfd(int argc, char **argv)
{
	size_t len = number(argc, argv, 1, 16) * MIB;
	int fd = SHM_FD;

	if (fcntl(fd, F_GETFD) < 0)
		fd = memfd_create("victim", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)len))
		die("memfd");
	map_shared(fd, len, 0);
	announce();
	return 0;
}

/* shared-anon [MIB]: MAP_SHARED | MAP_ANONYMOUS, nobody else maps it. */
int victim_shared_anon(int argc, char **argv)
{
	map_shared(-1, number(argc, argv, 1, 16) * MIB, MAP_ANONYMOUS);
	announce();
	return 0;
}

/* sysv [MIB]: a SysV segment, removed as soon as it is attached. */
int victim_sysv(int argc, char **argv)
{
	size_t len = number(argc, argv, 1, 16) * MIB;
	int id = shmget(IPC_PRIVATE, len, IPC_CREAT | 0600);
	void *p;

	if (id < 0)
		skip_victim("no SysV shared memory");
	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	if (p == (void *)-1)
		die("shmat");
	fill(p, len);
	announce();
	return 0;
}

/* hugetlb [MIB]: private huge pages, which no reaper touches. */
int victim_hugetlb(int argc, char **argv)
{
	size_t len = number(argc, argv, 1, 4) * MIB;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED)
		skip_victim("no huge pages (vm.nr_hugepages is too low)");
	fill(p, len);
	announce();
	return 0;
}

/* mlocked [MIB] */
int victim_mlocked(int argc, char **argv)
{
	size_t len = number(argc, argv, 1, 4) * MIB;

	private = fill_anon(len);
	if (mlock(private, len))
		skip_victim("mlock refused (RLIMIT_MEMLOCK)");
	ready(getpid(), 0, private, len);
	serve(private, len);
}

/*
 * file PATH MIB [cow]: maps a file of that size and reads it all; with cow it
 * is a private mapping and its first half is written to, which makes that
 * half anonymous.
 */
int victim_file(int argc, char **argv)
{
	size_t i, len = number(argc, argv, 2, 16) * MIB;
	int cow = argc > 3, fd;
	unsigned char *p;

	if (argc < 2)
		die("file: no path");
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(argv[1]);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 cow ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	close(fd);
	for (i = 0; i < len; i += 4096)
		(void)*(volatile unsigned char *)(p + i);
	if (cow) {
		fill(p, len / 2);
		ready(getpid(), 0, p, len / 2);
		serve(p, len / 2);
	}
	announce();
	return 0;
}

#if __SIZEOF_POINTER__ == 8
/*
 * reserve [TIB]: what Go, Java and ASan do to an address space.  TIB tebibytes
 * without access, as many readable and writable but never reserved, and in
 * both a page touched every 16 GiB.  ADDR and LEN name the last MiB of it,
 * which is filled.
 */
int victim_reserve(int argc, char **argv)
{
	size_t len = number(argc, argv, 1, 4) << 40;
	size_t i, step = (size_t)16 << 30;
	unsigned char *none, *rw;

	none = mmap(NULL, len, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	rw = mmap(NULL, len, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (none == MAP_FAILED || rw == MAP_FAILED)
		skip_victim("terabytes of address space are refused here");
	/* One huge page per touch would be a gibibyte. */
	madvise(rw, len, MADV_NOHUGEPAGE);
	madvise(none, len, MADV_NOHUGEPAGE);
	for (i = 0; i < len; i += step) {
		if (mprotect(none + i, 4096, PROT_READ | PROT_WRITE))
			die("mprotect");
		none[i] = 1;
		rw[i] = 1;
	}
	fill(rw + len - MIB, MIB);
	ready(getpid(), 0, rw + len - MIB, MIB);
	serve(rw + len - MIB, MIB);
}
#else
int victim_reserve(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	skip_victim("reserve: 64-bit only");
}
#endif

/*
 * many-maps [N [MIB]]: N mappings that cannot be merged, as a JVM has.  Each
 * is one page of the victim's own program file.
 */
int victim_many_maps(int argc, char **argv)
{
	unsigned long i, n = number(argc, argv, 1, 500);
	size_t len = number(argc, argv, 2, 16) * MIB;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	volatile unsigned char *p;

	if (fd < 0)
		die("/proc/self/exe");
	for (i = 0; i < n; i++) {
		p = mmap(NULL, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE,
			 MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			die("mmap");
		(void)*p;
	}
	private = fill_anon(len);
	ready(getpid(), 0, private, len);
	serve(private, len);
}
