# SPDX-License-Identifier: MIT
# fish completion for mrelease(1)

# Units of the system, and containers by 12 digits: what is below a unit or a
# container is not listed.
function __mrelease_units
	for root in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup
		test ! -e $root/cgroup.procs; or break
	end
	find $root -mindepth 1 -maxdepth 12 -regextype posix-extended \
		-type d -printf '%f\n' \( -name '*.slice' -o -not -name '*.*' \
		-not -regex '.*/([^/]*-)?[0-9a-f]{64}' -o -prune \) \
		2>/dev/null | sed -nE 's/^_//
			/conmon-[0-9a-f]{64}/d
			s/^(.*-)?([0-9a-f]{12})[0-9a-f]{52}(\.scope)?$/\2\tcontainer/p
			s/\.(service|scope|slice|socket|mount|swap)$/&\tunit/p' |
		sort -u
end

function __mrelease_targets
	switch (commandline -ct)
	case '/*'
		__fish_complete_directories
	case '*'
		__fish_complete_pids
		__mrelease_units
	end
end

set -l signals HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE \
	ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM \
	PROF WINCH IO PWR SYS RTMIN RTMAX
set -l times 1s 5s 10s 30s 1min
set -l check '__fish_contains_opt check'

complete -c mrelease -f
complete -c mrelease -n "not $check" -a '(__mrelease_targets)'
complete -c mrelease -n "not $check" -s s -l signal -x -a "$signals" \
	-d 'Send this signal first, SIGKILL after the grace time'
complete -c mrelease -n "not $check" -l grace -x -a "$times" \
	-d 'Time that the signal may take'
complete -c mrelease -n "not $check" -s t -l tree \
	-d 'The processes and all their descendants'
complete -c mrelease -n "not $check" -s c -l evict-cache \
	-d 'Evict the page cache that only the target mapped'
complete -c mrelease -n "not $check" -s w -l wait -x -a "$times" \
	-d 'Deadline for everything'
complete -c mrelease -n "not $check" -s n -l dry-run \
	-d 'Send no signal, say what would come back'
complete -c mrelease -n "not $check" -l kill-sharers \
	-d 'Also kill processes that share the address space'
complete -c mrelease -n "not $check" -l allow-ancestor \
	-d 'Do not refuse ancestors of mrelease'
complete -c mrelease -n "not $check" -l no-pin -d 'Do not use ptrace'
complete -c mrelease -l json -d 'One JSON object per target and line'
complete -c mrelease -n "not $check" -s q -l quiet \
	-d 'Say only what went wrong'
complete -c mrelease -n "not $check" -s v -l verbose \
	-d 'Say how, and name each member'
complete -c mrelease -l check \
	-d 'What this kernel and these privileges allow'
complete -c mrelease -s h -l help -d 'Show a summary'
complete -c mrelease -s V -l version -d 'Show the version'
