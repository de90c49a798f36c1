#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command's contract: options, exit statuses, what it prints.

set -u
# shellcheck source-path=SCRIPTDIR source=libtest.sh disable=SC2119,SC2120
. "$(dirname "$0")/libtest.sh"

process_keys='["before_bytes","cache_evicted_bytes","comm","error","evidence",
"exclusive_bytes","exit_ms","kept_bytes","kinds","note","outstanding_bytes",
"path","pid","release_ms","released_bytes","result","threads","unsure_bytes",
"verified"]'
cgroup_keys='["before_bytes","cache_evicted_bytes","error","evidence",
"exclusive_bytes","exit_ms","kept_bytes","kinds","members","note",
"outstanding_bytes","path","release_ms","released_bytes","result","threads",
"unsure_bytes","verified"]'
kind_keys='["back_bytes","before_bytes","evidence","exclusive_bytes",
"holder_pid","kept_bytes","outstanding_bytes","reason","unsure_bytes"]'

# json FILTER: true of the output, or the test fails.
json() {
	jq -se "$1" "$tmp/out" >/dev/null 2>"$tmp/jq.err" ||
		fail "not so: $1: $(cat "$tmp/out" "$tmp/jq.err")"
}

if ! command -v jq >/dev/null; then
	plan 1
	skip jq "all of it" "jq is not installed"
	finish
fi

plan 54

# --- one process ---

start_victim anon 32
expect 0 "$vpid"
grep -qE "^$vpid \(victim\): .*MiB.*(ms|s).*exited" "$tmp/out" ||
	fail "the line: $(cat "$tmp/out")"
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "more than a line"
[ -s "$tmp/err" ] && fail "stderr: $(cat "$tmp/err")"
expect_dead "$vpid"
end_victim
ok "one process: one line, status 0"

start_victim traced-exit 4
before=$(date +%s%N)
"$MRELEASE" -w 300ms "$vpid" >"$tmp/out" 2>"$tmp/err"
[ $(($(date +%s%N) - before)) -ge 300000000 ] || fail "not waited for 300 ms"
grep -q "not yet exited: thread $vpid (t) stopped by its tracer" "$tmp/out" ||
	fail "the thread: $(cat "$tmp/out" "$tmp/err")"
end_victim
ok "which thread keeps it from being gone"

start_victim anon 32
expect 0 --json "$vpid"
json 'length == 1'
json ".[0] | keys == $process_keys"
json ".[0].kinds.anon | keys == $kind_keys"
json ".[0] | .pid == $vpid and .comm == \"victim\""
json '.[0] | .result == "released" and .verified == true and .error == null'
json '.[0] | .evidence == "pagemap" or .evidence == "exit"'
json '.[0] | .path == "pinned" or .path == "unpinned" or .path == "exit"'
json '.[0] | .kinds.anon.before_bytes >= 33554432'
json '.[0] | .released_bytes >= 33554432 and .outstanding_bytes == 0'
json '.[0].kinds.anon | .back_bytes >= 33554432 and .kept_bytes == 0'
json '.[0] | .threads == 1 and .cache_evicted_bytes == 0'
json '.[0] | (.release_ms | type) == "number" and .release_ms > 0'
json '.[0] | .exit_ms >= .release_ms or .evidence == "exit"'
json '.[0] | .note == null or (.note | type) == "string"'
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "not one line"
expect_dead "$vpid"
end_victim
ok "--json: the keys and their types"

start_victim anon 8
expect 0 -q "$vpid"
[ -s "$tmp/out" ] && fail "stdout: $(cat "$tmp/out")"
[ -s "$tmp/err" ] && fail "stderr: $(cat "$tmp/err")"
expect_dead "$vpid"
end_victim
start_victim anon 8
expect 64 -q --json "$vpid" 2147483647
json 'length == 1 and .[0].result == "gone"'
end_victim
ok "-q: silent about what went well"

start_victim anon 8
expect 0 -v "$vpid"
[ "$(wc -l <"$tmp/out")" -ge 2 ] || fail "no more than a line"
end_victim
ok "-v: says more"

start_victim anon 8
for both in "-q -v" "-v -q" "-qv" "--quiet --verbose"; do
	# shellcheck disable=SC2086
	expect 2 $both "$vpid"
	expect_error
	expect_untouched
done
end_victim
ok "-q and -v together: usage, nobody signalled"

