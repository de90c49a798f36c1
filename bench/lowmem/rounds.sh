# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# Sourced by lowmem: runs, one after the other in the same guest for as long as
# each leaves it as it was, and in a fresh one otherwise.

loads='fast slow held dstate tree noterm slowexit threads two tmpfs log cache
	spike max high idle'
# How long memory may take to be low; from there on the watcher has limits of
# its own.  Some loads never get there.
seconds_of()
{
	case $1 in
	max | high) echo 12 ;;
	idle) echo 30 ;;
	cache) echo 15 ;;
	*) echo 60 ;;
	esac
}

# The daemons that this guest has, mreleased if this build has it.
daemons_here()
{
	local d
	for d in kernel earlyoom systemd-oomd nohang mreleased; do
		[ $d != mreleased ] || [ -x "$build/mreleased" ] || continue
		echo $d
	done
}

# Everything of ours that the guest needs, on a disk of its own.  Libraries
# come with mreleased, for those that the guest lacks.
make_kit()
{
	local kit=$cache/kit.d etc
	etc=$kit/etc/systemd/system
	rm -rf "$kit"
	mkdir -p "$kit/lowmem" "$etc"
	cp "$build/bench/lowmem/lowmem-guest" "$here/cell" "$kit/lowmem/" || {
		say "no $build/bench/lowmem/lowmem-guest: build with -Dbench=true"
		return 1
	}
	cp -r "$here"/units/* "$etc/"
	[ ! -x "$build/mreleased" ] || make_kit_mreleased
	tar -C "$kit" -cf "$image/kit.tar" --owner=0 --group=0 lowmem etc
}

# As it is installed: its own unit, with all that this forbids it.
make_kit_mreleased()
{
	local f
	cp "$build/mreleased" "$kit/lowmem/"
	strip "$kit/lowmem/mreleased"
	sed 's|@sbindir@|/lowmem|' "$top/daemon/mreleased.service.in" \
		>"$etc/mreleased.service"
	for f in "$top"/daemon/*sysusers*; do
		[ ! -f "$f" ] || cp "$f" "$kit/lowmem/mreleased-user.conf"
	done
}

guest_ready()
{
	! vm_alive || return 0
	vm_start ready || return
	# Nobody says anything in a guest that goes on where it was.
	vm_send 'tar -x -C / -f /dev/vdc; systemd-sysusers /lowmem/*-user.conf; systemctl daemon-reload; echo HERE'
	vm_until HERE 120 >/dev/null || {
		say "the guest does not answer, see $image/qemu.log"
		vm_stop
		return 1
	}
}

# one DAEMON LOAD SWAP SEED: its lines on stdout.
one()
{
	local seconds good=0
	doing="$1, $2, swap $3, seed $4"
	guest_ready || return
	seconds=$(seconds_of "$2")
	[ "$3" = none ] || seconds=$((seconds * 3 / 2))
	vm_send "/lowmem/cell $1 $2 $3 $4 $seconds ${LOWMEM_RECORD:+record}"
	if vm_until '=== end' $((seconds + 150)) $((seconds + 60)); then
		[ "${line#*end good}" = "$line" ] || good=1
		echo "end $(cut -d ' ' -f 1 /proc/loadavg) ${line#=== }"
	else
		# The shell of the guest did not get to say anything.
		echo "end $(cut -d ' ' -f 1 /proc/loadavg) hung"
	fi
	[ $good = 1 ] || vm_stop
}

run_one()
{
	one "$@"
}

# round NUMBER SWAP: every daemon on each load, the same seed for all of them.
round()
{
	local load daemon seed
	for load in $round_loads; do
		seed=$((first_seed + $1))
		for daemon in $round_daemons; do
			[ "$load $daemon" != "idle kernel" ] || continue
			[ $SECONDS -lt "$deadline" ] || return 1
			one "$daemon" "$load" "$2" "$seed" >"$results/last"
			cat "$results/last" >>"$results/runs"
			say "$(printf '%3d s' $SECONDS)  $("$table" --brief \
				"$results/last")"
		done
	done
}

begin()
{
	table=$build/bench/lowmem/lowmem-table
	first_seed=${LOWMEM_SEED:-$((RANDOM * 100))}
	round_loads=${LOWMEM_LOADS:-$loads}
	round_daemons=${LOWMEM_DAEMONS:-$(daemons_here)}
	: >"$results/runs"
	say "seeds from $first_seed; $(accelerator); Linux $(cat \
		"$image/release") in the guest"
}

draw()
{
	table=$build/bench/lowmem/lowmem-table
	"$table" --csv "$results/table.csv" --svg "$results/lowmem" \
		"$results/runs" | tee "$results/table.txt"
}

run_table()
{
	local n
	deadline=$((SECONDS + ${LOWMEM_MINUTES:-27} * 60))
	begin
	for ((n = 0; n < ${LOWMEM_RUNS:-5}; n++)); do
		round $n none || break
	done
	vm_stop
	draw
}

run_full()
{
	local n swap
	deadline=$((SECONDS + ${LOWMEM_MINUTES:-1440} * 60))
	begin
	for ((n = 0; n < ${LOWMEM_RUNS:-5}; n++)); do
		for swap in ${LOWMEM_SWAP:-none disk zram}; do
			round $n "$swap" || break 2
		done
	done
	vm_stop
	draw
}

run_shell()
{
	local command
	while IFS= read -r command; do
		guest_ready || return
		vm_send "$command; echo DONE"
		vm_until DONE 300
	done
}

# A slice: what a daemon is most likely to do wrong, each once, and no other run
# where the machine has been too slow for that.  TAP on stdout.
run_check()
{
	deadline=$((SECONDS + 100))
	LOWMEM_DAEMONS=mreleased
	LOWMEM_LOADS=${LOWMEM_LOADS:-tree spike fast tmpfs}
	[ -x "$build/mreleased" ] || skip "no mreleased in $build"
	begin
	round 0 none || say "no time for all of: $round_loads"
	vm_stop
	"$table" "$results/runs" >&2
	"$table" --assert mreleased "$results/runs"
}
