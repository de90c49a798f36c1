/* SPDX-License-Identifier: MIT */
/*
 * mreleased where things are missing, full, stopped or gone, and where nothing
 * happens at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

/* MAX_RELEASES of daemon/policy.h. */
#define PLACES 4

static void read_pressure(char *text, size_t size)
{
	int fd = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* With enough memory, it is asleep and small. */
static void test_idle(void **state)
{
	char before[256], after[256];
	long long wake_ups, rss;

	(void)state;
	need_root();
	if (access("/proc/pressure/memory", R_OK | W_OK))
		skip_test("psi", "no pressure trigger: it has to look");
	whole_machine = true;
	start_daemon(NULL, "--dryrun", "-o", "StatusSocket=", NULL);
	read_pressure(before, sizeof(before));
	wake_ups =
		process_status(daemon_run.pid, "voluntary_ctxt_switches", 10);
	sleep(3);
	wake_ups =
		process_status(daemon_run.pid, "voluntary_ctxt_switches", 10) -
		wake_ups;
	read_pressure(after, sizeof(after));
	rss = process_status(daemon_run.pid, "VmRSS", 10);
	print_message("# idle: %lld wake-ups in 3 s, %lld KiB resident\n",
		      wake_ups, rss);
	/* Where somebody stalls, or a gigabyte is not left, it looks. */
	if (!strcmp(before, after) && strstr(daemon_run.log, " GiB available"))
		assert_true(wake_ups <= 1);
	/* 2 MiB, and what a longer list of processes takes. */
	assert_true(rss > 0 && rss <= 4096);
	stop_daemon();
}

/* Is the hog killed, and nobody else? */
static void expect_it_works(void)
{
	pid_t hog;

	start_innocents();
	hog = start_process("hog", 300, 100, NULL);
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
}

static void few_descriptors(void)
{
	/* Those that it always has, and a few. */
	struct rlimit few = { 28, 28 };

	setrlimit(RLIMIT_NOFILE, &few);
}

/* Whom it cannot prepare, it kills unprepared. */
static void test_few_descriptors(void **state)
{
	(void)state;
	make_machine();
	before_daemon = few_descriptors;
	start_daemon(NULL, NULL);
	expect_it_works();
}

/* Where it cannot write, it says so, and goes on. */
static void test_full_disk(void **state)
{
	(void)state;
	make_machine();
	start_daemon(NULL, "--record", "/dev/full", "--metrics",
		     "/dev/full/metrics", "--status-socket", "/dev/full/status",
		     NULL);
	expect_it_works();
	expect_text(daemon_run.log, "/dev/full/metrics: Not a directory");
	expect_text(daemon_run.log, "/dev/full: No space left on device");
	expect_text(
		daemon_run.log,
		"no \"mreleased status\": /dev/full/status: Not a directory");
}

static void limit_files(void)
{
	struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_FSIZE, &none))
		_exit(1);
}

/* LimitFSIZE=: that is no reason to die either. */
static void test_file_limit(void **state)
{
	char dir[] = "/tmp/mreleased-test-XXXXXX", metrics[64], trace[64];

	(void)state;
	make_machine();
	assert_non_null(mkdtemp(dir));
	snprintf(metrics, sizeof(metrics), "%s/metrics", dir);
	snprintf(trace, sizeof(trace), "%s/trace", dir);
	before_daemon = limit_files;
	start_daemon(NULL, "--record", trace, "--metrics", metrics, NULL);
	expect_it_works();
	expect_text(daemon_run.log, "/trace: File too large");
	expect_text(daemon_run.log, "/metrics: File too large");
	expect_text(daemon_run.log, "/metrics lacks the end: File too large");
	unlink(trace);
	assert_int_equal(rmdir(dir), 0);
}

static void hide_processes(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, "hidepid=2"))
		dprintf(STDERR_FILENO, "killing at: hidepid: %s\n",
			strerror(errno));
}

/* As ProtectProc=invisible of the unit does it, with its capabilities. */
static void test_hidepid(void **state)
{
	(void)state;
	make_machine();
	start_as_unit();
	before_daemon = hide_processes;
	start_daemon(NULL, NULL);
	as_unit = false;
	if (strstr(daemon_run.log, "killing at: hidepid")) {
		stop_daemon();
		skip_test("hidepid", "/proc cannot be mounted here");
	}
	expect_it_works();
}

static bool is_stopped(void *arg)
{
	return process_state(*(pid_t *)arg) == 'T';
}

static bool is_big(void *arg)
{
	return process_status(*(pid_t *)arg, "RssAnon", 10) >= 185 * 1024;
}

