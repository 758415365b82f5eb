/*
 * Memory that a worker shares with its keeper: first the serials, then the marks.
 */
#include "net/keep_table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/util.h"

enum { NUMBER_BYTES = sizeof(uint32_t) + 1, SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

int keep_table_make(uint64_t n)
{
    const uint64_t count = MAX(MIN(n, (uint64_t)KEEP_NUMBERS_MAX), (uint64_t)KEEP_NUMBERS_MIN);
    int fd = fds_memfd("keep");
    int rc = 0;

    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)(count * NUMBER_BYTES)) < 0 ||
        fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) < 0)
        rc = -errno;
    if (rc < 0)
        fds_close(&fd);
    return rc < 0 ? rc : fd;
}

int keep_table_map(struct keep_table *t, int fd, bool is_writer)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *p;

    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS || fstat(fd, &st) < 0 ||
        st.st_size % NUMBER_BYTES != 0 || st.st_size < KEEP_NUMBERS_MIN * NUMBER_BYTES ||
        st.st_size > KEEP_NUMBERS_MAX * NUMBER_BYTES)
        return -EBADMSG;
    p = mmap(NULL, (size_t)st.st_size, is_writer ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
             fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    t->n = (uint32_t)(st.st_size / NUMBER_BYTES);
    t->serial = p;
    t->mark = (volatile uint8_t *)p + t->n * sizeof(uint32_t);
    return 0;
}

void keep_table_unmap(struct keep_table *t)
{
    if (t->mark)
        munmap((void *)(uintptr_t)t->serial, (size_t)t->n * NUMBER_BYTES);
    *t = (struct keep_table){0};
}
