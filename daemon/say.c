/* SPDX-License-Identifier: MIT */
/* The journal, stderr or syslog. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "say.h"
#include "text.h"

static bool say_debug, to_syslog;
/* -1: stderr. */
static int journal = -1;

/* systemd tells which stream is the journal's; a terminal is none. */
static bool is_journal_stream(void)
{
	const char *p = getenv("JOURNAL_STREAM");
	uint64_t dev, ino;
	struct stat st;

	return p && text_number(&p, &dev) && *p++ == ':' &&
	       text_number(&p, &ino) && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

static void open_journal(void)
{
	struct sockaddr_un to = {
		.sun_family = AF_UNIX,
		.sun_path = "/run/systemd/journal/socket",
	};

	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (journal >= 0 && connect(journal, (void *)&to, sizeof(to))) {
		close(journal);
		journal = -1;
	}
}

void say_open(bool debug, bool use_syslog)
{
	say_debug = debug;
	to_syslog = use_syslog;
	if (use_syslog)
		openlog("mreleased", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	else if (journal < 0 && is_journal_stream())
		open_journal();
}

static size_t add(char *buf, size_t size, size_t at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static size_t add(char *buf, size_t size, size_t at, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(buf + at, size - at, format, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size - at ? size - 1 : at + (size_t)n;
}

/* Fields are lines: no value of ours contains a newline. */
static bool send_to_journal(enum say_level level, const char *id,
			    const struct say_field *fields, size_t nr,
			    const char *message)
{
	static char buf[4096];
	size_t len;

	len = add(buf, sizeof(buf), 0,
		  "PRIORITY=%d\nSYSLOG_IDENTIFIER=mreleased\n", level);
	if (id)
		len = add(buf, sizeof(buf), len, "MESSAGE_ID=%s\n", id);
	for (size_t i = 0; i < nr; i++)
		len = fields[i].text ?
			      add(buf, sizeof(buf), len, "MRELEASE_%s=%s\n",
				  fields[i].name, fields[i].text) :
			      add(buf, sizeof(buf), len,
				  "MRELEASE_%s=%" PRId64 "\n", fields[i].name,
				  fields[i].number);
	len = add(buf, sizeof(buf), len, "MESSAGE=%s\n", message);
	return send(journal, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void write_line(enum say_level level, const char *message)
{
	char line[1200];
	size_t len;

	if (to_syslog) {
		syslog(level, "%s", message);
		return;
	}
	/* The prefix is for systemd, which takes it off. */
	len = add(line, sizeof(line), 0, "%s%s\n",
		  getenv("JOURNAL_STREAM") ?
			  (char[]){ '<', '0' + (char)level, '>', '\0' } :
			  "",
		  message);
	line[len - 1] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* Nobody left to tell. */
}

static void say_text(enum say_level level, const char *id,
		     const struct say_field *fields, size_t nr,
		     const char *message)
{
	if (journal < 0 || !send_to_journal(level, id, fields, nr, message))
		write_line(level, message);
}

void say(enum say_level level, const char *format, ...)
{
	char message[1024];
	va_list ap;

	if (level == SAY_DEBUG && !say_debug)
		return;
	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	say_text(level, NULL, NULL, 0, message);
}

void say_event(enum say_level level, const char *id,
	       const struct say_field *fields, size_t nr_fields,
	       const char *format, ...)
{
	char message[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	say_text(level, id, fields, nr_fields, message);
}

static char *next_buffer(void)
{
	static char buffers[32][48];
	static unsigned int n;

	return buffers[n++ % 32];
}

const char *say_bytes(uint64_t bytes)
{
	static const char units[][4] = { "KiB", "MiB", "GiB", "TiB" };
	uint64_t tenths = bytes / 1024 * 10;
	char *buf = next_buffer();
	size_t u = 0;

	for (; tenths >= 10240 && u + 1 < ARRAY_SIZE(units); u++)
		tenths /= 1024;
	if (u)
		snprintf(buf, 48, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10,
			 tenths % 10, units[u]);
	else
		snprintf(buf, 48, "%" PRIu64 " %s", tenths / 10, units[u]);
	return buf;
}

const char *say_time(int64_t ns)
{
	char *buf = next_buffer();
	int64_t ms = ns / NS_PER_MS;

	if (ms < 1000)
		snprintf(buf, 48, "%" PRId64 " ms", ms);
	else
		snprintf(buf, 48, "%" PRId64 ".%" PRId64 " s", ms / 1000,
			 ms % 1000 / 100);
	return buf;
}

const char *say_name(const char *name)
{
	char *buf = next_buffer();
	size_t i;

	for (i = 0; name[i] && i < 47; i++)
		buf[i] = name[i] < ' ' || name[i] == 0x7f ? '?' : name[i];
	buf[i] = '\0';
	return buf;
}
