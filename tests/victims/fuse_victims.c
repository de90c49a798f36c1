/* SPDX-License-Identifier: MIT */
/* Victims that use a file of the FUSE server in fuse.c, which is their parent. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse.h"
#include "victim.h"

static struct fuse_server server;
static unsigned char *memory;
static size_t memory_len;

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
	int announced = 0, command;
	char line[64];

	/* Started by hand: without a test's CTL_FD only files are served. */
	if (fcntl(CTL_FD, F_GETFD) < 0)
		pfd[1].fd = -1;
	for (;;) {
		if (poll(pfd, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (pfd[0].revents && !fuse_serve_one(&server))
			die("the file system is gone");
		if (server.stalled && !announced) {
			ready(pid, getpid(), memory, memory_len);
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

static void dump_core(void)
{
	if (chdir(server.dir))
		die(server.dir);
	abort();
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
 * coredump [MIB]: in the middle of dumping core, into a file whose server does
 * not answer the first write; 'a' answers it.
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
	server.stall_on = FUSE_WRITE;
	serve_files(fork_user(dump_core));
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
 * more: whoever opens it through map_files hangs.  The victim itself hangs in
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
