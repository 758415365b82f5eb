/*
 * The tables of src/net/conn.md and src/net/move.md against the code: each cell is one test case,
 * with a real connection or the real rules. Run from the top of the tree.
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
#include "base/util.h"
#include "net/conn_impl.h"
#include "net/move_rules.h"
#include "support/conn_rig.h"
#include "support/lines.h"
#include "support/tables.h"

/* ---- connections ---- */

enum { MAX_MESSAGE = 4096, MESSAGE_LEN = 1024, DEADLINES_MS = 60000 };

static const struct conn_limits limits = {.keep_alive_ms = 10000,
                                          .message_timeout_ms = 20000,
                                          .write_timeout_ms = 30000,
                                          .max_buffered = 64 << 20};

static const char *const phases[] = {
    [CONN_DELIVERING] = "delivering", [CONN_LINGERING] = "lingering"};

static const char *const ends[CONN_ENDS] = {
    [CONN_END_PEER] = "peer",
    [CONN_END_PARTIAL] = "partial",
    [CONN_END_QUIT] = "quit",
    [CONN_END_RESET] = "reset",
    [CONN_END_ERROR] = "error",
    [CONN_END_TOO_BIG] = "too_big",
    [CONN_END_MESSAGE_TIMEOUT] = "message_timeout",
    [CONN_END_WRITE_TIMEOUT] = "write_timeout",
    [CONN_END_KEEP_ALIVE] = "keep_alive",
    [CONN_END_BUFFERED] = "buffered",
    [CONN_END_DRAINED] = "drained",
    [CONN_END_CUT] = "cut",
    [CONN_END_EVICTED] = "evicted",
    [CONN_END_OWING] = "owing",
    [CONN_END_BROKEN] = "broken",
    [CONN_END_PROXY] = "proxy",
    [CONN_END_MAX_PER_SOURCE] = "max_per_source",
    [CONN_END_ACCEPT_RATE] = "accept_rate",
};

static struct arb_conn *only_conn(const struct rig *r)
{
    return list_is_empty(&r->set.all) ? NULL : container_of(r->set.all.next, struct arb_conn, link);
}

