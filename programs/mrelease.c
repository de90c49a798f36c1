/* SPDX-License-Identifier: MIT */
/* mrelease: kill targets and have their memory back before returning. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "program.h"

#define DEFAULT_GRACE_NS 5000000000LL

enum {
	OPT_ALLOW_ANCESTOR = 256,
	OPT_CHECK,
	OPT_GRACE,
	OPT_JSON,
	OPT_KILL_SHARERS,
	OPT_NO_PIN,
};

static const struct option long_options[] = {
	{ "allow-ancestor", no_argument, NULL, OPT_ALLOW_ANCESTOR },
	{ "check", no_argument, NULL, OPT_CHECK },
	{ "dry-run", no_argument, NULL, 'n' },
	{ "dryrun", no_argument, NULL, 'n' },
	{ "evict-cache", no_argument, NULL, 'c' },
	{ "grace", required_argument, NULL, OPT_GRACE },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "kill-sharers", no_argument, NULL, OPT_KILL_SHARERS },
	{ "no-pin", no_argument, NULL, OPT_NO_PIN },
	{ "quiet", no_argument, NULL, 'q' },
	{ "signal", required_argument, NULL, 's' },
	{ "tree", no_argument, NULL, 't' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "version", no_argument, NULL, 'V' },
	{ "wait", required_argument, NULL, 'w' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: mrelease [OPTION]... TARGET...\n"
	"       mrelease --check [--json]\n"
	"Kill each TARGET, reclaim its memory, and verify that before returning.\n"
	"\n"
	"TARGET is a PID, PID:INODE (pidfs inode, Linux 6.9), the path of a\n"
	"cgroup, the name of a systemd unit, or the ID of a container.\n"
	"\n"
	"  -s, --signal SIGNAL   send SIGNAL first, SIGKILL after the grace time\n"
	"      --grace TIME      time that SIGNAL may take (default 5s)\n"
	"  -t, --tree            each process and all its descendants\n"
	"  -c, --evict-cache     evict the page cache that only the target mapped\n"
	"  -w, --wait TIME       deadline for everything (default 30s)\n"
	"  -n, --dry-run         send no signal, say what would come back\n"
	"      --kill-sharers    also kill processes that share its address space\n"
	"      --allow-ancestor  do not refuse ancestors of mrelease\n"
	"      --no-pin          do not use ptrace\n"
	"      --json            one JSON object per target and line\n"
	"  -q, --quiet           say only what went wrong\n"
	"  -v, --verbose         say how, and name each member\n"
	"      --check           what this kernel and these privileges allow\n"
	"  -h, --help            show this help\n"
	"  -V, --version         show the version\n"
	"\n"
	"TIME is a number of seconds, or has a unit: ns, us, ms, s, sec, m, min, h.\n"
	"Exit status: 0 all that only the target held is back, 1 no such target,\n"
	"2 usage, 3 refused or not permitted, 4 killed but memory is outstanding,\n"
	"5 could not be killed, 64 some targets succeeded and some did not.\n";

void complain(const char *format, ...)
{
	char raw[PATH_MAX + 256], text[sizeof(raw)];
	va_list ap;

	va_start(ap, format);
	vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	output_text(text, sizeof(text), raw);
	fprintf(stderr, "mrelease: %s\n", text);
}

static int usage(void)
{
	fputs("Try 'mrelease --help'.\n", stderr);
	return STATUS_USAGE;
}

static int set_signal(struct settings *set, const char *arg)
{
	int sig = parse_signal(arg);

	if (sig < 0) {
		complain("%s: not a signal", arg);
		return -1;
	}
	/* SIGKILL is what comes in any case. */
	set->opts.soft_signal = sig == SIGKILL ? 0 : sig;
	set->signal_given = true;
	return 0;
}

static int set_time(int64_t *ns, const char *arg)
{
	if (parse_time(arg, ns) < 0) {
		complain("%s: not a time", arg);
		return -1;
	}
	return 0;
}

/*
 * kill's -9 and -TERM become -s9 and -sTERM before getopt sees them; the
 * argument of an option that takes one is not ours to touch.
 */
