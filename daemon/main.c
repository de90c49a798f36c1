/* SPDX-License-Identifier: MIT */
/* mreleased: the daemon's events. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lock.h"
#include "loop.h"
#include "options.h"
#include "reload.h"
#include "say.h"
#include "sink.h"
#include "status.h"
#include "text.h"

enum event {
	EVENT_SIGNAL,
	EVENT_TIMER,
	EVENT_TRIGGER,
	EVENT_ACT,
	EVENT_STATUS,
	EVENT_RELOAD,
};

struct events {
	int epoll_fd;
	int signal_fd;
	int timer_fd;
	/* -1: nobody can ask. */
	int status_fd;
	/* Where it is bound, whatever the configuration says later. */
	char status_path[sizeof(((struct config *)0)->status_socket)];
	int64_t watchdog_ns;
	int64_t notified_ns;
};

static struct mreleased daemon_state;

static void to_stderr(void *arg, const char *where, const char *what)
{
	(void)arg;
	say(SAY_ERROR, "%s: %s", where, what);
}

static int add_event(const struct events *e, int fd, uint32_t mask,
		     enum event what)
{
	struct epoll_event ev = { .events = mask, .data.u32 = what };

	return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

/* One that kills nobody, or watches a cgroup, may be beside the other. */
static bool is_one_too_many(const struct config *c)
{
	pid_t other;

	if (c->dry_run)
		lock_give_up();
	if (c->dry_run || *c->cgroup ||
	    !(other = lock_machine(c->status_socket)))
		return false;
	say(SAY_ERROR, "another mreleased watches this machine: process %d",
	    other);
	return true;
}

static int open_status(struct events *e, const struct mreleased *d)
{
	const char *path = d->config.status_socket;
	bool locks;

	memcpy(e->status_path, path, sizeof(e->status_path));
	e->status_fd = *path ? status_listen(path) : -1;
	if (e->status_fd >= 0)
		return add_event(e, e->status_fd, EPOLLIN, EVENT_STATUS);
	/* Not under systemd, there may be no directory for it, nor for the lock. */
	locks = !d->config.dry_run && !*d->config.cgroup;
	say(e->status_fd == -EADDRINUSE ? SAY_WARNING : SAY_NOTICE,
	    "no \"mreleased status\"%s: %s%s%s",
	    locks && lock_error() ?
		    ", and a second mreleased would not be noticed" :
		    "",
	    path, *path ? ": " : "StatusSocket= is empty",
	    *path ? strerror(-e->status_fd) : "");
	return 0;
}

static int open_events(struct events *e, const struct mreleased *d)
{
	sigset_t set;
	int ret;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	e->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	e->timer_fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (e->epoll_fd < 0 || e->signal_fd < 0 || e->timer_fd < 0)
		return -errno;
	ret = add_event(e, e->signal_fd, EPOLLIN, EVENT_SIGNAL);
	if (!ret)
		ret = add_event(e, e->timer_fd, EPOLLIN, EVENT_TIMER);
	if (!ret)
		ret = add_event(e, d->act.event_fd, EPOLLIN, EVENT_ACT);
	if (!ret && d->sense.trigger_fd >= 0)
		ret = add_event(e, d->sense.trigger_fd, EPOLLPRI,
				EVENT_TRIGGER);
	return ret ? ret : open_status(e, d);
}

static int open_reload(const struct events *e, const struct options *o)
{
	int fd = reload_open(o);

	return fd < 0 ? fd : add_event(e, fd, EPOLLIN, EVENT_RELOAD);
}

static void set_timer(const struct events *e, int64_t ns)
{
	struct itimerspec when = {
		.it_value.tv_sec = ns / NS_PER_S,
		.it_value.tv_nsec = ns % NS_PER_S,
	};

	timerfd_settime(e->timer_fd, 0, &when, NULL);
}

static void begin_reload(void)
{
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)(clock_ns() / 1000));
	notify(text);
	reload_begin();
}

static void say_mistake(const char *line)
{
	say(SAY_ERROR, "%s", line);
}

