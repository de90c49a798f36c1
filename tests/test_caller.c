/* SPDX-License-Identifier: MIT */
/* What a call must leave alone: the caller, its ancestors, its files and locks. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "own.h"

/* Levels: more than the library walks. */
#define DEEP 50

static struct mrelease_report *said;

static void share_report(void)
{
	said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(said != MAP_FAILED);
	said->size = sizeof(*said);
}

/* The exit status of the caller, a child of the test; 99 if it was killed. */
static int status_of(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static bool make_levels(const struct cgroup *cg, char *path, size_t size)
{
	size_t len = (size_t)snprintf(path, size, "%s", cg->path);

	for (int i = 0; i < DEEP; i++) {
		len += (size_t)snprintf(path + len, size - len, "/d");
		if (mkdir(path, 0755))
			return false;
	}
	return true;
}

static void remove_levels(const struct cgroup *cg, char *path)
{
	for (; strlen(path) > strlen(cg->path); *strrchr(path, '/') = '\0') {
		int64_t until = in_seconds(PATIENCE_S);

		while (rmdir(path) && errno == EBUSY && now_ns() < until)
			sched_yield();
	}
}

/* The caller is so far below the target that no list shows it. */
static void test_far_below(void **state)
{
	char path[PATH_MAX], procs[PATH_MAX + 16];
	struct mrelease_opts opts = opts_with(0);
	struct cgroup cg;
	pid_t child;
	int error;

	(void)state;
	share_report();
	cgroup_make(&cg, CGROUP_V2);
	if (!make_levels(&cg, path, sizeof(path))) {
		remove_levels(&cg, path);
		skip_test("cgroup", "no %d levels", DEEP);
	}
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	child = test_fork();
	if (!child) {
		int fd = open(procs, O_WRONLY | O_CLOEXEC);

		if (write(fd, "0", 1) != 1)
			_exit(98);
		_exit(-mrelease_cgroup(cg.fd, &opts, said, NULL, NULL));
	}
	error = status_of(child);
	remove_levels(&cg, path);
	close(cg.fd);
	assert_int_equal(error, ELOOP);
	expect_report(said, said->stage < MRELEASE_STAGE_KILLED);
	munmap(said, sizeof(*said));
}

/* Another thread may use the same descriptor, so its offset must not move. */
static void test_offset(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	struct mrelease_opts opts = opts_with(0);
	struct cgroup cg;
	char buf[32768];
	off_t at;

	(void)state;
	cgroup_make(&cg, CGROUP_V2);
	assert_true(syscall(SYS_getdents64, cg.fd, buf, sizeof(buf)) > 0);
	at = lseek(cg.fd, 0, SEEK_CUR);
	assert_int_equal(mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL),
			 -ESRCH);
	assert_int_equal(lseek(cg.fd, 0, SEEK_CUR), at);
	assert_int_equal(lseek(cg.fd, 0, SEEK_SET), 0);
	assert_int_equal(mrelease_cgroup(cg.fd, &opts, &rep, NULL, NULL),
			 -ESRCH);
	assert_int_equal(lseek(cg.fd, 0, SEEK_CUR), 0);
	close(cg.fd);
}

/* The grandparent is the target, and the caller has no descriptor to find out. */
static void test_ancestor_without_descriptors(void **state)
{
	const struct rlimit none = { 3, 3 };
	struct cgroup cg;
	pid_t child;
	int status;

	(void)state;
	share_report();
	cgroup_make(&cg, CGROUP_V2);
	child = test_fork();
	if (!child) {
		struct mrelease_opts opts = opts_with(0);
		pid_t parent = fork(), caller;
		int fd;

		if (!parent) {
			caller = fork();
			if (caller)
				_exit(status_of(caller));
			while (!cgroup_members(&cg))
				sched_yield();
			fd = open("/dev/null", O_RDWR);
			for (int i = 0; i < 3; i++)
				dup2(fd, i);
			dup2(cg.fd, 100);
			syscall(SYS_close_range, 3, 99, 0);
			if (setrlimit(RLIMIT_NOFILE, &none))
				_exit(98);
			opts.deadline_ns = in_seconds(5);
			_exit(-mrelease_cgroup(100, &opts, said, NULL, NULL));
		}
		/* Only the grandparent is a member. */
		cgroup_add(&cg, getpid());
		_exit(status_of(parent));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	close(cg.fd);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EPERM);
	expect_report(said, said->refusal == MRELEASE_REFUSE_ANCESTOR);
	munmap(said, sizeof(*said));
}

