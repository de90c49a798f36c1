/* SPDX-License-Identifier: MIT */
/*
 * What goes on around a release and is no part of it: a real-time loop, a /proc
 * that shows processes only, a stranger who frees memory at the same time, a member
 * that cannot exit beside one that did.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "groups.h"
#include "harness.h"
#include "notify.h"
#include "own.h"

#define SIZE (32 * MIB)

static int own_memfd(size_t size)
{
	int fd = memfd_create("around", MFD_CLOEXEC);
	char *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, size))
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, size);
	return fd;
}

/* --- a real-time loop ----------------------------------------------------- */

static void spin_in_real_time(int cpu)
{
	struct sched_param param = { .sched_priority = 50 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* It ends with the test, and gives the CPU back if that hangs. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(PATIENCE_S);
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setscheduler(0, SCHED_FIFO, &param))
		_exit(1);
}

/*
 * Beside it everything else of that CPU waits.  More threads than the helper reads
 * in one piece, so that more than one process of ours works on them.
 */
static void test_real_time_loop(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep;
	struct victim v;
	pid_t spinner;
	int64_t began;
	int ends[2];

	(void)state;
	need_root();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		skip_test("cpus", "one CPU only");
	victim_start(&v, "threads", "80", NULL);
	assert_int_equal(pipe(ends), 0);
	spinner = test_fork();
	if (!spinner) {
		spin_in_real_time(1);
		close(ends[0]);
		close(ends[1]);
		for (;;)
			;
	}
	close(ends[1]);
	/* End of file: it spins, or it may not. */
	assert_int_equal(read(ends[0], &(char){ 0 }, 1), 0);
	close(ends[0]);
	if (sched_getscheduler(spinner) != SCHED_FIFO)
		skip_test("real-time", "SCHED_FIFO is refused");
	began = now_ns();
	opts.deadline_ns = began + 5 * SEC_NS;
	expect_report(&rep, release(&v, &opts, &rep) == 0);
	expect_report(&rep, rep.verified == 1);
	expect_report(&rep, now_ns() - began < 5 * SEC_NS);
	own_end(spinner);
	victim_end(&v);
}

/* --- /proc ---------------------------------------------------------------- */

static void hold_memfd(int arg)
{
	(void)arg;
	own_memfd(SIZE);
}

/*
 * ProcSubset=pid: no /proc/meminfo.  Nothing is called back or outstanding for a
 * counter that cannot be read: the object is asked.
 */
static void test_proc_of_processes(void **state)
{
	struct mrelease_report *rep = mmap(NULL, sizeof(*rep),
					   PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const struct mrelease_entry *e = &rep->kinds[MRELEASE_SHMEM];
	struct mrelease_opts opts = opts_with(0);
	pid_t pid, child;
	int status, fd;

	(void)state;
	need_root();
	need_objects();
	pid = own_start(hold_memfd, 0);
	fd = mrelease_open(pid, 0);
	assert_true(fd >= 0);
	memset(rep, 0xa5, sizeof(*rep));
	rep->size = sizeof(*rep);
	child = test_fork();
	if (!child) {
		if (unshare(CLONE_NEWNS) ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/proc", "proc", 0, "subset=pid") ||
		    access("/proc/meminfo", F_OK) == 0)
			_exit(77);
		_exit(mrelease_process(fd, &opts, rep) ? 1 : 0);
	}
	status = test_wait(child);
	close(fd);
	if (status == 77) {
		own_end(pid);
		skip_test("subset=pid", "no /proc of processes only");
	}
	assert_int_equal(status, 0);
	expect_report(rep, e->back_bytes >= SIZE);
	expect_report(rep, e->outstanding_bytes == 0);
	expect_report(rep, e->evidence == MRELEASE_EVIDENCE_OBJECT);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	munmap(rep, sizeof(*rep));
}

/* --- a stranger ----------------------------------------------------------- */

static char linked[64];

static void hold_linked(int arg)
{
	int fd = open(linked, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *p = MAP_FAILED;

	(void)arg;
	if (fd >= 0 && !ftruncate(fd, SIZE))
		p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, SIZE);
}

static void hold_more(int arg)
{
	(void)arg;
	own_memfd(SIZE + SIZE / 2);
}

static void leave(void)
{
	_exit(0);
}

/*
 * It frees more shared memory than the victim has, once the victim is dead.  The
 * victim's file is still there, and the system's counters are nobody's evidence.
 */
static void test_stranger_frees(void **state)
{
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];
	pid_t pid, stranger;

	(void)state;
	snprintf(linked, sizeof(linked), "/dev/shm/around-%d", getpid());
	pid = own_start(hold_linked, 0);
	stranger = own_stranger(hold_more, 0, leave, pid);
	own_kill(pid, 0, &rep);
	unlink(linked);
	expect_report(&rep, e->outstanding_bytes >= SIZE);
	expect_report(&rep, e->back_bytes == 0);
	assert_int_equal(waitpid(stranger, NULL, 0), stranger);
}

