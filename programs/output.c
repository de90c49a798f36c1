/* SPDX-License-Identifier: MIT */
/* The lines a person reads. */
#include <dirent.h>
#include <errno.h>
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

/*
 * What exceeds the buffer is written by fprintf() itself.  If that fails, the buffer
 * may be empty, and fflush() succeeds.
 */
int output_flush(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	return errno ? -errno : -EIO;
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

static void put_kinds(FILE *out, const struct mrelease_report *r)
{
	const char *separator = "";
	char buf[32];

	for (int i = 0; i < MRELEASE_NR_KINDS; i++) {
		if (!r->kinds[i].before_bytes)
			continue;
		output_bytes(buf, sizeof(buf), r->kinds[i].before_bytes);
		fprintf(out, "%s%s %s", separator, kind_name(i), buf);
		separator = ", ";
	}
}

/* What is not back, by kind, and why. */
static void put_left(FILE *out, const struct mrelease_report *r)
{
	char left[32], kept[32];

	for (int i = 0; i < MRELEASE_CACHE; i++) {
		const struct mrelease_entry *e = &r->kinds[i];

		if (!e->outstanding_bytes && !e->kept_bytes)
			continue;
		output_bytes(left, sizeof(left), e->outstanding_bytes);
		output_bytes(kept, sizeof(kept), e->kept_bytes);
		fprintf(out, "  %s: %s outstanding, %s kept by others (%s",
			kind_name(i), left, kept, reason_name(e->reason));
		if (e->holder_pid)
			fprintf(out, ", %d", e->holder_pid);
		fputs(")\n", out);
	}
}

static void put_verbose(FILE *out, const struct mrelease_report *r)
{
	char time[32];

	fputs("  before: ", out);
	put_kinds(out, r);
	output_ns(time, sizeof(time), r->prepare_ns);
	fprintf(out, "; %u thread%s; way: %s; evidence: %s; prepared in %s\n",
		r->threads, r->threads == 1 ? "" : "s", path_name(r->path),
		evidence_name(r->evidence), time);
	put_left(out, r);
}

/* What to do about a thread that does not die, by the letter of its state. */
static const char *remedy(char state)
{
	switch (state) {
	case 'D':
		return "frozen, or waits for a device or file system";
	case 'T':
	case 't':
		return "stopped by its tracer: end that";
	case 'R':
		return "wants a CPU";
	default:
		return "sleeps";
	}
}

static char thread_state(pid_t pid, const char *tid)
{
	char path[80], line[256], state = 0;
	FILE *f;

	/* Of all files this one waits for nobody. */
	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (!state && fgets(line, sizeof(line), f))
		sscanf(line, "State: %c", &state);
	fclose(f);
	return state;
}

/* Which thread keeps it from being gone?  One in D, if there is one. */
static void put_holder(FILE *out, pid_t pid)
{
	char path[64], state = 0, tid[24] = "";
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = pid > 0 ? opendir(path) : NULL;
	if (!dir)
		return;
	while (state != 'D' && (d = readdir(dir))) {
		char s = d->d_name[0] == '.' ? 0 : thread_state(pid, d->d_name);

		if (!s || s == 'Z' || s == 'X' || (state && s != 'D'))
			continue;
		state = s;
		snprintf(tid, sizeof(tid), "%.20s", d->d_name);
	}
	closedir(dir);
	if (state)
		fprintf(out, ": thread %s (%c) %s", tid, state, remedy(state));
}

static void put_killed(FILE *out, const struct mrelease_report *r)
{
	char released[32], left[32], kept[32], evicted[32], time[32];
	char note[512];

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
	if (r->kept_bytes) {
		output_bytes(kept, sizeof(kept), r->kept_bytes);
		fprintf(out, ", %s kept by others", kept);
	}
	if (r->cache_evicted_bytes) {
		output_bytes(evicted, sizeof(evicted), r->cache_evicted_bytes);
		fprintf(out, ", %s of page cache evicted", evicted);
	}
	if (r->exit_ns >= 0) {
		output_ns(time, sizeof(time), r->exit_ns);
		fprintf(out, ", exited after %s", time);
	} else if (r->result != MRELEASE_EXITED) {
		fputs(", not yet exited", out);
		put_holder(out, r->pid);
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
			     r->exclusive_bytes - r->outstanding_bytes);
		fprintf(out, "would be killed, %s would come back (", buf);
		put_kinds(out, r);
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
