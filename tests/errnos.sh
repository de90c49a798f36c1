#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The errors that the header names for a function are those that its manual
# page names, and the other way round.

set -u
root=$(dirname "$0")/..
bad=0
n=0
functions='open prepare release process cgroup tree probe'
echo "1..$(wc -w <<<"$functions")"
for f in $functions; do
	n=$((n + 1))
	# The comment right before the declaration.
	header=$(awk -v f="mrelease_$f(" '
		/^\/\*\*/ { text = "" }
		{ text = text $0 "\n" }
		index($0, "MRELEASE_API") && index($0, f) { print text; exit }
		' "$root/include/mrelease.h" | grep -oE '\-E[A-Z0-9]{3,}' | sort -u)
	page=$(sed -n '/^\.SH RETURN VALUE/,/^\.SH [NSE]/p;/^\.SH ERRORS/,/^\.SH [NS]/p' \
		"$root/man/mrelease_$f.3" |
		grep -oE '(\\-)?\bE[A-Z0-9]{3,}\b' | sed 's/^\\-//;s/^/-/' |
		grep -vxE -- '-(ERRORS|EXAMPLES?|EVICT|EVIDENCE.*)' | sort -u)
	if [ "$header" = "$page" ]; then
		echo "ok $n - mrelease_$f"
	else
		echo "not ok $n - mrelease_$f"
		diff <(echo "$header") <(echo "$page") | sed -n 's/^</# only in the header:/p;s/^>/# only in the page:/p'
		bad=1
	fi
done
exit "$bad"
