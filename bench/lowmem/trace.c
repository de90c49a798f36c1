/* SPDX-License-Identifier: MIT */
/*
 * Who was killed, when and by whom, from the kernel: the daemons' own words
 * are not asked.  An instance of its own, so that nobody else's is disturbed.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "watch.h"

#define INSTANCE "/sys/kernel/tracing/instances/lowmem"

bool trace_start(void)
{
	mkdir(INSTANCE, 0700);
	write_text(INSTANCE "/trace_clock", "mono");
	write_text(INSTANCE "/buffer_size_kb", "256");
	write_text(INSTANCE "/trace", "");
	return write_text(INSTANCE "/events/signal/signal_generate/filter",
			  "sig==9||sig==15") &&
	       write_text(INSTANCE "/events/oom/mark_victim/enable", "1") &&
	       write_text(INSTANCE "/events/signal/signal_generate/enable",
			  "1");
}

void trace_stop(void)
{
	write_text(INSTANCE "/events/signal/signal_generate/enable", "0");
	write_text(INSTANCE "/events/oom/mark_victim/enable", "0");
}

/* "   name-123   [001] ....." : the name, which may have blanks and dashes. */
static const char *sender(char *line)
{
	char *cpu = strstr(line, " [");
	char *dash;

	if (!cpu)
		return "?";
	*cpu = '\0';
	dash = strrchr(line, '-');
	if (dash)
		*dash = '\0';
	while (*line == ' ')
		line++;
	for (char *p = line; *p; p++) {
		if (*p == ' ')
			*p = '_';
	}
	return line;
}

/* "... 45.123456: signal_generate: sig=9 ...", milliseconds since the start */
static long time_of(const char *line, const char *event, int64_t start_ns)
{
	const char *p = event - 2;

	while (p > line && p[-1] != ' ')
		p--;
	return (long)(strtod(p, NULL) * 1e3 - (double)start_ns / 1e6);
}

static void print_event(char *line, int64_t start_ns)
{
	char *event = strstr(line, "signal_generate: ");
	char *oom = strstr(line, "mark_victim: ");
	char *comm, *pid;
	long at;

	if (oom) {
		printf("oom %ld %lu\n", time_of(line, oom, start_ns),
		       (unsigned long)number_after(oom, "pid="));
		return;
	}
	if (!event)
		return;
	comm = strstr(event, "comm=");
	pid = strstr(event, " pid=");
	if (!comm || !pid)
		return;
	*pid = '\0';
	at = time_of(line, event, start_ns);
	for (char *p = comm; *p; p++) {
		if (*p == ' ')
			*p = '_';
	}
	printf("signal %ld %s %lu %s %lu\n", at, sender(line),
	       (unsigned long)number_after(event, "sig="), comm + 5,
	       (unsigned long)number_after(pid + 1, "pid="));
}

void trace_print(int64_t start_ns)
{
	FILE *f = fopen(INSTANCE "/trace", "re");
	char line[512];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (line[0] != '#')
			print_event(line, start_ns);
	}
	fclose(f);
}
