/* SPDX-License-Identifier: MIT */
/*
 * A configuration, and the kernel's texts, from anybody.  What is understood
 * is printed, and then means the same again.
 */
#include "fuzz.h"

#include "config.h"
#include "sense.h"
#include "table.h"

static void ignore(void *arg, const char *where, const char *what)
{
	promise(!arg);
	promise(*where && *what);
}

static char *print(const struct config *c)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	promise(f);
	config_print(c, f);
	fclose(f);
	promise(text);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config a, b;
	struct snapshot s = { 0 };
	struct process_stat st;
	struct candidate c = { 0 };
	char *text = malloc(size + 1), *once, *twice;

	promise(text);
	memcpy(text, data, size);
	text[size] = '\0';
	sense_parse_meminfo(text, &s);
	promise(s.available_bytes <= s.total_bytes || !s.total_bytes);
	sense_parse_pressure(text, &s);
	sense_parse_vmstat(text, &s);
	process_parse_stat(text, &st);
	process_parse_status(text, &c);
	config_defaults(&a);
	if (!config_parse(&a, "x", text, ignore, NULL)) {
		once = print(&a);
		config_defaults(&b);
		promise(!config_parse(&b, "x", once, ignore, NULL));
		twice = print(&b);
		promise(!strcmp(once, twice));
		free(once);
		free(twice);
		config_clear(&b);
	}
	config_clear(&a);
	free(text);
	return 0;
}
