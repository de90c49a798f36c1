/* SPDX-License-Identifier: MIT */
/* One JSON object per target and line, and the words both outputs use. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

const char *result_name(int result)
{
	static const char *const names[] = {
		[MRELEASE_RELEASED] = "released",
		[MRELEASE_EXITED] = "exited",
		[MRELEASE_GONE] = "gone",
		[MRELEASE_REFUSED] = "refused",
		[MRELEASE_UNCONFIRMED] = "unconfirmed",
		[MRELEASE_FAILED] = "failed",
		[MRELEASE_WOULD_KILL] = "would-kill",
	};

	return names[result];
}

const char *evidence_name(int evidence)
{
	static const char *const names[] = {
		[MRELEASE_EVIDENCE_NONE] = "none",
		[MRELEASE_EVIDENCE_PAGEMAP] = "pagemap",
		[MRELEASE_EVIDENCE_EXIT] = "exit",
		[MRELEASE_EVIDENCE_MEMBERS] = "members",
		[MRELEASE_EVIDENCE_MEMCG] = "memcg",
		[MRELEASE_EVIDENCE_OBJECT] = "object",
		[MRELEASE_EVIDENCE_FRAMES] = "frames",
	};

	return names[evidence];
}

const char *kind_name(int kind)
{
	static const char *const names[] = {
		[MRELEASE_ANON] = "anon",
		[MRELEASE_COW] = "cow",
		[MRELEASE_SWAP] = "swap",
		[MRELEASE_SHMEM] = "shmem",
		[MRELEASE_UNMAPPED] = "unmapped",
		[MRELEASE_HUGETLB] = "hugetlb",
		[MRELEASE_PINNED] = "pinned",
		[MRELEASE_TABLES] = "tables",
		[MRELEASE_SPECIAL] = "special",
		[MRELEASE_CACHE] = "file",
	};

	return names[kind];
}

const char *reason_name(int reason)
{
	static const char *const names[] = {
		[MRELEASE_REASON_NONE] = "none",
		[MRELEASE_REASON_SHARED_MM] = "shared-mm",
		[MRELEASE_REASON_NOT_EXITED] = "not-exited",
		[MRELEASE_REASON_HELD_MM] = "held-mm",
		[MRELEASE_REASON_COW] = "cow",
		[MRELEASE_REASON_IN_USE] = "in-use",
		[MRELEASE_REASON_LINKED] = "linked",
		[MRELEASE_REASON_PINNED] = "pinned",
		[MRELEASE_REASON_CHARGED] = "charged",
		[MRELEASE_REASON_UNKNOWN] = "unknown",
		[MRELEASE_REASON_CLAIMED] = "claimed",
	};

	return names[reason];
}

const char *path_name(int path)
{
	static const char *const names[] = {
		[MRELEASE_PATH_NONE] = "none",
		[MRELEASE_PATH_PINNED] = "pinned",
		[MRELEASE_PATH_UNPINNED] = "unpinned",
		[MRELEASE_PATH_EXIT] = "exit",
		[MRELEASE_PATH_SOFT] = "soft",
		[MRELEASE_PATH_KERNEL] = "kernel",
	};

	return names[path];
}

/* What is outstanding besides private memory, and why. */
static void kind_text(char *buf, size_t size, const struct mrelease_report *r)
{
	static const char *const why[] = {
		[MRELEASE_REASON_NONE] = "outstanding",
		[MRELEASE_REASON_SHARED_MM] = "in a shared address space",
		[MRELEASE_REASON_NOT_EXITED] = "comes back with the exit",
		[MRELEASE_REASON_HELD_MM] = "in a held address space",
		[MRELEASE_REASON_COW] = "shared copy-on-write",
		[MRELEASE_REASON_IN_USE] = "still in use",
		[MRELEASE_REASON_LINKED] = "still linked",
		[MRELEASE_REASON_PINNED] =
			"held for a device, io_uring or a pipe",
		[MRELEASE_REASON_CHARGED] = "still charged",
		[MRELEASE_REASON_UNKNOWN] = "cannot be told",
		[MRELEASE_REASON_CLAIMED] = "another release reports it",
	};
	size_t len = 0;

	*buf = '\0';
	for (int i = MRELEASE_SHMEM; i < MRELEASE_CACHE; i++)
		if (r->kinds[i].outstanding_bytes && len < size)
			len += snprintf(buf + len, size - len, "%s%s %s",
					len ? ", " : "", kind_name(i),
					why[r->kinds[i].reason]);
}

