/* SPDX-License-Identifier: MIT */
/*
 * filter UNIT -- COMMAND...: run it as the unit file would: its system calls,
 * its capabilities, another user.  A call that is not allowed is the end of the
 * process, where the unit lets it be an error: so that none is missed.
 */
#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

struct names {
	char name[1024][48];
	size_t nr;
};

static struct names allowed, denied;

static void fail(const char *what)
{
	fprintf(stderr, "# skip: filter: %s: %s\n", what, strerror(errno));
	exit(77);
}

static void add(struct names *n, const char *name)
{
	if (n->nr == sizeof(n->name) / sizeof(n->name[0]))
		fail("too many names");
	snprintf(n->name[n->nr++], sizeof(n->name[0]), "%s", name);
}

static int has(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->nr; i++)
		if (!strcmp(n->name[i], name))
			return 1;
	return 0;
}

/* systemd knows what is in its sets. */
static void add_set(struct names *n, const char *set)
{
	char command[128], line[256], *p;
	FILE *f;

	snprintf(command, sizeof(command), "systemd-analyze syscall-filter %s",
		 set);
	f = popen(command, "re");
	if (!f)
		fail(command);
	/* The first line is the set itself. */
	if (!fgets(line, sizeof(line), f))
		fail(command);
	while (fgets(line, sizeof(line), f)) {
		p = line + strspn(line, " \t");
		p[strcspn(p, " \t\n")] = '\0';
		if (*p == '@')
			add_set(n, p);
		else if (*p && *p != '#')
			add(n, p);
	}
	pclose(f);
}

/* A line takes from those before it. */
static void subtract(const struct names *n)
{
	size_t left = 0;

	for (size_t i = 0; i < allowed.nr; i++)
		if (!has(n, allowed.name[i]))
			memmove(allowed.name[left++], allowed.name[i],
				sizeof(allowed.name[i]));
	allowed.nr = left;
}

static void read_filter(char *value)
{
	struct names *n = &allowed;
	char *word;

	if (*value == '~') {
		n = &denied;
		denied.nr = 0;
		value++;
	}
	for (word = strtok(value, " \n"); word; word = strtok(NULL, " \n"))
		if (*word == '@')
			add_set(n, word);
		else
			add(n, word);
	if (n == &denied)
		subtract(n);
}

static uint64_t read_capabilities(char *value)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {
		{ "CAP_KILL", CAP_KILL },
		{ "CAP_SYS_PTRACE", CAP_SYS_PTRACE },
		{ "CAP_IPC_LOCK", CAP_IPC_LOCK },
		{ "CAP_SYS_NICE", CAP_SYS_NICE },
		{ "CAP_SYS_RESOURCE", CAP_SYS_RESOURCE },
		{ "CAP_DAC_OVERRIDE", CAP_DAC_OVERRIDE },
		{ "CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH },
		{ "CAP_CHECKPOINT_RESTORE", CAP_CHECKPOINT_RESTORE },
	};
	uint64_t set = 0;
	char *word;

	for (word = strtok(value, " \n"); word; word = strtok(NULL, " \n")) {
		size_t i = 0;

		while (i < sizeof(known) / sizeof(known[0]) &&
		       strcmp(known[i].name, word))
			i++;
		if (i == sizeof(known) / sizeof(known[0]))
			fail(word);
		set |= (uint64_t)1 << known[i].number;
	}
	return set;
}

static void become_user(uint64_t caps)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
						 0 };
	struct __user_cap_data_struct data[2] = { 0 };

	/* In a container, root may lack some of them for good. */
	if (syscall(SYS_capget, &head, data))
		fail("capget");
	caps &= data[0].permitted | (uint64_t)data[1].permitted << 32;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted = data[i].inheritable =
			(uint32_t)(caps >> 32 * i);
	if (prctl(PR_SET_KEEPCAPS, 1) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY) ||
	    syscall(SYS_capset, &head, data))
		fail("capabilities");
	for (unsigned long i = 0; i < 64; i++)
		if (caps >> i & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0))
			fail("ambient capabilities");
}

static void install(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!ctx)
		fail("seccomp_init");
	for (size_t i = 0; i < allowed.nr; i++) {
		int nr = seccomp_syscall_resolve_name(allowed.name[i]);

		if (nr == __NR_SCMP_ERROR)
			continue;
		seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
	}
	/* The unit's errors that are asked for. */
	if (seccomp_load(ctx))
		fail("seccomp_load");
	seccomp_release(ctx);
}

int main(int argc, char **argv)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	char line[4096], *value;
	uint64_t caps = 0;
	FILE *f;

	if (argc < 4 || strcmp(argv[2], "--"))
		return 2;
	f = fopen(argv[1], "re");
	if (!f)
		fail(argv[1]);
	while (fgets(line, sizeof(line), f)) {
		value = strchr(line, '=');
		if (!strncmp(line, "SystemCallFilter=", 17))
			read_filter(value + 1);
		else if (!strncmp(line, "AmbientCapabilities=", 20))
			caps = read_capabilities(value + 1);
	}
	fclose(f);
	if (!allowed.nr || !caps)
		fail("no filter in the unit");
	setrlimit(RLIMIT_MEMLOCK, &none);
	become_user(caps);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	install();
	execv(argv[3], argv + 3);
	return 127;
}
