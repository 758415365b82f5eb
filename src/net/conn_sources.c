/*
 * Connections of a worker, counted by source.
 */
#include "net/conn_sources.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/util.h"

enum { UNKNOWN = 0, NOT_COUNTED = 1, FIRST_ENTRY = 2 };
enum { COUNTED_MIN = 1 << 16, COUNTED_MAX = 1 << 24 }; /* the limit may rise, or have fallen */

/* A number for each descriptor that this process may have; untouched pages cost nothing. */
int conn_sources_init(struct conn_sources *s)
{
    struct rlimit rl;
    void *memory;
    size_t n;

    if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
        return -errno;
    n = MAX((size_t)MIN(rl.rlim_cur, (rlim_t)COUNTED_MAX), (size_t)COUNTED_MIN);
    memory = mmap(NULL, n * sizeof(*s->counted), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    s->counted = memory;
    s->n_counted = n;
    return 0;
}

void conn_sources_fini(struct conn_sources *s)
{
    if (s->counted)
        munmap(s->counted, s->n_counted * sizeof(*s->counted));
    s->counted = NULL;
}

/* The entry that counts for @peer; SOURCES_NONE = it has no limit. */
static uint32_t find_entry(struct conn_sources *s, const struct sockaddr *peer, uint64_t now_ns)
{
    struct addr_ip ip;
    uint32_t entry;

    if (!addr_ip(peer, &ip) || addr_nets_have(s->trusted, s->n_trusted, &ip))
        return SOURCES_NONE;
    entry = sources_find(s->table, addr_source(&ip), now_ns);
    if (entry == SOURCES_NONE)
        counter_add(s->uncounted, 1);
    return entry;
}

/* As find_entry of the peer of @fd, unless its address is known: one that has been reset has none,
 * and is about to end. */
static uint32_t find_entry_of(struct conn_sources *s, int fd, const struct sockaddr *peer,
                              uint64_t now_ns)
{
    struct sockaddr_storage asked = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(asked);

    if (!peer && getpeername(fd, (struct sockaddr *)&asked, &len) == 0)
        peer = (const struct sockaddr *)&asked;
    return peer ? find_entry(s, peer, now_ns) : SOURCES_NONE;
}

static void remember(struct conn_sources *s, int fd, uint32_t entry)
{
    s->counted[fd] = entry == SOURCES_NONE ? NOT_COUNTED : entry + FIRST_ENTRY;
    counter_set(s->in_use, s->table->n_in_use);
}

enum source_answer conn_sources_admit(struct conn_sources *s, int fd, const struct sockaddr *peer)
{
    const uint64_t now_ns = clock_mono_ns();
    enum source_answer answer = SOURCE_ADMITTED;
    uint32_t entry;

    if ((size_t)fd >= s->n_counted)
        return SOURCE_ADMITTED;
    entry = find_entry_of(s, fd, peer, now_ns);
    if (entry != SOURCES_NONE)
        answer = sources_admit(s->table, entry, &s->limits, now_ns);
    if (answer == SOURCE_ADMITTED)
        remember(s, fd, entry);
    return answer;
}

void conn_sources_come(struct conn_sources *s, int fd, const struct sockaddr *peer)
{
    uint32_t entry;

    if ((size_t)fd >= s->n_counted || s->counted[fd] != UNKNOWN)
        return;
    entry = find_entry_of(s, fd, peer, clock_mono_ns());
    if (entry != SOURCES_NONE)
        sources_add(s->table, entry);
    remember(s, fd, entry);
}

void conn_sources_go(struct conn_sources *s, int fd)
{
    if ((size_t)fd >= s->n_counted)
        return;
    if (s->counted[fd] >= FIRST_ENTRY)
        sources_drop(s->table, s->counted[fd] - FIRST_ENTRY);
    s->counted[fd] = UNKNOWN;
    counter_set(s->in_use, s->table->n_in_use);
}
