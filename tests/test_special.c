/* SPDX-License-Identifier: MIT */
/* Memory that is in no page table after the exit, and not free all the same. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own.h"

#define SIZE (16 * MIB)
/* Within what anybody may lock. */
#define SECRET (7 * MIB)
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#define PINNED(rep)  (&(rep)->kinds[MRELEASE_PINNED])
#define SPECIAL(rep) (&(rep)->kinds[MRELEASE_SPECIAL])

static int secret_memfd(void)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);

	if (fd < 0)
		skip_test("kernel", "no memfd_secret (secretmem.enable)");
	assert_int_equal(ftruncate(fd, SECRET), 0);
	return fd;
}

static char *secret;

static void map_secret(int fd)
{
	secret = mmap(NULL, SECRET, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (secret == MAP_FAILED)
		_exit(1);
	memset(secret, 1, SECRET);
	close(fd);
}

static void stranger_maps(int arg)
{
	(void)arg;
	map_secret(secret_memfd());
}

static void stranger_unmaps(void)
{
	munmap(secret, SECRET);
}

/* We have it open; a stranger gives as much back at that moment. */
static void test_secret_and_a_stranger(void **state)
{
	struct mrelease_report rep;
	pid_t pid, stranger;
	int fd;

	(void)state;
	own_need_frames();
	fd = secret_memfd();
	pid = own_start(map_secret, fd);
	stranger = own_stranger(stranger_maps, 0, stranger_unmaps, pid);
	own_kill(pid, 0, &rep);
	own_end(stranger);
	close(fd);
	expect_report(&rep, SPECIAL(&rep)->before_bytes == SECRET);
	expect_report(&rep, SPECIAL(&rep)->back_bytes == 0);
	expect_report(&rep, SPECIAL(&rep)->outstanding_bytes == SECRET);
	expect_report(&rep, SPECIAL(&rep)->reason == MRELEASE_REASON_IN_USE);
}

static void stranger_maps_late(void)
{
	stranger_maps(0);
}

/* It is back, and a stranger takes as much. */
static void test_secret_is_back(void **state)
{
	struct mrelease_report rep;
	pid_t pid, stranger;
	int fd;

	(void)state;
	own_need_frames();
	fd = secret_memfd();
	pid = own_start(map_secret, fd);
	close(fd);
	stranger = own_stranger(NULL, 0, stranger_maps_late, pid);
	own_kill(pid, 0, &rep);
	own_end(stranger);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, SPECIAL(&rep)->back_bytes == SECRET);
	expect_report(&rep, rep.kinds[MRELEASE_CACHE].before_bytes < SECRET);
	expect_report(&rep,
		      SPECIAL(&rep)->evidence == MRELEASE_EVIDENCE_FRAMES);
}

static char *pages;
static int ring;

static void have_ring(int flags)
{
	pages = own_anon(SIZE, flags);
	ring = own_ring(pages, SIZE);
	if (ring < 0)
		_exit(1);
}

static void have_ring_kept(int flags)
{
	have_ring(flags);
	own_keep_files(pages, SIZE);
}

static void end_ring(void)
{
	close(ring);
	munmap(pages, SIZE);
}

static void have_other_ring(void)
{
	have_ring(MAP_PRIVATE);
}

/* As much is unpinned by a stranger at its end: what it had pinned is not. */
static void kept_case(int flags, struct mrelease_report *rep)
{
	pid_t pid, keeper, stranger;

	own_need_frames();
	own_need_ring();
	pid = own_start(have_ring_kept, flags);
	assert_int_equal(process_children(pid, &keeper, 1), 1);
	stranger = own_stranger(have_ring, MAP_PRIVATE, end_ring, pid);
	own_kill(pid, 0, rep);
	own_end(stranger);
	own_end(keeper);
}

static void test_pinned_and_a_stranger(void **state)
{
	struct mrelease_report rep;

	(void)state;
	kept_case(MAP_PRIVATE, &rep);
	expect_report(&rep, PINNED(&rep)->before_bytes >= SIZE);
	expect_report(&rep, PINNED(&rep)->outstanding_bytes >= SIZE - MIB);
	expect_report(&rep, PINNED(&rep)->reason == MRELEASE_REASON_PINNED);
	expect_report(&rep, rep.released_bytes < 2 * MIB);
}

/* Its object has gone, and its pages have not. */
static void test_pinned_shmem(void **state)
{
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_SHMEM];

	(void)state;
	kept_case(MAP_SHARED, &rep);
	expect_report(&rep, e->before_bytes >= SIZE);
	expect_report(&rep, e->back_bytes <= MIB);
	expect_report(&rep, e->outstanding_bytes >= SIZE - MIB);
	expect_report(&rep, e->reason == MRELEASE_REASON_PINNED);
}

