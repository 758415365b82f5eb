/*
 * What is counted for each source. The arbiter makes the memory and says which parts are used; each
 * worker writes its own part, and reads all. Everything is a relaxed atomic of one writer, but for
 * one fence: a worker has published its own count before it adds the others' up.
 */
#include "actor/sources.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fds.h"
#include "base/hash.h"
#include "base/util.h"

enum { SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW, COUNT_MAX = INT32_MAX };

/* In parts beside each other a source's tags do not lie in the same place of their pages: they
 * would fall into the same set of the cache. */
enum { BUCKETS_APART = 5 };

static const uint64_t second_ns = 1000000000;

void sources_init(struct sources *s)
{
    *s = (struct sources){.fd = -1, .read_fd = -1};
}

/* ---- the arbiter ---- */

static size_t in_pages(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page - 1) / page * page;
}

static size_t header_bytes(uint32_t n_parts)
{
    return in_pages(sizeof(struct sources_header) + n_parts);
}

static size_t tags_bytes(uint32_t n_entries)
{
    return n_entries * sizeof(uint16_t);
}

static size_t bytes_of_part(uint32_t n_entries)
{
    return in_pages(tags_bytes(n_entries) + n_entries * sizeof(struct source_entry));
}

size_t sources_bytes(uint32_t n_parts, uint32_t n_entries)
{
    return header_bytes(n_parts) + n_parts * bytes_of_part(n_entries);
}

/* A quarter full, one source of ten thousand finds no room. */
uint32_t sources_size(uint64_t max_connections)
{
    uint32_t n = SOURCES_MIN;

    while (n < SOURCES_MAX && n < 4 * max_connections)
        n *= 2;
    return n;
}

/* Takes @fd over on 0. */
static int map_header(struct sources *s, int fd, uint32_t n_parts, uint32_t n_entries)
{
    char path[32];
    void *p = mmap(NULL, header_bytes(n_parts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int read_fd;

    if (p == MAP_FAILED)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    read_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (read_fd < 0) {
        const int rc = -errno;

        munmap(p, header_bytes(n_parts));
        return rc;
    }
    *s = (struct sources){.fd = fd,
                          .read_fd = read_fd,
                          .header = p,
                          .parts_at = header_bytes(n_parts),
                          .part_bytes = bytes_of_part(n_entries)};
    return 0;
}

static int make_key(uint64_t key[2])
{
    const size_t size = 2 * sizeof(*key);

    return getrandom(key, size, 0) == (ssize_t)size ? 0 : -EIO;
}

int sources_open(struct sources *s, uint32_t n_parts, uint32_t n_entries)
{
    uint64_t key[2];
    int fd, rc;

    if (n_parts == 0 || n_parts > SOURCES_PARTS_MAX || n_entries < SOURCES_MIN ||
        n_entries > SOURCES_MAX || (n_entries & (n_entries - 1)) != 0)
        return -EINVAL;
    fd = fds_memfd("sources");
    if (fd < 0)
        return fd;
    rc = make_key(key);
    if (rc == 0 && (ftruncate(fd, (off_t)sources_bytes(n_parts, n_entries)) < 0 ||
                    fallocate(fd, 0, 0, (off_t)header_bytes(n_parts)) < 0 ||
                    fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) < 0))
        rc = -errno;
    if (rc == 0)
        rc = map_header(s, fd, n_parts, n_entries);
    if (rc < 0) {
        fds_close(&fd);
        return rc;
    }
    s->header->magic = SOURCES_MAGIC;
    s->header->version = SOURCES_VERSION;
    s->header->n_parts = n_parts;
    s->header->n_entries = n_entries;
    s->header->page_bytes = (uint32_t)in_pages(1);
    s->header->key[0] = key[0];
    s->header->key[1] = key[1];
    return 0;
}

static bool is_sources_header(const struct sources_header *h, off_t bytes, uint32_t n_parts)
{
    return h->magic == SOURCES_MAGIC && h->version == SOURCES_VERSION &&
           h->page_bytes == in_pages(1) && h->n_parts == n_parts && h->n_entries >= SOURCES_MIN &&
           h->n_entries <= SOURCES_MAX && (h->n_entries & (h->n_entries - 1)) == 0 &&
           (off_t)sources_bytes(n_parts, h->n_entries) == bytes && counter_get(&h->high) <= n_parts;
}

/* What cannot shrink any more can be mapped without fear of SIGBUS. */
int sources_attach(struct sources *s, int fd, uint32_t n_parts)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct sources_header h;
    struct stat st;

    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS || fstat(fd, &st) < 0 ||
        pread(fd, &h, sizeof(h), 0) != sizeof(h) || !is_sources_header(&h, st.st_size, n_parts))
        return -EINVAL;
    return map_header(s, fd, n_parts, h.n_entries);
}

