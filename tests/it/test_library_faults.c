/*
 * The library against a server that fails at every byte of a reply, in every way, for calls that
 * block, calls on a loop and pipelined calls: each ends with the status that says what happened,
 * and the next call is served as if nothing had been.
 */
#include <arpa/inet.h>
#include <ev.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <arbiter/client.h>
#include "base/util.h"
#include "support/faulty.h"
#include "conformance/must.h"

/* No byte like its neighbours, so that a lost or doubled one is a wrong one. */
#define MESSAGE     "0123456789abcdef"
#define MESSAGE_LEN ((size_t)16)
#define REPLY_LEN   (MESSAGE_LEN + 4)

enum { PIPELINED = 4, PATIENT_MS = 20000, HASTY_MS = 25 };

struct rig {
    struct faulty *server;
    struct arb_client *client;
    struct ev_loop *loop; /* NULL = blocking calls */
};

/* What became of some calls. */
struct outcome {
    unsigned n;
    int status[PIPELINED];
};

static void rig_open(struct rig *r, unsigned pipeline, unsigned retries, bool has_loop)
{
    struct arb_client_options o;

    arb_client_options_init(&o);
    o.pool_size = 1;
    o.pipeline = pipeline;
    o.retries = retries;
    o.loop = r->loop = has_loop ? ev_loop_new(EVFLAG_AUTO) : NULL;
    r->server = faulty_start(NULL);
    assert_int_equal(arb_client_new(faulty_addr(r->server), &o, &r->client), ARB_OK);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(rig_counters(r->client).in_use, 0);
    assert_int_equal(arb_client_calls(r->client), 0);
    arb_client_free(r->client);
    if (r->loop)
        ev_loop_destroy(r->loop);
    faulty_stop(r->server);
}

/* The loop has to end of its own accord: idle connections do not keep it running. */
static void drive(struct rig *r)
{
    if (r->loop)
        ev_run(r->loop, 0);
    else
        assert_int_equal(arb_client_wait(r->client, -1), ARB_OK);
    assert_int_equal(arb_client_calls(r->client), 0);
}

static void on_done(struct arb_call *call, int status, void *userdata)
{
    struct outcome *o = userdata;
    size_t len;

    o->status[o->n++] = status;
    assert_true((arb_call_reply(call, &len) != NULL) == (status == ARB_OK));
    assert_int_equal(len, status == ARB_OK ? MESSAGE_LEN : 0);
}

static void start(struct rig *r, int timeout_ms, struct outcome *ret)
{
    struct arb_call_options o;

    arb_call_options_init(&o);
    o.timeout_ms = timeout_ms;
    assert_int_equal(arb_call_start(r->client, MESSAGE, MESSAGE_LEN, &o, on_done, ret, NULL),
                     ARB_OK);
}

static int one_call(struct rig *r, int timeout_ms)
{
    struct outcome o = {0};

    if (r->loop) {
        start(r, timeout_ms, &o);
        assert_int_equal(o.n, 0);
        drive(r);
        assert_int_equal(o.n, 1);
    } else {
        struct arb_call_options options;
        struct arb_call *call = NULL;

        arb_call_options_init(&options);
        options.timeout_ms = timeout_ms;
        o.status[0] = arb_echo_full(r->client, MESSAGE, MESSAGE_LEN, &options, &call);
        if (call)
            assert_memory_equal(arb_call_reply(call, NULL), MESSAGE, MESSAGE_LEN);
        arb_call_free(call);
    }
    return o.status[0];
}

/* How the first call must end; @ret_alone: no other call can use its connection afterwards. */
static int expected(enum fault_kind kind, size_t k, bool *ret_alone)
{
    bool is_whole = k >= REPLY_LEN;

    *ret_alone = kind != FAULT_NONE && kind != FAULT_DELAY && !is_whole;
    switch (kind) {
    case FAULT_CLOSE:
    case FAULT_RESET:
        *ret_alone = true;
        return is_whole ? ARB_OK : kind == FAULT_CLOSE ? ARB_CLOSED : ARB_RESET;
    case FAULT_STALL:
        *ret_alone = true;
        return is_whole ? ARB_OK : ARB_TIMEOUT;
    case FAULT_SHORT: /* of the last byte: nothing follows that would show it */
        return is_whole ? ARB_OK : k == REPLY_LEN - 1 ? ARB_TIMEOUT : ARB_MISMATCH;
    case FAULT_CORRUPT:
        return is_whole ? ARB_OK : ARB_MISMATCH;
    case FAULT_DOUBLE: /* the last byte is one too many, but the reply is right */
        return k >= REPLY_LEN - 1 ? ARB_OK : ARB_MISMATCH;
    case FAULT_TWICE:
        *ret_alone = true;
        return ARB_OK;
    default:
        return ARB_OK;
    }
}

