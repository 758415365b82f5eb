/*
 * Connections that move between two sets: what travels, what is refused, and how it is shared out.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "client/echo.h"
#include "echo_arbiter/echo.h"
#include "net/conn_impl.h"
#include "net/move_crash.h"
#include "support/lines.h"
#include "support/move_rig.h"

enum { MIB = 1 << 20, PLENTY = 20000 };

static struct move_rig t;

static int setup_with(size_t n_takers, const struct conn_limits *limits)
{
    move_rig_init(&t, n_takers, limits);
    return 0;
}

static int setup(void **state UNUSED)
{
    return setup_with(1, NULL);
}

static int setup_three(void **state UNUSED)
{
    return setup_with(3, NULL);
}

static int teardown(void **state UNUSED)
{
    move_rig_fini(&t);
    return 0;
}

static void move(size_t count)
{
    for (size_t i = 0; i < t.n_takers; i++)
        taker_takes(&t.takers[i], PLENTY);
    giver_gives(&t, count);
    move_rig_run(&t);
}

static struct rig *taker(void)
{
    return &t.takers[0].rig;
}

static void expect_moved(size_t n, size_t stayed)
{
    size_t taken = 0;

    assert_int_equal(t.out.n_moved, n);
    assert_int_equal(t.out.n_stayed, stayed);
    assert_int_equal(counter_get(&t.giver.counters.moved_out), n);
    for (size_t i = 0; i < t.n_takers; i++)
        if (t.takers[i].rig.loop)
            taken += counter_get(&t.takers[i].rig.counters.moved_in);
    assert_int_equal(taken, n);
}

static uint8_t *payload(size_t n)
{
    uint8_t *p = malloc(n + 4);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)('a' + (i * 2654435761u >> 16) % 23);
    memcpy(p + n, "\r\n\r\n", 4);
    return p;
}

/* --- what travels ----------------------------------------------------------------------------- */

static void move__600_idle__all_live_on_and_the_giver_has_none(void **state UNUSED)
{
    const int tcp = rig_connect_tcp(&t.giver);

    move_rig_connect(&t, 600);
    rig_run(&t.giver);
    move(SIZE_MAX);
    expect_moved(601, 0);
    assert_int_equal(t.giver.set.n_open, 0);
    assert_int_equal(taker()->set.n_open, 601);
    giver_dies(&t);
    move_rig_expect_echoes(&t, 600);
    assert_true(move_rig_echo(&t, tcp));
    close(tcp);
}

static void move__message_arrives_on_the_way__answered_once_by_the_taker(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);

    taker_takes(&t.takers[0], PLENTY);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver); /* sent */
    assert_int_equal(send(fd, "on the way\r\n\r\n", 14, 0), 14);
    rig_expect_nothing(&t.giver, fd);
    assert_int_equal(counter_get(&t.giver.counters.bytes_in), 0);
    assert_int_equal(t.giver.set.n_open, 1); /* until it is answered, it is counted here */
    move_rig_run(&t);
    rig_expect_text(taker(), fd, "on the way\r\n\r\n");
    rig_expect_nothing(taker(), fd);
    close(fd);
}

static void move__half_of_1_mib__finished_on_the_taker_without_a_rescan(void **state UNUSED)
{
    uint8_t *data = payload(MIB);
    const int fd = rig_connect(&t.giver);
    uint64_t scanned;

    rig_send(&t.giver, fd, data, MIB / 2 + 1);
    move(SIZE_MAX);
    expect_moved(1, 0);
    assert_int_equal(t.giver.set.pool.used_bytes, 0);
    rig_send(taker(), fd, data + MIB / 2 + 1, MIB / 2 + 3);
    rig_expect(taker(), fd, data, MIB + 4);
    scanned = counter_get(&taker()->counters.scanned);
    assert_in_range(scanned, MIB / 2, MIB / 2 + 65536);
    assert_int_equal(counter_get(&taker()->counters.requests), 1);
    free(data);
    close(fd);
}

/* Cut inside the separator, at every place of it. */
static void move__separator_cut_by_the_move__found(void **state UNUSED)
{
    int fds[5];

    for (size_t i = 0; i < 5; i++) {
        fds[i] = rig_connect(&t.giver);
        rig_send(&t.giver, fds[i], "cut\r\n\r\n", 3 + i);
    }
    rig_expect_text(&t.giver, fds[4], "cut\r\n\r\n");
    move(SIZE_MAX);
    for (size_t i = 0; i < 5; i++) {
        rig_send_text(taker(), fds[i], &"\r\n\r\nnext\r\n\r\n"[i]);
        if (i < 4)
            rig_expect_text(taker(), fds[i], "cut\r\n\r\n");
        rig_expect_text(taker(), fds[i], "next\r\n\r\n");
        close(fds[i]);
    }
}

static void move__unsent_output__goes_on_from_the_taker(void **state UNUSED)
{
    const size_t len = 4 * MIB;
    uint8_t *data = payload(len);
    const int fd = rig_connect(&t.giver);
    size_t sent;

    for (size_t i = 1000; i < len; i += 5000)
        memcpy(data + i, "\r\n\r\n", 4);
    sent = rig_offer(&t.giver, fd, data, len + 4);
    assert_true(sent < len && t.giver.set.pool.used_bytes > ARB_HIGH_WATER);
    move(SIZE_MAX);
    expect_moved(1, 0);
    assert_int_equal(t.giver.set.pool.used_bytes, 0);
    sent = (sent - 1004) / 5000 * 5000 + 1004;
    rig_expect(taker(), fd, data, sent);
    assert_int_equal(
        counter_get(&t.giver.counters.bytes_out) + counter_get(&taker()->counters.bytes_out), sent);
    free(data);
    close(fd);
}