/* --- others of the group -------------------------------------------------- */

/* Its exit is when it exited, not when the wait for its frozen sibling ended. */
static void test_exit_beside_a_frozen_one(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	struct mrelease_report rep = { .size = sizeof(rep) };
	const int64_t wait_ns = 2 * SEC_NS;
	struct cgroup cg, freezer;
	struct victim v[2];
	size_t nr = 2;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	cgroup_make(&freezer, CGROUP_FREEZER);
	fill_cgroup(&cg, v, 2, "8");
	cgroup_add(&freezer, v[1].pid);
	cgroup_freeze(&freezer);
	opts.deadline_ns = now_ns() + wait_ns;
	memset(members, 0, sizeof(members));
	members[0].size = members[1].size = sizeof(members[0]);
	expect_report(&rep,
		      mrelease_cgroup(cg.fd, &opts, &rep, members, &nr) == 0);
	assert_int_equal(nr, 2);
	for (size_t i = 0; i < nr; i++) {
		if (members[i].pid == v[1].pid)
			expect_report(&members[i], members[i].exit_ns < 0);
		else
			expect_report(&members[i],
				      members[i].exit_ns >= 0 &&
					      members[i].exit_ns < wait_ns / 2);
	}
	cgroup_thaw(&freezer);
	for (int i = 0; i < 2; i++)
		victim_end(&v[i]);
	close(freezer.fd);
	close(cg.fd);
}

