/* SPDX-License-Identifier: MIT */
/*
 * Memory available over time, and who died when, one lane for each daemon on
 * the same load: lanes, because curves that fall together hide each other.
 * Times begin where memory is low, so that they can be compared.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "runs.h"

#define WIDTH	   760
#define LEFT	   132
#define RIGHT	   (WIDTH - 28)
#define TOP	   78
#define LANE	   104
#define PLOT	   74
#define MAX_LABELS 16
#define MAX_LANES  8
#define BEFORE_MS  1500
#define FULL	   50.0

static const char style[] =
	"<style>\n"
	".card{fill:#ffffff;stroke:#d0d7de}\n"
	"text{fill:#1f2328;font:13px system-ui,-apple-system,'Segoe UI',"
	"sans-serif}\n"
	".h{font-size:16px;font-weight:600}.n{font-weight:600}\n"
	".dim{fill:#59636e;font-size:12px}\n"
	".grid{stroke:#d8dee4;stroke-width:1;fill:none}\n"
	".line{stroke:#b07000;stroke-width:1;stroke-dasharray:4 3}\n"
	".avail{fill:#1a7f37;fill-opacity:.16;stroke:#1a7f37;"
	"stroke-width:1.5}\n"
	".hog{stroke:#1f2328;stroke-width:1.5}\n"
	".bad{stroke:#c93c37;stroke-width:2}.badt{fill:#c93c37;"
	"font-size:12px}\n"
	".t{font-size:12px}\n"
	"@media(prefers-color-scheme:dark){\n"
	".card{fill:#0d1117;stroke:#3d444d}\n"
	"text{fill:#e6edf3}.dim{fill:#9da7b1}\n"
	".grid{stroke:#2a313a}.line{stroke:#daaa3f}\n"
	".avail{fill:#57c46b;stroke:#57c46b}.hog{stroke:#e6edf3}\n"
	".bad{stroke:#f47067}.badt{fill:#f47067}\n"
	"}\n"
	"</style>\n";

struct lane {
	struct run *run;
	struct verdict verdict;
	int64_t start_ms;
	int top;
};

struct picture {
	FILE *f;
	struct lane lanes[MAX_LANES];
	size_t nr;
	/* what the width shows */
	int64_t span_ms;
};

static double x_of(const struct picture *p, const struct lane *l, int64_t ms)
{
	double part = (double)(ms - l->start_ms) / (double)p->span_ms;

	return LEFT + (RIGHT - LEFT) * fmin(fmax(part, 0), 1);
}

static double y_of(const struct lane *l, double percent)
{
	return l->top + PLOT * (1 - fmin(percent, FULL) / FULL);
}

static void draw_available(const struct picture *p, const struct lane *l)
{
	double bottom = l->top + PLOT, x = LEFT;

	fprintf(p->f, "<path class=\"avail\" d=\"M%d %.0f", LEFT, bottom);
	for (size_t i = 0; i < l->run->nr_samples; i++) {
		const struct sample *s = &l->run->samples[i];
		double next = x_of(p, l, s->ms);

		if (s->ms < l->start_ms || (i && next - x < 1))
			continue;
		if (s->ms > l->start_ms + p->span_ms)
			break;
		x = next;
		fprintf(p->f, "L%.0f %.1f", x,
			y_of(l,
			     (double)s->avail * 100 / (double)l->run->total));
	}
	fprintf(p->f, "V%.0f\"/>\n", bottom);
}

/* What is taken above a lane, so that no label is written over another. */
struct labels {
	double from[MAX_LABELS];
	double to[MAX_LABELS];
	size_t nr;
};

static bool take(struct labels *t, double from, double to)
{
	for (size_t i = 0; i < t->nr; i++) {
		if (from < t->to[i] && to > t->from[i])
			return false;
	}
	if (t->nr == MAX_LABELS)
		return false;
	t->from[t->nr] = from;
	t->to[t->nr++] = to;
	return true;
}