start_victim anon 16
expect 0 -n "$vpid"
expect_untouched
expect 0 --dry-run --json "$vpid"
json '.[0] | .result == "would-kill" and .verified == false'
json '.[0] | .kinds.anon.before_bytes >= 16777216 and .released_bytes == 0'
json '.[0] | .release_ms == null and .exit_ms == null'
expect_untouched
expect 0 --dry-run -t -s TERM "$vpid"
expect_untouched
end_victim
ok "-n, --dry-run: signal nobody"

# Shared memory that we hold: it is not the victim's to give back.
if shm=$(mktemp /dev/shm/mrelease-test.XXXXXX); then
	exec 5<>"$shm"
	start_victim memfd 16
	expect 4 -n "$vpid"
	grep -q 'killed, 4.* would come back' "$tmp/out" ||
		fail "promised: $(cat "$tmp/out")"
	expect_untouched
	rm "$shm"
	expect 4 --json "$vpid"
	exec 5>&-
	json '.[0].outstanding_bytes >= 16777216'
	json '.[0].released_bytes < 16777216'
	json '.[0].kinds.shmem.outstanding_bytes >= 16777216'
	json '.[0].kinds.shmem.reason | . == "in-use" or . == "unknown"'
	end_victim
	ok "status 4: part of it is somebody else's still"
else
	skip shm "status 4: part of it is somebody else's still" "no /dev/shm"
fi

start_victim zombie
expect 4 -n "$vpid"
expect 4 --json "$vpid"
json '.[0] | .result == "exited" and .verified == false'
end_victim
ok "status 4: dead before it was looked at"

start_victim polite 8
expect 0 -s TERM --grace 10s --json "$vpid"
json '.[0] | .path == "soft" and .result == "released"'
wait "$vjob"
[ $? = 42 ] || fail "it did not exit by its own hand"
end_victim
for kill in "-s KILL" -9 "-s TERM -KILL"; do
	start_victim polite 8
	# shellcheck disable=SC2086
	expect 0 $kill --grace 10s --json "$vpid"
	json '.[0] | .path != "soft" and .result == "released"'
	wait "$vjob"
	[ $? = 137 ] || fail "$kill: it was asked first"
done
start_victim polite 8
expect 0 --grace 10s --json "$vpid"
json '.[0] | .path == "soft"'
ok "-s SIGNAL --grace TIME: asked first"

start_victim ignoring 8
for signal in TERM SIGTERM term 15 RTMIN+3 HUP; do
	[ -n "$vpid" ] || start_victim ignoring 8
	expect 0 -s "$signal" --grace 20ms "$vpid"
	expect_dead "$vpid"
	end_victim
	vpid=
done
ok "-s: every way to write a signal, SIGKILL after the grace time"

start_victim tree 2 3 1
expect 0 -t --json "$vpid"
json '.[0].members | length == 13'
# A member that got no CPU to be pinned in says so, and may be counted too late.
json '.[0] | .result == "released" and
	(.released_bytes >= 13 * 1048576 or .note != null)'
expect_dead "$vpid"
for pid in $(jq -r '.members[].pid' "$tmp/out"); do
	expect_dead "$pid"
done
end_victim
ok "-t: the descendants, too"

if "$MRELEASE" --check | grep -q '^kcmp .*yes'; then
	start_victim clone-vm 8
	expect 4 -w 5s "$vpid"
	grep -q "$vhelper" "$tmp/out" || fail "the sharer is not named:" \
		"$(cat "$tmp/out")"
	alive "$vhelper" || fail "the sharer was killed"
	end_victim
	ok "a sharer: status 4, and it is named"

	start_victim clone-vm 8
	expect 0 --kill-sharers "$vpid"
	expect_dead "$vpid"
	expect_dead "$vhelper"
	end_victim
	ok "--kill-sharers"
else
	no_kcmp="kcmp is refused: sharers cannot be found"
	skip kcmp "a sharer: status 4, and it is named" "$no_kcmp"
	skip kcmp "--kill-sharers" "$no_kcmp"
fi

start_victim anon 8
expect 0 --no-pin --json "$vpid"
json '.[0] | .path == "unpinned" or .path == "exit"'
end_victim
ok "--no-pin"

start_victim anon 4
expect 0 -c --json "$vpid"
json '.[0] | .result == "released"'
end_victim
ok "-c: takes it"

