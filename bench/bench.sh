#!/bin/sh
# SPDX-License-Identifier: MIT
# bench/bench.sh [BUILD [OPTION|SCENARIO]...]: every scenario at full count,
# or what is asked for.  Leaves BUILD/bench.csv.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
[ $# -eq 0 ] || shift
exec "$build/bench/mrelease-bench" --dir "$build" \
	--mrelease "$build/mrelease" --csv "$build/bench.csv" "$@"
