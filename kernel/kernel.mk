# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel series; included by the Makefile at the top.  See kernel/README.

.PHONY: kernel-check kernel-check-7.3 kernel-full kernel-model kernel-shell

kernel-check: ## build the kernel series, boot it in a VM, and run its tests
	@kernel/qemu/rig check

kernel-check-7.3: ## the series for Linux 7.3, each built, booted and tested by itself
	@kernel/qemu/rig mini

kernel-full: ## that, every patch by itself, other configurations, costs; see kernel/README
	@kernel/qemu/rig full

kernel-model: ## litmus tests and a model of the hand-shakes, with herd7 and spin
	@kernel/model/run

kernel-shell: ## a shell in that VM
	@kernel/qemu/rig shell
