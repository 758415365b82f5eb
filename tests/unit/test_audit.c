/*
 * The audit as a whole, against a server in the same loop that is honest, or not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/audit_text.h"
#include "client/outcome.h"
#include "support/toy.h"

struct bench {
    struct ev_loop *loop;
    struct toy toy;
    struct audit_options options;
    struct audit *audit;
};

static int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    b->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    assert_non_null(b->loop);
    *state = b;
    return 0;
}

static void end(struct bench *b)
{
    audit_free(b->audit);
    b->audit = NULL;
}

static int bench_teardown(void **state)
{
    struct bench *b = *state;

    end(b);
    toy_stop(&b->toy);
    ev_loop_destroy(b->loop);
    free(b);
    return 0;
}

/* A toy and options for it: as fast as replies come, 40 messages a lane. */
static void prepare(struct bench *b, enum toy_mischief mischief, uint64_t at)
{
    toy_start(&b->toy, b->loop, mischief, at);
    audit_options_init(&b->options, b->toy.addr);
    b->options.lanes = 8;
    b->options.think_min_ms = b->options.think_max_ms = 0;
    b->options.messages = 40;
    b->options.size_max = 5000;
    b->options.reconnect_ms = 1;
}

static void start(struct bench *b)
{
    assert_int_equal(audit_start(b->loop, &b->options, &b->audit), 0);
}

static struct audit_counts finish(struct bench *b)
{
    while (!audit_is_done(b->audit))
        ev_run(b->loop, EVRUN_ONCE);
    return audit_result(b->audit).total.counts;
}

static struct audit_counts run(struct bench *b)
{
    start(b);
    return finish(b);
}

static void audit__honest_server__all_echoed_in_the_planned_connections(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    b->options.lanes = 12;
    b->options.churn_lanes = 4;
    b->options.churn_messages = 9;
    b->options.slow_lanes = 3;
    b->options.slow_size = 100000;
    b->options.slow_pieces = 7;
    b->options.slow_gap_min_ms = b->options.slow_gap_max_ms = 1;
    c = run(b);
    assert_int_equal(c.sent, 12 * 40);
    assert_int_equal(c.echoed, 12 * 40);
    assert_int_equal(c.connected, 4 * 5 + 8); /* 40 messages are five connections of nine */
    assert_int_equal(c.finished, c.connected);
    assert_int_equal(c.bytes_received, c.bytes_sent);
    assert_in_range(c.bytes_sent, 3 * 40 * 100000, UINT64_MAX);
    assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
    assert_int_equal(audit_result(b->audit).incidents->n_all, 0);
}

/* Four connections on each of three lanes, begun 20 ms apart at least: not faster than that. */
static void audit__connections_at_a_rate__not_before_they_are_due(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    b->options.lanes = b->options.churn_lanes = 3;
    b->options.churn_messages = 10;
    b->options.churn_every_ms = 20;
    c = run(b);
    assert_int_equal(c.connected, 3 * 4);
    assert_int_equal(c.finished, c.connected);
    assert_in_range(audit_result(b->audit).duration_ns, 3 * 20 * 1000000, UINT64_MAX);
}

static void audit_inside__slow_lanes__while_a_message_is_sent_in_part(void **state)
{
    struct bench *b = *state;

    prepare(b, TOY_HONEST, 0);
    b->options.slow_lanes = 5;
    b->options.slow_size = 1000;
    b->options.slow_pieces = 2;
    b->options.slow_gap_min_ms = b->options.slow_gap_max_ms = 60000;
    start(b);
    while (audit_result(b->audit).total.counts.finished < 3)
        ev_run(b->loop, EVRUN_ONCE);
    assert_int_equal(audit_inside(b->audit), 5);
    assert_int_equal(audit_talking(b->audit), 5);
}

static void audit__pauses_between_messages__all_echoed(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    b->options.think_max_ms = 3;
    b->options.is_half_closing = false;
    c = run(b);
    assert_int_equal(c.echoed, 8 * 40);
    assert_int_equal(c.finished, 8);
}

static void audit__other_separators__all_echoed(void **state)
{
    static const char *const separators[] = {"\n", "xx", "~\r", "\n\r\n\n"};
    struct bench *b = *state;

    prepare(b, TOY_HONEST, 0);
    for (size_t i = 0; i < ARRAY_SIZE(separators); i++) {
        struct audit_counts c;

        b->options.separator_len = strlen(separators[i]);
        memcpy(b->options.separator, separators[i], b->options.separator_len);
        c = run(b);
        assert_int_equal(c.echoed, 8 * 40);
        assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
        end(b);
    }
}

static void audit__server_closes__visibly_failed_and_accounted(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_CLOSE, 7001);
    c = run(b);
    assert_in_range(c.closed, 8, UINT64_MAX);
    assert_in_range(c.failed_closed, 8, UINT64_MAX);
    assert_in_range(c.cut, 1, c.closed);
    assert_in_range(c.echoed, 1, UINT64_MAX);
    assert_int_equal(c.reset + c.given_up + c.failed_reset + c.failed_timeout, 0);
    assert_int_equal(c.connected, c.closed + c.finished);
    assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
}

