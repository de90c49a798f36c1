#!/bin/sh
# SPDX-License-Identifier: MIT
# bench/figures.sh [BUILD [OPTION|SCENARIO]...]: the figures to reach as TAP,
# at quick counts: what is missed there is decided on the full count.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
[ $# -eq 0 ] || shift
exec "$build/bench/mrelease-bench" --quick --tap --dir "$build" \
	--mrelease "$build/mrelease" "$@"