static void move__larger_than_a_batch__travels_alone(void **state UNUSED)
{
    uint8_t *data = payload(3 * MIB);
    int fds[6];

    for (int i = 0; i < 6; i++) {
        fds[i] = rig_connect(&t.giver);
        rig_send(&t.giver, fds[i], data, i % 2 ? 3 * MIB - 7 : 700000);
    }
    move(SIZE_MAX);
    expect_moved(6, 0);
    for (int i = 0; i < 6; i++) {
        const size_t had = i % 2 ? 3 * MIB - 7 : 700000;

        rig_send(taker(), fds[i], data + had, 3 * MIB + 4 - had);
        rig_expect(taker(), fds[i], data, 3 * MIB + 4);
        close(fds[i]);
    }
    free(data);
}

static void move__half_closed_peer_with_unread_replies__all_delivered(void **state UNUSED)
{
    const size_t len = 3 * MIB;
    uint8_t *data = payload(len);
    const int fd = rig_connect(&t.giver);
    size_t sent;

    for (size_t i = 1000; i < len; i += 5000)
        memcpy(data + i, "\r\n\r\n", 4);
    sent = rig_offer(&t.giver, fd, data, len);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    rig_run(&t.giver);
    assert_int_equal(t.giver.set.n_open, 1);
    move(SIZE_MAX);
    expect_moved(1, 0);
    rig_expect(taker(), fd, data, (sent - 1004) / 5000 * 5000 + 1004);
    rig_expect_eof(taker(), fd);
    free(data);
    close(fd);
}

static void move__quit_behind_unread_replies__delivered_then_closed(void **state UNUSED)
{
    uint8_t *data = payload(2 * MIB);
    const int fd = rig_connect(&t.giver);

    rig_send(&t.giver, fd, data, 2 * MIB + 4);
    rig_send_text(&t.giver, fd, "QUIT\r\n\r\n");
    move(SIZE_MAX);
    expect_moved(1, 0);
    rig_expect(taker(), fd, data, 2 * MIB + 4);
    rig_expect_text(taker(), fd, "QUIT\r\n\r\n");
    rig_expect_eof(taker(), fd);
    close(fd);
    rig_run(taker());
    rig_expect_closed(taker(), &taker()->counters.closed_quit, 1);
    free(data);
}

static void move__lingering__ends_at_the_same_time_as_without_the_move(void **state UNUSED)
{
    const int patient = rig_connect(&t.giver), quick = rig_connect(&t.giver);

    rig_send_text(&t.giver, patient, "QUIT\r\n\r\n");
    rig_send_text(&t.giver, quick, "QUIT\r\n\r\n");
    rig_pass(&t.giver, CONN_LINGER_MS - 500);
    assert_int_equal(t.giver.set.n_open, 2);
    move(SIZE_MAX);
    expect_moved(2, 0);
    close(quick);
    rig_run(taker());
    assert_int_equal(counter_get(&taker()->counters.closed_quit), 1);
    rig_pass(taker(), 300);
    assert_int_equal(taker()->set.n_open, 1);
    rig_pass(taker(), 500);
    assert_int_equal(taker()->set.n_open, 0);
    assert_int_equal(counter_get(&taker()->counters.linger_expired), 1);
    close(patient);
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void move__message_half_its_time_old__rest_of_it_on_the_taker(void **state UNUSED)
{
    const struct conn_limits limits = {.message_timeout_ms = 30000, .max_buffered = MIB};
    int fd;

    move_rig_fini(&t);
    setup_with(1, &limits);
    fd = rig_connect(&t.giver);
    rig_send_text(&t.giver, fd, "slow");
    rig_pass(&t.giver, 20000);
    move(SIZE_MAX);
    rig_pass(taker(), 9500);
    assert_int_equal(taker()->set.n_open, 1);
    rig_pass(taker(), 1000);
    rig_expect_eof(taker(), fd);
    close(fd);
    rig_run(taker());
    rig_expect_closed(taker(), &taker()->counters.closed_message_timeout, 1);
}

static void move__unread_reply__its_deadline_travels(void **state UNUSED)
{
    const struct conn_limits limits = {.write_timeout_ms = 10000, .max_buffered = 16 * MIB};
    uint8_t *data = payload(2 * MIB);
    int fd;

    move_rig_fini(&t);
    setup_with(1, &limits);
    fd = rig_connect(&t.giver);
    rig_send(&t.giver, fd, data, 2 * MIB + 4);
    rig_pass(&t.giver, 6000);
    assert_int_equal(t.giver.set.n_open, 1);
    move(SIZE_MAX);
    rig_pass(taker(), 3500);
    assert_int_equal(taker()->set.n_open, 1);
    rig_pass(taker(), 1000);
    rig_expect_closed(taker(), &taker()->counters.closed_write_timeout, 1);
    free(data);
    close(fd);
}

static void move__keep_alive__idleness_counts_on(void **state UNUSED)
{
    const struct conn_limits limits = {.keep_alive_ms = 10000, .max_buffered = MIB};
    int fd;

    move_rig_fini(&t);
    setup_with(1, &limits);
    fd = rig_connect(&t.giver);
    rig_pass(&t.giver, 6000);
    move(SIZE_MAX);
    rig_pass(taker(), 3500);
    assert_int_equal(taker()->set.n_open, 1);
    rig_pass(taker(), 1000);
    rig_expect_eof(taker(), fd);
    close(fd);
}

static void move__keep_alive_is_new_on_the_taker__begins_with_the_move(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);

    taker()->set.limits.keep_alive_ms = 10000;
    taker()->set.is_attentive = true;
    rig_send_text(&t.giver, fd, "part");
    rig_send_text(&t.giver, fd, "\r\n\r\n");
    rig_expect_text(&t.giver, fd, "part\r\n\r\n");
    rig_pass(&t.giver, 1000000);
    move(SIZE_MAX);
    rig_pass(taker(), 9000);
    assert_int_equal(taker()->set.n_open, 1);
    rig_pass(taker(), 1500);
    rig_expect_eof(taker(), fd);
    close(fd);
}

