/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "notify.h"
#include "seccomp.h"

static int listen_to(long call, int signal)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)call, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)signal, 0, 3),
		/* With flags it only asks what the kernel knows. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]),
				   .filter = code };

	/* Any second argument. */
	if (!signal)
		code[3] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						       SECCOMP_RET_USER_NOTIF);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static void *answer(void *arg)
{
	struct notify *n = arg;
	unsigned int nr = 0;
	int fd;

	if (read(n->ends[0], &fd, sizeof(fd)) != sizeof(fd))
		return NULL;
	for (;;) {
		struct seccomp_notif_resp resp = { 0 };
		struct seccomp_notif call;

		memset(&call, 0, sizeof(call));
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		resp.id = call.id;
		resp.error = n->fn(n->arg, nr++, (pid_t)call.pid);
		if (!resp.error)
			resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		/* ENOENT: the caller is dead. */
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &resp);
	}
}

void notify_begin(struct notify *n)
{
	int fd;

	if (pipe2(n->ends, O_CLOEXEC) ||
	    pthread_create(&n->thread, NULL, answer, n))
		_exit(2);
	fd = listen_to(n->call, n->signal);
	if (fd < 0)
		_exit(errno == EINVAL || errno == EBUSY ? 77 : 2);
	if (write(n->ends[1], &fd, sizeof(fd)) != sizeof(fd))
		_exit(2);
}