void sources_close(struct sources *s)
{
    if (s->header)
        munmap(s->header, s->own ? sources_bytes(s->header->n_parts, s->header->n_entries)
                                 : header_bytes(s->header->n_parts));
    fds_close(&s->fd);
    fds_close(&s->read_fd);
    sources_init(s);
}

static off_t part_at(const struct sources *s, uint32_t index)
{
    return (off_t)(s->parts_at + index * s->part_bytes);
}

static void punch_part(const struct sources *s, uint32_t index)
{
    fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, part_at(s, index),
              (off_t)s->part_bytes);
}

int sources_assign(struct sources *s, uint32_t index)
{
    assert(index < s->header->n_parts);
    punch_part(s, index); /* who still read it while it was released has got new pages */
    if (fallocate(s->fd, 0, part_at(s, index), (off_t)s->part_bytes) < 0)
        return -errno;
    atomic_store(&s->header->is_used[index], 1);
    if (counter_get(&s->header->high) <= index)
        counter_set(&s->header->high, (uint64_t)index + 1);
    return 0;
}

void sources_release(struct sources *s, uint32_t index)
{
    if (!s->header || index >= s->header->n_parts ||
        !atomic_exchange(&s->header->is_used[index], 0))
        return;
    punch_part(s, index);
}

int sources_narrow(struct sources *s, uint32_t index, bool is_counting)
{
    const uint32_t n_parts = s->header->n_parts, n_entries = s->header->n_entries;
    const off_t at = part_at(s, index);
    char *all = MAP_FAILED, *own = MAP_FAILED;
    int rc = 0;

    munmap(s->header, header_bytes(n_parts)); /* which was writable */
    s->header = NULL;
    if (is_counting) {
        all = mmap(NULL, sources_bytes(n_parts, n_entries), PROT_READ, MAP_SHARED, s->read_fd, 0);
        if (all != MAP_FAILED)
            own = mmap(all + at, s->part_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                       s->fd, at);
        rc = own == MAP_FAILED ? -errno : 0;
    }
    fds_close(&s->fd);
    fds_close(&s->read_fd);
    if (is_counting && rc == 0) {
        s->header = (void *)all;
        s->own_tags = (void *)own;
        s->own = (void *)(own + tags_bytes(n_entries));
        s->self = index;
    }
    return rc;
}

/* ---- the workers ---- */

bool source_rate_take(uint64_t *next_ns, uint64_t now_ns, uint32_t a_second)
{
    const uint64_t step_ns = second_ns / a_second, patience_ns = second_ns - step_ns;
    const uint64_t next = MAX(*next_ns, now_ns);

    if (next - now_ns > patience_ns)
        return false;
    *next_ns = next + step_ns;
    return true;
}

