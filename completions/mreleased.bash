# SPDX-License-Identifier: MIT
# bash completion for mreleased(8)

_mreleased()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local options='-m -s -M -S -g -P -N -n -r -p -d -o -h -v
		--memory --swap --cgroup --prefer --avoid --ignore
		--ignore-root-user --sort-by-rss --dryrun --dry-run --report
		--syslog --debug --config --set --status-socket --metrics
		--record --simulate --check-config --print-config --json
		--watch --help --version'

	COMPREPLY=()
	case $prev in
	--cgroup)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "${cur:-/sys/fs/cgroup/}")
		return
		;;
	-P | -N | --config | --status-socket | --metrics | --record | --simulate)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-o | --set)
		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -W "$(mreleased --print-config \
			--config /dev/null 2>/dev/null |
			sed -n 's/^\([A-Z][A-Za-z]*=\).*/\1/p')" -- "$cur")
		return
		;;
	-m | -s | -M | -S | -r | --memory | --swap | --report | --prefer | --avoid | --ignore)
		return
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "status $options" -- "$cur")
}

complete -F _mreleased mreleased
