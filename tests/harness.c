/* SPDX-License-Identifier: MIT */
/* Set-up and teardown: nothing is left behind, and it is looked for. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

/* A test that the machine was too slow for is begun so often. */
#define MAX_TRIES 4
/* The last so many are remembered. */
#define MAX_FORKS 256

static bool skipped;
static unsigned int fds_before;
static sigset_t mask_before;
static pid_t forks[MAX_FORKS];
static unsigned int nr_forks;
/* A stop or trap that reached our SIGCHLD handler: never ours, see below. */
static volatile sig_atomic_t stops_seen;
bool stops_expected;
static sigjmp_buf anew;
static volatile unsigned int tries;
static pid_t test_pid;

/*
 * The library traces victims that are our children.  Its tracer's stops must
 * not come here; what the victims' deaths send is ours.
 */
static void on_sigchld(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_code == CLD_TRAPPED || info->si_code == CLD_STOPPED ||
	    info->si_code == CLD_CONTINUED)
		stops_seen++;
}

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SEC_NS + ts.tv_nsec;
}

int64_t in_seconds(int s)
{
	return now_ns() + s * SEC_NS;
}

unsigned int count_fds(void)
{
	unsigned int n = 0;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void skip_test(const char *tag, const char *fmt, ...)
{
	const char *must = getenv("MRELEASE_MUST_WORK");
	const char *accept = getenv("MRELEASE_ACCEPT_SKIP");
	size_t len = strlen(tag);
	/* Of a busy machine no test can make an idle one. */
	bool accepted = !must || strcmp(must, "1") || !strcmp(tag, "busy");
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	while (!accepted && accept && *accept) {
		accepted = !strncmp(accept, tag, len) &&
			   (accept[len] == ',' || !accept[len]);
		accept = strchr(accept, ',');
		accept = accept ? accept + 1 : NULL;
	}
	if (!accepted)
		fail_msg("must work: %s (MRELEASE_ACCEPT_SKIP=%s accepts it)",
			 why, tag);
	skipped = true;
	/* contain puts the reason of the last such line on the TAP line. */
	printf("# skip: %s [%s]\n", why, tag);
	fflush(stdout);
	skip();
	abort();
}

int rounds(int n)
{
	const char *how = getenv("MRELEASE_TEST_ROUNDS");

	if (how && !strcmp(how, "all"))
		return n;
	return n < 10 ? 2 : n / 5;
}

bool is_root(void)
{
	/* Root of a user namespace is not enough: its map has one line only */
	char map[64] = "";
	int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, map, sizeof(map) - 1) < 0)
			map[0] = '\0';
		close(fd);
	}
	return !geteuid() && strstr(map, "4294967295");
}

void need_root(void)
{
	if (!is_root())
		skip_test("root", "needs to be root");
}

bool has_capability(int cap)
{
	char buf[4096];
	const char *line;
	uint64_t caps;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	line = strstr(buf, "CapEff:");
	caps = line ? strtoull(line + strlen("CapEff:"), NULL, 16) : 0;
	return caps >> cap & 1;
}

void need_capability(int cap, const char *name)
{
	if (!has_capability(cap))
		skip_test("caps", "needs %s", name);
}

/* A container runtime's seccomp filter may refuse file handles as well. */
bool may_ask_objects(void)
{
	if (open_by_handle_at(-1, NULL, O_RDONLY) < 0 &&
	    (errno == EPERM || errno == ENOSYS))
		return false;
	return is_root() && has_capability(CAP_DAC_READ_SEARCH) &&
	       (has_capability(CAP_CHECKPOINT_RESTORE) ||
		has_capability(CAP_SYS_ADMIN));
}

void need_objects(void)
{
	if (!is_root())
		skip_test("root", "file handles are for root");
	if (!may_ask_objects())
		skip_test("caps", "file handles need CAP_DAC_READ_SEARCH, and "
				  "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
}

bool may_hurry(void)
{
	pid_t pid = test_fork();

	if (!pid)
		_exit(setpriority(PRIO_PROCESS, 0, -20) ? 1 : 0);
	return test_wait(pid) == 0;
}

void need_kcmp(void)
{
	struct mrelease_features f = { .size = sizeof(f) };

	assert_int_equal(mrelease_probe(&f), 0);
	if (f.kcmp != 1)
		skip_test("kcmp", "kcmp is refused: sharers cannot be found");
}

pid_t test_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		signal(SIGCHLD, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It was gone before we asked: nobody would tell us. */
		if (getppid() != parent)
			_exit(1);
	} else {
		forks[nr_forks++ % MAX_FORKS] = pid;
	}
	return pid;
}

