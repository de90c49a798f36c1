/* SPDX-License-Identifier: MIT */
/*
 * Pure functions over text that comes from the kernel or from a user.
 *
 * Nothing here trusts a length, a field's presence or a number's range: a
 * process chooses its own name and the paths it maps.
 */
#include <limits.h>
#include <string.h>

#include "os/os.h"

bool has_prefix(const char *s, size_t len, const char *prefix)
{
	size_t n = strlen(prefix);

	return len >= n && !memcmp(s, prefix, n);
}

/* A decimal number at *p, which moves past it; -EINVAL, -ERANGE. */
int parse_u64(const char **p, const char *end, uint64_t *ret)
{
	const char *s = *p;
	uint64_t n = 0;

	if (s == end || *s < '0' || *s > '9')
		return -EINVAL;
	for (; s != end && *s >= '0' && *s <= '9'; s++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, *s - '0', &n))
			return -ERANGE;
	}
	*p = s;
	*ret = n;
	return 0;
}

static int parse_hex(const char **p, const char *end, uint64_t *ret)
{
	const char *s = *p;
	uint64_t n = 0;

	for (; s != end; s++) {
		unsigned int digit;

		if (*s >= '0' && *s <= '9')
			digit = *s - '0';
		else if (*s >= 'a' && *s <= 'f')
			digit = *s - 'a' + 10;
		else
			break;
		if (n >> 60)
			return -ERANGE;
		n = n << 4 | digit;
	}
	if (s == *p)
		return -EINVAL;
	*p = s;
	*ret = n;
	return 0;
}

static bool skip_char(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return false;
	(*p)++;
	return true;
}

static void skip_spaces(const char **p, const char *end)
{
	while (*p != end && (**p == ' ' || **p == '\t'))
		(*p)++;
}

/* "PID" or "PID:INODE", nothing before or after. */
int parse_target(const char *s, pid_t *ret_pid, uint64_t *ret_inode)
{
	const char *end = s + strlen(s);
	uint64_t pid, inode = 0;
	int ret;

	ret = parse_u64(&s, end, &pid);
	if (ret < 0)
		return ret;
	if (skip_char(&s, end, ':')) {
		ret = parse_u64(&s, end, &inode);
		if (ret < 0)
			return ret;
		if (inode == 0)
			return -EINVAL;
	}
	if (s != end)
		return -EINVAL;
	if (pid > INT_MAX)
		return -ERANGE;
	*ret_pid = pid;
	*ret_inode = inode;
	return 0;
}

/*
 * /proc/PID/stat.  The name may hold spaces, newlines and ')': the last ')'
 * ends it.
 */
int parse_stat(const char *buf, size_t len, struct proc_stat *ret)
{
	const char *end = buf + len;
	const char *open, *close = NULL, *p = buf;
	uint64_t n, field[40] = { 0 };
	size_t comm_len;

	memset(ret, 0, sizeof(*ret));
	if (parse_u64(&p, end, &n) < 0 || n > INT_MAX)
		return -EINVAL;
	ret->pid = n;
	if (!skip_char(&p, end, ' ') || !skip_char(&p, end, '('))
		return -EINVAL;
	open = p;
	for (const char *s = open; s != end; s++)
		if (*s == ')')
			close = s;
	if (!close || end - close < 3)
		return -EINVAL;
	comm_len = MIN((size_t)(close - open), sizeof(ret->comm) - 1);
	memcpy(ret->comm, open, comm_len);
	ret->state = close[2];
	p = close + 3;
	for (unsigned int i = 4; i < ARRAY_SIZE(field); i++) {
		bool negative;

		if (!skip_char(&p, end, ' '))
			return -EINVAL;
		negative = skip_char(&p, end, '-');
		if (parse_u64(&p, end, &field[i]) < 0)
			return -EINVAL;
		if (negative)
			field[i] = 0;
	}
	if (field[4] > INT_MAX)
		return -EINVAL;
	ret->ppid = field[4];
	ret->flags = field[9];
	ret->threads = field[20];
	ret->start_time = field[22];
	ret->start_stack = field[28];
	ret->pending = field[31];
	ret->processor = field[39];
	return 0;
}

static bool next_line(const char **p, const char *end, const char **ret_line,
		      size_t *ret_len)
{
	const char *nl;

	if (*p == end)
		return false;
	nl = memchr(*p, '\n', end - *p);
	if (!nl)
		nl = end;
	*ret_line = *p;
	*ret_len = nl - *p;
	*p = nl == end ? end : nl + 1;
	return true;
}

/* "Name:<white>number": 0 and the number, or -ENOENT. */
static int line_value(const char *line, size_t len, const char *name,
		      uint64_t *ret)
{
	const char *end = line + len;
	const char *p = line;

	if (!has_prefix(line, len, name))
		return -ENOENT;
	p += strlen(name);
	if (!skip_char(&p, end, ':'))
		return -ENOENT;
	skip_spaces(&p, end);
	return parse_u64(&p, end, ret);
}