static int rewrite_signal_options(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "-s") || !strcmp(a, "-w") ||
		    !strcmp(a, "--signal") || !strcmp(a, "--wait") ||
		    !strcmp(a, "--grace")) {
			i++;
			continue;
		}
		if (a[0] != '-' || !a[1] ||
		    !((a[1] >= '0' && a[1] <= '9') ||
		      (a[1] >= 'A' && a[1] <= 'Z' && a[2] >= 'A' &&
		       a[2] <= 'Z')))
			continue;
		if (asprintf(&argv[i], "-s%s", a + 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Everything is looked up there; without it errors would not say why. */
static bool have_proc(void)
{
	struct statfs sfs;

	if (statfs("/proc", &sfs) == 0 && sfs.f_type == PROC_SUPER_MAGIC)
		return true;
	complain("/proc is not mounted: mount -t proc proc /proc");
	return false;
}

/* Status of a command line that is done with: the exit status + 1, which may be 0. */
#define DONE(status) ((status) + 1)

/* One option. 0: go on; else DONE(). */
static int parse_option(int c, struct settings *set)
{
	struct mrelease_opts *o = &set->opts;

	switch (c) {
	case 'c':
		o->flags |= MRELEASE_EVICT_CACHE;
		return 0;
	case 'h':
		fputs(help, stdout);
		return DONE(STATUS_OK);
	case 'n':
		o->flags |= MRELEASE_DRY_RUN;
		return 0;
	case 'q':
		set->quiet = true;
		return 0;
	case 's':
		return set_signal(set, optarg) ? DONE(usage()) : 0;
	case 't':
		set->tree = true;
		return 0;
	case 'v':
		set->verbose = true;
		return 0;
	case 'V':
		printf("mrelease %s\n", mrelease_version());
		return DONE(STATUS_OK);
	case 'w':
		if (set_time(&set->wait_ns, optarg) < 0)
			return DONE(usage());
		/* 0 is "now", not the library's default. */
		if (!set->wait_ns)
			set->wait_ns = 1;
		return 0;
	case OPT_ALLOW_ANCESTOR:
		o->flags |= MRELEASE_ALLOW_ANCESTOR;
		return 0;
	case OPT_CHECK:
		set->check = true;
		return 0;
	case OPT_GRACE:
		return set_time(&o->grace_ns, optarg) ? DONE(usage()) : 0;
	case OPT_JSON:
		set->json = true;
		return 0;
	case OPT_KILL_SHARERS:
		o->flags |= MRELEASE_KILL_SHARERS;
		return 0;
	case OPT_NO_PIN:
		o->flags |= MRELEASE_NO_PIN;
		return 0;
	default:
		if (!opterr)
			complain("unknown option, or one without its argument");
		return DONE(usage());
	}
}

/* getopt(3) writes an option that it does not know as it is. */
static void silence_getopt(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		for (const char *p = argv[i]; *p; p++)
			if (*p < ' ' || *p > '~')
				opterr = 0;
}

static int check(int nr_targets, const struct settings *set)
{
	if (nr_targets) {
		complain("--check takes no target");
		return usage();
	}
	if (!have_proc())
		return STATUS_NOT_KILLED;
	return check_main(set->json);
}

/* 0: go on; else DONE(). */
static int parse_options(int argc, char **argv, struct settings *set)
{
	int c, done;

	set->opts.grace_ns = -1;
	silence_getopt(argc, argv);
	while ((c = getopt_long(argc, argv, "chnqs:tvVw:", long_options,
				NULL)) != -1) {
		done = parse_option(c, set);
		if (done)
			return done;
	}
	if (set->quiet && set->verbose) {
		complain("-q and -v contradict each other");
		return DONE(usage());
	}
	if (set->check)
		return DONE(check(argc - optind, set));
	if (set->opts.grace_ns >= 0 && !set->signal_given)
		set->opts.soft_signal = SIGTERM;
	if (set->opts.grace_ns < 0)
		set->opts.grace_ns = DEFAULT_GRACE_NS;
	if (optind == argc) {
		complain("no target");
		return DONE(usage());
	}
	return 0;
}

/*
 * With a standard stream closed, the next open() would take its number, and
 * what is printed would go to a pidfd or a file of a cgroup.  Opened the
 * wrong way round, so that it still is an error to write there.
 */
static void fill_standard_streams(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			return;
}

/* The first that is opened has the number of one that is closed. */
static void keep_off_standard_streams(struct target *t)
{
	int fd = t->fd;

	if (fd < 0 || fd > STDERR_FILENO)
		return;
	t->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	t->error = t->fd < 0 ? -errno : 0;
	close(fd);
	fill_standard_streams();
}

/* A handle for each target, and what its release opens. */
static int raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 1024;
	if (lim.rlim_cur < lim.rlim_max) {
		struct rlimit all = { lim.rlim_max, lim.rlim_max };

		if (setrlimit(RLIMIT_NOFILE, &all) == 0)
			lim = all;
	}
	return lim.rlim_cur < INT_MAX ? (int)lim.rlim_cur : INT_MAX;
}

static int cannot_write(int error, int status)
{
	complain("cannot write the result: %s", strerror(error));
	return status == STATUS_OK ? STATUS_UNCONFIRMED : status;
}

int main(int argc, char **argv)
{
	struct settings set = { .opts.size = sizeof(set.opts) };
	/* One needs no memory to be had. */
	static struct target one;
	struct target *targets = &one;
	int error, ret;
	size_t nr;

	static char out[BUFSIZ];

	/* What is said is flushed target by target, to a terminal as well. */
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	/*
	 * Nobody reads on, or the file is as big as it may be (ulimit -f): the
	 * targets are to be released all the same.
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	set.max_fds = raise_fd_limit();
	if (rewrite_signal_options(argc, argv) < 0) {
		complain("out of memory, nothing was signalled");
		return STATUS_NOT_KILLED;
	}
	ret = parse_options(argc, argv, &set);
	if (ret) {
		error = output_flush();
		return error ? cannot_write(-error, ret - 1) : ret - 1;
	}
	if (!have_proc())
		return STATUS_NOT_KILLED;
	nr = argc - optind;
	if (nr > 1)
		targets = calloc(nr, sizeof(*targets));
	if (!targets) {
		complain("out of memory, nothing was signalled");
		return STATUS_NOT_KILLED;
	}
	/* All of them are understood before the first is signalled. */
	for (size_t i = 0; i < nr; i++) {
		if (target_parse(&targets[i], argv[optind + i], &set) < 0)
			return usage();
		keep_off_standard_streams(&targets[i]);
	}
	nr = targets_unique(targets, nr);
	error = targets_run(targets, nr, &set);
	ret = targets_status(targets, nr);
	if (error < 0)
		ret = cannot_write(-error, ret);
	for (size_t i = 0; i < nr; i++)
		free(targets[i].members);
	if (targets != &one)
		free(targets);
	return ret;
}