int test_wait(pid_t pid)
{
	const struct timespec pause = { 0, 1000000 };
	int64_t deadline = in_seconds(3 * PATIENCE_S);
	int status;
	pid_t ret;

	while ((ret = waitpid(pid, &status, __WALL | WNOHANG)) != pid) {
		assert_true(ret == 0 || errno == EINTR);
		if (now_ns() >= deadline)
			fail_msg("child %d does not end, state %c", pid,
				 process_state(pid));
		nanosleep(&pause, NULL);
	}
	if (!WIFEXITED(status))
		fail_msg("child %d died of signal %d", pid, WTERMSIG(status));
	if (WEXITSTATUS(status) == CHILD_WAS_LATE) {
		late_once_more();
		if (machine_is_busy())
			skip_test("busy", "killed before it was counted, by a "
					  "child of the test");
	}
	return WEXITSTATUS(status);
}

int harness_setup(void **state)
{
	struct sigaction act = { .sa_sigaction = on_sigchld };

	(void)state;
	setvbuf(stdout, NULL, _IOLBF, 0);
	act.sa_flags = SA_SIGINFO | SA_RESTART;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigaction(SIGCHLD, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, NULL, &mask_before);
	stops_seen = 0;
	stops_expected = false;
	nr_forks = 0;
	skipped = false;
	fds_before = count_fds();
	return 0;
}

static bool is_ours(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < nr_forks && i < MAX_FORKS; i++) {
		if (forks[i] == pid)
			return true;
	}
	return false;
}

/*
 * A child of ours that runs our program and that no test forked is a helper
 * of the library that outlived its call.
 */
static unsigned int leftover_helpers(void)
{
	unsigned int i, n, left = 0;
	pid_t children[256];

	n = process_children(getpid(), children, ARRAY_LEN(children));
	for (i = 0; i < n; i++) {
		if (is_ours(children[i]) || !same_program(children[i]))
			continue;
		print_error("# helper %d was left behind, state %c\n",
			    children[i], process_state(children[i]));
		left++;
	}
	return left;
}

/*
 * Only our direct children are ever signalled: their numbers cannot be reused
 * before we wait for them.  As we are their subreaper, each generation becomes
 * ours when the one before it dies.
 */
static bool end_descendants(void)
{
	int64_t deadline = in_seconds(PATIENCE_S);
	unsigned int i, n;
	pid_t children[256], pid;

	do {
		n = process_children(getpid(), children, ARRAY_LEN(children));
		for (i = 0; i < n; i++)
			kill(children[i], SIGKILL);
		while ((pid = waitpid(-1, NULL, __WALL | WNOHANG)) > 0)
			;
		if (!pid)
			sched_yield();
	} while (!pid && now_ns() < deadline);
	return !pid;
}

int harness_teardown(void **state)
{
	unsigned int helpers, fds;
	sigset_t mask;
	int sig, ret = 0;

	(void)state;
	helpers = leftover_helpers();
	sigprocmask(SIG_BLOCK, NULL, &mask);
	victims_forget();
	if (cgroups_clean(0))
		print_error("# a cgroup could not be thawed\n");
	if (end_descendants()) {
		print_error("# descendants do not die\n");
		ret = -1;
	}
	if (cgroups_clean(getpid())) {
		print_error("# a cgroup could not be removed\n");
		ret = -1;
	}
	if (swap_clean(getpid())) {
		print_error("# swap could not be turned off\n");
		ret = -1;
	}
	fds = count_fds();
	if (helpers)
		ret = -1;
	if (stops_seen && !stops_expected) {
		print_error("# SIGCHLD told of %d stops\n", (int)stops_seen);
		ret = -1;
	}
	/* Who skips in the middle leaves what was open. */
	if (fds != fds_before && !skipped) {
		print_error("# %u descriptors before the test, %u after\n",
			    fds_before, fds);
		ret = -1;
	}
	for (sig = 1; sig < NSIG; sig++) {
		if (sigismember(&mask, sig) == sigismember(&mask_before, sig))
			continue;
		print_error("# signal %d: its place in the mask changed\n",
			    sig);
		ret = -1;
	}
	return ret;
}

void harness_run(void **state)
{
	CMUnitTestFunction test = (CMUnitTestFunction)state[0];

	test_pid = getpid();
	tries = 1;
	if (sigsetjmp(anew, 1)) {
		/* What was open stays so: the set-up counts it. */
		skipped = true;
		harness_teardown(NULL);
		harness_setup(NULL);
	}
	test(NULL);
}

void late_once_more(void)
{
	if (getpid() != test_pid || tries >= MAX_TRIES)
		return;
	printf("# try %u: killed before it was counted\n", tries);
	tries++;
	siglongjmp(anew, 1);
}
