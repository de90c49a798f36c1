/* SPDX-License-Identifier: MIT */
/*
 * A journal that does not answer (it is short of memory, too), a terminal that was
 * stopped with Ctrl-S, a pipe that nobody reads: a write there waits.  So the loop
 * puts its words into a ring, and a thread takes them out.
 *
 *	loop				thread
 *	in: a message behind the last
 *	one; in moves on
 *					copies it out; out moves on
 *					writes, waits
 *	no room: counts, goes on
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "aside.h"
#include "sink.h"
#include "text.h"

#define RING (64 * 1024)
/* For the last words of a daemon that ends. */
#define FLUSH_MS 500

struct message {
	int level;
	enum sink_kind kind;
	/* Of the text, which comes next. */
	size_t len;
};

static bool to_syslog;
/* -1: stderr. */
static int journal = -1;
static struct aside writer;
static struct {
	_Atomic uint64_t in;
	_Atomic uint64_t out;
	/* Until they are written, not only taken out. */
	_Atomic uint64_t written;
	/* Messages that found no room, since the last that did. */
	unsigned int lost;
	char bytes[RING];
} ring;

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

	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (journal >= 0 && connect(journal, (void *)&to, sizeof(to))) {
		close(journal);
		journal = -1;
	}
}

void sink_open(bool use_syslog)
{
	to_syslog = use_syslog;
	if (use_syslog)
		openlog("mreleased", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	else if (journal < 0 && is_journal_stream())
		open_journal();
}

bool sink_takes_fields(void)
{
	return journal >= 0;
}

/* A cgroup has the name that its user gave it: none that a terminal obeys. */
static void clean(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') ||
		    line[i] == 0x7f)
			line[i] = '?';
}

static void write_line(int level, const char *message)
{
	char line[1200];
	int n;

	if (to_syslog) {
		syslog(level, "%s", message);
		return;
	}
	/* The prefix is for systemd, which takes it off. */
	n = getenv("JOURNAL_STREAM") ?
		    snprintf(line, sizeof(line), "<%d>%s\n", level, message) :
		    snprintf(line, sizeof(line), "%s\n", message);
	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (n > 0)
		clean(line, (size_t)n - 1);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* Nobody left to tell. */
}

/* Without its fields: the last line, and not its name. */
static void write_message(int level, char *text, size_t len)
{
	static const char name[] = "\nMESSAGE=";
	char *last = text, *p;

	while ((p = strstr(last, name)))
		last = p + sizeof(name) - 1;
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	write_line(level, last);
}

/* The next report comes in a second; the messages behind it must not wait. */
static void write_report(const char *text, size_t len)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (poll(&p, 1, 0) <= 0 || write(STDOUT_FILENO, text, len) < 0)
		return;
}

/* @text has room for a NUL. */
static void deliver(const struct message *m, char *text, int flags)
{
	text[m->len] = '\0';
	switch (m->kind) {
	case SINK_MESSAGE:
		write_line(m->level, text);
		break;
	case SINK_FIELDS:
		if (send(journal, text, m->len, flags | MSG_NOSIGNAL) < 0)
			write_message(m->level, text, m->len);
		break;
	case SINK_OUTPUT:
		write_report(text, m->len);
		break;
	case SINK_ERROR:
		if (write(STDERR_FILENO, text, m->len) < 0)
			return; /* As above. */
		break;
	}
}

static void copy_in(uint64_t at, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ring.bytes[(at + i) % RING] = ((const char *)from)[i];
}

static void copy_out(uint64_t at, void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)to)[i] = ring.bytes[(at + i) % RING];
}

static void write_all(void *arg)
{
	static char text[SINK_SIZE + 1];

	(void)arg;
	while (ring.out != ring.in) {
		struct message m;

		copy_out(ring.out, &m, sizeof(m));
		copy_out(ring.out + sizeof(m), text, m.len);
		ring.out += sizeof(m) + m.len;
		deliver(&m, text, 0);
		ring.written = ring.out;
	}
}

static bool put(const struct message *m, const char *text)
{
	uint64_t in = ring.in;

	if (in - ring.out + sizeof(*m) + m->len > RING)
		return false;
	copy_in(in, m, sizeof(*m));
	copy_in(in + sizeof(*m), text, m->len);
	ring.in = in + sizeof(*m) + m->len;
	return true;
}

static void put_lost(void)
{
	char text[80];
	struct message m = { .level = LOG_WARNING };
	int n = snprintf(text, sizeof(text),
			 "%u messages are lost: they were not read in time",
			 ring.lost);

	m.len = (size_t)n;
	if (put(&m, text))
		ring.lost = 0;
}

void sink_put(int level, enum sink_kind kind, const char *text, size_t len)
{
	struct message m = { level, kind, len };

	if (m.len > SINK_SIZE)
		m.len = SINK_SIZE;
	if (!writer.started) {
		char copy[SINK_SIZE + 1];

		memcpy(copy, text, m.len);
		deliver(&m, copy, MSG_DONTWAIT);
		return;
	}
	if (ring.lost)
		put_lost();
	if (ring.lost || !put(&m, text))
		ring.lost++;
	aside_go(&writer);
}

int sink_start(void)
{
	return aside_start(&writer, write_all, NULL);
}

void sink_flush(void)
{
	struct timespec ms = { .tv_nsec = NS_PER_MS };

	for (int i = 0; i < FLUSH_MS && ring.written != ring.in; i++)
		nanosleep(&ms, NULL);
}
