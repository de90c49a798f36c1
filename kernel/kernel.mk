# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel series; included by the Makefile at the top.  See kernel/README.

.PHONY: kernel-check kernel-check-7.3 kernel-full kernel-model kernel-shell

kernel-check:
	@kernel/qemu/rig check

# The mini-series, each by itself.
kernel-check-7.3:
	@kernel/qemu/rig mini

kernel-full:
	@kernel/qemu/rig full

# Litmus tests and a model of the hand-shakes, with herd7 and spin.
kernel-model:
	@kernel/model/run

kernel-shell:
	@kernel/qemu/rig shell
