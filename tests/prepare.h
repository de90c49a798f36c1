/* SPDX-License-Identifier: MIT */
/* What the program of prepare.c and those who watch it agree on. */
#ifndef PREPARE_H
#define PREPARE_H

/* No such process: more than any number that there is. */
#define PREPARE_MARK 0x7ea5e000

#endif /* PREPARE_H */