static uint32_t load(const _Atomic uint32_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void store(_Atomic uint32_t *p, uint32_t value)
{
    atomic_store_explicit(p, value, memory_order_relaxed);
}

/* The first entry of @bucket in part @part. */
static uint32_t place_bucket(const struct sources *s, uint32_t part, uint32_t bucket)
{
    const uint32_t n_buckets = s->header->n_entries / SOURCES_WAYS;

    return (bucket + part * BUCKETS_APART) % n_buckets * SOURCES_WAYS;
}

static uint32_t bucket_of(uint32_t part, uint32_t entry)
{
    return entry / SOURCES_WAYS - part * BUCKETS_APART; /* may wrap: it is only placed anew */
}

static uint16_t load_tag(const _Atomic uint16_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

uint32_t sources_find(struct sources *s, uint64_t source, uint64_t now_ns)
{
    const uint64_t hash = hash_keyed(s->header->key, source);
    const uint32_t first = place_bucket(s, s->self, (uint32_t)(hash >> 32)), tag = (uint32_t)hash;
    uint32_t free = SOURCES_NONE;

    for (uint32_t i = first; i < first + SOURCES_WAYS; i++) {
        const struct source_entry *e = &s->own[i];

        if (load(&e->tag) == tag)
            return i;
        if (free == SOURCES_NONE && load(&e->count) == 0 && counter_get(&e->next_ns) <= now_ns)
            free = i;
    }
    if (free == SOURCES_NONE)
        return SOURCES_NONE;
    counter_set(&s->own[free].next_ns, 0);
    store(&s->own[free].tag, tag);
    atomic_store_explicit(&s->own_tags[free], (uint16_t)tag, memory_order_relaxed);
    return free;
}

void sources_add(struct sources *s, uint32_t entry)
{
    const uint32_t count = load(&s->own[entry].count);

    s->n_in_use += count == 0;
    store(&s->own[entry].count, count + 1);
}

void sources_drop(struct sources *s, uint32_t entry)
{
    const uint32_t count = load(&s->own[entry].count);

    assert(count > 0);
    s->n_in_use -= count == 1;
    store(&s->own[entry].count, count - 1);
}

/* Adds an entry of another process. What cannot be is not believed. */
static void add_entry(const struct source_entry *e, uint64_t now_ns, uint64_t *count,
                      uint64_t *next_ns)
{
    const uint32_t n = load(&e->count);
    const uint64_t next = counter_get(&e->next_ns);

    if (n <= COUNT_MAX)
        *count += n;
    if (next <= now_ns + 2 * second_ns) /* more than a second never is */
        *next_ns = MAX(*next_ns, next);
}

static void add_part(const struct sources *s, uint32_t part, uint32_t bucket, uint32_t tag,
                     uint64_t now_ns, uint64_t *count, uint64_t *next_ns)
{
    const char *at = (const char *)s->header + part_at(s, part);
    const _Atomic uint16_t *tags = (const void *)at;
    const struct source_entry *entries = (const void *)(at + tags_bytes(s->header->n_entries));
    const uint32_t first = place_bucket(s, part, bucket);

    for (uint32_t i = first; i < first + SOURCES_WAYS; i++)
        if (load_tag(&tags[i]) == (uint16_t)tag && load(&entries[i].tag) == tag)
            add_entry(&entries[i], now_ns, count, next_ns);
}

static void add_others(const struct sources *s, uint32_t entry, uint64_t now_ns, uint64_t *count,
                       uint64_t *next_ns)
{
    const uint32_t bucket = bucket_of(s->self, entry), tag = load(&s->own[entry].tag);
    const uint64_t high = counter_get(&s->header->high);

    for (uint32_t i = 0; i < high; i++)
        if (i != s->self && atomic_load_explicit(&s->header->is_used[i], memory_order_relaxed))
            add_part(s, i, bucket, tag, now_ns, count, next_ns);
}

enum source_answer sources_admit(struct sources *s, uint32_t entry,
                                 const struct source_limits *limits, uint64_t now_ns)
{
    struct source_entry *e = &s->own[entry];
    uint64_t next_ns = counter_get(&e->next_ns), count;
    enum source_answer answer = SOURCE_ADMITTED;

    sources_add(s, entry);
    atomic_thread_fence(memory_order_seq_cst);
    count = load(&e->count);
    add_others(s, entry, now_ns, &count, &next_ns);
    if (limits->connections > 0 && count > limits->connections)
        answer = SOURCE_HAS_ENOUGH;
    else if (limits->accepts > 0 && !source_rate_take(&next_ns, now_ns, limits->accepts))
        answer = SOURCE_IS_TOO_FAST;
    if (answer == SOURCE_ADMITTED)
        counter_set(&e->next_ns, limits->accepts > 0 ? next_ns : 0);
    else
        sources_drop(s, entry);
    return answer;
}
