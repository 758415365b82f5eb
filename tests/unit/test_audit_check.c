/*
 * The checker must be exact: histories with known numbers of each mischief, by hand and by seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/audit_check.h"
#include "conformance/must.h"

enum { DEPTH = 512, SIZE = 200, SEPARATOR_LEN = 4, WIRE = SIZE + SEPARATOR_LEN };

/* A checker with all that it borrows. */
struct bench {
    struct frame_rule rule;
    struct audit_counts counts;
    struct audit_stall stall;
    struct audit_incidents incidents;
    uint8_t expected[WIRE + 100];
    struct audit_check check;
    uint64_t now;
};

static int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    frame_rule_init(&b->rule, "\r\n\r\n", SEPARATOR_LEN, SIZE + 100, NULL, 0);
    b->check = (struct audit_check){
        .id = {.seed = 1, .run = 2, .connection = 3},
        .rule = &b->rule,
        .counts = &b->counts,
        .stall = &b->stall,
        .incidents = &b->incidents,
        .lane = 4,
        .port = 5,
        .expected = b->expected,
        .expected_size = sizeof(b->expected),
    };
    assert_int_equal(audit_check_init(&b->check, DEPTH), 0);
    b->now = 1000;
    *state = b;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *b = *state;

    audit_check_fini(&b->check);
    free(b);
    return 0;
}

static void send_n(struct bench *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        audit_check_queued(&b->check, SIZE);
        audit_check_written(&b->check, WIRE, b->now);
    }
}

static const uint8_t *message(struct bench *b, uint32_t sequence)
{
    static uint8_t buf[SIZE];

    audit_message_write(&b->check.id, &b->rule, sequence, buf, SIZE);
    return buf;
}

static void frame(struct bench *b, const uint8_t *data, size_t len)
{
    audit_check_received(&b->check, len + SEPARATOR_LEN, b->now);
    audit_check_frame(&b->check, data, len, b->now);
}

static void echo(struct bench *b, uint32_t sequence)
{
    frame(b, message(b, sequence), SIZE);
}

static void damaged(struct bench *b, uint32_t sequence, size_t at)
{
    uint8_t copy[SIZE];

    memcpy(copy, message(b, sequence), SIZE);
    copy[at] ^= 0x20;
    frame(b, copy, SIZE);
}

static void end(struct bench *b, enum audit_end how)
{
    audit_check_end(&b->check, how, NULL, 0, b->now);
}

/* Every sent message has exactly one fate, whatever happened. */
static void assert_accounted(const struct audit_counts *c)
{
    assert_int_equal(c->sent, c->echoed + audit_counts_failed(c) + c->lost + c->reordered +
                                  c->truncated + c->corrupted);
}

/* Compare all counts of fates at once: what is not named is 0. */
#define ASSERT_FATES(b, ...)                                                                       \
    do {                                                                                           \
        struct audit_counts want_ = {__VA_ARGS__};                                                 \
        want_.bytes_sent = (b)->counts.bytes_sent;                                                 \
        want_.bytes_received = (b)->counts.bytes_received;                                         \
        assert_counts_equal(&(b)->counts, &want_);                                                 \
        assert_accounted(&(b)->counts);                                                            \
    } while (0)

static void assert_counts_equal(const struct audit_counts *got, const struct audit_counts *want)
{
#define X(field, help)                                                                             \
    if (got->field != want->field)                                                                 \
        fail_msg(#field " is %llu, not %llu", (unsigned long long)got->field,                      \
                 (unsigned long long)want->field);
    AUDIT_COUNTS(X)
#undef X
}

static void audit_check__all_echoed__clean(void **state)
{
    struct bench *b = *state;

    send_n(b, 5);
    for (uint32_t s = 0; s < 5; s++)
        echo(b, s);
    assert_false(audit_check_has_outstanding(&b->check));
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 5, .echoed = 5);
    assert_int_equal(b->counts.bytes_sent, 5 * WIRE);
    assert_int_equal(b->counts.bytes_received, 5 * WIRE);
    assert_true(audit_counts_is_o1(&b->counts) && audit_counts_is_o2(&b->counts));
    assert_int_equal(b->incidents.n_all, 0);
}

