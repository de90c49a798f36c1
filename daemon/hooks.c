/* SPDX-License-Identifier: MIT */
/*
 * Programs of the administrator, before and after a kill.
 *
 * posix_spawn(3) waits until the program is executed, and that waits for the file
 * system that it is on, which may have gone.  So a thread calls it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aside.h"
#include "hooks.h"
#include "say.h"
#include "text.h"

#define MAX_HOOKS 8
#define MAX_ENV	  9

/* In turn; the loop has FREE, RUNNING and FAILED, the thread has WANTED. */
enum hook_state { HOOK_FREE, HOOK_WANTED, HOOK_RUNNING, HOOK_FAILED };

struct hook {
	_Atomic int state;
	pid_t pid;
	/* Why it could not be run. */
	int error;
	char program[PATH_MAX];
	char text[MAX_ENV][96];
	size_t nr_text;
};

static struct hook hooks[MAX_HOOKS];
static struct aside starter;
/* It was said that there are too many; not again before one has ended. */
static bool said_many;

/* It is no killer: neither as hard to kill nor as urgent as we are. */
static void make_ordinary(pid_t pid)
{
	char path[48];
	ssize_t n;
	int fd;

	setpriority(PRIO_PROCESS, (id_t)pid, 0);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* Where that is refused it keeps ours, and there is nobody to tell. */
	n = write(fd, "0", 1);
	(void)n;
	close(fd);
}

static void start(struct hook *h)
{
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
		      "/sbin:/bin";
	char *argv[] = { h->program, NULL }, *env[MAX_ENV + 2];
	posix_spawnattr_t attr;
	sigset_t none, ignored;
	size_t n;

	for (n = 0; n < h->nr_text; n++)
		env[n] = h->text[n];
	env[n++] = path;
	env[n] = NULL;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	/* By us, which is inherited. */
	sigemptyset(&ignored);
	sigaddset(&ignored, SIGPIPE);
	sigaddset(&ignored, SIGXFSZ);
	posix_spawnattr_setsigdefault(&attr, &ignored);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	h->error = posix_spawn(&h->pid, h->program, NULL, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	if (!h->error)
		make_ordinary(h->pid);
	h->state = h->error ? HOOK_FAILED : HOOK_RUNNING;
}

static void start_wanted(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < MAX_HOOKS; i++)
		if (hooks[i].state == HOOK_WANTED)
			start(&hooks[i]);
}

int hooks_start(void)
{
	return aside_start(&starter, start_wanted, NULL);
}

void hooks_reap(void)
{
	for (size_t i = 0; i < MAX_HOOKS; i++) {
		struct hook *h = &hooks[i];

		if (h->state == HOOK_FAILED) {
			say(SAY_ERROR, "cannot run %s: %s", h->program,
			    strerror(h->error));
			h->state = HOOK_FREE;
		} else if (h->state == HOOK_RUNNING &&
			   waitpid(h->pid, NULL, WNOHANG)) {
			h->state = HOOK_FREE;
			said_many = false;
		}
	}
}

static struct hook *find_free(const char *program)
{
	for (size_t i = 0; i < MAX_HOOKS; i++)
		if (hooks[i].state == HOOK_FREE)
			return &hooks[i];
	if (!said_many)
		say(SAY_WARNING, "%s is not run: %d programs have not ended",
		    program, MAX_HOOKS);
	said_many = true;
	return NULL;
}

void hook_run(const char *program, const struct victim *v,
	      const struct release_view *done)
{
	const char *name = say_name(v->comm);
	struct hook *h;
	size_t n = 0;

	h = *program ? find_free(program) : NULL;
	if (!h || !text_copy(h->program, sizeof(h->program), program))
		return;
#define ENV(...) snprintf(h->text[n++], sizeof(h->text[0]), __VA_ARGS__)
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
	h->nr_text = n;
	h->state = HOOK_WANTED;
	aside_go(&starter);
}
