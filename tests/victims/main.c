/* SPDX-License-Identifier: MIT */
/*
 * The victims' common part: the table of names, the protocol of victim.h.
 *
 * victim [-g CGROUP_PROCS]... NAME [ARGUMENT...]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "victim.h"

void die(const char *what)
{
	fprintf(stderr, "victim %d: %s: %s\n", (int)getpid(), what,
		strerror(errno));
	_exit(1);
}

void skip_victim(const char *why)
{
	fprintf(stderr, "%s\n", why);
	_exit(VICTIM_SKIP);
}

/*
 * The parent can be gone before prctl() takes effect; CTL_FD at end-of-file
 * covers that, for every victim that comes as far as serve().
 */
void die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		die("PR_SET_PDEATHSIG");
}

/* One write() of the whole line, so that no reader sees half of it. */
void say(const char *line)
{
	size_t len = strlen(line);

	if (write(READY_FD, line, len) != (ssize_t)len)
		_exit(1);
}

void ready(pid_t pid, pid_t helper, const void *addr, size_t len)
{
	char line[128];

	snprintf(line, sizeof(line), "ready %d %d %llx %llx\n", (int)pid,
		 (int)helper, (unsigned long long)(uintptr_t)addr,
		 (unsigned long long)len);
	say(line);
}

/*
 * Wait for a command.  Without CTL_FD (a victim started by hand) wait for a
 * signal only.
 */
int next_command(void)
{
	unsigned char c;
	ssize_t n;

	for (;;) {
		n = read(CTL_FD, &c, 1);
		if (n == 1)
			return c;
		if (n == 0)
			_exit(0);
		if (errno != EINTR)
			pause();
	}
}

void serve(const unsigned char *addr, size_t len)
{
	for (;;) {
		if (next_command() == 'v')
			say(is_filled(addr, len) ? "ok\n" : "bad\n");
	}
}

unsigned long number(int argc, char **argv, int i, unsigned long fallback)
{
	char *end;
	unsigned long n;

	if (i >= argc)
		return fallback;
	errno = 0;
	n = strtoul(argv[i], &end, 10);
	if (errno || *end || end == argv[i]) {
		errno = EINVAL;
		die(argv[i]);
	}
	return n;
}

unsigned char *map_anon(size_t len)
{
	void *p;

	if (!len)
		return NULL;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/*
 * The pattern depends on the position, so that a page that was lost and comes
 * back as zeros, or comes back elsewhere, is noticed.
 */
static uint64_t word_at(size_t i)
{
	return (uint64_t)i * 0x9e3779b97f4a7c15ull + 1;
}

void fill(unsigned char *addr, size_t len)
{
	uint64_t *p = (uint64_t *)(void *)addr;
	size_t i;

	for (i = 0; i < len / sizeof(*p); i++)
		p[i] = word_at(i);
}

int is_filled(const unsigned char *addr, size_t len)
{
	const uint64_t *p = (const uint64_t *)(const void *)addr;
	size_t i;

	for (i = 0; i < len / sizeof(*p); i++) {
		if (p[i] != word_at(i))
			return 0;
	}
	return 1;
}

unsigned char *fill_anon(size_t len)
{
	unsigned char *p = map_anon(len);

	fill(p, len);
	return p;
}

static void join(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} victims[] = {
	{ "anon", victim_anon },
	{ "grouped", victim_grouped },
	{ "threads", victim_threads },
	{ "zombie-leader", victim_zombie_leader },
	{ "stopped", victim_stopped },
	{ "ignoring", victim_ignoring },
	{ "polite", victim_polite },
	{ "shrinking", victim_shrinking },
	{ "nice", victim_nice },
	{ "spinning", victim_spinning },
	{ "zombie", victim_zombie },
	{ "memfd", victim_memfd },
	{ "shared-anon", victim_shared_anon },
	{ "sysv", victim_sysv },
	{ "hugetlb", victim_hugetlb },
	{ "file", victim_file },
	{ "reserve", victim_reserve },
	{ "mlocked", victim_mlocked },
	{ "many-maps", victim_many_maps },
	{ "robust", victim_robust },
	{ "robust-thread", victim_robust_thread },
	{ "robust-pending", victim_robust_pending },
	{ "robust-exec", victim_robust_exec },
	{ "robust-slow", victim_robust_slow },
	{ "robust-late", victim_robust_late },
	{ "robust-sharer", victim_robust_sharer },
	{ "robust-survivor", victim_robust_survivor },
	{ "robust-pending-survivor", victim_robust_pending_survivor },
	{ "clone-vm", victim_clone_vm },
	{ "clone-vm-root", victim_clone_vm_root },
	{ "clone-vm-headless", victim_clone_vm_headless },
	{ "clone-vm-root-headless", victim_clone_vm_root_headless },
	{ "vfork", victim_vfork },
	{ "traced", victim_traced },
	{ "traced-stopped", victim_traced_stopped },
	{ "traced-exit", victim_traced_exit },
	{ "exec-traced", victim_exec_traced },
	{ "pinned", victim_pinned },
	{ "dstate", victim_dstate },
	{ "coredump", victim_coredump },
	{ "fuse-file", victim_fuse_file },
	{ "exec-fuse", victim_exec_fuse },
	{ "exit-fuse", victim_exit_fuse },
	{ "fuse-list", victim_fuse_list },
	{ "fuse-mmap", victim_fuse_mmap },
	{ "tree", victim_tree },
	{ "forkbomb", victim_forkbomb },
	{ "rabbit", victim_rabbit },
	{ "exiting-child", victim_exiting_child },
	{ "renumber", victim_renumber },
	{ "mortal_child", victim_mortal_child },
};

int main(int argc, char **argv)
{
	size_t i;

	die_with_parent();
	signal(SIGPIPE, SIG_IGN);

	argc--;
	argv++;
	while (argc > 2 && !strcmp(argv[0], "-g")) {
		join(argv[1]);
		argc -= 2;
		argv += 2;
	}
	for (i = 0; argc && i < sizeof(victims) / sizeof(victims[0]); i++) {
		if (!strcmp(argv[0], victims[i].name))
			return victims[i].run(argc, argv);
	}
	fprintf(stderr, "usage: victim [-g CGROUP_PROCS]... NAME [ARG...]\n");
	for (i = 0; i < sizeof(victims) / sizeof(victims[0]); i++)
		fprintf(stderr, "  %s\n", victims[i].name);
	return 2;
}