static const char *const kinds[] = {
    [FAULT_NONE] = "none",       [FAULT_CLOSE] = "close",   [FAULT_RESET] = "reset",
    [FAULT_STALL] = "stall",     [FAULT_DELAY] = "delay",   [FAULT_SHORT] = "short",
    [FAULT_CORRUPT] = "corrupt", [FAULT_DOUBLE] = "double", [FAULT_TWICE] = "twice",
};

static void must_be(int status, int want, enum fault_kind kind, size_t k, const char *what)
{
    MUST(status == want, "%s at byte %zu: %s ended with \"%s\", not \"%s\"", kinds[kind], k, what,
         arb_strerror(status), arb_strerror(want));
}

static bool may_retry(int status, size_t k)
{
    return k == 0 && (status == ARB_CLOSED || status == ARB_RESET);
}

static void one_fault(struct rig *r, enum fault_kind kind, size_t k, unsigned retries)
{
    bool is_alone;
    int want = expected(kind, k, &is_alone);
    unsigned before = faulty_messages(r->server), sent = 2;
    unsigned accepted = faulty_accepted(r->server);
    int timeout_ms = want == ARB_TIMEOUT ? HASTY_MS : PATIENT_MS;

    if (retries > 0 && may_retry(want, k)) {
        want = ARB_OK;
        sent++;
    }
    faulty_arm(r->server, kind, k, 1);
    must_be(one_call(r, timeout_ms), want, kind, k, "the call");
    faulty_arm(r->server, FAULT_NONE, 0, 0);
    if (kind == FAULT_STALL && k >= REPLY_LEN)
        faulty_close_all(r->server); /* it would not answer again */
    must_be(one_call(r, PATIENT_MS), ARB_OK, kind, k, "the next call");
    /* Sent once, unless a second time was allowed; and never on a connection that owes a reply. */
    assert_int_equal(faulty_messages(r->server), before + sent);
    if (is_alone)
        assert_int_equal(faulty_accepted(r->server), accepted + 1);
    assert_int_equal(rig_counters(r->client).available, 1);
    assert_int_equal(rig_counters(r->client).in_use, 0);
}

static void every_fault(unsigned pipeline, unsigned retries, bool has_loop)
{
    struct rig r;

    rig_open(&r, pipeline, retries, has_loop);
    assert_int_equal(one_call(&r, PATIENT_MS), ARB_OK);
    for (enum fault_kind kind = FAULT_CLOSE; kind <= FAULT_TWICE; kind++)
        for (size_t k = 0; k <= REPLY_LEN; k++)
            one_fault(&r, kind, k, retries);
    rig_close(&r);
}

static void echo__fault_at_every_byte__typed_error(void **state UNUSED)
{
    every_fault(1, 0, false);
}

static void call_start__fault_at_every_byte__typed_error(void **state UNUSED)
{
    every_fault(1, 0, true);
}

static void echo__fault_at_every_byte_retry_allowed__only_without_a_byte(void **state UNUSED)
{
    every_fault(1, 1, false);
}

static void call_start__fault_at_every_byte_pipelining__typed_error(void **state UNUSED)
{
    every_fault(PIPELINED, 0, true);
}

/* ---- the message, not the reply ---- */

static void echo__server_stops_reading_at_every_byte__lost(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 0, false);
    for (size_t k = 0; k <= REPLY_LEN; k++) {
        int status;

        faulty_arm(r.server, FAULT_EARLY_CLOSE, k, 1);
        status = one_call(&r, PATIENT_MS);
        /* Unread bytes make a reset of a close. */
        MUST(status == ARB_CLOSED || (status == ARB_RESET && k < REPLY_LEN), "at byte %zu: %s", k,
             arb_strerror(status));
        must_be(one_call(&r, PATIENT_MS), ARB_OK, FAULT_NONE, k, "the next call");
    }
    rig_close(&r);
}

