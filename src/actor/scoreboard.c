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
#include "base/util.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct scoreboard_header) % 64 == 0, "records begin on a cache line");
_Static_assert(sizeof(struct score_record) % 64 == 0, "records share no cache line");

static size_t map_bytes(uint32_t n_records)
{
    return sizeof(struct scoreboard_header) + n_records * sizeof(struct score_record);
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

size_t scoreboard_bytes(uint32_t n_records)
{
    return map_bytes(n_records);
}

int scoreboard_open(struct scoreboard *sb, uint32_t n_records)
{
    if (n_records == 0 || n_records > SCOREBOARD_RECORDS_MAX)
        return -EINVAL;
    int fd = fds_memfd("scoreboard");
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
    scoreboard_restate_header(sb, 0);
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
    counter_set(&r->incarnation, 0);
    counter_set(&r->pid, 0);
    counter_set(&r->heartbeat_ns, 0);
    counter_set(&r->started_ns, 0);
    counter_set(&r->connections, 0);
    counter_set(&r->lag_ns, 0);
    counter_set(&r->is_full, 0);
#define X(field, help) counter_set(&r->counters.field, 0);
    COUNTERS(X)
#undef X
    memset(&r->crash, 0, sizeof(r->crash));
}

struct score_record *scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot,
                                       uint64_t incarnation)
{
    assert(index < sb->n_records && slot > 0);
    struct score_record *r = &sb->records[index];
    uint64_t now = clock_mono_ns();

    record_reset(r);
    counter_set(&r->incarnation, incarnation);
    counter_set(&r->started_ns, now);
    counter_set(&r->heartbeat_ns, now);
    counter_set(&r->state, ACTOR_INACTIVE);
    counter_set(&r->slot, slot);
    if (counter_get(&sb->header->high) <= index)
        counter_set(&sb->header->high, (uint64_t)index + 1);
    return r;
}

void scoreboard_release(struct scoreboard *sb, uint32_t index)
{
    assert(index < sb->n_records);
    record_reset(&sb->records[index]);
}

bool scoreboard_restate(struct score_record *r, uint32_t slot, uint64_t incarnation,
                        enum actor_state state)
{
    const bool is_same = counter_get(&r->slot) == slot &&
                         counter_get(&r->incarnation) == incarnation &&
                         counter_get(&r->state) == state;

    counter_set(&r->slot, slot);
    counter_set(&r->incarnation, incarnation);
    counter_set(&r->state, state);
    counter_set(&r->pid, (uint64_t)getpid());
    return !is_same;
}

void scoreboard_restate_header(struct scoreboard *sb, uint32_t high)
{
    struct scoreboard_header *h = sb->header;

    h->magic = SCOREBOARD_MAGIC;
    h->version = SCOREBOARD_VERSION;
    h->record_bytes = sizeof(struct score_record);
    h->n_records = sb->n_records;
    counter_set(&h->high, high);
}

uint64_t scoreboard_connections(const struct score_record *r)
{
    const uint64_t n = counter_get(&r->connections);

    return n <= SCOREBOARD_CONNECTIONS_MAX ? n : 0;
}

/* A sibling may have beaten after @now_ns was taken, but not long after. */
bool scoreboard_is_possible(const struct score_record *r, uint64_t now_ns)
{
    static const uint64_t second = 1000000000u;

    return counter_get(&r->slot) <= SCOREBOARD_RECORDS_MAX &&
           counter_get(&r->state) < ACTOR_STATES && counter_get(&r->is_full) <= 1 &&
           counter_get(&r->is_accepting) <= 1 &&
           counter_get(&r->connections) <= SCOREBOARD_CONNECTIONS_MAX &&
           counter_get(&r->heartbeat_ns) <= now_ns + second;
}

uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, bool *ret_others_full)
{
    const uint64_t high = counter_get(&sb->header->high);
    uint64_t least = UINT64_MAX;
    bool has_room = false;
    bool is_lie = self >= high || self >= sb->n_records || !counter_get(&sb->records[self].slot);

    for (uint32_t i = 0; i < sb->n_records && i < high; i++) {
        const struct score_record *r = &sb->records[i];
        uint64_t heartbeat_ns = counter_get(&r->heartbeat_ns);

        if (i == self || !counter_get(&r->slot))
            continue;
        if (!scoreboard_is_possible(r, now_ns)) {
            is_lie = true;
            continue;
        }
        if (!counter_get(&r->is_accepting) || counter_get(&r->is_full))
            continue;
        /* One that hangs will not take anybody, however much room it has. */
        if (heartbeat_ns < now_ns && now_ns - heartbeat_ns > fresh_ns)
            continue;
        has_room = true;
        least = MIN(least, counter_get(&r->connections));
    }
    if (ret_others_full)
        *ret_others_full = !has_room && !is_lie;
    return least;
}
