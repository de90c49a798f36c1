#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What many machines need: the metrics as Prometheus' own tools read them, the
# dashboard, and the manifest against the API's schema (NODE_PATH has
# kubernetes-models and js-yaml; scripts/check fleet installs them).

set -u
# shellcheck source-path=SCRIPTDIR source=libtest.sh disable=SC2119,SC2120
. "$(dirname "$0")/libtest.sh"

top=$(cd "$(dirname "$0")/.." && pwd)
metrics=$tmp/m/mreleased.prom
page=$tmp/page

# Waits up to ten seconds.
until_true() {
	local i
	for ((i = 0; i < 100; i++)); do
		"$@" 2>/dev/null && return
		sleep 0.1
	done
	return 1
}

# An HTTP client of four lines: bash alone is enough.
get_page() {
	exec 3<>"/dev/tcp/127.0.0.1/$port" || return
	printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
	cat <&3 >"$page"
	exec 3>&-
	grep -q '^mreleased_kills_total ' "$page"
}

plan 4
mkdir "$tmp/m"
"$build/mreleased" --dryrun --config /dev/null --metrics "$metrics" \
	--status-socket "$tmp/status" 2>"$tmp/err" &
until_true test -s "$metrics" || fail "no metrics: $(cat "$tmp/err")"

if command -v promtool >/dev/null; then
	promtool check metrics <"$metrics" >"$tmp/out" 2>&1 &&
		[ ! -s "$tmp/out" ] || fail "promtool: $(cat "$tmp/out")"
	ok 'promtool finds nothing wrong with the metrics'
else
	skip promtool 'metrics' 'no promtool (Debian: prometheus)'
fi

if command -v prometheus-node-exporter >/dev/null; then
	port=$((20000 + RANDOM % 20000))
	prometheus-node-exporter --collector.disable-defaults \
		--collector.textfile "--collector.textfile.directory=$tmp/m" \
		"--web.listen-address=127.0.0.1:$port" >"$tmp/exporter" 2>&1 &
	until_true get_page || fail "not scraped: $(tail -n 3 "$tmp/exporter")"
	grep -q '^node_textfile_scrape_error 0$' "$page" ||
		fail "$(grep scrape_error "$page")"
	while read -r name _; do
		grep -q "^${name%%\{*}" "$page" || fail "lost: $name"
	done < <(grep '^mreleased_' "$metrics")
	ok 'node_exporter hands out all of them'
else
	skip promtool 'scrape' 'no node_exporter (prometheus-node-exporter)'
fi

dashboard=$top/deploy/grafana/mreleased.json
jq -e '.panels | length >= 4 and all(.targets | length > 0)' "$dashboard" \
	>/dev/null || fail "$dashboard is not a dashboard"
for name in $(jq -r '.panels[].targets[].expr, .templating.list[].query' \
	"$dashboard" | grep -o 'mreleased_[a-z_]*' | sort -u); do
	grep -q "^${name}[ {]" "$metrics" || fail "no metric $name"
done
for name in $(grep -o '^mreleased_[a-z_]*' "$metrics" | sort -u); do
	case $name in
	*_sum | *_count) continue ;;
	esac
	grep -q "$name" "$dashboard" || fail "no panel for $name"
done
ok 'the dashboard shows each metric, and no other'

if node -e 'require("kubernetes-models/v1"); require("js-yaml")' 2>/dev/null; then
	node "$top/deploy/check-manifest.js" \
		"$top/deploy/kubernetes/mreleased.yaml" >"$tmp/out" 2>&1 ||
		fail "$(cat "$tmp/out")"
	sed 's/hostPID/hostPid/' "$top/deploy/kubernetes/mreleased.yaml" \
		>"$tmp/bad.yaml"
	! node "$top/deploy/check-manifest.js" "$tmp/bad.yaml" >/dev/null ||
		fail 'hostPid was not seen'
	ok 'the manifest is what the API knows'
else
	skip npm 'manifest' 'no node with kubernetes-models and js-yaml'
fi

finish
