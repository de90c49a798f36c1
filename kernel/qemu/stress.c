// SPDX-License-Identifier: GPL-2.0-only
/*
 * stress SECONDS [SEED]: everything at once, for a debug kernel to look at.
 *
 * Victims fork, vfork, share their memory, execute, start threads, take and
 * release robust locks, map huge pages, and exit by themselves; killers use
 * every way of killing and reaping on them, and one has a cgroup in which the
 * OOM killer is faster now and then; readers walk /proc/PID of whatever there
 * is, and go on when it is gone; ksmd and khugepaged are at work; and a little
 * memory is taken back from the cgroup all the time.  The memory of the killers
 * themselves is compared at the end, and no lock of a dead owner may be held;
 * for the rest, the kernel says whether it was all right.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "mm/mrelease_common.h"

enum { KILLERS = 3, SCAN_KILLERS = 1, OOM_KILLERS = 1, READERS = 3 };
enum { ROLES = KILLERS + SCAN_KILLERS + OOM_KILLERS + READERS };

static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

/* What the victim does is not to follow from what its killer will do. */
static void reseed(void)
{
	seed ^= getpid() * 2654435761U;
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void *idle_thread(void *arg)
{
	mr_fill(64 * KB);
	for (;;)
		pause();
	return arg;
}

static int idle_child(void *arg)
{
	char *argv[3] = { "/proc/self/exe", "pause", NULL };

	if (arg)
		execv(argv[0], argv);
	for (;;)
		pause();
	return 0;
}

/*
 * Robust locks: the words are shared with the killer, who looks at them when
 * the owner is dead; the nodes are the victim's own.  A page for each.
 */
enum { HOLDERS = 3, LOCKS = 12, STEP = 4096 };

static char *words, *nodes;

static struct robust_list *node(int i)
{
	return (struct robust_list *)(nodes + i * STEP);
}

static uint32_t *word(int i)
{
	return (uint32_t *)(words + i * STEP);
}

/* The order is all that matters: the one to see it is the kernel, in us. */
#define set(what, value) __atomic_store_n(&(what), value, __ATOMIC_SEQ_CST)

/* Takes and releases its share of the locks without end. */
static void *holder(void *arg)
{
	int i, first = (long)arg * LOCKS / HOLDERS;
	int last = first + LOCKS / HOLDERS;
	struct robust_list_head *head;
	uint32_t tid = syscall(__NR_gettid);

	head = (struct robust_list_head *)mr_fill(STEP);
	head->futex_offset = words - nodes;
	head->list_op_pending = NULL;
	head->list.next = &head->list;
	syscall(__NR_set_robust_list, head, sizeof(*head));
	for (;;) {
		for (i = first; i < last; i++) {
			set(head->list_op_pending, node(i));
			set(*word(i), tid);
			set(node(i)->next, head->list.next);
			set(head->list.next, node(i));
			set(head->list_op_pending, NULL);
		}
		/* Most die asleep, with all they have. */
		if (!rnd(8))
			pause();
		for (i = last - 1; i >= first; i--) {
			set(head->list_op_pending, node(i));
			set(head->list.next, node(i)->next);
			set(*word(i), 0);
			set(head->list_op_pending, NULL);
		}
	}
	return NULL;
}

static void holders(void)
{
	pthread_t t;
	long i;

	nodes = mr_fill(LOCKS * STEP);
	for (i = 1; i < HOLDERS; i++)
		pthread_create(&t, NULL, holder, (void *)i);
	holder(NULL);
}

/* How many locks still have an owner, when all owners are dead. */
static int locks_lost(void)
{
	int i, n = 0;

	for (i = 0; i < LOCKS; i++) {
		n += (*word(i) & FUTEX_TID_MASK) != 0;
		*word(i) = 0;
	}
	return n;
}

/* Of this size and so aligned, mappings of a file share page tables. */
#define GB (1024 * MB)
enum { HUGE_PAGES = 24 };
static int huge = -1;

static void map_hugetlb(void)
{
	int i, shared = rnd(4) ? MAP_SHARED : MAP_PRIVATE;
	char *mem = mmap(NULL, 2 * GB, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	mem = (char *)(((uintptr_t)mem + GB - 1) & ~(GB - 1));
	mem = mmap(mem, GB, PROT_READ | PROT_WRITE,
		   shared | MAP_FIXED | MAP_NORESERVE, huge, 0);
	if (mem == MAP_FAILED)
		return;
	for (i = rnd(4); i >= 0; i--)
		mem[rnd(HUGE_PAGES / 2) * 2 * MB] = 1;
	if (!rnd(4))
		munmap(mem + GB / 2, GB / 2);
}

static void map_thp(void)
{
	char *mem = mmap(NULL, 6 * MB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return;
	madvise(mem, 6 * MB, MADV_HUGEPAGE);
	memset(mem, 1, 6 * MB);
	if (rnd(2))
		munmap(mem + MB, 64 * KB);
}

/* Mappings that PAGEMAP_SCAN asks a userfaultfd about. */
static void map_uffd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	int i, fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return;
	for (i = 0; i < 8; i++) {
		char *mem = mr_fill(64 * KB);
		struct uffdio_register reg = {
			.range = { (uintptr_t)mem, 64 * KB },
			.mode = UFFDIO_REGISTER_MODE_WP,
		};

		ioctl(fd, UFFDIO_REGISTER, &reg);
	}
}

/* Does one of the things that victims do, and then waits to be killed. */
static void victim(void)
{
	char *stack, *mem = mr_fill((1 + rnd(16)) * 256 * KB);
	pthread_t t;
	int i;

	switch (rnd(13)) {
	case 0:
		for (i = rnd(8); i >= 0; i--)
			pthread_create(&t, NULL, idle_thread, NULL);
		break;
	case 1:
		pthread_create(&t, NULL, idle_thread, NULL);
		syscall(__NR_exit, 0);
		break;
	case 2:
	case 3:
		stack = mr_fill(64 * KB);
		clone(idle_child, stack + 64 * KB,
		      CLONE_VM | (rnd(2) ? CLONE_VFORK : 0) | SIGCHLD,
		      rnd(2) ? mem : NULL);
		break;
	case 4:
		if (!fork())
			idle_child(rnd(2) ? mem : NULL);
		break;
	case 5:
		_exit(0);
	case 6:
		for (;;) {
			madvise(mem, 256 * KB, MADV_DONTNEED);
			memset(mem, 1, 256 * KB);
		}
	case 7:
	case 8:
		holders();
		break;
	case 9:
		map_hugetlb();
		break;
	case 10:
		map_thp();
		break;
	case 11:
		map_uffd();
		break;
	}
	for (;;)
		pause();
}

static void kill_one(int fd)
{
	switch (rnd(5)) {
	case 0:
		mr_send(fd, SIGKILL, NULL, 0);
		break;
	case 1:
		mr_send(fd, SIGKILL, NULL, 0);
		mr_release(fd, 0);
		break;
	case 2:
		mr_send(fd, SIGKILL, NULL, PIDFD_SIGNAL_EXPEDITE);
		break;
	case 3:
		mr_send(fd, SIGKILL, NULL, PIDFD_SIGNAL_EXPEDITE |
			PIDFD_SIGNAL_PROCESS_GROUP);
		break;
	case 4:
		mr_release(fd, PROCESS_MRELEASE_REAP_KILL);
		break;
	}
	if (rnd(2))
		mr_release(fd, 0);
}

static void new_words(void)
{
	words = mmap(NULL, LOCKS * STEP, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED)
		exit(1);
}

static int killer(time_t end)
{
	char *own = mr_fill(MB);
	unsigned int rounds = 0, lost = 0;

	new_words();
	while (now_s() < end) {
		pid_t pid = fork();
		int fd, i;

		if (pid < 0)
			return 1;
		if (!pid) {
			setpgid(0, 0);
			reseed();
			victim();
		}
		setpgid(pid, pid);
		fd = mr_pidfd_open(pid, 0);
		for (i = rnd(40); i > 0; i--)
			sched_yield();
		kill_one(fd);
		mr_send(fd, SIGKILL, NULL, 0);
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		mr_release(fd, 0);
		close(fd);
		lost += locks_lost();
		rounds++;
	}
	printf("# killer: %u victims, %u locks lost\n", rounds, lost);
	return !mr_intact(own, MB) || lost;
}

/*
 * Small pages, many of them equal: for ksmd or khugepaged to make fewer.  What
 * they have, becomes small and the victim's own again.
 */
static void scanned(int up)
{
	size_t size = (1 + rnd(3)) * 2 * MB, i;
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		_exit(1);
	for (i = 0; i < size; i += 4096)
		mem[i] = 1 + rnd(2);
	madvise(mem, size, rnd(2) ? MADV_HUGEPAGE : MADV_MERGEABLE);
	if (write(up, "", 1) != 1)
		_exit(1);
	for (;;) {
		usleep(1000);
		i = rnd(size / 4096) * 4096;
		mem[i] = 1 + rnd(2);
		if (!rnd(100))
			madvise(mem + i, 4096, MADV_DONTNEED);
	}
}

/* Kills them when the two have had a chance to be at them. */
static int scan_killer(time_t end)
{
	unsigned int rounds = 0;
	char c;

	while (now_s() < end) {
		int fd, pfd[2];
		pid_t pid;

		if (pipe(pfd))
			return 1;
		pid = fork();
		if (pid < 0)
			return 1;
		if (!pid) {
			setpgid(0, 0);
			reseed();
			scanned(pfd[1]);
		}
		setpgid(pid, pid);
		fd = mr_pidfd_open(pid, 0);
		close(pfd[1]);
		if (read(pfd[0], &c, 1) == 1)
			usleep(rnd(200) * 1000);
		close(pfd[0]);
		kill_one(fd);
		mr_send(fd, SIGKILL, NULL, 0);
		waitpid(pid, NULL, 0);
		close(fd);
		rounds++;
	}
	printf("# scanned: %u victims\n", rounds);
	return 0;
}

/* In the cgroup, with @adj: the one to go is the one with 1000. */
static pid_t cgroup_child(struct mr_cgroup *cg, const char *adj)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setpgid(0, 0);
	mr_cgroup_join(cg);
	mr_write_file("/proc/self/oom_score_adj", adj);
	return 0;
}

static unsigned int oom_kills(struct mr_cgroup *cg)
{
	char file[128], line[64];
	unsigned int n = 0;
	FILE *f;

	snprintf(file, sizeof(file), "%s/memory.events", cg->path);
	f = fopen(file, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "oom_kill %u", &n);
	if (f)
		fclose(f);
	return n;
}

/*
 * The OOM killer of a cgroup takes the victim, or we do, or both.  Nothing is
 * swapped out there: a list that is, the OOM reaper reaps after a while.
 */
static int oom_killer(time_t end)
{
	unsigned int rounds = 0, lost = 0;
	char *own = mr_fill(MB), file[128];
	struct mr_cgroup cg;

	new_words();
	if (!mr_cgroup_make(&cg))
		return 1;
	snprintf(file, sizeof(file), "%s/memory.max", cg.path);
	mr_write_file(file, "16M");
	snprintf(file, sizeof(file), "%s/memory.swap.max", cg.path);
	mr_write_file(file, "0");
	while (now_s() < end) {
		pid_t pid, hog;
		int fd, i;

		pid = cgroup_child(&cg, "1000");
		if (!pid) {
			reseed();
			mr_fill(4 * MB);
			holders();
		}
		if (pid < 0)
			return 1;
		setpgid(pid, pid);
		fd = mr_pidfd_open(pid, 0);
		hog = cgroup_child(&cg, "-500");
		if (!hog) {
			mr_fill(13 * MB);
			_exit(0);
		}
		if (hog < 0)
			return 1;
		for (i = rnd(40); i > 0; i--)
			sched_yield();
		if (rnd(2))
			kill_one(fd);
		waitpid(hog, NULL, 0);
		mr_send(fd, SIGKILL, NULL, 0);
		mr_release(fd, 0);
		waitpid(pid, NULL, 0);
		close(fd);
		lost += locks_lost();
		rounds++;
	}
	printf("# OOM: %u victims, %u kills of the OOM killer, %u locks lost\n",
	       rounds, oom_kills(&cg), lost);
	mr_cgroup_remove(&cg);
	return !mr_intact(own, MB) || lost;
}

static char buf[65536];

/* The beginning of one of the mappings that maps has told. */
static unsigned long some_address(ssize_t len)
{
	unsigned long addr = 0;
	char *p = buf;
	int i;

	buf[len > 0 ? len - 1 : 0] = '\0';
	for (i = rnd(12); i > 0 && p; i--)
		p = strchr(p + 1, '\n');
	if (p)
		sscanf(p, "%lx-", &addr);
	return addr;
}

static void scan(int fd)
{
	struct page_region regions[32];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = 1UL << 47,
		.vec = (uintptr_t)regions,
		.vec_len = 1 + rnd(32),
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	int i;

	if (rnd(2))
		arg.return_mask |= PAGE_IS_WPALLOWED;
	for (i = 0; i < 4 && ioctl(fd, PAGEMAP_SCAN, &arg) > 0; i++)
		arg.start = arg.walk_end;
}

static const char * const files[] = {
	"maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "mem",
	"status", "cmdline", "environ", "stat", "auxv", "clear_refs",
};

enum { MEM = 5, PAGEMAP = 4, CLEAR_REFS = 11, FILES = 12, KEPT = 24 };

/* Files that stay open: the mm may be gone by the time they are read. */
static struct {
	int fd, what;
	unsigned long addr;
} kept[KEPT];

static void use(int i)
{
	int k, fd = kept[i].fd;
	ssize_t n = 0;

	if (kept[i].what == CLEAR_REFS) {
		buf[0] = '1' + rnd(5);
		n = write(fd, buf, 1);
		return;
	}
	if (kept[i].what == PAGEMAP && rnd(2)) {
		scan(fd);
		return;
	}
	if (kept[i].what == MEM)
		lseek(fd, kept[i].addr, SEEK_SET);
	else if (kept[i].what == PAGEMAP)
		lseek(fd, kept[i].addr >> 9, SEEK_SET);
	else if (rnd(2))
		lseek(fd, 0, SEEK_SET);
	for (k = rnd(4); k >= 0; k--) {
		n = read(fd, buf, 1 + rnd(sizeof(buf)));
		if (n <= 0)
			break;
	}
}

static int reader(time_t end)
{
	unsigned int opened = 0;
	char path[300];
	int i, fd;

	for (i = 0; i < KEPT; i++)
		kept[i].fd = -1;
	while (now_s() < end) {
		DIR *d = opendir("/proc");
		struct dirent *e;

		while (d && (e = readdir(d))) {
			if (e->d_name[0] < '1' || e->d_name[0] > '9')
				continue;
			use(rnd(KEPT));
			i = rnd(KEPT);
			if (kept[i].fd >= 0)
				close(kept[i].fd);
			snprintf(path, sizeof(path), "/proc/%s/maps",
				 e->d_name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd >= 0) {
				kept[i].addr =
					some_address(read(fd, buf, 4096));
				close(fd);
			}
			kept[i].what = rnd(FILES);
			snprintf(path, sizeof(path), "/proc/%s/%s", e->d_name,
				 files[kept[i].what]);
			kept[i].fd = open(path, (kept[i].what == CLEAR_REFS ?
						 O_WRONLY : O_RDONLY) |
						O_CLOEXEC);
			if (kept[i].fd >= 0) {
				opened++;
				use(i);
			}
		}
		if (d)
			closedir(d);
	}
	printf("# reader: %u files\n", opened);
	return 0;
}

#define KSM "/sys/kernel/mm/ksm/"
#define KHUGEPAGED "/sys/kernel/mm/transparent_hugepage/khugepaged/"

static long read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atol(text);
}