void note_text(char *buf, size_t size, const struct mrelease_report *r)
{
	static const struct {
		uint32_t bit;
		const char *text;
	} notes[] = {
		{ MRELEASE_NOTE_PINNED_ELSEWHERE,
		  "address space held by another process" },
		{ MRELEASE_NOTE_ROBUST, "held a robust futex" },
		{ MRELEASE_NOTE_ROBUST_UNKNOWN,
		  "robust lists unreadable: exit first" },
		{ MRELEASE_NOTE_COMPAT, "32-bit" },
		{ MRELEASE_NOTE_NO_PIN, "no pin" },
		{ MRELEASE_NOTE_NO_MRELEASE, "no process_mrelease" },
		{ MRELEASE_NOTE_DSTATE, "in uninterruptible sleep" },
		{ MRELEASE_NOTE_FROZEN, "frozen" },
		{ MRELEASE_NOTE_ZOMBIE,
		  "was a zombie: its memory cannot be found" },
		{ MRELEASE_NOTE_WAS_DYING, "was dying already" },
		{ MRELEASE_NOTE_COREDUMP, "was dumping core" },
		{ MRELEASE_NOTE_CANNOT_VERIFY, "page tables unreadable" },
		{ MRELEASE_NOTE_CACHE_PARTIAL, "not all cache evicted" },
		{ MRELEASE_NOTE_HANDLES, "some were not looked at" },
		{ MRELEASE_NOTE_FOREIGN_PIDNS,
		  "members outside this PID namespace" },
		{ MRELEASE_NOTE_NO_PIDFD, "no pidfd" },
		{ MRELEASE_NOTE_NOT_READY, "killed before all was prepared" },
	};
	char kinds[256];
	size_t len = 0;

	*buf = '\0';
	if (r->sharers)
		len += snprintf(buf, size, "address space shared with %d",
				r->sharer_pid);
	if (r->sharers > 1)
		len += snprintf(buf + len, size - len, " and %u more",
				r->sharers - 1);
	if (r->tracer_pid)
		len += snprintf(buf + len, size - len, "%straced by %d",
				len ? ", " : "", r->tracer_pid);
	kind_text(kinds, sizeof(kinds), r);
	if (*kinds)
		len += snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
				kinds);
	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if (r->notes & notes[i].bit && len < size)
			len += snprintf(buf + len, size - len, "%s%s",
					len ? ", " : "", notes[i].text);
}

static const char *refusal_text(int refusal)
{
	switch (refusal) {
	case MRELEASE_REFUSE_PERMISSION:
		return "not permitted, nothing was signalled";
	case MRELEASE_REFUSE_INIT:
		return "refused: init of this PID namespace";
	case MRELEASE_REFUSE_KTHREAD:
		return "refused: a kernel thread";
	case MRELEASE_REFUSE_THREAD:
		return "refused: a thread, not a process";
	case MRELEASE_REFUSE_SELF:
		return "refused: this would kill mrelease itself";
	case MRELEASE_REFUSE_ANCESTOR:
		return "refused: an ancestor of mrelease (--allow-ancestor)";
	case MRELEASE_REFUSE_REUSED:
		return "refused: this PID is another process by now";
	case MRELEASE_REFUSE_FOREIGN:
		return "refused: not in this PID namespace, or not its /proc";
	case MRELEASE_REFUSE_CGROUP:
		return "refused: not a cgroup that can be killed";
	default:
		return NULL;
	}
}

const char *error_text(const struct target *t, char *buf, size_t size)
{
	const struct mrelease_report *r = &t->report;
	const char *text;

	switch (r->result) {
	case MRELEASE_GONE:
		if (t->kind == TARGET_PROCESS)
			return "no such process";
		return r->error == -ESRCH ? "no process in this cgroup" :
					    "no such cgroup";
	case MRELEASE_REFUSED:
		text = refusal_text(r->refusal);
		if (r->refused_pid) {
			snprintf(buf, size, "%s: process %d of it",
				 text ? text : "not permitted", r->refused_pid);
			return buf;
		}
		if (text)
			return text;
		if (t->kind == TARGET_PROCESS && !t->pid)
			return "refused: PID 0 is no process";
		return "not permitted, nothing was signalled";
	case MRELEASE_FAILED:

		snprintf(buf, size, "could not be killed: %s",
			 strerror(r->error < 0 ? -r->error : 0));
		return buf;
	default:
		return NULL;
	}
}

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static json_t *milliseconds(int64_t ns)
{
	return ns < 0 ? json_null() : json_real((double)ns / 1e6);
}