/* What was opened at the start is what it is, whatever the files say now. */
static void keep_what_is_open(struct config *c, const struct config *old)
{
	if (strcmp(c->cgroup, old->cgroup))
		say(SAY_WARNING, "another Cgroup= needs a restart");
	memcpy(c->cgroup, old->cgroup, sizeof(c->cgroup));
	memcpy(c->status_socket, old->status_socket, sizeof(c->status_socket));
	memcpy(c->record, old->record, sizeof(c->record));
}

/*
 * A configuration with a mistake is not taken; the old one goes on.  So it does if
 * this was a dry run, and there is one for the machine that is none.
 */
static void end_reload(struct mreleased *d)
{
	static struct config c;
	int ret = reload_take(&c, say_mistake);

	if (!ret)
		return;
	if (ret < 0) {
		say(SAY_ERROR, "the configuration has mistakes: going on with "
			       "the old one");
		notify("READY=1");
		return;
	}
	keep_what_is_open(&c, &d->config);
	if (is_one_too_many(&c)) {
		say(SAY_ERROR,
		    "two would kill two where one is enough: going on with the "
		    "old configuration%s",
		    d->config.dry_run ? ", which is a dry run" : "");
		config_clear(&c);
	} else {
		config_clear(&d->config);
		d->config = c;
		mreleased_ask_rules(d);
		say(SAY_NOTICE, "configuration read again");
	}
	notify("READY=1");
}

/* Return: false to end. */
static bool handle_signals(struct events *e, struct mreleased *d)
{
	struct signalfd_siginfo info;

	while (read(e->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGHUP:
			begin_reload();
			break;
		case SIGUSR1:
			mreleased_tell_memory(d);
			break;
		default:
			return false;
		}
	}
	return true;
}

static void keep_watchdog(struct events *e)
{
	int64_t t = clock_ns();

	if (!e->watchdog_ns || t - e->notified_ns < e->watchdog_ns / 4)
		return;
	notify("WATCHDOG=1");
	e->notified_ns = t;
}

/* Of a cgroup that is removed it would be ready for ever. */
static void drop_trigger(struct events *e, struct mreleased *d)
{
	epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, d->sense.trigger_fd, NULL);
	close(d->sense.trigger_fd);
	d->sense.trigger_fd = -1;
}

/*
 * A cgroup that may have all of the machine's memory is short of it when the machine
 * is.  Where another mreleased sees to that, two would kill two.  While there is
 * time, since a file is opened.
 */
static void look_for_another(struct mreleased *d)
{
	if (*d->config.cgroup && d->last.level == LEVEL_CALM)
		d->sense.machine_is_watched =
			lock_is_taken(CONFIG_STATUS_SOCKET);
}

/* Until a signal ends it, or what is watched is gone. */
static void run(struct events *e, struct mreleased *d)
{
	struct epoll_event ev[8];
	bool triggered = false;
	uint64_t ticks;
	int64_t wait;
	int n;

	for (;;) {
		look_for_another(d);
		wait = mreleased_look(d, triggered);
		if (d->gone)
			return;
		keep_watchdog(e);
		if (e->watchdog_ns && wait > e->watchdog_ns / 3)
			wait = e->watchdog_ns / 3;
		set_timer(e, wait);
		n = epoll_wait(e->epoll_fd, ev, ARRAY_SIZE(ev), -1);
		triggered = false;
		for (int i = 0; i < n; i++) {
			switch (ev[i].data.u32) {
			case EVENT_SIGNAL:
				if (!handle_signals(e, d))
					return;
				break;
			case EVENT_TIMER:
				if (read(e->timer_fd, &ticks, sizeof(ticks)) <
				    0)
					continue;
				break;
			case EVENT_TRIGGER:
				triggered = true;
				if (ev[i].events & EPOLLERR)
					drop_trigger(e, d);
				break;
			case EVENT_STATUS:
				status_answer(e->status_fd, d);
				break;
			case EVENT_RELOAD:
				end_reload(d);
				break;
			}
		}
	}
}

