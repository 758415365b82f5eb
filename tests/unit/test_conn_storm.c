/*
 * Connections of a protocol that owes, pushes, closes and lies, with peers that read when they like
 * and memory that is short: whatever happens, each on_open has its on_close, each request ends
 * once, and nothing is touched that is gone (which the sanitizers see).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/actor.h"
#include "base/util.h"
#include "conformance/must.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"

enum { ROUNDS = 3, PEERS = 24, STEPS = 20000, OWED_MAX = 64, LONG = 200000 };

static const struct conn_limits limits = {.keep_alive_ms = 30000,
                                          .message_timeout_ms = 20000,
                                          .write_timeout_ms = 10000,
                                          .max_buffered = 1 << 20};

/* Of a connection. */
struct stormy {
    unsigned id; /* index in is_open, plus one */
    bool is_told_drain;
};

static struct {
    struct arb_actor hold;
    struct arb_request *owed[OWED_MAX];
    unsigned n_owed;
    unsigned n_opens, n_closes;
    bool is_inside; /* a callback: they do not nest */
} server;

static uint64_t rng;
static struct rig rig;
static char text[LONG];

static unsigned below(unsigned n)
{
    return (unsigned)rng_below(&rng, n);
}

static void enter(void)
{
    assert_false(server.is_inside);
    server.is_inside = true;
}

static void leave(void)
{
    server.is_inside = false;
}

static void on_gone(struct arb_request *request, void *data)
{
    enter();
    assert_ptr_equal(data, &server);
    assert_null(arb_request_conn(request));
    for (unsigned i = 0; i < server.n_owed; i++)
        if (server.owed[i] == request && below(2)) {
            server.owed[i] = server.owed[--server.n_owed];
            arb_request_end(request, ARB_GO_ON);
            break;
        }
    leave();
}

static void owe(struct arb_conn *conn)
{
    struct arb_request *request =
        server.n_owed < OWED_MAX ? arb_request_new(conn, on_gone, &server) : NULL;

    if (request)
        server.owed[server.n_owed++] = request;
}

static void give(void)
{
    unsigned which;
    struct arb_request *request;

    if (server.n_owed == 0)
        return;
    which = below(server.n_owed);
    request = server.owed[which];
    arb_request_reply(request, text, below(4) ? below(100) : below(LONG));
    if (below(3) == 0)
        return;
    server.owed[which] = server.owed[--server.n_owed];
    arb_request_end(request, below(10) ? ARB_GO_ON : ARB_CLOSE);
}

static void do_to_each(struct arb_conn *conn, void *data)
{
    const unsigned what = *(unsigned *)data;

    if (what < 8)
        arb_conn_send(conn, text, below(8) ? below(2000) : below(LONG));
    else if (below(8) == 0)
        arb_conn_close(conn, ARB_CLOSE);
    if (what == 3 && below(20) == 0)
        arb_conn_each(&server.hold, do_to_each, &(unsigned){9});
}

/* What a callback of any kind may do. */
static void act(struct arb_conn *conn)
{
    switch (below(14)) {
    case 0:
    case 1:
        owe(conn);
        break;
    case 2:
    case 3:
        give();
        break;
    case 4:
        arb_conn_send(conn, text, below(200));
        break;
    case 5:
        arb_conn_each(&server.hold, do_to_each, &(unsigned){below(9)});
        break;
    case 6:
        arb_conn_timeout(conn, below(5000));
        break;
    case 7:
        arb_conn_set_blank(conn, below(2));
        break;
    case 8:
        if (below(10) == 0)
            arb_conn_close(conn, below(2) ? ARB_CLOSE : ARB_REFUSE);
        break;
    default:
        break;
    }
}

static int on_open(void *s UNUSED, struct arb_conn *conn, enum arb_origin origin UNUSED)
{
    struct stormy *state = arb_conn_state(conn);

    enter();
    act(conn);
    leave();
    if (below(50) == 0)
        return -1;
    state->id = ++server.n_opens;
    return 0;
}

static void on_close(void *s UNUSED, struct arb_conn *conn, enum arb_end why)
{
    struct stormy *state = arb_conn_state(conn);
    char peer[ARB_PEER_LEN];

    enter();
    assert_int_not_equal(state->id, 0);
    assert_in_range(why, ARB_END_PEER, ARB_END_BROKEN);
    state->id = 0;
    server.n_closes++;
    assert_int_not_equal(arb_conn_send(conn, "x", 1), 0);
    assert_null(arb_request_new(conn, NULL, NULL));
    arb_conn_peer(conn, peer);
    act(conn);
    leave();
}

static void on_event(void *s UNUSED, struct arb_conn *conn)
{
    const struct stormy *state = arb_conn_state(conn);

    enter();
    assert_int_not_equal(state->id, 0);
    act(conn);
    leave();
}

static void on_drain(void *s, struct arb_conn *conn)
{
    struct stormy *state = arb_conn_state(conn);

    assert_false(state->is_told_drain);
    state->is_told_drain = true;
    on_event(s, conn);
}

