# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# Sourced by lowmem: one guest at a time.  It boots once; its state then,
# memory and disk, is kept in the image, and each guest starts there.
#
# Two pipes lead to the shell that reads the guest's second serial port, two to
# QEMU's monitor.

vm_pid=

accelerator()
{
	if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
		echo kvm
	else
		echo tcg,thread=multi,tb-size=256
	fi
}

# vm_start [SNAPSHOT]
vm_start()
{
	local accel p
	vm_stop
	accel=$(accelerator)
	for p in agent monitor; do
		rm -f "$image/$p".*
		mkfifo "$image/$p.in" "$image/$p.out" || return
	done
	# Sizes are part of the snapshot; what is read of these two is not.
	truncate -s 16M "$image/kit.tar"
	truncate -s 1G "$image/cache.raw"
	nice -n "$niceness" qemu-system-x86_64 -machine q35 -accel "$accel" \
		-cpu max,la57=off -smp 2 -m 1024 -nodefaults -no-user-config \
		-display none -no-reboot \
		-kernel "$image/vmlinuz" -initrd "$image/initrd" \
		-append "console=ttyS0 quiet loglevel=4 mitigations=off no5lvl panic=-1 nowatchdog psi=1 systemd.show_status=0" \
		-drive "file=$image/disk.qcow2,if=virtio,cache=unsafe" \
		-drive "file=$image/swap.qcow2,if=virtio,cache=unsafe" \
		-drive "file=$image/kit.tar,if=virtio,format=raw,readonly=on" \
		-drive "file=$image/cache.raw,if=virtio,format=raw,readonly=on" \
		-serial "file:$image/console.log" \
		-chardev "pipe,id=agent,path=$image/agent" \
		-serial chardev:agent \
		-chardev "pipe,id=monitor,path=$image/monitor" \
		-mon chardev=monitor \
		${1:+-loadvm "$1"} </dev/null >"$image/qemu.log" 2>&1 &
	vm_pid=$!
	exec {vm_in}<>"$image/agent.in" {vm_out}<>"$image/agent.out"
	exec {mon_in}<>"$image/monitor.in" {mon_out}<>"$image/monitor.out"
}

vm_alive()
{
	[ -n "$vm_pid" ] && kill -0 "$vm_pid" 2>/dev/null
}

vm_send()
{
	printf '%s\n' "$*" >&"$vm_in"
}

# vm_until WORD SECONDS [SILENCE]: copies the guest's lines to stdout until one
# begins with WORD, which is left in $line.  Fails after SECONDS, after SILENCE
# seconds without a line, or with the guest.
vm_until()
{
	local end=$((SECONDS + $2)) heard=$SECONDS
	while [ $SECONDS -lt $end ]; do
		if IFS= read -r -t 2 -u "$vm_out" line; then
			line=${line%$'\r'}
			[ "${line#"$1"}" = "$line" ] || return 0
			printf '%s\n' "$line"
			heard=$SECONDS
		elif ! vm_alive; then
			return 1
		fi
		[ -z "${3:-}" ] || [ $((SECONDS - heard)) -lt "$3" ] || return 1
		progress
	done
	return 1
}

# monitor COMMAND SECONDS: done when the next prompt is there.
monitor()
{
	local end=$((SECONDS + $2)) c text=
	while IFS= read -r -t 0.1 -N 1 -u "$mon_out" c; do :; done
	printf '%s\n' "$1" >&"$mon_in"
	while [ $SECONDS -lt $end ] && vm_alive; do
		IFS= read -r -t 1 -N 1 -u "$mon_out" c || continue
		text+=$c
		case $text in
		*Error*) return 1 ;;
		*"(qemu) ") [ "${text##*$'\n'}" != "(qemu) " ] || return 0 ;;
		esac
	done
	return 1
}

vm_stop()
{
	local i
	[ -n "$vm_pid" ] || return 0
	vm_alive && printf 'quit\n' >&"$mon_in"
	for ((i = 0; i < 50; i++)); do
		vm_alive || break
		sleep 0.1
	done
	kill -9 "$vm_pid" 2>/dev/null
	wait "$vm_pid" 2>/dev/null
	vm_pid=
	exec {vm_in}>&- {vm_out}>&- {mon_in}>&- {mon_out}>&-
}

# Boots it and keeps the state, once for each image, QEMU and accelerator.
make_snapshot()
{
	local have want
	want="$(qemu-system-x86_64 --version | head -n 1) $(accelerator)"
	have=$(cat "$image/snapshot" 2>/dev/null)
	[ "$have" != "$want" ] || return 0
	rm -f "$image/snapshot" "$image"/*.qcow2
	qemu-img create -q -f qcow2 -b root.img -F raw \
		"$image/disk.qcow2" &&
		qemu-img create -q -f qcow2 "$image/swap.qcow2" 512M || return
	local doing="boot: the first time; its state is kept"
	say "$doing"
	vm_start || return
	vm_until READY 600 >/dev/null || {
		why="the guest does not boot, see $image/console.log"
		return 77
	}
	vm_send 'systemctl is-system-running --wait; sync; echo SETTLED'
	vm_until SETTLED 300 >/dev/null || return 77
	sleep 5
	monitor stop 20 && monitor "savevm ready" 120 || {
		why="QEMU does not keep the state, see $image/qemu.log"
		return 77
	}
	vm_stop
	echo "$want" >"$image/snapshot"
}
