/* SPDX-License-Identifier: MIT */
/* Two releases at once: what comes back is reported by one of them. */
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "notify.h"
#include "own.h"

#define SIZE (24 * MIB)

/* In memory that the caller and its parent share. */
struct two {
	pid_t pid;
	/* Both are of the caller's one open file. */
	bool one_file;
	bool first_is_tree;
	bool second_is_tree;
	int fd;
	struct mrelease_report first;
	struct mrelease_report second;
};

static int release_as(int fd, bool tree, uint32_t flags,
		      struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);

	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	return tree ? mrelease_tree(fd, &opts, rep, NULL, NULL) :
		      mrelease_process(fd, &opts, rep);
}

/* The first has killed and counted it, and stands before it is reaped. */
static int release_second(void *arg, unsigned int n, pid_t caller)
{
	struct two *t = arg;
	int fd;

	(void)caller;
	if (n)
		return 0;
	fd = t->one_file ? t->fd : mrelease_open(t->pid, 0);

	if (release_as(fd, t->second_is_tree, MRELEASE_NO_WAIT_EXIT,
		       &t->second))
		_exit(4);
	return 0;
}

static void release_both(struct two *t)
{
	static struct notify hold = {
		.call = SYS_process_mrelease,
		.fn = release_second,
	};

	t->fd = mrelease_open(t->pid, 0);
	if (t->fd < 0)
		_exit(2);
	hold.arg = t;
	notify_begin(&hold);
	_exit(release_as(t->fd, t->first_is_tree, 0, &t->first) ? 3 : 0);
}

static void fill(int arg)
{
	(void)arg;
	own_anon(SIZE, MAP_PRIVATE);
}

static void expect_once(const struct two *how)
{
	struct two *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct mrelease_entry *e = &t->second.kinds[MRELEASE_ANON];
	int status;
	pid_t caller;

	assert_ptr_not_equal(t, MAP_FAILED);
	*t = *how;
	t->pid = own_start(fill, 0);
	caller = test_fork();
	if (!caller)
		release_both(t);
	status = test_wait(caller);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	if (!t->second.size)
		skip_test("mrelease", "process_mrelease() is not called");
	expect_report(&t->first, t->first.released_bytes >= SIZE);
	expect_report(&t->second, t->second.released_bytes < MIB);
	/* It is free all the same. */
	expect_report(&t->second, t->second.outstanding_bytes == 0);
	expect_report(&t->second, t->second.verified == 1);
	expect_report(&t->second, e->kept_bytes >= SIZE);
	expect_report(&t->second, e->reason == MRELEASE_REASON_CLAIMED);
	assert_int_equal(waitpid(t->pid, NULL, 0), t->pid);
	munmap(t, sizeof(*t));
}

static void test_two_callers(void **state)
{
	(void)state;
	expect_once(&(struct two){ 0 });
}

/* Two threads with one pidfd: a lock on that file is that of both. */
static void test_one_pidfd(void **state)
{
	(void)state;
	expect_once(&(struct two){ .one_file = true });
}

static void test_a_tree_and_a_process(void **state)
{
	(void)state;
	expect_once(&(struct two){ .first_is_tree = true });
	expect_once(&(struct two){ .second_is_tree = true });
	expect_once(
		&(struct two){ .first_is_tree = true, .second_is_tree = true });
}

/* Killed by somebody, and by no release: what is left of it is ours. */
static void test_was_dying(void **state)
{
	struct mrelease_report rep;
	struct victim v;

	(void)state;
	victim_start(&v, "traced-exit", "32", NULL);
	kill(v.pid, SIGKILL);
	wait_for_state(v.pid, "t");
	expect_report(&rep, release_as(v.fd, false, MRELEASE_NO_WAIT_EXIT,
				       &rep) == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_WAS_DYING);
	expect_report(&rep, rep.released_bytes >= 32 * MIB);
	/* And the next one finds nothing of it. */
	expect_report(&rep, release_as(v.fd, false, MRELEASE_NO_WAIT_EXIT,
				       &rep) == 0);
	expect_report(&rep, rep.released_bytes < MIB);
}

#define NOBODY 65534

static void lock_as_user(const char *path, int pidfd)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : pidfd;
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	/* What is refused is no lock; what is granted must do no harm. */
	if (fd < 0)
		return;
	flock(fd, LOCK_EX | LOCK_NB);
	fcntl(fd, F_OFD_SETLK, &l);
}

/* All that it may lock, and keeps locked. */
static int hold_locks(pid_t victim, int ready)
{
	char status[64], dir[64];

	snprintf(status, sizeof(status), "/proc/%d/status", victim);
	snprintf(dir, sizeof(dir), "/proc/%d", victim);
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) ||
	    /* Or nobody could lock what the test relies on. */
	    open("/proc/1/clear_refs", O_WRONLY) >= 0)
		return 2;
	lock_as_user(NULL, mrelease_open(victim, 0));
	lock_as_user(NULL, mrelease_open(1, 0));
	lock_as_user(status, -1);
	lock_as_user(dir, -1);
	lock_as_user("/proc/1/status", -1);
	lock_as_user("/proc/1", -1);
	lock_as_user("/proc/1/clear_refs", -1);
	if (write(ready, "x", 1) != 1)
		return 3;
	for (;;)
		pause();
}

/* A stranger's locks keep nobody from reporting what came back. */
static void test_lock_of_a_user(void **state)
{
	struct mrelease_report rep;
	pid_t pid, stranger;
	int ends[2], fd;
	char c;

	(void)state;
	if (geteuid())
		skip_test("root", "it must be able to become somebody else");
	pid = own_start(fill, 0);
	assert_int_equal(pipe(ends), 0);
	stranger = test_fork();
	if (!stranger)
		_exit(hold_locks(pid, ends[1]));
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 1);
	close(ends[0]);
	fd = mrelease_open(pid, 0);
	assert_true(fd >= 0);
	expect_report(&rep, release_as(fd, false, 0, &rep) == 0);
	expect_report(&rep, rep.released_bytes >= SIZE);
	expect_report(&rep, rep.kinds[MRELEASE_ANON].reason !=
				    MRELEASE_REASON_CLAIMED);
	close(fd);
	kill(stranger, SIGKILL);
	assert_int_equal(waitpid(stranger, NULL, 0), stranger);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_two_callers),
		harness_test(test_one_pidfd),
		harness_test(test_a_tree_and_a_process),
		harness_test(test_was_dying),
		harness_test(test_lock_of_a_user),
	};

	return run_group(tests);
}
