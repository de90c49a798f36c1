/* SPDX-License-Identifier: MIT */
/*
 * Called "earlyoom", mreleased says what that program would have said, for
 * those who read it with a script: its lines at the start, on standard error,
 * and its report, on standard output.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "config.h"
#include "say.h"
#include "sink.h"

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? (double)part * 100 / (double)whole : 0;
}

static double line_percent(const struct line *line, uint64_t total)
{
	return line->bytes ? percent(line->bytes, total) :
			     (double)line->permille / 10;
}

static void put(enum sink_kind where, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void put(enum sink_kind where, const char *format, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(text))
		sink_put(SAY_INFO, where, text, (size_t)n);
}

void earlyoom_start(const struct snapshot *s,
		    const struct policy_config *config)
{
	struct policy_config set = *config;
	const struct policy_config *c = &set;

	config_settle(&set, s->total_bytes, s->swap_total_bytes);
	put(SINK_ERROR,
	    "mem total: %4" PRIu64 " MiB, user mem total: %4" PRIu64
	    " MiB, swap total: %4" PRIu64 " MiB\n",
	    s->machine_bytes >> 20, s->total_bytes >> 20,
	    s->swap_total_bytes >> 20);
	put(SINK_ERROR,
	    "sending SIGTERM when mem avail <= %5.2f%% and swap free <= "
	    "%5.2f%%,\n"
	    "        SIGKILL when mem avail <= %5.2f%% and swap free <= "
	    "%5.2f%%\n",
	    line_percent(&c->mem_term, s->total_bytes),
	    line_percent(&c->swap_term, s->swap_total_bytes),
	    line_percent(&c->mem_kill, s->total_bytes),
	    line_percent(&c->swap_kill, s->swap_total_bytes));
}

void earlyoom_memory(const struct snapshot *s)
{
	put(SINK_OUTPUT,
	    "mem avail: %5" PRIu64 " of %5" PRIu64
	    " MiB (%5.2f%%), swap free: %4" PRIu64 " of %4" PRIu64
	    " MiB (%5.2f%%)\n",
	    s->available_bytes >> 20, s->total_bytes >> 20,
	    percent(s->available_bytes, s->total_bytes),
	    s->swap_free_bytes >> 20, s->swap_total_bytes >> 20,
	    percent(s->swap_free_bytes, s->swap_total_bytes));
}
