/* SPDX-License-Identifier: MIT */
/* Victims that use a file of the FUSE server in fuse.c, which is their parent. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse.h"
#include "victim.h"

static struct fuse_server server;
static unsigned char *memory;
static size_t memory_len;
/* The user of the files says itself that it is ready. */
static int user_announces;
/* In execve(): not the victim. */
static pid_t exec_pid;
/* Once a request is stalled: has the user come to where it is to be? */
static int (*stands)(pid_t pid);

static pid_t fork_user(void (*run)(void))
{
	pid_t pid;

	memory = map_anon(memory_len);
	fuse_mount(&server);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		die_with_parent();
		close(server.fd);
		fill(memory, memory_len);
		run();
		_exit(1);
	}
	return pid;
}

/* Answer requests and commands; 'a' answers the stalled request, late. */
static void serve_files(pid_t pid)
{
	struct pollfd pfd[2] = { { server.fd, POLLIN, 0 },
				 { CTL_FD, POLLIN, 0 } };
	int announced = user_announces, command;
	char line[64];

	/* Started by hand: without a test's CTL_FD only files are served. */
	if (fcntl(CTL_FD, F_GETFD) < 0)
		pfd[1].fd = -1;
	for (;;) {
		if (poll(pfd, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (pfd[0].revents && !fuse_serve_one(&server))
			die("the file system is gone");
		while (server.stalled && !announced && stands && !stands(pid))
			sched_yield();
		if (server.stalled && !announced) {
			ready(pid, exec_pid ? exec_pid : getpid(), memory,
			      memory_len);
			announced = 1;
		}
		if (!pfd[1].revents)
			continue;
		command = next_command();
		if (command == 'a') {
			fuse_answer_stalled(&server);
			say("ok\n");
		} else if (command == 'o') {
			snprintf(line, sizeof(line), "opens %u\n",
				 server.opens);
			say(line);
		}
	}
}

static void read_file(void)
{
	char path[128], c;
	int fd;

	snprintf(path, sizeof(path), "%s/file", server.dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	close(fd);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, &c, 1) != 1)
		die(path);
}

/*
 * dstate [MIB]: waits in read() for a server that has taken the request and
 * does not answer.  Once killed it sleeps uninterruptibly (D) until the
 * command 'a' or the death of the server.
 */
int victim_dstate(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	server.stall_on = FUSE_READ;
	serve_files(fork_user(read_file));
	return 0;
}

static void exec_over_file(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", server.dir);
	if (open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0)
		die(path);
	execl("/bin/sleep", "sleep", "1000", NULL);
}

/*
 * exec-fuse [MIB]: in execve(), which closes a file whose server does not
 * answer the flush.  It holds its exec_update_lock: kcmp(2) waits for it, and
 * what a test opens of it does, so it is the helper, and its server the victim.
 */
int victim_exec_fuse(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	server.stall_on = FUSE_FLUSH;
	exec_pid = fork_user(exec_over_file);
	serve_files(getpid());
	return 0;
}

/* Who exits: 0 all, 1 the main thread, 2 the main thread and then another. */
static int who_exits;
static volatile int away;

static void *idle_without_files(void *unused)
{
	if (unshare(CLONE_FILES))
		die("unshare");
	syscall(SYS_close_range, 3, ~0U, 0);
	away = 1;
	for (;;)
		pause();
	return unused;
}

static void open_its_file(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file", server.dir);
	if (open(path, O_RDWR | O_CREAT, 0600) < 0)
		die(path);
}

/* With the file in a table of its own, once the main thread is a zombie. */
static void *exit_second(void *unused)
{
	if (unshare(CLONE_FILES))
		die("unshare");
	open_its_file();
	while (!is_zombie(getpid()))
		sched_yield();
	syscall(SYS_exit, 0);
	return unused;
}

static void exit_with_file(void)
{
	pthread_t thread;

	/* Before the one that lives: it is listed first. */
	if (who_exits == 2 && pthread_create(&thread, NULL, exit_second, NULL))
		die("a second thread");
	if (who_exits != 2)
		open_its_file();
	if (!who_exits)
		_exit(0);
	/* The file is its own, and the other thread's table has none. */
	if (pthread_create(&thread, NULL, idle_without_files, NULL))
		die("another thread");
	while (!away)
		sched_yield();
	syscall(SYS_exit, 0);
}

/*
 * exit-fuse [MIB [1]]: in its exit, where it closes a file whose server does not
 * answer the flush: without memory, and no zombie.  With 1 it is the main thread
 * that exits, and another one lives; with 2 the main thread is a zombie, a second
 * one in its exit, and a third one lives.  The command 'a' answers.
 */
int victim_exit_fuse(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	who_exits = number(argc, argv, 2, 0);
	server.stall_on = FUSE_FLUSH;
	serve_files(fork_user(exit_with_file));
	return 0;
}

static long list_before;

static void hide_list(void)
{
	char path[128], *pages, *list;
	void *lock;
	int fd;

	snprintf(path, sizeof(path), "%s/file", server.dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		die("mmap");
	pages[0] = 1;
	list = mmap(pages + 4096, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_FIXED, fd, 0);
	/* Without any shared memory no list matters. */
	lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || list == MAP_FAILED || lock == MAP_FAILED)
		die(path);
	*(char *)lock = 1;
	if (syscall(SYS_set_robust_list, list - list_before, 3 * sizeof(long)))
		die("set_robust_list");
	ready(getpid(), getppid(), memory, memory_len);
	for (;;)
		pause();
}

/*
 * fuse-list [MIB] [BEFORE]: its robust list is in a page of a file that is not in
 * memory, but for the first BEFORE bytes, and whose server answers no read: a task
 * that reads the list sleeps, and no signal wakes it.  The command 'a' answers.
 */
int victim_fuse_list(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	list_before = number(argc, argv, 2, 0);
	server.stall_on = FUSE_READ;
	user_announces = 1;
	serve_files(fork_user(hide_list));
	return 0;
}

/* Of the server and the user: the file's page is being read. */
static volatile int *is_read;

static void *touch(void *p)
{
	return (void *)(uintptr_t) * (volatile char *)p;
}

/* The page is locked until it is read, and mmap() waits for that with the lock. */
static void map_behind_a_page(void)
{
	pthread_t thread;
	char path[128];
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/file", server.dir);
	close(open(path, O_RDWR | O_CREAT, 0600));
	fd = open(path, O_RDONLY);
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd < 0 || p == MAP_FAILED ||
	    pthread_create(&thread, NULL, touch, p))
		die(path);
	while (!*is_read)
		sched_yield();
	mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
}

