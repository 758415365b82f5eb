/*
 * Pages of connections. Runs in a worker, between the turns of its clients.
 */
#include "worker/listing.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

/* ---- which connections are meant ---- */

/* Facts that an argument may bound. */
static const struct quantity {
    const char *name;
    size_t offset;
} quantities[] = {
    {"age_ms", offsetof(struct conn_facts, age_ms)},
    {"idle_ms", offsetof(struct conn_facts, idle_ms)},
    {"messages", offsetof(struct conn_facts, messages)},
    {"bytes_in", offsetof(struct conn_facts, bytes_in)},
    {"bytes_out", offsetof(struct conn_facts, bytes_out)},
};

enum { N_QUANTITIES = ARRAY_SIZE(quantities) };

struct meant {
    uint64_t id; /* 0 = any */
    enum { PEER_ANY, PEER_NET, PEER_PORT, PEER_UNIX, PEER_TEXT } peer;
    struct addr_net net; /* PEER_NET, PEER_PORT */
    uint16_t port; /* PEER_PORT */
    const char *text; /* PEER_TEXT; borrowed, as the next two; NULL = any */
    const char *state, *protocol;
    const json_t *kept; /* NULL = either */
    uint64_t min[N_QUANTITIES], max[N_QUANTITIES]; /* 0 and UINT64_MAX = unbounded */
};

enum { WHY_LEN = 256 };

static int refuse_peer(const char *text, char why[WHY_LEN])
{
    snprintf(why, WHY_LEN,
             "peer: '%.64s' is not a peer, allowed: ADDRESS:PORT, [V6]:PORT, ADDRESS, "
             "ADDRESS/BITS, unix, "
             "or unix:... as connections shows it",
             text);
    return -EINVAL;
}

static uint16_t port_of(const struct sockaddr_storage *sa)
{
    return ntohs(sa->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_port
                                           : ((const struct sockaddr_in *)sa)->sin_port);
}

static int read_peer(const char *text, struct meant *m, char why[WHY_LEN])
{
    struct sockaddr_storage sa;
    struct addr_ip ip;
    struct addr addr;
    socklen_t len;
    const char *reason;

    if (strcmp(text, "unix") == 0) {
        m->peer = PEER_UNIX;
        return 0;
    }
    if (strncmp(text, "unix:", 5) == 0) {
        m->peer = PEER_TEXT;
        m->text = text;
        return 0;
    }
    m->peer = PEER_NET;
    if (addr_net_parse(text, &m->net, &reason) == 0)
        return 0;
    if (addr_parse(text, &addr, &reason) < 0 ||
        (addr.kind != ADDR_INET && addr.kind != ADDR_INET6) || addr.port == 0)
        return refuse_peer(text, why);
    /* A scope is not compared, and its name would be looked up, which the sandbox forbids. */
    addr.host[strcspn(addr.host, "%")] = '\0';
    if (addr_to_sockaddr(&addr, &sa, &len) < 0 || !addr_ip((struct sockaddr *)&sa, &ip))
        return refuse_peer(text, why);
    m->peer = PEER_PORT;
    m->net = (struct addr_net){.ip = ip, .bits = 128};
    m->port = addr.port;
    return 0;
}

static int read_state(const char *text, struct meant *m, char why[WHY_LEN])
{
    size_t len = (size_t)snprintf(why, WHY_LEN, "state: '%.16s' is not a state, allowed:", text);

    for (const char *const *s = conn_states; *s; s++) {
        if (strcmp(*s, text) == 0) {
            m->state = *s;
            return 0;
        }
        len += (size_t)snprintf(why + len, WHY_LEN - len, " %s%s", *s, s[1] ? "," : "");
    }
    return -EINVAL;
}

