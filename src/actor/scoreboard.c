/*
 * The shared records of all processes. The arbiter makes the memory; every worker maps it anew and
 * can write its own record only. A record that is read while it changes hands is old or new, never
 * torn: each field is one relaxed atomic.
 */
#include "actor/scoreboard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fds.h"
#include "base/hash.h"
#include "base/util.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

/*
 * Records at the same place of their pages would fall into the same set of the L1 cache, and the
 * look at all of them would miss it: each begins one line later than the one before, in turns.
 */
enum { LINE_BYTES = 64, STAGGERED = 16, PAGE_MIN_BYTES = 4096 };

_Static_assert(sizeof(struct scoreboard_header) % LINE_BYTES == 0, "identities begin on a line");
_Static_assert(sizeof(struct score_record) + (STAGGERED - 1) * LINE_BYTES <= PAGE_MIN_BYTES,
               "a record stays within its page");

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* What is the arbiter's, in whole pages. */
static size_t arbiter_bytes(uint32_t n_records)
{
    const size_t page = page_bytes(), used = sizeof(struct scoreboard_header) +
                                             n_records * sizeof(struct score_identity);

    return (used + page - 1) / page * page;
}

size_t scoreboard_bytes(uint32_t n_records)
{
    return arbiter_bytes(n_records) + n_records * page_bytes();
}

/* Returns 0 or -errno: out of memory shows here, not as SIGBUS when it is touched. */
static int allocate(int fd, size_t offset, size_t len)
{
    return fallocate(fd, 0, (off_t)offset, (off_t)len) < 0 ? -errno : 0;
}

