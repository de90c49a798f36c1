/* SPDX-License-Identifier: MIT */
/*
 * How much of its anonymous memory does nobody else have?
 *
 * Since a fork(2) pages are shared copy-on-write, and KSM shares equal ones;
 * unmapped here, they are not free.  pagemap says of each page whether it is
 * mapped once only (bit 56, Linux 4.2), but that takes 20 ms for each GiB, a
 * third of a whole release.  So a sample comes first, and as a rule finds
 * nothing shared; where it does, more is read.
 */
#include <string.h>

#include "process/process.h"

#define FEW_CLUSTERS  64
#define MANY_CLUSTERS 1024
/* So much can be mapped for nothing. */
#define SPARSE_BYTES (16ULL << 20)
/* So little swap is not worth a look. */
#define SWAP_BYTES (1ULL << 20)

/* Words of pagemap that are read at once, where all of them are. */
#define AHEAD 1024

struct span {
	uint64_t start;
	uint64_t end;
};

/* Private mappings, adjacent ones as one. */
struct spans {
	uint64_t bytes;
	unsigned int nr;
	/* There are more. */
	bool more;
	/* Only every such one is listed, of so many that were met. */
	unsigned int every;
	unsigned int met;
	struct special special;
	struct span span[4096];
};

/* What was read of pagemap last. */
struct window {
	uint64_t *words;
	uint64_t first;
	uint64_t nr;
	/* To be read at once, at least. */
	uint64_t ahead;
};

/* One pass over an address space. */
struct pass {
	struct victim *v;
	/* Frames are noted there; or NULL. */
	struct objects *objects;
	struct window window;
	/* Shared pages are compared with those of its kin; or NULL. */
	struct kin *kin;
	/* Clusters, at most, and pages of each. */
	unsigned int nr;
	unsigned int width;
	const struct budget *budget;
	/* Sums over the clusters, in pages. */
	uint64_t clusters;
	uint64_t anon;
	uint64_t exclusive;
	uint64_t anon2;
	uint64_t exclusive2;
	uint64_t both;
	/* Clusters with shared pages; of them every such one is compared. */
	uint64_t shared;
	uint64_t every;
	/* Time was up; nothing was left out. */
	bool late;
	bool whole;
};

bool budget_spent(const struct budget *b)
{
	return cpu_ns() >= b->cpu_until_ns || now_ns() >= b->until_ns;
}

static void clear_spans(struct spans *s)
{
	s->bytes = 0;
	s->nr = 0;
	s->more = false;
	s->every = 1;
	s->met = 0;
}

/* Every second has to do. */
static void halve_spans(struct spans *s)
{
	unsigned int nr = s->nr;

	s->nr = 0;
	s->bytes = 0;
	s->every *= 2;
	for (unsigned int i = 0; i < nr; i += 2) {
		s->bytes += s->span[i].end - s->span[i].start;
		s->span[s->nr++] = s->span[i];
	}
}

static void add_span(struct spans *s, uint64_t start, uint64_t end)
{
	struct span *last = s->nr ? &s->span[s->nr - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
	} else if (s->nr < ARRAY_SIZE(s->span)) {
		s->span[s->nr].start = start;
		s->span[s->nr++].end = end;
	} else {
		s->more = true;
		return;
	}
	s->bytes += end - start;
}

static int spans_of_maps(const struct victim *v, char *buf, size_t size,
			 struct spans *s)
{
	const char *line;
	struct lines l;
	size_t len;

	clear_spans(s);
	s->special.nr = 0;
	lines_open(&l, v->maps_fd, buf, size);
	while (!s->more && lines_next(&l, &line, &len)) {
		struct mapping m;

		if (parse_mapping(line, len, &m) < 0)
			continue;
		special_note(&s->special, &m);
		if (m.accessible && mapping_is_private(&m) &&
		    !has_prefix(m.path, m.path_len, "/anon_hugepage"))
			add_span(s, m.start, m.end);
	}
	return l.error ? l.error : s->nr ? 0 : -ESRCH;
}

