# SPDX-License-Identifier: MIT
# bash completion for mrelease(1); needs nothing but bash and find

# Units of the system, and containers by 12 digits: what is below a unit or a
# container is not listed.
_mrelease_units()
{
	local root
	for root in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd \
		/sys/fs/cgroup; do
		[[ ! -e $root/cgroup.procs ]] || break
	done
	find "$root" -mindepth 1 -maxdepth 12 -regextype posix-extended \
		-type d -printf '%f\n' \( -name '*.slice' -o -not -name '*.*' \
		-not -regex '.*/([^/]*-)?[0-9a-f]{64}' -o -prune \) \
		2>/dev/null | _mrelease_names
}

_mrelease_names()
{
	sed -nE 's/^_//
		/conmon-[0-9a-f]{64}/d
		s/^(.*-)?([0-9a-f]{12})[0-9a-f]{52}(\.scope)?$/\2/p
		/\.(service|scope|slice|socket|mount|swap)$/p'
}

_mrelease_pids()
{
	local dir
	for dir in /proc/[0-9]*; do
		printf '%s\n' "${dir#/proc/}"
	done
}

# The word before the cursor without its quotes, into plain.  readline breaks words
# at "@", ":" and "=", all of which the name of a unit can have: where it did last,
# into begin.
_mrelease_word()
{
	local rest=${COMP_LINE:0:COMP_POINT} char

	plain='' quote='' begin=0
	while [[ -n $rest ]]; do
		char=${rest:0:1}
		rest=${rest:1}
		if [[ $char == "$quote" ]]; then
			quote=''
		elif [[ $char == \\ && $quote != "'" ]]; then
			plain+=${rest:0:1}
			rest=${rest:1}
		elif [[ -z $quote && $char == [\"\'] ]]; then
			quote=$char
		elif [[ -z $quote && $char == [[:space:]] ]]; then
			plain='' begin=0
		else
			plain+=$char
			[[ -z $quote && $COMP_WORDBREAKS == *"$char"* ]] ||
				continue
			begin=${#plain}
			# "@" begins a piece, that of a host's name.
			[[ $char != @ ]] || ((begin--))
		fi
	done
}

# Of the names on the standard input those that begin with what was typed, into
# COMPREPLY: what readline puts in the place of the word's last piece.
_mrelease_reply()
{
	local plain quote begin name

	_mrelease_word
	# What is quoted is one piece, and stays quoted.
	[[ -z $quote ]] || begin=0
	while IFS= read -r name; do
		[[ $name == "$plain"* ]] || continue
		# A cgroup of any name can be made: within quotes it must mean itself.
		[[ -z $quote || $name != *[\"\'\$\`\!]* ]] || continue
		name=${name:begin}
		[[ -n $quote ]] || printf -v name %q "$name"
		COMPREPLY+=("$name")
	done
}

_mrelease()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=
	local signals='HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE
		ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ
		VTALRM PROF WINCH IO PWR SYS RTMIN RTMAX'
	local options='--signal= --grace= --tree --evict-cache --wait= --dry-run
		--kill-sharers --allow-ancestor --no-pin --json --quiet
		--verbose --check --help --version
		-s -t -c -w -n -q -v -h -V'
	local i

	COMPREPLY=()
	((COMP_CWORD > 0)) && prev=${COMP_WORDS[COMP_CWORD - 1]}

	# "--signal=TERM" is three words where "=" breaks words
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]] && ((COMP_CWORD > 1)); then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi

	case $prev in
	-s | --signal)
		mapfile -t COMPREPLY < <(compgen -W "$signals" -- "${cur^^}")
		return
		;;
	-w | --wait | --grace)
		mapfile -t COMPREPLY < <(compgen -W '1s 5s 10s 30s 1min' -- \
			"$cur")
		return
		;;
	esac

	for ((i = 1; i < COMP_CWORD; i++)); do
		# --check takes no target
		if [[ ${COMP_WORDS[i]} == --check ]]; then
			options='--json'
			[[ $cur == -* || -z $cur ]] || return
			cur=${cur:---}
		fi
	done

	case $cur in
	-*)
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
			compopt -o nospace 2>/dev/null
		fi
		;;
	/*)
		compopt -o filenames -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -S / -d -- "$cur")
		;;
	*)
		# Containers' IDs begin with a digit, too.
		_mrelease_reply < <(
			_mrelease_pids
			_mrelease_units | sort -u
		)
		;;
	esac
}

complete -F _mrelease mrelease
