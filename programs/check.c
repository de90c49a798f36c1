/* SPDX-License-Identifier: MIT */
/* mrelease --check: what is allowed here, why not, and what to do about it. */
#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "program.h"

struct feature {
	const char *name;
	size_t offset;
	/* Without it: what is lost. */
	const char *loss;
	const char *remedy;
};

/* asked for here, not by the library */
#define NICE "nice -20 for the time of a release"

#define FEATURE(member) offsetof(struct mrelease_features, member)

static const struct feature features[] = {
	{ "pidfd_open", FEATURE(pidfd_open),
	  "the open /proc/PID directory is the handle",
	  "Linux 5.3; a container's seccomp profile must allow it" },
	{ "pidfd_send_signal", FEATURE(pidfd_send_signal),
	  "kill(2), after a check",
	  "Linux 5.1; a container's seccomp profile must allow it" },
	{ "process_mrelease", FEATURE(process_mrelease),
	  "memory comes back at the victim's own pace",
	  "Linux 5.15; a container's seccomp profile must allow it" },
	{ "pin (ptrace of own children)", FEATURE(ptrace_seize),
	  "a victim that exits fast or is held by others may be missed",
	  "seccomp and /proc/sys/kernel/yama/ptrace_scope must allow ptrace" },
	{ "pin of any process", FEATURE(ptrace_any),
	  "only processes of the same user can be pinned", "CAP_SYS_PTRACE" },
	{ "signals to any process", FEATURE(kill_any),
	  "only processes of the same user can be killed",
	  "run as root, or CAP_KILL" },
	{ "get_robust_list", FEATURE(get_robust_list),
	  "victims with shared memory exit before they are reaped",
	  "a container's seccomp profile must allow it" },
	{ "PAGEMAP_SCAN", FEATURE(pagemap_scan),
	  "pagemap is read instead, up to 64 GiB of address space",
	  "Linux 6.7" },
	{ "kcmp", FEATURE(kcmp), "sharers cannot be named or killed",
	  "CONFIG_KCMP; a container's seccomp profile must allow it" },
	{ "PID:INODE", FEATURE(pidfs), "targets are named by PID only",
	  "Linux 6.9" },
	{ "cgroup v2", FEATURE(cgroup2), "v1 cgroups only",
	  "mount -t cgroup2 none /sys/fs/cgroup" },
	{ "cgroup.kill", FEATURE(cgroup_kill),
	  "members are killed in rounds until none is left", "Linux 5.14" },
	{ "page-cache eviction (map_files)", FEATURE(map_files),
	  "-c does nothing", "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN" },
	{ "cachestat", FEATURE(cachestat),
	  "evicted page cache is counted through mincore", "Linux 6.5" },
	{ NICE, 0, "two to three times slower on a busy machine",
	  "CAP_SYS_NICE, or RLIMIT_NICE at 40" },
	{ "kill and reap in one call", FEATURE(kernel_release),
	  "pin, kill, reap: three calls", "a kernel with the mrelease series" },
	{ "reaping keeps robust futexes", FEATURE(kernel_robust),
	  "their lists are looked at before",
	  "a kernel with the mrelease series" },
};

/* This process ends when it has said so. */
static int may_hurry(void)
{
	return setpriority(PRIO_PROCESS, 0, -20) ? -errno : 1;
}

static int value_of(const struct mrelease_features *f, size_t i)
{
	int32_t value;

	if (!strcmp(features[i].name, NICE))
		return may_hurry();
	memcpy(&value, (const char *)f + features[i].offset, sizeof(value));
	return value;
}

static void print_line(const char *name, int value, const struct feature *f)
{
	if (value == 1) {
		printf("%-33s yes\n", name);
		return;
	}
	printf("%-33s no", name);
	if (value < 0)
		printf(" (%s)", strerror(-value));
	printf(": %s; remedy: %s\n", f->loss, f->remedy);
}

int check_main(bool json)
{
	struct mrelease_features f = { .size = sizeof(f) };
	json_t *o = json ? json_object() : NULL;
	int ret = mrelease_probe(&f);

	if (ret < 0) {
		complain("--check: %s", strerror(-ret));
		json_decref(o);
		return STATUS_NOT_KILLED;
	}
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		int value = value_of(&f, i);

		if (json)
			json_object_set_new(o, features[i].name,
					    json_boolean(value == 1));
		else
			print_line(features[i].name, value, &features[i]);
	}
	if (json) {
		char *line = json_dumps(o, JSON_COMPACT);

		puts(line ? line : "{}");
		free(line);
		json_decref(o);
	}
	/* Good enough to do what the name promises? */
	return f.process_mrelease == 1 ? STATUS_OK : STATUS_UNCONFIRMED;
}
