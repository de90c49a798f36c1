# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2015,SC2034,SC2046,SC2154
#
# "rig mini": the mini-series in kernel/series-7.3, sourced by rig after full.sh.
# Each is applied to BASE with only those that its file "needs" names, built,
# booted, and tested; and its tests on the bare BASE, where each must do what the
# file "expect" says.  One source tree and one build directory: from one to the
# next, what differs is compiled.

minis=$top/kernel/series-7.3
package=linux-source-7.3
disk=none
# What a test of huge pages asks for (MADV_COLLAPSE) does not mind.
cmdline="$cmdline transparent_hugepage=madvise"

# The newest 7.3.y of trixie-backports, on any Debian, in $src/base.
mini_source()
{
	local want

	src=$work/7.3
	export MINI_SRC=$src
	mkdir -p "$src" || exit 1
	if ! during "fetching $package" "$src/apt.log" \
	    "$top/kernel/fetch" trixie-backports "$src" $package; then
		say "$package cannot be had: nothing to test"
		echo "0 passed, 0 failed, 1 skipped"
		exit 0
	fi
	version=$(sed -n "s/^$package //p" "$src/versions")
	want=$(cat "$minis/BASE")
	[ "$version" = "$want" ] ||
		say "source is $version, the patches were made against $want"
	[ "$(cat "$src/base/.git/complete" 2>/dev/null)" = "$version" ] && return
	say "unpacking $package $version"
	rm -rf "$src/base" "$src/am" "$src/build-"*
	mkdir -p "$src/base" || die "cannot make $src/base"
	during unpacking "" tar xf "$src/files/usr/src/$package.tar.xz" \
		-C "$src/base" --strip-components=1 ||
		die "cannot unpack $package"
	during "a git tree of it" "" git_tree ||
		die "cannot make a git tree of $package"
	echo "$version" >"$src/base/.git/complete"
}

# mini_patches NAME: those of what it needs first
mini_patches()
{
	local need

	for need in $(cat "$minis/$1/needs" 2>/dev/null) "$1"; do
		find "$minis/$need" -name '[0-9][0-9][0-9][0-9]-*.patch' | sort
	done
}

# mini_commit NAME: BASE with it, in $commit
mini_commit()
{
	local p list log=$src/am.log

	commit=base
	[ "$1" != base ] || return 0
	list=$(mini_patches "$1")
	[ -e "$src/am/.git" ] || { git -C "$src/base" worktree prune &&
		git -C "$src/base" worktree add -q --detach "$src/am" base; } ||
		die "cannot make a work tree"
	git -C "$src/am" am -q --abort 2>/dev/null
	git -C "$src/am" checkout -q -f --detach base || die "cannot check out"
	for p in $list; do
		git -C "$src/am" am -q --whitespace=error-all "$p" \
			>"$log" 2>&1 ||
			{ cat "$log"; git -C "$src/am" am --abort
			  die "$1: $(basename "$p") does not apply to $version"; }
	done
	commit=$(git -C "$src/am" rev-parse HEAD)
	say "$1: $(echo "$list" | wc -l) patches applied to $version"
}

# mini_build NAME: $src/base is that afterwards, its kernel in build-NAME.
mini_build()
{
	local out=$src/build-$1 stamp

	mini_commit "$1"
	git -C "$src/base" checkout -q -f --detach "$commit" ||
		die "cannot check $1 out"
	stamp=$({ git -C "$src/base" rev-parse "HEAD^{tree}"
		  cat "$here/kernel.config" "$here/mini.config"
		  gcc --version; } | sha256sum)
	if [ "$(cat "$out/mini" 2>/dev/null)" = "$stamp" ]; then
		say "$1: is built"
		return
	fi
	build tree "$src/base" "$here/kernel.config" "$here/mini.config"
	mkdir -p "$out/arch/x86/boot" &&
		cp "$src/build-tree/arch/x86/boot/bzImage" "$out/arch/x86/boot" ||
		die "cannot copy the kernel"
	echo "$stamp" >"$out/mini"
}

