# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
#
# "rig full": sourced by rig.  Every part adds to the counts and goes on after
# a failure; FULL="part part" runs some of them only.

total_passed=0 total_failed=0 total_skipped=0

# one NAME STATUS: one result of our own
one()
{
	if [ "$2" = 0 ]; then
		echo "ok - $1"
		total_passed=$((total_passed + 1))
	else
		echo "not ok - $1"
		total_failed=$((total_failed + 1))
	fi
}

add_counts()
{
	local p f s

	p=${counts%% passed*}
	f=${counts#*, }; f=${f%% failed*}
	s=${counts##*, }; s=${s%% skipped*}
	total_passed=$((total_passed + p))
	total_failed=$((total_failed + f))
	total_skipped=$((total_skipped + s))
}

# Results of a log as "program test result": the test's own name, and pass,
# fail or skip.
results()
{
	awk '
	/^    # [A-Za-z_0-9-]+: at most / { prog = substr($2, 1, length($2) - 1) }
	/^    (not )?ok [0-9]+/ {
		res = $1 == "not" ? "fail" : "pass"
		if (tolower($0) ~ /# skip/)
			res = "skip"
		name = $0
		sub(/^ *(not )?ok [0-9]+ *(- )?/, "", name)
		sub(/ *#.*/, "", name)
		gsub(/[ \t]+/, "_", name)
		print prog, name == "" ? "-" : name, res
	}' "$1"
}

# Names with PIDs, addresses or times in them: without, and the worst of equals.
numberless()
{
	sed -E 's/0x[0-9a-f]+|[0-9]+/N/g' | sort |
		awk '{ k = $1 " " $2 }
		k != last { if (last) print last, res; last = k; res = $3 }
		$3 == "fail" { res = "fail" }
		END { if (last) print last, res }'
}

# The bare BASE.  expect.base says of every test of ours what it must do there
# and which words must be in the log for it: a test that fails for another
# reason has not shown what it is for.
part_base()
{
	local prog name want why got bad=0 n=0 section

	build base "$src/base" "$here/kernel.config"
	initramfs base
	boot base base 1800
	if [ ! -s "$src/base-base.token" ]; then
		one "base: the machine reached its end" 1
		return
	fi
	results "$log" >"$src/base.results"
	while read -r prog name want why; do
		case $prog in ''|'#'*) continue ;; esac
		n=$((n + 1))
		got=$(awk -v p="$prog" -v t="$name" \
			'$1 == p && $2 == t { print $3 }' "$src/base.results")
		# It passes if chance has the kill between two of its calls.
		if [ "$want" = "fail?" ]; then
			[ "$got" = pass ] && continue
			want=fail
		fi
		if [ "$got" != "$want" ]; then
			say "base: $prog $name: ${got:-nothing}, expected $want"
			bad=$((bad + 1))
			continue
		fi
		[ "$want" = pass ] && continue
		# The lines between RUN and the result of this test.
		section=$(awk -v p="$prog" -v t="$name" '
			/^    # [A-Za-z_0-9-]+: at most / { prog = $2 }
			$2 == "RUN" && $3 == t { on = 1; buf = "" }
			on { buf = buf $0 "\n" }
			/^    (not )?ok / {
				name = $2 == "ok" ? $4 : $3
				if (name == t && prog == p ":")
					printf "%s%s\n", buf, $0
				on = 0; buf = ""
			}' "$log")
		if ! grep -qE -- "$why" <<<"$section"; then
			say "base: $prog $name: $want, but not for: $why"
			bad=$((bad + 1))
		fi
	done <"$here/expect.base"
	# And nothing of ours that the list does not know.
	while read -r prog name got; do
		grep -qE "^${prog}[[:space:]]+${name}[[:space:]]" \
			"$here/expect.base" ||
			{ say "base: $prog $name is not in expect.base"
			  bad=$((bad + 1)); }
	done <"$src/base.results"
	# The table of patch 2: how often ESRCH, by size and delay.
	for name in base-base check-check; do
		sed -n "s/.*:never_esrch:\\(.*\\)/# ${name%-*}: \\1/p" \
			"$src/$name.log" 2>/dev/null
	done
	say "base: $n tests, $bad not as expected"
	one "base: every test fails, skips or passes as expect.base says" "$bad"
}

part_debug()
{
	build debug "$src/series" "$here/kernel.config" "$here/debug.config"
	initramfs debug
	CPUS=2 MEMORY=3G boot debug debug 5400
	add_counts
}

# The same kernel for half an hour; not one of the parts that are always run.
part_stress()
{
	build debug "$src/series" "$here/kernel.config" "$here/debug.config"
	initramfs debug
	CPUS=2 MEMORY=3G boot debug stress 3000
	add_counts
}

# Every patch on its own: checkpatch, and what it touches builds with W=1.
part_patches()
{
	local p tree=$src/each out=$src/build-each files ret log=$src/each.log f
	local objects

	[ -e "$tree/.git" ] || git -C "$src/base" worktree add -q --detach \
		"$tree" base || { one "patches: a work tree" 1; return; }
	git -C "$tree" checkout -q -f --detach base
	git -C "$tree" clean -q -f -d -x
	mkdir -p "$out"
	cp "$src/build-check/.config" "$out/.config"
	for p in $(patches); do
		(cd "$tree" && perl scripts/checkpatch.pl --strict --no-summary \
			--terse --ignore MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF \
			"$p") >"$log" 2>&1
		# New files without a MAINTAINERS change are the only warning
		# let through: their directories have an entry already.
		ret=$(grep -vE 'FILE_PATH_CHANGES|added, moved or deleted' "$log" |
			grep -cE 'ERROR|WARNING|CHECK')
		[ "$ret" = 0 ] || cat "$log"
		one "checkpatch --strict $(basename "$p")" "$ret"

		git -C "$tree" am -q "$p" >"$log" 2>&1 ||
			{ cat "$log"; one "apply $(basename "$p")" 1; return; }
		files=$(git -C "$tree" diff --name-only HEAD^ HEAD)
		objects=
		for f in $files; do
			case $f in
			tools/*|*.h|*.rst) ;;
			# Not for this machine; "configs" has one.
			*nommu.c) ;;
			*.c) objects="$objects ${f%.c}.o" ;;
			esac
		done
		[ -n "$objects" ] || continue
		make -s -C "$tree" O="$out" olddefconfig >"$log" 2>&1
		# shellcheck disable=SC2086
		low_priority make -s -C "$tree" O="$out" -j"$jobs" W=1 \
			CC="ccache gcc" HOSTCC="ccache gcc" $objects \
			>>"$log" 2>&1
		ret=$?
		# What W=1 says about these files before the series is not ours.
		for f in $files; do
			grep -E "$f:[0-9]+:.*(warning|error)" "$log"
		done >"$log.new"
		[ -s "$log.new" ] && { cat "$log.new"; ret=1; }
		one "W=1 $(basename "$p")" "$ret"
	done
}

# compile NAME ARCH CROSS FRAGMENT...: what the series touches, to objects.
compile()
{
	local name=$1 arch=$2 cross=$3 out=$src/build-cc-$1 ret
	local log=$src/build-cc-$1.log touched
	shift 3

	mkdir -p "$out"
	# Of a directory with files for some configurations only, what it has.
	touched=$(git -C "$src/series" diff --name-only base HEAD -- \
		mm kernel init fs | sed -n -E \
		's,^(mm|fs/proc)/.*\.c$,\1/,p; t; s/\.c$/.o/p' | sort -u)
	# Who uses the headers that were changed, a sample of each kind.
	touched="$touched kernel/pid.o fs/proc/ fs/exec.o kernel/ptrace.o"
	make -s -C "$src/series" O="$out" ARCH="$arch" allnoconfig \
		>"$log" 2>&1
	(cd "$out" && "$src/series/scripts/kconfig/merge_config.sh" -m -O . \
		.config "$@") >>"$log" 2>&1
	make -s -C "$src/series" O="$out" ARCH="$arch" \
		CROSS_COMPILE="$cross" olddefconfig >>"$log" 2>&1
	# shellcheck disable=SC2086
	low_priority make -s -C "$src/series" O="$out" ARCH="$arch" \
		CROSS_COMPILE="$cross" CC="ccache ${cross}gcc" \
		HOSTCC="ccache gcc" -j"$jobs" $touched >>"$log" 2>&1
	ret=$?
	[ $ret = 0 ] || grep -E 'error|warning' "$log" | head -20
	grep -E 'warning:' "$log" && ret=1
	one "compiles: $name" $ret
}

fragment()
{
	printf '%s\n' "$@" >"$src/fragment.config"
	echo "$src/fragment.config"
}

part_configs()
{
	local f=$here/kernel.config

	compile preempt-none x86_64 "" "$f" \
		"$(fragment CONFIG_PREEMPT_NONE=y '# CONFIG_PREEMPT is not set')"
	compile no-swap x86_64 "" "$f" "$(fragment '# CONFIG_SWAP is not set')"
	compile no-memcg x86_64 "" "$f" \
		"$(fragment '# CONFIG_MEMCG is not set')"
	compile up x86_64 "" "$f" "$(fragment '# CONFIG_SMP is not set')"
	compile arm64 arm64 aarch64-linux-gnu- "$f" "$(fragment)"
	# Has a copy of the mmu_gather of its own.
	compile s390 s390 s390x-linux-gnu- "$f" "$(fragment)"
	# No MMU: process_mrelease is ENOSYS and the flag EINVAL, but all builds.
	compile nommu arm arm-linux-gnueabi- "$here/nommu.config"
}

# Some programs of the list "existing" once more, those in $1: what they say now
# counts.
existing_again()
{
	mkdir -p "$src/lists"
	awk 'NR == FNR { want[$1]; next }
		{ name = $2; sub(/.*\//, "", name) }
		name in want' <(echo "$1") "$here/lists/existing" \
		>"$src/lists/again"
	initramfs check
	boot check again 900
	rm "$src/lists/again"
	results "$log" | numberless >"$src/again.existing"
	awk 'FILENAME == ARGV[1] { now[$1]; next } !($1 in now)' \
		"$src/again.existing" "$src/check.existing" |
		sort - "$src/again.existing" >"$src/existing.new"
	mv "$src/existing.new" "$src/check.existing"
}

# The kernel's own selftests: nothing that passes on BASE fails with the series.
# Once more before that is believed: some of them fail now and then anywhere.
part_existing()
{
	local name n worse again

	for name in base check; do
		[ -e "$src/build-$name/arch/x86/boot/bzImage" ] ||
			build "$name" "$src/base" "$here/kernel.config"
		initramfs "$name"
		boot "$name" existing 1500
		[ -s "$src/$name-existing.token" ] ||
			{ one "existing: $name reached its end" 1; return; }
		results "$log" | numberless >"$src/$name.existing"
	done
	for again in 1 2 3; do
		# Failed, or a program that has said nothing.
		worse=$(awk 'NR == FNR { base[$1 " " $2] = $3; ran[$1]; next }
			{ delete ran[$1] }
			base[$1 " " $2] == "pass" && $3 == "fail" {
				print $1, $2 }
			END { for (p in ran) print p }' \
			"$src/base.existing" "$src/check.existing")
		[ -n "$worse" ] && [ "$again" != 3 ] || break
		say "existing: again, because of: $worse"
		existing_again "$worse"
	done
	n=$(wc -l <"$src/base.existing")
	say "existing: $n results on BASE, $(wc -l <"$src/check.existing") with the series"
	cut -d' ' -f3 "$src/base.existing" | sort | uniq -c |
		sed 's/^ */# on BASE: /'
	cut -d' ' -f3 "$src/check.existing" | sort | uniq -c |
		sed 's/^ */# with the series: /'
	[ -n "$worse" ] && say "existing: worse: $worse"
	# Names can differ, as the words about a recycled PID, but not many.
	[ -z "$worse" ] && [ "$n" -gt 100 ] &&
		[ "$(wc -l <"$src/check.existing")" -ge $((n * 95 / 100)) ]
	one "existing: the kernel's own selftests say nothing worse" $?
}

# libmrelease's own tests, on a stock kernel and on a patched one.
part_library()
{
	local name

	library
	for name in base check; do
		[ -e "$src/build-$name/arch/x86/boot/bzImage" ] ||
			build "$name" "$src/base" "$here/kernel.config"
		initramfs "$name" library
		boot "$name" library 1800
		say "library on $name: $counts"
		add_counts
	done
}

# Instructions, not time: one CPU, -icount, the same initramfs.  One kernel
# gives one number, to the instruction: the machine has no clock but these, and
# where a program's memory is mapped, so how many page tables it has, is not
# left to chance.
part_cost()
{
	local name cost=() lines i b s

	[ -e "$src/build-base/arch/x86/boot/bzImage" ] ||
		build base "$src/base" "$here/kernel.config"
	initramfs check
	for name in base check; do
		rm -f "$src/cost-$name.log"
		low_priority timeout --foreground -k 10 1800 "$BASH" "$here/rig" qemu_icount \
			"$name" -serial stdio -serial null \
			-append "$cmdline norandmaps list=cost" </dev/null 2>&1 |
			tr -d '\r' >"$src/cost-$name.log"
		lines=$(grep -o '# cost: .*' "$src/cost-$name.log")
		echo "$lines" | sed "s/^/# $name /"
		cost+=("$(echo "$lines" | sed -E 's/.* ([0-9]+) ns each.*/\1/' |
			tr '\n' ' ')")
	done
	for i in 1 2; do
		b=$(echo "${cost[0]}" | cut -d' ' -f$i)
		s=$(echo "${cost[1]}" | cut -d' ' -f$i)
		if [ -z "$b" ] || [ -z "$s" ]; then
			one "cost: no number" 1
			continue
		fi
		awk -v b="$b" -v s="$s" 'BEGIN {
			printf "# cost: %d -> %d instructions, %+.3f %%\n",
				b, s, (s - b) * 100 / b
			exit (s - b) * 1000 > 2 * b }'
		one "cost: at most +0.2 % instructions ($i)" $?
	done
}

# Instructions to unmap page cache that is about to go: nothing is noted down
# about its use, so it must not matter whether that would have been done.
part_cache()
{
	local gen lines n u

	initramfs check
	low_priority timeout --foreground -k 10 1200 "$BASH" "$here/rig" qemu_icount \
		check -serial stdio -serial null \
		-append "$cmdline list=cache disks=1" </dev/null 2>&1 |
		tr -d '\r' >"$src/cache-check.log"
	lines=$(grep -o '# cache: .*' "$src/cache-check.log")
	echo "$lines"
	for gen in "classic LRU" MGLRU; do
		n=$(echo "$lines" | sed -nE \
			"s/.*$gen, evict, use noted: ([0-9]+) .*/\1/p")
		u=$(echo "$lines" | sed -nE \
			"s/.*$gen, evict, use not noted: ([0-9]+) .*/\1/p")
		[ -n "$n" ] && [ -n "$u" ] && [ $((n * 100)) -le $((u * 105)) ]
		one "cache: $gen: no work for what is about to go" $?
	done
}

# Tables for the logs; and whether the one call is any slower than the two, which
# bench judges itself.  By the clock a busy host makes that hard to tell, so once
# more in instructions, where nothing else is in the way.
part_bench()
{
	local name

	for name in base check; do
		[ -e "$src/build-$name/arch/x86/boot/bzImage" ] ||
			build "$name" "$src/base" "$here/kernel.config"
		initramfs "$name"
		boot "$name" bench 2400
		add_counts
	done
	ICOUNT=1 boot check turns 1500
	add_counts
}

# Patch 1: page table locks that the reaper and the victim fight for, before
# and after it.  A small kernel, and of the second one file is compiled.  Not one
# of the parts that are always run.
part_locks()
{
	local tree=$src/locks when n=()

	[ -e "$tree/.git" ] || git -C "$src/base" worktree add -q --detach \
		"$tree" base || { one "locks: a work tree" 1; return; }
	git -C "$tree" checkout -q -f --detach base
	for when in before after; do
		[ "$when" = before ] ||
			git -C "$tree" am -q "$(patches | head -1)"
		build locks "$tree" "$here/lockstat.config"
		initramfs check
		boot locks locks 1200
		one "locks: $when" $?
		n+=("$(sed -n 's/.*in 128 mappings.* contended \([0-9]*\) .*/\1/p' \
			"$log")")
	done
	say "locks: fought for ${n[0]} times before, ${n[1]} after"
	[ "${n[1]:-1}" -lt "${n[0]:-0}" ]
	one "locks: patch 1: fought for less often" $?
}

# Patch 1: the reaper and the victim at the same time, before and after, in two
# machines side by side, so that what else the host does slows both.
part_meet()
{
	local name other

	[ -e "$src/build-base/arch/x86/boot/bzImage" ] ||
		build base "$src/base" "$here/kernel.config"
	initramfs check
	boot base meet 900 >/dev/null &
	other=$!
	boot check meet 900 >/dev/null
	wait "$other"
	for name in base check; do
		sed -n "s/^ *# kill to/# $name: kill to/p" "$src/$name-meet.log"
		grep -q '^    ok 1 meet' "$src/$name-meet.log"
		one "meet: $name" $?
	done
}

part_series()
{
	"$top/scripts/series" verify
	one "scripts/series: the same bytes both ways" $?
}

# Minutes that a part takes on two idle cores, kernels not built yet.
minutes()
{
	case $1 in
	check) echo 3 ;;
	base) echo 6 ;;
	bench) echo 8 ;;
	existing|library|cost) echo 5 ;;
	cache) echo 3 ;;
	patches|configs) echo 4 ;;
	debug) echo 28 ;;
	stress) echo 32 ;;
	meet) echo 2 ;;
	locks) echo 3 ;;
	*) echo 1 ;;
	esac
}

