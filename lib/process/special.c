/* SPDX-License-Identifier: MIT */
/*
 * Memory that counts as file pages (RssFile), and is no page cache: what
 * memfd_secret(2) gives, and pages of drivers.  Both are told by the name of
 * the mapping.  An inode of secret memory has no handle, and a watch would
 * keep it; but its pages are unevictable until they are freed, all at once.
 */
#include <string.h>

#include "process/process.h"

/* Rings and buffers of the kernel's (anon_inode:) go with their descriptor. */
static bool is_driver(const struct mapping *m)
{
	static const char *const others[] = {
		"/dev/zero",
		"/dev/shm/",
		"/dev/hugepages/",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++)
		if (has_prefix(m->path, m->path_len, others[i]))
			return false;
	return has_prefix(m->path, m->path_len, "/dev/");
}

void special_note(struct special *s, const struct mapping *m)
{
	bool secret = has_prefix(m->path, m->path_len, "/secretmem");
	bool driver = is_driver(m);

	if ((!secret && !driver) || !m->accessible ||
	    s->nr == ARRAY_SIZE(s->range))
		return;
	s->range[s->nr].start = m->start;
	s->range[s->nr].end = m->end;
	s->range[s->nr++].secret = secret;
}

struct looked {
	/* Bytes that are there, and of those what nobody else maps. */
	uint64_t bytes;
	uint64_t own;
	/* Of those one in each part of the range, or 0. */
	uint64_t frame[SECRET_FRAMES];
};

static void look(const struct victim *v, uint64_t start, uint64_t end,
		 const struct budget *b, struct looked *ret)
{
	const uint64_t page = getpagesize();
	uint64_t words[WIDE];

	memset(ret, 0, sizeof(*ret));
	for (uint64_t at = start; at < end; at += WIDE * page) {
		uint64_t want = MIN((end - at) / page, ARRAY_SIZE(words));
		long n = sys_pread(v->pagemap_fd, words, want * 8,
				   at / page * 8);

		if (n <= 0 || budget_spent(b))
			break;
		for (long i = 0; i < n / 8; i++) {
			uint64_t part = (at + i * page - start) *
					SECRET_FRAMES / (end - start);

			if ((words[i] & (PM_PRESENT | PM_FILE)) !=
			    (PM_PRESENT | PM_FILE))
				continue;
			ret->bytes += page;
			if (!(words[i] & PM_EXCLUSIVE))
				continue;
			ret->own += page;
			if (!ret->frame[part])
				ret->frame[part] = words[i] & PM_FRAME;
		}
	}
}

/*
 * A page is unevictable once the CPU that took it has added it to its list, which
 * may be long after it was filled (held.c).  One that is not says nothing later.
 */
static void note_secret(struct victim *v, const struct looked *l)
{
	cleanup_fd int fd = sys_openat(AT_FDCWD, "/proc/kpageflags", O_RDONLY);
	uint64_t *frame, flags;
	bool any = false;

	if (fd < 0 || v->nr_secrets == ARRAY_SIZE(v->secret))
		return;
	frame = v->secret[v->nr_secrets].frame;
	for (unsigned int i = 0; i < SECRET_FRAMES; i++) {
		frame[i] = 0;
		if (!l->frame[i] ||
		    sys_pread(fd, &flags, 8, l->frame[i] * 8) != 8 ||
		    !(flags & KPF_UNEVICTABLE))
			continue;
		frame[i] = l->frame[i];
		any = true;
	}
	if (any)
		v->secret[v->nr_secrets++].bytes = l->own;
}

void account_special(struct victim *v, const struct special *s,
		     const struct budget *b)
{
	struct mrelease_entry *e = &v->rep.kinds[MRELEASE_SPECIAL];
	struct mrelease_entry *file = &v->rep.kinds[MRELEASE_CACHE];
	uint64_t bytes[2] = { 0 }, own[2] = { 0 };

	file->before_bytes += e->before_bytes;
	memset(e, 0, sizeof(*e));
	v->nr_secrets = 0;
	for (unsigned int i = 0; i < s->nr; i++) {
		struct looked l;

		look(v, s->range[i].start, s->range[i].end, b, &l);
		bytes[s->range[i].secret] += l.bytes;
		own[s->range[i].secret] += l.own;
		if (s->range[i].secret)
			note_secret(v, &l);
	}
	e->before_bytes = MIN(bytes[0] + bytes[1], file->before_bytes);
	e->exclusive_bytes = MIN(own[0] + own[1], e->before_bytes);
	e->kept_bytes = e->before_bytes - e->exclusive_bytes;
	e->reason = e->kept_bytes ? MRELEASE_REASON_IN_USE : 0;
	file->before_bytes -= e->before_bytes;
	file->kept_bytes = file->before_bytes;
}

/* A file's are freed all at once; one of them may be another file's by now. */
static bool is_free(int fd, const uint64_t *frame)
{
	uint64_t flags;

	for (unsigned int i = 0; i < SECRET_FRAMES; i++)
		if (frame[i] && sys_pread(fd, &flags, 8, frame[i] * 8) == 8 &&
		    !(flags & KPF_UNEVICTABLE))
			return true;
	return false;
}

uint64_t secret_freed(const struct victim *v)
{
	cleanup_fd int fd = sys_openat(AT_FDCWD, "/proc/kpageflags", O_RDONLY);
	uint64_t bytes = 0;

	if (fd < 0)
		return UINT64_MAX;
	for (unsigned int i = 0; i < v->nr_secrets; i++)
		if (is_free(fd, v->secret[i].frame))
			bytes += v->secret[i].bytes;
	return bytes;
}

uint64_t secret_bytes(const struct victim *v)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < v->nr_secrets; i++)
		bytes += v->secret[i].bytes;
	return bytes;
}
