/* SPDX-License-Identifier: MIT */
/*
 * Victims in mmap() of a file whose server does not answer: they hold their mmap_lock,
 * which any user can bring about, and keep for ever.  And victims with as many
 * mappings as there may be.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

enum target { PROCESS, TREE, CGROUP };

/* It was not waited for, and its account is its own. */
static void expect_none_the_worse(const struct mrelease_report *rep)
{
	/* A pin is let go at once, and not at the next tick of 100 ms. */
	int64_t held_ns = rep->exit_ns - rep->release_ns;

	expect_report(rep, rep->verified == 1);
	expect_report(rep, rep->released_bytes >= 16 * MIB);
	if (machine_is_busy())
		return;
	expect_report(rep, rep->path == MRELEASE_PATH_PINNED);
	expect_report(rep, held_ns < SEC_NS / 20);
}

/*
 * In mmap(), with the lock that all need who look at its memory or reap it: nothing
 * comes back, nothing is claimed, and a member beside it is none the worse for it.
 */
static void in_mmap(enum target target, uint32_t flags)
{
	struct mrelease_report rep = { .size = sizeof(rep) }, each[2];
	struct mrelease_opts opts = opts_with(flags);
	struct victim v, other;
	size_t nr = 2;
	struct cgroup cg;
	int ret;

	victim_start(&v, "fuse-mmap", "16", NULL);
	if (target == CGROUP) {
		victim_start(&other, "anon", "16", NULL);
		cgroup_make(&cg, CGROUP_V2);
		cgroup_add(&cg, v.pid);
		cgroup_add(&cg, other.pid);
	}
	opts.deadline_ns = in_seconds(1);
	each[0].size = sizeof(rep);
	ret = target == PROCESS ? release(&v, &opts, &rep) :
	      target == TREE	? mrelease_tree(v.fd, &opts, &rep, NULL, NULL) :
				  mrelease_cgroup(cg.fd, &opts, &rep, each, &nr);
	expect_report(&rep, ret == 0);
	assert_true(now_ns() < opts.deadline_ns + SEC_NS);
	assert_true(process_killed(v.pid));
	expect_report(&rep, rep.result == MRELEASE_UNCONFIRMED);
	expect_report(&rep, rep.verified == 0);
	expect_report(&rep, rep.notes & MRELEASE_NOTE_NOT_EXITED);
	expect_report(&rep, rep.outstanding_bytes >= 16 * MIB);
	/* Nor is it waited for to stand: that took half a second. */
	expect_report(&rep, rep.prepare_ns < SEC_NS / 4 || machine_is_busy());
	/* No living process has it. */
	expect_report(&rep, rep.kinds[MRELEASE_COW].kept_bytes < MIB);
	if (target == CGROUP) {
		expect_report(&rep, rep.members_verified == 1 && nr == 2);
		expect_none_the_worse(&each[each[0].pid != other.pid]);
		assert_killed(&other);
		close(cg.fd);
	} else {
		expect_report(&rep, rep.released_bytes == 0);
	}
	victim_command(&v, 'a');
	wait_for_state(v.pid, "Z");
	victim_end(&v);
}

/* More than there are workers, and more than there is time to find out about. */
static void test_many_in_mmap(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) }, each[8];
	struct mrelease_opts opts = opts_with(0);
	struct victim stuck[6], other;
	struct cgroup cg;
	size_t nr = ARRAY_LEN(each), i;

	(void)state;
	need_root();
	cgroup_make(&cg, CGROUP_V2);
	victim_start(&other, "anon", "16", NULL);
	cgroup_add(&cg, other.pid);
	for (i = 0; i < ARRAY_LEN(stuck); i++) {
		victim_start(&stuck[i], "fuse-mmap", "1", NULL);
		cgroup_add(&cg, stuck[i].pid);
	}
	opts.deadline_ns = in_seconds(1);
	each[0].size = sizeof(rep);
	assert_int_equal(mrelease_cgroup(cg.fd, &opts, &rep, each, &nr), 0);
	assert_killed(&other);
	close(cg.fd);
	/* A machine that is a little slower: the kill does not wait. */
	if (rep.notes & MRELEASE_NOTE_NOT_READY)
		return;
	expect_report(&rep, rep.members == 7 && rep.members_verified == 1);
	expect_report(&rep, rep.released_bytes >= 16 * MIB);
	for (i = 0; i < nr && each[i].pid != other.pid; i++)
		;
	assert_true(i < nr);
	expect_none_the_worse(&each[i]);
}

static void test_in_mmap(void **state)
{
	(void)state;
	in_mmap(PROCESS, 0);
}

static void test_in_mmap_in_a_tree(void **state)
{
	(void)state;
	in_mmap(TREE, 0);
	/* It is a child of ours, and is sent SIGSTOP. */
	stops_expected = true;
	in_mmap(TREE, MRELEASE_NO_PIN);
}

static void test_in_mmap_in_a_cgroup(void **state)
{
	(void)state;
	in_mmap(CGROUP, 0);
}

#define NR_MAPPERS  8
#define NR_MAPPINGS 30000

/* They cannot be merged, and most of the object is not there. */
static void map_often(int fd)
{
	const size_t size = 16 * (size_t)getpagesize();

	for (unsigned int i = 0; i < NR_MAPPINGS; i++) {
		int prot = i & 1 ? PROT_READ | PROT_WRITE : PROT_READ;
		char *p = mmap(NULL, size, prot, MAP_SHARED, fd,
			       i & 1 ? (off_t)size : 0);

		if (p == MAP_FAILED)
			_exit(2);
		if (i == 1)
			*p = 1;
	}
}

static void mappers_main(int ready_fd)
{
	int fd = memfd_create("mmap", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 32 * (off_t)getpagesize()))
		_exit(2);
	map_often(fd);
	for (unsigned int i = 1; i < NR_MAPPERS; i++)
		if (!fork())
			break;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(ready_fd, "", 1) != 1)
		_exit(2);
	for (;;)
		pause();
}

/* Shared memory in 240,000 pieces is not worth a late kill. */
static void test_many_mappings(void **state)
{
	struct mrelease_report rep = { .size = sizeof(rep) };
	int ends[2], fd;
	pid_t root;
	char c;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	root = test_fork();
	if (!root)
		mappers_main(ends[1]);
	for (unsigned int i = 0; i < NR_MAPPERS; i++)
		assert_int_equal(read(ends[0], &c, 1), 1);
	close(ends[0]);
	close(ends[1]);
	fd = mrelease_open(root, 0);
	assert_true(fd >= 0);
	assert_int_equal(mrelease_tree(fd, NULL, &rep, NULL, NULL), 0);
	close(fd);
	assert_int_equal(waitpid(root, NULL, 0), root);
	expect_report(&rep, rep.members == NR_MAPPERS);
	expect_report(&rep, rep.stage == MRELEASE_STAGE_EXITED);
	expect_report(&rep, rep.prepare_ns < SEC_NS / 4 || machine_is_busy());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_in_mmap),
		harness_test(test_in_mmap_in_a_tree),
		harness_test(test_in_mmap_in_a_cgroup),
		harness_test(test_many_in_mmap),
		harness_test(test_many_mappings),
	};

	return run_group(tests);
}