/* A mapping through this descriptor can never be made writable. */
static int open_read_only(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int map_all(int fd, uint32_t n_records, struct scoreboard *ret)
{
    const int read_fd = open_read_only(fd);
    void *p;

    if (read_fd < 0)
        return read_fd;
    p = mmap(NULL, scoreboard_bytes(n_records), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        const int rc = -errno;

        close(read_fd);
        return rc;
    }
    *ret = (struct scoreboard){
        .fd = fd,
        .read_fd = read_fd,
        .header = p,
        .page_bytes = page_bytes(),
        .records_at = arbiter_bytes(n_records),
        .n_records = n_records,
    };
    return 0;
}

int scoreboard_open(struct scoreboard *sb, uint32_t n_records)
{
    int fd, rc;

    if (n_records == 0 || n_records > SCOREBOARD_RECORDS_MAX)
        return -EINVAL;
    fd = fds_memfd("scoreboard");
    if (fd < 0)
        return fd;
    rc = ftruncate(fd, (off_t)scoreboard_bytes(n_records)) < 0 ? -errno : 0;
    if (rc == 0)
        rc = allocate(fd, 0, sizeof(struct scoreboard_header));
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        rc = -errno;
    if (rc == 0)
        rc = map_all(fd, n_records, sb);
    if (rc < 0) {
        fds_close(&fd);
        return rc;
    }
    sb->header->magic = SCOREBOARD_MAGIC;
    sb->header->version = SCOREBOARD_VERSION;
    sb->header->page_bytes = (uint32_t)sb->page_bytes;
    sb->header->n_records = n_records;
    return 0;
}

static bool is_header_valid(const struct scoreboard_header *h, off_t bytes)
{
    return h->magic == SCOREBOARD_MAGIC && h->version == SCOREBOARD_VERSION &&
           h->page_bytes == page_bytes() && h->n_records > 0 &&
           h->n_records <= SCOREBOARD_RECORDS_MAX &&
           (off_t)scoreboard_bytes(h->n_records) == bytes && counter_get(&h->high) <= h->n_records;
}

/* What cannot shrink any more can be mapped without fear of SIGBUS. */
int scoreboard_attach(struct scoreboard *sb, int fd)
{
    const int fixed = F_SEAL_SHRINK | F_SEAL_GROW, seals = fcntl(fd, F_GET_SEALS);
    struct scoreboard_header h;
    struct stat st;

    if (seals < 0)
        return errno == EBADF ? -EBADF : -EINVAL;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((seals & fixed) != fixed || pread(fd, &h, sizeof(h), 0) != sizeof(h) ||
        !is_header_valid(&h, st.st_size))
        return -EINVAL;
    return map_all(fd, h.n_records, sb);
}

void scoreboard_close(struct scoreboard *sb)
{
    if (!sb || !sb->header)
        return;
    munmap(sb->header, scoreboard_bytes(sb->n_records));
    fds_close(&sb->fd);
    fds_close(&sb->read_fd);
    *sb = (struct scoreboard){.fd = -1, .read_fd = -1};
}

static size_t page_of(const struct scoreboard *sb, uint32_t index)
{
    return sb->records_at + index * sb->page_bytes;
}

struct score_record *scoreboard_record(const struct scoreboard *sb, uint32_t index)
{
    const size_t stagger = index % STAGGERED * (size_t)LINE_BYTES;

    return (void *)((char *)sb->header + page_of(sb, index) + stagger);
}

struct score_identity *scoreboard_identity(const struct scoreboard *sb, uint32_t index)
{
    return &sb->header->identities[index];
}

/* In the place of the inherited mapping, so that nothing of it is left. */
int scoreboard_narrow(struct scoreboard *sb, uint32_t index)
{
    const size_t at = page_of(sb, index);
    int rc = 0;

    if (mmap(sb->header, scoreboard_bytes(sb->n_records), PROT_READ, MAP_SHARED | MAP_FIXED,
             sb->read_fd, 0) == MAP_FAILED ||
        mmap((char *)sb->header + at, sb->page_bytes, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED, sb->fd, (off_t)at) == MAP_FAILED)
        rc = -errno;
    fds_close(&sb->fd);
    fds_close(&sb->read_fd);
    return rc;
}

/* A record that is free accepts nothing; that goes first and comes last. */
static void record_reset(struct score_record *r)
{
    counter_set(&r->is_accepting, 0);
    counter_set(&r->is_full, 0);
    counter_set(&r->connections, 0);
    counter_set(&r->heartbeat_ns, 0);
    counter_set(&r->state, ACTOR_INITIAL);
    counter_set(&r->lag_ns, 0);
    counter_set(&r->owing, 0);
    counter_set(&r->kept, 0);
    counter_set(&r->kept_bytes, 0);
    counter_set(&r->sources, 0);
    counter_set(&r->memory_bytes, 0);
    counter_set(&r->fds, 0);
    counter_set(&r->fds_max, 0);
    timing_reset(&r->times.reply);
    timing_reset(&r->times.lag);
#define X(field, help) counter_set(&r->counters.field, 0);
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < ARRAY_SIZE(r->own.n); i++)
        counter_set(&r->own.n[i], 0);
    memset(&r->crash, 0, sizeof(r->crash));
}

static void identity_set(struct score_identity *id, uint32_t slot, uint64_t incarnation,
                         uint64_t now_ns)
{
    counter_set(&id->pid, 0);
    counter_set(&id->incarnation, incarnation);
    counter_set(&id->started_ns, now_ns);
    counter_set(&id->slot, slot);
}

int scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot, uint64_t incarnation)
{
    const uint64_t now_ns = clock_mono_ns();
    struct score_record *r = scoreboard_record(sb, index);
    struct score_identity *id = scoreboard_identity(sb, index);
    int rc;

    assert(index < sb->n_records && slot > 0);
    rc = allocate(sb->fd, (size_t)((char *)id - (char *)sb->header), sizeof(*id));
    if (rc == 0)
        rc = allocate(sb->fd, page_of(sb, index), sb->page_bytes);
    if (rc < 0)
        return rc;
    record_reset(r);
    counter_set(&r->heartbeat_ns, now_ns);
    counter_set(&r->state, ACTOR_INACTIVE);
    identity_set(id, slot, incarnation, now_ns);
    if (counter_get(&sb->header->high) <= index)
        counter_set(&sb->header->high, (uint64_t)index + 1);
    return 0;
}

