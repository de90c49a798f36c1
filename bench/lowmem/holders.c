/* SPDX-License-Identifier: MIT */
/* Who keeps a hog's memory after its death. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

/* A FUSE server that answers INIT and nothing else. */
int stuck_fuse(void)
{
	struct {
		struct fuse_out_header header;
		struct fuse_init_out init;
	} answer = {
		.header.len = sizeof(answer),
		.init.major = FUSE_KERNEL_VERSION,
		.init.minor = FUSE_KERNEL_MINOR_VERSION,
		.init.max_write = 4096,
	};
	char request[65536], options[96];
	const struct fuse_in_header *in = (const void *)request;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/fuse");
	mkdir(FUSE_DIR, 0700);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("stuck", FUSE_DIR, "fuse", MS_NODEV | MS_NOSUID, options))
		die(FUSE_DIR);
	while (read(fd, request, sizeof(request)) > 0) {
		if (in->opcode != FUSE_INIT)
			continue;
		answer.header.unique = in->unique;
		if (write(fd, &answer, sizeof(answer)) < 0)
			die("FUSE_INIT");
	}
	return 0;
}

/* A page that is missing for as long as nobody fills it: nobody will. */
static void *missing_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range.len = 4096,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	range.range.start = (uintptr_t)page;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &range))
		die("userfaultfd");
	return page;
}

/*
 * read(/proc/HOG/mem) takes a reference on the hog's address space and then
 * faults on the buffer.  As long as it waits for that page, the hog's exit
 * frees nothing.
 */
int stalled_reader(void)
{
	void *page = missing_page();
	unsigned long address;
	char text[64], path[64];
	int fd, pid;

	do {
		sleep_ms(20);
		read_text(HOG_FILE, text, sizeof(text));
	} while (sscanf(text, "%d %lx", &pid, &address) != 2);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return pread(fd, page, 4096, (off_t)address) != 4096;
}
