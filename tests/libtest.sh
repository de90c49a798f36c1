# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# For the tests in bash: TAP, victims, and an end that leaves nobody behind.
# The caller sets -u and calls plan and finish.

build=${MRELEASE_BUILD:?names the build directory}
export MRELEASE=$build/mrelease
victim=$build/tests/victim
tmp=$(mktemp -d)
nr=0
failed=0
why=

# bash tells on stderr of every job that died of a signal: all of them do.
exec 9>&2 2>"$tmp/shell.err"

cleanup() {
	grep -v ' Killed  ' "$tmp/shell.err" >&9
	# Only our own jobs: victims are children of this shell.
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -9 $pids 2>/dev/null
	remove_cgroups
	rm -rf "$tmp"
}
trap cleanup EXIT

plan() {
	printf '1..%d\n' "$1"
}

# With MRELEASE_TEST the first failure is the end, and so is the test of that
# name, a pattern: those before it are run.
far_enough() {
	[ -n "${MRELEASE_TEST:-}" ] || return 0
	# shellcheck disable=SC2053
	[ "$failed" = 0 ] && [[ $1 != $MRELEASE_TEST ]] || finish
}

# ok NAME: report a test; it has passed if nothing called fail since the last.
ok() {
	nr=$((nr + 1))
	if [ -z "$why" ]; then
		printf 'ok %d - %s\n' "$nr" "$1"
	else
		printf 'not ok %d - %s\n' "$nr" "$1"
		printf '%s' "$why" | sed 's/^/# /'
		failed=$((failed + 1))
	fi
	why=
	far_enough "$1"
}

fail() {
	why="$why$*"$'\n'
}

# skip TAG NAME REASON
skip() {
	if [ "${MRELEASE_MUST_WORK:-}" = 1 ] &&
	   [[ ,${MRELEASE_ACCEPT_SKIP:-}, != *,$1,* ]]; then
		fail "must work: $3 (MRELEASE_ACCEPT_SKIP=$1 accepts it)"
		ok "$2"
		return
	fi
	nr=$((nr + 1))
	why=
	printf 'ok %d - %s # SKIP %s [%s]\n' "$nr" "$2" "$3" "$1"
	far_enough "$2"
}

finish() {
	[ "$failed" = 0 ]
	exit
}

# start_victim NAME [ARG...]: sets vpid, vhelper, vctl, vjob.
start_victim() {
	local fifo=$tmp/fifo.$RANDOM.$RANDOM ready word
	mkfifo "$fifo.r" "$fifo.c"
	exec {ready}<>"$fifo.r" {vctl}<>"$fifo.c"
	# Not our own ends: end-of-file has to come when we are gone.
	(exec "${victim_program:-$victim}" "$@" 3>"$fifo.r" 4<"$fifo.c" \
		{ready}>&- {vctl}>&-) 2>"$tmp/victim.err" &
	vjob=$!
	word=
	read -t 20 -r word vpid vhelper _ _ <&"$ready"
	exec {ready}>&-
	rm -f "$fifo.r" "$fifo.c"
	if [ "$word" != ready ]; then
		fail "victim $* did not start: $(cat "$tmp/victim.err")"
		vpid=
		return 1
	fi
	export vpid vhelper vjob
}

end_victim() {
	exec {vctl}>&-
	kill -9 "$vjob" 2>/dev/null
	wait "$vjob" 2>/dev/null
}

state_of() {
	[ -r "/proc/$1/stat" ] && sed 's/.*) //; s/ .*//' "/proc/$1/stat"
}

alive() {
	case $(state_of "$1") in
	''|Z|X) return 1 ;;
	esac
}

# run ARG...: mrelease; sets status, and leaves $tmp/out and $tmp/err.
run() {
	"$MRELEASE" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# expect STATUS ARG...
expect() {
	local want=$1
	shift
	run "$@"
	[ "$status" = "$want" ] ||
		fail "mrelease $*: status $status, not $want;" \
			"$(cat "$tmp/out" "$tmp/err")"
}

expect_error() {
	grep -q 'mrelease: ' "$tmp/err" ||
		fail "no error with the program's name: $(cat "$tmp/err")"
}

expect_untouched() {
	alive "$vpid" || fail "victim $vpid is not alive any more"
	case $(state_of "$vpid") in
	t|T) fail "victim $vpid was left stopped" ;;
	esac
	grep -q '^TracerPid:[[:space:]]*0$' "/proc/$vpid/status" ||
		fail "victim $vpid is being traced"
}

expect_dead() {
	! alive "$1" || fail "process $1 is still alive"
}

# The mount point of a hierarchy and our own cgroup in it: cgroup2, freezer.
hierarchy() {
	local point own
	if [ "$1" = cgroup2 ]; then
		point=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' \
			/proc/self/mountinfo)
		own=$(sed -n 's/^0:://p' /proc/self/cgroup)
	else
		point=$(awk -v c="$1" '$0 ~ " - cgroup .*[ ,]" c "(,|$)" \
			{ print $5; exit }' /proc/self/mountinfo)
		own=$(sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup)
	fi
	[ -n "$point" ] && printf '%s%s\n' "$point" "${own%/}"
}

cgroups=()

# make_cgroup KIND NAME: sets cgroup; 1 if it cannot be made.
make_cgroup() {
	cgroup=$(hierarchy "$1") || return 1
	cgroup=$cgroup/mrelease-test-$$-$2
	mkdir "$cgroup" 2>/dev/null || return 1
	cgroups+=("$cgroup")
	[ -w "$cgroup/cgroup.procs" ]
}

# make_unit NAME: a v2 cgroup where units are, which is not where we are.
make_unit() {
	cgroup=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' \
		/proc/self/mountinfo)/mrelease-test-$$-$1
	if mkdir "$cgroup" 2>/dev/null; then
		cgroups+=("$cgroup")
	else
		make_cgroup cgroup2 "$1"
	fi
}

remove_cgroups() {
	local c pid tries
	for c in "${cgroups[@]:+${cgroups[@]}}"; do
		[ -d "$c" ] || continue
		echo 0 2>/dev/null >"$c/cgroup.freeze"
		echo THAWED 2>/dev/null >"$c/freezer.state"
		# What is in it was put there by us.
		while read -r pid; do
			kill -9 "$pid" 2>/dev/null
		done <"$c/cgroup.procs"
		# Their parent reaps them; a cgroup empties when they exit.
		for tries in $(seq 200); do
			rmdir "$c" 2>/dev/null && break
			[ "$tries" -lt 200 ] && wait -n 2>/dev/null
		done
	done
}