/* Where much more is mapped than is there: only what is there. */
static int spans_of_pages(const struct victim *v, struct spans *s)
{
	struct pages_region r[512];
	struct pages_scan scan = {
		.all_of = PAGES_PRESENT,
		.regions = r,
		.room = ARRAY_SIZE(r),
	};

	clear_spans(s);
	do {
		int n = pages_scan(v->pagemap_fd, &scan);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			if (s->nr == ARRAY_SIZE(s->span))
				halve_spans(s);
			if (!(s->met++ % s->every))
				add_span(s, r[i].start, r[i].end);
		}
	} while (scan.more);
	return s->nr ? 0 : -ESRCH;
}

/* The zero page is no memory, and many map it. */
static uint64_t zero_pages(const struct victim *v, uint64_t start, uint64_t end)
{
	struct pages_region r[NARROW];
	struct pages_scan scan = {
		.start = start,
		.end = end,
		.all_of = PAGES_ZERO,
		.regions = r,
		.room = ARRAY_SIZE(r),
	};
	uint64_t pages = 0;
	int n = pages_scan(v->pagemap_fd, &scan);

	for (int i = 0; i < n; i++)
		pages += (r[i].end - r[i].start) / getpagesize();
	return pages;
}

/* So many words of pagemap, or fewer: how many there are. */
static long get_words(struct pass *p, uint64_t first, uint64_t want,
		      const uint64_t **ret)
{
	struct window *w = &p->window;

	if (first < w->first || first + want > w->first + w->nr) {
		long n = sys_pread(p->v->pagemap_fd, w->words,
				   MAX(want, w->ahead) * 8, first * 8);

		if (n <= 0)
			return n < 0 ? n : -ESRCH;
		w->first = first;
		w->nr = n / 8;
	}
	first -= w->first;
	*ret = w->words + first;
	return MIN(want, w->nr - first);
}

static int read_cluster(struct pass *p, uint64_t start, uint64_t end)
{
	const uint64_t page = getpagesize();
	uint64_t want = MIN((end - start) / page, p->width);
	uint64_t anon = 0, exclusive = 0;
	const uint64_t *words;
	long n = get_words(p, start / page, want, &words);

	if (n < 0)
		return n;
	for (long i = 0; i < n; i++) {
		if (!(words[i] & PM_PRESENT) || words[i] & PM_FILE)
			continue;
		anon++;
		if (!(words[i] & PM_EXCLUSIVE))
			continue;
		exclusive++;
		if (p->objects)
			pins_sample_word(p->objects, p->v, words[i]);
	}
	if (exclusive < anon)
		anon -= MIN(anon - exclusive,
			    zero_pages(p->v, start, start + want * page));
	if (!anon)
		return 0;
	if (p->kin && exclusive < anon && !(p->shared++ % p->every))
		kin_compare(p->kin, p->v, start, words, n);
	p->clusters++;
	p->anon += anon;
	p->exclusive += exclusive;
	p->anon2 += anon * anon;
	p->exclusive2 += exclusive * exclusive;
	p->both += anon * exclusive;
	return 0;
}

/* So many clusters, at equal distances; all of it, if that is no more. */
static int read_clusters(struct pass *p, const struct spans *s)
{
	const uint64_t page = getpagesize(), cluster = page * p->width;
	uint64_t step = MAX(s->bytes / p->nr, cluster), skip = 0;
	unsigned int done = 0;

	step -= step % page;
	p->window.ahead = step == cluster ? AHEAD : 0;
	if (p->kin)
		p->every = MAX(s->bytes / step / p->kin->compared, 1u);
	for (unsigned int i = 0; i < s->nr; i++) {
		uint64_t at = s->span[i].start + skip;

		for (; at < s->span[i].end; at += step) {
			int ret = read_cluster(p, at, s->span[i].end);

			if (ret < 0)
				return ret;
			/* What there is then has to do, and is unsure. */
			p->late = !(++done % 16) && budget_spent(p->budget);
			if (p->late)
				return 0;
		}
		/* Read whole, each span begins with a cluster of its own. */
		skip = step == cluster ? 0 : at - s->span[i].end;
	}
	p->whole = step == cluster && !s->more && s->every == 1;
	return 0;
}

