/* SPDX-License-Identifier: MIT */
/* Who we are, and whose death would end the call before its report. */
#include <string.h>

#include "private.h"

/*
 * Numbers come from /proc and go to ptrace(2), get_robust_list(2) and kill(2),
 * which take ours.  In a new PID namespace with the old /proc they are those
 * of strangers, or of nobody: who has no robust list.  NSpid has a number for
 * each namespace from that of /proc down to ours.
 */
static bool is_foreign_proc(void)
{
	const char *p, *end;
	char buf[4096];
	long len = read_file(AT_FDCWD, "/proc/self/status", buf, sizeof(buf));

	p = len > 0 ? strstr(buf, "\nNSpid:\t") : NULL;
	if (!p)
		return false;
	p += strlen("\nNSpid:\t");
	end = strchr(p, '\n');
	return end && memchr(p, '\t', end - p);
}

void self_init(struct self *self, uint32_t flags)
{
	char path[64], buf[1024];
	struct proc_stat st;
	pid_t pid;

	memset(self, 0, sizeof(*self));
	self->pid = sys_getpid();
	self->allow_ancestor = flags & MRELEASE_ALLOW_ANCESTOR;
	self->foreign_proc = is_foreign_proc();
	for (pid = sys_getppid(); pid > 1; pid = st.ppid) {
		long len;

		if (self->nr_ancestors == ARRAY_SIZE(self->ancestors))
			break;
		self->ancestors[self->nr_ancestors++] = pid;
		path_number(path, "/proc/", pid, "/stat");
		len = read_file(AT_FDCWD, path, buf, sizeof(buf));
		if (len < 0 || parse_stat(buf, len, &st) < 0)
			break;
	}
}

int self_refuses(const struct self *self, pid_t pid)
{
	if (self->foreign_proc)
		return MRELEASE_REFUSE_FOREIGN;
	if (pid == 1)
		return MRELEASE_REFUSE_INIT;
	if (pid == self->pid)
		return MRELEASE_REFUSE_SELF;
	if (self->allow_ancestor)
		return MRELEASE_REFUSE_NONE;
	for (unsigned int i = 0; i < self->nr_ancestors; i++)
		if (self->ancestors[i] == pid)
			return MRELEASE_REFUSE_ANCESTOR;
	return MRELEASE_REFUSE_NONE;
}