# --- several ---

start_victim anon 4
one=$vpid ctl_one=$vctl job_one=$vjob
start_victim anon 32
two=$vpid
expect 0 --json "$one" "$two"
json 'length == 2 and ([.[].result] | unique) == ["released"]'
json "([.[].pid] | sort) == ([$one, $two] | sort)"
expect_dead "$one"
expect_dead "$two"
end_victim
vctl=$ctl_one vjob=$job_one
end_victim
ok "two processes, two lines"

# One at a time, and the last is the biggest.
start_victim anon 4
one=$vpid ctl_one=$vctl job_one=$vjob
start_victim anon 64
(ulimit -n 64 && exec "$MRELEASE" --json "$one" "$vpid") \
	>"$tmp/out" 2>"$tmp/err" || fail "status $?: $(cat "$tmp/err")"
json ".[0].pid == $vpid and .[1].pid == $one"
end_victim
vctl=$ctl_one vjob=$job_one
end_victim
ok "the biggest first"

start_victim anon 4
expect 0 --json "$vpid" "$vpid" "0$vpid" "$vpid"
json "length == 1 and .[0].pid == $vpid and .[0].result == \"released\""
expect_dead "$vpid"
end_victim
expect 1 --json 2147483647 2147483647
json 'length == 1'
ok "a target named twice is released once"

# One after the other, the tree first: its other two are gone by then.
start_victim tree 1 2 4
read -ra pids <"/proc/$vpid/task/$vpid/children"
pids=("$vpid" "${pids[@]}")
(ulimit -n 64 && exec "$MRELEASE" --json -t "${pids[@]}") \
	>"$tmp/out" 2>"$tmp/err"
status=$?
[ $status = 0 ] || fail "status $status: $(cat "$tmp/out" "$tmp/err")"
json 'length == 3 and ([.[].result] | unique) == ["released"]'
json "([.[].pid] | sort) == ([${pids[0]}, ${pids[1]}, ${pids[2]}] | sort)"
end_victim
start_victim anon 1
kill -9 "$vjob"
wait "$vjob" 2>/dev/null
expect 1 "$vpid" 2147483647
end_victim
ok "a target that goes with the tree of another"

