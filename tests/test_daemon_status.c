/* SPDX-License-Identifier: MIT */
/* What mreleased answers who asks: what is so now, and who would go. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "say.h"
#include "status.h"
#include "text.h"

#define MIB ((uint64_t)1 << 20)

static struct mreleased d;
static struct candidate people[64];
static struct unit units[8];
static struct policy_scratch scratch;
static char dir[] = "/tmp/mreleased-test-XXXXXX";
static struct sockaddr_un at = { .sun_family = AF_UNIX };
static int listener;
static char json[16384], text[16384];

static void look(uint64_t available_mib)
{
	struct snapshot s = {
		.time_ns = clock_ns(),
		.total_bytes = 1000 * MIB,
		.available_bytes = available_mib * MIB,
	};

	history_push(&d.history, &s);
}

static struct candidate *add(const char *comm, uint64_t mib)
{
	struct candidate *c = &people[d.table.nr++];

	*c = (struct candidate){
		.pid = 1000 + (pid_t)d.table.nr,
		.parent = -1,
		.session = 1000 + (pid_t)d.table.nr,
		.anon_bytes = mib * MIB,
	};
	strncpy(c->comm, comm, sizeof(c->comm) - 1);
	return c;
}

static int set_up(void **state)
{
	(void)state;
	memset(&d, 0, sizeof(d));
	policy_defaults(&d.config.policy);
	d.scratch = &scratch;
	d.table.c = people;
	d.table.units.u = units;
	strcpy(units[3].path, "/pod");
	/* It is new: no look at real processes. */
	d.table.swept_ns = clock_ns() + 60 * NS_PER_S;
	look(600);
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/status", dir);
	listener = status_listen(at.sun_path);
	return listener < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(listener);
	unlink(at.sun_path);
	return rmdir(dir);
}

static void ask(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[32768];
	size_t len = 0;
	ssize_t n;

	assert_int_equal(connect(fd, (void *)&at, sizeof(at)), 0);
	status_answer(listener, &d);
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	buf[len] = '\0';
	snprintf(json, sizeof(json), "%.16000s", buf);
	snprintf(text, sizeof(text), "%.16000s", buf + strlen(buf) + 1);
}

static void expect(const char *where, const char *part)
{
	if (!strstr(where, part))
		fail_msg("no \"%s\" in: %s", part, where);
}

/* The highest score is not always who goes. */
static void test_would_go(void **state)
{
	struct candidate *c;

	(void)state;
	add("small", 5);
	ask();
	expect(json, "\"would_go\":null,\"nobody_because\":\"no process that");
	expect(text, "Next would be: nobody, no process that may be killed");
	expect(text, "Highest scores:\n");
	/* The biggest is in a cgroup that a protected process keeps. */
	c = add("kept", 300);
	c->unit = 2;
	c = add("keeper", 1);
	c->unit = 2;
	c->flags = CANDIDATE_NEVER;
	add("other", 100);
	ask();
	expect(json, "\"would_go\":{\"pid\":1004,\"comm\":\"other\",\"tree\":"
		     "false,\"cgroup\":null,\"members\":1,");
	expect(text, "Next would be: process 1004 (other), 100.0 MiB to come");
	expect(json, "\"candidates\":[{\"pid\":1002,");
	/* Two that go together are more than that. */
	add("pod", 70)->unit = 3;
	add("pod", 70)->unit = 3;
	ask();
	expect(json, "\"cgroup\":\"/pod\",\"members\":2,");
	expect(text, "(pod) and cgroup /pod (2 processes), 140.0 MiB to come");
}

/* The last look may be ten seconds old, and was calm. */
static void test_state_of_now(void **state)
{
	(void)state;
	add("hog", 400);
	d.last.level = LEVEL_CALM;
	look(10);
	ask();
	expect(json, "\"level\":\"critical\"");
	expect(text, "State: critical, critically low");
	/* To ask does nothing. */
	assert_int_equal(d.last.level, LEVEL_CALM);
	assert_int_equal(people[0].flags, 0);
}

/* SIGUSR1: of now, and not of the last look. */
static void test_tell_memory(void **state)
{
	static const char meminfo[] =
		"MemTotal: 1024000 kB\nMemAvailable: 102400 kB\n";
	char path[PATH_MAX], said[4096];
	int ends[2], saved = dup(STDERR_FILENO);
	ssize_t n;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/meminfo", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(meminfo, f);
	fclose(f);
	for (int i = 0; i < SENSE_FILES; i++)
		d.sense.fds[i] = -1;
	d.sense.trigger_fd = d.sense.cgroup_fd = -1;
	d.sense.fds[SENSE_MEMINFO] = open(path, O_RDONLY | O_CLOEXEC);
	unsetenv("JOURNAL_STREAM");
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], STDERR_FILENO);
	mreleased_tell_memory(&d);
	dup2(saved, STDERR_FILENO);
	n = read(ends[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	close(ends[1]);
	close(saved);
	sense_close(&d.sense);
	unlink(path);
	expect(said, "100.0 MiB of 1000.0 MiB available");
}

#define status_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		status_test(test_would_go),
		status_test(test_state_of_now),
		status_test(test_tell_memory),
	};

	cmocka_set_test_filter(getenv("MRELEASE_TEST"));
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