void scoreboard_release(struct scoreboard *sb, uint32_t index)
{
    assert(index < sb->n_records);
    record_reset(scoreboard_record(sb, index));
    identity_set(scoreboard_identity(sb, index), 0, 0, 0);
}

uint64_t scoreboard_connections(const struct score_record *r)
{
    const uint64_t n = counter_get(&r->connections);

    return n <= SCOREBOARD_CONNECTIONS_MAX ? n : 0;
}

/* Can a worker in its right mind have written this? It may have beaten after @now_ns was taken, but
 * not long after. */
static bool record_is_possible(const struct score_record *r, uint64_t now_ns)
{
    static const uint64_t second = 1000000000u;

    return counter_get(&r->state) < ACTOR_STATES && counter_get(&r->is_full) <= 1 &&
           counter_get(&r->is_accepting) <= 1 &&
           counter_get(&r->connections) <= SCOREBOARD_CONNECTIONS_MAX &&
           counter_get(&r->heartbeat_ns) <= now_ns + second;
}

uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, bool *ret_others_full)
{
    const uint64_t high = counter_get(&sb->header->high);
    uint64_t least = UINT64_MAX;
    bool has_room = false, is_lie = false;

    for (uint32_t i = 0; i < high; i++) {
        const struct score_record *r = scoreboard_record(sb, i);
        uint64_t heartbeat_ns = counter_get(&r->heartbeat_ns);

        if (i == self)
            continue;
        if (!record_is_possible(r, now_ns)) {
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

struct layout_place {
    const char *name;
    size_t offset;
};

static const struct layout_place layout_places[] = {
    /* clang-format off */
    {"version", SCOREBOARD_VERSION},
    {"slot", offsetof(struct score_identity, slot)},
    {"incarnation", offsetof(struct score_identity, incarnation)},
    {"pid", offsetof(struct score_identity, pid)},
    {"started_ns", offsetof(struct score_identity, started_ns)},
    {"bytes", sizeof(struct score_record)},
    {"state", offsetof(struct score_record, state)},
    {"heartbeat_ns", offsetof(struct score_record, heartbeat_ns)},
    {"connections", offsetof(struct score_record, connections)},
    {"is_full", offsetof(struct score_record, is_full)},
    {"is_accepting", offsetof(struct score_record, is_accepting)},
    {"lag_ns", offsetof(struct score_record, lag_ns)},
    {"owing", offsetof(struct score_record, owing)},
    {"kept", offsetof(struct score_record, kept)},
    {"sources", offsetof(struct score_record, sources)},
    {"own", offsetof(struct score_record, own.n)},
    {"kept_bytes", offsetof(struct score_record, kept_bytes)},
    {"memory_bytes", offsetof(struct score_record, memory_bytes)},
    {"fds", offsetof(struct score_record, fds)},
    {"fds_max", offsetof(struct score_record, fds_max)},
    {"reply", offsetof(struct score_record, times.reply)},
    {"lag", offsetof(struct score_record, times.lag)},
    {"timing", TIMING_N},
    {"crash", offsetof(struct score_record, crash)},
#define X(field, help) {#field, offsetof(struct score_record, counters.field)},
    COUNTERS(X)
#undef X
    /* clang-format on */
};

uint64_t scoreboard_layout(void)
{
    uint64_t h = HASH_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(layout_places); i++) {
        const uint8_t offset[] = {(uint8_t)(layout_places[i].offset >> 8),
                                  (uint8_t)layout_places[i].offset};

        h = hash_bytes(h, layout_places[i].name, strlen(layout_places[i].name));
        h = hash_bytes(h, offset, sizeof(offset));
    }
    return h;
}
