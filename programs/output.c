/* SPDX-License-Identifier: MIT */
/* The lines a person reads. */
#include <string.h>

#include "program.h"

void output_bytes(char *buf, size_t size, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	unsigned int i = 0;

	while (value >= 1024 && i < 4) {
		value /= 1024;
		i++;
	}
	snprintf(buf, size, value < 10 && i ? "%.1f %s" : "%.0f %s", value,
		 units[i]);
}

/* A process chooses its name: no control characters on a terminal. */
void output_text(char *buf, size_t size, const char *text)
{
	size_t i;

	for (i = 0; text[i] && i + 1 < size; i++)
		buf[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	buf[i] = '\0';
}

static void output_ns(char *buf, size_t size, int64_t ns)
{
	double ms = (double)ns / 1e6;

	if (ms < 10)
		snprintf(buf, size, "%.1f ms", ms);
	else if (ms < 1000)
		snprintf(buf, size, "%.0f ms", ms);
	else
		snprintf(buf, size, "%.1f s", ms / 1000);
}

static void put_who(FILE *out, const struct target *t)
{
	char text[PATH_MAX];

	if (t->kind == TARGET_CGROUP) {
		output_text(text, sizeof(text), *t->path ? t->path : t->arg);
		fputs(text, out);
		if (t->report.members)
			fprintf(out, " (%u process%s)", t->report.members,
				t->report.members == 1 ? "" : "es");
		return;
	}
	fprintf(out, "%d", t->report.pid);
	output_text(text, sizeof(text), t->report.comm);
	if (t->report.members > 1)
		fprintf(out, " (%s and %u more)", text, t->report.members - 1);
	else if (*text)
		fprintf(out, " (%s)", text);
}

static void put_kinds(FILE *out, const struct mrelease_memory *m)
{
	const struct {
		const char *name;
		uint64_t bytes;
	} kinds[] = {
		{ "anon", m->anon_bytes },   { "swap", m->swap_bytes },
		{ "shmem", m->shmem_bytes }, { "hugetlb", m->hugetlb_bytes },
		{ "file", m->file_bytes },
	};
	const char *separator = "";
	char buf[32];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i].bytes)
			continue;
		output_bytes(buf, sizeof(buf), kinds[i].bytes);
		fprintf(out, "%s%s %s", separator, kinds[i].name, buf);
		separator = ", ";
	}
}

static void put_verbose(FILE *out, const struct mrelease_report *r)
{
	char time[32];

	fputs("  before: ", out);
	put_kinds(out, &r->before);
	output_ns(time, sizeof(time), r->prepare_ns);
	fprintf(out, "; %u thread%s; way: %s; evidence: %s; prepared in %s\n",
		r->threads, r->threads == 1 ? "" : "s", path_name(r->path),
		evidence_name(r->evidence), time);
}

static void put_killed(FILE *out, const struct mrelease_report *r)
{
	char released[32], left[32], evicted[32], time[32], note[512];

	output_bytes(released, sizeof(released), r->released_bytes);
	output_bytes(left, sizeof(left), r->outstanding_bytes);
	output_ns(time, sizeof(time), r->release_ns);
	note_text(note, sizeof(note), r);
	if (r->verified)
		fprintf(out, "%s back in %s", released, time);
	else if (r->result == MRELEASE_EXITED)
		fputs("exited, memory not verified", out);
	else
		fputs("killed, memory not confirmed", out);
	if (r->outstanding_bytes)
		fprintf(out, ", %s outstanding", left);
	if (r->cache_evicted_bytes) {
		output_bytes(evicted, sizeof(evicted), r->cache_evicted_bytes);
		fprintf(out, ", %s of page cache evicted", evicted);
	}
	if (r->exit_ns >= 0) {
		output_ns(time, sizeof(time), r->exit_ns);
		fprintf(out, ", exited after %s", time);
	} else if (r->result != MRELEASE_EXITED) {
		fputs(", not yet exited", out);
	}
	if (*note)
		fprintf(out, " (%s)", note);
	fputc('\n', out);
}

static void put_one(FILE *out, const struct target *t)
{
	const struct mrelease_report *r = &t->report;
	char buf[512];

	switch (r->result) {
	case MRELEASE_RELEASED:
	case MRELEASE_EXITED:
	case MRELEASE_UNCONFIRMED:
		put_killed(out, r);
		return;
	case MRELEASE_WOULD_KILL:
		output_bytes(buf, sizeof(buf),
			     r->before.anon_bytes + r->before.swap_bytes +
				     r->before.hugetlb_bytes);
		fprintf(out, "would be killed, %s would come back (", buf);
		put_kinds(out, &r->before);
		fprintf(out, "; %u thread%s)", r->threads,
			r->threads == 1 ? "" : "s");
		note_text(buf, sizeof(buf), r);
		fprintf(out, "%s%s\n", *buf ? "; " : "", buf);
		return;
	default:
		fprintf(out, "%s\n", error_text(t, buf, sizeof(buf)));
	}
}

void output_target(FILE *out, const struct target *t,
		   const struct settings *set)
{
	bool bad = t->status != STATUS_OK;

	/* What went wrong is an error message; -q leaves only those. */
	if (t->report.result == MRELEASE_GONE ||
	    t->report.result == MRELEASE_REFUSED ||
	    t->report.result == MRELEASE_FAILED)
		out = stderr;
	if (set->quiet && !bad)
		return;
	if (out == stderr)
		fputs("mrelease: ", out);
	put_who(out, t);
	fputs(": ", out);
	put_one(out, t);
	if (set->verbose && out != stderr)
		put_verbose(out, &t->report);
	if (!set->verbose || out == stderr)
		return;
	for (size_t i = 0; i < t->nr_members; i++) {
		struct target member = { .kind = TARGET_PROCESS };

		member.report = t->members[i];
		fputs("  ", out);
		put_who(out, &member);
		fputs(": ", out);
		put_one(out, &member);
	}
}