/* What happened while it was stopped is seen when it goes on. */
static void test_stopped(void **state)
{
	pid_t hog;

	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	start_innocents();
	stops_expected = true;
	kill(daemon_run.pid, SIGSTOP);
	wait_until(is_stopped, &daemon_run.pid, "mreleased to be stopped");
	hog = start_process("hog", 185, 0, NULL);
	wait_until(is_big, &hog, "the hog to have its memory");
	kill(daemon_run.pid, SIGCONT);
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	expect_innocents_live();
	stop_daemon();
	expect_not_said("(innocent-0):");
}

static bool is_grown(void *arg)
{
	return process_status(*(pid_t *)arg, "RssAnon", 10) >= 40 * 1024;
}

static bool has_less(void *arg)
{
	return process_status(*(pid_t *)arg, "RssAnon", 10) >= 20 * 1024;
}

/*
 * Four victims that SIGKILL does not move keep all places for releases, although
 * their memory is back: the next one dies all the same, which is said.
 */
static void test_all_places_taken(void **state)
{
	struct cgroup freezer;
	pid_t frozen[PLACES], hog;
	int status;

	(void)state;
	make_machine();
	cgroup_make(&freezer, CGROUP_FREEZER);
	for (size_t i = 0; i < PLACES; i++) {
		frozen[i] = start_process("frozen", 40, 0, NULL);
		wait_until(is_grown, &frozen[i], "a victim to have its memory");
		cgroup_add(&freezer, frozen[i]);
	}
	cgroup_freeze(&freezer);
	hog = start_process("hog", 20, 0, NULL);
	wait_until(has_less, &hog, "the last one to have its memory");
	start_daemon(NULL, "-o", "KillAvailable=95%", "-o", "Patience=100ms",
		     "-o", "Order=size", NULL);
	expect_said("releases have not ended");
	expect_signal(hog, SIGKILL);
	expect_no_oom();
	cgroup_thaw(&freezer);
	close(freezer.fd);
	for (size_t i = 0; i < PLACES; i++) {
		assert_int_equal(waitpid(frozen[i], &status, 0), frozen[i]);
		assert_true(WIFSIGNALED(status));
	}
	stop_daemon();
}

static volatile sig_atomic_t was_asked, grows_again;

static void note_asked(int sig)
{
	(void)sig;
	was_asked = 1;
}

static void note_again(int sig)
{
	(void)sig;
	grows_again = 1;
}

/* Until it is asked for the first time. */
static void fill(char *p, size_t size, int rate)
{
	const struct timespec pause = { 0, 1000000000 / rate };

	for (size_t at = 0; (!was_asked || grows_again) && at < size;
	     at += MIB) {
		memset(p + at, 1, MIB);
		nanosleep(&pause, NULL);
	}
}

/* Gives all of it back when it is asked, lives, and begins anew when it is told to. */
static void be_polite(void)
{
	const struct timespec moment = { 0, 10000000 };
	const size_t size = 300 * MIB;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	signal(SIGTERM, note_asked);
	signal(SIGUSR1, note_again);
	fill(p, size, 25);
	madvise(p, size, MADV_DONTNEED);
	while (!grows_again)
		nanosleep(&moment, NULL);
	fill(p, size, 100);
}

/*
 * It was asked, gave back what it had and works on: at the next shortage, of
 * another's making, it is not killed for that.  At one of its own it is.
 */
static void test_let_be(void **state)
{
	pid_t polite, hog;

	(void)state;
	make_machine();
	start_daemon(NULL, "-o", "AskAvailable=50%", "-o", "Hold=0", "-o",
		     "Grace=500ms", NULL);
	start_innocents();
	polite = start_process("polite", 0, 0, be_polite);
	expect_said("(polite) has not exited; there is memory");
	hog = start_process("hog", 300, 100, NULL);
	expect_signal(hog, SIGKILL);
	assert_int_equal(waitpid(polite, NULL, WNOHANG), 0);
	expect_innocents_live();
	expect_said("(hog) are back after");
	expect_not_said("(polite): SIGKILL now");
	kill(polite, SIGUSR1);
	expect_signal(polite, SIGKILL);
	expect_innocents_live();
	expect_no_oom();
	stop_daemon();
}

static int stranger_pipe[2];

