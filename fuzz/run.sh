#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh [SECONDS [TARGET...]]: build each fuzz target with clang, ASan and
# UBSan, and run it for so many seconds from its corpus.  TAP.  What crashes
# is left in the directory that the failure names.

set -u
top=$(dirname "$(dirname "$(readlink -f "$0")")")
seconds=${1:-10}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- stat status maps mountinfo cgroup target lines policy config
out=$(mktemp -d)

skip() {
	if [ "${MRELEASE_MUST_WORK:-}" = 1 ]; then
		case ,${MRELEASE_ACCEPT_SKIP:-}, in
		*,fuzz,*) ;;
		*) echo "not ok 1 - must work: $1"; exit 1 ;;
		esac
	fi
	echo "1..0 # SKIP $1 [fuzz]"
	exit 0
}

echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n);
int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n)
{ return d && n ? 0 : 0; }' >"$out/try.c"
clang -fsanitize=fuzzer "$out/try.c" -o "$out/try" 2>/dev/null ||
	skip "clang with libFuzzer is not installed"

echo "1..$#"
daemon=
for f in above choose policy history text config values rules sense process; do
	daemon="$daemon $top/daemon/$f.c"
done
nr=0
failed=0
for target; do
	nr=$((nr + 1))
	mkdir "$out/$target"
	case $target in
	policy | config) sources=$daemon ;;
	*) sources="$top/lib/os/parse.c $top/lib/os/lines.c $top/lib/os/util.c" ;;
	esac
	# shellcheck disable=SC2086
	if clang -std=gnu11 -D_GNU_SOURCE -g -O1 -Wall -Wextra -Werror \
		-fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=all \
		-I"$top/include" -I"$top/lib" -I"$top/daemon" \
		"$top/fuzz/fuzz_$target.c" $sources \
		-o "$out/fuzz_$target" >"$out/$target.log" 2>&1 &&
	   "$out/fuzz_$target" -max_total_time="$seconds" -max_len=4096 \
		-rss_limit_mb=512 -timeout=5 -verbosity=1 \
		-print_final_stats=1 -artifact_prefix="$out/$target-" \
		"$out/$target" "$top/fuzz/corpus/$target" \
		>>"$out/$target.log" 2>&1
	then
		echo "ok $nr - fuzz_$target"
		sed -n 's/^stat::number_of_executed_units: */# executed: /p' \
			"$out/$target.log"
	else
		echo "not ok $nr - fuzz_$target"
		tail -n 30 "$out/$target.log" | sed 's/^/# /'
		echo "# see $out"
		failed=1
	fi
done
[ $failed = 1 ] || rm -rf "$out"
exit $failed