/* It promises what the run does: nothing of it comes back. */
static void test_dry_run_of_a_zombie(void **state)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report dry = { .size = sizeof(dry) };
	struct mrelease_report run = { .size = sizeof(run) };
	pid_t pid = own_start(hold_memfd, 0);
	int fd = mrelease_open(pid, 0);

	(void)state;
	assert_true(fd >= 0);
	kill(pid, SIGKILL);
	wait_for_state(pid, "Z");
	expect_report(&dry, mrelease_process(fd, &opts, &dry) == 0);
	opts.flags = 0;
	expect_report(&run, mrelease_process(fd, &opts, &run) == 0);
	expect_report(&dry, dry.exclusive_bytes == 0);
	expect_report(&dry, dry.exclusive_bytes == run.released_bytes);
	expect_report(&dry, dry.notes & MRELEASE_NOTE_ZOMBIE);
	close(fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- few descriptors ------------------------------------------------------ */

/* What a release in a process of its own says. */
static struct mrelease_report *said;

/*
 * Leave n free descriptors.  The others are memfds: a helper does not close its copies
 * of these, since it cannot tell whether that would hang.
 */
static void have_free(int target, int n)
{
	const struct rlimit limit = { 3 + n, 3 + n };
	int fd = own_memfd(getpagesize());

	for (int i = 0; i < 3; i++)
		if (dup2(fd, i) < 0)
			_exit(1);
	/* The target's number is above the limit, and stays open. */
	if (dup2(target, 100) < 0)
		_exit(1);
	if (syscall(SYS_close_range, 3, 99, 0) ||
	    syscall(SYS_close_range, 101, ~0U, 0) ||
	    setrlimit(RLIMIT_NOFILE, &limit))
		_exit(1);
}

/* Release by a process with n free descriptors: its error, or 99 if it was killed. */
static int release_with(const struct cgroup *cg, int n, bool inside)
{
	pid_t child;
	int status;

	/* The child writes the report: it is cleared before the fork. */
	memset(said, 0, sizeof(*said));
	said->size = sizeof(*said);
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);

		if (inside)
			cgroup_add(cg, getpid());
		have_free(cg->fd, n);
		opts.deadline_ns = in_seconds(5);
		_exit(-mrelease_cgroup(100, &opts, said, NULL, NULL));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void few_descriptors(bool inside)
{
	int enough = -1;

	said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(said != MAP_FAILED);
	for (int n = 0; n < 12; n++) {
		struct cgroup cg;
		struct victim v;
		int error;

		cgroup_make(&cg, CGROUP_V2);
		fill_cgroup(&cg, &v, 1, "8");
		error = release_with(&cg, n, inside);
		if (error == 0) {
			enough = enough < 0 ? n : enough;
			expect_report(said,
				      said->stage >= MRELEASE_STAGE_KILLED);
			assert_killed(&v);
		} else {
			expect_report(said, error == EMFILE || error == EPERM);
			expect_report(said, said->error == -error);
			expect_report(said,
				      said->stage < MRELEASE_STAGE_KILLED);
			expect_report(said,
				      error == EMFILE ||
					      said->refusal ==
						      MRELEASE_REFUSE_SELF);
			enough = error == EPERM && enough < 0 ? n : enough;
			assert_untouched(&v);
		}
		if (inside)
			assert_int_not_equal(error, 0);
		victim_end(&v);
		close(cg.fd);
	}
	/* One descriptor is enough, for the list. */
	assert_in_range(enough, 0, 1);
	munmap(said, sizeof(*said));
}

/* A report must not say that a process was killed which was not. */
static void test_few_descriptors(void **state)
{
	(void)state;
	few_descriptors(false);
}

/* With one for cgroup.kill and none for the list, the caller would kill itself. */
static void test_few_descriptors_inside(void **state)
{
	(void)state;
	few_descriptors(true);
}

/* --- a host that is killed ------------------------------------------------ */

/*
 * The helper works in the caller's table of descriptors.  With one of its own it
 * would close copies of the caller's files when it ends, and hang where one of them
 * is on a file system that has gone.
 */
static int compare_tables(void *arg, unsigned int n, pid_t caller)
{
	int *same = arg;
	pid_t host = (pid_t)process_status(caller, "PPid", 10);

	if (n == 0)
		*same = (int)syscall(SYS_kcmp, host, caller, KCMP_FILES, 0, 0);
	return 0;
}

static void test_no_copies_of_descriptors(void **state)
{
	static struct notify hold = {
		.call = SYS_process_mrelease,
		.fn = compare_tables,
	};
	int *same = mmap(NULL, sizeof(*same), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct victim v;
	pid_t host;
	int status;

	(void)state;
	need_kcmp();
	*same = -1;
	victim_start(&v, "anon", "16", NULL);
	host = test_fork();
	if (!host) {
		struct mrelease_opts opts = opts_with(0);

		hold.arg = same;
		notify_begin(&hold);
		_exit(mrelease_process(v.fd, &opts, NULL) ? 1 : 0);
	}
	status = test_wait(host);
	victim_end(&v);
	if (status == 77)
		skip_test("seccomp", "no listener for a filter");
	assert_int_equal(status, 0);
	if (*same == -1)
		skip_test("mrelease", "process_mrelease() is not called");
	assert_int_equal(*same, 0);
	munmap(same, sizeof(*same));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_real_time_loop),
		harness_test(test_proc_of_processes),
		harness_test(test_stranger_frees),
		harness_test(test_exit_beside_a_frozen_one),
		harness_test(test_dry_run_of_a_zombie),
		harness_test(test_few_descriptors),
		harness_test(test_few_descriptors_inside),
		harness_test(test_no_copies_of_descriptors),
	};

	return run_group(tests);
}