/* --- other rules, other protocols ------------------------------------------------------------- */

static void use_separator(struct rig *r, const char *separator)
{
    rig_use_rule(r, separator, 1000);
    r->set.protocols[0].fingerprint = strlen(separator);
}

static void move__other_separator__tail_is_looked_at_anew(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver), idle = rig_connect(&t.giver);

    use_separator(&t.giver, "\r\n\r\n");
    use_separator(taker(), "\n");
    rig_send_text(&t.giver, fd, "one\ntwo\nthr");
    move(SIZE_MAX);
    rig_expect_text(taker(), fd, "one\ntwo\n");
    rig_expect_nothing(taker(), fd);
    rig_send_text(taker(), fd, "ee\n");
    rig_expect_text(taker(), fd, "three\n");
    rig_send_text(taker(), idle, "x\n");
    rig_expect_text(taker(), idle, "x\n");
    close(fd);
    close(idle);
}

static void move__smaller_max_message__tail_above_it_is_closed(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);
    uint8_t *data = payload(5000);

    use_separator(taker(), "\r\n\r\n");
    rig_send(&t.giver, fd, data, 5000);
    move(SIZE_MAX);
    rig_expect_eof(taker(), fd);
    close(fd);
    rig_run(taker());
    rig_expect_closed(taker(), &taker()->counters.closed_too_big, 1);
    free(data);
}

/* A protocol that counts: the reply to each byte is how many have come. */
static void count_on_data(void *server UNUSED, struct arb_conn *conn, const struct arb_input *in,
                          struct arb_output *out)
{
    static uint8_t reply[1];
    uint64_t *count = arb_conn_state(conn);

    *count += in->len;
    reply[0] = (uint8_t)('0' + *count % 10);
    out->reply = reply;
    out->reply_len = in->len > 0;
    out->consumed = in->len;
    out->messages = in->len;
}

static size_t count_save(void *server UNUSED, const struct arb_conn *conn, void *buf, size_t size)
{
    const uint64_t *count = arb_conn_state(conn);

    if (*count == 7)
        return ARB_STATE_MAX + 1; /* it cannot be moved now */
    if (sizeof(*count) <= size)
        memcpy(buf, count, sizeof(*count));
    return sizeof(*count);
}

static int count_restore(void *server UNUSED, struct arb_conn *conn, uint32_t version,
                         const void *data, size_t len)
{
    uint64_t *count = arb_conn_state(conn);

    assert_int_equal(version, 3);
    if (len != sizeof(*count))
        return -EBADMSG;
    memcpy(count, data, len);
    return 0;
}

static const struct arb_protocol counting =
    ARB_PROTOCOL(.name = "count", .conn_size = sizeof(uint64_t), .on_data = count_on_data,
                 .state_version = 3, .save = count_save, .restore = count_restore);
static const struct arb_protocol counting_fixed =
    ARB_PROTOCOL(.name = "count", .conn_size = sizeof(uint64_t), .on_data = count_on_data);

static void move__protocol_with_state__goes_on_with_it(void **state UNUSED)
{
    int fds[300], odd;

    rig_use_protocol(&t.giver, &counting, NULL);
    rig_use_protocol(taker(), &counting, NULL);
    odd = rig_connect(&t.giver);
    rig_send_text(&t.giver, odd, "1234567");
    rig_expect_text(&t.giver, odd, "7");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = rig_connect(&t.giver);
        rig_send_text(&t.giver, fds[i], "abc");
        rig_expect_text(&t.giver, fds[i], "3");
    }
    move(SIZE_MAX);
    expect_moved(ARRAY_SIZE(fds), 1);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        rig_send_text(taker(), fds[i], "d");
        rig_expect_text(taker(), fds[i], "4");
        close(fds[i]);
    }
    rig_send_text(&t.giver, odd, "8");
    rig_expect_text(&t.giver, odd, "8");
    close(odd);
}

static void move__protocol_that_cannot_save__stays_and_is_served(void **state UNUSED)
{
    int fd;

    rig_use_protocol(&t.giver, &counting_fixed, NULL);
    rig_use_protocol(taker(), &counting_fixed, NULL);
    fd = rig_connect(&t.giver);
    rig_send_text(&t.giver, fd, "abc");
    move(SIZE_MAX);
    expect_moved(0, 0); /* nobody is asked again */
    assert_int_equal(conn_set_rooted(&t.giver.set), 1);
    rig_send_text(&t.giver, fd, "d");
    rig_expect_text(&t.giver, fd, "34");
    close(fd);
}

/* A protocol that notes what it is told of its connections, with a state of any size. The notes
 * live longer than the connections, which the teardown ends. */
static struct notes {
    unsigned n_opens, n_moved; /* on_open, and that of a connection that comes from elsewhere */
    unsigned n_gone; /* on_close, because it is served elsewhere */
} notes[2]; /* of the giver, and of the taker */

struct sized {
    uint32_t bytes; /* of what it saves */
    uint32_t is_refused; /* by the next restore */
};

static int noting_on_open(void *server, struct arb_conn *conn UNUSED, enum arb_origin origin)
{
    struct notes *n = server;

    n->n_opens++;
    n->n_moved += origin == ARB_MOVED;
    return 0;
}

static void noting_on_close(void *server, struct arb_conn *conn UNUSED, enum arb_end why)
{
    struct notes *n = server;

    n->n_gone += why == ARB_END_MOVED;
}

