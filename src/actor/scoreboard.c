/*
 * The shared records of all processes. The arbiter makes the memory; every worker inherits it and
 * writes its own record. A record that is read while it changes hands is old or new, never torn:
 * each field is one relaxed atomic.
 */
#include "actor/scoreboard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fds.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct scoreboard_header) % 64 == 0, "records begin on a cache line");
_Static_assert(sizeof(struct score_record) % 64 == 0, "records share no cache line");

static size_t map_bytes(uint32_t n_records)
{
    return sizeof(struct scoreboard_header) + n_records * sizeof(struct score_record);
}

static int make_memfd(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("scoreboard", flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* Linux < 6.3 */
        fd = memfd_create("scoreboard", flags);
    return fd < 0 ? -errno : fd;
}

static int map_fd(int fd, uint32_t n_records, struct scoreboard *ret)
{
    void *p = mmap(NULL, map_bytes(n_records), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = (struct scoreboard){
        .fd = fd,
        .header = p,
        .records = (struct score_record *)(void *)((char *)p + sizeof(struct scoreboard_header)),
        .n_records = n_records,
    };
    return 0;
}

int scoreboard_open(struct scoreboard *sb, uint32_t n_records)
{
    if (n_records == 0 || n_records > SCOREBOARD_RECORDS_MAX)
        return -EINVAL;
    int fd = make_memfd();
    if (fd < 0)
        return fd;
    int r = 0;
    /* fallocate: out of memory shows here, not as SIGBUS in a worker. */
    if (fallocate(fd, 0, 0, (off_t)map_bytes(n_records)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        r = -errno;
    if (r == 0)
        r = map_fd(fd, n_records, sb);
    if (r < 0) {
        fds_close(&fd);
        return r;
    }
    sb->header->magic = SCOREBOARD_MAGIC;
    sb->header->version = SCOREBOARD_VERSION;
    sb->header->record_bytes = sizeof(struct score_record);
    sb->header->n_records = n_records;
    return 0;
}

/* What cannot shrink any more can be mapped without fear of SIGBUS. */
static int check_fd(int fd, size_t *ret_bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0)
        return errno == EBADF ? -EBADF : -EINVAL;
    if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
        return -EINVAL;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)map_bytes(1) || st.st_size > (off_t)map_bytes(SCOREBOARD_RECORDS_MAX))
        return -EINVAL;
    *ret_bytes = (size_t)st.st_size;
    return 0;
}

static bool is_header_valid(const struct scoreboard_header *h, size_t bytes)
{
    return h->magic == SCOREBOARD_MAGIC && h->version == SCOREBOARD_VERSION &&
           h->record_bytes == sizeof(struct score_record) && h->n_records > 0 &&
           h->n_records <= SCOREBOARD_RECORDS_MAX && map_bytes(h->n_records) == bytes &&
           counter_get(&h->high) <= h->n_records;
}

int scoreboard_attach(struct scoreboard *sb, int fd)
{
    size_t bytes = 0;
    int r = check_fd(fd, &bytes);
    if (r < 0)
        return r;
    void *p = mmap(NULL, sizeof(struct scoreboard_header), PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    const struct scoreboard_header *h = p;
    uint32_t n_records = h->n_records;
    bool is_valid = is_header_valid(h, bytes);
    munmap(p, sizeof(struct scoreboard_header));
    return is_valid ? map_fd(fd, n_records, sb) : -EINVAL;
}

void scoreboard_close(struct scoreboard *sb)
{
    if (!sb || !sb->header)
        return;
    munmap(sb->header, map_bytes(sb->n_records));
    fds_close(&sb->fd);
    *sb = (struct scoreboard){.fd = -1};
}

/* The slot goes first and comes last: readers skip a record that is free. */
static void record_reset(struct score_record *r)
{
    counter_set(&r->slot, 0);
    counter_set(&r->is_accepting, 0);
    counter_set(&r->state, ACTOR_INITIAL);
    counter_set(&r->generation, 0);
    counter_set(&r->pid, 0);
    counter_set(&r->heartbeat_ns, 0);
    counter_set(&r->started_ns, 0);
    counter_set(&r->connections, 0);
    counter_set(&r->recent_closes, 0);
    counter_set(&r->is_full, 0);
#define X(field, help) counter_set(&r->counters.field, 0);
    COUNTERS(X)
#undef X
}

struct score_record *scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot,
                                       uint64_t generation)
{
    assert(index < sb->n_records && slot > 0);
    struct score_record *r = &sb->records[index];
    uint64_t now = clock_mono_ns();

    record_reset(r);
    counter_set(&r->generation, generation);
    counter_set(&r->started_ns, now);
    counter_set(&r->heartbeat_ns, now);
    counter_set(&r->state, ACTOR_INACTIVE);
    counter_set(&r->slot, slot);
    if (counter_get(&sb->header->high) <= index)
        counter_set(&sb->header->high, (uint64_t)index + 1);
    return r;
}

void scoreboard_release(struct scoreboard *sb, uint32_t index, struct counters *totals)
{
    assert(index < sb->n_records);
    struct score_record *r = &sb->records[index];
#define X(field, help) counter_add(&totals->field, counter_get(&r->counters.field));
    COUNTERS(X)
#undef X
    record_reset(r);
}

uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, int *ret_all_full)
{
    uint64_t least = UINT64_MAX;
    bool is_all_full = true;
    uint64_t high = counter_get(&sb->header->high);

    for (uint32_t i = 0; i < sb->n_records && i < high; i++) {
        const struct score_record *r = &sb->records[i];
        if (!counter_get(&r->slot) || !counter_get(&r->is_accepting) || counter_get(&r->is_full))
            continue;
        if (i == self) {
            is_all_full = false;
            continue;
        }
        /* A sibling may have written after @now_ns was taken: then it is fresh. One that hangs
         * will not take anybody, however much room it has. */
        uint64_t heartbeat = counter_get(&r->heartbeat_ns);
        if (heartbeat < now_ns && now_ns - heartbeat > fresh_ns)
            continue;
        is_all_full = false;
        uint64_t connections = counter_get(&r->connections);
        if (connections < least)
            least = connections;
    }
    if (ret_all_full)
        *ret_all_full = is_all_full;
    return least;
}