/* What is allowed is used: a soft limit is for those who call select(). */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static void secure_ourselves(const struct options *o)
{
	int fd;

	/* What is not touched yet stays out: ONFAULT. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) &&
	    mlockall(MCL_CURRENT))
		say(SAY_WARNING, "cannot lock memory: %s", strerror(errno));
	if (!o->priority)
		return;
	if (setpriority(PRIO_PROCESS, 0, -20))
		say(SAY_WARNING, "cannot set nice -20: %s", strerror(errno));
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "-100", 4) != 4)
		say(SAY_WARNING, "cannot set oom_score_adj: %s",
		    strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void say_last(const char *path, int error)
{
	if (error)
		say(SAY_WARNING, "%s lacks the end: %s", path,
		    strerror(-error));
}

static int run_daemon(struct mreleased *d, const struct options *o)
{
	struct events e = { 0 };
	sigset_t all;
	int ret;

	/* Before the threads: they must not take a signal of ours. */
	sigemptyset(&all);
	sigaddset(&all, SIGTERM);
	sigaddset(&all, SIGINT);
	sigaddset(&all, SIGHUP);
	sigaddset(&all, SIGUSR1);
	sigprocmask(SIG_BLOCK, &all, NULL);
	/* The reader of our words may end before us. */
	signal(SIGPIPE, SIG_IGN);
	notify_open();
	raise_limits();
	ret = sink_start();
	if (!ret && is_one_too_many(&d->config))
		ret = -EBUSY;
	if (!ret)
		ret = mreleased_open(d);
	if (!ret)
		ret = open_events(&e, d);
	if (!ret)
		ret = open_reload(&e, o);
	if (ret) {
		say(SAY_ERROR, "cannot start: %s", strerror(-ret));
		sink_flush();
		return 1;
	}
	secure_ourselves(o);
	e.watchdog_ns = notify_watchdog_ns();
	mreleased_start(d);
	notify("READY=1\nSTATUS=watching");
	run(&e, d);
	notify("STOPPING=1");
	say_last(d->config.metrics, metrics_end(d->config.metrics, d));
	say_last(d->config.record, trace_close(&d->trace));
	if (e.status_fd >= 0)
		unlink(e.status_path);
	if (d->gone)
		say(SAY_ERROR, "the cgroup has been removed");
	else
		say(SAY_INFO, "ending");
	sink_flush();
	return d->gone ? 1 : 0;
}

/* What percentages are of: the machine's memory, or what its cgroup may have. */
static int read_total(const struct config *c, struct snapshot *ret)
{
	static struct sense s;
	int error;

	if (!*c->cgroup)
		return sense_machine(ret, c->earlyoom);
	error = sense_open(&s, c->cgroup, "");
	if (error)
		return error;
	error = sense_read(&s, ret);
	sense_close(&s);
	return error;
}

/* As it is on this machine. */
static int print_config(struct config *c)
{
	struct snapshot s = { 0 };
	int error = read_total(c, &s);

	if (error)
		fprintf(stderr,
			"mreleased: %s: %s; percentages are not resolved\n",
			*c->cgroup ? c->cgroup : "/proc/meminfo",
			strerror(-error));
	else
		config_settle(&c->policy, s.total_bytes, s.swap_total_bytes);
	config_print(c, stdout);
	return say_written(stdout) && !error ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct mreleased *d = &daemon_state;
	struct options o;
	int ret = options_parse(argc, argv, &o);

	/* A file may not grow (LimitFSIZE=, ulimit -f): the write fails, no more. */
	signal(SIGXFSZ, SIG_IGN);
	if (ret)
		return ret == 1 && !say_written(stdout) ? 1 : ret - 1;
	say_open(false, o.syslog);
	ret = reload_now(&d->config, &o, to_stderr, NULL);
	if (o.mode == MODE_CHECK_CONFIG)
		return ret ? 2 : 0;
	if (ret)
		return 2;
	if (o.mode == MODE_PRINT_CONFIG)
		return print_config(&d->config);
	if (o.mode == MODE_STATUS)
		return status_main(d->config.status_socket, &o);
	if (o.mode == MODE_SIMULATE)
		return simulate(o.trace, &d->config, stdout);
	say_open(d->config.debug, o.syslog);
	return run_daemon(d, &o);
}
