#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Which cgroup is meant by the name of a unit or a container: trees built by
# hand, as systemd, podman, crun and others build them, with what users may
# make in theirs.

set -u
# shellcheck source-path=SCRIPTDIR source=libtest.sh disable=SC2119,SC2120
. "$(dirname "$0")/libtest.sh"

top=$(cd "$(dirname "$0")/.." && pwd)
# Names nobody else has, whatever runs on this machine.
x=mt$$
sysroot=
made=()

# c PATH: a cgroup, with those above it.
c() {
	local path=$sysroot part
	while IFS= read -r -d / part; do
		path=$path/$part
		[ -d "$path" ] && continue
		mkdir "$path" || fail "cannot make $path"
		made+=("$path")
	done <<<"$1/"
}

# delegate PATH: to nobody, and what is below it is nobody's as well.
delegate() {
	chown -R 65534:65534 "$sysroot/$1"
}

remove_made() {
	local i
	remove_cgroups
	for ((i = ${#made[@]} - 1; i >= 0; i--)); do
		rmdir "${made[i]}" 2>/dev/null
	done
	made=()
}
trap 'remove_made; cleanup' EXIT

# where NAME PATH: NAME is that cgroup, and --dry-run says so.
where() {
	run -n --json -- "$1"
	jq -e --arg path "$sysroot/$2" '.path == $path' "$tmp/out" \
		>/dev/null 2>&1 ||
		fail "$1 is not $2: $status $(cat "$tmp/out" "$tmp/err")"
}

# nowhere STATUS NAME
nowhere() {
	run -n -- "$2"
	[ "$status" = "$1" ] ||
		fail "$2: status $status, not $1: $(cat "$tmp/out" "$tmp/err")"
}

as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$MRELEASE" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# 64 digits that end in $1; no other test's.
cid() {
	printf 'c%07x%056x' $$ "$1"
}

names() {
	local a=$x.slice/$x-a.slice long

	c "$a/$x.service"
	where "$x.service" "$a/$x.service"
	where "$x-a.slice" "$a"
	c "$x.slice/$x-getty.slice/$x-getty@tty1.service"
	c "$x.slice/$x\\x2dz.service"
	c "$x.slice/$x-mnt-a\\x20b.mount"
	c "$x.slice/_cpu.$x.service"
	where "$x-getty@tty1.service" \
		"$x.slice/$x-getty.slice/$x-getty@tty1.service"
	where "$x\\x2dz.service" "$x.slice/$x\\x2dz.service"
	where "$x-mnt-a\\x20b.mount" "$x.slice/$x-mnt-a\\x20b.mount"
	where "cpu.$x.service" "$x.slice/_cpu.$x.service"
	nowhere 1 "$x-getty@.service"
	nowhere 1 "$x-getty@tty2.service"
	nowhere 1 "$x-z.service"
	run -n -- "$x"
	[ "$status" = 2 ] || fail "$x: status $status"
	grep -q "did you mean $x.service?" "$tmp/err" ||
		fail "no hint: $(cat "$tmp/err")"
	ok "$1: units, templates, escapes"

	# What a user, a user's container and root of a container can make.
	for long in "$x.slice/user@65534.service" \
		"$x.slice/user@65534.service/app.slice" \
		"$x.slice/user@65534.service/$x.slice/$x-a.slice" \
		"$x.slice/$x-box.scope/system.slice" \
		"$x.slice/docker-$(cid 1).scope/$x.slice"; do
		c "$long/$x.service"
		c "$long/$x-only.service"
	done
	delegate "$x.slice/user@65534.service"
	where "$x.service" "$a/$x.service"
	nowhere 1 "$x-only.service"
	grep -q "give its path: $sysroot/.*$x-only.service (user" \
		"$tmp/err" || fail "not said where: $(cat "$tmp/err")"
	as_nobody -n --json "$x.service"
	jq -e --arg p "$sysroot/$a/$x.service" '.path == $p' "$tmp/out" \
		>/dev/null || fail "nobody's own came first: $(cat "$tmp/out")"
	c "$x.slice/$x-b.slice/$x.service"
	nowhere 2 "$x.service"
	grep -q "2 cgroups have this name" "$tmp/err" ||
		fail "$(cat "$tmp/err")"
	ok "$1: a user's cgroup neither shadows nor blocks a unit"

	# The owner's own: in the manager, or anywhere if there is one only.
	c "user.slice/$x.slice/user@65534.service/$x.slice/$x-own.service"
	delegate "user.slice/$x.slice/user@65534.service"
	c "user.slice/$x.slice/user@65534.service/$x.scope/$x-own.service"
	delegate "user.slice/$x.slice/user@65534.service/$x.scope"
	as_nobody -n --json "$x-own.service"
	jq -e '.path | endswith("/user@65534.service/'"$x.slice/$x-own"'.service")' \
		"$tmp/out" >/dev/null || fail "$(cat "$tmp/out" "$tmp/err")"
	nowhere 1 "$x-own.service"
	c "$x-mine/$x-single.service"
	delegate "$x-mine"
	as_nobody -n --json "$x-single.service"
	jq -e '.path | endswith("'"/$x-mine/$x-single"'.service")' \
		"$tmp/out" >/dev/null || fail "$(cat "$tmp/out" "$tmp/err")"
	nowhere 1 "$x-single.service"
	ok "$1: a user's own unit, for that user only"

	c "$x-mine/"$'\e[31m\t'"$x-evil.service"
	long=$x-mine
	while [ ${#long} -lt 3000 ]; do
		long=$long/$(printf 'd%.0s' {1..60})
	done
	c "$long/$x-deep.service"
	c "$x-mine/$(printf 'w%.0s' {1..247}).service"
	delegate "$x-mine"
	where "$x-a.slice" "$a"
	nowhere 1 $'\e[31m\t'"$x-evil.service"
	LC_ALL=C grep -q $'\e' "$tmp/err" && fail "escapes on the terminal"
	for long in ".." "." "..." ".$x" "*.service" "$x.servic" "_.$x" \
		"$(printf 'w%.0s' {1..5000}).service"; do
		run -n -- "$long"
		case $status in
		1 | 2) ;;
		*) fail "${long:0:40}: status $status: $(cat "$tmp/out")" ;;
		esac
	done
	ok "$1: hostile names and a deep tree"

	c "$x.slice/libpod-$(cid 2).scope/container"
	c "$x.slice/libpod-conmon-$(cid 2).scope"
	c "$x.slice/docker-$(cid 1).scope/libpod-$(cid 2).scope"
	c "$x.slice/user@65534.service/libpod-$(cid 2).scope"
	c "$x-pods.slice/$x-pods-pod1.slice/cri-containerd-$(cid 4096).scope"
	c "$x-pods/pod2/$(cid 5)"
	c "$x.slice/crun-$x-box.scope"
	delegate "$x.slice/user@65534.service"
	where "$(cid 2)" "$x.slice/libpod-$(cid 2).scope"
	where "$(cid 4096)" \
		"$x-pods.slice/$x-pods-pod1.slice/cri-containerd-$(cid 4096).scope"
	where "$(cid 5)" "$x-pods/pod2/$(cid 5)"
	where "$x-box" "$x.slice/crun-$x-box.scope"
	nowhere 2 "$(cid 2 | cut -c 1-12)"
	nowhere 1 "$(cid 99)"
	nowhere 2 "$(cid 2 | cut -c 1-13)"
	c "$x.slice/libpod-${x#mt}aaaaaaaa$(printf '%0.s0' {1..60}).scope"
	c "$x.slice/crio-$(printf 'e%07x%056x' $$ 7).scope"
	where "$(printf 'e%07x0000' $$)" \
		"$x.slice/crio-$(printf 'e%07x%056x' $$ 7).scope"
	c "$x.slice/user@65534.service/libpod-$(cid 3).scope"
	delegate "$x.slice/user@65534.service"
	where "$(cid 3)" "$x.slice/user@65534.service/libpod-$(cid 3).scope"
	ok "$1: containers by ID, by 12 digits, by crun's name"
	remove_made

	# Who could make it is the owner of the one above; it may be given away.
	c "$x.slice/$x-given.service/$x-inner.service"
	c "$x.slice/libpod-$(cid 6).scope/container"
	c "$x.slice/crun-$x-userns.scope"
	delegate "$x.slice/$x-given.service"
	delegate "$x.slice/libpod-$(cid 6).scope"
	delegate "$x.slice/crun-$x-userns.scope"
	where "$x-given.service" "$x.slice/$x-given.service"
	nowhere 1 "$x-inner.service"
	where "$(cid 6)" "$x.slice/libpod-$(cid 6).scope"
	where "$x-userns" "$x.slice/crun-$x-userns.scope"
	as_nobody -n --json "$x-given.service"
	jq -e '.path | endswith("'"/$x-given.service"'")' "$tmp/out" \
		>/dev/null || fail "$(cat "$tmp/out" "$tmp/err")"
	ok "$1: a unit or container that was given to its user"

	# Root in a container or machine that has a name makes what it likes.
	for long in "crun-$x-web.scope" "runc-$x-web.scope" "lxc.payload.$x" \
		"systemd-nspawn@$x.service/payload" "machine-$x.scope"; do
		c "$x.slice/$long/docker-$(cid 8).scope"
	done
	c "$x.slice/docker-$(cid 8).scope"
	c "$x.slice/crun-$x.app.scope"
	where "$(cid 8)" "$x.slice/docker-$(cid 8).scope"
	where "$x.app" "$x.slice/crun-$x.app.scope"
	ok "$1: containers in a container with a name, a name with a dot"
	remove_made
}

# What cannot be looked up is not said to be gone.
failures() {
	local deep=$x.slice/a/b/c/d/e/f

	c "$deep/$x.service"
	run -n --json "/$x-gone"
	[ "$status" = 1 ] || fail "status $status"
	jq -e --arg path "/$x-gone" '.path == $path' "$tmp/out" >/dev/null ||
		fail "another path: $(cat "$tmp/out")"
	(ulimit -n 9 && "$MRELEASE" -n "$x.service") >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ "$status" = 5 ] || fail "no descriptors: $status, $(cat "$tmp/err")"
	# shellcheck disable=SC2016
	if unshare -m sh -c 'umount -l -a -t cgroup,cgroup2 && exec "$@"' _ \
		"$MRELEASE" -n "$x.service" >"$tmp/out" 2>"$tmp/err"; then
		fail "$(cat "$tmp/out")"
	else
		status=$?
	fi
	if grep -q "no cgroup file system" "$tmp/err"; then
		[ "$status" = 5 ] || fail "nothing mounted: status $status"
	else
		grep -q umount "$tmp/err" || fail "$(cat "$tmp/err")"
	fi
	ok "what cannot be looked up is not gone"
	remove_made
}

# Version 2 is mounted, and systemd or a container manager keeps to version 1.
hybrid() {
	local v2=$sysroot

	sysroot=$(awk '$0 ~ / - cgroup .*name=/ { print $5; exit }' \
		/proc/self/mountinfo)
	if [ -z "$sysroot" ]; then
		skip v1 "a name in version 1 only" "no such hierarchy"
	else
		c "$x.slice/$x-old.service"
		where "$x-old.service" "$x.slice/$x-old.service"
		where "/$x.slice/$x-old.service" "$x.slice/$x-old.service"
		ok "a name in version 1 only"
		remove_made
	fi
	sysroot=$v2
}

kills() {
	local one

	c "$x.slice/$x.service"
	c "$x.slice/user@65534.service/$x.service"
	start_victim -g "$sysroot/$x.slice/user@65534.service/$x.service/cgroup.procs" \
		anon 2
	one=$vpid
	local ctl_one=$vctl job_one=$vjob
	start_victim -g "$sysroot/$x.slice/$x.service/cgroup.procs" anon 2
	delegate "$x.slice/user@65534.service"
	expect 0 "$x.service"
	grep -q "$x.slice/$x.service (1 process)" "$tmp/out" ||
		fail "$(cat "$tmp/out")"
	expect_dead "$vpid"
	end_victim
	vpid=$one vctl=$ctl_one vjob=$job_one
	expect_untouched
	end_victim
	ok "the unit is killed, a user's of the same name is not"
	remove_made
}

# completes SHELL WORD...: each is offered; what begins with ! is not.
completes() {
	local shell=$1 word
	shift
	for word; do
		if [ "${word#!}" != "$word" ]; then
			grep -qxF -- "${word#!}" "$tmp/out" &&
				fail "$shell offers ${word#!}"
		else
			grep -qxF -- "$word" "$tmp/out" ||
				fail "$shell does not offer $word"
		fi
	done
}

completions() {
	local words=("$x.service" "$x-getty@1.service" "$x\\x2dz.service"
		"$(printf 'e%07x0000' $$)" "!$x-inner.service")

	c "$x.slice/$x.service/$x-inner.service"
	c "$x.slice/$x-getty@1.service"
	c "$x.slice/$x\\x2dz.service"
	c "$x.slice/libpod-$(printf 'e%07x%056x' $$ 7).scope/container"
	bash -c '. "$1" && _mrelease_units' _ "$top/completions/mrelease.bash" \
		>"$tmp/out" 2>"$tmp/err"
	completes bash "${words[@]}"
	if command -v fish >/dev/null; then
		fish -c "source '$top/completions/mrelease.fish'
			__mrelease_units" 2>"$tmp/err" | cut -f 1 >"$tmp/out"
		completes fish "${words[@]}"
	fi
	if command -v zsh >/dev/null; then
		# What it would add, without an editor to add it to.
		# shellcheck disable=SC2016
		zsh -fc 'compadd() { print -rl -- ${(P)@[-1]} }
			_wanted() { shift 3; "$@" }
			compdef() { }; _arguments() { }
			source $1; _mrelease_units' _ "$top/completions/_mrelease" \
			>"$tmp/out" 2>"$tmp/err"
		completes zsh "${words[@]}"
	fi
	ok "completion offers units and containers, nothing below them"
	remove_made
}

# typed WANT TEXT: with a tab at its end, in a shell at a terminal.
typed() {
	rm -f "$tmp/got"
	# shellcheck disable=SC2016
	printf '%s\n' ". '$top/completions/mrelease.bash'" \
		'mrelease() { printf "%s" "$1" >'"'$tmp/got'; }" \
		"mrelease $2"$'\t' exit |
		timeout 60 script -qec 'bash --norc --noprofile -i' /dev/null \
			>"$tmp/out" 2>"$tmp/err"
	[ -f "$tmp/got" ] || fail "$2: mrelease was not called"
	[ "$(cat "$tmp/got")" = "$1" ] || fail "$2: $(cat "$tmp/got")"
}

completed() {
	local id

	id=$(printf '7%07x0000' $$)
	if ! command -v script >/dev/null; then
		skip names "completion at a terminal" "no script(1)"
		return
	fi
	c "$x.slice/$x-getty@11.service"
	c "$x.slice/$x\\x2dz.service"
	c "$x.slice/$x:a@b:c.service"
	c "$x.slice/$x-q\$(exit)z.service"
	c "$x.slice/libpod-$id$(printf '%052x' 7).scope/container"
	typed "$x-getty@11.service" "$x-getty"
	typed "$x-getty@11.service" "$x-getty@"
	typed "$x-getty@11.service" "$x-getty@1"
	typed "$x-getty@11.service" "'$x-getty@1"
	typed "$x-getty@11.service" "\"$x-getty@1"
	typed "$x-getty@11.service" "$x-getty\\@1"
	typed "$x\\x2dz.service" "$x\\\\"
	typed "$x\\x2dz.service" "$x\\\\x2"
	typed "$x\\x2dz.service" "'$x\\x"
	typed "$x:a@b:c.service" "$x:"
	typed "$x:a@b:c.service" "$x:a@b"
	typed "$id" "${id%0000}"
	# What others have called theirs is not executed.
	typed "$x-q\$(exit)z.service" "$x-q"
	# shellcheck disable=SC2016
	bash -c '. "$1"; COMP_LINE="mrelease \"$2"; COMP_POINT=${#COMP_LINE}
		COMP_WORDS=(mrelease "\"$2"); COMP_CWORD=1
		_mrelease; printf "%s" "${COMPREPLY[@]}"' _ \
		"$top/completions/mrelease.bash" "$x-q" >"$tmp/out" 2>"$tmp/err"
	[ ! -s "$tmp/out" ] || fail "within quotes: $(cat "$tmp/out")"
	ok "completion at a terminal: names with @, : and a backslash, IDs"
	remove_made
}

if [ "${1:-}" = v1 ]; then
	# In a mount namespace of its own, see below.
	sysroot=$2
	names v1
	finish
fi

plan 19
sysroot=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
if ! command -v jq >/dev/null || [ "$(id -u)" != 0 ] || [ -z "$sysroot" ] ||
	! mkdir "$sysroot/$x.slice" 2>/dev/null ||
	! chown 65534 "$sysroot/$x.slice" 2>/dev/null; then
	rmdir "$sysroot/$x.slice" 2>/dev/null
	for n in {1..19}; do
		skip names "names, $n" "needs root, jq and a v2 hierarchy"
	done
	finish
fi
rmdir "$sysroot/$x.slice"
names v2
kills
completions
completed
failures
hybrid

# Where there is no v2, systemd's own hierarchy has the names.
v1=$tmp/v1
mkdir "$v1"
# For nobody as well.
chmod 711 "$tmp"
# shellcheck disable=SC2016
if unshare -m sh -c 'umount -a -t cgroup2 &&
		mount -t cgroup -o none,name=systemd none "$1"' _ "$v1" \
		2>/dev/null; then
	# shellcheck disable=SC2016
	unshare -m sh -c 'umount -a -t cgroup2 && umount -a -t cgroup
		mount -t cgroup -o none,name=systemd none "$1" &&
		exec "$2" v1 "$1"' _ "$v1" "$0" >"$tmp/v1.out" 2>&1
	while IFS= read -r line; do
		case $line in
		"ok "*) ok "${line#*- }" ;;
		"not ok "*)
			fail "$(grep -A20 -F "$line" "$tmp/v1.out" | grep '^#')"
			ok "${line#*- }" ;;
		esac
	done <"$tmp/v1.out"
	[ "$nr" = 19 ] || { fail "$(cat "$tmp/v1.out")"; ok "v1 came to its end"; }
else
	for n in {1..7}; do
		skip v1 "v1, $n" "no v1 hierarchy of systemd's can be mounted"
	done
fi
finish
