#!/bin/sh
# SPDX-License-Identifier: MIT
#
# as.sh nobody|userns COMMAND [ARG...]: run a test with fewer privileges.
# Where that cannot be done the whole test is skipped, with the reason.

skip() {
	if [ "${MRELEASE_MUST_WORK:-}" = 1 ]; then
		case ,${MRELEASE_ACCEPT_SKIP:-}, in
		*,$1,*) ;;
		*)
			echo 1..1
			echo "not ok 1 - as $1"
			echo "# must work: $2"
			exit 1
			;;
		esac
	fi
	echo "1..0 # SKIP $2 [$1]"
	exit 0
}

# A cgroup in v2, and one in the v1 freezer, that are nobody's, as a service
# manager delegates them.  Where there are none the tests skip what needs them.
delegate() {
	delegated=
	# shellcheck disable=SC2013
	for point in $(awk '/ - cgroup2 / || / - cgroup .*[ ,]freezer(,|$)/ \
			{ print $5 }' /proc/self/mountinfo); do
		c=$point/mrelease-as-$$
		mkdir "$c" 2>/dev/null || continue
		chown 65534:65534 "$c" "$c/cgroup.procs" "$c/cgroup.threads" \
			"$c/tasks" 2>/dev/null
		delegated="$delegated $c"
	done
}

drop="setpriv --reuid=65534 --regid=65534 --clear-groups"
drop="$drop --bounding-set=-all --inh-caps=-all"

# The first directory on the way to $1 that is closed to others.
closed_above() {
	path=
	rest=${1#/}
	while [ -n "$rest" ]; do
		path=$path/${rest%%/*}
		$drop test -x "$path" || break
		case $rest in
		*/*) rest=${rest#*/} ;;
		*) return 1 ;;
		esac
	done
	echo "$path"
}

# A home directory is closed to others: adduser makes it so.  In a mount
# namespace of our own it is covered by an empty one that leads here only.
open_the_way() {
	here=$PWD
	top=$(cd "$(dirname "$0")/.." && pwd -P)
	closed=$(closed_above "$top") || return 0
	[ "$closed" != "$top" ] || return 0
	if [ -z "${MRELEASE_OWN_MOUNTS:-}" ]; then
		unshare -m --propagation private true 2>/dev/null || return 0
		MRELEASE_OWN_MOUNTS=1 exec unshare -m --propagation private \
			-- "$0" "$@"
	fi
	hold=$(mktemp -d)
	mount --bind "$top" "$hold"
	mount -t tmpfs -o mode=0755 tmpfs "$closed"
	mkdir -p "$top"
	mount --move "$hold" "$top"
	rmdir "$hold"
	cd "$here" || exit 1
}

[ "$(id -u)" != 0 ] || open_the_way "$@"
who=$1
shift
case $who in
nobody)
	[ "$(id -u)" = 0 ] || skip nobody "not root: cannot become nobody"
	$drop true || skip nobody "setpriv cannot become nobody"
	$drop test -x "$(readlink -f "$1")" ||
		skip nobody "nobody cannot execute $1"
	delegate
	# shellcheck disable=SC2086
	(
		for c in $delegated; do
			echo 0 >"$c/cgroup.procs" || exit 1
		done
		exec $drop "$@"
	)
	status=$?
	for c in $delegated; do
		rmdir "$c" || status=1
	done
	exit $status
	;;
userns)
	unshare -Ur true 2>/dev/null ||
		skip userns "no user namespace can be made"
	unshare -Ur test -x "$(readlink -f "$1")" ||
		skip userns "root of a user namespace cannot execute $1"
	set -- unshare -Ur -- "$@"
	;;
*)
	echo "usage: as.sh nobody|userns COMMAND..." >&2
	exit 2
	;;
esac
exec "$@"