/* Hogs to the left of their mark and innocents to the right, side by side. */
static void draw_label(const struct picture *p, const struct lane *l,
		       const struct victim *v, double x, struct labels *taken)
{
	bool bad = v->innocent >= 0;
	bool left = (!bad && x > LEFT + 40) || x > RIGHT - 100;
	char text[48];
	double width;

	snprintf(text, sizeof(text), "%s%s", bad ? "innocent" : "hog",
		 v->oom ? " (OOM)" : "");
	width = 7 * (double)strlen(text) + 6;
	if (!take(taken, left ? x - width : x, left ? x : x + width))
		return;
	fprintf(p->f,
		"<text class=\"%s\" x=\"%.1f\" y=\"%d\" "
		"text-anchor=\"%s\">%s</text>\n",
		bad ? "badt" : "t", left ? x - 4 : x + 4, l->top - 3,
		left ? "end" : "start", text);
}

static void draw_marks(const struct picture *p, const struct lane *l, bool bad,
		       struct labels *taken)
{
	double last = -100;

	for (size_t i = 0; i < l->run->nr_victims; i++) {
		const struct victim *v = &l->run->victims[i];
		double x = x_of(p, l, v->ms);

		if (v->ms < l->start_ms || v->ms > l->start_ms + p->span_ms)
			continue;
		/* a job of many processes that dies at once is one mark */
		if (bad != (v->innocent >= 0) || (!bad && x - last < 3))
			continue;
		last = x;
		fprintf(p->f, "<path class=\"%s\" d=\"M%.1f %dV%d\"/>\n",
			bad ? "bad" : "hog", x, l->top - 12, l->top + PLOT);
		draw_label(p, l, v, x, taken);
	}
}

static void draw_deaths(const struct picture *p, const struct lane *l)
{
	struct labels taken = { .nr = 0 };

	draw_marks(p, l, true, &taken);
	draw_marks(p, l, false, &taken);
}

static void draw_name(const struct picture *p, const struct lane *l)
{
	const struct verdict *v = &l->verdict;
	char back[32];

	if (v->low_ms == NEVER)
		snprintf(back, sizeof(back), "never low");
	else if (v->back_ms == NEVER)
		snprintf(back, sizeof(back), "not back");
	else
		snprintf(back, sizeof(back), "back in %.1f s",
			 (double)v->back_ms / 1e3);
	fprintf(p->f,
		"<text class=\"n\" x=\"20\" y=\"%d\">%s</text>\n"
		"<text class=\"%s\" x=\"20\" y=\"%d\">%u innocent%s</text>\n"
		"<text class=\"t\" x=\"20\" y=\"%d\">%s</text>\n"
		"<text class=\"t\" x=\"20\" y=\"%d\">stall %.1f s</text>\n",
		l->top + 10, l->run->daemon, v->innocents ? "badt" : "t",
		l->top + 28, v->innocents, v->innocents == 1 ? "" : "s",
		l->top + 44, back, l->top + 60, (double)v->stall_ms / 1e3);
}

static void draw_lane(const struct picture *p, const struct lane *l)
{
	double line = y_of(l, LOW_PERCENT);

	fprintf(p->f,
		"<path class=\"grid\" d=\"M%d %dV%dH%d\"/>\n"
		"<path class=\"line\" d=\"M%d %.1fH%d\"/>\n"
		"<text class=\"dim\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">"
		"10 %%</text>\n",
		LEFT, l->top, l->top + PLOT, RIGHT, LEFT, line, RIGHT, LEFT - 6,
		line + 4);
	draw_available(p, l);
	draw_deaths(p, l);
	draw_name(p, l);
}

