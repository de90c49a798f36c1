/* SPDX-License-Identifier: MIT */
/*
 * Options in and reports out: structs that can grow, so that a caller and a
 * library of different ages understand each other.
 */
#include <string.h>

#include "release/release.h"

_Static_assert(sizeof(struct mrelease_report) <= STRUCT_MAX / 2,
	       "room for later members");

int opts_check(const struct mrelease_opts *in, struct mrelease_opts *out)
{
	const uint32_t known = MRELEASE_EVICT_CACHE | MRELEASE_NO_PIN |
			       MRELEASE_KILL_SHARERS | MRELEASE_ALLOW_ANCESTOR |
			       MRELEASE_DRY_RUN | MRELEASE_NO_WAIT_EXIT |
			       MRELEASE_STANDBY;

	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	if (!in)
		return 0;
	if (in->size < offsetof(struct mrelease_opts, reserved) ||
	    in->size > STRUCT_MAX)
		return -EINVAL;
	/* A newer caller's members must be zero: we would ignore them. */
	for (size_t i = sizeof(*out); i < in->size; i++)
		if (((const char *)in)[i])
			return -E2BIG;
	memcpy(out, in, MIN(in->size, sizeof(*out)));
	out->size = sizeof(*out);
	if (out->flags & ~known || out->reserved || out->soft_signal < 0 ||
	    out->soft_signal > 64 || out->grace_ns < 0 || out->deadline_ns < 0)
		return -EINVAL;
	return 0;
}

/*
 * Shorter than that of 0.2, or a size that was not set: somebody else's memory would
 * be written to.
 */
bool report_ok(const struct mrelease_report *out)
{
	return !out || (out->size >= sizeof(*out) && out->size <= STRUCT_MAX);
}

void report_out(const struct mrelease_report *in, struct mrelease_report *out)
{
	size_t size;

	if (!out)
		return;
	size = out->size;
	memcpy(out, in, MIN(size, sizeof(*in)));
	/* A later header's members: we know nothing of them. */
	if (size > sizeof(*in))
		memset((char *)out + sizeof(*in), 0, size - sizeof(*in));
	out->size = size;
}

/* Failed before anything was looked at. */
int report_error(int error, struct mrelease_report *out)
{
	struct mrelease_report rep = {
		.size = sizeof(rep),
		.result = MRELEASE_FAILED,
		.error = error,
		.release_ns = -1,
		.exit_ns = -1,
	};

	report_out(&rep, out);
	return error;
}