# mini_expected RESULTS EXPECT: what each test in $log has done, and the words that
# the file EXPECT wants to see between its RUN and its result: one that fails for
# another reason has not shown what it is for.  The number that has not, in $bad.
mini_expected()
{
	local prog name want why got section

	bad=0
	results "$log" >"$1"
	while read -r prog name want why; do
		case $prog in ''|'#'*) continue ;; esac
		got=$(awk -v p="$prog" -v t="$name" \
			'$1 == p && $2 == t { print $3 }' "$1")
		case $want,$got in
		pass,pass|fail\?,pass) continue ;;
		esac
		section=$(awk -v t="$name" '
			$2 == "RUN" { on = $3 == t }
			on
			/^    (not )?ok / { on = 0 }' "$log")
		[ "${want%\?}" = "$got" ] && grep -qE -- "$why" <<<"$section" &&
			continue
		say "base: $prog $name: ${got:-nothing}, expected $want $why"
		bad=$((bad + 1))
	done <"$2"
}

mini_one()
{
	local this=$1 bad ret

	rm -rf "$src/lists"
	mkdir -p "$src/lists"
	cp "$minis/$this/list" "$src/lists/$this" || die "$this: no list"
	patched=$src/base
	# Of one that is not written yet there is what BASE does wrong.
	if [ -n "$(mini_patches "$this")" ]; then
		mini_build "$this"
		programs "../series-7.3/$this/programs"
		initramfs tree
		boot "$this" "$this" "${CHECK_TIMEOUT:-1200}"
		ret=$?
		add_counts
		one "$this: the machine reached its end, nothing failed" $ret
		mini_build base
	else
		mini_build base
		programs "../series-7.3/$this/programs"
		initramfs tree
	fi
	boot base "$this" "${CHECK_TIMEOUT:-1200}"
	if [ ! -s "$src/base-$this.token" ]; then
		one "$this: BASE reached its end" 1
		return
	fi
	mini_expected "$src/base-$this.results" "$minis/$this/expect"
	one "$this: on BASE each test does what expect says" "$bad"
}

# mini_state NAME: what its result is a function of, in one word.
mini_state()
{
	local need paths=(kernel/qemu kernel/series-7.3/BASE)

	for need in $(cat "$minis/$1/needs" 2>/dev/null) "$1"; do
		paths+=("kernel/series-7.3/$need")
	done
	git -C "$top" ls-tree -r HEAD "${paths[@]}" | grep -v '/COVER$' |
		sha256sum | cut -d' ' -f1
}

# Those of which something has been changed within a day, one after the other for as
# long as there is time: each day another one first.  What has passed here in the same
# state is left out.
mini_ci()
{
	local since all each due=() passed=$work/mini.passed ret=0

	since=$(git -C "$top" rev-list -1 --before='1 day ago' HEAD)
	[ -n "$since" ] || since=$(git -C "$top" hash-object -t tree /dev/null)
	all=($(cd "$minis" && echo [0-9]-*))
	each=$(($(date +%s) / 86400 % ${#all[@]}))
	for each in "${all[@]:each}" "${all[@]:0:each}"; do
		git -C "$top" diff --quiet "$since" HEAD -- \
			"kernel/series-7.3/$each" && continue
		grep -qx "$(mini_state "$each")" "$passed" 2>/dev/null ||
			due+=("$each")
	done
	[ ${#due[@]} -gt 0 ] || { say "mini-series: nothing new"; return 0; }
	say "mini-series, in this order: ${due[*]}"
	mini_prepare
	for each in "${due[@]}"; do
		total_failed=0
		say "mini-series $each"
		mini_one "$each"
		[ "$total_failed" = 0 ] || { ret=1; continue; }
		mini_state "$each" >>"$passed"
	done
	return $ret
}

mini_prepare()
{
	package='' step_deps
	mini_source
}

mini()
{
	local each

	mini_prepare
	[ $# -gt 0 ] || set -- $(cd "$minis" && echo [0-9]-*)
	for each; do
		say "mini-series $each"
		mini_one "$each"
	done
	echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
	[ "$total_failed" = 0 ]
}