static int line_kib(const char *line, size_t len, const char *name,
		    uint64_t *ret)
{
	uint64_t n;
	int r = line_value(line, len, name, &n);

	if (r < 0)
		return r;
	if (__builtin_mul_overflow(n, 1024, ret))
		return -ERANGE;
	return 0;
}

static uint64_t line_hex(const char *p, size_t len)
{
	const char *end = p + len;
	uint64_t n = 0;

	return parse_hex(&p, end, &n) < 0 ? 0 : n;
}

/* Name: as the kernel escapes it there, a newline and a backslash. */
static void line_comm(const char *p, size_t len, char comm[16])
{
	size_t n = 0;

	for (size_t i = 0; i < len && n < 15; i++) {
		char c = p[i];

		if (c == '\\' && i + 1 < len)
			c = p[++i] == 'n' ? '\n' : p[i];
		comm[n++] = c;
	}
	comm[n] = '\0';
}

static bool line_memory(const char *line, size_t len, struct memory *m)
{
	const struct {
		const char *name;
		uint64_t *bytes;
	} kinds[] = {
		{ "RssAnon", &m->anon },	 { "RssFile", &m->file },
		{ "RssShmem", &m->shmem },	 { "VmSwap", &m->swap },
		{ "VmPTE", &m->tables },	 { "VmPin", &m->pinned },
		{ "HugetlbPages", &m->hugetlb },
	};
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (line_kib(line, len, kinds[i].name, &n) < 0)
			continue;
		*kinds[i].bytes = n;
		return true;
	}
	return false;
}

static bool line_pid(const char *line, size_t len, const char *name, pid_t *ret)
{
	uint64_t n;

	if (line_value(line, len, name, &n) < 0 || n > INT_MAX)
		return false;
	*ret = n;
	return true;
}

/* One line; ret is all zeros before the first. */
void parse_status_line(const char *line, size_t len, struct proc_status *ret)
{
	uint64_t n;

	if (line_memory(line, len, &ret->mem) ||
	    line_pid(line, len, "Tgid", &ret->tgid) ||
	    line_pid(line, len, "Pid", &ret->pid) ||
	    line_pid(line, len, "PPid", &ret->ppid) ||
	    line_pid(line, len, "TracerPid", &ret->tracer))
		return;
	if (has_prefix(line, len, "Name:\t"))
		line_comm(line + 6, len - 6, ret->comm);
	else if (has_prefix(line, len, "State:\t") && len > 7)
		ret->state = line[7];
	else if (line_kib(line, len, "VmRSS", &n) == 0)
		ret->has_mm = true;
	else if (line_value(line, len, "Kthread", &n) == 0) {
		ret->kthread = n;
		ret->says_kthread = true;
	} else if (line_value(line, len, "CoreDumping", &n) == 0)
		ret->dumping_core = n;
	else if (has_prefix(line, len, "ShdPnd:\t"))
		ret->killed = line_hex(line + 8, len - 8) >> 8 & 1;
	else if (has_prefix(line, len, "CapEff:\t"))
		ret->cap_eff = line_hex(line + 8, len - 8);
	else if (has_prefix(line, len, "NSpid:\t"))
		ret->foreign_proc = memchr(line + 7, '\t', len - 7);
	else if (line_value(line, len, "Threads", &n) == 0 && n <= UINT32_MAX)
		ret->threads = n;
}

int parse_status(const char *buf, size_t len, struct proc_status *ret)
{
	const char *p = buf, *end = buf + len, *line;

	memset(ret, 0, sizeof(*ret));
	while (next_line(&p, end, &line, &len))
		parse_status_line(line, len, ret);
	return 0;
}

