/* SPDX-License-Identifier: MIT */
/* An ancestor of the caller behind one that /proc hides from it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "seccomp.h"

#define NOBODY 65534
/* PIDFD_GET_INFO, in its first size. */
#define GET_INFO _IOWR(0xff, 11, char[64])

/* A byte for each of the two that is nobody's by now. */
static int ready[2];

static void be_nobody(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY) ||
	    prctl(PR_SET_DUMPABLE, 1))
		_exit(77);
}

/* As before Linux 6.13. */
static void forget_info(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GET_INFO, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = ARRAY_LEN(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		_exit(77);
}

static int refusal_of(pid_t pid)
{
	struct mrelease_opts opts = opts_with(MRELEASE_DRY_RUN);
	struct mrelease_report rep = { .size = sizeof(rep) };
	int fd = mrelease_open(pid, 0), ret;

	if (fd < 0)
		return -1;
	ret = mrelease_process(fd, &opts, &rep);
	close(fd);
	return ret == -EPERM ? rep.refusal : ret;
}

/* The caller: nobody's, below a process of root's, below one of nobody's. */
static void ask(pid_t ancestor, pid_t stranger, bool old)
{
	char c;

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, "hidepid=2"))
		_exit(77);
	for (int i = 0; i < 2; i++)
		if (read(ready[0], &c, 1) != 1)
			_exit(77);
	be_nobody();
	if (old)
		forget_info();
	if (refusal_of(ancestor) != MRELEASE_REFUSE_ANCESTOR)
		_exit(1);
	_exit(refusal_of(stranger) ? 2 : 0);
}

static int pass_on(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 3;
	return WEXITSTATUS(status);
}

static void hidden_ancestor(bool old)
{
	pid_t stranger, child;

	need_root();
	need_capability(CAP_SYS_ADMIN, "CAP_SYS_ADMIN");
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	stranger = test_fork();
	if (!stranger) {
		be_nobody();
		if (write(ready[1], "x", 1) != 1)
			_exit(77);
		for (;;)
			pause();
	}
	child = test_fork();
	if (!child) {
		pid_t self = getpid(), hidden = fork();

		if (!hidden) {
			pid_t caller = fork();

			if (!caller)
				ask(self, stranger, old);
			_exit(pass_on(caller));
		}
		be_nobody();
		if (write(ready[1], "x", 1) != 1)
			_exit(77);
		_exit(pass_on(hidden));
	}
	close(ready[0]);
	close(ready[1]);
	switch (test_wait(child)) {
	case 0:
		return;
	case 77:
		skip_test("hidepid", "/proc cannot be mounted here");
	case 1:
		fail_msg("the ancestor is not refused");
		break;
	default:
		fail_msg("the stranger without children is refused");
	}
}

static void test_hidden_ancestor(void **state)
{
	(void)state;
	hidden_ancestor(false);
}

static void test_hidden_before_info(void **state)
{
	(void)state;
	hidden_ancestor(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		harness_test(test_hidden_ancestor),
		harness_test(test_hidden_before_info),
	};

	return run_group(tests);
}
