/* SPDX-License-Identifier: MIT */
/*
 * What the scenarios share: a victim, the ways to kill it, the samples they
 * leave, and the checks made on those.  A scenario is one function that runs
 * every way in turn, so that noise on the machine hits all of them alike.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "mrelease.h"

#define MIB	       ((uint64_t)1 << 20)
#define GIB	       ((uint64_t)1 << 30)
#define NSEC_PER_SEC   1000000000LL
#define NSEC_PER_MSEC  1000000LL
#define ARRAY_SIZE(a)  (sizeof(a) / sizeof((a)[0]))
#define BENCH_CHECKS   8
#define BENCH_TEXT     160
#define BENCH_PATH_MAX 512
/* followed by the PID of the guard and a name */
#define BENCH_CGROUP_PREFIX "mrelease-bench-"

/* The ways to get rid of a process that are compared. */
enum bench_way {
	/* kill -9, then wait for the exit: the usual way */
	WAY_WAIT,
	/* kill -9, then process_mrelease at once: what lmkd and others do */
	WAY_MRELEASE,
	/* libmrelease */
	WAY_OURS,
	NR_WAYS,
};

/* Samples of one figure, nanoseconds. */
struct bench_series {
	int64_t *ns;
	size_t nr;
	size_t room;
};

/* All that one way did in one scenario. */
struct bench_stat {
	/* SIGKILL to memory back */
	struct bench_series back;
	/* the whole call as its caller sees it */
	struct bench_series call;
	/* start of the call to SIGKILL; mrelease only */
	struct bench_series prepare;
	unsigned int runs;
	/* by the library's report, and by our own reading of pagemap */
	unsigned int verified;
	/* process_mrelease answered ESRCH, or the release was unconfirmed */
	unsigned int lost;
	/* not verified, for want of a CPU: killed before it was counted */
	unsigned int late;
	unsigned int ownerdead;
	unsigned int deadlocks;
	/* group members with memory left after the call */
	unsigned int leftovers;
	uint64_t back_bytes;
	/* said beside the times */
	char cell[64];
	/* for the narrow table of the demo; empty: the median of back */
	char brief[24];
	/* brief is bad news */
	bool bad;
	/* of the first release that could not be verified, and was not late */
	struct mrelease_report doubt;
};

/* One line with a verdict. */
struct bench_check {
	char what[72];
	double value;
	double limit;
	/* '<': at most the limit, '>': at least, '=': exactly */
	char op;
	bool pass;
};

struct bench_result {
	const struct bench_scenario *scenario;
	struct bench_stat way[NR_WAYS];
	struct bench_check check[BENCH_CHECKS];
	unsigned int nr_checks;
	/* why it could not run; empty when it did */
	char skip[BENCH_TEXT];
	char note[BENCH_TEXT];
};

enum bench_pace { PACE_FULL, PACE_QUICK, PACE_DEMO };

struct bench_opts {
	enum bench_pace pace;
	/* repetitions, 0 for those of the scenario */
	unsigned int reps;
	/* the command, for the row that times it */
	char command[BENCH_PATH_MAX];
	/* temporary directory of this run, removed by the guard */
	const char *dir;
	/* stop adding rounds after this long, 0: never */
	int64_t budget_ns;
	/* one curve per way for the busy scenario, or NULL */
	struct curve *curves;
	FILE *csv;
};

struct bench_scenario {
	const char *name;
	const char *title;
	/* repetitions of each way at each pace */
	unsigned int reps[3];
	/* no figure of its own to reach: run only when named */
	bool on_request;
	int (*run)(const struct bench_opts *o, struct bench_result *res);
};

/* scenarios.c */
extern const struct bench_scenario bench_scenarios[];
extern const size_t bench_nr_scenarios;
const struct bench_scenario *bench_find(const char *name);
void bench_run(const struct bench_scenario *s, const struct bench_opts *o,
	       struct bench_result *res);

/* util.c */
int64_t now_ns(void);
void nap_ms(unsigned int ms);
__attribute__((format(printf, 1, 2), noreturn)) void bench_die(const char *fmt,
							       ...);
ssize_t read_file(const char *path, char *buf, size_t size);
bool write_file(const char *path, const char *text);
int64_t meminfo_bytes(const char *key);
bool have_memory(uint64_t bytes, struct bench_result *res);
const char *fmt_ns(int64_t ns, char *buf, size_t size);
__attribute__((format(printf, 2, 3))) int bench_skip(struct bench_result *res,
						     const char *fmt, ...);

/* stats.c */
void series_add(struct bench_series *s, int64_t ns);
int64_t series_at(const struct bench_series *s, unsigned int percent);
int64_t series_median(const struct bench_series *s);
void series_free(struct bench_series *s);
void result_free(struct bench_result *res);
bool check_max(struct bench_result *res, const char *what, double value,
	       double limit);
bool check_min(struct bench_result *res, const char *what, double value,
	       double limit);
bool check_is(struct bench_result *res, const char *what, double value,
	      double want);
bool check_ratio(struct bench_result *res, enum bench_way other, double limit);
/* The same of the whole call, until the exit of all. */
bool check_call(struct bench_result *res, enum bench_way other, double limit);
/* This release was not verified: was it late?  If not, why? */
void count_unverified(struct bench_stat *st, const struct mrelease_report *rep);
/* So many must be verified: all that were not late, and half of all. */
unsigned int verified_due(const struct bench_stat *st);
bool check_verified(struct bench_result *res);

/* print.c */
const char *way_name(enum bench_way way);
struct tap {
	unsigned int nr;
	unsigned int failed;
	/* what cannot run here has failed */
	bool must_work;
};

