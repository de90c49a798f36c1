#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tests/packages.sh [SUITE...]: the packages, from nothing, in a chroot of each
# Debian (bookworm and trixie): built with "make deb", built again elsewhere,
# looked through by lintian, installed, used, upgraded and purged.
#
# Needs root, mmdebstrap and Debian's archive.  The chroots' tarballs and what
# apt downloads are kept in build-deb/chroots.  DEMO=1: "make demo" as well.

set -u
cd "$(dirname "$0")/.." || exit 1
top=$PWD
[ $# -gt 0 ] || set -- bookworm trixie
keep=$top/build-deb/chroots
nr=0 failed=0 why=

if [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP needs root [root]"
	exit 0
fi
if ! command -v mmdebstrap >/dev/null; then
	echo "1..0 # SKIP mmdebstrap is not installed [mmdebstrap]"
	exit 0
fi
mkdir -p "$keep"
tmp=$(mktemp -d "$keep/run.XXXXXX")
# Nothing is mounted in this namespace: each inside() has its own.
trap 'rm -rf "$tmp"' EXIT

fail() {
	why="$why$*"$'\n'
}

ok() {
	nr=$((nr + 1))
	if [ -z "$why" ]; then
		printf 'ok %d - %s: %s\n' "$nr" "$suite" "$1"
	else
		printf 'not ok %d - %s: %s\n' "$nr" "$suite" "$1"
		printf '%s' "$why" | sed 's/^/# /'
		failed=$((failed + 1))
	fi
	why=
}

skip() {
	nr=$((nr + 1))
	why=
	printf 'ok %d - %s: %s # SKIP %s [%s]\n' "$nr" "$suite" "$2" "$3" "$1"
}

# inside ROOT COMMAND...: with /proc, /sys and /dev, and gone with its end.
# What it printed is in $tmp/log.
inside() {
	local root=$1
	shift
	# shellcheck disable=SC2016
	unshare --mount --pid --fork --kill-child sh -c '
		root=$1 archives=$2
		shift 2
		mount --make-rprivate / &&
		mount -t proc proc "$root/proc" &&
		mount --rbind /sys "$root/sys" &&
		mount --rbind /dev "$root/dev" &&
		mount --bind "$archives" "$root/var/cache/apt/archives" &&
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
		' _ "$root" "$keep/$suite.archives" "$@" </dev/null >"$tmp/log" 2>&1
}

# must ROOT COMMAND...: inside, and a failure of this test if it fails.
must() {
	inside "$@" || {
		fail "${*:2}: status $?: $(tail -n 30 "$tmp/log")"
		return 1
	}
}

tarball() {
	mkdir -p "$keep/$suite.archives/partial"
	[ ! -f "$keep/$suite.tar" ] || return 0
	# By the name alone it would be a directory.
	# What it mounts is gone with it, however it ends.
	unshare --mount --propagation private \
		mmdebstrap --quiet --mode=root --variant=minbase --skip=cleanup/apt \
		--format=tar "$suite" "$keep/$suite.tar.new" >"$tmp/log" 2>&1 &&
		mv "$keep/$suite.tar.new" "$keep/$suite.tar"
}

# new_root NAME: sets root.
new_root() {
	root=$tmp/$suite.$1
	mkdir -p "$root"
	tar -x -C "$root" -f "$keep/$suite.tar" --exclude='./dev/*'
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast"
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
}

apt_install() {
	must "$1" apt-get -qq install -y --no-install-recommends "${@:2}"
}

# As in a tarball of the sources: no .git.
copy_tree() {
	mkdir -p "$1"
	cp -a "$tmp/tree/." "$1"
}

# Every file but what apt, dpkg and the logs keep, and what ldconfig makes.
snapshot() {
	find "$1" -xdev -mindepth 1 \( -path "$1/proc" -o -path "$1/sys" \
		-o -path "$1/dev" -o -path "$1/tmp" -o -path "$1/mnt" \
		-o -path "$1/var/lib/dpkg" -o -path "$1/var/lib/apt" \
		-o -path "$1/var/cache" -o -path "$1/var/log" \
		-o -path "$1/etc/ld.so.cache" -o -path "$1/etc/*-" \) -prune -o \
		-printf '%y %m %u %g %l ' \( -type f -printf '%s ' -o -true \) \
		-printf '%P\n' | sort
}

# Its own packages, without those for debuggers.
debs_in() {
	find "$1" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -printf '%f\n'
}

test_build() {
	new_root build
	builder=$root
	copy_tree "$root/src"
	must "$root" apt-get -qq update
	apt_install "$root" make
	must "$root" sh -c 'cd /src && make deb'
	debs=$root/src/build-deb
	[ "$(debs_in "$debs" | wc -l)" -ge 3 ] || fail "packages: $(ls "$debs")"
	ok "make deb, with make and the sources only"
}

test_twice() {
	local f
	copy_tree "$builder/else/where"
	find "$builder/else" -exec touch -d 2026-11-01 {} +
	# shellcheck disable=SC2016
	must "$builder" sh -c 'cd /else/where && umask 077 &&
		TZ=Pacific/Apia LC_ALL=POSIX USER=other scripts/deb /again'
	for f in "$debs"/*.deb "$debs"/*.dsc "$debs"/*.tar.*; do
		cmp "$f" "$builder/again/${f##*/}" >"$tmp/log" 2>&1 ||
			fail "$(cat "$tmp/log")"
	done
	ok "built twice: the same bytes"
}

test_lintian() {
	apt_install "$builder" lintian
	must "$builder" sh -c 'lintian --allow-root --fail-on error,warning \
		/src/build-deb/*.changes'
	grep -E '^[EW]:' "$tmp/log" >"$tmp/found" && fail "$(cat "$tmp/found")"
	ok "lintian: no error, no warning"
}

# meson install of the same tree, against what the packages have.
test_same_files() {
	local f
	# shellcheck disable=SC2016
	must "$builder" sh -c 'cd /src && scripts/build /tmp/b --prefix=/usr \
		--sysconfdir=/etc $(sed -n "s/^[^ ]*\(-D[^ ]*\).*/\1/p" debian/rules) &&
		DESTDIR=/tmp/root meson install -C /tmp/b --no-rebuild'
	(cd "$builder/tmp/root" && find . ! -type d) |
		grep -vE '^\./usr/share/doc/|/__pycache__/' | sort >"$tmp/meson"
	debs_in "$debs" | while IFS= read -r f; do
		dpkg-deb --fsys-tarfile "$debs/$f" | tar -t
	done | grep -vE '/$|^\./usr/share/(doc|lintian)/' |
		sed '/usr\/share\/man/s/\.gz$//' | sort >"$tmp/packages"
	[ -s "$tmp/packages" ] || fail "the packages are empty"
	diff "$tmp/meson" "$tmp/packages" >"$tmp/log" || fail "$(cat "$tmp/log")"
	ok "meson install and the packages: the same files"
}

# Which packages the tests of debian/tests need, without ours.
test_needs() {
	echo g++ gcc libc6-dev pkg-config
	# For the daemon's user, without all of systemd.
	echo passwd python3-pytest systemd-standalone-sysusers
}

test_install() {
	local f
	new_root use
	user=$root
	mkdir -p "$user/mnt/debs"
	copy_tree "$user/mnt/src"
	debs_in "$debs" | while IFS= read -r f; do
		cp "$debs/$f" "$user/mnt/debs"
	done
	must "$user" apt-get -qq update
	# What ours depend on, too: what is left is to be ours alone.
	# shellcheck disable=SC2046
	apt_install "$user" libjansson4 $(test_needs)
	must "$user" ldconfig
	snapshot "$user" >"$tmp/before"
	must "$user" sh -c 'apt-get -qq install -y --no-install-recommends \
		/mnt/debs/*.deb'
	find "$user/etc/systemd" "$user/var/lib/systemd/deb-systemd-helper-enabled" \
		-name 'mreleased*' 2>/dev/null | grep . >"$tmp/found" &&
		fail "enabled, and nobody asked for it: $(cat "$tmp/found")"
	ok "apt install"
	for f in consumer command python; do
		[ -x "debian/tests/$f" ] || continue
		must "$user" sh -c "cd /mnt/src && debian/tests/$f"
		ok "debian/tests/$f"
	done
}

test_purge() {
	local names
	names=$(sed -n 's/^Package: //p' debian/control)
	# shellcheck disable=SC2086
	must "$user" dpkg --purge $names
	snapshot "$user" >"$tmp/after"
	diff "$tmp/before" "$tmp/after" >"$tmp/log" || fail "$(cat "$tmp/log")"
	ok "purge: nothing is left behind"
}

# The version before: the commit that named it in debian/changelog.
test_upgrade() {
	local version before commit names
	version=$(dpkg-parsechangelog -S Version)
	before=$(dpkg-parsechangelog -o 1 -c 1 -S Version 2>/dev/null)
	commit=
	[ -z "$before" ] || commit=$(in_git log --reverse --format=%H \
		-S"mrelease ($before)" -- debian/changelog 2>/dev/null | head -n 1)
	if [ -z "$commit" ]; then
		skip before "upgrade from the version before" "there is none"
		return
	fi
	mkdir "$builder/before"
	in_git archive "$commit" | tar -x -C "$builder/before"
	must "$builder" sh -c 'cd /before && make deb'
	mkdir "$user/mnt/before"
	debs_in "$builder/before/build-deb" | while IFS= read -r f; do
		cp "$builder/before/build-deb/$f" "$user/mnt/before"
	done
	must "$user" sh -c 'apt-get -qq install -y --no-install-recommends \
		/mnt/before/*.deb'
	must "$user" sh -c 'apt-get -qq install -y --no-install-recommends \
		/mnt/debs/*.deb'
	names=$(sed -n 's/^Package: //p' debian/control)
	# shellcheck disable=SC2086
	must "$user" dpkg-query -W -f '${Version} ${db:Status-Status}\n' $names
	grep -vx "$version installed" "$tmp/log" >"$tmp/found" &&
		fail "$(cat "$tmp/found")"
	must "$user" sh -c 'cd /mnt/src && debian/tests/command'
	ok "upgrade from the version before"
	# shellcheck disable=SC2086
	must "$user" dpkg --purge $names
	snapshot "$user" >"$tmp/after"
	diff "$tmp/before" "$tmp/after" >"$tmp/log" || fail "$(cat "$tmp/log")"
	ok "purge after an upgrade: nothing is left behind"
}

test_demo() {
	new_root demo
	copy_tree "$root/src"
	must "$root" apt-get -qq update
	apt_install "$root" make
	must "$root" sh -c 'cd /src && make demo'
	grep -q mrelease "$tmp/log" || fail "no table: $(cat "$tmp/log")"
	ok "make demo, with make and the sources only"
	rm -rf "$root"
}

# The tree as it is now, whatever becomes of it meanwhile.
mkdir "$tmp/tree"
git -c safe.directory='*' ls-files | while IFS= read -r f; do
	[ ! -e "$f" ] || printf '%s\n' "$f"
done | tar -c -T - | tar -x -C "$tmp/tree"
cd "$tmp/tree" || exit 1
in_git() {
	git -C "$top" -c safe.directory='*' "$@"
}

for suite; do
	if ! tarball; then
		skip archive "all of it" "mmdebstrap: $(tail -n 1 "$tmp/log")"
		continue
	fi
	test_build
	test_twice
	test_lintian
	test_same_files
	test_install
	test_purge
	test_upgrade
	[ -z "${DEMO:-}" ] || test_demo
	rm -rf "$tmp/$suite".*
done
echo "1..$nr"
[ "$failed" = 0 ]