/* Digits: how many bytes it saves; "x": refused by whoever restores it; "b": blank. */
static void noting_on_data(void *server UNUSED, struct arb_conn *conn, const struct arb_input *in,
                           struct arb_output *out)
{
    struct sized *s = arb_conn_state(conn);

    for (size_t i = 0; i < in->len; i++) {
        if (in->data[i] >= '0' && in->data[i] <= '9')
            s->bytes = 10 * s->bytes + (in->data[i] - '0');
        s->is_refused |= in->data[i] == 'x';
        if (in->data[i] == 'b')
            arb_conn_set_blank(conn, true);
    }
    out->consumed = in->len;
    out->reply = in->data;
    out->reply_len = in->len;
}

static size_t noting_save(void *server UNUSED, const struct arb_conn *conn, void *buf, size_t size)
{
    const struct sized *s = arb_conn_state(conn);
    const size_t len = sizeof(*s) + s->bytes;

    if (len > size)
        return len;
    memset(buf, 'S', len);
    memcpy(buf, s, sizeof(*s));
    return len;
}

static int noting_restore(void *server UNUSED, struct arb_conn *conn, uint32_t version UNUSED,
                          const void *data, size_t len)
{
    struct sized *s = arb_conn_state(conn);

    assert_true(len >= sizeof(*s));
    memcpy(s, data, sizeof(*s));
    assert_int_equal(len, sizeof(*s) + s->bytes);
    for (size_t i = sizeof(*s); i < len; i++)
        assert_int_equal(((const char *)data)[i], 'S');
    return s->is_refused ? -EINVAL : 0;
}

static const struct arb_protocol noting =
    ARB_PROTOCOL(.name = "notes", .conn_size = sizeof(struct sized), .on_open = noting_on_open,
                 .on_data = noting_on_data, .on_close = noting_on_close, .save = noting_save,
                 .restore = noting_restore);

static void use_noting(void)
{
    memset(notes, 0, sizeof(notes));
    rig_use_protocol(&t.giver, &noting, &notes[0]);
    rig_use_protocol(taker(), &noting, &notes[1]);
}

static int rig_connect_sized(struct rig *r, size_t bytes, const char *more)
{
    const int fd = rig_connect(r);
    char text[32];

    snprintf(text, sizeof(text), "%zu%s", bytes, more);
    rig_send_text(r, fd, text);
    rig_expect_text(r, fd, text);
    return fd;
}

static void move__states_up_to_a_mebibyte__all_move_but_what_is_larger(void **state UNUSED)
{
    static const size_t most = ARB_STATE_MAX - sizeof(struct sized);
    int fds[40];

    use_noting();
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = rig_connect_sized(&t.giver, i % 10 == 3 ? most + (i == 13) : i * 9999, "");
    move(SIZE_MAX);
    expect_moved(ARRAY_SIZE(fds) - 1, 1);
    assert_int_equal(t.out.error, -EMSGSIZE);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        rig_send_text(i == 13 ? &t.giver : taker(), fds[i], "?");
        rig_expect_text(taker(), fds[i], "?");
        close(fds[i]);
    }
    assert_int_equal(notes[1].n_opens, ARRAY_SIZE(fds) - 1);
}

static void
move__restore_refuses__giver_keeps_it_and_the_taker_closes_what_it_opened(void **state UNUSED)
{
    int fds[60];

    use_noting();
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = rig_connect_sized(&t.giver, i, i == 20 ? "x" : "");
    move(SIZE_MAX);
    expect_moved(ARRAY_SIZE(fds) - 1, 1);
    assert_true(notes[1].n_opens > ARRAY_SIZE(fds)); /* the batch was refused, and came in parts */
    assert_int_equal(notes[1].n_opens, notes[1].n_moved);
    assert_int_equal(notes[1].n_opens - notes[1].n_gone, ARRAY_SIZE(fds) - 1);
    rig_send_text(&t.giver, fds[20], "still here");
    rig_expect_text(&t.giver, fds[20], "still here");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

/* What is offered alone and refused is offered again in the next move, not for ever in this one. */
static void move__few_and_all_refused__each_offered_a_few_times(void **state UNUSED)
{
    int fds[3];

    use_noting();
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = rig_connect_sized(&t.giver, i, "x");
    move(SIZE_MAX);
    expect_moved(0, ARRAY_SIZE(fds));
    assert_in_range(notes[1].n_opens, ARRAY_SIZE(fds), 5 * ARRAY_SIZE(fds));
    assert_int_equal(notes[1].n_gone, notes[1].n_opens);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        rig_send_text(&t.giver, fds[i], "still here");
        rig_expect_text(&t.giver, fds[i], "still here");
        close(fds[i]);
    }
}

/* --- replies that come later ------------------------------------------------------------------ */

static struct arb_conn *conn_of(struct rig *r, size_t i)
{
    struct list *link = r->set.all.next;

    while (i-- > 0)
        link = link->next;
    return container_of(link, struct arb_conn, link);
}

static bool hold(struct conn_set *set UNUSED, struct arb_conn *c UNUSED)
{
    return true;
}

