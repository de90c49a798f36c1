/* SPDX-License-Identifier: MIT */
/* Victims whose address space somebody else lives in. */
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "victim.h"

#define NOBODY 65534

static unsigned char *memory;
static size_t memory_len;
static unsigned char stack[65536] __attribute__((aligned(16)));
static unsigned char stack_2[65536] __attribute__((aligned(16)));

/*
 * The sharer answers for the memory: it must find every byte after its
 * sibling was killed.  It has no PDEATHSIG, it must survive the victim;
 * CTL_FD ends it.  Its parent announces it, except behind vfork(), where the
 * parent does not run.
 */
static int sharer(void *announce)
{
	if (announce)
		ready(getppid(), getpid(), memory, memory_len);
	serve(memory, memory_len);
	return 0;
}

#define THREAD                                                              \
	(CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_FILES | \
	 CLONE_SYSVSEM)

/* Its main thread exits, and another one answers for the memory. */
static int headless_sharer(void *unused)
{
	if (clone(sharer, stack_2 + sizeof(stack_2), THREAD, unused) < 0)
		die("clone");
	syscall(SYS_exit, 0);
	return 0;
}

static bool headless;

static pid_t share(int flags, void *announce)
{
	pid_t pid;

	memory = fill_anon(memory_len);
	pid = clone(headless ? headless_sharer : sharer, stack + sizeof(stack),
		    flags | SIGCHLD, announce);
	if (pid < 0)
		die("clone");
	while (headless && !is_zombie(pid))
		sched_yield();
	return pid;
}

/* The victim itself only waits: commands are the sharer's. */
static void just_be(void)
{
	for (;;)
		pause();
}

/* clone-vm [MIB]: a sibling process shares the address space. */
int victim_clone_vm(int argc, char **argv)
{
	pid_t pid;

	memory_len = number(argc, argv, 1, 16) * MIB;
	pid = share(CLONE_VM, NULL);
	ready(getpid(), pid, memory, memory_len);
	just_be();
	return 0;
}

/*
 * clone-vm-root [MIB]: as clone-vm, but the victim is nobody's and the sharer
 * root's: who may kill the one may not kill the other.
 */
int victim_clone_vm_root(int argc, char **argv)
{
	pid_t pid;

	memory_len = number(argc, argv, 1, 16) * MIB;
	pid = share(CLONE_VM, NULL);
	/* The raw calls: glibc's would change every thread, we have one. */
	if (syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) ||
	    syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY))
		skip_victim("clone-vm-root: cannot become nobody");
	/* A change of user makes it undumpable: nobody's files again. */
	prctl(PR_SET_DUMPABLE, 1);
	die_with_parent();
	ready(getpid(), pid, memory, memory_len);
	just_be();
	return 0;
}

/* The same two, and the main thread of the sharer has exited. */
int victim_clone_vm_headless(int argc, char **argv)
{
	headless = true;
	return victim_clone_vm(argc, argv);
}

int victim_clone_vm_root_headless(int argc, char **argv)
{
	headless = true;
	return victim_clone_vm_root(argc, argv);
}

/* vfork [MIB]: stands in vfork(), its child has not called exec. */
int victim_vfork(int argc, char **argv)
{
	memory_len = number(argc, argv, 1, 16) * MIB;
	share(CLONE_VM | CLONE_VFORK, stack);
	just_be();
	return 0;
}
