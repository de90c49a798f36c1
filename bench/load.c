/* SPDX-License-Identifier: MIT */
/*
 * Busy loops that can be switched on and off, so that a victim can be made
 * ready on an idle machine and killed on a busy one.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define LOAD_MAX 16
/* a loop that somehow got away burns no more CPU than this */
#define LOAD_CPU_SECONDS 900

struct load {
	_Atomic uint32_t *on;
	unsigned int nr;
	pid_t pid[LOAD_MAX];
};

__attribute__((noreturn)) static void busy_loop(_Atomic uint32_t *on,
						pid_t parent)
{
	struct rlimit rl = { LOAD_CPU_SECONDS, LOAD_CPU_SECONDS };

	tie_to_parent(parent);
	setrlimit(RLIMIT_CPU, &rl);
	for (;;) {
		while (atomic_load_explicit(on, memory_order_relaxed))
			;
		syscall(SYS_futex, on, FUTEX_WAIT, 0, NULL, NULL, 0);
	}
}

struct load *load_start(unsigned int nr)
{
	struct load *load = calloc(1, sizeof(*load));
	pid_t self = getpid();

	if (!load || nr > LOAD_MAX)
		bench_die("no room for %u busy loops", nr);
	load->on = mmap(NULL, sizeof(*load->on), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (load->on == MAP_FAILED)
		bench_die("mmap: %m");
	fflush(NULL);
	for (load->nr = 0; load->nr < nr; load->nr++) {
		pid_t pid = fork();

		if (pid < 0)
			bench_die("fork: %m");
		if (!pid)
			busy_loop(load->on, self);
		load->pid[load->nr] = pid;
	}
	return load;
}

void load_switch(struct load *load, bool on)
{
	atomic_store(load->on, on);
	if (on)
		syscall(SYS_futex, load->on, FUTEX_WAKE, LOAD_MAX, NULL, NULL,
			0);
}

void load_stop(struct load *load)
{
	load_switch(load, false);
	for (unsigned int i = 0; i < load->nr; i++) {
		kill(load->pid[i], SIGKILL);
		while (waitpid(load->pid[i], NULL, 0) < 0 && errno == EINTR)
			;
	}
	munmap(load->on, sizeof(*load->on));
	free(load);
}
