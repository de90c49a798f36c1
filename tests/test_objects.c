/* SPDX-License-Identifier: MIT */
/* Objects of shmem that several processes have: free once, or theirs. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "notify.h"

#define SIZE	(24 * MIB)
#define STRIPES 4
/* In place of a descriptor: System V memory. */
#define SEGMENT (-2)

static void need_handles(void)
{
	if (geteuid())
		skip_test("root", "file handles are for root");
}

static char *attach_segment(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	char *p = id < 0 ? (char *)-1 : shmat(id, NULL, 0);

	shmctl(id, IPC_RMID, NULL);
	assert_ptr_not_equal(p, (char *)-1);
	return p;
}

/* Each page is in one page table only. */
static char *map_object(int fd)
{
	char *p = fd == SEGMENT ?
			  attach_segment() :
			  mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			       fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED,
			       fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* A child that writes a part of it, says so, and stays. */
static pid_t start_writer(char *p, size_t from, size_t bytes)
{
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ends), 0);
	pid = test_fork();
	if (!pid) {
		memset(p + from, 1, bytes);
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

static void start_stripes(int fd, pid_t *pids)
{
	char *p = map_object(fd);

	for (size_t i = 0; i < STRIPES; i++)
		pids[i] = start_writer(p, i * SIZE / STRIPES, SIZE / STRIPES);
	munmap(p, SIZE);
	if (fd >= 0)
		close(fd);
}

static void release_pid(pid_t pid, uint32_t flags, struct mrelease_report *rep)
{
	struct mrelease_opts opts = opts_with(flags);
	int fd = mrelease_open(pid, 0);

	assert_true(fd >= 0);
	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	assert_int_equal(mrelease_process(fd, &opts, rep), 0);
	close(fd);
	if (flags & MRELEASE_DRY_RUN)
		return;
	check_report(rep, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void expect_kept(const struct mrelease_report *rep)
{
	const struct mrelease_entry *e = &rep->kinds[MRELEASE_SHMEM];

	expect_report(rep, e->kept_bytes >= SIZE);
	expect_report(rep, e->outstanding_bytes == 0 && e->back_bytes == 0);
	expect_report(rep, e->reason == MRELEASE_REASON_IN_USE);
	expect_report(rep, e->holder_pid > 0);
}

/* One after the other: the others have it, and the last gives it back. */
static void stripes_in_turn(int fd)
{
	struct mrelease_report rep, dry;
	pid_t pids[STRIPES];

	start_stripes(fd, pids);
	for (int i = 0; i < STRIPES; i++) {
		const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];

		release_pid(pids[i], MRELEASE_DRY_RUN, &dry);
		release_pid(pids[i], 0, &rep);
		expect_report(&dry,
			      dry.exclusive_bytes + MIB > rep.released_bytes);
		expect_report(&dry,
			      dry.exclusive_bytes < rep.released_bytes + MIB);
		if (i < STRIPES - 1)
			expect_kept(&rep);
		else
			expect_report(&rep, e->back_bytes >= SIZE);
		expect_report(&rep, rep.outstanding_bytes == 0);
	}
}

static void test_stripes_in_turn(void **state)
{
	int fd;

	(void)state;
	need_handles();
	stripes_in_turn(-1);
	fd = memfd_create("stripes", MFD_CLOEXEC);
	assert_true(fd >= 0 && !ftruncate(fd, SIZE));
	stripes_in_turn(fd);
}

struct both {
	pid_t pids[STRIPES];
	struct mrelease_report first;
	struct mrelease_report second;
};

static int release_second(void *arg, unsigned int n, pid_t caller)
{
	struct mrelease_opts opts = opts_with(0);
	struct both *b = arg;
	int fd;

	(void)caller;
	if (n)
		return 0;
	fd = mrelease_open(b->pids[1], 0);
	b->second.size = sizeof(b->second);
	if (mrelease_process(fd, &opts, &b->second))
		_exit(4);
	return 0;
}

/* The first stands before it asks what has become of the object. */
static void release_both(struct both *b)
{
	struct mrelease_opts opts = opts_with(0);
	int fd = mrelease_open(b->pids[0], 0);
	static struct notify hold = {
		.call = SYS_open_by_handle_at,
		.fn = release_second,
	};

	hold.arg = b;
	notify_begin(&hold);
	b->first.size = sizeof(b->first);
	_exit(mrelease_process(fd, &opts, &b->first) ? 3 : 0);
}

/* Two at once, of two processes that have it: gone, and each sees it gone. */
static void test_stripes_at_once(void **state)
{
	struct both *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct mrelease_entry *e;
	struct mrelease_report rep;
	pid_t caller;
	int status;

	(void)state;
	need_handles();
	assert_ptr_not_equal(b, MAP_FAILED);
	start_stripes(-1, b->pids);
	for (int i = 2; i < STRIPES; i++)
		release_pid(b->pids[i], 0, &rep);
	caller = test_fork();
	if (!caller)
		release_both(b);
	status = test_wait(caller);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	e = &b->first.kinds[MRELEASE_SHMEM];
	expect_report(&b->first, e->back_bytes >= SIZE);
	e = &b->second.kinds[MRELEASE_SHMEM];
	expect_report(&b->second, e->back_bytes == 0);
	expect_report(&b->second, e->kept_bytes >= SIZE);
	expect_report(&b->second, e->reason == MRELEASE_REASON_CLAIMED);
	expect_report(&b->second, b->second.outstanding_bytes == 0);
	munmap(b, sizeof(*b));
}

/* A parent that has all of it, and a child that has touched none of it. */
static pid_t start_parent(int fd, void (*be)(void), pid_t *ret_child)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = test_fork();
	if (!pid) {
		pid_t child;
		char *p = map_object(fd);

		if (fd >= 0)
			close(fd);
		memset(p, 1, SIZE);
		child = fork();
		if (child > 0 &&
		    write(ends[1], &child, sizeof(child)) != sizeof(child))
			_exit(1);
		if (!child)
			be();
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], ret_child, sizeof(*ret_child)),
			 sizeof(*ret_child));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void be_alive(void)
{
}