full()
{
	local part state before

	# A part that is not there would have nothing to fail.
	for part in ${FULL:-}; do
		[ "$part" = check ] || declare -F "part_$part" >/dev/null ||
			die "FULL: no part \"$part\""
	done
	state=$(kernel_state)
	prepare full
	build check "$src/series" "$here/kernel.config"
	programs programs programs.existing
	initramfs check
	# What finds most comes first.
	for part in ${FULL:-series check debug base existing library patches configs cost cache bench meet}; do
		if [ "${RESUME:-0}" = 1 ] && [ -n "$state" ] &&
		   grep -qx "$state $part" "$work/full.passed" 2>/dev/null
		then
			say "full: $part: has passed here in this state"
			continue
		fi
		if [ "${FULL_MINUTES:-0}" != 0 ] && [ $((SECONDS / 60 +
		    $(minutes "$part"))) -ge "$FULL_MINUTES" ]; then
			say "full: $part: not run, $((SECONDS / 60)) of $FULL_MINUTES minutes are gone"
			total_skipped=$((total_skipped + 1))
			continue
		fi
		before=$total_failed
		say "full: $part"
		if [ "$part" = check ]; then
			boot check check "${CHECK_TIMEOUT:-2400}"
			add_counts
		else
			"part_$part"
		fi
		echo "$total_failed" >"$work/full.count"
		[ "$total_failed" != "$before" ] || [ -z "$state" ] ||
			echo "$state $part" >>"$work/full.passed"
		say "full: $part: done after $SECONDS s"
	done
	if [ $((total_passed + total_failed + total_skipped)) = 0 ]; then
		say "full: everything has passed here in this state"
		return 0
	fi
	echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
	[ "$total_failed" = 0 ]
}