static void move__some_owe_a_reply__passed_over_and_told_apart_from_the_refused(void **state UNUSED)
{
    struct arb_request *owed[2];
    int fds[10];

    use_noting();
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = rig_connect_sized(&t.giver, i, i == 9 ? "x" : "");
    owed[0] = arb_request_new(conn_of(&t.giver, 3), NULL, NULL);
    owed[1] = arb_request_new(conn_of(&t.giver, 5), NULL, NULL);
    move(SIZE_MAX);
    expect_moved(7, 1);
    assert_int_equal(t.out.n_owed, 2);
    for (size_t i = 0; i < 2; i++)
        arb_request_end(owed[i], ARB_GO_ON);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static void move__held_and_refused__served_on_if_the_giver_does_not_drain(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);
    struct arb_request *owed = arb_request_new(conn_of(&t.giver, 0), NULL, NULL);
    int other;

    t.giver.set.on_answered = hold;
    arb_request_end(owed, ARB_GO_ON);
    rig_send_text(&t.giver, fd, "unread\r\n\r\n");
    rig_expect_nothing(&t.giver, fd);
    taker_takes(&t.takers[0], 1);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver); /* sent */
    other = rig_connect(taker()); /* the room is gone */
    move_rig_run(&t);
    expect_moved(0, 1);
    rig_expect_text(&t.giver, fd, "unread\r\n\r\n");
    close(fd);
    close(other);
}

/* Another taker may want it: it is neither read nor drained before. */
static void move__held_and_refused__still_held_though_the_giver_drains(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);
    struct arb_request *owed = arb_request_new(conn_of(&t.giver, 0), NULL, NULL);
    int other;

    t.giver.set.on_answered = hold;
    conn_set_drain(&t.giver.set);
    arb_request_reply(owed, "late", 4);
    arb_request_end(owed, ARB_GO_ON);
    rig_expect_text(&t.giver, fd, "late");
    taker_takes(&t.takers[0], 1);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver); /* sent */
    other = rig_connect(taker()); /* the room is gone */
    move_rig_run(&t);
    expect_moved(0, 1);
    rig_expect_nothing(&t.giver, fd);
    assert_true(conn_of(&t.giver, 0)->special & CONN_HELD);
    conn_set_drain(&t.giver.set); /* nobody wants it */
    rig_expect_eof(&t.giver, fd);
    close(fd);
    close(other);
}

static struct arb_conn *only_conn(struct rig *r)
{
    assert_int_equal(r->set.n_open, 1);
    return container_of(r->set.all.next, struct arb_conn, link);
}

/* What is no socket of this kernel's has no number of its either: then the set counts. */
static void move__its_id_is_not_the_kernels__stays_the_same(void **state UNUSED)
{
    const int fd = rig_connect(&t.giver);
    struct arb_conn *c = only_conn(&t.giver);
    const int saved = dup(c->io.fd), other = open("/dev/null", O_RDONLY | O_CLOEXEC);

    t.giver.set.last_id = 7;
    assert_int_equal(dup2(other, c->io.fd), c->io.fd);
    assert_int_equal(conn_id(c), 0);
    assert_int_equal(arb_conn_id(c), 8);
    assert_int_equal(dup2(saved, c->io.fd), c->io.fd);
    close(saved);
    close(other);
    assert_int_equal(conn_id(c), 8);
    move(SIZE_MAX);
    assert_int_equal(arb_conn_id(only_conn(taker())), 8);
    close(fd);
}

static void move__its_id__stays_the_same(void **state UNUSED)
{
    const uint64_t base = conn_id_base(1024, 3);
    int fd = rig_connect(&t.giver);
    const uint64_t first = arb_conn_id(only_conn(&t.giver));
    uint64_t id;

    close(fd);
    rig_run(&t.giver);
    fd = rig_connect(&t.giver);
    id = arb_conn_id(only_conn(&t.giver));
    assert_true(first != 0 && id != 0 && id != first);
    move(SIZE_MAX);
    assert_int_equal(arb_conn_id(only_conn(taker())), id);
    assert_int_equal(conn_id(only_conn(taker())), id);
    close(fd);
    assert_true(conn_id_base(1, 3) != base && conn_id_base(1024, 4) != base);
    assert_int_equal(base & UINT32_MAX, 0);
}

static void move__blank__said_by_its_mark_there(void **state UNUSED)
{
    int fd;

    use_noting();
    fd = rig_connect_sized(&t.giver, 1, "");
    assert_int_equal(t.giver.set.marks[only_conn(&t.giver)->io.fd], CONN_MARK_STATEFUL);
    rig_send_text(&t.giver, fd, "b");
    rig_expect_text(&t.giver, fd, "b");
    assert_int_equal(t.giver.set.marks[only_conn(&t.giver)->io.fd], CONN_MARK_IDLE);
    move(SIZE_MAX);
    assert_int_equal(taker()->set.marks[only_conn(taker())->io.fd], CONN_MARK_IDLE);
    arb_conn_set_blank(only_conn(taker()), false);
    assert_int_equal(taker()->set.marks[only_conn(taker())->io.fd], CONN_MARK_STATEFUL);
    close(fd);
}

static struct lines lines[2];

static void use_lines(void)
{
    memset(lines, 0, sizeof(lines));
    rig_use_protocol(&t.giver, &lines_protocol, &lines[0]);
    rig_use_protocol(taker(), &lines_protocol, &lines[1]);
}

static void move__timeout_of_the_protocol__rest_of_it_on_the_taker(void **state UNUSED)
{
    int fd;

    use_lines();
    fd = rig_connect(&t.giver);
    rig_send_text(&t.giver, fd, "t5000\n");
    rig_pass(&t.giver, 2000);
    move(SIZE_MAX);
    assert_string_equal(lines_told(&lines[0]), "open:accepted close:moved");
    rig_pass(taker(), 2500);
    assert_string_equal(lines_told(&lines[1]), "open:moved");
    rig_pass(taker(), 1000);
    assert_string_equal(lines_told(&lines[1]), "timeout");
    rig_expect_text(taker(), fd, "T");
    close(fd);
}

static bool hold_answered(struct conn_set *set UNUSED, struct arb_conn *c UNUSED)
{
    return true;
}

