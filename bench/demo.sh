#!/bin/sh
# SPDX-License-Identifier: MIT
# bench/demo.sh [BUILD]: the table on the terminal, and docs/memory-back.svg.
set -eu
cd "$(dirname "$0")/.."
exec "${1:-build}/bench/mrelease-demo" --dir "${1:-build}" \
	--svg docs/memory-back.svg
