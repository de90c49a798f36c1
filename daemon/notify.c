/* SPDX-License-Identifier: MIT */
/* systemd's notification socket, by its documented protocol. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "say.h"
#include "text.h"

static struct sockaddr_un to;
static socklen_t to_len;
static int fd = -1;

void notify_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(to.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	to.sun_family = AF_UNIX;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

void notify(const char *text)
{
	if (fd >= 0 &&
	    sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
		   (void *)&to, to_len) < 0)
		return; /* It will miss the next one too, and say so. */
}

int64_t notify_watchdog_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid;
	uint64_t value, who;

	pid = getenv("WATCHDOG_PID");
	if (!usec || !text_number(&usec, &value) || *usec ||
	    value > (uint64_t)INT64_MAX / 1000)
		return 0;
	if (pid && (!text_number(&pid, &who) || who != (uint64_t)getpid()))
		return 0;
	return (int64_t)value * 1000;
}