static void *for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void exit_main_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, for_ever, NULL))
		_exit(1);
	syscall(SYS_exit, 0);
}

static void expect_the_childs(int fd, const char *path, void (*be)(void))
{
	const struct mrelease_entry *e;
	struct mrelease_report rep, dry;
	pid_t child, pid = start_parent(fd, be, &child);

	if (be == exit_main_thread)
		wait_for_state(child, "Z");
	release_pid(pid, MRELEASE_DRY_RUN, &dry);
	release_pid(pid, 0, &rep);
	if (path)
		unlink(path);
	/* Ours since its parent has gone. */
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	e = &rep.kinds[MRELEASE_SHMEM];
	expect_kept(&rep);
	expect_report(&rep, e->holder_pid == child);
	expect_report(&rep, rep.outstanding_bytes == 0 && rep.verified);
	expect_kept(&dry);
}

static void test_living_child(void **state)
{
	(void)state;
	need_handles();
	expect_the_childs(-1, NULL, be_alive);
}

/* Its main thread, whose maps are empty, is not all of a process. */
static void test_headless_child(void **state)
{
	(void)state;
	need_handles();
	expect_the_childs(-1, NULL, exit_main_thread);
}

/* The numbers of segments are those of a namespace, which it must show, too. */
static void test_headless_child_of_a_segment(void **state)
{
	(void)state;
	need_handles();
	expect_the_childs(SEGMENT, NULL, exit_main_thread);
}

/* A name does not make it the victim's. */
static void test_living_child_of_a_file(void **state)
{
	char path[] = "/dev/shm/mrelease-test.XXXXXX";
	int fd;

	(void)state;
	need_handles();
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	expect_the_childs(fd, path, be_alive);
	close(fd);
}

/* --- members that exit before their mappings are read --------------------- */

/* For one member too little to be reported; for all of them it is not. */
#define CROWD  4
#define LITTLE (200 * 1024)

