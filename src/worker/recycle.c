/*
 * Limits after which a worker asks to be replaced. Runs in a worker.
 */
#include "worker/recycle.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fds.h"

static const double sigma = 0.2;

/* splitmix64 */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In (0, 1]. */
static double uniform(uint64_t *state)
{
    return (double)((mix(state) >> 11) + 1) / 9007199254740992.;
}

uint64_t recycle_max_requests(uint64_t limit, uint64_t random)
{
    /* Box and Muller: two uniform numbers give a normal one. */
    double normal = sqrt(-2. * log(uniform(&random))) * cos(2. * M_PI * uniform(&random));
    double jittered = (double)limit * exp(sigma * normal);

    if (limit == 0)
        return UINT64_MAX;
    return jittered < 1. ? 1 : (uint64_t)jittered;
}

uint64_t recycle_memory_grace_ms(uint64_t limit, uint64_t fresh)
{
    const bool is_tight = limit < fresh || limit - fresh < RECYCLE_ROOM_BYTES;

    return limit && is_tight ? RECYCLE_TIGHT_GRACE_MS : RECYCLE_GRACE_MS;
}

uint64_t recycle_resident_bytes(void)
{
    char text[128];
    unsigned long size, resident;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    fds_close(&fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%lu %lu", &size, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
