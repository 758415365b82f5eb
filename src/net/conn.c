/*
 * The set of connections of one worker: open, drain, cut and free. Runs in a worker.
 */
#include "net/conn_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/passed.h"
#include "net/conn_facts.h"
#include "net/conn_sources.h"
#include "net/keep.h"
#include "net/room.h"

enum { PAGE = 4096, MARKS_MIN = 1 << 16, MARKS_MAX = 1 << 24 };

static struct arb_conn *conn_at(struct list *link)
{
    return container_of(link, struct arb_conn, link);
}

bool conn_is_local(int fd)
{
    int domain;
    socklen_t len = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

bool conn_is_stream(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int type = 0;

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 && errno != ENOTCONN)
        return false;
    len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* Before its mark says that another process may go on with it. */
static void conn_set_speaks(struct conn_set *set, int fd, unsigned protocol)
{
    volatile uint8_t *spoken = set->spoken;

    spoken[fd] = (uint8_t)protocol;
    set->marks_end = MAX(set->marks_end, (size_t)fd + 1);
}

static bool needs_more(const struct arb_protocol *p)
{
    return p->conn_size > 0 || p->on_open || p->on_timeout || p->on_writable || p->on_drain ||
           p->on_close || p->on_message;
}

struct arb_conn *conn_new(struct conn_set *set, int fd, unsigned protocol)
{
    const struct conn_protocol *p = &set->protocols[protocol];
    struct arb_conn *c;

    if ((size_t)fd >= set->n_marks)
        return NULL;
    if (!conn_is_rich(p) && set->n_dead > 0) {
        set->n_dead--;
        c = conn_at(set->dead.prev); /* the last: it is still in the cache */
        list_remove(&c->link);
        memset(c, 0, sizeof(*c));
    } else {
        c = calloc(1, p->conn_bytes);
    }
    if (!c)
        return NULL;
    ev_io_init(&c->io, conn_on_io, fd, EV_READ);
    c->io.data = set;
    c->protocol = protocol & 7;
    c->idle_mark = p->idle_mark;
    conn_set_speaks(set, fd, protocol);
    if (conn_is_rich(p))
        conn_more_init(c, &((struct conn_rich *)c)->more);
    wheel_node_init(&c->node);
    list_init(&c->link);
    return c;
}

/* Two bytes for each descriptor that this process may have; untouched pages cost nothing. */
static int marks_init(struct conn_set *set)
{
    struct rlimit rl;
    void *memory;
    size_t n;

    if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
        return -errno;
    n = (size_t)MIN(rl.rlim_cur, (rlim_t)MARKS_MAX);
    n = MAX(n, (size_t)MARKS_MIN); /* the limit may rise, or have fallen */
    memory = mmap(NULL, 2 * n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    set->marks = set->own_marks = memory;
    set->spoken = set->marks + n;
    set->n_marks = set->n_own_marks = n;
    return 0;
}

void conn_set_mark(struct conn_set *set, int fd, uint8_t mark)
{
    volatile uint8_t *marks = set->marks;

    if (fd < 0 || (size_t)fd >= set->n_marks)
        return;
    marks[fd] = mark;
    set->marks_end = MAX(set->marks_end, (size_t)fd + 1);
}

bool conn_set_expect(struct conn_set *set, int fd, unsigned protocol)
{
    if (fd < 0 || (size_t)fd >= set->n_marks || protocol >= set->n_protocols)
        return false;
    conn_set_speaks(set, fd, protocol);
    conn_set_mark(set, fd, CONN_MARK_IDLE);
    return true;
}

void conn_set_serve(struct conn_set *set, const struct conn_protocol *protocols, unsigned n)
{
    assert(n > 0 && n <= CONN_PROTOCOLS_MAX);
    for (unsigned i = 0; i < n; i++) {
        struct conn_protocol *p = &set->protocols[i];

        *p = protocols[i];
        p->name_hash = hash_name(p->table->name);
        p->on_data = p->table->on_data;
        p->conn_bytes = needs_more(p->table)
                            ? offsetof(struct conn_rich, state) + p->table->conn_size
                            : sizeof(struct arb_conn);
        p->idle_mark = p->table->conn_size == 0 ? CONN_MARK_IDLE : CONN_MARK_STATEFUL;
    }
    set->n_protocols = n;
}

int conn_set_protocol(const struct conn_set *set, uint64_t name_hash)
{
    for (unsigned i = 0; i < set->n_protocols; i++)
        if (set->protocols[i].name_hash == name_hash)
            return (int)i;
    return -1;
}

int conn_set_init(struct conn_set *set, struct ev_loop *loop, const struct conn_protocol *protocols,
                  unsigned n_protocols, const struct conn_limits *limits, struct counters *counters,
                  conn_set_on_closed *on_closed)
{
    uint8_t *memory = aligned_alloc(PAGE, CONN_HEAD_BYTES + CONN_READ_BYTES);
    int rc;

    if (!memory)
        return -ENOMEM;
    memset(set, 0, sizeof(*set));
    set->loop = loop;
    conn_set_serve(set, protocols, n_protocols);
    set->limits = *limits;
    set->untimed = 1;
    set->is_attentive = limits->keep_alive_ms > 0;
    set->counters = counters;
    set->on_closed = on_closed;
    set->read_buffer = memory + CONN_HEAD_BYTES;
    room_init(&set->pool, limits->max_buffered);
    list_init(&set->all);
    list_init(&set->dead);
    list_init(&set->dead_rich);
    list_init(&set->closing);
    conn_turn_init(set);
    conn_time_init(set, conn_on_sweep);
    rc = marks_init(set);
    if (rc < 0)
        conn_set_fini(set);
    return rc;
}

void conn_set_fini(struct conn_set *set)
{
    if (!set->read_buffer)
        return;
    set->on_closed = NULL;
    conn_set_cut(set);
    conn_free_closed(set, 0);
    conn_turn_fini(set);
    conn_time_fini(set);
    buffer_pool_fini(&set->pool);
    if (set->probe)
        ev_loop_destroy(set->probe);
    set->n_marks = set->marks_end = 0; /* first: a handler of fatal signals may still come */
    conn_free_names(set);
    if (set->own_marks)
        munmap(set->own_marks, 2 * set->n_own_marks);
    free(set->read_buffer - CONN_HEAD_BYTES);
    set->read_buffer = NULL;
}

/* Counts the connection for its source. No proxy has named the peer of one just accepted; of a
 * rescued one conn_set_name has been told already. */
static void find_source(struct conn_set *set, int fd, enum arb_origin origin)
{
    struct sockaddr_storage buf;
    socklen_t len;

    if (origin == ARB_ACCEPTED)
        conn_set_name(set, fd, NULL);
    if (set->sources)
        conn_sources_come(set->sources, fd, conn_set_named_address(set, fd, &buf, &len));
}

/* No header is awaited: the protocol hears of the connection at once. */
static void begin_unheaded(struct arb_conn *c, enum arb_origin origin)
{
    if (origin == ARB_ACCEPTED)
        conn_watch_first(c);
    conn_settle(c);
    if (conn_announce(c, origin) < 0 && c->phase == CONN_OPEN)
        conn_end_answered(c, CONN_END_QUIT);
    if (c->more)
        conn_settle(c);
}

/* The protocol hears of the connection when its header has come. */
static void begin_headed(struct arb_conn *c, enum proxy_wish wish)
{
    conn_set_name(conn_set_of(c), c->io.fd, NULL);
    conn_await_header(c, wish == PROXY_ACCEPTED);
    conn_mark(c, CONN_MARK_BUSY);
    c->since = conn_now(conn_set_of(c));
    conn_settle(c);
}

static int set_add(struct conn_set *set, int fd, unsigned protocol, enum arb_origin origin,
                   enum proxy_wish wish, bool may_be_unix)
{
    struct arb_conn *c = conn_new(set, fd, protocol);
    const int on = 1;

    if (!c) {
        if (set->sources)
            conn_sources_go(set->sources, fd);
        conn_set_mark(set, fd, CONN_MARK_FREE);
        if (set->keep)
            keep_lose(set->keep, fd);
        close(fd);
        return -ENOMEM;
    }
    if (wish == PROXY_UNASKED)
        find_source(set, fd, origin);
    if (set->keep)
        keep_come(c);
    c->is_local = may_be_unix && conn_is_local(fd);
    if (c->is_local) {
        setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)); /* not inherited, unlike TCP's */
        c->is_open_to_fds = passed_may_come(fd);
    }
    c->node.owners = conn_now(set);
    if (origin == ARB_RESCUED)
        conn_recall(c);
    c->progress = c->is_local ? conn_now(set) : 0;
    list_append(&set->all, &c->link);
    set->n_open++;
    ev_io_start(set->loop, &c->io);
    if (wish == PROXY_UNASKED)
        begin_unheaded(c, origin);
    else
        begin_headed(c, wish);
    if (c->kept == CONN_KEPT && !conn_is_blank(c)) /* nor has its protocol said so just now */
        keep_rethink(c);
    if (set->is_draining)
        conn_drain(c);
    return 0;
}