/* @bounds is an object of numbers; NULL = nothing is said. */
static int read_bounds(const json_t *bounds, const char *which, uint64_t *values, char why[WHY_LEN])
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)bounds, name, value)
    {
        size_t i = 0;

        while (i < N_QUANTITIES && strcmp(quantities[i].name, name) != 0)
            i++;
        if (i == N_QUANTITIES) {
            snprintf(why, WHY_LEN,
                     "%s: there is no '%.32s', allowed: age_ms, idle_ms, messages, bytes_in, "
                     "bytes_out",
                     which, name);
            return -EINVAL;
        }
        if (!json_is_integer(value) || json_integer_value(value) < 0) {
            snprintf(why, WHY_LEN, "%s: %s must be a whole number from 0 on", which, name);
            return -EINVAL;
        }
        values[i] = (uint64_t)json_integer_value(value);
    }
    return 0;
}

static int read_meant(const json_t *args, struct meant *m, char why[WHY_LEN])
{
    const char *peer = json_string_value(json_object_get(args, "peer"));
    const char *state = json_string_value(json_object_get(args, "state"));
    int rc = 0;

    *m = (struct meant){
        .id = (uint64_t)json_integer_value(json_object_get(args, "id")),
        .protocol = json_string_value(json_object_get(args, "protocol")),
        .kept = json_object_get(args, "kept"),
    };
    for (size_t i = 0; i < N_QUANTITIES; i++)
        m->max[i] = UINT64_MAX;
    if (peer)
        rc = read_peer(peer, m, why);
    if (rc == 0 && state)
        rc = read_state(state, m, why);
    if (rc == 0)
        rc = read_bounds(json_object_get(args, "min"), "min", m->min, why);
    if (rc == 0)
        rc = read_bounds(json_object_get(args, "max"), "max", m->max, why);
    return rc;
}

static bool is_peer_meant(const struct arb_conn *c, const struct meant *m)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    char text[CONN_PEER_LEN];
    struct addr_ip ip;

    if (m->peer == PEER_ANY)
        return true;
    if (m->peer == PEER_TEXT)
        return strcmp(conn_peer(c, text), m->text) == 0;
    conn_peer_address(c, &peer);
    if (m->peer == PEER_UNIX)
        return peer.ss_family == AF_UNIX;
    return addr_ip((struct sockaddr *)&peer, &ip) && addr_net_has(&m->net, &ip) &&
           (m->peer == PEER_NET || port_of(&peer) == m->port);
}

/* A fact that is not known is within no bounds. */
static bool is_within(const struct conn_facts *f, const struct meant *m)
{
    for (size_t i = 0; i < N_QUANTITIES; i++) {
        const uint64_t value =
            *(const uint64_t *)(const void *)((const char *)f + quantities[i].offset);
        const bool is_asked = m->min[i] > 0 || m->max[i] < UINT64_MAX;

        if (is_asked && (value == CONN_NOT_KNOWN || value < m->min[i] || value > m->max[i]))
            return false;
    }
    return true;
}

/* The facts cost system calls, so number and peer are compared first. @ret is set if the result is
 * true. */
static bool is_meant(const struct arb_conn *c, const struct meant *m, struct conn_facts *ret)
{
    if ((m->id != 0 && conn_id(c) != m->id) || !is_peer_meant(c, m))
        return false;
    conn_facts(c, ret);
    return (!m->state || ret->state == m->state) &&
           (!m->protocol || strcmp(ret->protocol, m->protocol) == 0) &&
           (!m->kept || json_is_true(m->kept) == ret->is_kept) && is_within(ret, m);
}

/* ---- one row ---- */

static json_t *describe_conn(const struct arb_conn *c, const struct conn_facts *f)
{
    char peer[CONN_PEER_LEN], local[CONN_PEER_LEN];
    json_t *o = json_object();

    message_set_uint(o, "id", f->id);
    json_object_set_new(o, "peer", command_text(conn_peer(c, peer)));
    json_object_set_new(o, "local", command_text(conn_local(c, local)));
    json_object_set_new(o, "protocol", json_string(f->protocol));
    json_object_set_new(o, "state", json_string(f->state));
    json_object_set_new(o, "kept", json_boolean(f->is_kept));
    message_set_uint(o, "age_ms", f->age_ms);
    if (f->idle_ms != CONN_NOT_KNOWN)
        message_set_uint(o, "idle_ms", f->idle_ms);
    message_set_uint(o, "messages", f->messages);
    message_set_uint(o, "bytes_in", f->bytes_in);
    message_set_uint(o, "bytes_out", f->bytes_out);
    return o;
}