/* The giver has not looked at what waited behind the late reply, and the end of input is there. */
static void move__answered_late__rest_is_looked_at_by_the_taker(void **state UNUSED)
{
    int fd, owes;

    use_lines();
    t.giver.set.on_answered = hold_answered;
    fd = rig_connect(&t.giver);
    rig_send_text(&t.giver, fd, "w\n=b\n=c");
    owes = rig_connect(&t.giver);
    rig_send_text(&t.giver, owes, "w\n");
    shutdown(fd, SHUT_WR);
    assert_int_equal(lines_answer(&lines[0], "a", ARB_GO_ON), 0);
    rig_expect_text(&t.giver, fd, "a");
    rig_expect_nothing(&t.giver, fd);
    move(SIZE_MAX);
    expect_moved(1, 0);
    assert_int_equal(t.out.n_owed, 1);
    rig_expect_text(taker(), fd, "b");
    rig_expect_eof(taker(), fd);
    assert_string_equal(lines_told(&lines[1]), "open:moved end close:partial");
    assert_int_equal(lines_answer(&lines[0], "d", ARB_GO_ON), 0);
    rig_expect_text(&t.giver, owes, "d");
    close(fd);
    close(owes);
}

static void move__another_protocol__stays(void **state UNUSED)
{
    rig_use_protocol(taker(), &counting, NULL);
    move_rig_connect(&t, 300);
    move(SIZE_MAX);
    expect_moved(0, 300);
    assert_int_equal(t.takers[0].in.error, -EPROTOTYPE);
    move_rig_expect_echoes(&t, 300);
}

/* --- refusals --------------------------------------------------------------------------------- */

static void move__room_for_100_of_252__100_move_and_the_rest_stay(void **state UNUSED)
{
    move_rig_connect(&t, 252);
    taker_takes(&t.takers[0], 100);
    giver_gives(&t, SIZE_MAX);
    move_rig_run(&t);
    expect_moved(100, 152);
    assert_int_equal(taker()->set.n_open, 100);
    assert_int_equal(t.giver.set.n_open, 152);
    move_rig_expect_echoes(&t, 252);
}

/* The room was there when the taker said so, and is gone when the batches come. */
static void move__room_gone_meanwhile__refused_ones_stay(void **state UNUSED)
{
    int late[400];

    move_rig_connect(&t, 600);
    taker_takes(&t.takers[0], 700);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver); /* three batches are on their way */
    for (size_t i = 0; i < ARRAY_SIZE(late); i++)
        late[i] = rig_connect(taker());
    move_rig_run(&t);
    expect_moved(300, 300);
    assert_int_equal(t.takers[0].in.error, -ENOSPC);
    assert_int_equal(taker()->set.n_open, 700);
    move_rig_expect_echoes(&t, 600);
    for (size_t i = 0; i < ARRAY_SIZE(late); i++)
        close(late[i]);
}

static int restore_all_but_five(void *server, struct arb_conn *conn, uint32_t version,
                                const void *data, size_t len)
{
    const int rc = count_restore(server, conn, version, data, len);
    const uint64_t *count = arb_conn_state(conn);

    return rc == 0 && *count == 5 ? -EBADMSG : rc;
}

static void move__one_cannot_be_restored__all_others_move(void **state UNUSED)
{
    static struct arb_protocol picky; /* outlives the test, as connections do */
    int fds[301];

    picky = counting;
    picky.restore = restore_all_but_five;
    rig_use_protocol(&t.giver, &counting, NULL);
    rig_use_protocol(taker(), &picky, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = rig_connect(&t.giver);
        rig_send_text(&t.giver, fds[i], i == 100 ? "12345" : "1");
    }
    move(SIZE_MAX);
    expect_moved(300, 1);
    assert_int_equal(t.takers[0].in.error, -EBADMSG);
    assert_int_equal(t.giver.set.n_open, 1);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        rig_send_text(i == 100 ? &t.giver : taker(), fds[i], "1");
        rig_expect_text(taker(), fds[i], i == 100 ? "56" : "12");
        close(fds[i]);
    }
}

/* What the giver was allowed to hold is not lost because it moves. */
static void move__more_than_max_buffered_of_the_taker__all_move_and_go_on(void **state UNUSED)
{
    uint8_t *data = payload(3 * MIB);
    int fat[3];

    move_rig_connect(&t, 300);
    for (size_t i = 0; i < ARRAY_SIZE(fat); i++) {
        fat[i] = rig_connect(&t.giver);
        rig_send(&t.giver, fat[i], data, 3 * MIB);
    }
    taker()->set.pool.limit_bytes = 4 * MIB;
    move(SIZE_MAX);
    expect_moved(303, 0);
    assert_in_range(taker()->set.pool.used_bytes, 9 * MIB, 9 * MIB + 4096);
    move_rig_expect_echoes(&t, 300);
    for (size_t i = 0; i < ARRAY_SIZE(fat); i++) {
        rig_send(taker(), fat[i], data + 3 * MIB, 4);
        rig_expect(taker(), fat[i], data, 3 * MIB + 4);
        close(fat[i]);
    }
    assert_int_equal(taker()->set.pool.raised_bytes, 0);
    free(data);
}

static void move__taker_closes_itself_meanwhile__the_rest_stays(void **state UNUSED)
{
    move_rig_connect(&t, 600);
    taker_takes(&t.takers[0], PLENTY);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    taker_turns(&t.takers[0]); /* one batch */
    move_in_close(&t.takers[0].in);
    move_rig_run(&t);
    expect_moved(252, 348);
    move_rig_expect_echoes(&t, 600);
}

/* --- sharing out ------------------------------------------------------------------------------ */

static void expect_shares(size_t a, size_t b, size_t c)
{
    assert_int_equal(t.takers[0].rig.set.n_open, a);
    assert_int_equal(t.takers[1].rig.set.n_open, b);
    assert_int_equal(t.takers[2].rig.set.n_open, c);
}