static uint64_t root_of(unsigned __int128 n)
{
	uint64_t r = 0;

	for (uint64_t bit = 1ULL << 63; bit; bit >>= 1)
		if ((unsigned __int128)(r | bit) * (r | bit) <= n)
			r |= bit;
	return r;
}

static uint64_t scale(uint64_t bytes, uint64_t n, uint64_t of)
{
	return (unsigned __int128)bytes * n / of;
}

/*
 * Of a ratio of two sums over n clusters: the root of n/(n - 1) times the sum
 * of (sum - ratio * of)^2, divided by the sum of "of".
 */
uint64_t sample_error(uint64_t bytes, uint64_t nr, uint64_t of, uint64_t sum,
		      uint64_t of2, uint64_t sum2, uint64_t both)
{
	unsigned __int128 residual;

	if (nr < 2 || !of)
		return UINT64_MAX;
	/* Times of^2, to stay in whole numbers. */
	residual = (unsigned __int128)of * of * sum2 +
		   (unsigned __int128)sum * sum * of2;
	residual -= MIN(residual, (unsigned __int128)2 * of * sum * both);
	residual = root_of(residual / (nr - 1) * nr) * 2;
	return residual * bytes / of / of;
}

/* What the clusters say of so many bytes. */
static void estimate(const struct pass *p, uint64_t bytes,
		     struct exclusive *ret)
{
	const uint64_t n = p->clusters, a = p->anon, e = p->exclusive;

	if (p->whole) {
		ret->bytes = MIN(bytes, e * getpagesize());
		ret->unsure = 0;
		return;
	}
	ret->bytes = n ? scale(bytes, e, a) : bytes;
	/* None of n: at most 3/n, with a confidence of 95 %. */
	if (p->late || n < 4)
		ret->unsure = bytes;
	else if (e == a)
		ret->unsure = scale(bytes, 3, n);
	else
		ret->unsure = sample_error(bytes, n, a, e, p->anon2,
					   p->exclusive2, p->both);
	ret->unsure = MIN(ret->unsure, ret->bytes);
}

static int find_spans(const struct victim *v, struct scratch *s,
		      struct spans *spans, uint64_t bytes)
{
	int ret = spans_of_maps(v, s->buf, sizeof(s->buf) / 2, spans);

	if (ret < 0)
		return ret;
	if (spans->bytes > SPARSE_BYTES &&
	    (spans->more || spans->bytes / 4 > bytes) &&
	    spans_of_pages(v, spans) < 0)
		spans_of_maps(v, s->buf, sizeof(s->buf) / 2, spans);
	return 0;
}

static int run_pass(struct pass *p, struct scratch *s, uint64_t bytes)
{
	struct spans *spans = (void *)(s->buf + sizeof(s->buf) / 2);
	int ret;

	_Static_assert(sizeof(*spans) <= sizeof(s->buf) / 2, "fits");
	if (p->v->pagemap_fd < 0 || p->v->maps_fd < 0)
		return -EACCES;
	ret = find_spans(p->v, s, spans, bytes);
	if (ret < 0)
		return ret;
	if (spans->special.nr)
		account_special(p->v, &spans->special, p->budget);
	/* The lines of maps are done with. */
	p->window.words = (void *)s->buf;
	_Static_assert(sizeof(s->buf) / 2 >= 8 * MAX(AHEAD, WIDE), "fits");
	return read_clusters(p, spans);
}

static uint64_t all_anon(const struct victim *v)
{
	const struct mrelease_entry *k = v->rep.kinds;

	return k[MRELEASE_ANON].before_bytes + k[MRELEASE_PINNED].before_bytes +
	       k[MRELEASE_COW].before_bytes;
}