/* Between two connections nothing can be sent, and that is time in which nothing came. */
static void audit__no_connection__a_stall(void **state)
{
    struct bench *b = *state;
    struct audit_result r;

    prepare(b, TOY_CLOSE, 7001);
    b->options.reconnect_ms = 70;
    run(b);
    r = audit_result(b->audit);
    for (size_t lane = 0; lane < r.n_lanes; lane++)
        assert_in_range(r.lanes[lane].stall.ns, 70000000, UINT64_MAX);
}

static struct audit_tally run_with_seed(struct bench *b, uint64_t seed, uint32_t number)
{
    struct audit_tally t;

    b->options.seed = seed;
    b->options.run = number;
    run(b);
    t = audit_result(b->audit).total;
    end(b);
    return t;
}

static void audit__same_seed_in_another_run__same_sizes(void **state)
{
    struct bench *b = *state;
    uint64_t bytes;

    prepare(b, TOY_HONEST, 0);
    b->options.churn_lanes = 3;
    bytes = run_with_seed(b, 7, 1).counts.bytes_sent;
    assert_int_equal(run_with_seed(b, 7, 2).counts.bytes_sent, bytes);
    assert_int_not_equal(run_with_seed(b, 8, 1).counts.bytes_sent, bytes);
    b->options.depth = 1; /* other turns and other pauses, which must not touch the sizes */
    b->options.think_min_ms = 0;
    b->options.think_max_ms = 2;
    assert_int_equal(run_with_seed(b, 7, 3).counts.bytes_sent, bytes);
}

/* The end of file comes exactly between two replies, with messages outstanding. */
static void audit__server_closes_on_a_boundary__closed_not_lost(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_CLOSE, 5 * (100 + 4));
    b->options.size_min = b->options.size_max = 100;
    b->options.is_reconnecting = false;
    c = run(b);
    assert_int_equal(c.closed, 8);
    assert_int_equal(c.cut, 0);
    assert_int_equal(c.echoed, 8 * 5);
    assert_in_range(c.failed_closed, 8, 8 * 4);
    assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
}

static void audit__server_resets__visibly_failed_and_accounted(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_RESET, 7001);
    c = run(b);
    assert_in_range(c.reset, 8, UINT64_MAX);
    assert_in_range(c.failed_reset, 8, UINT64_MAX);
    assert_int_equal(c.connected, c.reset + c.finished);
    assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
}

static void audit__server_falls_silent__given_up_and_stalled(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_SILENT, 7001);
    b->options.reply_timeout_ms = 60;
    b->options.is_reconnecting = false;
    c = run(b);
    assert_int_equal(c.given_up, 8);
    assert_in_range(c.failed_timeout, 8, 8 * 4);
    assert_in_range(audit_result(b->audit).total.stall.ns, 60000000, UINT64_MAX);
    assert_true(audit_counts_is_o1(&c) && audit_counts_is_o2(&c));
}

static void audit__server_changes_a_byte__noticed(void **state)
{
    static const enum toy_mischief mischiefs[] = {TOY_FLIP, TOY_SKIP, TOY_REPEAT};
    struct bench *b = *state;

    for (size_t i = 0; i < ARRAY_SIZE(mischiefs); i++) {
        struct audit_counts c;

        if (b->toy.loop) {
            end(b);
            toy_stop(&b->toy);
        }
        prepare(b, mischiefs[i], 7001);
        b->options.reply_timeout_ms = 100;
        b->options.is_reconnecting = false;
        c = run(b);
        /* Whatever the byte was of, each lane has one message at least that is not as it was. */
        for (size_t lane = 0; lane < 8; lane++)
            assert_false(audit_counts_is_o1(&audit_result(b->audit).lanes[lane].counts));
        assert_in_range(c.corrupted + c.truncated, 8, UINT64_MAX);
    }
}

static void audit__nobody_listens__refused_and_done(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    close(b->toy.accept.fd);
    b->toy.accept.fd = dup(STDERR_FILENO); /* something for toy_stop to close */
    ev_io_stop(b->loop, &b->toy.accept);
    b->options.is_reconnecting = false;
    c = run(b);
    assert_int_equal(c.refused, 8);
    assert_int_equal(c.connected + c.sent, 0);
}

struct stopper {
    ev_check check;
    struct bench *bench;
};

static void on_turn(struct ev_loop *loop, ev_check *w, int revents)
{
    struct stopper *s = container_of(w, struct stopper, check);

    (void)revents;
    if (audit_result(s->bench->audit).total.counts.echoed < 200)
        return;
    audit_stop(s->bench->audit);
    ev_check_stop(loop, w);
}