/* ---- pages ---- */

static void listing_end(struct listing *l, struct conn_set *set)
{
    if (l->number == 0)
        return;
    conn_walk_end(set, &l->walk);
    l->number = 0;
}

/* In a free place, or in that of the listing that was continued longest ago, which is over then. */
static struct listing *listing_begin(struct listings *all, struct conn_set *set)
{
    struct listing *found = &all->list[0];

    for (size_t i = 1; i < LISTINGS_MAX && found->number != 0; i++) {
        struct listing *l = &all->list[i];

        if (l->number == 0 || l->asked_ms < found->asked_ms)
            found = l;
    }
    listing_end(found, set);
    found->number = ++all->last;
    conn_walk_begin(set, &found->walk);
    return found;
}

static struct listing *listing_find(struct listings *all, uint64_t number)
{
    for (size_t i = 0; i < LISTINGS_MAX; i++)
        if (all->list[i].number == number)
            return &all->list[i];
    return NULL;
}

/* Returns whether there may be more. */
static bool fill_page(struct conn_set *set, struct conn_walk *walk, const struct meant *m,
                      bool is_to_end, size_t rows, json_t *list, json_int_t *ret_matched)
{
    size_t looks = 0, listed = 0, bytes = 0;
    struct arb_conn *c;

    for (; looks < LISTING_LOOKS && listed < LISTING_ROWS && bytes < LISTING_BYTES; looks++) {
        struct conn_facts facts;
        json_t *row;

        c = conn_walk_next(set, walk);
        if (!c)
            return false;
        if (!is_meant(c, m, &facts))
            continue;
        ++*ret_matched;
        if (rows > listed) {
            row = describe_conn(c, &facts);
            bytes += json_dumpb(row, NULL, 0, JSON_COMPACT);
            json_array_append_new(list, row);
        }
        listed += rows > listed || is_to_end;
        if (is_to_end)
            conn_kill(c);
    }
    return true;
}

json_t *listings_page(struct listings *all, struct conn_set *set, const json_t *args,
                      bool is_to_end, uint64_t now_ms)
{
    const json_t *from = json_object_get(args, "from"), *rows = json_object_get(args, "rows");
    struct meant meant;
    struct listing *l;
    json_int_t matched = 0;
    char why[WHY_LEN];
    json_t *list, *page;
    bool is_more;

    if (is_to_end && !json_object_get(args, "id") && !json_object_get(args, "peer"))
        return command_error("bad_argument", "kill needs id or peer: which connections?");
    if (read_meant(args, &meant, why) < 0)
        return command_error("bad_argument", why);
    l = from ? listing_find(all, (uint64_t)json_integer_value(from)) : listing_begin(all, set);
    if (!l)
        return command_error("superseded", "nobody has asked for the next page in time, or too "
                                           "many others ask: begin anew");
    l->asked_ms = now_ms;
    list = json_array();
    is_more = fill_page(set, &l->walk, &meant, is_to_end,
                        rows ? (size_t)json_integer_value(rows) : LISTING_ROWS, list, &matched);
    page = json_pack("{s:o,s:I}", "connections", list, "matched", matched);
    if (is_more)
        message_set_uint(page, "next", l->number);
    else
        listing_end(l, set);
    return page ? command_result(page) : NULL;
}

void listings_sweep(struct listings *all, struct conn_set *set, uint64_t now_ms)
{
    for (size_t i = 0; i < LISTINGS_MAX; i++)
        if (all->list[i].number != 0 && now_ms - all->list[i].asked_ms > LISTING_REST_MS)
            listing_end(&all->list[i], set);
}

void listings_stop(struct listings *all, struct conn_set *set)
{
    for (size_t i = 0; i < LISTINGS_MAX; i++)
        listing_end(&all->list[i], set);
}
