/* SPDX-License-Identifier: MIT */
/*
 * The curves of memory coming back, as an SVG that can be read on a light and
 * on a dark page: it brings its own card, and follows the reader's scheme.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define WIDTH  760
#define HEIGHT 430
#define LEFT   72
#define RIGHT  (WIDTH - 40)
#define TOP    138
#define BOTTOM (HEIGHT - 58)

/* the first decade that is drawn */
#define FIRST_MS 1.0

struct plot {
	double last_ms;
	double full_mib;
	FILE *f;
};

static const char *const line_class[NR_WAYS] = { "a", "b", "c" };

static const char style[] =
	"<style>\n"
	".card{fill:#ffffff;stroke:#d0d7de}\n"
	"text{fill:#1f2328;font:13px system-ui,-apple-system,'Segoe UI',"
	"sans-serif}\n"
	".h{font-size:16px;font-weight:600}\n"
	".dim{fill:#59636e}\n"
	".grid{stroke:#d8dee4;stroke-width:1}\n"
	".axis{stroke:#59636e;stroke-width:1}\n"
	".l{fill:none;stroke-width:2.5;stroke-linejoin:round}\n"
	".a{stroke:#c93c37}.b{stroke:#b07000;stroke-dasharray:7 4}"
	".c{stroke:#1a7f37}\n"
	"@media(prefers-color-scheme:dark){\n"
	".card{fill:#0d1117;stroke:#3d444d}\n"
	"text{fill:#e6edf3}.dim{fill:#9da7b1}\n"
	".grid{stroke:#2a313a}.axis{stroke:#9da7b1}\n"
	".a{stroke:#f47067}.b{stroke:#daaa3f}.c{stroke:#57c46b}\n"
	"}\n"
	"</style>\n";

static double x_of(const struct plot *p, double ms)
{
	double span = log10(p->last_ms / FIRST_MS);

	if (ms < FIRST_MS)
		ms = FIRST_MS;
	return LEFT + (RIGHT - LEFT) * log10(ms / FIRST_MS) / span;
}

static double y_of(const struct plot *p, double mib)
{
	if (mib < 0)
		mib = 0;
	if (mib > p->full_mib)
		mib = p->full_mib;
	return BOTTOM - (BOTTOM - TOP) * mib / p->full_mib;
}

static void draw_axes(const struct plot *p)
{
	for (unsigned int i = 0; i <= 4; i++) {
		double mib = p->full_mib * i / 4;
		double y = y_of(p, mib);

		fprintf(p->f,
			"<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n"
			"<text class=\"dim\" x=\"%d\" y=\"%.1f\" "
			"text-anchor=\"end\">%.0f</text>\n",
			LEFT, y, RIGHT, LEFT - 8, y + 4.5, mib);
	}
	for (double ms = FIRST_MS; ms <= p->last_ms * 1.001; ms *= 10) {
		double x = x_of(p, ms);

		fprintf(p->f,
			"<path class=\"grid\" d=\"M%.1f %dV%d\"/>\n"
			"<text class=\"dim\" x=\"%.1f\" y=\"%d\" "
			"text-anchor=\"middle\">%.0f</text>\n",
			x, TOP, BOTTOM, x, BOTTOM + 19, ms);
	}
	fprintf(p->f,
		"<path class=\"axis\" d=\"M%d %dV%dH%d\" fill=\"none\"/>\n"
		"<text class=\"dim\" x=\"%d\" y=\"%d\" "
		"text-anchor=\"middle\">ms since SIGKILL (logarithmic)</text>\n"
		"<text class=\"dim\" transform=\"translate(20 %d) rotate(-90)\" "
		"text-anchor=\"middle\">MiB still held</text>\n",
		LEFT, TOP, BOTTOM, RIGHT, (LEFT + RIGHT) / 2, BOTTOM + 43,
		(TOP + BOTTOM) / 2);
}

