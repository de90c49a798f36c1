/* SPDX-License-Identifier: MIT */
/*
 * Where the configuration lies: the first mreleased.conf of four directories,
 * then drop-ins by name, where one in /etc masks that of the same name in
 * /run, and so on.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "text.h"

#define MAX_DROPINS 256
#define MAX_FILE    (256 * 1024)

static const char *const places[] = {
	"/etc/mrelease",
	"/run/mrelease",
	"/usr/local/lib/mrelease",
	"/usr/lib/mrelease",
};

struct dropin {
	char name[NAME_MAX + 1];
	size_t place;
};

static int load_file(struct config *c, const char *path,
		     config_complain complain, void *arg)
{
	FILE *f = fopen(path, "re");
	char *text;
	size_t n;
	int ret;

	if (!f)
		return -errno;
	text = malloc(MAX_FILE);
	if (!text) {
		fclose(f);
		return -ENOMEM;
	}
	n = fread(text, 1, MAX_FILE, f);
	ret = ferror(f) ? -EIO : 0;
	fclose(f);
	if (n == MAX_FILE) {
		complain(arg, path, "the file is too big");
		ret = -EINVAL;
	} else if (!ret) {
		text[n] = '\0';
		if (strlen(text) != n) {
			complain(arg, path, "the file is no text");
			ret = -EINVAL;
		} else {
			ret = config_parse(c, path, text, complain, arg);
		}
	}
	free(text);
	return ret;
}

static void add_dropin(struct dropin *d, size_t *nr, const char *name,
		       size_t place)
{
	size_t len = strlen(name);

	if (len < 6 || strcmp(name + len - 5, ".conf") || name[0] == '.' ||
	    *nr == MAX_DROPINS)
		return;
	for (size_t i = 0; i < *nr; i++)
		if (!strcmp(d[i].name, name))
			return;
	if (!text_copy(d[*nr].name, sizeof(d[*nr].name), name))
		return;
	d[*nr].place = place;
	++*nr;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct dropin *)a)->name,
		      ((const struct dropin *)b)->name);
}

static int load_dropins(struct config *c, config_complain complain, void *arg)
{
	struct dropin *d = calloc(MAX_DROPINS, sizeof(*d));
	char path[PATH_MAX];
	struct dirent *e;
	size_t nr = 0;
	int ret = 0, one;
	DIR *dir;

	if (!d)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/mreleased.conf.d", places[i]);
		dir = opendir(path);
		while (dir && (e = readdir(dir)))
			add_dropin(d, &nr, e->d_name, i);
		if (dir)
			closedir(dir);
	}
	qsort(d, nr, sizeof(*d), by_name);
	for (size_t i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/mreleased.conf.d/%s",
			 places[d[i].place], d[i].name);
		one = load_file(c, path, complain, arg);
		if (one && one != -EINVAL)
			complain(arg, path, strerror(-one));
		if (one)
			ret = one;
	}
	free(d);
	return ret;
}

int config_load(struct config *c, const char *file, config_complain complain,
		void *arg)
{
	char path[PATH_MAX];
	int ret;

	if (file) {
		ret = load_file(c, file, complain, arg);
		if (ret && ret != -EINVAL)
			complain(arg, file, strerror(-ret));
		return ret;
	}
	ret = -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(places) && ret == -ENOENT; i++) {
		snprintf(path, sizeof(path), "%s/mreleased.conf", places[i]);
		ret = load_file(c, path, complain, arg);
	}
	if (ret && ret != -ENOENT && ret != -EINVAL)
		complain(arg, path, strerror(-ret));
	if (ret && ret != -ENOENT)
		return ret;
	return load_dropins(c, complain, arg);
}