static void audit_stop__in_full_traffic__nothing_fails(void **state)
{
    struct bench *b = *state;
    struct stopper s = {.bench = b};
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    b->options.messages = 0;
    b->options.churn_lanes = 3;
    b->options.slow_lanes = 2;
    b->options.slow_size = 20000;
    b->options.slow_pieces = 5;
    b->options.slow_gap_min_ms = b->options.slow_gap_max_ms = 2;
    start(b);
    ev_check_init(&s.check, on_turn);
    ev_check_start(b->loop, &s.check);
    c = finish(b);
    assert_in_range(c.echoed, 200, UINT64_MAX);
    assert_int_equal(c.echoed, c.sent);
    assert_int_equal(c.finished, c.connected);
}

static void audit_stop__while_connecting__told_apart(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    start(b);
    ev_run(b->loop, EVRUN_ONCE); /* each lane has begun to connect */
    audit_stop(b->audit);
    c = finish(b);
    assert_int_equal(c.abandoned, 8);
    assert_int_equal(c.connected + c.refused + c.unconnected + c.sent, 0);
}

static void audit_free__in_full_traffic__leaves_nothing(void **state)
{
    struct bench *b = *state;

    prepare(b, TOY_HONEST, 0);
    start(b);
    while (audit_result(b->audit).total.counts.echoed < 50)
        ev_run(b->loop, EVRUN_ONCE);
    end(b);
    while (!list_is_empty(&b->toy.conns)) /* it sees every connection end */
        ev_run(b->loop, EVRUN_ONCE);
}

static void audit_start__bad_address__refused(void **state)
{
    struct bench *b = *state;

    prepare(b, TOY_HONEST, 0);
    b->options.address = "no port";
    assert_int_equal(audit_start(b->loop, &b->options, &b->audit), -EINVAL);
    assert_null(b->audit);
}

static void audit__duration__ends_by_itself(void **state)
{
    struct bench *b = *state;
    struct audit_counts c;

    prepare(b, TOY_HONEST, 0);
    audit_options_init(&b->options, "127.0.0.1:1"); /* nobody has a server on port 1 */
    b->options.duration_ms = 50;
    c = run(b);
    assert_int_equal(c.connected, 0);
    assert_in_range(c.refused, 16, UINT64_MAX);
    assert_in_range(audit_result(b->audit).duration_ns, 50000000, UINT64_MAX);
}

static void audit_json__any__has_every_count(void **state)
{
    struct bench *b = *state;
    struct audit_result r;
    static const struct timeline timeline;
    const struct audit_limits limits = {.max_stall_ns = UINT64_MAX};
    struct audit_counts c;
    json_t *o, *incident;

    prepare(b, TOY_CLOSE, 7001);
    b->options.is_reconnecting = false;
    c = run(b);
    r = audit_result(b->audit);
    o = audit_json(&r, &timeline, &limits);
#define X(field, help) assert_int_equal(json_integer_value(json_object_get(o, #field)), c.field);
    AUDIT_COUNTS(X)
#undef X
    assert_true(json_is_true(json_object_get(o, "o1")) && json_is_true(json_object_get(o, "o2")));
    assert_true(json_is_real(json_object_get(json_object_get(o, "stall"), "duration_ms")));
    assert_int_equal(r.echoed->n, c.echoed);
    assert_true(json_real_value(json_object_get(json_object_get(o, "echoed_ms"), "p99.9")) > 0);
    assert_int_equal(json_array_size(json_object_get(o, "lanes")), 8);
    assert_int_equal(json_array_size(json_object_get(o, "incidents")), c.failed_closed);
    incident = json_array_get(json_object_get(o, "incidents"), 0);
    assert_string_equal(json_string_value(json_object_get(incident, "what")), "failed_closed");
    assert_true(json_integer_value(json_object_get(incident, "port")) > 0);
    json_decref(o);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(audit__honest_server__all_echoed_in_the_planned_connections),
        WITH_BENCH(audit__connections_at_a_rate__not_before_they_are_due),
        WITH_BENCH(audit_inside__slow_lanes__while_a_message_is_sent_in_part),
        WITH_BENCH(audit__pauses_between_messages__all_echoed),
        WITH_BENCH(audit__other_separators__all_echoed),
        WITH_BENCH(audit__server_closes__visibly_failed_and_accounted),
        WITH_BENCH(audit__server_closes_on_a_boundary__closed_not_lost),
        WITH_BENCH(audit__server_resets__visibly_failed_and_accounted),
        WITH_BENCH(audit__no_connection__a_stall),
        WITH_BENCH(audit__same_seed_in_another_run__same_sizes),
        WITH_BENCH(audit__server_falls_silent__given_up_and_stalled),
        WITH_BENCH(audit__server_changes_a_byte__noticed),
        WITH_BENCH(audit__nobody_listens__refused_and_done),
        WITH_BENCH(audit_stop__in_full_traffic__nothing_fails),
        WITH_BENCH(audit_stop__while_connecting__told_apart),
        WITH_BENCH(audit_free__in_full_traffic__leaves_nothing),
        WITH_BENCH(audit_start__bad_address__refused),
        WITH_BENCH(audit__duration__ends_by_itself),
        WITH_BENCH(audit_json__any__has_every_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