/* Steps, because nothing is known between two samples. */
static void draw_curve(const struct plot *p, enum bench_way way,
		       const struct curve *c)
{
	double old_x = LEFT;
	double old_y;
	size_t i = 0;

	/* where it stood when the picture begins */
	while (i + 1 < c->nr && c->point[i + 1].at_ns < FIRST_MS * 1e6)
		i++;
	old_y = y_of(p, (double)c->point[i].bytes / (double)MIB);
	fprintf(p->f, "<path class=\"l %s\" d=\"M%d %.1f", line_class[way],
		LEFT, old_y);
	for (; i < c->nr; i++) {
		double x = x_of(p, (double)c->point[i].at_ns / 1e6);
		double y = y_of(p, (double)c->point[i].bytes / (double)MIB);

		/* what moves less than a pixel is not worth its bytes */
		if (fabs(y - old_y) < 1 && i + 1 < c->nr)
			continue;
		if (x - old_x >= 1)
			fprintf(p->f, "H%.1f", x);
		fprintf(p->f, "V%.1f", y);
		old_x = x;
		old_y = y;
	}
	fprintf(p->f, "H%d\"/>\n", RIGHT);
}

static void draw_legend(const struct plot *p, enum bench_way way,
			const struct curve *c)
{
	int y = 62 + 22 * (int)way;
	char ms[24];

	fprintf(p->f,
		"<path class=\"l %s\" d=\"M%d %dh34\"/>\n"
		"<text x=\"%d\" y=\"%d\">%s</text>\n"
		"<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n",
		line_class[way], LEFT, y - 4, LEFT + 44, y, way_name(way),
		LEFT + 330, y, fmt_ns(c->back_ns, ms, sizeof(ms)));
}

static void draw(struct plot *p, const char *title,
		 const struct curve curves[NR_WAYS])
{
	int64_t longest = 0;

	for (int way = 0; way < NR_WAYS; way++) {
		if (curves[way].back_ns > longest)
			longest = curves[way].back_ns;
	}
	/* a little beyond the longest */
	p->last_ms = fmax(100, 1.4 * (double)longest / 1e6);

	fprintf(p->f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\" "
		"aria-label=\"%s\">\n%s"
		"<rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"%d\" "
		"height=\"%d\" rx=\"8\"/>\n"
		"<text class=\"h\" x=\"%d\" y=\"32\">%s</text>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT, title, style, WIDTH - 1,
		HEIGHT - 1, LEFT, title);
	draw_axes(p);
	for (int way = 0; way < NR_WAYS; way++) {
		draw_curve(p, (enum bench_way)way, &curves[way]);
		draw_legend(p, (enum bench_way)way, &curves[way]);
	}
	fputs("</svg>\n", p->f);
}

/* Under sudo the picture belongs to the owner of the directory. */
static void give_to_owner(FILE *f, const char *path)
{
	char dir[BENCH_PATH_MAX];
	struct stat st;
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	if (geteuid())
		return;
	if (!stat(slash ? dir : ".", &st) &&
	    fchown(fileno(f), st.st_uid, st.st_gid))
		fprintf(stderr, "mrelease-bench: %s stays ours: %m\n", path);
}

/* 0 or an errno.  A half-written picture never replaces a good one. */
int svg_write(const char *path, const char *title, uint64_t full_bytes,
	      const struct curve curves[NR_WAYS])
{
	char tmp[BENCH_PATH_MAX + 8];
	struct plot p = { .full_mib = (double)(full_bytes / MIB) };
	int error = 0;

	for (int way = 0; way < NR_WAYS; way++) {
		if (!curves[way].nr)
			return ENODATA;
	}
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	p.f = fopen(tmp, "we");
	if (!p.f)
		return errno;
	draw(&p, title, curves);
	give_to_owner(p.f, path);
	if (ferror(p.f))
		error = EIO;
	if (fclose(p.f) && !error)
		error = errno;
	if (!error && rename(tmp, path))
		error = errno;
	if (error)
		unlink(tmp);
	return error;
}