static void on_data(void *s, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out)
{
    uint64_t sum = 0;

    on_event(s, conn);
    if (below(200) == 0) {
        out->consumed = in->len + 1;
        return;
    }
    /* What it was given is there to the last, whatever it has done meanwhile. */
    for (size_t i = 0; i < in->len; i++)
        sum += in->data[i];
    assert_int_equal(sum, in->len * 'c');
    out->consumed = in->len > 0 && below(3) ? in->len : in->len / 2;
    out->reply = below(2) ? (const void *)in->data : text;
    out->reply_len = out->reply == text ? below(3000) : out->consumed;
    out->next = below(100) == 0 ? ARB_CLOSE : below(4) == 0 ? ARB_WAIT : ARB_GO_ON;
}

static size_t save(void *s UNUSED, const struct arb_conn *conn UNUSED, void *buf UNUSED,
                   size_t size UNUSED)
{
    return 0;
}

static const struct arb_protocol stormy_protocol =
    ARB_PROTOCOL(.name = "stormy", .conn_size = sizeof(struct stormy), .on_open = on_open,
                 .on_data = on_data, .on_timeout = on_event, .on_writable = on_event,
                 .on_drain = on_drain, .on_close = on_close, .save = save);

/* --- peers ------------------------------------------------------------------------------------ */

static int peers[PEERS];

static void peer_connect(int *fd)
{
    *fd = below(4) == 0 ? rig_connect_tcp(&rig) : rig_connect(&rig);
}

/* A quarter of them does not read; who sees its end comes again. */
static void peer_read(int *fd, char *buf, size_t size)
{
    ssize_t n;

    if ((fd - peers) % 4 == 0 && below(200))
        return;
    while ((n = recv(*fd, buf, size, MSG_DONTWAIT)) > 0)
        ;
    if (n < 0 && errno == EAGAIN)
        return;
    close(*fd);
    peer_connect(fd);
}

static void peer_act(int *fd)
{
    static char buf[LONG];

    memset(buf, 'c', sizeof(buf));
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        send(*fd, buf, below(4) ? below(300) : below(LONG), MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 3:
    case 4:
        peer_read(fd, buf, sizeof(buf));
        break;
    case 5:
        if (below(10) == 0)
            shutdown(*fd, SHUT_WR);
        break;
    case 6:
        if (below(10) == 0) {
            close(*fd);
            peer_connect(fd);
        }
        break;
    default:
        break;
    }
}

/* On its way to another process, and refused there. */
static void move_and_come_back(void)
{
    for (size_t n = rig.set.n_open; n > 0 && !list_is_empty(&rig.set.all); n--) {
        struct arb_conn *c = container_of(rig.set.all.next, struct arb_conn, link);

        list_remove(&c->link);
        list_append(&rig.set.all, &c->link);
        conn_set_settle(&rig.set);
        if (c->phase == CONN_OPEN && conn_is_movable(c)) {
            conn_detach(c);
            arb_conn_each(&server.hold, do_to_each, &(unsigned){1});
            assert_int_equal(arb_conn_send(c, "x", 1), -EBUSY);
            conn_resume(c);
            return;
        }
    }
}

static void step(void)
{
    peer_act(&peers[below(PEERS)]);
    switch (below(12)) {
    case 0:
        give();
        break;
    case 1:
        rig_now_ms += below(300);
        ev_feed_event(rig.loop, &rig.set.sweep, EV_TIMER);
        break;
    case 2:
        move_and_come_back();
        break;
    default:
        ev_run(rig.loop, EVRUN_NOWAIT);
    }
}

static void conn__anything_at_random__pairs_hold_and_nothing_is_left(void **state UNUSED)
{
    const struct conn_protocol p = {.table = &stormy_protocol, .actor = &server.hold};
    const char *seed = getenv("ECHO_SEED");

    memset(text, 't', sizeof(text));
    rng = seed ? strtoull(seed, NULL, 10) : 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        memset(&server, 0, sizeof(server));
        rig_init(&rig, &limits, 1000);
        conn_set_serve(&rig.set, &p, 1);
        server.hold.conns = &rig.set;
        for (unsigned i = 0; i < PEERS; i++)
            peer_connect(&peers[i]);
        for (unsigned i = 0; i < STEPS; i++)
            step();
        if (round % 2 == 0)
            conn_set_drain(&rig.set);
        for (unsigned i = 0; i < 200; i++)
            step();
        conn_set_cut(&rig.set);
        assert_int_equal(server.n_closes, server.n_opens);
        assert_int_equal(rig.set.n_open, 0);
        assert_int_equal(rig.set.n_owing, 0);
        for (unsigned i = 0; i < PEERS; i++)
            close(peers[i]);
        rig_fini(&rig); /* frees the requests that are left, too */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conn__anything_at_random__pairs_hold_and_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