static void draw_seconds(const struct picture *p, int y)
{
	int64_t step = p->span_ms > 24000 ? 5000 :
		       p->span_ms > 9000  ? 2000 :
					    1000;

	for (int64_t ms = 0; ms <= p->span_ms - BEFORE_MS; ms += step)
		fprintf(p->f,
			"<text class=\"dim\" x=\"%.1f\" y=\"%d\" "
			"text-anchor=\"middle\">%.0f</text>\n",
			LEFT + (double)(RIGHT - LEFT) *
					(double)(ms + BEFORE_MS) /
					(double)p->span_ms,
			y, (double)ms / 1e3);
	fprintf(p->f,
		"<text class=\"dim\" x=\"%d\" y=\"%d\" "
		"text-anchor=\"middle\">seconds since less than 10 %% of "
		"memory is available</text>\n",
		(LEFT + RIGHT) / 2, y + 18);
}

static void draw(const struct picture *p)
{
	const struct run *r = p->lanes[0].run;
	int height = TOP + (int)p->nr * LANE + 30;

	fprintf(p->f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
		"aria-label=\"Memory available, and who died\">\n%s"
		"<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"%d\" "
		"height=\"%d\" rx=\"8\"/>\n"
		"<text class=\"h\" x=\"20\" y=\"30\">Memory available, and who "
		"died: load %s, swap %s</text>\n",
		WIDTH, height, WIDTH, height, style, WIDTH - 1, height - 1,
		r->load, r->swap);
	fprintf(p->f,
		"<text class=\"dim\" x=\"20\" y=\"48\">1 GiB, six innocents of "
		"%d %% each, seed %lu</text>\n",
		INNOCENT_SHARE, r->seed);
	for (size_t i = 0; i < p->nr; i++)
		draw_lane(p, &p->lanes[i]);
	draw_seconds(p, TOP + (int)p->nr * LANE - 8);
	fputs("</svg>\n", p->f);
}

/* Runs are long where nothing happens any more: the last death and a little. */
static void fit(struct picture *p)
{
	int64_t end = 4000;

	for (size_t i = 0; i < p->nr; i++) {
		struct lane *l = &p->lanes[i];
		const struct run *r = l->run;
		int64_t low = l->verdict.low_ms == NEVER ? BEFORE_MS :
							   l->verdict.low_ms;
		int64_t last = r->samples[r->nr_samples - 1].ms - low;

		l->start_ms = low - BEFORE_MS;
		l->top = TOP + (int)i * LANE;
		if (l->verdict.low_ms != NEVER && l->verdict.back_ms != NEVER)
			last = l->verdict.back_ms + 3000;
		if (last > end)
			end = last;
	}
	p->span_ms = end + BEFORE_MS;
}

static bool has_lane(const struct picture *p, const char *daemon)
{
	for (size_t i = 0; i < p->nr; i++) {
		if (!strcmp(p->lanes[i].run->daemon, daemon))
			return true;
	}
	return false;
}

static bool write_picture(struct picture *p, const char *path)
{
	bool ok;

	fit(p);
	p->f = fopen(path, "we");
	if (!p->f)
		return false;
	draw(p);
	ok = !ferror(p->f);
	return !fclose(p->f) && ok;
}

/* Of several runs the first that came to its end: no choice is made by hand. */
bool draw_pictures(const char *prefix, struct run *runs, size_t nr)
{
	char path[512];

	for (size_t i = 0; i < nr; i++) {
		struct picture p = { 0 };
		bool done = false;

		for (size_t k = 0; k < nr && !done; k++) {
			struct lane *l = &p.lanes[p.nr];

			if (strcmp(runs[k].load, runs[i].load) ||
			    strcmp(runs[k].swap, runs[i].swap) ||
			    !runs[k].nr_samples || p.nr == MAX_LANES ||
			    has_lane(&p, runs[k].daemon))
				continue;
			/* drawn when its first run was met */
			done = k < i;
			l->run = &runs[k];
			judge(l->run, &l->verdict);
			p.nr++;
		}
		if (done || p.nr < 2)
			continue;
		snprintf(path, sizeof(path), "%s-%s-%s.svg", prefix,
			 runs[i].load, runs[i].swap);
		if (!write_picture(&p, path))
			return false;
	}
	return true;
}