static void echo__large_reply_cut_off__lost(void **state UNUSED)
{
    enum { SIZE = 3 << 20 };
    static const size_t cuts[] = {0, 1, 65535, 65536, 1 << 20, SIZE - 1, SIZE, SIZE + 3};
    char *message = malloc(SIZE);
    struct arb_reply reply;
    struct rig r;

    assert_non_null(message);
    memset(message, '\r', SIZE);
    message[SIZE - 1] = '.';
    rig_open(&r, 1, 0, false);
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        faulty_arm(r.server, i % 2 ? FAULT_RESET : FAULT_CLOSE, cuts[i], 1);
        assert_int_equal(arb_echo(r.client, message, SIZE, &reply), i % 2 ? ARB_RESET : ARB_CLOSED);
        faulty_arm(r.server, FAULT_CORRUPT, cuts[i], 1);
        assert_int_equal(arb_echo(r.client, message, SIZE, &reply), ARB_MISMATCH);
        assert_int_equal(arb_echo(r.client, message, SIZE, &reply), ARB_OK);
        assert_int_equal(reply.len, SIZE);
        assert_memory_equal(reply.data, message, SIZE);
        arb_reply_free(&reply);
    }
    rig_close(&r);
    free(message);
}

static void *greet(void *arg)
{
    int listener = *(int *)arg, fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        send(fd, "220 welcome\r\n", 13, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (recv(fd, (char[64]){0}, 64, 0) > 0)
            ;
        close(fd);
    }
    return NULL;
}

static int new_listener(char *addr, size_t size)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    snprintf(addr, size, "127.0.0.1:%u", ntohs(sa.sin_port));
    return listener;
}

/* A server of another protocol that speaks first: told once, not tried for ever. */
static void echo__server_speaks_first__mismatch(void **state UNUSED)
{
    char addr[64];
    int listener = new_listener(addr, sizeof(addr));
    struct arb_client *client = NULL;
    struct arb_reply reply;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, greet, &listener), 0);
    assert_int_equal(arb_client_new(addr, NULL, &client), ARB_OK);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(arb_echo(client, MESSAGE, MESSAGE_LEN, &reply), ARB_MISMATCH);
        assert_int_equal(rig_counters(client).sessions, i);
    }
    arb_client_free(client);
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

/* The peer sends what it cannot have read yet: all of the reply, before it reads a byte. */
static void *speak_early(void *arg)
{
    int listener = *(int *)arg, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    static const char block[65536];

    while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
        ;
    close(fd);
    return NULL;
}

static void echo__reply_ahead_of_its_message__unexpected(void **state UNUSED)
{
    enum { SIZE = 16 << 20 };
    char *message = calloc(1, SIZE), addr[64];
    int listener = new_listener(addr, sizeof(addr));
    struct arb_client *client = NULL;
    struct arb_reply reply;
    pthread_t thread;

    assert_non_null(message);
    assert_int_equal(pthread_create(&thread, NULL, speak_early, &listener), 0);
    assert_int_equal(arb_client_new(addr, NULL, &client), ARB_OK);
    assert_int_equal(arb_echo(client, message, SIZE, &reply), ARB_UNEXPECTED);
    assert_int_equal(rig_counters(client).available, 0);
    arb_client_free(client);
    pthread_join(thread, NULL);
    close(listener);
    free(message);
}

/* ---- several replies on one connection ---- */

/* Four calls whose messages the server has read, and to none of which it has replied. */
static void start_pipelined(struct rig *r, enum fault_kind kind, size_t at, int timeout_ms,
                            struct outcome *ret)
{
    unsigned bytes = faulty_bytes(r->server) + PIPELINED * (unsigned)REPLY_LEN;

    faulty_hold(r->server, true);
    faulty_arm(r->server, kind, at, 1);
    for (int i = 0; i < PIPELINED; i++)
        start(r, timeout_ms, ret);
    MUST_COME(arb_client_wait(r->client, 0) == ARB_TIMEOUT && faulty_bytes(r->server) == bytes,
              "the messages do not arrive");
    faulty_hold(r->server, false);
}

