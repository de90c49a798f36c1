/* SPDX-License-Identifier: MIT */
/*
 * mreleased, and shared memory that is some process's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

/* As a virtual machine on memfd: shared memory, and nobody shares it. */
static void be_guest(void)
{
	const struct timespec pause = { 0, 1000000000 / 100 };
	const size_t size = 48 * MIB;
	int fd = memfd_create("guest", MFD_CLOEXEC);
	char *p;

	if (fd < 0 || ftruncate(fd, (off_t)size))
		_exit(1);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (size_t at = 0; at < size; at += MIB) {
		memset(p + at, 1, MIB);
		nanosleep(&pause, NULL);
	}
}

/* It is memory of a process like any other, and not a tmpfs's. */
static void guests(void)
{
	make_machine();
	start_daemon(NULL, NULL);
	as_unit = false;
	start_innocents();
	for (unsigned int i = 0; i < 4; i++)
		start_process("guest", 0, 0, be_guest);
	expect_said("(guest) are back after");
	/* And not only the few pages that are not shared memory. */
	expect_said("MiB of process");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
	expect_not_said("it would be in vain: tmpfs");
}

static void test_guests(void **state)
{
	(void)state;
	guests();
}

/* Whether it is gone takes two capabilities and a system call more. */
static void test_guests_as_unit(void **state)
{
	(void)state;
	start_as_unit();
	guests();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_guests),
		harness_test(test_guests_as_unit),
	};

	return run_group(tests);
}