int conn_set_add(struct conn_set *set, int fd, unsigned protocol, enum arb_origin origin,
                 bool may_be_unix)
{
    return set_add(set, fd, protocol, origin, PROXY_UNASKED, may_be_unix);
}

int conn_set_add_headed(struct conn_set *set, int fd, unsigned protocol, enum proxy_wish wish,
                        bool may_be_unix)
{
    return set_add(set, fd, protocol, ARB_ACCEPTED, wish, may_be_unix);
}

void conn_set_drain(struct conn_set *set)
{
    /* What one reads may end others, so no neighbour is remembered. */
    for (size_t n = set->n_open; n > 0 && !list_is_empty(&set->all); n--) {
        struct arb_conn *c = conn_at(set->all.next);

        conn_unlist(c);
        list_append(&set->all, &c->link);
        if (set->keep)
            set->keep->is_disordered = true;
        if (c->special & CONN_HELD)
            conn_go_on(c);
        conn_drain(c);
    }
    set->is_draining = true;
    set->is_attentive = true;
}

void conn_set_cut(struct conn_set *set)
{
    /* What was half-closed in good order keeps its reason. */
    while (!list_is_empty(&set->all)) {
        struct arb_conn *c = conn_at(set->all.next);

        if (c->phase == CONN_LINGERING)
            conn_close(c, c->end);
        else
            conn_close(c, c->special & CONN_OWES ? CONN_END_OWING : CONN_END_CUT);
    }
    conn_set_settle(set);
}
