/* SPDX-License-Identifier: MIT */
/* What is little, and what the memory controller says of it. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"
#include "seccomp.h"

#define SIZE (24 * MIB)
/* Members with a little each: together it is not. */
#define MANY   40
#define LITTLE (200 * 1024)

/* Every ioctl(2) fails, and every pread(2) of one byte. */
static void be_blind(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_LEN(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(77);
}

/*
 * Nothing shows that its memory is back, and the controller charges none of it,
 * since it was charged to another cgroup.
 */
static void test_charged_elsewhere(void **state)
{
	struct cgroup cg;
	struct victim v;
	pid_t child;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_MEMORY);
	victim_start(&v, "reserve", "4", NULL);
	cgroup_add(&cg, v.pid);
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		struct mrelease_report rep = { .size = sizeof(rep) };

		be_blind();
		opts.deadline_ns = in_seconds(5);
		if (mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL))
			_exit(1);
		show_report(&rep);
		_exit(!rep.outstanding_bytes || rep.verified ? 2 : 0);
	}
	switch (test_wait(child)) {
	case 0:
		break;
	case 77:
		skip_test("seccomp", "no filter");
	default:
		fail_msg("verified, with all of it outstanding");
	}
	assert_killed(&v);
	close(cg.fd);
}

/* Written and never mapped: a memfd of a member's, and a file with a name. */
static pid_t start_writer(const struct cgroup *cg, const char *path)
{
	static char block[MIB];
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ends), 0);
	pid = test_fork();
	if (!pid) {
		int fds[2];

		cgroup_add(cg, getpid());
		fds[0] = memfd_create("buffer", MFD_CLOEXEC);
		fds[1] = open(path, O_WRONLY | O_CLOEXEC);
		for (size_t i = 0; i < 2 * SIZE / sizeof(block); i++)
			if (write(fds[i & 1], block, sizeof(block)) !=
			    sizeof(block))
				_exit(1);
		if (write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], &c, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

/* The dry run says beforehand what the run says afterwards. */
static void test_dry_run(void **state)
{
	char path[] = "/dev/shm/mrelease-test.XXXXXX";
	const struct mrelease_entry *d, *e;
	struct mrelease_report dry, rep;
	struct cgroup cg;
	int fd;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_MEMORY);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	close(fd);
	start_writer(&cg, path);
	assert_int_equal(release_cgroup(&cg, MRELEASE_DRY_RUN, &dry), 0);
	assert_int_equal(release_cgroup(&cg, 0, &rep), 0);
	unlink(path);
	d = &dry.kinds[MRELEASE_UNMAPPED];
	e = &rep.kinds[MRELEASE_UNMAPPED];
	expect_report(&rep, e->outstanding_bytes >= SIZE - MIB);
	expect_report(&rep, e->outstanding_bytes <= SIZE + MIB);
	expect_report(&dry, d->before_bytes >= 2 * SIZE - MIB);
	expect_report(&dry, d->outstanding_bytes >= e->outstanding_bytes - MIB);
	expect_report(&dry, d->outstanding_bytes <= e->outstanding_bytes + MIB);
	expect_report(&dry, d->reason == MRELEASE_REASON_CHARGED);
	close(cg.fd);
}

/* Each maps an object of its own, or all the one, which we have open. */
static pid_t start_many(unsigned int n, bool one, int *fds)
{
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ends), 0);
	for (unsigned int i = 0; i < n; i++) {
		fds[i] = memfd_create("little", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fds[i], LITTLE), 0);
	}
	pid = test_fork();
	if (!pid) {
		for (unsigned int i = 0; i < n; i++) {
			char *p;

			int fd = fds[one ? 0 : i];

			if (i + 1 < n && fork())
				continue;
			p = mmap(NULL, LITTLE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0);
			memset(p, 1, LITTLE);
			if (write(ends[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
	}
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(read(ends[0], &c, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void release_many(unsigned int n, bool one, struct mrelease_report *rep)
{
	struct victim v = { 0 };
	int fds[MANY];

	v.pid = start_many(n, one, fds);
	v.fd = mrelease_open(v.pid, 0);
	assert_true(v.fd >= 0);
	assert_int_equal(release_tree(&v, 0, rep), 0);
	close(v.fd);
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
	assert_int_equal(waitpid(v.pid, NULL, 0), v.pid);
}

/* So little is not worth a word, but for 40 times as much. */
static void test_little_each(void **state)
{
	struct mrelease_report rep;

	(void)state;
	release_many(1, false, &rep);
	expect_report(&rep, rep.outstanding_bytes == 0);
	/* As little as it is, and not 40 times. */
	release_many(MANY, true, &rep);
	expect_report(&rep, rep.members == MANY);
	expect_report(&rep, rep.outstanding_bytes == 0);
	release_many(MANY, false, &rep);
	expect_report(&rep, rep.members == MANY);
	expect_report(&rep, rep.outstanding_bytes >= MANY * LITTLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_charged_elsewhere),
		harness_test(test_dry_run),
		harness_test(test_little_each),
	};

	return run_group(tests);
}
