/*
 * Conversations that go on while their connections move back and forth between two workers all the
 * time: whatever is cut by a move, every byte comes back, once and in order.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "net/move.h"
#include "support/conn_rig.h"
#include "conformance/must.h"

enum { CLIENTS = 40, STREAM_MAX = 1 << 18, SENDERS = 8 };

struct client {
    int fd;
    uint8_t *stream; /* what it sends: whole messages */
    size_t len, sent, got;
};

static struct client clients[CLIENTS];
static struct rig rigs[2];
static struct move_out out;
static struct move_in in;
static uint64_t rng;
static size_t n_moved, n_move;

static void on_given(struct move_out *t)
{
    (void)t;
}

static void on_taken(struct move_in *t)
{
    (void)t;
}

/* --- a protocol with a state, which sometimes replies later -------------------------------------
 */

struct position {
    uint64_t n_bytes; /* that have come so far: the reply to each depends on it */
    uint64_t n_saved; /* bytes of the last saved state */
};

/* What is owed, each with its own copy; some other turn gives it. */
static struct owed {
    struct arb_request *request; /* NULL = free */
    uint8_t *data;
    size_t len;
} owed[CLIENTS];

static size_t n_owed, n_refused;
static bool is_cipher; /* what is spoken; else Echo */

static uint8_t key_of(uint64_t n)
{
    return is_cipher ? (uint8_t)(n ^ n >> 8 ^ n >> 16) : 0;
}

static void owe(struct arb_conn *conn, const uint8_t *data, size_t len)
{
    struct owed *o = owed;

    while (o->request)
        o++;
    o->request = arb_request_new(conn, NULL, NULL);
    assert_non_null(o->request);
    o->data = malloc(len);
    assert_non_null(o->data);
    memcpy(o->data, data, len);
    o->len = len;
    n_owed++;
}

static void pay(struct owed *o)
{
    assert_int_equal(arb_request_reply(o->request, o->data, o->len), 0);
    arb_request_end(o->request, ARB_GO_ON);
    o->request = NULL;
    free(o->data);
}

static void cipher_on_data(void *server UNUSED, struct arb_conn *conn,
                           const struct arb_input *input, struct arb_output *output)
{
    static uint8_t reply[2 * STREAM_MAX];
    struct position *p = arb_conn_state(conn);
    const bool is_late = input->len > 0 && rng_below(&rng, 4) == 0;
    const size_t n = is_late ? 1 + rng_below(&rng, input->len) : input->len;

    assert_true(input->len <= sizeof(reply));
    for (size_t i = 0; i < n; i++)
        reply[i] = input->data[i] ^ key_of(p->n_bytes++);
    output->consumed = n;
    if (is_late) {
        owe(conn, reply, n);
        output->next = ARB_WAIT;
        return;
    }
    output->reply = reply;
    output->reply_len = n;
}

static size_t cipher_save(void *server UNUSED, const struct arb_conn *conn, void *buf, size_t size)
{
    struct position p = *(const struct position *)arb_conn_state(conn);

    p.n_saved = sizeof(p) + p.n_bytes % 100000;
    if (p.n_saved > size)
        return p.n_saved;
    memset(buf, 0, p.n_saved);
    memcpy(buf, &p, sizeof(p));
    return p.n_saved;
}

static int cipher_restore(void *server UNUSED, struct arb_conn *conn, uint32_t version UNUSED,
                          const void *data, size_t len)
{
    struct position *p = arb_conn_state(conn);

    memcpy(p, data, sizeof(*p));
    assert_int_equal(len, p->n_saved);
    if (rng_below(&rng, 50) > 0)
        return 0;
    n_refused++;
    return -EINVAL;
}

static const struct arb_protocol cipher =
    ARB_PROTOCOL(.name = "cipher", .conn_size = sizeof(struct position), .on_data = cipher_on_data,
                 .save = cipher_save, .restore = cipher_restore);

/* --- conversations ---------------------------------------------------------------------------- */

static void converse(struct client *c)
{
    const size_t portion = (size_t)1 << rng_below(&rng, 18);
    uint8_t buf[65536];
    ssize_t n = 0;

    if (c->sent < c->len && rng_below(&rng, 2))
        n = send(c->fd, c->stream + c->sent, MIN(c->len - c->sent, portion), MSG_NOSIGNAL);
    assert_true(n >= 0 || errno == EAGAIN);
    c->sent += n > 0 ? (size_t)n : 0;
    /* Sometimes it does not read for long, so that its output piles up. */
    if (rng_below(&rng, 4))
        return;
    n = recv(c->fd, buf, MIN(sizeof(buf), portion), 0);
    assert_true(n > 0 || (n < 0 && errno == EAGAIN));
    if (n < 0)
        return;
    assert_true(c->got + (size_t)n <= c->sent);
    for (ssize_t i = 0; i < n; i++)
        buf[i] ^= key_of(c->got + (size_t)i);
    assert_memory_equal(buf, c->stream + c->got, (size_t)n);
    c->got += (size_t)n;
}