/*
 * They get little time, and that in bits: most of it they stand somewhere, with
 * mmap_lock as likely as not.
 */
static void slow_down(const char *comm)
{
	static const char slow[] = "/sys/fs/cgroup/mrelease.scanners";
	char path[300], name[32];
	struct dirent *e;
	DIR *d;
	int fd, n;

	mr_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpu");
	mkdir(slow, 0755);
	snprintf(path, sizeof(path), "%s/cpu.max", slow);
	mr_write_file(path, "10000 50000");
	d = opendir("/proc");
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
		close(fd);
		name[n > 0 ? n - 1 : 0] = '\0';
		if (strcmp(name, comm))
			continue;
		snprintf(path, sizeof(path), "%s/cgroup.procs", slow);
		if (!mr_write_file(path, e->d_name))
			printf("# %s is not slow\n", comm);
	}
	if (d)
		closedir(d);
}

static void start_scanners(void)
{
	mr_write_file(KHUGEPAGED "scan_sleep_millisecs", "0");
	mr_write_file(KHUGEPAGED "alloc_sleep_millisecs", "0");
	mr_write_file(KSM "sleep_millisecs", "1");
	mr_write_file(KSM "run", "1");
	slow_down("ksmd");
	slow_down("khugepaged");
}

static void stop_scanners(void)
{
	mr_write_file("/sys/fs/cgroup/mrelease.scanners/cpu.max", "max");
	mr_write_file(KSM "run", "2");
	mr_write_file(KHUGEPAGED "scan_sleep_millisecs", "10000");
	printf("# ksmd: %ld pages looked at, khugepaged: %ld huge pages\n",
	       read_number(KSM "pages_scanned"),
	       read_number(KHUGEPAGED "pages_collapsed"));
}