static void set_bytes(json_t *o, const char *key, uint64_t bytes)
{
	json_object_set_new(o, key, json_integer((json_int_t)bytes));
}

static json_t *kind_object(const struct mrelease_entry *e)
{
	json_t *o = json_object();

	set_bytes(o, "before_bytes", e->before_bytes);
	set_bytes(o, "exclusive_bytes", e->exclusive_bytes);
	set_bytes(o, "back_bytes", e->back_bytes);
	set_bytes(o, "outstanding_bytes", e->outstanding_bytes);
	set_bytes(o, "kept_bytes", e->kept_bytes);
	set_bytes(o, "unsure_bytes", e->unsure_bytes);
	json_object_set_new(o, "evidence",
			    json_string(evidence_name(e->evidence)));
	json_object_set_new(o, "reason", json_string(reason_name(e->reason)));
	json_object_set_new(o, "holder_pid",
			    e->holder_pid ? json_integer(e->holder_pid) :
					    json_null());
	return o;
}

/* Only the kinds that there were. */
static json_t *kinds_object(const struct mrelease_report *r)
{
	json_t *o = json_object();

	for (int i = 0; i < MRELEASE_NR_KINDS; i++)
		if (r->kinds[i].before_bytes)
			json_object_set_new(o, kind_name(i),
					    kind_object(&r->kinds[i]));
	return o;
}

/*
 * JSON is UTF-8, names are bytes.  Where they are not UTF-8, those above 0x7f, and
 * backslashes, become \xNN: so two such names remain two.
 */
static json_t *name_string(const char *name)
{
	json_t *s = json_string(name);
	char *text, *end;

	if (s)
		return s;
	text = end = malloc(4 * strlen(name) + 1);
	if (!text)
		return NULL;
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c < 0x80 && c != '\\')
			*end++ = *name;
		else
			end += sprintf(end, "\\x%02x", c);
	}
	*end = '\0';
	s = json_string(text);
	free(text);
	return s;
}

static json_t *report_object(const struct target *t)
{
	const struct mrelease_report *r = &t->report;
	json_t *o = json_object();
	char buf[512];

	if (t->kind == TARGET_PROCESS) {
		json_object_set_new(o, "pid", json_integer(r->pid));
		json_object_set_new(o, "comm", name_string(r->comm));
	}
	json_object_set_new(o, "result", json_string(result_name(r->result)));
	json_object_set_new(o, "verified", json_boolean(r->verified));
	json_object_set_new(o, "evidence",
			    json_string(evidence_name(r->evidence)));
	if (t->kind == TARGET_PROCESS)
		json_object_set_new(o, "path", json_string(path_name(r->path)));
	else
		json_object_set_new(o, "path",
				    name_string(*t->path ? t->path : t->arg));
	set_bytes(o, "before_bytes", r->before_bytes);
	set_bytes(o, "exclusive_bytes", r->exclusive_bytes);
	set_bytes(o, "released_bytes", r->released_bytes);
	set_bytes(o, "outstanding_bytes", r->outstanding_bytes);
	set_bytes(o, "kept_bytes", r->kept_bytes);
	set_bytes(o, "unsure_bytes", r->unsure_bytes);
	set_bytes(o, "cache_evicted_bytes", r->cache_evicted_bytes);
	json_object_set_new(o, "release_ms", milliseconds(r->release_ns));
	json_object_set_new(o, "exit_ms", milliseconds(r->exit_ns));
	json_object_set_new(o, "threads", json_integer(r->threads));
	note_text(buf, sizeof(buf), r);
	json_object_set_new(o, "note", text_or_null(buf));
	json_object_set_new(o, "error",
			    text_or_null(error_text(t, buf, sizeof(buf))));
	json_object_set_new(o, "kinds", kinds_object(r));
	return o;
}

int json_target(FILE *out, const struct target *t)
{
	json_t *o = report_object(t);
	char *line;

	if (t->kind == TARGET_CGROUP || t->members) {
		json_t *members = json_array();

		for (size_t i = 0; i < t->nr_members; i++) {
			struct target member = { .kind = TARGET_PROCESS };

			member.report = t->members[i];
			member.pid = member.report.pid;
			json_array_append_new(members, report_object(&member));
		}
		json_object_set_new(o, "members", members);
	}
	line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
	if (line)
		fprintf(out, "%s\n", line);
	else
		complain("out of memory for the JSON of %s", t->arg);
	json_decref(o);
	if (!line)
		return -ENOMEM;
	free(line);
	return 0;
}