static void audit_check__ended_with_messages_outstanding__visibly_failed(void **state)
{
    static const struct {
        enum audit_end how;
        const char *what;
    } rows[] = {{AUDIT_END_CLOSED, "failed_closed"},
                {AUDIT_END_RESET, "failed_reset"},
                {AUDIT_END_TIMEOUT, "failed_timeout"}};
    struct bench *b = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        audit_check_fini(&b->check);
        assert_int_equal(audit_check_init(&b->check, DEPTH), 0);
        b->incidents.n = 0;
        send_n(b, 3);
        echo(b, 0);
        end(b, rows[i].how);
        assert_int_equal(b->incidents.n, 2);
        assert_string_equal(b->incidents.kept[0].what, rows[i].what);
        assert_int_equal(b->incidents.kept[0].sequence, 1);
        assert_int_equal(b->incidents.kept[0].connection, 3);
        assert_int_equal(b->incidents.kept[0].lane, 4);
        assert_int_equal(b->incidents.kept[0].port, 5);
    }
    ASSERT_FATES(b, .sent = 9, .echoed = 3, .failed_closed = 2, .failed_reset = 2,
                 .failed_timeout = 2);
    assert_true(audit_counts_is_o1(&b->counts) && audit_counts_is_o2(&b->counts));
}

static void audit_check__partly_written__sent_from_its_first_byte_on(void **state)
{
    struct bench *b = *state;

    audit_check_queued(&b->check, SIZE);
    audit_check_queued(&b->check, SIZE);
    audit_check_queued(&b->check, SIZE);
    assert_false(audit_check_has_outstanding(&b->check));
    audit_check_written(&b->check, WIRE, b->now);
    assert_int_equal(b->counts.sent, 1); /* of the second one not a byte is gone */
    audit_check_written(&b->check, 1, b->now);
    assert_int_equal(b->counts.sent, 2);
    echo(b, 0);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 2, .echoed = 1, .failed_closed = 1);
}

static void audit_check__gap__lost(void **state)
{
    struct bench *b = *state;

    send_n(b, 4);
    echo(b, 0);
    echo(b, 2);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 4, .echoed = 2, .lost = 1, .failed_closed = 1);
    assert_false(audit_counts_is_o1(&b->counts));
    assert_false(audit_counts_is_o2(&b->counts));
}

static void audit_check__late__reordered_not_lost(void **state)
{
    struct bench *b = *state;

    send_n(b, 4);
    echo(b, 2);
    echo(b, 0);
    echo(b, 3);
    echo(b, 1);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 4, .echoed = 2, .reordered = 2);
    assert_false(audit_counts_is_o1(&b->counts));
}

static void audit_check__twice__duplicated(void **state)
{
    struct bench *b = *state;

    send_n(b, 3);
    echo(b, 0);
    echo(b, 0);
    echo(b, 1);
    echo(b, 2);
    echo(b, 0);
    echo(b, 2);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 3, .echoed = 3, .duplicated = 3);
    assert_false(audit_counts_is_o1(&b->counts));
    assert_true(audit_counts_is_o2(&b->counts));
}

static void audit_check__any_proper_beginning__truncated(void **state)
{
    struct bench *b = *state;

    send_n(b, SIZE);
    for (uint32_t s = 0; s < SIZE; s++)
        frame(b, message(b, s), s);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = SIZE, .truncated = SIZE);
}

static void audit_check__any_byte_changed__corrupted(void **state)
{
    struct bench *b = *state;

    send_n(b, SIZE);
    for (uint32_t s = 0; s < SIZE; s++)
        damaged(b, s, s);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = SIZE, .corrupted = SIZE);
}

static void audit_check__separator_swallowed__corrupted_and_lost(void **state)
{
    struct bench *b = *state;
    uint8_t both[2 * SIZE];

    send_n(b, 3);
    memcpy(both, message(b, 0), SIZE);
    memcpy(both + SIZE, message(b, 1), SIZE);
    frame(b, both, sizeof(both));
    echo(b, 2);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 3, .echoed = 1, .corrupted = 1, .lost = 1);
}

static void audit_check__not_ours__foreign(void **state)
{
    struct bench *b = *state;
    struct audit_identity other_connection = b->check.id, other_run = b->check.id;
    uint8_t buf[SIZE];

    other_connection.connection++;
    other_run.run++;
    send_n(b, 1);
    audit_message_write(&other_connection, &b->rule, 0, buf, SIZE);
    frame(b, buf, SIZE);
    audit_message_write(&other_run, &b->rule, 0, buf, SIZE);
    frame(b, buf, SIZE);
    echo(b, 7); /* never sent */
    echo(b, 0);
    frame(b, (const uint8_t *)"hello", 5); /* nothing is outstanding */
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 1, .echoed = 1, .foreign = 4);
}