void print_header(FILE *f);
void print_result(FILE *f, const struct bench_result *res);
void tap_result(FILE *f, const struct bench_result *res, struct tap *tap);
void csv_header(FILE *f);
void csv_result(FILE *f, const struct bench_result *res);

/* victim.c */
struct victim_spec {
	/* private anonymous memory in 4 KiB pages, touched */
	uint64_t anon_bytes;
	/* niceness once the memory is touched */
	int nice;
	/* cgroup.procs to join before touching anything, -1 for none */
	int procs_fd;
	/* run in the victim before it reports ready; 0 or an errno */
	int (*setup)(void *arg);
	void *arg;
};

struct victim {
	pid_t pid;
	int pidfd;
	/* opened before the kill, outlives the process: our own evidence */
	int pagemap_fd;
	uintptr_t anon_addr;
	uint64_t anon_bytes;
	bool reaped;
};

#define VICTIM_SPEC(bytes) \
	((struct victim_spec){ .anon_bytes = (bytes), .procs_fd = -1 })

int victim_start(const struct victim_spec *spec, struct victim *v);
int64_t victim_bytes_left(const struct victim *v);
void victim_wait(struct victim *v);
bool victim_exits(struct victim *v, int timeout_ms);
void victim_end(struct victim *v);
void tie_to_parent(pid_t parent);

/* ways.c */
struct way_run {
	int64_t back_ns;
	int64_t call_ns;
	int64_t prepare_ns;
	bool lost;
	bool verified;
	/* -errno of process_mrelease or of the library, or 0 */
	int error;
	/* when the signal went out, or for mrelease the call began */
	int64_t start_ns;
	int64_t left_bytes;
	struct mrelease_report report;
};

void way_kill(enum bench_way way, struct victim *v, uint32_t flags,
	      struct way_run *run);
void way_count(struct bench_stat *st, const struct way_run *run);
void way_once(enum bench_way way, const struct victim_spec *spec,
	      struct bench_stat *st);

/* interleave.c */
struct bench_plan {
	/* one repetition of one way; what it measured goes into the stat */
	void (*once)(enum bench_way way, void *arg, struct bench_stat *st);
	/* (re)make the checks; false when one is missed */
	bool (*judge)(struct bench_result *res);
	void *arg;
};

void interleave(const struct bench_opts *o, struct bench_result *res,
		const struct bench_plan *plan);

/* load.c */
struct load;
struct load *load_start(unsigned int nr);
void load_switch(struct load *load, bool on);
void load_stop(struct load *load);

/* stall.c */
struct stall {
	pid_t pid;
	int ready_fd;
};

int stall_start(const struct victim *v, struct stall *stall);
void stall_end(struct stall *stall);

/* cgroup.c */
struct bench_cgroup {
	char path[BENCH_PATH_MAX];
	int dir_fd;
	int procs_fd;
};

int cgroup_make(const char *name, struct bench_cgroup *cg);
int cgroup_kill(const struct bench_cgroup *cg);
int cgroup_wait_empty(const struct bench_cgroup *cg, int64_t deadline_ns);
void cgroup_end(struct bench_cgroup *cg);
void cgroup_sweep(pid_t owner);
bool cgroup_mount(const char *controller, char *ret, size_t size);
bool cgroup_own(const char *controller, char *ret, size_t size);

/* memcg.c */
struct bench_memcg {
	char path[BENCH_PATH_MAX];
	int procs_fd;
	int usage_fd;
};

bool memcg_make(const char *name, struct bench_memcg *m);
void memcg_end(struct bench_memcg *m);

/* curve.c */
struct curve {
	/* when SIGKILL was sent; 0: nothing recorded yet */
	int64_t start_ns;
	int64_t back_ns;
	size_t nr;
	struct curve_point *point;
};

struct curve_point {
	int64_t at_ns;
	int64_t bytes;
};

struct recorder;
struct recorder *recorder_start(void);
int recorder_procs_fd(const struct recorder *r);
void recorder_arm(struct recorder *r);
void recorder_stop(struct recorder *r, int64_t start_ns, struct curve *curve);
void recorder_end(struct recorder *r);

/* svg.c */
int svg_write(const char *path, const char *title, uint64_t full_bytes,
	      const struct curve curves[NR_WAYS]);

/* guard.c */
int guard_run(int (*fn)(struct bench_opts *o), struct bench_opts *o,
	      const char *base);

/* the scenarios, a file each */
int scn_esrch(const struct bench_opts *o, struct bench_result *res);
int scn_idle_1g(const struct bench_opts *o, struct bench_result *res);
int scn_idle_4g(const struct bench_opts *o, struct bench_result *res);
int scn_busy(const struct bench_opts *o, struct bench_result *res);
int scn_pinned(const struct bench_opts *o, struct bench_result *res);
int scn_robust(const struct bench_opts *o, struct bench_result *res);
int scn_lmdb(const struct bench_opts *o, struct bench_result *res);
int scn_command(const struct bench_opts *o, struct bench_result *res);
int scn_jvm(const struct bench_opts *o, struct bench_result *res);
int scn_cache(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_200(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_50(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_10(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_100(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_1000(const struct bench_opts *o, struct bench_result *res);
int scn_cgroup_4000(const struct bench_opts *o, struct bench_result *res);
int scn_threads(const struct bench_opts *o, struct bench_result *res);
int scn_mappings(const struct bench_opts *o, struct bench_result *res);
int scn_guards(const struct bench_opts *o, struct bench_result *res);
int scn_others(const struct bench_opts *o, struct bench_result *res);
int scn_bomb(const struct bench_opts *o, struct bench_result *res);

#endif /* BENCH_H */
