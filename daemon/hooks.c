/* SPDX-License-Identifier: MIT */
/* Programs of the administrator, before and after a kill. */
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "hooks.h"
#include "say.h"
#include "text.h"

#define MAX_RUNNING 8

/* 0: a free place.  The library's helpers are no children of this list. */
static pid_t running[MAX_RUNNING];

void hooks_reap(void)
{
	for (size_t i = 0; i < MAX_RUNNING; i++)
		if (running[i] && waitpid(running[i], NULL, WNOHANG))
			running[i] = 0;
}

void hook_run(const char *program, const struct victim *v,
	      const struct release_view *done)
{
	char text[9][96], *env[ARRAY_SIZE(text) + 2];
	char *argv[] = { (char *)(uintptr_t)program, NULL };
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
		      "/sbin:/bin";
	const char *name = say_name(v->comm);
	posix_spawnattr_t attr;
	size_t n = 0, free_at = 0;
	sigset_t none;
	int ret;

	while (free_at < MAX_RUNNING && running[free_at])
		free_at++;
	if (!*program || free_at == MAX_RUNNING)
		return;
#define ENV(...) snprintf(text[n++], sizeof(text[0]), __VA_ARGS__)
	ENV("EARLYOOM_PID=%d", v->pid);
	ENV("EARLYOOM_UID=%u", v->uid);
	ENV("EARLYOOM_NAME=%s", name);
	ENV("MRELEASED_PID=%d", v->pid);
	ENV("MRELEASED_COMM=%s", name);
	ENV("MRELEASED_EXPECTED_BYTES=%" PRIu64, v->expected_bytes);
	if (done) {
		ENV("MRELEASED_RELEASED_BYTES=%" PRIu64, done->released_bytes);
		ENV("MRELEASED_OUTSTANDING_BYTES=%" PRIu64,
		    done->outstanding_bytes);
		ENV("MRELEASED_VERIFIED=%d", done->verified);
	}
#undef ENV
	for (size_t i = 0; i < n; i++)
		env[i] = text[i];
	env[n++] = path;
	env[n] = NULL;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	ret = posix_spawn(&running[free_at], program, NULL, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	if (ret) {
		running[free_at] = 0;
		say(SAY_ERROR, "cannot run %s: %s", program, strerror(ret));
	}
}
