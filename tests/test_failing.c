/* SPDX-License-Identifier: MIT */
/*
 * Under pressure: once prepared, a release neither opens nor allocates.
 *
 * Each case runs in a child.  Between prepare and release a seccomp filter
 * makes every call fail that would hand out a descriptor or memory, for the
 * thread and for whatever it clones, and malloc() itself ends the child.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "seccomp.h"

/* glibc's own, behind the names that we take. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static bool no_malloc;

static void check_malloc(void)
{
	static const char text[] = "# malloc() after prepare\n";

	if (!no_malloc)
		return;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(11);
	_exit(10);
}

void *malloc(size_t size)
{
	check_malloc();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	check_malloc();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	check_malloc();
	return __libc_realloc(p, size);
}

static const struct {
	int nr;
	int err;
} failing[] = {
	{ SYS_mmap, ENOMEM },	      { SYS_brk, ENOMEM },
	{ SYS_mremap, ENOMEM },	      { SYS_openat, EMFILE },
	{ SYS_openat2, EMFILE },      { SYS_dup, EMFILE },
	{ SYS_dup3, EMFILE },	      { SYS_pipe2, EMFILE },
	{ SYS_eventfd2, EMFILE },     { SYS_epoll_create1, EMFILE },
	{ SYS_socket, EMFILE },	      { SYS_socketpair, EMFILE },
	{ SYS_signalfd4, EMFILE },    { SYS_timerfd_create, EMFILE },
	{ SYS_memfd_create, EMFILE }, { SYS_pidfd_open, EMFILE },
	{ SYS_pidfd_getfd, EMFILE },  { SYS_inotify_init1, EMFILE },
	{ SYS_userfaultfd, EMFILE },
#ifdef SYS_open
	{ SYS_open, EMFILE },	      { SYS_creat, EMFILE },
	{ SYS_dup2, EMFILE },	      { SYS_pipe, EMFILE },
#endif
};

static void fail_from_here_on(void)
{
	static struct sock_filter filter[4 + 2 * ARRAY_LEN(failing) + 1] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog prog = { .filter = filter };
	unsigned short n = 4;
	size_t i;

	for (i = 0; i < ARRAY_LEN(failing); i++) {
		filter[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)failing[i].nr, 0,
			1);
		filter[n++] = (struct sock_filter)BPF_STMT(
			BPF_RET | BPF_K,
			SECCOMP_RET_ERRNO | (uint32_t)failing[i].err);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						   SECCOMP_RET_ALLOW);
	prog.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(20);
	/* It does what it says, or the test would prove nothing. */
	if (open("/dev/null", O_RDONLY) >= 0 || errno != EMFILE)
		_exit(21);
	no_malloc = true;
}

static void no_more_descriptors(void)
{
	/* 0 to 2 are taken; poll() itself fails below its own count. */
	struct rlimit limit = { 3, 3 };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		_exit(20);
	no_malloc = true;
}

static void release_under(void (*pressure)(void), uint32_t flags,
			  const char *name, const char *a, const char *b,
			  struct victim *v)
{
	struct mrelease_opts opts = opts_with(flags);
	struct mrelease_report *rep, said;
	pid_t child;
	int status;

	/* The child's, to be read here. */
	rep = mmap(NULL, sizeof(*rep), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(rep != MAP_FAILED);
	victim_start(v, name, a, b, NULL);
	child = test_fork();
	if (!child) {
		struct mrelease_target *target;
		int ret;

		rep->size = sizeof(*rep);
		if (mrelease_prepare(v->fd, &opts, rep, &target))
			_exit(2);
		pressure();
		ret = mrelease_release(target, opts.deadline_ns, rep);
		no_malloc = false;
		_exit(ret ? 1 : 0);
	}
	status = test_wait(child);
	said = *rep;
	munmap(rep, sizeof(*rep));
	assert_int_equal(status, 0);
	expect_report(&said, said.result == MRELEASE_RELEASED);
	expect_report(&said, said.verified == 1);
	expect_report(&said, said.stage == MRELEASE_STAGE_EXITED);
	expect_report(&said, flags & MRELEASE_NO_PIN ||
				     said.path == MRELEASE_PATH_PINNED);
	assert_memory_back(v);
}

static void test_nothing_to_be_had(void **state)
{
	struct victim v;

	(void)state;
	release_under(fail_from_here_on, 0, "anon", "64", NULL, &v);
	assert_killed(&v);
}

/* Big enough for a second reaper, if the library has such a thing. */
static void test_nothing_to_be_had_1gib(void **state)
{
	struct victim v;

	(void)state;
	release_under(fail_from_here_on, 0, "anon", "1024", NULL, &v);
	assert_killed(&v);
}

static void test_nothing_to_be_had_threads(void **state)
{
	struct victim v;

	(void)state;
	release_under(fail_from_here_on, 0, "threads", "500", "16", &v);
	assert_killed(&v);
}

static void test_nothing_to_be_had_many_maps(void **state)
{
	struct victim v;

	(void)state;
	release_under(fail_from_here_on, 0, "many-maps", "2000", "16", &v);
	assert_killed(&v);
}

static void test_nothing_to_be_had_terabytes(void **state)
{
	struct victim v;

	(void)state;
	release_under(fail_from_here_on, 0, "reserve", "2", NULL, &v);
	assert_killed(&v);
}

static void test_no_descriptors(void **state)
{
	struct victim v;

	(void)state;
	release_under(no_more_descriptors, 0, "anon", "64", NULL, &v);
	assert_killed(&v);
}

/* One too few of them for prepare: an error, no victim, no leak. */
static void test_prepare_without_descriptors(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_target *target = NULL;
	struct rlimit old, limit;
	unsigned int fds, n;
	struct victim v;
	int ret;

	(void)state;
	victim_start(&v, "anon", "4", NULL);
	fds = count_fds();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (n = 0; n < 12; n++) {
		limit = old;
		/* Our own numbers are high: count free slots from the top. */
		limit.rlim_cur = n;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ret = mrelease_prepare(v.fd, NULL, &rep, &target);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (!ret) {
			mrelease_target_free(target);
			break;
		}
		assert_int_equal(ret, -EMFILE);
		assert_null(target);
		expect_report(&rep, rep.result == MRELEASE_FAILED);
		assert_int_equal(count_fds(), fds);
	}
	assert_untouched(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_nothing_to_be_had),
		harness_test(test_nothing_to_be_had_1gib),
		harness_test(test_nothing_to_be_had_threads),
		harness_test(test_nothing_to_be_had_many_maps),
		harness_test(test_nothing_to_be_had_terabytes),
		harness_test(test_no_descriptors),
		harness_test(test_prepare_without_descriptors),
	};

	return run_group(tests);
}
