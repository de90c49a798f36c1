/* SPDX-License-Identifier: MIT */
/*
 * A swap file for a test.  Swap belongs to the whole machine, so it has to be
 * turned off again: by the teardown; by contain, when the test died; by a guard
 * process, when contain was killed as well; else by the next test that wants
 * swap.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "harness.h"

#define PREFIX	  "/mrelease-test-swap-"
#define FILE_SIZE (64 * MIB)

/* Its end-of-file tells the guard that we are gone. */
static int guard_fd = -1;

/* Bytes of swap in use, or (total) that there are. */
static uint64_t swap_bytes(bool total)
{
	unsigned long long all = 0, left = 0;
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "SwapTotal: %llu", &all);
		sscanf(line, "SwapFree: %llu", &left);
	}
	fclose(f);
	return (total ? all : all - left) * 1024;
}

uint64_t swap_used(void)
{
	return swap_bytes(false);
}

/* As mkswap does it. */
static bool write_swap_file(int fd)
{
	size_t page = (size_t)getpagesize();
	static char zeros[65536];
	uint32_t info[2] = { 1, (uint32_t)(FILE_SIZE / page - 1) };

	/* No holes: the kernel writes to the blocks, not to the file. */
	for (uint64_t done = 0; done < FILE_SIZE; done += sizeof(zeros))
		if (write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
			return false;
	return pwrite(fd, info, sizeof(info), 1024) == sizeof(info) &&
	       pwrite(fd, "SWAPSPACE2", 10, (off_t)page - 10) == 10;
}

/* A number means another process in a container: /proc/swaps has all of them. */
static unsigned long long pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

static const char *file_of(pid_t pid)
{
	const char *dir = getenv("MRELEASE_TEST_DIR");
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.4000s" PREFIX "%llu-%d",
		 dir ? dir : "/var/tmp", pid_namespace(), pid);
	return path;
}

static int swap_end(const char *path)
{
	int ret = swapoff(path) && errno != EINVAL && errno != ENOENT;

	unlink(path);
	return ret;
}

int swap_clean(pid_t pid)
{
	FILE *f = fopen("/proc/swaps", "re");
	char line[PATH_MAX + 128];
	unsigned long long namespace;
	const char *name;
	int owner, left = 0;

	if (pid == getpid() && guard_fd >= 0) {
		close(guard_fd);
		guard_fd = -1;
	}
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, " \t\n")] = '\0';
		name = strstr(line, PREFIX);
		if (!name ||
		    sscanf(name, PREFIX "%llu-%d", &namespace, &owner) != 2 ||
		    namespace != pid_namespace())
			continue;
		if (owner == pid || !process_exists(owner))
			left += swap_end(line);
	}
	if (f)
		fclose(f);
	/* A guard that was killed in the middle leaves the file. */
	unlink(file_of(pid));
	return left;
}

static void start_guard(const char *path)
{
	int pipefd[2];
	char c;

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	guard_fd = pipefd[1];
	if (!test_fork()) {
		prctl(PR_SET_PDEATHSIG, 0);
		setsid();
		close(pipefd[1]);
		while (read(pipefd[0], &c, 1) < 0 && errno == EINTR)
			;
		_exit(swap_end(path));
	}
	close(pipefd[0]);
}

void need_swap(void)
{
	const char *path = file_of(getpid());
	bool written;
	int fd;

	if (swap_bytes(true) - swap_bytes(false) >= FILE_SIZE / 2)
		return;
	need_root();
	swap_clean(getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		skip_test("swap", "%s: %s", path, strerror(errno));
	written = write_swap_file(fd);
	close(fd);
	start_guard(path);
	if (!written || swapon(path, 0)) {
		int error = errno;

		unlink(path);
		skip_test("swap", "no swap, and none can be made in %s: %s",
			  path, strerror(error));
	}
}
