/*
 * Limits after which a worker asks to be replaced. Runs in a worker.
 */
#include "worker/recycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"

uint64_t recycle_max_requests(uint64_t limit, uint64_t random)
{
    const uint64_t third = limit / 3;

    if (limit == 0)
        return UINT64_MAX;
    return limit - third + random_next(&random) % (2 * third + 1);
}

uint64_t recycle_memory_grace_ms(uint64_t limit, uint64_t fresh)
{
    const bool is_tight = limit < fresh || limit - fresh < RECYCLE_ROOM_BYTES;

    return limit && is_tight ? RECYCLE_TIGHT_GRACE_MS : RECYCLE_GRACE_MS;
}

int recycle_open_memory(void)
{
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

uint64_t recycle_resident_bytes(int fd)
{
    char text[128];
    unsigned long size, resident;
    const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%lu %lu", &size, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
