#!/bin/bash
# SPDX-License-Identifier: MIT
#
# container.sh [-p] [-u UID] [-r ROOT] COMMAND [ARG...]: run it in this directory
# as in a plain container.  As root:
#
# - namespaces of its own: mounts, PIDs, IPC, host name
# - / is an overlay of / (or of ROOT, a chroot's tree) with a tmpfs above: what
#   is written is gone afterwards
# - the 14 capabilities that Docker leaves, and of the calls that it refuses
#   those that capabilities do not: userfaultfd, kcmp, unshare, setns, mount
# - /proc/sys and /sys are read-only, there are no cgroups, /dev has ten files
#
# -p: all of that, with all capabilities and calls (--privileged)
# -u UID: as an ordinary user, whom the files of the working tree belong to
#
# Exit status: that of the command; 77 where no such container can be made, with
# "skip: why".
set -u

# Docker's default, moby/oci/caps/defaults.go
caps=chown,dac_override,fsetid,fowner,mknod,net_raw,setgid,setuid,setfcap
caps=$caps,setpcap,net_bind_service,sys_chroot,kill,audit_write
refused=userfaultfd:EPERM,kcmp:EPERM,unshare:EPERM,setns:EPERM,mount:EPERM

skip() {
	echo "skip: no container: $*"
	exit 77
}

usage() {
	sed -n 's/^# container.sh/usage: container.sh/p' "$0" | head -n 1 >&2
	exit 2
}

# In the new mount namespace: what a container's root looks like, in $1/root.
make_root() {
	local base=$1 lower=$2 f
	mount -t tmpfs -o size=3g,mode=0755 tmpfs "$base" &&
		mkdir "$base/upper" "$base/work" "$base/root" &&
		mount -t overlay -o \
			"lowerdir=$lower,upperdir=$base/upper,workdir=$base/work" \
			overlay "$base/root" || return 1
	# The tree below another mount, or not in ROOT at all.
	[ -d "$base/root$PWD/tests" ] ||
		{ mkdir -p "$base/root$PWD" && cp -a . "$base/root$PWD"; } || return 1
	for f in proc sys dev tmp run; do
		mkdir -p "$base/root/$f"
	done
	mount -t proc proc "$base/root/proc" &&
		mount --bind "$base/root/proc/sys" "$base/root/proc/sys" &&
		mount -o remount,bind,ro "$base/root/proc/sys" &&
		mount -t sysfs -o ro sysfs "$base/root/sys" || return 1
	mount -t tmpfs -o size=64m,mode=0755 tmpfs "$base/root/dev" || return 1
	mkdir "$base/root/dev/shm" "$base/root/dev/pts"
	for f in null zero full random urandom tty; do
		: >"$base/root/dev/$f"
		mount --bind "/dev/$f" "$base/root/dev/$f"
	done
	mount -t tmpfs -o mode=1777 tmpfs "$base/root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$base/root/dev/pts"
	ln -s pts/ptmx "$base/root/dev/ptmx"
	ln -s /proc/self/fd "$base/root/dev/fd"
}

# PID 1: reaps what the command leaves, and ends with it.
inside() {
	local base=$1 dir=$PWD drop=() status
	shift
	make_root "$base" "${root:-/}" || skip "no overlay of / can be mounted"
	[ -z "$user" ] || chown -R -h "$user:$user" "$base/root$dir"
	mkdir -p "$base/root/.old"
	cd "$base/root" && pivot_root . .old && cd "$dir" && umount -l /.old &&
		rmdir /.old || skip "pivot_root"
	drop=(setpriv --inh-caps=-all)
	[ -z "$user" ] || drop+=(--reuid="$user" --regid="$user" --clear-groups)
	[ "$privileged" = 1 ] ||
		drop+=("--bounding-set=-all,+${caps//,/,+}")
	export HOME=/tmp/home
	mkdir -p $HOME
	[ -z "$user" ] || chown "$user" $HOME
	if [ "$privileged" = 0 ] && [ -x "$without" ]; then
		"${drop[@]}" "$without" $refused -- "$@"
	else
		"${drop[@]}" "$@"
	fi
	status=$?
	# A process of it may still be there; the kernel ends it with PID 1.
	exit $status
}

privileged=0 user='' root=''
if [ "${1:-}" = --inside ]; then
	privileged=$2 user=$3 root=$4 base=$5 without=$6
	shift 6
	inside "$base" "$@"
fi
while getopts pu:r: opt; do
	case $opt in
	p) privileged=1 ;;
	u) user=$OPTARG ;;
	r) root=$(readlink -f "$OPTARG") ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
[ "$(id -u)" = 0 ] || skip "not root"
self=$(readlink -f "$0")
without=$(readlink -f "${BUILD:-build}/tests/without")
unshare --mount --pid --fork --ipc --uts --propagation private true 2>/dev/null ||
	skip "no namespaces"
base=$(mktemp -d) || exit 1
unshare --mount --pid --fork --kill-child --ipc --uts --propagation private -- \
	"$self" --inside $privileged "$user" "$root" "$base" "$without" "$@"
status=$?
rmdir "$base"
exit $status