/* Swap entries have no such bit; smaps_rollup shares them out, slowly. */
static bool swap_is_shared(const struct victim *v, struct scratch *s)
{
	uint64_t swap, share;
	long len = read_file(v->dir_fd, "smaps_rollup", s->buf, sizeof(s->buf));

	return len <= 0 || parse_kib_line(s->buf, len, "Swap", &swap) < 0 ||
	       parse_kib_line(s->buf, len, "SwapPss", &share) < 0 ||
	       share + share / 128 < swap;
}

static void count_swap(struct victim *v, struct scratch *s)
{
	struct mrelease_entry *k = &v->rep.kinds[MRELEASE_SWAP];
	const uint64_t shared = v->rep.kinds[MRELEASE_COW].before_bytes;
	const uint64_t anon = all_anon(v), bytes = k->before_bytes;

	k->exclusive_bytes = bytes;
	k->unsure_bytes = 0;
	if (!bytes || (bytes < SWAP_BYTES && !shared) || !swap_is_shared(v, s))
		return;
	/* As the pages that are there, as far as can be told. */
	k->exclusive_bytes = anon ? scale(bytes, anon - shared, anon) : 0;
	k->unsure_bytes = k->exclusive_bytes;
	k->reason = MRELEASE_REASON_COW;
}

static void note_exclusive(struct victim *v, uint64_t anon,
			   const struct exclusive *e)
{
	struct mrelease_entry *k = v->rep.kinds;
	struct mrelease_entry *cow = &k[MRELEASE_COW];
	uint64_t pinned = MIN(k[MRELEASE_PINNED].before_bytes, e->bytes);

	k[MRELEASE_ANON].before_bytes = e->bytes - pinned;
	k[MRELEASE_ANON].exclusive_bytes = e->bytes - pinned;
	k[MRELEASE_ANON].unsure_bytes = MIN(e->unsure, e->bytes - pinned);
	k[MRELEASE_PINNED].before_bytes = pinned;
	k[MRELEASE_PINNED].exclusive_bytes = pinned;
	cow->before_bytes = anon - e->bytes;
	cow->kept_bytes = cow->before_bytes;
	cow->reason = cow->before_bytes ? MRELEASE_REASON_COW : 0;
}

/* 1: a longer look may tell more. */
static int glance(struct victim *v, struct objects *o, struct scratch *s,
		  const struct budget *b)
{
	uint64_t anon = all_anon(v);
	struct pass p = {
		.v = v,
		.objects = o,
		.nr = FEW_CLUSTERS,
		.width = NARROW,
		.budget = b,
	};
	struct exclusive e = { 0 };
	int ret = 0;

	if (o)
		pins_sample(o, v, anon, FEW_CLUSTERS * NARROW);
	if (anon)
		ret = run_pass(&p, s, anon);
	v->counted = ret == 0;
	if (ret < 0)
		return ret;
	if (anon)
		estimate(&p, anon, &e);
	note_exclusive(v, anon, &e);
	return p.exclusive < p.anon && !p.whole && !p.late;
}

static void end_count(struct victim *v, struct scratch *s)
{
	if (v->counted)
		count_swap(v, s);
	account_total(&v->rep);
}

void account_glance(struct victim *v, struct objects *o, struct scratch *s,
		    const struct budget *b)
{
	glance(v, o, s, b);
	end_count(v, s);
}

void account_count(struct victim *v, struct objects *o, struct scratch *s,
		   const struct budget *b)
{
	if (glance(v, o, s, b) > 0)
		account_compare(v, s, NULL, b);
	end_count(v, s);
}

void account_compare(struct victim *v, struct scratch *s, struct kin *kin,
		     const struct budget *b)
{
	uint64_t anon = all_anon(v);
	struct pass p = {
		.v = v,
		.kin = kin,
		.nr = kin ? kin->clusters : MANY_CLUSTERS,
		.width = kin ? kin->width : NARROW,
		.budget = b,
	};
	struct exclusive e;
	int ret = run_pass(&p, s, anon);

	if (kin && (ret < 0 || !p.whole || p.every > 1))
		kin->partial = true;
	if (ret < 0 || p.late)
		return;
	estimate(&p, anon, &e);
	note_exclusive(v, anon, &e);
	account_total(&v->rep);
}