/* What its ring had is back once the ring is; strangers have theirs. */
static void test_pinned_is_back(void **state)
{
	struct mrelease_report rep;
	pid_t pid, one, other;

	(void)state;
	own_need_frames();
	own_need_ring();
	one = own_start(have_ring, MAP_PRIVATE);
	for (int flags = MAP_SHARED; flags <= MAP_PRIVATE; flags++) {
		pid = own_start(have_ring, flags);
		other = own_stranger(NULL, 0, have_other_ring, pid);
		own_kill(pid, 0, &rep);
		own_end(other);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.released_bytes >= SIZE);
		expect_report(&rep, rep.outstanding_bytes == 0);
		expect_report(&rep, rep.unsure_bytes < 2 * MIB);
		if (flags == MAP_PRIVATE)
			expect_report(&rep, PINNED(&rep)->evidence ==
						    MRELEASE_EVIDENCE_FRAMES);
	}
	own_end(one);
}

/* Of a MiB each. */
static int pipes[SIZE / MIB][2];

/* So many MiB of its heap are in them, and in no count of the kernel's. */
static void fill_pipes(int nr)
{
	char *p = own_anon(SIZE, MAP_PRIVATE);

	for (int i = 0; i < nr; i++) {
		struct iovec v = { p + i * MIB, MIB };

		if (vmsplice(pipes[i][1], &v, 1, SPLICE_F_NONBLOCK) !=
		    (ssize_t)MIB)
			_exit(1);
	}
}

static void open_pipes(void)
{
	own_need_frames();
	for (unsigned int i = 0; i < SIZE / MIB; i++) {
		assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
		if (fcntl(pipes[i][1], F_SETPIPE_SZ, MIB) < (int)MIB)
			skip_test("pipe", "pipes of 1 MiB: %s",
				  strerror(errno));
	}
}

/* What is in them. */
static size_t read_pipes(void)
{
	static char buf[MIB];
	size_t bytes = 0;
	ssize_t n;

	for (unsigned int i = 0; i < SIZE / MIB; i++) {
		close(pipes[i][1]);
		while ((n = read(pipes[i][0], buf, sizeof(buf))) > 0)
			bytes += n;
		close(pipes[i][0]);
	}
	return bytes;
}

static void in_pipes(int nr, bool tree, struct mrelease_report *rep)
{
	const struct mrelease_entry *e = &rep->kinds[MRELEASE_ANON];
	pid_t pid;

	open_pipes();
	pid = own_start(fill_pipes, nr);
	(tree ? own_kill_tree : own_kill)(pid, 0, rep);
	assert_int_equal(read_pipes(), nr * MIB);
	expect_report(rep, e->before_bytes >= SIZE);
	expect_report(rep, e->outstanding_bytes >= nr * MIB - MIB / 4);
	expect_report(rep, e->reason == MRELEASE_REASON_PINNED);
}

static void test_in_pipes(void **state)
{
	struct mrelease_report rep;

	(void)state;
	in_pipes(SIZE / MIB, false, &rep);
	expect_report(&rep, rep.released_bytes < MIB);
}

/* The rest is back, as far as a sample can tell. */
static void test_half_in_pipes(void **state)
{
	struct mrelease_report rep;

	(void)state;
	in_pipes(SIZE / MIB / 2, false, &rep);
	expect_report(&rep, rep.released_bytes >= SIZE / 4);
}

static void test_in_pipes_of_a_tree(void **state)
{
	struct mrelease_report rep;

	(void)state;
	in_pipes(SIZE / MIB, true, &rep);
	expect_report(&rep, rep.released_bytes < MIB);
}