/* Queued is not sent: whoever answers it has not got it from us. */
static void audit_check__reply_to_what_is_not_written__foreign(void **state)
{
    struct bench *b = *state;

    audit_check_queued(&b->check, SIZE);
    echo(b, 0);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .foreign = 1);
}

static void audit_check__same_header_other_payload__corrupted(void **state)
{
    struct bench *b = *state;
    struct audit_identity other_seed = b->check.id;
    uint8_t buf[SIZE];

    other_seed.seed++;
    send_n(b, 1);
    audit_message_write(&other_seed, &b->rule, 0, buf, SIZE); /* checksums hold, the bytes do not */
    frame(b, buf, SIZE);
    end(b, AUDIT_END_CLOSED);
    ASSERT_FATES(b, .sent = 1, .corrupted = 1);
}

static void audit_check__tail_is_a_beginning__cut_and_visibly_failed(void **state)
{
    struct bench *b = *state;
    uint8_t buf[WIRE];

    send_n(b, 2);
    echo(b, 0);
    memcpy(buf, message(b, 1), SIZE);
    memcpy(buf + SIZE, "\r\n\r\n", 4);
    audit_check_end(&b->check, AUDIT_END_RESET, buf, WIRE - 1, b->now);
    ASSERT_FATES(b, .sent = 2, .echoed = 1, .failed_reset = 1, .cut = 1);
    assert_true(audit_counts_is_o1(&b->counts) && audit_counts_is_o2(&b->counts));
}

static void audit_check__tail_is_no_beginning__corrupted(void **state)
{
    struct bench *b = *state;

    send_n(b, 2);
    echo(b, 0);
    audit_check_end(&b->check, AUDIT_END_CLOSED, message(b, 0), 30, b->now);
    ASSERT_FATES(b, .sent = 2, .echoed = 1, .corrupted = 1, .cut = 1);
}

static void audit_check__tail_after_all_replies__foreign(void **state)
{
    struct bench *b = *state;

    send_n(b, 1);
    echo(b, 0);
    audit_check_end(&b->check, AUDIT_END_CLOSED, (const uint8_t *)"x", 1, b->now);
    ASSERT_FATES(b, .sent = 1, .echoed = 1, .foreign = 1, .cut = 1);
}

static void audit_check_room__outstanding__bounded_by_the_depth(void **state)
{
    struct bench *b = *state;

    send_n(b, DEPTH);
    assert_int_equal(audit_check_room(&b->check), 0);
    echo(b, 1); /* the oldest still holds its place */
    assert_int_equal(audit_check_room(&b->check), 0);
    echo(b, 0);
    assert_int_equal(audit_check_room(&b->check), 2);
    send_n(b, 2);
    for (uint32_t s = 2; s < DEPTH + 2; s++)
        echo(b, s);
    assert_int_equal(audit_check_room(&b->check), DEPTH);
    ASSERT_FATES(b, .sent = DEPTH + 2, .echoed = DEPTH + 1, .reordered = 1);
}

static void audit_check__stall__longest_wait_without_a_byte(void **state)
{
    struct bench *b = *state;

    b->now = 100;
    audit_check_queued(&b->check, SIZE);
    audit_check_written(&b->check, WIRE - 1, b->now);
    b->now = 100000; /* our own slowness is no stall */
    audit_check_written(&b->check, 1, b->now);
    b->now += 50;
    audit_check_received(&b->check, 10, b->now); /* a beginning of the reply */
    assert_int_equal(b->stall.ns, 50);
    assert_int_equal(b->stall.at_ns, 100000);
    b->now += 30;
    echo(b, 0);
    assert_int_equal(b->stall.ns, 50);
    b->now += 1000000; /* nothing is due */
    send_n(b, 2);
    b->now += 70;
    echo(b, 1);
    assert_int_equal(b->stall.ns, 70);
    b->now += 90; /* the second one is still due, until the end */
    end(b, AUDIT_END_CLOSED);
    assert_int_equal(b->stall.ns, 90);
    assert_int_equal(b->stall.at_ns, b->now - 90);
}

