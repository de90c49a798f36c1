/* SPDX-License-Identifier: MIT */
/*
 * without SYSCALL[:ERRNO][,...] -- COMMAND [ARG...]
 *
 * Run a command for which the named system calls do not exist (ENOSYS, or the
 * errno given), so that a fallback for an old or locked-down kernel is really
 * run.  pagemap_scan and pidfd_info are ioctl() by their command numbers.  Who makes the call
 * in another architecture's numbering (a 32-bit program) still has it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp.h"

/* _IOWR('f', 16, struct pm_scan_arg), Linux 6.7 */
#define PAGEMAP_SCAN_CMD 0xc0606610u
/* _IOWR(0xff, 11, struct pidfd_info), Linux 6.13, in its first size */
#define PIDFD_GET_INFO_CMD 0xc040ff0bu

#define NR_PROCESS_MRELEASE  448
#define NR_PIDFD_OPEN	     434
#define NR_PIDFD_SEND_SIGNAL 424

static const struct {
	const char *name;
	long nr;
	/* Of an ioctl(). */
	unsigned int cmd;
} calls[] = {
	{ "pidfd_open", NR_PIDFD_OPEN },
	{ "pidfd_send_signal", NR_PIDFD_SEND_SIGNAL },
	{ "process_mrelease", NR_PROCESS_MRELEASE },
	{ "get_robust_list", SYS_get_robust_list },
	{ "ptrace", SYS_ptrace },
	{ "kcmp", SYS_kcmp },
	{ "pagemap_scan", SYS_ioctl, PAGEMAP_SCAN_CMD },
	{ "pidfd_info", SYS_ioctl, PIDFD_GET_INFO_CMD },
	{ "clone3", SYS_clone3 },
	{ "cachestat", 451 },
	{ "fadvise64", SYS_fadvise64 },
	{ "process_vm_readv", SYS_process_vm_readv },
	{ "tgkill", SYS_tgkill },
	{ "close_range", SYS_close_range },
	{ "sched_setaffinity", SYS_sched_setaffinity },
	{ "open_by_handle_at", SYS_open_by_handle_at },
	{ "openat", SYS_openat },
	{ "mmap", SYS_mmap },
	{ "userfaultfd", SYS_userfaultfd },
	{ "unshare", SYS_unshare },
	{ "setns", SYS_setns },
	{ "mount", SYS_mount },
};

static const struct {
	const char *name;
	int number;
} errnos[] = {
	{ "ENOSYS", ENOSYS }, { "EPERM", EPERM },   { "EACCES", EACCES },
	{ "EINVAL", EINVAL }, { "ENOTTY", ENOTTY }, { "ENOMEM", ENOMEM },
	{ "EMFILE", EMFILE },
};

#define MAX_CALLS 16

static struct sock_filter filter[8 + 6 * MAX_CALLS];
static unsigned short len;

static void add(unsigned short code, unsigned char jt, unsigned char jf,
		unsigned int k)
{
	struct sock_filter insn = { code, jt, jf, k };

	filter[len++] = insn;
}

#define LOAD(field)                         \
	add(BPF_LD | BPF_W | BPF_ABS, 0, 0, \
	    (unsigned int)offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, n) \
	add(BPF_JMP | BPF_JEQ | BPF_K, 0, n, (unsigned int)(value))
#define RETURN(action) add(BPF_RET | BPF_K, 0, 0, action)

static void begin(void)
{
	LOAD(arch);
	add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, OUR_ARCH);
	RETURN(SECCOMP_RET_ALLOW);
}

static void refuse(long nr, unsigned int cmd, int err)
{
	unsigned int action = SECCOMP_RET_ERRNO | (unsigned int)err;

	LOAD(nr);
	if (nr == SYS_ioctl) {
		SKIP_UNLESS(nr, 3);
		/* The low half, on a little-endian machine. */
		LOAD(args[1]);
		SKIP_UNLESS(cmd, 1);
	} else {
		SKIP_UNLESS(nr, 1);
	}
	RETURN(action);
}

static void usage(const char *what)
{
	size_t i;

	fprintf(stderr, "without: %s\n", what);
	fprintf(stderr, "usage: without CALL[:ERRNO][,...] -- COMMAND...\n");
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		fprintf(stderr, "  %s\n", calls[i].name);
	exit(125);
}

static void parse(char *item)
{
	char *colon = strchr(item, ':');
	int err = ENOSYS;
	size_t i;

	if (colon) {
		*colon++ = '\0';
		for (i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
			if (!strcmp(colon, errnos[i].name))
				break;
		}
		if (i == sizeof(errnos) / sizeof(errnos[0]))
			usage(colon);
		err = errnos[i].number;
	}
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (!strcmp(item, calls[i].name)) {
			refuse(calls[i].nr, calls[i].cmd, err);
			return;
		}
	}
	usage(item);
}

int main(int argc, char **argv)
{
	struct sock_fprog prog = { .filter = filter };
	unsigned int n = 0;
	char *item;

	if (argc < 4 || strcmp(argv[2], "--"))
		usage("no command");
	setenv("MRELEASE_WITHOUT", argv[1], 1);
	begin();
	for (item = strtok(argv[1], ","); item; item = strtok(NULL, ",")) {
		if (++n > MAX_CALLS)
			usage("too many calls");
		parse(item);
	}
	RETURN(SECCOMP_RET_ALLOW);
	prog.len = len;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)) {
		perror("without: seccomp");
		return 125;
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return errno == ENOENT ? 127 : 126;
}