static void close_pipes(void)
{
	for (unsigned int i = 0; i < SIZE / MIB; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

/* Who has the other ends closes them a moment after the exit. */
static void test_out_of_pipes(void **state)
{
	struct mrelease_report rep;
	pid_t pid, other;

	(void)state;
	open_pipes();
	pid = own_start(fill_pipes, SIZE / MIB);
	other = own_stranger(NULL, 0, close_pipes, pid);
	close_pipes();
	own_kill(pid, 0, &rep);
	own_end(other);
	expect_report(&rep, rep.released_bytes >= SIZE);
	expect_report(&rep, rep.outstanding_bytes == 0);
}

/* Two ends of a TCP connection; what the second one has is not read. */
static int tcp[2];

static void open_connection(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1, little = 4096, much = 4 * SIZE;
	socklen_t len = sizeof(a);

	own_need_frames();
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	tcp[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
	if (fd < 0 || tcp[0] < 0 || bind(fd, (struct sockaddr *)&a, len) ||
	    listen(fd, 1) || getsockname(fd, (struct sockaddr *)&a, &len) ||
	    connect(tcp[0], (struct sockaddr *)&a, len))
		skip_test("network", "no TCP connection to ourselves: %s",
			  strerror(errno));
	tcp[1] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(tcp[1] >= 0);
	close(fd);
	if (setsockopt(tcp[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) ||
	    setsockopt(tcp[0], SOL_SOCKET, SO_SNDBUFFORCE, &much, sizeof(much)))
		skip_test("network", "zero copy: %s", strerror(errno));
}

/* Pages of its heap wait to be sent, where MSG_ZEROCOPY does not copy. */
static void send_heap(int arg)
{
	char *p = own_anon(SIZE, MAP_PRIVATE);
	size_t sent = 0;
	ssize_t n = 0;

	(void)arg;
	while (sent < SIZE && n >= 0) {
		n = send(tcp[0], p + sent, SIZE - sent,
			 MSG_ZEROCOPY | MSG_DONTWAIT);
		sent += n > 0 ? n : 0;
	}
	if (sent < SIZE / 2)
		_exit(1);
}

/* Nobody has the sending end after the exit; the kernel goes on sending. */
static void test_being_sent(void **state)
{
	struct mrelease_report rep;
	const struct mrelease_entry *e = &rep.kinds[MRELEASE_ANON];
	static char buf[MIB];
	size_t bytes = 0;
	ssize_t n;
	pid_t pid;

	(void)state;
	open_connection();
	pid = own_start(send_heap, 0);
	close(tcp[0]);
	own_kill(pid, 0, &rep);
	while ((n = read(tcp[1], buf, sizeof(buf))) > 0)
		bytes += n;
	close(tcp[1]);
	expect_report(&rep, bytes >= SIZE / 2);
	/* What was delivered before has been copied. */
	expect_report(&rep, e->outstanding_bytes >= bytes - 2 * MIB);
	expect_report(&rep, e->reason == MRELEASE_REASON_PINNED);
}

/* Frames that are freed here are its own a moment later, and freed again. */
static void allocate_until(const volatile int *stop)
{
	while (!*stop) {
		pid_t pid = fork();

		if (!pid) {
			own_anon(SIZE, MAP_PRIVATE);
			_exit(0);
		}
		munmap(own_anon(SIZE / 4, MAP_PRIVATE), SIZE / 4);
		waitpid(pid, NULL, 0);
	}
}

static void have_anon(int mib)
{
	own_anon(mib * MIB, MAP_PRIVATE);
}

static void test_beside_one_that_allocates(void **state)
{
	struct mrelease_report rep;
	volatile int *stop;
	pid_t stranger;

	(void)state;
	own_need_frames();
	stop = mmap(NULL, sizeof(*stop), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(stop != MAP_FAILED);
	stranger = test_fork();
	if (!stranger) {
		allocate_until(stop);
		_exit(0);
	}
	for (int i = 0; i < 20; i++) {
		own_kill(own_start(have_anon, 1 + i), 0, &rep);
		expect_report(&rep, rep.result == MRELEASE_RELEASED);
		expect_report(&rep, rep.outstanding_bytes == 0);
	}
	*stop = 1;
	assert_int_equal(test_wait(stranger), 0);
	munmap((void *)stop, sizeof(*stop));
}

static void have_what_the_parent_has(int mib)
{
	(void)mib;
}

/*
 * A parent that writes after the fork has copied pages of its huge ones.  What the child
 * had of these is its own then, and is freed only when the rest of the huge page is, or
 * when memory is short.  Nobody has pinned it.
 */
static void test_copied_in_part(void **state)
{
	const size_t size = 16 * MIB, page = (size_t)getpagesize();
	struct mrelease_report rep;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	(void)state;
	own_need_frames();
	assert_true(p != MAP_FAILED);
	/* Without huge pages here there is nothing of the kind. */
	madvise(p, size, MADV_HUGEPAGE);
	memset(p, 1, size);
	pid = own_start(have_what_the_parent_has, 0);
	for (size_t at = 0; at < size; at += 2 * page)
		p[at] = 2;
	own_kill(pid, 0, &rep);
	munmap(p, size);
	expect_report(&rep, rep.result == MRELEASE_RELEASED);
	expect_report(&rep, rep.outstanding_bytes == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_secret_and_a_stranger),
		harness_test(test_secret_is_back),
		harness_test(test_pinned_and_a_stranger),
		harness_test(test_pinned_shmem),
		harness_test(test_pinned_is_back),
		harness_test(test_in_pipes),
		harness_test(test_half_in_pipes),
		harness_test(test_in_pipes_of_a_tree),
		harness_test(test_out_of_pipes),
		harness_test(test_being_sent),
		harness_test(test_beside_one_that_allocates),
		harness_test(test_copied_in_part),
	};

	return run_group(tests);
}