# Fewer descriptors than targets, and no leave to raise the limit.
pids=()
while [ ${#pids[@]} -lt 100 ]; do
	sleep 300 &
	pids+=($!)
done
# A target that is killed in the middle of its execve() is unconfirmed: wait for it.
for pid in "${pids[@]}"; do
	until [ "$(cat "/proc/$pid/comm")" = sleep ]; do :; done
done
(ulimit -n 64 && exec "$MRELEASE" --json "${pids[@]}") \
	>"$tmp/out" 2>"$tmp/err"
status=$?
[ $status = 0 ] || fail "status $status: $(head -n 3 "$tmp/err")"
json 'length == 100 and ([.[].result] | unique) == ["released"]'
for pid in "${pids[@]}"; do
	kill -9 "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	[ $? = 137 ] || fail "$pid was not killed"
done
# A limit of its own is raised: 64 releases at once are not held up by it.
start_victim anon 1
(ulimit -Sn 8 && exec "$MRELEASE" "$vpid") >"$tmp/out" 2>&1 ||
	fail "a soft limit of 8: $(cat "$tmp/out")"
expect_dead "$vpid"
end_victim
ok "more targets than descriptors"

start_victim anon 4
expect 64 "$vpid" 2147483647
expect_dead "$vpid"
end_victim
ok "status 64: one released, one not there"

start_victim anon 4
expect 2 "$vpid" nonsense
expect_error
expect_untouched
expect 2 "$vpid" ''
expect_untouched
expect 2 "$vpid" --no-such-option
expect_untouched
end_victim
ok "a bad target among good ones: usage, nobody signalled"

# --- statuses ---

expect 1 2147483647
ok "status 1: no such process"

expect 3 -n 2147483647 1
expect 3 -n 1 2147483647
ok "several that went wrong: the gravest status"

expect 1 --json 2147483646
json '.[0] | .result == "gone" and .verified == false and .released_bytes == 0'
json '.[0].error | type == "string"'
ok "gone, in JSON"

expect 2
expect_error
expect 2 --
expect_error
ok "no target: usage"

start_victim anon 1
for bad in --no-such-option -Z --wait=; do
	expect 2 "$bad" "$vpid"
	expect_error
	expect_untouched
done
for last in -s -w --grace --signal --wait; do
	expect 2 "$last"
	expect_error
done
end_victim
ok "unknown options and missing arguments"

start_victim anon 1
for time in '' nan NaN inf -inf infinity -1 -1s 1e3 0x10 ' 1' '1 ' 1x 1ss \
	. s 1.2.3 99999999999999999999 1e400 '1s;' 999999999h; do
	expect 2 -w "$time" "$vpid"
	expect_error
	expect_untouched
	expect 2 -s TERM --grace "$time" "$vpid"
	expect_untouched
done
end_victim
ok "times that are none"

for time in 5 5s 5.5s 5000ms 5000000us 1min 1h; do
	start_victim anon 1
	expect 0 -w "$time" "$vpid"
	end_victim
done
ok "times that are some"

start_victim anon 1
for signal in $(for nr in {1..31}; do kill -l "$nr"; done) IOT POLL \
	RTMIN RTMIN+0 SIGRTMIN+30 rtmax RTMAX-30 1 64; do
	expect 0 -n -s "$signal" "$vpid"
done
expect_untouched
end_victim
for signal in USR2 WINCH io RTMIN+1 SIGRTMAX-2; do
	rm -f "$tmp/asked"
	# shellcheck disable=SC2016
	bash -c 'trap "exit 42" "$1"; echo ready; while :; do :; done' _ \
		"${signal^^}" >"$tmp/asked" &
	vpid=$!
	until grep -qs ready "$tmp/asked"; do
		kill -0 "$vpid" || break
	done
	expect 0 -s "$signal" --grace 20s "$vpid"
	wait "$vpid"
	[ $? = 42 ] || fail "it did not get $signal"
done
ok "-s: every name there is, and the right signal"

start_victim anon 1
for signal in '' 0 -1 65 1000 NOSUCH SIG '15 ' 15x SIGSIGTERM RTMIN+99 \
	RTMIN-1 RTMAX+1 RTMAX-99 RTMIN+ RTMINx \
	99999999999999999999; do
	expect 2 -s "$signal" "$vpid"
	expect_error
	expect_untouched
done
end_victim
ok "signals that are none"

for target in '' ' ' -- -1 +1 0x1 '1 ' ' 1' 1: :1 1:0 1:x 1:1:1 \
	1:-1 x 99999999999 18446744073709551617 4294967297 2147483648 \
	1:99999999999999999999 '1
2' 'a b'; do
	expect 2 -- "$target"
	expect_error
done
expect 2 -1
expect_error
ok "targets that are none"

expect 3 0
expect 3 -n 1
expect 3 --json -n 1
json '.[0].result == "refused" and (.[0].error | type) == "string"'
ok "refused: 0 and init"

if [ "$(awk '/^PPid:/ { print $2 }' /proc/2/status 2>/dev/null)" = 0 ]; then
	expect 3 -n 2
	expect 3 2
	ok "refused: a kernel thread"
else
	skip kthread "refused: a kernel thread" "kthreadd cannot be seen here"
fi

start_victim threads 2 1
for tid in /proc/"$vpid"/task/*; do
	tid=${tid##*/}
	[ "$tid" = "$vpid" ] && continue
	expect 3 "$tid"
	expect_untouched
done
end_victim
ok "refused: a thread id"

# This shell is its parent, the test's runner is an ancestor of both.
expect 3 -n $$
expect 3 -n "$PPID"
expect 0 -n --allow-ancestor $$
alive $$ || fail "cannot be"
# exec: the number of the shell is mrelease's own.
# shellcheck disable=SC2016
bash -c 'exec "$MRELEASE" -n $$' >/dev/null 2>"$tmp/err"
[ $? = 3 ] || fail "its own number was not refused"
# shellcheck disable=SC2016
bash -c 'exec "$MRELEASE" -n --allow-ancestor $$' >/dev/null 2>"$tmp/err"
[ $? = 3 ] || fail "its own number was not refused with --allow-ancestor"
ok "refused: an ancestor, and itself"

start_victim anon 4
expect 3 "$vpid:1"
grep -q "another process\|reused" "$tmp/out" "$tmp/err" ||
	fail "does not say why: $(cat "$tmp/out" "$tmp/err")"
expect_untouched
expect 3 "$vpid:18446744073709551615"
expect_untouched
end_victim
ok "refused: PID:INODE of another process"

for path in a/b ./x.service system.slice/no-such.service; do
	expect 2 -- "$path"
	grep -q 'begins with /' "$tmp/err" || fail "$path: $(cat "$tmp/err")"
done
for path in /no/such/cgroup /proc/no-such no-such.service \
	../../no-such.scope; do
	run -- "$path"
	case $status in
	1|2) ;;
	*)
		# Nothing to find a unit's name in: not known to be gone.
		{ [ "$status" = 5 ] && [ "${path%.*}" != "$path" ] &&
			grep -q "no cgroup file system" "$tmp/err"; } ||
			fail "$path: status $status: $(cat "$tmp/out" "$tmp/err")"
		;;
	esac
	[ -s "$tmp/out" ] || [ -s "$tmp/err" ] || fail "$path: no word"