/* The one counter of closed connections that is not zero, without "closed_". */
static const char *closed_as(const struct rig *r)
{
    static const struct {
        const char *name;
        size_t offset;
    } all[] = {
#define X(name, help) {#name, offsetof(struct counters, name)},
        COUNTERS(X)
#undef X
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (strncmp(all[i].name, "closed_", 7) == 0 &&
            counter_get((const counter_t *)((const char *)&r->counters + all[i].offset)) > 0)
            return all[i].name + 7;
    return "nothing";
}

/* The state of the one connection, in the words of the table. */
static const char *state_of(const struct rig *r)
{
    static char text[TABLE_CELL_LEN];
    const struct arb_conn *c = only_conn(r);

    if (!c)
        snprintf(text, sizeof(text), "closed: %s", closed_as(r));
    else if (c->phase != CONN_OPEN)
        snprintf(text, sizeof(text), "%s: %s", phases[c->phase], ends[c->end]);
    else
        strcpy(text, c->is_paused      ? "paused"
                     : c->output.block ? "sending"
                     : c->tail.block   ? "receiving"
                                       : "idle");
    return text;
}

static void send_too_long(struct rig *r, int fd)
{
    static const char bytes[MAX_MESSAGE + 100] = {'x'};

    rig_offer(r, fd, bytes, sizeof(bytes));
}

/* Whole messages, whose replies nobody reads, until the connection is in @state. */
static void send_until(struct rig *r, int fd, const char *state)
{
    uint8_t *message = rig_payload(MESSAGE_LEN - 4);

    for (size_t i = 0; i < 100000 && strcmp(state_of(r), state) != 0; i++)
        rig_send(r, fd, message, MESSAGE_LEN);
    free(message);
}

static void bring_into(struct rig *r, int fd, const char *state)
{
    if (strcmp(state, "receiving") == 0)
        rig_send_text(r, fd, "begun");
    else if (strcmp(state, "sending") == 0 || strcmp(state, "paused") == 0)
        send_until(r, fd, state);
    else if (strcmp(state, "delivering") == 0)
        send_until(r, fd, "sending");
    if (strcmp(state, "delivering") == 0 || strcmp(state, "lingering") == 0)
        send_too_long(r, fd);
    if (strncmp(state_of(r), state, strlen(state)) != 0)
        fail_msg("cannot bring a connection into '%s': it is '%s'", state, state_of(r));
}

static void reset_by_peer(int *fd)
{
    const struct linger at_once = {.l_onoff = 1};

    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(*fd);
    *fd = -1;
}

static void pass_deadline(struct rig *r, const char *(*find_state)(const struct rig *r))
{
    char before[TABLE_CELL_LEN];

    strcpy(before, find_state(r));
    for (int ms = 0; ms < DEADLINES_MS && strcmp(before, find_state(r)) == 0; ms += 500)
        rig_pass(r, 500);
}

static void happen(struct rig *r, int *fd, const char *event)
{
    if (strcmp(event, "a message") == 0)
        rig_send_text(r, *fd, "m\r\n\r\n");
    else if (strcmp(event, "part of one") == 0)
        rig_send_text(r, *fd, "part");
    else if (strcmp(event, "one that is too long") == 0)
        send_too_long(r, *fd);
    else if (strcmp(event, "end of input") == 0)
        assert_int_equal(shutdown(*fd, SHUT_WR), 0);
    else if (strcmp(event, "a reset") == 0)
        reset_by_peer(fd);
    else if (strcmp(event, "drain") == 0)
        conn_set_drain(&r->set);
    else if (strcmp(event, "cut") == 0)
        conn_set_cut(&r->set);
    else if (strcmp(event, "its deadline") == 0)
        pass_deadline(r, state_of);
    else
        fail_msg("'%s' is no event", event);
    rig_run(r);
}

static void conn__each_state_and_event__as_in_the_table(void **state UNUSED)
{
    struct table t;

    table_read("src/net/conn.md", "a message", &t);
    assert_int_equal(t.n_rows, 7);
    for (size_t row = 1; row < t.n_rows; row++)
        for (size_t column = 1; column < t.n_columns; column++) {
            struct rig r;

            rig_init(&r, &limits, MAX_MESSAGE);
            int fd = rig_connect_tcp(&r);
            bring_into(&r, fd, t.cells[row][0]);
            happen(&r, &fd, t.cells[0][column]);
            if (strcmp(state_of(&r), t.cells[row][column]) != 0)
                fail_msg("%s, then %s: '%s', and the table says '%s'", t.cells[row][0],
                         t.cells[0][column], state_of(&r), t.cells[row][column]);
            if (fd >= 0)
                close(fd);
            rig_fini(&r);
        }
}

/* ---- connections that begin with a header ---- */

static const char *header_state_of(const struct rig *r)
{
    static char text[TABLE_CELL_LEN];
    const struct arb_conn *c = only_conn(r);

    if (!c || !(c->special & CONN_AWAITS_HEADER))
        return state_of(r);
    snprintf(text, sizeof(text), "%s%s", c->special & CONN_MAY_GO_WITHOUT ? "accepted" : "required",
             c->tail.block ? ", begun" : "");
    return text;
}

static void header_happen(struct rig *r, int *fd, const char *event)
{
    const struct arb_conn *c = only_conn(r);
    const bool is_begun = c->tail.block;

    if (strcmp(event, "a header") == 0)
        rig_send_text(r, *fd, is_begun ? "XY UNKNOWN\r\n" : "PROXY UNKNOWN\r\n");
    else if (strcmp(event, "part of a header") == 0)
        rig_send_text(r, *fd, is_begun ? "X" : "PRO");
    else if (strcmp(event, "something else") == 0)
        rig_send_text(r, *fd, "m\r\n\r\n");
    else if (strcmp(event, "its deadline") == 0)
        pass_deadline(r, header_state_of);
    else
        happen(r, fd, event);
    rig_run(r);
}

static void conn__each_state_before_a_header_and_event__as_in_the_table(void **state UNUSED)
{
    struct table t;

    table_read("src/net/conn.md", "a header", &t);
    assert_int_equal(t.n_rows, 5);
    for (size_t row = 1; row < t.n_rows; row++)
        for (size_t column = 1; column < t.n_columns; column++) {
            const char *from = t.cells[row][0];
            struct rig r;
            int fd;

            rig_init(&r, &limits, MAX_MESSAGE);
            fd = rig_connect_headed(&r, *from == 'r' ? PROXY_REQUIRED : PROXY_ACCEPTED);
            if (strstr(from, "begun"))
                rig_send_text(&r, fd, "PRO");
            assert_string_equal(header_state_of(&r), from);
            header_happen(&r, &fd, t.cells[0][column]);
            if (strcmp(header_state_of(&r), t.cells[row][column]) != 0)
                fail_msg("%s, then %s: '%s', and the table says '%s'", from, t.cells[0][column],
                         header_state_of(&r), t.cells[row][column]);
            if (fd >= 0)
                close(fd);
            rig_fini(&r);
        }
}

/* ---- connections of a protocol that owes replies ---- */

static struct lines lines;

static const char *owing_state_of(const struct rig *r)
{
    const struct arb_conn *c = only_conn(r);

    if (!c)
        return "closed";
    if (c->phase != CONN_OPEN)
        return phases[c->phase];
    return c->special & CONN_ENDS_SOON ? "ending"
           : c->special & CONN_WAITS   ? "waiting"
           : c->special & CONN_OWES    ? "owing"
                                       : "idle";
}

static void bring_into_owing(struct rig *r, int fd, const char *state)
{
    if (strcmp(state, "owing") == 0)
        rig_send_text(r, fd, "r\n");
    else if (strcmp(state, "waiting") == 0)
        rig_send_text(r, fd, "w\n");
    else if (strcmp(state, "ending") == 0)
        rig_send_text(r, fd, "r\nq\n");
    assert_string_equal(owing_state_of(r), state);
    lines_told(&lines);
}

static void owing_happen(struct rig *r, int *fd, const char *event)
{
    if (strcmp(event, "a message") == 0)
        rig_send_text(r, *fd, "=m\n");
    else if (strcmp(event, "the last reply") == 0)
        lines_answer(&lines, "late", ARB_GO_ON);
    else if (strcmp(event, "arb_conn_close") == 0)
        arb_conn_close(only_conn(r), ARB_CLOSE);
    else if (strcmp(event, "its own timeout") == 0)
        arb_conn_timeout(only_conn(r), 1000);
    else
        happen(r, fd, event);
    rig_run(r);
    if (strcmp(event, "its own timeout") == 0)
        rig_pass(r, 1200);
}

static void conn__each_state_that_owes_and_event__as_in_the_table(void **state UNUSED)
{
    struct table t;

    table_read("src/net/conn.md", "the last reply", &t);
    assert_int_equal(t.n_rows, 5);
    for (size_t row = 1; row < t.n_rows; row++)
        for (size_t column = 1; column < t.n_columns; column++) {
            char text[TABLE_CELL_LEN];
            const char *told;
            struct rig r;
            int fd;

            if (!t.cells[row][column][0])
                continue; /* cannot happen */
            rig_init(&r, &limits, MAX_MESSAGE);
            lines = (struct lines){0};
            rig_use_protocol(&r, &lines_protocol, &lines);
            fd = rig_connect_tcp(&r);
            bring_into_owing(&r, fd, t.cells[row][0]);
            owing_happen(&r, &fd, t.cells[0][column]);
            told = lines_told(&lines);
            snprintf(text, sizeof(text), "%s%s%s", owing_state_of(&r), *told ? ": " : "", told);
            if (strcmp(text, t.cells[row][column]) != 0)
                fail_msg("%s, then %s: '%s', and the table says '%s'", t.cells[row][0],
                         t.cells[0][column], text, t.cells[row][column]);
            if (fd >= 0)
                close(fd);
            rig_fini(&r);
        }
}

/* ---- moves ---- */

static const char *const giving_phases[] = {[GIVING_WAITING] = "waiting",
                                            [GIVING_OPEN] = "open",
                                            [GIVING_CLOSED] = "closed",
                                            [GIVING_ENDED] = "ended"};
static const char *const giving_outcomes[] = {
    [GIVING_NOTHING] = "", [GIVING_RELEASE] = ": release", [GIVING_RESUME] = ": resume"};

/* The giver's side in @phase; with one batch on its way, if it got as far as that. */
static struct giving giving_in(const char *phase)
{
    struct giving g = {.phase = GIVING_WAITING};

    if (strcmp(phase, "waiting") == 0)
        return g;
    giving_answered(&g, 0, true);
    giving_sent(&g);
    if (strcmp(phase, "closed") == 0)
        giving_close(&g);
    assert_string_equal(giving_phases[g.phase], phase);
    return g;
}

static enum giving_outcome giving_happen(struct giving *g, const char *event)
{
    if (strcmp(event, "greeting") == 0)
        return giving_answered(g, 0, true);
    if (strcmp(event, "batch sent") == 0)
        return giving_sent(g), GIVING_NOTHING;
    if (strcmp(event, "taken") == 0 || strcmp(event, "refused") == 0)
        return giving_answered(g, 1, event[0] == 't');
    if (strcmp(event, "an answer out of turn") == 0)
        return giving_answered(g, 7, true);
    if (strcmp(event, "it wants no more") == 0)
        return giving_close(g), GIVING_NOTHING;
    assert_string_equal(event, "end of file");
    return giving_ended(g);
}

static void giving__each_phase_and_event__as_in_the_table(void **state UNUSED)
{
    struct table t;

    table_read("src/net/move.md", "greeting", &t);
    assert_int_equal(t.n_rows, 4);
    for (size_t row = 1; row < t.n_rows; row++)
        for (size_t column = 1; column < t.n_columns; column++) {
            struct giving g = giving_in(t.cells[row][0]);
            const char *expected = t.cells[row][column], *event = t.cells[0][column];
            char text[TABLE_CELL_LEN];

            if (strcmp(event, "batch sent") == 0) {
                assert_int_equal(giving_may_send(&g), expected[0] != '\0');
                if (!expected[0])
                    continue;
            }
            const enum giving_outcome outcome = giving_happen(&g, event);
            snprintf(text, sizeof(text), "%s%s", giving_phases[g.phase], giving_outcomes[outcome]);
            if (strcmp(text, strcmp(expected, "-") == 0 ? t.cells[row][0] : expected) != 0)
                fail_msg("giver %s, then %s: '%s', and the table says '%s'", t.cells[row][0], event,
                         text, expected);
        }
}

static const char *const taking_phases[] = {[TAKING_GREETING] = "greeting",
                                            [TAKING_OPEN] = "open",
                                            [TAKING_ANSWERING] = "answering",
                                            [TAKING_ENDED] = "ended"};
static const char *const taking_outcomes[] = {
    [TAKING_NOTHING] = "", [TAKING_OWN] = ": own", [TAKING_DROP] = ": drop"};

static struct taking taking_in(const char *phase)
{
    struct taking t = {.phase = TAKING_GREETING};

    if (strcmp(phase, "greeting") == 0)
        return t;
    taking_answered(&t, 0);
    if (strncmp(phase, "answering", 9) == 0)
        taking_received(&t, 1, strcmp(phase, "answering, accepted") == 0);
    assert_int_equal(strncmp(phase, taking_phases[t.phase], strlen(taking_phases[t.phase])), 0);
    return t;
}

static enum taking_outcome taking_happen(struct taking *t, const char *event)
{
    if (strncmp(event, "the next batch", 14) == 0) {
        const bool is_welcome = strcmp(event, "the next batch, welcome") == 0;

        assert_int_equal(taking_received(t, 1, is_welcome), is_welcome);
        return TAKING_NOTHING;
    }
    if (strcmp(event, "a batch out of turn") == 0) {
        assert_false(taking_received(t, 7, true));
        return TAKING_NOTHING;
    }
    if (strcmp(event, "answer failed: the giver is gone") == 0)
        return taking_answered(t, -EPIPE);
    return taking_answered(t, strcmp(event, "answer failed otherwise") == 0 ? -ENOMEM : 0);
}

static void taking__each_phase_and_event__as_in_the_table(void **state UNUSED)
{
    struct table t;
    size_t n = 0;

    table_read("src/net/move.md", "greeting sent", &t);
    for (size_t row = 1; row < t.n_rows; row++)
        for (size_t column = 1; column < t.n_columns; column++) {
            struct taking taking = taking_in(t.cells[row][0]);
            const char *expected = t.cells[row][column];
            char text[TABLE_CELL_LEN];

            if (!expected[0])
                continue; /* cannot happen in this phase */
            const enum taking_outcome outcome = taking_happen(&taking, t.cells[0][column]);
            snprintf(text, sizeof(text), "%s%s", taking_phases[taking.phase],
                     taking_outcomes[outcome]);
            if (strcmp(text, expected) != 0)
                fail_msg("taker %s, then %s: '%s', and the table says '%s'", t.cells[row][0],
                         t.cells[0][column], text, expected);
            n++;
        }
    assert_int_equal(n, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conn__each_state_and_event__as_in_the_table),
        cmocka_unit_test(conn__each_state_before_a_header_and_event__as_in_the_table),
        cmocka_unit_test(conn__each_state_that_owes_and_event__as_in_the_table),
        cmocka_unit_test(giving__each_phase_and_event__as_in_the_table),
        cmocka_unit_test(taking__each_phase_and_event__as_in_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
