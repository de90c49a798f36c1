# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# Sourced by lowmem: the guest.  Debian's userland and kernel of the release
# that this machine has, from the mirror that this machine uses, in a directory
# of its own below $cache.  A directory is named after all that it is made of:
# the list below, this file, the release.  What is there is complete.

guest_packages=systemd,systemd-sysv,dbus,udev,kmod,procps,systemd-oomd,earlyoom
guest_packages+=,nohang,libinih1,libjansson4,libcap2
# What the guest loads; those for the disk are loaded before root is there.
early_modules='virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev
	virtio_pci virtio_blk crc16 mbcache jbd2 crc32c_generic libcrc32c ext4'
late_modules='zram zsmalloc lzo lzo-rle lz4 lz4_compress zstd fuse'

# "deb URI SUITE COMPONENT" lines of Debian itself, without what else this
# machine has as sources.
debian_sources()
{
	# shellcheck disable=SC2016
	apt-get indextargets 'Created-By: Packages' 'Origin: Debian' \
		--format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' | sort -u
}

# The metapackage's dependency: the version that is current.
kernel_package()
{
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1
}

make_kernel()
{
	local release
	slowly "kernel $kernel: download" \
		sh -c "cd '$new' && apt-get -qq download $kernel" || return
	dpkg -x "$new"/linux-image-*.deb "$new/k" || return
	release=$(ls "$new/k/lib/modules" 2>/dev/null ||
		ls "$new/k/usr/lib/modules")
	cp "$new/k/boot/vmlinuz-$release" "$new/vmlinuz" || return
	modules=$(find "$new/k" -type d -path "*/modules/$release")
	echo "$release" >"$new/release"
	rm "$new"/linux-image-*.deb
}

# module NAME: its file, compressed or not; nothing for one that is built in.
module()
{
	find "$modules" -name "$1.ko" -o -name "$1.ko.xz" | head -n 1
}

copy_module()
{
	local file
	file=$(module "$1")
	case $file in
	'') ;;
	*.xz) xz -dc "$file" >"$2/$1.ko" ;;
	*) cp "$file" "$2/$1.ko" ;;
	esac
}

make_initrd()
{
	local dir=$new/initrd.d m
	mkdir -p "$dir"/{bin,mod,proc,sys,dev,new}
	cp "$(command -v busybox)" "$dir/bin/" || return
	for m in $early_modules; do
		copy_module "$m" "$dir/mod"
		[ ! -f "$dir/mod/$m.ko" ] || echo "$m" >>"$dir/mod/list"
	done
	touch "$dir/mod/list"
	cp "$here/init" "$dir/init" || return
	chmod +x "$dir/init"
	(cd "$dir" && find . | busybox cpio -o -H newc 2>/dev/null |
		gzip -1 >"$new/initrd")
}

# What would start by itself and is not wanted: the daemons, until it is the
# turn of one, and whatever else makes one run differ from the next.
quiet_guest()
{
	local etc=$new/root/etc/systemd/system u
	for u in earlyoom nohang nohang-desktop systemd-oomd e2scrub_reap; do
		rm -f "$etc"/*.wants/"$u".service
	done
	rm -f "$etc"/*.wants/systemd-oomd.socket \
		"$etc"/timers.target.wants/* "$etc"/getty.target.wants/*
	for u in systemd-udev-settle systemd-pstore getty@tty1 \
		serial-getty@ttyS0 serial-getty@ttyS1; do
		ln -sf /dev/null "$etc/$u.service"
	done
	printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n' \
		>"$new/root/etc/systemd/journald.conf"
	echo lowmem >"$new/root/etc/hostname"
	: >"$new/root/etc/fstab"
	cp "$here/agent.service" "$etc/"
	mkdir -p "$etc/multi-user.target.wants"
	ln -s ../agent.service "$etc/multi-user.target.wants/"
}

make_root()
{
	local release dir m
	debian_sources >"$new/sources.list"
	slowly "userland: download and unpack" mmdebstrap --quiet \
		--mode=root --variant=minbase --include="$guest_packages" \
		"$codename" "$new/root" "$new/sources.list" || return
	release=$(cat "$new/release")
	dir=$new/root/lib/modules/$release/extra
	mkdir -p "$dir" "$new/root/lowmem" "$new/root/var/lib/lowmem"
	for m in $late_modules $early_modules; do
		copy_module "$m" "$dir"
	done
	cp "$modules"/modules.{order,builtin,builtin.modinfo} "$dir/.." || return
	chroot "$new/root" depmod "$release" || return
	quiet_guest
	# The text of the innocents, to be read back from disk.
	for m in 0 1 2 3 4 5; do
		head -c 8M /dev/urandom >"$new/root/var/lib/lowmem/text$m"
	done
	(cd "$new/root" &&
		rm -rf var/{cache,lib}/apt/* usr/share/{doc,man,locale})
	slowly "disk image" mke2fs -q -t ext4 -O ^metadata_csum,^64bit \
		-d "$new/root" "$new/root.img" 900M
}

# Leaves $image, the directory, or returns 77 with a reason in $why.
make_image()
{
	local sum
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	kernel=$(kernel_package)
	if [ -z "$kernel" ]; then
		slowly "package lists" apt-get -qq update
		kernel=$(kernel_package)
	fi
	why="no kernel package linux-image-cloud-amd64 to be had from apt"
	[ -n "$kernel" ] || return 77
	sum=$({ echo "$guest_packages $codename $kernel"
		cat "$here"/image.sh "$here"/init "$here"/agent.service
	} | sha256sum | cut -c 1-16)
	image=$cache/image-$sum
	[ ! -e "$image/complete" ] || return 0
	new=$image.new
	rm -rf "$cache"/image-*.new
	mkdir -p "$new" || return
	why="the guest could not be made, see $new/log"
	make_kernel && make_initrd && make_root || return 77
	rm -rf "$new/root" "$new/k" "$new/initrd.d"
	touch "$new/complete"
	# What older lists made is of no use to anybody.
	rm -rf "$cache"/image-????????????????
	mv "$new" "$image"
}