done
for path in / /etc/passwd /etc /dev/null "$tmp" /proc/self \
	/../../../etc "$tmp/../.."; do
	run -n -- "$path"
	case $status in
	2|3) ;;
	*) fail "$path: status $status: $(cat "$tmp/out" "$tmp/err")" ;;
	esac
	[ -s "$tmp/err" ] || [ -s "$tmp/out" ] || fail "$path: no word"
done
ok "paths that are no cgroup"

victim_name=$tmp/$'a"\e\n\xff\\b'
cp "$victim" "$victim_name"
victim_program=$victim_name start_victim anon 1
expect 0 -n "$vpid"
LC_ALL=C grep -q $'[\001-\011\013-\037\177-\377]' "$tmp/out" &&
	fail "control characters on the terminal: $(od -c "$tmp/out")"
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "a newline got through"
expect 0 --json "$vpid"
json 'length == 1 and .[0].result == "released"'
json '.[0].comm | type == "string"'
end_victim
ok "a hostile name: clean line, valid JSON"

# Not those of a cgroup, a signal, a time, an option.
hostile=$'\e]0;a\a\xff\n'
for args in "-s $hostile 1" "-w $hostile 1" "$hostile" "/etc/$hostile" \
	"x/$hostile" "--$hostile" "--json=$hostile" "-$hostile" "1:$hostile"; do
	IFS=' ' read -r -d '' -a words <<<"$args"
	run "${words[@]}"
	[ "$status" != 0 ] || fail "$args: status 0"
	LC_ALL=C grep -q $'[\001-\010\013-\037\177-\377]' "$tmp/err" &&
		fail "on the terminal: $(od -c "$tmp/err")"
	expect_error
done
run --no-such
grep -q -- --no-such "$tmp/err" || fail "which option? $(cat "$tmp/err")"
ok "hostile arguments: clean messages"

name="names that are not UTF-8 remain two in JSON"
if grep -q cgroup /proc/self/mounts; then
	run --json $'/no/such\\/\xff' $'/no/such\\/\xfe'
	json 'length == 2 and ([.[].path] | unique | length) == 2'
	json '[.[].path | endswith("/no/such\\x5c/\\xff")] | any'
	run --json '/no/such\x2d/ü'
	json '.[0].path | endswith("/no/such\\x2d/ü")'
	ok "$name"
else
	skip cgroup "$name" "no cgroup file system is mounted"
fi

expect 0 --version
grep -qE '^mrelease [0-9]+\.[0-9]+' "$tmp/out" || fail "$(cat "$tmp/out")"
expect 0 --help
for option in --signal --grace --tree --wait --dry-run --json --quiet \
	--verbose --check; do
	grep -q -- "$option" "$tmp/out" || fail "$option is not in --help"
done
ok "--version, --help"

expect 0 --check
[ "$(wc -l <"$tmp/out")" -ge 10 ] || fail "fewer than ten lines"
expect 0 --check --json
json 'length == 1'
"$build/tests/without" process_mrelease,pidfd_open -- "$MRELEASE" --check \
	>"$tmp/out" 2>&1
grep -E '^process_mrelease' "$tmp/out" | grep -q 'no' ||
	fail "does not notice that process_mrelease is missing"
ok "--check: a line each, and true"