int main(int argc, char **argv)
{
	struct mr_cgroup cg = {};
	char reclaim[128];
	pid_t pids[ROLES];
	int i, status, bad = 0;
	time_t end;

	if (argc > 1 && !strcmp(argv[1], "pause"))
		for (;;)
			pause();
	if (argc < 2)
		return 2;
	end = now_s() + atoi(argv[1]);
	seed = argc > 2 ? atoi(argv[2]) : 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..1\n");
	if (mr_cgroup_make(&cg))
		mr_cgroup_join(&cg);
	snprintf(reclaim, sizeof(reclaim), "%s/memory.reclaim", cg.path);
	/* What the machine has not got is not stressed. */
	mr_write_file("/proc/sys/vm/nr_hugepages", "24");
	huge = memfd_create("huge", MFD_HUGETLB);
	if (huge >= 0 && ftruncate(huge, GB))
		return 1;
	/* Thousands of OOM kills: the log is for what is wrong. */
	mr_write_file("/proc/sys/vm/oom_dump_tasks", "0");
	for (i = 0; i < ROLES; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		seed += i * 7919;
		if (i < KILLERS)
			exit(killer(end));
		if (i < KILLERS + SCAN_KILLERS)
			exit(scan_killer(end));
		exit(i < ROLES - READERS ? oom_killer(end) : reader(end));
	}
	start_scanners();
	while (now_s() < end) {
		if (cg.path[0])
			mr_write_file(reclaim, "262144");
		/* All that was merged is undone, by us instead of ksmd. */
		if (!rnd(50)) {
			mr_write_file(KSM "run", "2");
			mr_write_file(KSM "run", "1");
		}
		usleep(20000);
	}
	for (i = 0; i < ROLES; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			bad++;
	stop_scanners();
	printf("%sok 1 stress\n", bad ? "not " : "");
	return bad;
}