static void audit_check__stall__a_peer_that_takes_no_bytes(void **state)
{
    struct bench *b = *state;

    audit_check_queued(&b->check, SIZE);
    audit_check_written(&b->check, 10, b->now);
    audit_check_blocked(&b->check, b->now);
    b->now += 20; /* it takes some, and blocks again */
    audit_check_written(&b->check, 10, b->now);
    audit_check_blocked(&b->check, b->now);
    b->now += 30;
    audit_check_blocked(&b->check, b->now); /* asked once more, for another reason */
    b->now += 30;
    audit_check_written(&b->check, WIRE - 20, b->now);
    assert_int_equal(b->stall.ns, 60);
    assert_int_equal(b->stall.at_ns, b->now - 60);
    b->now += 40;
    echo(b, 0);
    b->now += 1000; /* nothing is due */
    send_n(b, 1);
    assert_int_equal(b->stall.ns, 60);
    audit_check_queued(&b->check, SIZE);
    b->now += 50; /* a reply is due: what we write meanwhile is no reply */
    audit_check_written(&b->check, 10, b->now);
    b->now += 50;
    echo(b, 1);
    assert_int_equal(b->stall.ns, 100);
}

/* The first message is lost, and all that may follow has come back: silence, with a reply due. */
static void audit_check__stall__of_a_lane_behind_a_lost_message(void **state)
{
    struct bench *b = *state;
    uint64_t silent_since;

    send_n(b, DEPTH);
    for (uint32_t s = 1; s < DEPTH; s++)
        echo(b, s);
    assert_int_equal(audit_check_room(&b->check), 0);
    silent_since = b->now;
    b->now += 10000;
    end(b, AUDIT_END_TIMEOUT);
    assert_int_equal(b->stall.ns, 10000);
    assert_int_equal(b->stall.at_ns, silent_since);
    ASSERT_FATES(b, .sent = DEPTH, .echoed = DEPTH - 1, .lost = 1);
}

struct echoed {
    unsigned n;
    uint64_t written_ns, now_ns; /* of the last one */
};

static void on_echoed(void *data, uint64_t written_ns, uint64_t now_ns)
{
    struct echoed *e = data;

    *e = (struct echoed){e->n + 1, written_ns, now_ns};
}

static void audit_check__echoed__told_from_the_last_byte_out_to_the_last_byte_in(void **state)
{
    struct bench *b = *state;
    struct echoed e = {0};

    b->check.on_echoed = on_echoed;
    b->check.on_echoed_data = &e;
    audit_check_queued(&b->check, SIZE);
    audit_check_queued(&b->check, SIZE);
    audit_check_written(&b->check, WIRE - 1, 100);
    audit_check_written(&b->check, 2, 250);
    audit_check_written(&b->check, WIRE - 1, 300);
    b->now = 400;
    echo(b, 0);
    assert_true(e.n == 1 && e.written_ns == 250 && e.now_ns == 400);
    b->now = 900;
    frame(b, message(b, 1), SIZE - 1); /* not as it was sent */
    assert_int_equal(e.n, 1);
}

static void audit_check__many_incidents__all_counted_some_kept(void **state)
{
    struct bench *b = *state;

    send_n(b, 1);
    for (unsigned i = 0; i < AUDIT_INCIDENTS_MAX + 10; i++)
        echo(b, 5);
    assert_int_equal(b->incidents.n, AUDIT_INCIDENTS_MAX);
    assert_int_equal(b->incidents.n_all, AUDIT_INCIDENTS_MAX + 10);
}

/* ---- histories by seed ---- */

enum mischief { ECHO, LOSE, DUPLICATE, DELAY, TRUNCATE, CORRUPT, SPOIL_HEADER, FOREIGN, MISCHIEFS };

struct history {
    uint64_t rng;
    struct audit_counts want;
    uint32_t held[DEPTH]; /* delayed: come back after a later one */
    size_t n_held;
    bool has_gap; /* lost or held ones below: a reply without header cannot be told apart */
};

static void release_one(struct bench *b, struct history *h)
{
    size_t i = rng_below(&h->rng, h->n_held);

    echo(b, h->held[i]);
    h->held[i] = h->held[--h->n_held];
    h->want.reordered++;
}

static void make_foreign(struct bench *b, struct history *h, uint32_t sequence)
{
    struct audit_identity other = b->check.id;
    uint8_t buf[SIZE];

    other.connection += 1 + (uint32_t)rng_below(&h->rng, 9);
    audit_message_write(&other, &b->rule, sequence, buf, SIZE);
    frame(b, buf, SIZE);
    h->want.foreign++;
}

