/* SPDX-License-Identifier: MIT */
/*
 * The loads.  Each is a process, or some, in load-hog.slice; sizes are shares
 * of the machine's memory.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

static void __attribute__((noreturn)) rest(void)
{
	for (;;)
		pause();
}

/* Memory, and swap where there is any, are both below @percent. */
static bool below(double percent)
{
	uint64_t swap = meminfo("SwapTotal:");
	double left = (double)meminfo("SwapFree:");

	if (meminfo("MemAvailable:") >= share_of_memory(percent))
		return false;
	return !swap || left * 100 / (double)swap < percent;
}

static void fill_until(double percent)
{
	while (!below(percent))
		grow(share_of_memory(0.5));
}

static void hog_fast(void)
{
	for (;;)
		grow(share_of_memory(0.5));
}

/* 5 % a second */
void hog_brisk(void)
{
	for (;;) {
		grow(share_of_memory(0.5));
		sleep_ms(100);
	}
}

/* A leak, 2 % a second, that begins where most of the memory is in use. */
static void hog_slow(void)
{
	fill_until(20);
	for (;;) {
		grow(share_of_memory(0.2));
		sleep_ms(100);
	}
}

/* It saves its work for as long as it likes, which is for ever. */
static void hog_noterm(void)
{
	signal(SIGTERM, SIG_IGN);
	hog_brisk();
}

/* A job of 60 processes, each smaller than an innocent. */
static void hog_tree(void)
{
	for (unsigned int i = 0; i < 60; i++) {
		random_number();
		if (fork() == 0) {
			for (unsigned int k = 0; k < 5; k++) {
				grow(share_of_memory(0.5));
				sleep_ms(100);
			}
			rest();
		}
		sleep_ms(100);
	}
	rest();
}

/* Below every line for a second, and then it gives everything back. */
static void hog_spike(void)
{
	uint64_t bytes;
	char *p;

	fill_until(14);
	bytes = meminfo("MemAvailable:") - share_of_memory(6);
	p = grow(bytes & ~UINT64_C(4095));
	sleep_ms(1000);
	munmap(p, bytes);
	exit(0);
}

/* Three readers of a mapped disk that does not fit; little memory of theirs. */
static void hog_cache(void)
{
	uint64_t bytes = share_of_memory(70);
	volatile char *disk;
	int fd = open("/dev/vdd", O_RDONLY | O_CLOEXEC);

	disk = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (disk == MAP_FAILED)
		die("/dev/vdd");
	grow(share_of_memory(15));
	for (unsigned int k = 0; k < 2 && fork() > 0; k++)
		;
	random_seed((uint64_t)getpid());
	for (;;) {
		uint64_t start = random_number() % bytes;

		for (uint64_t at = 0; at < bytes; at += 4096)
			(void)disk[(start + at) % bytes];
	}
}

static int shm_file(void)
{
	int fd;

	mkdir(SHM_DIR, 0700);
	if (mount("shm", SHM_DIR, "tmpfs", 0, "size=100%"))
		die("tmpfs");
	fd = open(SHM_DIR "/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die(SHM_DIR "/file");
	return fd;
}

/* Nobody has it: who wrote it is gone. */
static void hog_tmpfs(void)
{
	static char buf[1 << 20];
	int fd = shm_file();

	while (!below(4)) {
		fill_pages(buf, sizeof(buf));
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			break;
	}
	exit(0);
}

/* The writer, small itself, stays and writes 10 MiB/s. */
static void hog_log(void)
{
	static char buf[1 << 20];
	int fd = shm_file();

	for (;;) {
		fill_pages(buf, sizeof(buf));
		if (write(fd, buf, sizeof(buf)) != sizeof(buf) || below(15))
			sleep_ms(100);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} loads[] = {
	{ "fast", hog_fast },
	{ "slow", hog_slow },
	{ "noterm", hog_noterm },
	{ "tree", hog_tree },
	{ "spike", hog_spike },
	{ "cache", hog_cache },
	{ "tmpfs", hog_tmpfs },
	{ "log", hog_log },
	{ "held", hog_held },
	{ "dstate", hog_dstate },
	{ "threads", hog_threads },
	{ "slowexit", hog_slowexit },
	/* its unit has MemoryMax=, MemoryHigh= */
	{ "max", hog_fast },
	{ "high", hog_fast },
	/* two units */
	{ "one", hog_brisk },
	{ "two", hog_brisk },
};

int hog(const char *load)
{
	for (size_t i = 0; i < ARRAY_SIZE(loads); i++) {
		if (!strcmp(load, loads[i].name))
			loads[i].run();
	}
	return 2;
}
