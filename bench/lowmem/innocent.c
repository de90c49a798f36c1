/* SPDX-License-Identifier: MIT */
/*
 * A bystander with an answer due every 100 ms: each needs a few pages of its
 * heap and of a file that stands for its text.  How late it is, is what a user
 * feels.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

#define PERIOD	   (100 * MSEC)
#define TEXT_BYTES (8 << 20)
#define PAGE	   4096
#define HEAP_PAGES 32
#define TEXT_PAGES 16

static volatile char *map_text(unsigned int nr)
{
	char path[64];
	void *p;
	int fd;

	snprintf(path, sizeof(path), TEXT_DIR "/text%u", nr);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, TEXT_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die(path);
	close(fd);
	return p;
}

int innocent(unsigned int nr)
{
	uint64_t bytes = share_of_memory(INNOCENT_SHARE);
	struct slot *slot = map_slots() + nr;
	volatile char *text = map_text(nr);
	volatile char *heap = grow(bytes);
	int64_t due = now_ns();

	for (size_t at = 0; at < TEXT_BYTES; at += PAGE)
		(void)text[at];
	slot->pid = getpid();
	for (;;) {
		int64_t late;

		due += PERIOD;
		slot->due_ns = due;
		sleep_until(due);
		for (unsigned int i = 0; i < HEAP_PAGES; i++)
			heap[random_number() % bytes]++;
		for (unsigned int i = 0; i < TEXT_PAGES; i++)
			(void)text[random_number() % TEXT_BYTES];
		late = now_ns() - due;
		if (late > slot->worst_ns)
			slot->worst_ns = late;
		slot->answers++;
		if (late > PERIOD)
			due = now_ns();
	}
}