own=(unshare -m)
[ "$(id -u)" = 0 ] || own=(unshare -Urm)
start_victim anon 1
# shellcheck disable=SC2016
if "${own[@]}" mount -t tmpfs none /proc 2>/dev/null; then
	for args in "$vpid" "-n $vpid" --check; do
		"${own[@]}" sh -c 'mount -t tmpfs none /proc && exec "$@"' _ \
			"$MRELEASE" $args >"$tmp/out" 2>"$tmp/err"
		status=$?
		[ $status = 5 ] || fail "$args: status $status"
		grep -q '/proc is not mounted' "$tmp/err" ||
			fail "$args: $(cat "$tmp/out" "$tmp/err")"
	done
	expect_untouched
	ok "no /proc: said in so many words"
else
	skip mount "no /proc: said in so many words" "nothing can be mounted"
fi
end_victim

expect 2 --check 1
if "$MRELEASE" --json -n $$ --allow-ancestor >/dev/full 2>"$tmp/err"; then
	fail "a full disk was not noticed"
fi
for option in --version --help --check; do
	"$MRELEASE" $option >/dev/full 2>"$tmp/err" &&
		fail "a full disk was not noticed by $option"
	expect_error
done
# More than stdio keeps: the write that fails is not the last.
start_victim tree 1 24 0
"$MRELEASE" -n -t --json "$vpid" >"$tmp/out" 2>&1
[ "$(wc -c <"$tmp/out")" -gt 9000 ] || fail "too short: $(cat "$tmp/out")"
for args in --json -v; do
	"$MRELEASE" -n -t "$args" "$vpid" >/dev/full 2>"$tmp/err"
	status=$?
	[ $status = 4 ] || fail "$args: status $status"
	grep -q 'cannot write the result: No space left' "$tmp/err" ||
		fail "$args: $(cat "$tmp/err")"
done
end_victim
ok "an output that cannot be written"

start_victim anon 4
one=$vpid ctl_one=$vctl job_one=$vjob
start_victim anon 4
# stderr is a pipe: a file could not grow either.
said=$( (ulimit -f 0 && exec "$MRELEASE" "$one" "$vpid") 2>&1 >"$tmp/out")
status=$?
[ $status = 4 ] || fail "status $status: $said"
[[ $said == *'File too large'* ]] || fail "not said: $said"
expect_dead "$one"
expect_dead "$vpid"
end_victim
vctl=$ctl_one vjob=$job_one
end_victim
ok "a file that may not grow: every target is released all the same"

start_victim anon 4
one=$vpid ctl_one=$vctl job_one=$vjob
start_victim anon 4
"$MRELEASE" "$one" "$vpid" 2>"$tmp/err" >&-
status=$?
[ $status = 4 ] || fail "no stdout: status $status"
grep -q 'Bad file descriptor' "$tmp/err" ||
	fail "written to something else: $(cat "$tmp/err")"
expect_dead "$one"
expect_dead "$vpid"
end_victim
vctl=$ctl_one vjob=$job_one
end_victim
ok "a closed stdout is not taken for a target's descriptor"

