# SPDX-License-Identifier: MIT
# Thin: everything is in meson.build and scripts/.  Two targets need nothing
# installed beforehand: demo and check.

BUILD ?= build
# What was installed for good is to be found by the dynamic linker.
LDCONFIG = [ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig

.PHONY: all demo check check-fast mutate bench lowmem deb install uninstall format clean help

all: ## build the library, the command and the daemon: build/mrelease, build/mreleased
	@scripts/setup build
	@scripts/build $(BUILD)

demo: ## install what it needs, build, and show it: under two minutes
	@scripts/setup demo
	@scripts/build $(BUILD) -Dbench=true
	@scripts/as-root --if-possible bench/demo.sh $(BUILD)

check: ## every check that boots no VM; up to 15 minutes on two CPUs, as root
	@scripts/setup all
	@scripts/as-root scripts/check $(CHECKS)

check-fast: ## the checks that say most: under three minutes
	@scripts/setup all
	@scripts/as-root scripts/check fast

mutate: ## put mistakes into a copy of the code, to see whether the tests notice
	@scripts/setup all
	@scripts/as-root scripts/mutate $(MUTANTS)

bench: ## every figure at full count, side by side with kill -9
	@scripts/setup all
	@scripts/build $(BUILD) -Dbench=true -Dtests=true
	@scripts/as-root bench/bench.sh $(BUILD)

lowmem: ## which process dies when memory runs out, in a VM: at most 30 minutes
	@scripts/setup all
	@scripts/build $(BUILD) -Dbench=true
	@scripts/as-root bench/lowmem/lowmem table $(BUILD)

deb: ## the Debian packages: build-deb/*.deb
	@scripts/setup deb
	@scripts/deb build-deb

real: all ## kill real programs, and compare the report with the memory controller
	@scripts/as-root tests/real/run

install: all ## install below DESTDIR and the configured prefix
	meson install -C $(BUILD) --no-rebuild
	@$(LDCONFIG)

uninstall: ## undo make install
	ninja -C $(BUILD) uninstall
	@$(LDCONFIG)

include kernel/kernel.mk

format: ## put the C files in the enforced style
	clang-format -i $$(git ls-files '*.c' '*.h' | grep -v '^kernel/')

clean: ## remove the build directories
	rm -rf build build-*

help: ## this list
	@sed -n 's/^\([a-z0-9.-]*\):.*## /\1\t/p' Makefile kernel/kernel.mk | expand -t 18
