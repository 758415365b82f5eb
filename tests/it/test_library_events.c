/*
 * Events: which come, in which order, how often; and handlers that change the world meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/rig.h"

static void note(struct rig *r, const char *text)
{
    size_t len = strlen(r->trace);

    assert_true(len + strlen(text) + 2 < sizeof(r->trace));
    snprintf(r->trace + len, sizeof(r->trace) - len, "%s ", text);
}

/* "pre_request(a)", "connection_lost:closed", "data_received(a)=5" */
static void on_event(const struct arb_event *e, void *userdata)
{
    struct rig *r = userdata;
    char text[128];

    assert_ptr_equal(e->client, r->client);
    assert_true(!e->connection == (e->kind == ARB_FINISH));
    snprintf(text, sizeof(text), "%s", arb_event_name(e->kind));
    if (e->call)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "(%c)",
                 *(const char *)arb_call_message(e->call, NULL));
    if (e->len)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "=%zu", e->len);
    if (e->status)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), ":%s",
                 arb_status_name(e->status));
    note(r, text);
}

static void bind_all(struct rig *r)
{
    for (int kind = 0; kind < ARB_EVENTS; kind++)
        assert_int_equal(arb_client_bind(r->client, (enum arb_event_kind)kind, on_event, r),
                         ARB_OK);
}

static void note_done(struct rig *r, struct arb_call *call)
{
    char text[] = {'<', *(const char *)arb_call_message(call, NULL), '>', '\0'};

    note(r, text);
}

static void events__two_calls__in_order(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    bind_all(&r);
    r.in_handler = note_done;
    rig_start(&r, 0);
    rig_drive(&r);
    rig_start(&r, 0);
    rig_drive(&r);
    arb_client_close(r.client);
    assert_string_equal(r.trace,
                        "connection_made pre_request(a) data_received(a)=5 post_request(a) "
                        "data_processed=5 <a> pre_request(b) data_received(b)=5 post_request(b) "
                        "data_processed=5 <b> connection_lost:pool_closed finish:pool_closed ");
    rig_close(&r);
}

static void events__reply_lost_and_retried__a_pair_each_time(void **state UNUSED)
{
    struct arb_call_options o;
    struct rig r;

    rig_open(&r, 1, 1);
    bind_all(&r);
    r.in_handler = note_done;
    arb_call_options_init(&o);
    o.retries = 1;
    faulty_arm(r.server, FAULT_CLOSE, 0, 1);
    assert_int_equal(rig_try(&r, &o), ARB_OK);
    rig_drive(&r);
    assert_string_equal(r.trace,
                        "connection_made pre_request(a) post_request(a):closed "
                        "connection_lost:closed "
                        "connection_made pre_request(a) data_received(a)=5 post_request(a) "
                        "data_processed=5 <a> ");
    assert_int_equal(r.status[0], ARB_OK);
    rig_close(&r);
}

static void events__wrong_reply__seen_before_it_is_judged(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    bind_all(&r);
    faulty_arm(r.server, FAULT_CORRUPT, 0, 1);
    rig_start(&r, 0);
    rig_drive(&r);
    assert_non_null(strstr(r.trace, "pre_request(a) data_received(a)="));
    assert_non_null(strstr(r.trace, "post_request(a):mismatch connection_lost:mismatch "));
    rig_close(&r);
}

/* The call has what it wanted; why its connection is not used again is told all the same. */
static void events__bytes_behind_a_reply__lost_as_unexpected(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    bind_all(&r);
    faulty_arm(r.server, FAULT_TWICE, 0, 1);
    rig_start(&r, 0);
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_OK);
    MUST_COME((rig_turn(&r), strstr(r.trace, "connection_lost")), "it stays open: %s", r.trace);
    assert_non_null(strstr(r.trace, "connection_lost:unexpected "));
    rig_must_be_well(&r);
    rig_close(&r);
}

static void events__call_times_out_on_its_way__lost_as_timeout(void **state UNUSED)
{
    struct arb_call_options o;
    struct rig r;

    rig_open(&r, 1, 1);
    bind_all(&r);
    arb_call_options_init(&o);
    o.timeout_ms = 20;
    faulty_arm(r.server, FAULT_STALL, 2, 1);
    assert_int_equal(rig_try(&r, &o), ARB_OK);
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_TIMEOUT);
    assert_non_null(strstr(r.trace, "post_request(a):timeout connection_lost:timeout "));
    rig_must_be_well(&r);
    rig_close(&r);
}

static void events__server_closes_an_idle_connection__noticed_by_the_loop(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    rig_start(&r, 0);
    rig_drive(&r);
    bind_all(&r);
    assert_int_equal(rig_counters(r.client).available, 1);
    faulty_close_all(r.server);
    MUST_COME((rig_turn(&r), rig_counters(r.client).available) == 0, "not noticed");
    assert_string_equal(r.trace, "connection_lost:closed ");
    rig_must_be_well(&r);
    rig_close(&r);
}

