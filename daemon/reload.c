/* SPDX-License-Identifier: MIT */
/* Reads the configuration, and again without the loop's waiting for it. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aside.h"
#include "reload.h"
#include "text.h"

static struct {
	struct aside aside;
	const struct options *options;
	int event_fd;
	/* Until it is taken, config and said are the thread's. */
	_Atomic bool busy;
	_Atomic bool ready;
	/* Asked for once more meanwhile. */
	bool again;
	int error;
	struct config config;
	/* Mistakes, a line each; more than there is room for are left out. */
	char said[4096];
} next = { .aside.stack_bytes = RELOAD_STACK };

int reload_now(struct config *c, const struct options *o,
	       void (*tell)(void *arg, const char *where, const char *what),
	       void *arg)
{
	int ret, error;

	config_defaults(c);
	c->earlyoom = o->earlyoom;
	if (o->earlyoom)
		c->report_ns = NS_PER_S;
	ret = config_load(c, o->config_file, tell, arg);
	error = options_apply(c, tell, arg);
	return ret ? ret : error;
}

static void note(void *arg, const char *where, const char *what)
{
	size_t len = strlen(next.said);

	(void)arg;
	snprintf(next.said + len, sizeof(next.said) - len, "%s: %s\n", where,
		 what);
}

static void read_again(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	next.said[0] = '\0';
	next.error = reload_now(&next.config, next.options, note, NULL);
	next.ready = true;
	if (write(next.event_fd, &one, sizeof(one)) < 0)
		return; /* It is readable already. */
}

int reload_open(const struct options *o)
{
	int ret;

	next.options = o;
	next.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (next.event_fd < 0)
		return -errno;
	ret = aside_start(&next.aside, read_again, NULL);
	return ret ? ret : next.event_fd;
}

void reload_begin(void)
{
	if (next.busy) {
		next.again = true;
		return;
	}
	next.busy = true;
	aside_go(&next.aside);
}

static void say_lines(void (*say_line)(const char *line))
{
	char *line = next.said, *end;

	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		say_line(line);
	}
}

int reload_take(struct config *ret, void (*say_line)(const char *line))
{
	uint64_t count;
	int error;

	if (read(next.event_fd, &count, sizeof(count)) < 0 || !next.ready)
		return 0;
	next.ready = false;
	error = next.error;
	say_lines(say_line);
	if (error)
		config_clear(&next.config);
	else
		*ret = next.config;
	next.busy = false;
	if (next.again) {
		next.again = false;
		reload_begin();
	}
	return error ? -EINVAL : 1;
}