static void *stay(void *arg)
{
	*(volatile pid_t *)arg = (pid_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

/* A directory of /proc: of a thread, or of another procfs with other numbers. */
static void test_handles_of_another_kind(void **state)
{
	struct mrelease_opts opts = opts_with(0);
	char path[64];
	pid_t child;
	int status;

	(void)state;
	need_root();
	share_report();
	child = test_fork();
	if (!child) {
		volatile pid_t tid = 0;
		pthread_t thread;
		int fd;

		if (pthread_create(&thread, NULL, stay, (void *)&tid))
			_exit(98);
		while (!tid)
			sched_yield();
		snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (mrelease_process(fd, &opts, said) != -EPERM ||
		    said->refusal != MRELEASE_REFUSE_THREAD)
			_exit(1);
		if (unshare(CLONE_FS) || unshare(CLONE_NEWNS) ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("proc", "/mnt", "proc", 0, NULL))
			_exit(77);
		snprintf(path, sizeof(path), "/mnt/%d", getpid());
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (mrelease_process(fd, &opts, said) != -EPERM ||
		    said->refusal != MRELEASE_REFUSE_FOREIGN)
			_exit(2);
		_exit(0);
	}
	status = status_of(child);
	if (status == 77)
		skip_test("mount", "no other procfs");
	show_report(said);
	assert_int_equal(status, 0);
	munmap(said, sizeof(*said));
}

static char shm[64];

static void map_shm(int arg)
{
	int fd = open(shm, O_RDWR | O_CLOEXEC);
	char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)arg;
	if (p == MAP_FAILED)
		_exit(1);
	memset(p, 1, MIB);
}

/* A POSIX lock ends with the first close of that file by its process. */
static void test_locks_of_the_caller(void **state)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct mrelease_report rep;
	pid_t pid, child;
	int fd;

	(void)state;
	need_objects();
	snprintf(shm, sizeof(shm), "/dev/shm/caller-%d", getpid());
	fd = open(shm, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		skip_test("shm", "no /dev/shm");
	assert_int_equal(ftruncate(fd, MIB), 0);
	pid = own_start(map_shm, 0);
	assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	own_kill(pid, 0, &rep);
	expect_report(&rep, rep.kinds[MRELEASE_SHMEM].outstanding_bytes >= MIB);
	child = test_fork();
	if (!child) {
		struct flock q = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		_exit(fcntl(fd, F_GETLK, &q) || q.l_type == F_UNLCK);
	}
	assert_int_equal(test_wait(child), 0);
	close(fd);
	unlink(shm);
}

struct own_table {
	struct victim meant;
	sem_t own, changed;
	struct mrelease_report rep;
	int ret;
};

static void *release_by_own_table(void *arg)
{
	struct own_table *t = arg;

	t->ret = unshare(CLONE_FILES);
	sem_post(&t->own);
	sem_wait(&t->changed);
	t->rep.size = sizeof(t->rep);
	if (!t->ret)
		t->ret = mrelease_process(t->meant.fd, NULL, &t->rep);
	return NULL;
}

/*
 * A thread with descriptors of its own, and another process behind the same number in
 * those of the main thread.
 */
static void test_own_table(void **state)
{
	struct own_table t = { 0 };
	struct victim other;
	pthread_t thread;
	int kept;

	(void)state;
	victim_start(&t.meant, "anon", "8", NULL);
	victim_start(&other, "anon", "4", NULL);
	assert_int_equal(sem_init(&t.own, 0, 0) | sem_init(&t.changed, 0, 0),
			 0);
	assert_int_equal(
		pthread_create(&thread, NULL, release_by_own_table, &t), 0);
	sem_wait(&t.own);
	kept = dup(t.meant.fd);
	assert_int_equal(dup2(other.fd, t.meant.fd), t.meant.fd);
	sem_post(&t.changed);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(dup2(kept, t.meant.fd), t.meant.fd);
	close(kept);
	check_report(&t.rep, t.ret);
	expect_report(&t.rep, t.rep.pid == t.meant.pid);
	assert_untouched(&other);
	assert_killed(&t.meant);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_far_below),
		harness_test(test_offset),
		harness_test(test_ancestor_without_descriptors),
		harness_test(test_handles_of_another_kind),
		harness_test(test_locks_of_the_caller),
		harness_test(test_own_table),
	};

	return run_group(tests);
}
