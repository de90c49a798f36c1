/* SPDX-License-Identifier: MIT */
/*
 * Which CPUs there are, and how not to share one.
 *
 * Two reapers are no faster than one where both wait for the same CPU, and
 * the scheduler may well wake the second beside the first: the other CPU has
 * the victim's two thousand threads to bury, and is not idle.  They are gone
 * a moment later, but who waits is not moved at once.
 */
#include <string.h>

#include "os/os.h"

#define BITS (8 * sizeof(unsigned long))

unsigned int cpus_parse(const char *buf, size_t len)
{
	const char *p = buf, *end = buf + len;
	unsigned int count = 0;

	/* Of every other of 900 CPUs sysfs has room for no more, and cuts off. */
	if (!len || buf[len - 1] != '\n')
		return 0;
	while (p < end) {
		uint64_t first, last;

		if (parse_u64(&p, end, &first) < 0)
			break;
		last = first;
		if (p < end && *p == '-') {
			p++;
			if (parse_u64(&p, end, &last) < 0)
				return 0;
		}
		count += last - first + 1;
		if (p < end)
			p++;
	}
	return count;
}

unsigned int cpus_online(void)
{
	char buf[4096];
	long len = read_file(AT_FDCWD, "/sys/devices/system/cpu/online", buf,
			     sizeof(buf));

	return len > 0 ? cpus_parse(buf, len) : 0;
}

void cpus_get(struct cpus *c)
{
	memset(c, 0, sizeof(*c));
	sys_sched_getaffinity(0, sizeof(c->mask), c->mask);
}

void cpus_set(const struct cpus *c)
{
	sys_sched_setaffinity(0, sizeof(c->mask), c->mask);
}

unsigned int cpus_count(const struct cpus *c)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(c->mask); i++)
		n += __builtin_popcountl(c->mask[i]);
	return MAX(n, 1u);
}

int cpus_visit(unsigned int cpu)
{
	struct cpus only;

	if (cpu >= BITS * ARRAY_SIZE(only.mask))
		return -EINVAL;
	memset(&only, 0, sizeof(only));
	only.mask[cpu / BITS] = 1UL << cpu % BITS;
	return sys_sched_setaffinity(0, sizeof(only.mask), only.mask);
}

unsigned int cpus_visit_all(void)
{
	unsigned int visited = 0;
	struct cpus all;

	/* What a cpuset keeps from us stays so; our own affinity does not. */
	memset(&all, 0xff, sizeof(all));
	cpus_set(&all);
	cpus_get(&all);
	for (unsigned int cpu = 0; cpu < BITS * ARRAY_SIZE(all.mask); cpu++)
		if (all.mask[cpu / BITS] >> cpu % BITS & 1 &&
		    cpus_visit(cpu) == 0)
			visited++;
	return visited;
}

void cpus_leave(const struct cpus *c, unsigned int cpu)
{
	struct cpus rest = *c;

	if (cpu < BITS * ARRAY_SIZE(rest.mask))
		rest.mask[cpu / BITS] &= ~(1UL << cpu % BITS);
	/* EINVAL: there is no other. */
	cpus_set(&rest);
	cpus_set(c);
}

void cpus_go(const struct cpus *c, unsigned int n)
{
	n %= cpus_count(c);
	for (unsigned int cpu = 0; cpu < BITS * ARRAY_SIZE(c->mask); cpu++) {
		if (!(c->mask[cpu / BITS] >> cpu % BITS & 1) || n--)
			continue;
		cpus_visit(cpu);
		cpus_set(c);
		return;
	}
}