/* In a group of its own, with one that has left the cgroup. */
static void lead_a_stranger(void)
{
	char path[PATH_MAX + 32];
	pid_t pid;
	int fd;

	setpgid(0, 0);
	pid = fork();
	if (!pid) {
		snprintf(path, sizeof(path), "%s/../cgroup.procs",
			 machine.path);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		pid = fd < 0 || write(fd, "0", 1) != 1 ? -1 : getpid();
		prctl(PR_SET_NAME, "stranger");
		if (write(stranger_pipe[1], &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		for (;;)
			pause();
	}
}

/* -g, and one of the group is no member of the watched cgroup: it is not touched. */
static void test_stranger_in_the_group(void **state)
{
	pid_t hog, stranger;

	(void)state;
	make_machine();
	assert_int_equal(pipe2(stranger_pipe, O_CLOEXEC), 0);
	start_daemon(NULL, "-g", NULL);
	start_innocents();
	hog = start_process("hog", 300, 100, lead_a_stranger);
	assert_int_equal(read(stranger_pipe[0], &stranger, sizeof(stranger)),
			 sizeof(stranger));
	expect_signal(hog, SIGKILL);
	expect_said("are back after");
	stop_daemon();
	close(stranger_pipe[0]);
	close(stranger_pipe[1]);
	/* It is ours now that its parent is gone. */
	if (stranger > 0) {
		assert_int_equal(kill(stranger, SIGTERM), 0);
		expect_signal(stranger, SIGTERM);
	}
	expect_innocents_live();
	if (stranger < 0)
		skip_test("memcg", "the cgroup above takes no process");
}

static void drop_kill(void)
{
	/* CAP_KILL; root gets the others with the exec. */
	prctl(PR_CAPBSET_DROP, 5);
}

static void be_nobody(void)
{
	if (setgid(65534) || setuid(65534))
		_exit(1);
}

/* What was not permitted was no kill, and is not for want of memory to be had. */
static void test_not_permitted(void **state)
{
	char dir[] = "/tmp/mreleased-test-XXXXXX", sock[64];
	static char out[16384];
	pid_t hog;

	(void)state;
	make_machine();
	assert_non_null(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/status", dir);
	before_daemon = drop_kill;
	start_daemon(NULL, "--ignore-root-user", "-o", "KillAvailable=30%",
		     "--status-socket", sock, NULL);
	hog = start_process("hog", 215, 0, be_nobody);
	expect_said("(hog) could not be signalled: Operation not permitted");
	expect_said("nobody is killed, who was chosen could not be signalled");
	assert_int_equal(waitpid(hog, NULL, WNOHANG), 0);
	run_tool(out, sizeof(out), "status", "--json", "--status-socket", sock,
		 NULL);
	expect_text(out, "\"killed\":0");
	expect_text(out, "\"unconfirmed\":0");
	expect_text(out, "\"would_go\":null");
	stop_daemon();
	expect_not_said("(hog): 0 KiB are back");
	assert_int_equal(rmdir(dir), 0);
}

/* Without the cgroup there is nothing to watch. */
static void test_cgroup_gone(void **state)
{
	(void)state;
	make_machine();
	start_daemon(NULL, NULL);
	assert_int_equal(rmdir(machine.path), 0);
	/* It would watch nothing, and its trigger would be ready for ever. */
	expect_said("the cgroup has been removed");
	wait_daemon(1);
}

/*
 * What the unit leaves open, as systemd counts it: tenths.  One of them is
 * open_by_handle_at(2), without which no shared memory is confirmed.
 */
static void test_exposure(void **state)
{
	char command[PATH_MAX + 128];

	(void)state;
	/* systemd 250 looks at files. */
	if (system("systemd-analyze security --offline=true "
		   "--threshold=100 systemd-journald.service >/dev/null 2>&1"))
		skip_test("systemd", "no systemd-analyze security --offline");
	snprintf(command, sizeof(command),
		 "systemd-analyze security --offline=true --no-pager "
		 "--threshold=16 '%s' | tail -n 1 | sed 's/^/# /' >&2; "
		 "systemd-analyze security --offline=true --no-pager "
		 "--threshold=16 '%s' >/dev/null 2>&1",
		 beside("../daemon/mreleased.service"),
		 beside("../daemon/mreleased.service"));
	assert_int_equal(system(command), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		harness_test(test_idle),
		harness_test(test_few_descriptors),
		harness_test(test_full_disk),
		harness_test(test_file_limit),
		harness_test(test_hidepid),
		harness_test(test_stopped),
		harness_test(test_all_places_taken),
		harness_test(test_let_be),
		harness_test(test_stranger_in_the_group),
		harness_test(test_not_permitted),
		harness_test(test_cgroup_gone),
		harness_test(test_exposure),
	};

	return run_group(tests);
}