struct crowd {
	struct cgroup cg;
	pid_t pids[CROWD];
	int pidfds[CROWD];
	struct mrelease_report rep;
};

static void await_all(const struct crowd *c)
{
	for (size_t i = 0; i < CROWD; i++) {
		struct pollfd ended = { c->pidfds[i], POLLIN, 0 };

		if (poll(&ended, 1, PATIENCE_S * 1000) != 1)
			_exit(4);
	}
}

/* All members are open, and the first is about to be seized: all die. */
static int end_all(void *arg, unsigned int n, pid_t caller)
{
	struct crowd *c = arg;

	(void)caller;
	for (size_t i = 0; n == 0 && i < CROWD; i++)
		kill(c->pids[i], SIGKILL);
	if (n == 0)
		await_all(c);
	return 0;
}

/* The second is about to be opened, and the caller has no time: it kills all. */
static int until_killed(void *arg, unsigned int n, pid_t caller)
{
	(void)caller;
	if (n == 1)
		await_all(arg);
	return 0;
}

static void release_crowd(struct crowd *c, struct notify *hold,
			  int64_t deadline_ns)
{
	struct mrelease_opts opts = opts_with(0);

	hold->arg = c;
	notify_begin(hold);
	c->rep.size = sizeof(c->rep);
	opts.deadline_ns = deadline_ns;
	_exit(mrelease_cgroup(c->cg.fd, &opts, &c->rep, NULL, NULL) ? 3 : 0);
}

/* All of them have mapped the same pages. */
static struct crowd *crowd_of(struct notify *hold, int64_t deadline_ns)
{
	struct crowd *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *p = map_object(-1);
	pid_t caller;
	int status;

	assert_ptr_not_equal(c, MAP_FAILED);
	cgroup_make(&c->cg, CGROUP_V2);
	for (size_t i = 0; i < CROWD; i++) {
		c->pids[i] = start_writer(p, 0, LITTLE);
		c->pidfds[i] = (int)syscall(SYS_pidfd_open, c->pids[i], 0);
		assert_true(c->pidfds[i] >= 0);
		cgroup_add(&c->cg, c->pids[i]);
	}
	caller = test_fork();
	if (!caller)
		release_crowd(c, hold, deadline_ns);
	status = test_wait(caller);
	for (size_t i = 0; i < CROWD; i++) {
		kill(c->pids[i], SIGKILL);
		assert_int_equal(waitpid(c->pids[i], NULL, 0), c->pids[i]);
		close(c->pidfds[i]);
	}
	close(c->cg.fd);
	munmap(p, SIZE);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	expect_report(&c->rep, c->rep.members == CROWD);
	return c;
}

/* Members of a fork bomb exit between the listing and the reading of their mappings. */
static void test_gone_before_the_look(void **state)
{
	static struct notify hold = { .call = SYS_ptrace, .fn = end_all };
	struct crowd *c = crowd_of(&hold, 0);

	(void)state;
	expect_report(&c->rep, c->rep.outstanding_bytes == 0);
	expect_report(&c->rep, c->rep.verified == 1);
	munmap(c, sizeof(*c));
}

/* Killed by the caller before they were opened: nobody knows what they had. */
static void test_killed_before_the_look(void **state)
{
	static struct notify hold = {
		.call = SYS_pidfd_open,
		.fn = until_killed,
	};
	struct crowd *c = crowd_of(&hold, 1);

	(void)state;
	expect_report(&c->rep, c->rep.verified == 0);
	expect_report(&c->rep, c->rep.notes & MRELEASE_NOTE_HANDLES);
	munmap(c, sizeof(*c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_stripes_in_turn),
		harness_test(test_stripes_at_once),
		harness_test(test_living_child),
		harness_test(test_living_child_of_a_file),
		harness_test(test_headless_child),
		harness_test(test_headless_child_of_a_segment),
		harness_test(test_gone_before_the_look),
		harness_test(test_killed_before_the_look),
	};

	return run_group(tests);
}
