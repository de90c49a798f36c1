/* SPDX-License-Identifier: MIT */
/* Messages, with fields where the journal takes them. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "say.h"
#include "sink.h"
#include "text.h"

static bool say_debug;

void say_open(bool debug, bool use_syslog)
{
	say_debug = debug;
	sink_open(use_syslog);
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
static void put_fields(enum say_level level, const char *id,
		       const struct say_field *fields, size_t nr,
		       const char *message)
{
	static char buf[SINK_SIZE];
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
	sink_put(level, SINK_FIELDS, buf, len);
}

static void say_text(enum say_level level, const char *id,
		     const struct say_field *fields, size_t nr,
		     const char *message)
{
	if (sink_takes_fields())
		put_fields(level, id, fields, nr, message);
	else
		sink_put(level, SINK_MESSAGE, message, strlen(message));
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

/* fprintf() writes, too: what failed there fflush() does not see. */
bool say_written(FILE *out)
{
	if (!fflush(out) && !ferror(out))
		return true;
	fprintf(stderr, "mreleased: cannot write: %s\n",
		strerror(errno ? errno : EIO));
	return false;
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