int parse_count_line(const char *buf, size_t len, const char *name,
		     uint64_t *ret)
{
	const char *p = buf, *end = buf + len, *line;

	while (next_line(&p, end, &line, &len)) {
		int r = line_value(line, len, name, ret);

		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

int parse_kib_line(const char *buf, size_t len, const char *name,
		   uint64_t *ret_bytes)
{
	const char *p = buf, *end = buf + len, *line;

	while (next_line(&p, end, &line, &len)) {
		int ret = line_kib(line, len, name, ret_bytes);

		if (ret != -ENOENT)
			return ret;
	}
	return -ENOENT;
}

int parse_key_u64(const char *buf, size_t len, const char *key, uint64_t *ret)
{
	const char *p = buf, *end = buf + len, *line;
	size_t key_len = strlen(key);

	while (next_line(&p, end, &line, &len)) {
		const char *value = line + key_len + 1;

		if (len > key_len && has_prefix(line, len, key) &&
		    line[key_len] == ' ')
			return parse_u64(&value, line + len, ret);
	}
	return -ENOENT;
}

/* A line of /proc/PID/maps. */
int parse_mapping(const char *line, size_t len, struct mapping *ret)
{
	const char *p = line, *end = line + len;
	uint64_t major, minor;

	memset(ret, 0, sizeof(*ret));
	if (parse_hex(&p, end, &ret->start) < 0 || !skip_char(&p, end, '-') ||
	    parse_hex(&p, end, &ret->end) < 0 || !skip_char(&p, end, ' ') ||
	    end - p < 5 || ret->end < ret->start)
		return -EINVAL;
	ret->writable = p[1] == 'w';
	ret->accessible = p[0] != '-' || p[1] != '-' || p[2] != '-';
	ret->shared = p[3] == 's';
	p += 4;
	if (!skip_char(&p, end, ' ') || parse_hex(&p, end, &ret->offset) < 0 ||
	    !skip_char(&p, end, ' ') || parse_hex(&p, end, &major) < 0 ||
	    !skip_char(&p, end, ':') || parse_hex(&p, end, &minor) < 0 ||
	    !skip_char(&p, end, ' ') || parse_u64(&p, end, &ret->inode) < 0)
		return -EINVAL;
	ret->major = major;
	ret->minor = minor;
	skip_spaces(&p, end);
	ret->path = p;
	ret->path_len = end - p;
	return 0;
}

static bool path_is(const struct mapping *m, const char *prefix)
{
	return has_prefix(m->path, m->path_len, prefix);
}

bool mapping_is_private(const struct mapping *m)
{
	if (m->shared || path_is(m, "[v"))
		return false;
	return !path_is(m, "/dev/") || path_is(m, "/dev/shm/") ||
	       path_is(m, "/dev/zero") || path_is(m, "/dev/hugepages/");
}

/* Up to the next space, which is passed over. */
static void parse_word(const char **p, const char *end, const char **ret,
		       size_t *ret_len)
{
	*ret = *p;
	while (*p != end && **p != ' ')
		++*p;
	*ret_len = *p - *ret;
	skip_char(p, end, ' ');
}

/* "36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw" */
int parse_mountinfo(const char *line, size_t len, struct mount_line *ret)
{
	const char *p = line, *end = line + len, *word;
	uint64_t n, major, minor;
	size_t word_len;

	if (parse_u64(&p, end, &n) < 0 || !skip_char(&p, end, ' ') ||
	    parse_u64(&p, end, &n) < 0 || !skip_char(&p, end, ' ') ||
	    parse_u64(&p, end, &major) < 0 || !skip_char(&p, end, ':') ||
	    parse_u64(&p, end, &minor) < 0 || !skip_char(&p, end, ' '))
		return -EINVAL;
	parse_word(&p, end, &word, &word_len);
	parse_word(&p, end, &ret->point, &ret->point_len);
	/* Spaces inside fields are escaped, so "-" is the separator. */
	do {
		if (p == end)
			return -EINVAL;
		parse_word(&p, end, &word, &word_len);
	} while (word_len != 1 || *word != '-');
	parse_word(&p, end, &ret->type, &ret->type_len);
	if (!ret->type_len)
		return -EINVAL;
	parse_word(&p, end, &word, &word_len);
	parse_word(&p, end, &ret->options, &ret->options_len);
	ret->major = major;
	ret->minor = minor;
	return 0;
}

bool mount_is(const struct mount_line *m, const char *type)
{
	return m->type_len == strlen(type) &&
	       !memcmp(m->type, type, m->type_len);
}

int parse_cgroup_events(const char *buf, size_t len, struct cgroup_events *ret)
{
	uint64_t n;

	ret->populated = -1;
	ret->frozen = -1;
	if (parse_key_u64(buf, len, "populated", &n) == 0)
		ret->populated = n != 0;
	if (parse_key_u64(buf, len, "frozen", &n) == 0)
		ret->frozen = n != 0;
	return ret->populated < 0 ? -EINVAL : 0;
}

int parse_next_pid(const char **p, const char *end, pid_t *ret)
{
	uint64_t n;

	while (*p != end) {
		if (parse_u64(p, end, &n) == 0 && n <= INT_MAX &&
		    (*p == end || **p == '\n')) {
			skip_char(p, end, '\n');
			*ret = n;
			return 1;
		}
		/* Not a number: on to the next line. */
		while (*p != end && *(*p)++ != '\n')
			;
	}
	return 0;
}

int parse_fdinfo_pid(const char *buf, size_t len, pid_t *ret_pid,
		     uint64_t *ret_flags)
{
	const char *p = buf, *end = buf + len, *line;
	bool found = false;
	uint64_t n;

	*ret_flags = 0;
	while (next_line(&p, end, &line, &len)) {
		if (has_prefix(line, len, "Pid:\t-1")) {
			*ret_pid = -1;
			found = true;
		} else if (line_value(line, len, "Pid", &n) == 0 &&
			   n <= INT_MAX) {
			*ret_pid = n;
			found = true;
		} else if (has_prefix(line, len, "flags:\t")) {
			/* Octal. */
			for (size_t i = 7;
			     i < len && line[i] >= '0' && line[i] <= '7'; i++)
				*ret_flags = *ret_flags << 3 | (line[i] - '0');
		}
	}
	return found ? 0 : -EINVAL;
}