static int waits_in_mmap(pid_t pid)
{
	char path[64], text[512], *p;
	size_t n;
	FILE *f;

	*is_read = 1;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && !strncmp(p, ") D", 3);
}

/*
 * fuse-mmap [MIB]: in mmap() of a file, of which a page is being read from a server
 * that does not answer.  It holds its mmap_lock: who reads /proc/PID/cmdline waits,
 * or its maps.  The command 'a' answers.
 */
int victim_fuse_mmap(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	server.stall_on = FUSE_READ;
	is_read = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	stands = waits_in_mmap;
	serve_files(fork_user(map_behind_a_page));
	return 0;
}

static void dump_core(void)
{
	if (chdir(server.dir))
		die(server.dir);
	if (user_announces) {
		ready(getpid(), getppid(), memory, memory_len);
		for (;;)
			pause();
	}
	abort();
}

static unsigned long nr_threads;

static void *idle(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void dump_core_of_threads(void)
{
	pthread_t thread;

	for (unsigned long i = 1; i < nr_threads; i++)
		if (pthread_create(&thread, NULL, idle, NULL))
			die("pthread_create");
	dump_core();
}

static int core_goes_to_cwd(void)
{
	FILE *f = fopen("/proc/sys/kernel/core_pattern", "re");
	int c = f ? getc(f) : EOF;

	if (f)
		fclose(f);
	return c != EOF && c != '|' && c != '/' && c != '@' && c != '\n';
}

/*
 * coredump [MIB [THREADS [1]]]: in the middle of dumping core, into a file whose
 * server does not answer the first write; 'a' answers it.  With 1 it waits for a
 * signal to dump core for.
 */
int victim_coredump(int argc, char **argv)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	memory_len = number(argc, argv, 1, 16) * MIB;
	if (!core_goes_to_cwd())
		skip_victim("kernel.core_pattern is not a file name");
	/* sudo forbids core files, and without CAP_SYS_RESOURCE for good. */
	if (setrlimit(RLIMIT_CORE, &all) &&
	    (getrlimit(RLIMIT_CORE, &all) || !all.rlim_max))
		skip_victim("RLIMIT_CORE is 0 and cannot be raised");
	all.rlim_cur = all.rlim_max;
	if (setrlimit(RLIMIT_CORE, &all))
		die("RLIMIT_CORE");
	nr_threads = number(argc, argv, 2, 1);
	user_announces = number(argc, argv, 3, 0) != 0;
	server.stall_on = FUSE_WRITE;
	serve_files(fork_user(dump_core_of_threads));
	return 0;
}

static void map_file(void)
{
	char path[128];
	void *p;
	int fd, i;

	snprintf(path, sizeof(path), "%s/file", server.dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	p = mmap(NULL, FUSE_FILE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd < 0 || p == MAP_FAILED)
		die(path);
	for (i = 0; i < (int)FUSE_FILE_SIZE; i += 4096)
		(void)*((volatile char *)p + i);
	/* The server stalls on this one, and from now on on every other. */
	fd = open(path, O_RDONLY);
	serve(memory, memory_len);
}

/*
 * fuse-file [MIB]: has read a mapped file whose server answers no open any
 * more: an open of it through map_files hangs.  The victim itself hangs in
 * one, which is how the server knows that it has come so far.  The command
 * 'o' says how many opens the server has seen.
 */
int victim_fuse_file(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	server.stall_on = FUSE_OPEN;
	serve_files(fork_user(map_file));
	return 0;
}

static void be_grandparent(void)
{
	char path[128];
	pid_t pid;

	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		for (;;)
			pause();
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "%s/file", server.dir);
	if (open(path, O_RDWR | O_CREAT, 0600) < 0)
		die(path);
	_exit(0);
}

/*
 * exiting-child [MIB]: its child exits, and waits for the server with a file
 * to close: past its exit_mm(), no zombie, and with a child of its own that
 * stays.  The command 'a' lets it go on.
 */
int victim_exiting_child(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 1) * MIB;
	server.stall_on = FUSE_FLUSH;
	serve_files(fork_user(be_grandparent));
	return 0;
}