static void turn(void)
{
    for (unsigned i = 0; i < SENDERS; i++)
        converse(&clients[rng_below(&rng, CLIENTS)]);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (owed[i].request && rng_below(&rng, 8) == 0)
            pay(&owed[i]);
    if (rng_below(&rng, 2))
        ev_run(rigs[0].loop, EVRUN_NOWAIT);
    if (rng_below(&rng, 2))
        ev_run(rigs[1].loop, EVRUN_NOWAIT);
}

static void move(struct rig *from, struct rig *to)
{
    const uint64_t end_ms = clock_mono_ms() + 20000;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                     0);
    /* Under another name for the same rules each tail is looked at from its beginning. */
    to->set.protocols[0].fingerprint = rng_below(&rng, 8) == 0;
    from->set.protocols[0].fingerprint = rng_below(&rng, 8) == 0;
    move_take(&in, &to->set, pair[1], 1 + rng_below(&rng, 2 * CLIENTS), on_taken);
    assert_int_equal(move_give(&out, &from->set, pair, 1, 1 + rng_below(&rng, CLIENTS), on_given),
                     0);
    while (!out.is_done || !in.is_done) {
        assert_true(clock_mono_ms() < end_ms);
        turn();
    }
    n_moved += out.n_moved;
    n_move++;
    move_out_fini(&out);
    move_in_fini(&in);
    assert_int_equal(rigs[0].set.n_open + rigs[1].set.n_open, CLIENTS);
}

static uint8_t *compose(size_t *ret_len)
{
    /* The separator behind "\r\n" would begin two bytes earlier, and leave two behind. */
    static const uint8_t last[] = "a\r\n\r\n";
    uint8_t *stream = malloc(STREAM_MAX + sizeof(last));
    const size_t longest = (size_t)1 << rng_below(&rng, 18);
    size_t len = 0;

    assert_non_null(stream);
    for (;;) {
        const size_t n = rng_below(&rng, longest);

        if (len + n + 4 > STREAM_MAX || len > longest * 200)
            break;
        for (size_t i = 0; i < n; i++)
            stream[len++] = (uint8_t) "abc\r\n"[rng_below(&rng, 5)];
        memcpy(stream + len, "\r\n\r\n", 4);
        len += 4;
    }
    memcpy(stream + len, last, sizeof(last) - 1);
    *ret_len = len + sizeof(last) - 1;
    return stream;
}

static bool is_all_got(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].got < clients[i].len)
            return false;
    return true;
}

static void storm(uint64_t seed)
{
    size_t total = 0;

    rng = seed;
    for (int i = 0; i < 2; i++)
        rig_init(&rigs[i], NULL, STREAM_MAX);
    for (int i = 0; is_cipher && i < 2; i++)
        rig_use_protocol(&rigs[i], &cipher, NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];

        *c = (struct client){.fd = rig_connect(&rigs[i % 2])};
        c->stream = compose(&c->len);
        total += c->len;
    }
    while (!is_all_got()) {
        const unsigned from = (unsigned)rng_below(&rng, 2);

        for (uint64_t n = rng_below(&rng, 20); n > 0; n--)
            turn();
        move(&rigs[from], &rigs[!from]);
    }
    assert_int_equal(
        counter_get(&rigs[0].counters.bytes_out) + counter_get(&rigs[1].counters.bytes_out), total);
    for (unsigned i = 0; i < CLIENTS; i++) {
        close(clients[i].fd);
        free(clients[i].stream);
    }
    for (int i = 0; i < 2; i++)
        rig_fini(&rigs[i]);
}

static void storms(bool with_state)
{
    is_cipher = with_state;
    n_moved = n_move = n_owed = n_refused = 0;
    for (uint64_t seed = 1; seed <= 20; seed++)
        storm(seed);
    print_message("%zu moves, %zu connections moved; %zu replies came late, %zu states were "
                  "refused\n",
                  n_move, n_moved, n_owed, n_refused);
    assert_true(n_moved > 5000);
}

static void move__conversations_while_moving_for_ever__bytes_exact(void **state UNUSED)
{
    storms(false);
}

static void move__with_state_and_late_replies__bytes_exact(void **state UNUSED)
{
    storms(true);
    assert_true(n_owed > 1000 && n_refused > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(move__conversations_while_moving_for_ever__bytes_exact),
        cmocka_unit_test(move__with_state_and_late_replies__bytes_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
