/* SPDX-License-Identifier: MIT */
/* mreleased status: asks the daemon. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "say.h"
#include "status.h"
#include "text.h"

static int ask(const char *path, char *buf, size_t size, size_t *ret_len)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = 5 };
	size_t len = 0;
	ssize_t n = 0;
	int fd, ret = 0;

	if (!text_copy(at.sun_path, sizeof(at.sun_path), path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (void *)&at, sizeof(at)))
		ret = -errno;
	while (!ret && len + 1 < size) {
		n = read(fd, buf + len, size - 1 - len);
		if (n < 0)
			ret = -errno;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	buf[len] = '\0';
	*ret_len = len;
	return ret ? ret : len ? 0 : -EIO;
}

/* A cgroup has the name that its user gave it: none that a terminal obeys. */
static void clean(char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\n') ||
		    *text == 0x7f)
			*text = '?';
}

int status_main(const char *path, const struct options *o)
{
	static char buf[65536];
	struct timespec pause = { o->watch_ns / NS_PER_S,
				  o->watch_ns % NS_PER_S };
	char *text;
	size_t len = 0;
	int ret;

	for (;;) {
		ret = ask(path, buf, sizeof(buf), &len);
		if (ret) {
			fprintf(stderr, "mreleased: %s: %s\n", path,
				strerror(-ret));
			return ret == -ENOENT || ret == -ECONNREFUSED ? 1 : 3;
		}
		/* In JSON they are escaped. */
		text = buf + strlen(buf) + 1;
		if (text <= buf + len)
			clean(text);
		/* Home, and down to the end: no flicker. */
		if (o->watch_ns && !o->json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		fputs(o->json || text > buf + len ? buf : text, stdout);
		if (!say_written(stdout))
			return 3;
		if (!o->watch_ns)
			return 0;
		nanosleep(&pause, NULL);
	}
}