static void move__three_takers__even_shares(void **state UNUSED)
{
    move_rig_connect(&t, 1000);
    move(SIZE_MAX);
    expect_moved(1000, 0);
    expect_shares(334, 333, 333);
    move_rig_expect_echoes(&t, 1000);
}

static void move__count__so_many_and_the_rest_is_served(void **state UNUSED)
{
    move_rig_connect(&t, 1000);
    move(301);
    expect_moved(301, 0);
    expect_shares(101, 100, 100);
    assert_int_equal(t.giver.set.n_open, 699);
    move_rig_expect_echoes(&t, 1000);
}

static void move__one_of_three_is_full__the_others_take_its_share(void **state UNUSED)
{
    move_rig_connect(&t, 900);
    taker_takes(&t.takers[0], PLENTY);
    taker_takes(&t.takers[1], 50);
    taker_takes(&t.takers[2], PLENTY);
    giver_gives(&t, SIZE_MAX);
    move_rig_run(&t);
    expect_moved(900, 0);
    expect_shares(425, 50, 425);
}

static void move__one_of_three_never_takes__the_others_get_all(void **state UNUSED)
{
    move_rig_connect(&t, 900);
    taker_dies(&t.takers[1]);
    taker_takes(&t.takers[0], PLENTY);
    taker_takes(&t.takers[2], PLENTY);
    giver_gives(&t, SIZE_MAX);
    move_rig_run(&t);
    expect_moved(900, 0);
    assert_int_equal(t.takers[0].rig.set.n_open, 450);
    move_rig_expect_echoes(&t, 900);
}

/* One is alive and does not answer: it keeps what it was sent, and the others get the rest. */
static void move__one_of_three_hangs__the_others_get_what_it_was_not_sent(void **state UNUSED)
{
    move_rig_connect(&t, 6000);
    for (size_t i = 0; i < 3; i++)
        taker_takes(&t.takers[i], PLENTY);
    giver_gives(&t, SIZE_MAX);
    while (t.out.is_sending) {
        giver_turns(&t);
        taker_turns(&t.takers[0]);
        taker_turns(&t.takers[2]);
    }
    assert_false(t.out.is_done);
    assert_int_equal(t.out.n_moved, 6000 - 4 * 252);
    assert_int_equal(t.giver.set.n_open, 4 * 252);
    move_rig_run(&t);
    expect_moved(6000, 0);
    move_rig_expect_echoes(&t, 6000);
}

static void move__nobody_to_take__done_at_once(void **state UNUSED)
{
    move_rig_connect(&t, 3);
    taker_dies(&t.takers[0]);
    giver_gives(&t, SIZE_MAX);
    move_rig_run(&t);
    expect_moved(0, 3);
    move_rig_expect_echoes(&t, 3);
}

static void move__nothing_to_give__done_at_once(void **state UNUSED)
{
    move(SIZE_MAX);
    expect_moved(0, 0);
}

/* --- a drain meanwhile ------------------------------------------------------------------------ */

static void move__drain_while_on_the_way__refused_ones_are_drained(void **state UNUSED)
{
    move_rig_connect(&t, 10);
    taker_takes(&t.takers[0], PLENTY);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    conn_set_drain(&t.giver.set);
    taker_dies(&t.takers[0]);
    move_rig_run(&t);
    for (size_t i = 0; i < 10; i++)
        rig_expect_eof(&t.giver, t.peers[i]);
}

/* --- what libev keeps ------------------------------------------------------------------------- */

/* Sockets in all the epoll sets of this process. */
static size_t watched(void)
{
    size_t n = 0;

    for (int fd = 3; fd < 100; fd++) {
        char path[64], line[128];
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f))
            n += strncmp(line, "tfd:", 4) == 0;
        if (f)
            fclose(f);
    }
    return n;
}

static void move__giver_lives_on__nothing_stale_in_its_epoll_set(void **state UNUSED)
{
    size_t before;

    move_rig_settle(&t);
    before = watched();
    move_rig_connect(&t, 500);
    rig_run(&t.giver);
    assert_int_equal(watched(), before + 500);
    move(400);
    move_rig_settle(&t);
    /* The two ends of the pair were watched as well. */
    assert_int_equal(watched(), before + 500);
    move_rig_expect_echoes(&t, 500);
}

/* --- crashes ---------------------------------------------------------------------------------- */

static size_t count_marks(uint8_t from, uint8_t to)
{
    const struct conn_set *set = &t.giver.set;
    size_t n = 0;

    for (size_t i = 0; i < set->n_marks; i++)
        n += set->marks[i] >= from && set->marks[i] <= to;
    return n;
}

/* 300 are on their way to three takers, a tenth of them in the middle of a message. */
static void send_300_to_three(void)
{
    move_rig_connect(&t, 300);
    for (size_t i = 0; i < 300; i += 10)
        rig_send_text(&t.giver, t.peers[i], "half");
    rig_run(&t.giver);
    assert_int_equal(count_marks(CONN_MARK_BUSY, CONN_MARK_BUSY), 30);
    for (size_t i = 0; i < 3; i++)
        taker_takes(&t.takers[i], PLENTY);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    assert_int_equal(count_marks(CONN_MARK_FLIGHT, UINT8_MAX), 270);
    assert_int_equal(count_marks(CONN_MARK_MOVING, CONN_MARK_MOVING), 30);
}

static bool giver_reclaims(void)
{
    return move_crash_reclaim(t.giver.set.marks, t.giver.set.n_marks);
}

