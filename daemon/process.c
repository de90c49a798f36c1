/* SPDX-License-Identifier: MIT */
/* The texts of one process. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "table.h"
#include "text.h"

/* The name ends at the last bracket: it may contain any other. */
static const char *parse_comm(const char *text, char *comm, size_t size)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	size_t len;

	if (!open || !close || close < open)
		return NULL;
	len = (size_t)(close - open - 1);
	if (len >= size)
		len = size - 1;
	memset(comm, 0, size);
	memcpy(comm, open + 1, len);
	return close + 1;
}

int process_parse_stat(const char *text, struct process_stat *ret)
{
	/* The fields from the fourth on, as proc(5) numbers them. */
	enum {
		PPID = 4,
		PGRP = 5,
		SESSION = 6,
		TTY = 7,
		FLAGS = 9,
		THREADS = 20,
		START = 22,
		RSS = 24,
		STACK = 28
	};
	int64_t fields[STACK + 1] = { 0 };
	const char *p;

	p = parse_comm(text, ret->comm, sizeof(ret->comm));
	if (!p || p[0] != ' ' || !p[1] || p[2] != ' ')
		return -EINVAL;
	ret->state = p[1];
	p += 2;
	for (int i = PPID; i <= STACK; i++)
		if (!text_signed(&p, &fields[i])) {
			/* RLIM_INFINITY and the like do not fit. */
			uint64_t big;

			if (text_number(&p, &big))
				fields[i] = INT64_MAX;
			else if (i <= RSS)
				return -EINVAL;
			else
				break;
		}
	ret->ppid = (pid_t)fields[PPID];
	ret->pgrp = (pid_t)fields[PGRP];
	ret->session = (pid_t)fields[SESSION];
	ret->tty = (int)fields[TTY];
	ret->kernel_flags = (uint32_t)fields[FLAGS];
	ret->threads = (unsigned int)fields[THREADS];
	ret->start = (uint64_t)fields[START];
	ret->rss_pages = fields[RSS] > 0 ? (uint64_t)fields[RSS] : 0;
	ret->stack = (uint64_t)fields[STACK];
	return 0;
}

/* Is the signal in this set?  It is written in hexadecimal. */
static bool has_signal(const char *text, const char *name, int sig)
{
	const char *p = strstr(text, name), *end;
	int bit = sig - 1, digit;

	if (!p)
		return false;
	p += strlen(name);
	p += strspn(p, " \t");
	end = p + strspn(p, "0123456789abcdefABCDEF");
	if (end - p <= bit / 4)
		return false;
	digit = (unsigned char)end[-1 - bit / 4];
	digit = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
	return digit >> bit % 4 & 1;
}

void process_parse_status(const char *text, struct candidate *c)
{
	uint64_t uid;

	c->anon_bytes = c->shmem_bytes = c->swap_bytes = 0;
	/* Somebody else, or the kernel, has killed it already. */
	if (has_signal(text, "\nSigPnd:", SIGKILL) ||
	    has_signal(text, "\nShdPnd:", SIGKILL))
		c->flags |= CANDIDATE_DYING;
	c->flags &= ~CANDIDATE_ASKABLE;
	if (has_signal(text, "\nSigCgt:", SIGTERM) ||
	    has_signal(text, "\nSigBlk:", SIGTERM))
		c->flags |= CANDIDATE_ASKABLE;
	if (text_field(text, "Uid", &uid))
		c->uid = (uid_t)uid;
	/* Linux 4.5; before, all of it counts as anonymous. */
	if (!text_field(text, "RssAnon", &c->anon_bytes))
		text_field(text, "VmRSS", &c->anon_bytes);
	text_field(text, "RssShmem", &c->shmem_bytes);
	text_field(text, "VmSwap", &c->swap_bytes);
}
