/* SPDX-License-Identifier: MIT */
/* What a seccomp filter has to know of the machine it is compiled for. */
#ifndef TEST_SECCOMP_H
#define TEST_SECCOMP_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv)
#define OUR_ARCH AUDIT_ARCH_RISCV64
#endif

#endif /* TEST_SECCOMP_H */
