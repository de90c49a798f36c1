# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel series; included by the Makefile at the top.  See kernel/README.

.PHONY: kernel-check kernel-full kernel-shell

kernel-check:
	@kernel/qemu/rig check

kernel-full:
	@kernel/qemu/rig full

kernel-shell:
	@kernel/qemu/rig shell