static void move_crash__taken_refused_and_given_back__idle_ones_of_the_last_two(void **s UNUSED)
{
    struct giving rules[3];
    struct taker *crashes = &t.takers[1];

    send_300_to_three();
    taker_turns(&t.takers[0]);
    ev_io_stop(crashes->rig.loop, &crashes->in.io);
    move_crash_close_takes(crashes->rig.set.marks, crashes->rig.set.n_marks);
    crashes->in.fd = -1;
    move_in_close(&t.takers[2].in);
    taker_turns(&t.takers[2]);
    for (size_t i = 0; i < 3; i++)
        rules[i] = t.out.lanes[i].rules;
    assert_true(giver_reclaims());
    assert_int_equal(count_marks(CONN_MARK_IDLE, CONN_MARK_IDLE), 180);
    assert_int_equal(count_marks(CONN_MARK_FLIGHT, UINT8_MAX), 90);
    assert_false(giver_reclaims());
    for (size_t i = 0; i < 3; i++) /* a handler would not return */
        t.out.lanes[i].rules = rules[i];
}

static void move_crash__takers_say_nothing__they_have_all(void **state UNUSED)
{
    send_300_to_three();
    assert_false(giver_reclaims());
    assert_int_equal(count_marks(CONN_MARK_IDLE, CONN_MARK_IDLE), 0);
    giver_dies(&t);
    move_rig_run(&t);
    for (size_t i = 0; i < 300; i += 10)
        rig_send_text(&t.takers[i / 100].rig, t.peers[i], "\r\n\r\n");
    move_rig_settle(&t);
    for (size_t i = 0; i < 300; i += 10)
        rig_expect_text(&t.takers[i / 100].rig, t.peers[i], "half\r\n\r\n");
    move_rig_expect_echoes(&t, 300);
}

/* What is taken, or comes back, has its own mark again: a crash later is a crash as any. */
static void move_crash__after_the_move__nothing_is_in_flight(void **state UNUSED)
{
    send_300_to_three();
    taker_dies(&t.takers[1]);
    taker_turns(&t.takers[0]);
    rig_run(&t.giver);
    assert_int_equal(count_marks(CONN_MARK_FLIGHT, UINT8_MAX), 180);
    assert_int_equal(count_marks(CONN_MARK_TAKE, CONN_MARK_TAKE), 0);
    move_rig_run(&t);
    assert_int_equal(count_marks(CONN_MARK_FREE, CONN_MARK_FREE), t.giver.set.n_marks);
}

#define TEST(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define THREE(f) cmocka_unit_test_setup_teardown(f, setup_three, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(move__600_idle__all_live_on_and_the_giver_has_none),
        TEST(move__message_arrives_on_the_way__answered_once_by_the_taker),
        TEST(move__half_of_1_mib__finished_on_the_taker_without_a_rescan),
        TEST(move__separator_cut_by_the_move__found),
        TEST(move__unsent_output__goes_on_from_the_taker),
        TEST(move__larger_than_a_batch__travels_alone),
        TEST(move__half_closed_peer_with_unread_replies__all_delivered),
        TEST(move__quit_behind_unread_replies__delivered_then_closed),
        TEST(move__lingering__ends_at_the_same_time_as_without_the_move),
        TEST(move__message_half_its_time_old__rest_of_it_on_the_taker),
        TEST(move__unread_reply__its_deadline_travels),
        TEST(move__keep_alive__idleness_counts_on),
        TEST(move__keep_alive_is_new_on_the_taker__begins_with_the_move),
        TEST(move__other_separator__tail_is_looked_at_anew),
        TEST(move__smaller_max_message__tail_above_it_is_closed),
        TEST(move__protocol_with_state__goes_on_with_it),
        TEST(move__protocol_that_cannot_save__stays_and_is_served),
        TEST(move__states_up_to_a_mebibyte__all_move_but_what_is_larger),
        TEST(move__restore_refuses__giver_keeps_it_and_the_taker_closes_what_it_opened),
        TEST(move__few_and_all_refused__each_offered_a_few_times),
        TEST(move__some_owe_a_reply__passed_over_and_told_apart_from_the_refused),
        TEST(move__held_and_refused__served_on_if_the_giver_does_not_drain),
        TEST(move__held_and_refused__still_held_though_the_giver_drains),
        TEST(move__its_id_is_not_the_kernels__stays_the_same),
        TEST(move__its_id__stays_the_same),
        TEST(move__blank__said_by_its_mark_there),
        TEST(move__timeout_of_the_protocol__rest_of_it_on_the_taker),
        TEST(move__answered_late__rest_is_looked_at_by_the_taker),
        TEST(move__another_protocol__stays),
        TEST(move__room_for_100_of_252__100_move_and_the_rest_stay),
        TEST(move__room_gone_meanwhile__refused_ones_stay),
        TEST(move__one_cannot_be_restored__all_others_move),
        TEST(move__more_than_max_buffered_of_the_taker__all_move_and_go_on),
        TEST(move__taker_closes_itself_meanwhile__the_rest_stays),
        THREE(move__three_takers__even_shares),
        THREE(move__count__so_many_and_the_rest_is_served),
        THREE(move__one_of_three_is_full__the_others_take_its_share),
        THREE(move__one_of_three_never_takes__the_others_get_all),
        THREE(move__one_of_three_hangs__the_others_get_what_it_was_not_sent),
        TEST(move__nobody_to_take__done_at_once),
        TEST(move__nothing_to_give__done_at_once),
        TEST(move__drain_while_on_the_way__refused_ones_are_drained),
        TEST(move__giver_lives_on__nothing_stale_in_its_epoll_set),
        THREE(move_crash__taken_refused_and_given_back__idle_ones_of_the_last_two),
        THREE(move_crash__takers_say_nothing__they_have_all),
        THREE(move_crash__after_the_move__nothing_is_in_flight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