/* How the others end, which are on the same connection behind the first. */
static int expected_behind(enum fault_kind kind, size_t k, unsigned i)
{
    bool is_alone, is_second = i == 1;
    int first = expected(kind, k, &is_alone);

    switch (kind) {
    case FAULT_CLOSE:
    case FAULT_RESET:
        return kind == FAULT_CLOSE ? ARB_CLOSED : ARB_RESET;
    case FAULT_STALL:
        return ARB_TIMEOUT;
    case FAULT_SHORT: /* the last byte: what follows is wrong */
        return first == ARB_OK ? ARB_OK : ARB_CLOSED;
    case FAULT_CORRUPT:
        return first == ARB_OK ? ARB_OK : ARB_CLOSED;
    case FAULT_DOUBLE:
        return first != ARB_OK  ? ARB_CLOSED
               : k >= REPLY_LEN ? ARB_OK
               : is_second      ? ARB_MISMATCH
                                : ARB_CLOSED;
    case FAULT_TWICE: /* a reply of another message that looks like one's own cannot be told */
        return ARB_OK;
    default:
        return ARB_OK;
    }
}

static void one_pipelined(struct rig *r, enum fault_kind kind, size_t k)
{
    bool is_alone;
    int want = expected(kind, k, &is_alone);
    struct outcome o = {0};

    if (kind == FAULT_SHORT && k == REPLY_LEN - 1)
        want = ARB_MISMATCH; /* the next reply shows it */
    start_pipelined(r, kind, k, kind == FAULT_STALL ? 10 * HASTY_MS : PATIENT_MS, &o);
    drive(r);
    assert_int_equal(o.n, PIPELINED);
    must_be(o.status[0], want, kind, k, "the first call");
    for (unsigned i = 1; i < PIPELINED; i++)
        must_be(o.status[i], expected_behind(kind, k, i), kind, k, "a call behind it");
    faulty_arm(r->server, FAULT_NONE, 0, 0);
    faulty_close_all(r->server);
    must_be(one_call(r, PATIENT_MS), ARB_OK, kind, k, "the next call");
}

static void call_start__fault_in_front_of_others__each_its_own_status(void **state UNUSED)
{
    static const size_t at[] = {0, 1, 9, MESSAGE_LEN, REPLY_LEN - 1, REPLY_LEN};
    struct rig r;

    rig_open(&r, PIPELINED, 0, true);
    for (enum fault_kind kind = FAULT_CLOSE; kind <= FAULT_TWICE; kind++)
        for (size_t i = 0; i < ARRAY_SIZE(at); i++)
            one_pipelined(&r, kind, at[i]);
    rig_close(&r);
}

static void
call_start__lost_in_front_of_others_retry_allowed__others_sent_again(void **state UNUSED)
{
    struct outcome o = {0};
    struct rig r;

    rig_open(&r, PIPELINED, 1, true);
    start_pipelined(&r, FAULT_CLOSE, 5, PATIENT_MS, &o);
    drive(&r);
    assert_int_equal(o.n, PIPELINED);
    assert_int_equal(o.status[0], ARB_CLOSED); /* five bytes of its reply had come */
    for (int i = 1; i < PIPELINED; i++)
        assert_int_equal(o.status[i], ARB_OK);
    rig_close(&r);
}

static void echo__every_reply_lost_retries_allowed__they_have_an_end(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 3, false);
    faulty_arm(r.server, FAULT_RESET, 0, 1000);
    assert_int_equal(one_call(&r, PATIENT_MS), ARB_RESET);
    assert_int_equal(faulty_messages(r.server), 4);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo__fault_at_every_byte__typed_error),
        cmocka_unit_test(call_start__fault_at_every_byte__typed_error),
        cmocka_unit_test(echo__fault_at_every_byte_retry_allowed__only_without_a_byte),
        cmocka_unit_test(call_start__fault_at_every_byte_pipelining__typed_error),
        cmocka_unit_test(echo__server_stops_reading_at_every_byte__lost),
        cmocka_unit_test(echo__large_reply_cut_off__lost),
        cmocka_unit_test(echo__server_speaks_first__mismatch),
        cmocka_unit_test(echo__reply_ahead_of_its_message__unexpected),
        cmocka_unit_test(call_start__fault_in_front_of_others__each_its_own_status),
        cmocka_unit_test(call_start__lost_in_front_of_others_retry_allowed__others_sent_again),
        cmocka_unit_test(echo__every_reply_lost_retries_allowed__they_have_an_end),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
