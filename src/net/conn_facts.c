/*
 * Facts about each connection: our own, and what the kernel knows of a TCP socket. Runs in a
 * worker.
 */
#include "net/conn_facts.h"

#include <linux/tcp.h> /* it knows more than netinet/tcp.h */
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/conn_impl.h"
#include "net/keep.h"

/* As the kernel numbers them; netinet/tcp.h, which has the names, does not go with linux/tcp.h. */
enum { TCP_TIME_WAIT = 6, TCP_CLOSE_WAIT = 8, TCP_LAST_ACK = 9, TCP_CLOSING = 11 };

enum state {
    HEADER,
    IDLE,
    READING,
    WRITING,
    OWING,
    WAITING,
    ENDING,
    DELIVERING,
    LINGERING,
    STATES
};

const char *const conn_states[STATES + 1] = {
    [HEADER] = "header", /* a PROXY header is awaited */
    [IDLE] = "idle", /* all that came is answered */
    [READING] = "reading", /* in the middle of a message */
    [WRITING] = "writing", /* a reply is not sent to its end */
    [OWING] = "owing", /* a reply comes later */
    [WAITING] = "waiting", /* the protocol wants to hear nothing now */
    [ENDING] = "ending",   [DELIVERING] = "delivering", [LINGERING] = "lingering",
};

static enum state find_state(const struct arb_conn *c)
{
    if (c->phase != CONN_OPEN)
        return c->phase == CONN_DELIVERING ? DELIVERING : LINGERING;
    if (c->special & CONN_AWAITS_HEADER)
        return HEADER;
    if (c->special & CONN_OWES)
        return OWING;
    if (c->output.block)
        return WRITING;
    if (c->special & CONN_ENDS_SOON)
        return ENDING;
    if (c->special & CONN_WAITS)
        return WAITING;
    return c->tail.block ? READING : IDLE;
}

/* Returns whether @c is a TCP connection, and the kernel is new enough to say all that is used. */
static bool ask_kernel(const struct arb_conn *c, struct tcp_info *ret)
{
    socklen_t len = sizeof(*ret);

    return getsockopt(c->io.fd, IPPROTO_TCP, TCP_INFO, ret, &len) == 0 &&
           len >= offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(ret->tcpi_bytes_retrans);
}

/* Without TCP the time of becoming idle is known only if there is a deadline for idleness. */
static uint64_t find_idle_ms(const struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    struct tcp_info info;

    if (ask_kernel(c, &info))
        return MIN(info.tcpi_last_data_recv, info.tcpi_last_data_sent);
    return conn_is_idle(c) && set->limits.keep_alive_ms > 0 ? conn_age_ms(set, c->since)
                                                            : CONN_NOT_KNOWN;
}

void conn_facts(const struct arb_conn *c, struct conn_facts *ret)
{
    const struct keep *keep = conn_set_of(c)->keep;

    *ret = (struct conn_facts){
        .id = conn_id(c),
        .protocol = conn_protocol_of(c)->table->name,
        .state = conn_states[find_state(c)],
        .age_ms = conn_life_ms(c),
        .idle_ms = find_idle_ms(c),
        .messages = c->messages,
        .bytes_in = c->bytes_in,
        .bytes_out = c->bytes_out,
        .is_kept = keep && keep->table.serial[c->io.fd] != 0,
    };
}

/* The kernel counts the peer's FIN as a byte that was received. */
static bool has_ended(const struct tcp_info *info)
{
    static const unsigned ended =
        1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING | 1u << TCP_TIME_WAIT;

    return ended >> info->tcpi_state & 1;
}

void conn_recall(struct arb_conn *c)
{
    struct tcp_info info;
    uint64_t ahead; /* what has come and was not read */
    int n = 0;

    if (!ask_kernel(c, &info) || ioctl(c->io.fd, FIONREAD, &n) < 0)
        return;
    ahead = (uint64_t)n + has_ended(&info);
    c->bytes_in = info.tcpi_bytes_received - MIN(info.tcpi_bytes_received, ahead);
    c->bytes_out = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
}

void conn_walk_begin(struct conn_set *set, struct conn_walk *w)
{
    *w = (struct conn_walk){{.next = set->all.next, .outer = set->cursors}, set->n_open};
    set->cursors = &w->cursor;
}

struct arb_conn *conn_walk_next(struct conn_set *set, struct conn_walk *w)
{
    struct list *link = w->cursor.next;

    if (link == &set->all || w->left == 0)
        return NULL;
    w->left--;
    w->cursor.next = link->next;
    return container_of(link, struct arb_conn, link);
}

void conn_walk_end(struct conn_set *set, struct conn_walk *w)
{
    struct conn_cursor **at = &set->cursors;

    while (*at && *at != &w->cursor)
        at = &(*at)->outer;
    if (*at)
        *at = w->cursor.outer;
}

void conn_kill(struct arb_conn *c)
{
    conn_close(c, CONN_END_KILLED);
}