# The reader is gone before the first line comes: all are killed all the same.
pids=()
while [ ${#pids[@]} -lt 5 ]; do
	sleep 300 &
	pids+=($!)
done
mkfifo "$tmp/read-not"
exec {reader}<>"$tmp/read-not" {writer}>"$tmp/read-not" {reader}<&-
run_to() {
	"$MRELEASE" "${pids[@]}" >&"$1"
}
run_to "$writer" 2>"$tmp/err"
status=$?
exec {writer}>&-
[ $status = 4 ] || fail "nobody reads: status $status: $(cat "$tmp/err")"
for pid in "${pids[@]}"; do
	kill -9 "$pid" 2>/dev/null && fail "$pid was left alive"
done
wait "${pids[@]}" 2>/dev/null
ok "nobody reads the output: every target is released all the same"

# --- a terminal ---

# on_terminal TERM ARG...: its output, as it goes to a terminal of that kind.
on_terminal() {
	local term=$1
	shift
	TERM=$term script -qec "$(printf '%q ' "$MRELEASE" "$@")" /dev/null \
		</dev/null >"$tmp/out" 2>"$tmp/err"
}

if command -v script >/dev/null; then
	start_victim ignoring 1
	on_terminal xterm "$vpid" || fail "status $?: $(cat "$tmp/out")"
	grep -q $'\e' "$tmp/out" && fail "in less than a second: $(cat "$tmp/out")"
	end_victim
	start_victim ignoring 1
	on_terminal xterm -s TERM --grace 1200ms "$vpid" ||
		fail "status $?: $(cat "$tmp/out")"
	grep -q "0 of 1 done, 1 s, waiting for $vpid"$'\r\e' "$tmp/out" ||
		fail "no progress, or not taken back: $(cat -v "$tmp/out")"
	tail -n 1 "$tmp/out" | grep -q "$vpid (victim): .* back in" ||
		fail "no line at the end: $(cat -v "$tmp/out")"
	end_victim
	for quiet in -q --json; do
		start_victim ignoring 1
		on_terminal xterm -s TERM --grace 1200ms $quiet "$vpid"
		grep -q $'\e' "$tmp/out" && fail "with $quiet: $(cat -v "$tmp/out")"
		end_victim
	done
	start_victim ignoring 1
	on_terminal dumb -s TERM --grace 1200ms "$vpid"
	grep -q $'\e' "$tmp/out" && fail "on a dumb one: $(cat -v "$tmp/out")"
	end_victim
	ok "progress on a terminal: after a second, and taken back"
else
	skip script "progress on a terminal" "script (bsdutils) is not installed"
fi

# --- cgroups ---

if make_cgroup cgroup2 a; then
	victim_program=$victim start_victim -g "$cgroup/cgroup.procs" \
		tree 1 4 2
	expect 0 --json "$cgroup"
	json ".[0] | keys == $cgroup_keys"
	json ".[0] | .path == \"$cgroup\" and (.members | length) == 5"
	json ".[0].members | all(keys == $process_keys)"
	json '.[0] | .result == "released" and .verified == true'
	json '.[0] | ([.members[].released_bytes] | add) <= .released_bytes'
	# Biggest first; what a parent shares with a child may become its own meanwhile.
	json '[.[0].members[].kinds | .anon.before_bytes + .cow.before_bytes] |
		. == (sort | reverse)'
	expect_dead "$vpid"
	end_victim
	run "$cgroup"
	[ "$status" = 1 ] || fail "an empty cgroup: status $status"
	start_victim -g "$cgroup/cgroup.procs" anon 1
	expect 0 "$cgroup" "$cgroup/" "$cgroup/../${cgroup##*/}"
	[ "$(wc -l <"$tmp/out")" = 1 ] || fail "released more than once"
	grep -q ' (1 process): ' "$tmp/out" || fail "$(cat "$tmp/out")"
	expect_dead "$vpid"
	end_victim
	ok "a cgroup by path"
	make_unit unit.service || fail "no second cgroup"
	start_victim -g "$cgroup/cgroup.procs" tree 1 2 1
	expect 0 "${cgroup##*/}"
	expect_dead "$vpid"
	end_victim
	ok "a cgroup by the name of its unit"
	root=$(hierarchy cgroup2)
	expect 3 -n "${root:-/}"
	ok "the cgroup that we are in: refused"
else
	skip cgroup "a cgroup by path" "no v2 cgroup can be made"
	skip cgroup "a cgroup by the name of its unit" \
		"no v2 cgroup can be made"
	skip cgroup "the cgroup that we are in: refused" \
		"no v2 cgroup can be made"
fi

if [ "$(id -u)" != 0 ] || grep -qv 4294967295 /proc/self/uid_map; then
	# PID 1 of this machine, or of the outer namespace: not ours.
	other=
	for dir in /proc/[0-9]*; do
		# A saved user ID of ours, as sudo has, is leave to kill.
		awk -v own="$(id -u)" '/^Uid:/ {
				other = $2 != own && $4 != own
			}
			/^VmRSS:/ { mm = 1 }
			END { exit !(mm && other) }' "$dir/status" 2>/dev/null &&
			[ "${dir##*/}" != 1 ] || continue
		run -n "${dir##*/}"
		# One that is still there was there when it was asked for.
		[ -d "$dir" ] || continue
		other=$status
		break
	done
	if [ -n "$other" ]; then
		[ "$other" = 3 ] || fail "status $other: $(cat "$tmp/err")"
		ok "not permitted: somebody else's process"
	else
		skip other "not permitted: somebody else's process" \
			"there is no such process"
	fi
else
	start_victim anon 4
	setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$MRELEASE" "$vpid" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status = 3 ] || fail "status $status: $(cat "$tmp/out" "$tmp/err")"
	expect_untouched
	end_victim
	ok "not permitted: somebody else's process"
fi

finish