static void act(struct bench *b, struct history *h, enum mischief m, uint32_t s)
{
    switch (m) {
    case LOSE:
        h->want.lost++;
        h->has_gap = true;
        return;
    case DELAY:
        h->held[h->n_held++] = s;
        h->has_gap = true;
        return;
    case TRUNCATE:
        frame(b, message(b, s), AUDIT_HEADER_BYTES + rng_below(&h->rng, SIZE - AUDIT_HEADER_BYTES));
        h->want.truncated++;
        return;
    case CORRUPT:
        damaged(b, s, AUDIT_HEADER_BYTES + rng_below(&h->rng, SIZE - AUDIT_HEADER_BYTES));
        h->want.corrupted++;
        return;
    case SPOIL_HEADER:
        damaged(b, s, rng_below(&h->rng, AUDIT_HEADER_BYTES));
        h->want.corrupted++;
        return;
    case DUPLICATE:
        echo(b, s);
        echo(b, s);
        h->want.echoed++;
        h->want.duplicated++;
        return;
    case FOREIGN:
        make_foreign(b, h, s);
        /* fall through */
    default:
        echo(b, s);
        h->want.echoed++;
    }
}

static void play(struct bench *b, uint64_t seed)
{
    struct history h = {.rng = seed};
    unsigned n = 2 + (unsigned)rng_below(&h.rng, 60), unanswered = (unsigned)rng_below(&h.rng, 4);
    enum audit_end how = (enum audit_end)rng_below(&h.rng, 3);
    uint64_t *failed = how == AUDIT_END_CLOSED  ? &h.want.failed_closed
                       : how == AUDIT_END_RESET ? &h.want.failed_reset
                                                : &h.want.failed_timeout;

    send_n(b, n + unanswered);
    for (uint32_t s = 0; s < n; s++) {
        enum mischief m = (enum mischief)rng_below(&h.rng, MISCHIEFS);

        if (s + 1 == n || (m == SPOIL_HEADER && h.has_gap))
            m = ECHO; /* the last one comes back, so that a gap before it is one */
        act(b, &h, m, s);
        if (h.n_held > 0 && b->check.next > h.held[h.n_held - 1] && rng_below(&h.rng, 3) == 0)
            release_one(b, &h);
    }
    while (h.n_held > 0)
        release_one(b, &h);
    h.want.sent = n + unanswered;
    *failed = unanswered;
    h.want.bytes_sent = b->counts.bytes_sent;
    h.want.bytes_received = b->counts.bytes_received;
    end(b, how);
    assert_counts_equal(&b->counts, &h.want);
    assert_accounted(&b->counts);
}

static void audit_check__random_histories__exact_numbers(void **state)
{
    struct audit_counts all = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct bench *b;

        bench_setup((void **)&b);
        play(b, seed);
        audit_counts_add(&all, &b->counts);
        bench_teardown((void **)&b);
    }
    /* Each kind of mischief was played. */
    assert_true(all.lost && all.reordered && all.duplicated && all.truncated && all.corrupted);
    assert_true(all.foreign && all.failed_closed && all.failed_reset && all.failed_timeout);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(audit_check__all_echoed__clean),
        WITH_BENCH(audit_check__ended_with_messages_outstanding__visibly_failed),
        WITH_BENCH(audit_check__partly_written__sent_from_its_first_byte_on),
        WITH_BENCH(audit_check__gap__lost),
        WITH_BENCH(audit_check__late__reordered_not_lost),
        WITH_BENCH(audit_check__twice__duplicated),
        WITH_BENCH(audit_check__any_proper_beginning__truncated),
        WITH_BENCH(audit_check__any_byte_changed__corrupted),
        WITH_BENCH(audit_check__separator_swallowed__corrupted_and_lost),
        WITH_BENCH(audit_check__not_ours__foreign),
        WITH_BENCH(audit_check__reply_to_what_is_not_written__foreign),
        WITH_BENCH(audit_check__same_header_other_payload__corrupted),
        WITH_BENCH(audit_check__tail_is_a_beginning__cut_and_visibly_failed),
        WITH_BENCH(audit_check__tail_is_no_beginning__corrupted),
        WITH_BENCH(audit_check__tail_after_all_replies__foreign),
        WITH_BENCH(audit_check_room__outstanding__bounded_by_the_depth),
        WITH_BENCH(audit_check__stall__longest_wait_without_a_byte),
        WITH_BENCH(audit_check__stall__a_peer_that_takes_no_bytes),
        WITH_BENCH(audit_check__stall__of_a_lane_behind_a_lost_message),
        WITH_BENCH(audit_check__echoed__told_from_the_last_byte_out_to_the_last_byte_in),
        WITH_BENCH(audit_check__many_incidents__all_counted_some_kept),
        cmocka_unit_test(audit_check__random_histories__exact_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