static void connection_bind__one_time_events__late_ones_hear_at_once(void **state UNUSED)
{
    struct arb_connection *connection;
    struct arb_call *call = NULL;
    struct rig r;

    rig_open(&r, 1, 1);
    assert_int_equal(arb_connect(r.client, NULL, &call), ARB_OK);
    connection = arb_call_connection(call);
    assert_int_equal(arb_connection_bind(connection, ARB_CONNECTION_MADE, on_event, &r), ARB_OK);
    assert_string_equal(r.trace, "connection_made ");
    assert_int_equal(arb_connection_bind(connection, ARB_CONNECTION_LOST, on_event, &r), ARB_OK);
    assert_int_equal(arb_connection_bind(connection, ARB_DATA_RECEIVED, on_event, &r), ARB_OK);
    assert_string_equal(r.trace, "connection_made ");
    MUST_COME(faulty_open(r.server) == 1, "not accepted");
    faulty_close_all(r.server);
    MUST_COME((rig_turn(&r), rig_in_use(&r)) == 0, "not noticed");
    assert_string_equal(r.trace, "connection_made connection_lost:closed ");
    assert_int_equal(arb_connection_fd(connection), -1);
    assert_int_equal(arb_connection_bind(connection, ARB_CONNECTION_LOST, on_event, &r), ARB_OK);
    assert_string_equal(r.trace, "connection_made connection_lost:closed connection_lost:closed ");
    arb_call_free(call);
    rig_close(&r);
}

static void client_bind__unbound_and_bound_twice__as_many_calls(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    assert_int_equal(arb_client_bind(r.client, ARB_PRE_REQUEST, on_event, &r), ARB_OK);
    assert_int_equal(arb_client_bind(r.client, ARB_PRE_REQUEST, on_event, &r), ARB_OK);
    assert_int_equal(arb_client_bind(r.client, (enum arb_event_kind)ARB_EVENTS, on_event, &r),
                     ARB_INVALID);
    assert_int_equal(arb_client_bind(r.client, ARB_PRE_REQUEST, NULL, &r), ARB_INVALID);
    assert_null(arb_event_name((enum arb_event_kind)ARB_EVENTS));
    rig_must_be_well(&r);
    assert_string_equal(r.trace, "pre_request(w) pre_request(w) ");
    arb_client_unbind(r.client, ARB_PRE_REQUEST, on_event, &r);
    arb_client_unbind(r.client, ARB_POST_REQUEST, on_event, &r); /* was never bound */
    rig_must_be_well(&r);
    assert_string_equal(r.trace, "pre_request(w) pre_request(w) pre_request(w) ");
    arb_client_unbind(r.client, ARB_PRE_REQUEST, on_event, &r);
    arb_client_unbind(r.client, ARB_PRE_REQUEST, on_event, &r);
    rig_must_be_well(&r);
    assert_string_equal(r.trace, "pre_request(w) pre_request(w) pre_request(w) ");
    rig_close(&r);
}

/* ---- handlers that change the world ---- */

/* What one handler does, for each event in turn. */
enum deed { CANCEL, START, CLOSE, FREE, UNBIND, DEEDS };

struct mischief {
    struct rig *r;
    enum deed deed;
    enum arb_event_kind kind;
    bool is_done;
};

static void on_mischief(const struct arb_event *e, void *userdata)
{
    struct mischief *m = userdata;
    struct rig *r = m->r;

    if (m->is_done)
        return;
    m->is_done = true;
    switch (m->deed) {
    case CANCEL:
        for (unsigned i = 0; i < r->n_started; i++)
            if (!strchr(r->order, (int)('a' + i)))
                arb_call_cancel(r->calls[i]);
        break;
    case START:
        rig_start(r, 0);
        break;
    case CLOSE:
        arb_client_close(r->client);
        break;
    case FREE:
        arb_client_free(r->client);
        r->client = NULL;
        break;
    default:
        arb_client_unbind(e->client, m->kind, on_mischief, m);
        break;
    }
}

/* Whatever is done in whichever event: each call ends once, the loop ends, nothing leaks. */
static void one_mischief(enum arb_event_kind kind, enum deed deed, unsigned pipeline)
{
    struct rig r;
    struct mischief m = {&r, deed, kind, false};

    rig_open(&r, 2, pipeline);
    assert_int_equal(arb_client_bind(r.client, kind, on_mischief, &m), ARB_OK);
    if (kind == ARB_CONNECTION_LOST)
        faulty_arm(r.server, FAULT_RESET, 2, 1);
    for (int i = 0; i < 7; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    assert_true(m.is_done);
    if (r.client && deed != CLOSE)
        rig_must_be_well(&r);
    rig_close(&r);
}

static void events__handlers_that_cancel_start_close_free__each_call_told_once(void **state UNUSED)
{
    for (int kind = 0; kind < ARB_FINISH; kind++)
        for (int deed = 0; deed < DEEDS; deed++)
            for (unsigned pipeline = 1; pipeline <= 4; pipeline += 3)
                one_mischief((enum arb_event_kind)kind, (enum deed)deed, pipeline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events__two_calls__in_order),
        cmocka_unit_test(events__reply_lost_and_retried__a_pair_each_time),
        cmocka_unit_test(events__wrong_reply__seen_before_it_is_judged),
        cmocka_unit_test(events__bytes_behind_a_reply__lost_as_unexpected),
        cmocka_unit_test(events__call_times_out_on_its_way__lost_as_timeout),
        cmocka_unit_test(events__server_closes_an_idle_connection__noticed_by_the_loop),
        cmocka_unit_test(connection_bind__one_time_events__late_ones_hear_at_once),
        cmocka_unit_test(client_bind__unbound_and_bound_twice__as_many_calls),
        cmocka_unit_test(events__handlers_that_cancel_start_close_free__each_call_told_once),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
