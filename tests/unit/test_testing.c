/*
 * libarbiter-testing: what it lets a protocol do, and that it notices each rule that one breaks.
 * The protocol is a toy whose lines say what it does; linked with that library alone.
 */
#include <arbiter/testing.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

struct conf {
    unsigned limit;
    uint64_t size;
    char text[16];
};

struct server {
    struct arb_actor *self;
    const struct conf *conf;
    struct arb_request *request;
    struct arb_timer *timer;
    struct arb_conn *kept;
    unsigned n_open, n_writable, n_can_send;
};

struct state {
    unsigned lines; /* so far */
};

static struct server *last; /* of the last worker */

static int toy_start(struct arb_actor *self, const void *conf, void **ret_server)
{
    const struct conf *c = conf;

    if (c->limit == 99)
        return -EIO;
    last = calloc(1, sizeof(*last));
    last->self = self;
    last->conf = c;
    *ret_server = last;
    return 0;
}

static int toy_check(const void *conf, const struct arb_limits *limits, char *why, size_t size)
{
    const struct conf *c = conf;

    if (c->size <= limits->max_buffered)
        return 0;
    snprintf(why, size, "size is larger than server.max_buffered");
    return -EINVAL;
}

static int toy_open(void *server, struct arb_conn *conn, enum arb_origin origin)
{
    struct server *s = server;

    (void)origin;
    arb_conn_set_blank(conn, true);
    s->kept = conn;
    s->n_open++;
    return s->conf->limit == s->n_open ? -EMFILE : 0;
}

static void on_alarm(void *data)
{
    struct arb_request *r = data;

    arb_request_reply(r, "late\n", 5);
    arb_request_end(r, ARB_GO_ON);
}

static void on_twice(void *data)
{
    on_alarm(data);
    arb_request_end(data, ARB_GO_ON);
}

static void on_every(void *data)
{
    struct server *s = data;

    arb_log(s->self, ARB_INFO, "tick", &(struct arb_field){"open", NULL, s->n_open}, 1);
}

/* A line: what it makes the protocol do. Returns false for a lie, which is in @out already. */
static void toy_line(struct server *s, struct arb_conn *conn, char what, const struct arb_input *in,
                     struct arb_output *out)
{
    struct state *state = arb_conn_state(conn);
    char text[32];

    switch (what) {
    case 'n': /* how many lines so far, this one included */
        arb_conn_send(conn, text, (size_t)snprintf(text, sizeof(text), "%u\n", state->lines));
        break;
    case 'w': /* later, and wait for it */
    case 'W': /* the same, ended twice */
        s->request = arb_request_new(conn, NULL, NULL);
        s->timer = arb_timer_new(s->self, 20, 0, what == 'w' ? on_alarm : on_twice, s->request);
        out->next = ARB_WAIT;
        break;
    case 'f': /* forget a request */
        arb_request_new(conn, NULL, NULL);
        break;
    case 'F': /* free a timer that has fired */
        arb_timer_free(s->timer);
        break;
    case 'z': /* wait for nothing */
        out->next = ARB_WAIT;
        break;
    case 'q':
        out->next = ARB_CLOSE;
        break;
    case 'p': /* publish */
        out->next =
            arb_send(s->self, conn, "all", "topic", "data", 4) == 0 ? ARB_GO_ON : ARB_REFUSE;
        break;
    case 't':
        s->timer = arb_timer_new(s->self, 1000, 1000, on_every, s);
        break;
    case 'T':
        arb_conn_timeout(conn, 500);
        break;
    case 'c':
        out->consumed = in->len + 1;
        break;
    case 'r':
        out->resume = in->len + 1;
        break;
    case 'R':
        out->reply_len = 5;
        break;
    case 'x':
        out->next = (enum arb_next)17;
        break;
    case 'k':
        arb_count(s->self, 0, 2);
        break;
    case 'K':
        arb_count(s->self, 7, 1);
        break;
    default:
        break;
    }
}

static void toy_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                     struct arb_output *out)
{
    struct state *state = arb_conn_state(conn);

    while (out->next == ARB_GO_ON && out->consumed < in->len) {
        const uint8_t *line = in->data + out->consumed;
        const uint8_t *end = memchr(line, '\n', in->len - out->consumed);

        if (!end)
            break;
        out->consumed += (size_t)(end - line) + 1;
        out->messages++;
        state->lines++;
        toy_line(server, conn, (char)*line, in, out);
    }
    arb_conn_set_blank(conn, state->lines == 0);
}

static void toy_timeout(void *server, struct arb_conn *conn)
{
    (void)server;
    arb_conn_send(conn, "timeout\n", 8);
}

static void toy_writable(void *server, struct arb_conn *conn)
{
    (void)conn;
    ((struct server *)server)->n_writable++;
}

static void toy_can_send(void *server)
{
    ((struct server *)server)->n_can_send++;
}

static void send_to(struct arb_conn *conn, void *data)
{
    const struct arb_message *m = data;

    if (arb_conn_send(conn, m->data, m->len) == ARB_SEEN)
        arb_log(last->self, ARB_DEBUG, "seen", NULL, 0);
}

static void toy_message(void *server, struct arb_conn *conn, const struct arb_message *message)
{
    struct server *s = server;

    if (conn)
        send_to(conn, (void *)(uintptr_t)message);
    else
        arb_conn_each(s->self, send_to, (void *)(uintptr_t)message);
}

static size_t toy_save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    (void)server;
    if (size >= sizeof(struct state))
        memcpy(buf, arb_conn_state(conn), sizeof(struct state));
    return sizeof(struct state);
}

static int toy_restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                       size_t len)
{
    (void)server;
    if (version != 3 || len != sizeof(struct state))
        return -EINVAL;
    memcpy(arb_conn_state(conn), data, len);
    arb_conn_set_blank(conn, ((struct state *)arb_conn_state(conn))->lines == 0);
    return 0;
}

static void toy_command(void *server, struct arb_answer *answer, const struct json_t *args)
{
    const struct server *s = server;

    (void)args;
    if (s->n_open > 0)
        arb_answer_text(answer, "{\"open\":true}");
    else
        arb_answer_error(answer, "nobody", "no connection is open");
}

static const struct arb_key keys[] = {
    ARB_KEY_COUNT(struct conf, limit, "50", 1, 100, "connections"),
    ARB_KEY_SIZE(struct conf, size, "64KiB", 1, 1 << 30, "a size"),
    ARB_KEY_TEXT(struct conf, text, "abc", "a text"),
};
static const struct arb_counter counters[] = {{"twos", "twos"}};
static const struct arb_command commands[] = {
    {.name = "state", .help = "is there one", .run = toy_command}};

#define TOY                                                                                        \
    .name = "toy", .keys = ARB_KEYS(keys), .conf_size = sizeof(struct conf), .check = toy_check,   \
    .counters = ARB_COUNTERS(counters), .commands = ARB_COMMANDS(commands), .start = toy_start,    \
    .stop = free, .conn_size = sizeof(struct state), .on_open = toy_open,                          \
    .on_timeout = toy_timeout, .on_writable = toy_writable, .on_can_send = toy_can_send,           \
    .on_message = toy_message, .state_version = 3, .on_data = toy_data
static const struct arb_protocol toy = ARB_PROTOCOL(TOY, .save = toy_save, .restore = toy_restore);

/* ---- what it does ---- */

static struct arb_actor *worker(const struct arb_protocol *p)
{
    char why[256] = "";
    struct arb_actor *a = arb_test_worker(p, NULL, why, sizeof(why));

    if (!a)
        fail_msg("%s", why);
    return a;
}

static void say(struct arb_conn *c, const char *text)
{
    arb_test_feed(c, text, strlen(text));
}

static void must_read(struct arb_conn *c, const char *want)
{
    size_t len;

    assert_string_equal(arb_test_read(c, &len), want);
    assert_int_equal(len, strlen(want));
}

static void settings__checked_by_the_rows__defaults_and_reasons(void **state)
{
    const char *const good[] = {"limit=7", "size=1MiB", "text=xyz", "server.max_buffered=2MiB",
                                NULL};
    const char *const bad[][2] = {{"limit=101", NULL}, {"size=1e999", NULL},  {"nosuch=1", NULL},
                                  {"limit", NULL},     {"size=512MiB", NULL}, {"limit=99", NULL}};
    char why[256];
    struct arb_actor *a = arb_test_worker(&toy, good, why, sizeof(why));

    (void)state;
    assert_non_null(a);
    assert_int_equal(last->conf->limit, 7);
    assert_int_equal(last->conf->size, 1 << 20);
    assert_string_equal(last->conf->text, "xyz");
    arb_test_free(a);
    a = worker(&toy);
    assert_int_equal(last->conf->size, 65536);
    arb_test_free(a);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = '\0';
        assert_null(arb_test_worker(&toy, bad[i], why, sizeof(why)));
        assert_true(strlen(why) > 0);
    }
}

static void feed__pieces_and_the_end__replies_and_a_reason(void **state)
{
    struct arb_actor *a = worker(&toy);
    struct arb_conn *c = arb_test_open(a), *d = arb_test_open(a);
    enum arb_end why;

    (void)state;
    say(c, "n\nn");
    must_read(c, "1\n");
    say(c, "\nn\n");
    must_read(c, "2\n3\n");
    arb_test_end(c);
    assert_false(arb_test_is_open(c, &why));
    assert_int_equal(why, ARB_END_PEER);
    say(d, "n\nunfinished");
    arb_test_end(d);
    assert_false(arb_test_is_open(d, &why));
    assert_int_equal(why, ARB_END_PARTIAL);
    c = arb_test_open(a);
    say(c, "q\nn\n");
    assert_false(arb_test_is_open(c, &why));
    assert_int_equal(why, ARB_END_CLOSED);
    must_read(c, "");
    assert_null(arb_test_stop(a));
    arb_test_free(a);
}

static void time__timers_timeouts_and_late_replies__when_they_are_due(void **state)
{
    struct arb_actor *a = worker(&toy);
    struct arb_conn *c = arb_test_open(a);

    (void)state;
    say(c, "T\nt\nw\nn\n");
    arb_test_advance(a, 19);
    must_read(c, "");
    arb_test_advance(a, 1);
    must_read(c, "late\n4\n");
    arb_test_advance(a, 480);
    must_read(c, "timeout\n");
    arb_test_advance(a, 2000);
    assert_string_equal(arb_test_log(a), "info: tick open=1\ninfo: tick open=1\n");
    say(c, "k\nk\n");
    assert_int_equal(arb_test_counter(a, "twos"), 4);
    assert_string_equal(arb_test_call(a, "state", NULL), "{\"open\":true}");
    assert_null(arb_test_stop(a));
    arb_test_free(a);
}

static void messages__sent_and_delivered__once_each(void **state)
{
    struct arb_actor *a = worker(&toy), *b = worker(&toy);
    struct arb_conn *c = arb_test_open(a), *d;
    struct arb_message m = {
        .number = 1, .from = "worker.9", .topic = "t", .data = "one\n", .len = 4};
    struct arb_test_message sent;

    (void)state;
    say(c, "p\n");
    assert_true(arb_test_sent(a, 0, &sent));
    assert_string_equal(sent.to, "all");
    assert_memory_equal(sent.data, "data", 4);
    assert_int_equal(arb_send(a, NULL, "", "topic", "", 0), -EMSGSIZE);
    assert_int_equal(arb_send(a, NULL, "worker.10000000000000000000000000", "topic", "", 0),
                     -EMSGSIZE);
    assert_false(arb_test_sent(a, 1, &sent));
    arb_test_deliver(a, NULL, &m);
    must_read(c, "one\n");
    /* The worker that takes it is behind: it hears of the first message now. */
    d = arb_test_move(c, b);
    assert_non_null(d);
    arb_test_deliver(b, NULL, &m);
    must_read(d, "");
    m.number = 2;
    arb_test_deliver(b, NULL, &m);
    must_read(d, "one\n");
    arb_test_credit(b, 0);
    say(d, "p\n");
    assert_false(arb_test_is_open(d, NULL));
    arb_test_credit(b, 5);
    assert_int_equal(last->n_can_send, 1);
    assert_null(arb_test_stop(a));
    assert_null(arb_test_stop(b));
    arb_test_free(a);
    arb_test_free(b);
}

static void stall__a_client_that_does_not_read__unsent_limit_and_writable(void **state)
{
    static char big[300000];
    const char *const settings[] = {"server.max_buffered=1MiB", NULL};
    char why[256];
    struct arb_actor *a = arb_test_worker(&toy, settings, why, sizeof(why));
    struct arb_conn *c = arb_test_open(a);
    enum arb_end end;

    (void)state;
    arb_test_stall(c, true);
    arb_test_deliver(a, NULL, &(struct arb_message){1, "x", "t", big, sizeof(big)});
    say(c, "n\n");
    assert_int_equal(arb_conn_unsent(c), sizeof(big));
    arb_test_stall(c, false);
    assert_int_equal(last->n_writable, 1);
    arb_test_stall(c, true);
    for (uint64_t i = 2; i < 9; i++)
        arb_test_deliver(a, NULL, &(struct arb_message){i, "x", "t", big, sizeof(big)});
    assert_false(arb_test_is_open(c, &end));
    assert_int_equal(end, ARB_END_LIMIT);
    assert_null(arb_test_stop(a));
    arb_test_free(a);
}

static void move__with_state_and_input__goes_on_there(void **state)
{
    struct arb_actor *a = worker(&toy), *b = worker(&toy);
    struct arb_conn *c = arb_test_open(a), *d = arb_test_open(a);

    (void)state;
    say(c, "n\nn");
    c = arb_test_move(c, b);
    say(c, "\n");
    must_read(c, "1\n2\n");
    d = arb_test_rescue(d, b);
    assert_non_null(d);
    assert_non_null(arb_test_rescue(d, a)); /* blank, as its on_open says */
    assert_null(arb_test_rescue(c, a));
    say(c, "w\n");
    assert_null(arb_test_move(c, a));
    arb_test_advance(b, 20);
    assert_non_null(arb_test_move(c, a));
    assert_null(arb_test_stop(a));
    assert_null(arb_test_stop(b));
    arb_test_free(a);
    arb_test_free(b);
}

/* ---- what it notices ---- */

static void must_break(const char *input, uint64_t ms, const char *want)
{
    struct arb_actor *a = worker(&toy);
    struct arb_conn *c = arb_test_open(a);
    const char *got;

    say(c, input);
    arb_test_advance(a, ms);
    say(c, "F\n");
    got = arb_test_stop(a);
    if (!got || !strstr(got, want))
        fail_msg("%s: \"%s\", not \"%s\"", input, got ? got : "", want);
    arb_test_free(a);
}

static void rules__each_one_broken__a_sentence(void **state)
{
    (void)state;
    must_break("c\n", 0, "consumed 3 of 2 bytes");
    must_break("r\n", 0, "resume at byte 3");
    must_break("R\n", 0, "a reply of 5 bytes that is NULL");
    must_break("x\n", 0, "no arb_next");
    must_break("z\n", 0, "no request to wait for");
    must_break("f\n", 0, "never been ended");
    must_break("W\n", 20, "been ended already");
    must_break("w\n", 20, "the timer is gone already");
    must_break("K\n", 0, "no counter 7");
}

static void rules__a_closed_connection_is_used__a_sentence(void **state)
{
    struct arb_actor *a = worker(&toy);
    struct arb_conn *c = arb_test_open(a);

    (void)state;
    arb_test_cut(c, ARB_END_RESET);
    assert_int_equal(arb_conn_send(last->kept, "x", 1), -EPIPE);
    assert_string_equal(arb_test_stop(a), "arb_conn_send: connection 1 is closed");
    arb_test_free(a);
}

/* ---- properties ---- */

static void must_check(const struct arb_protocol *p, const char *input, const char *want)
{
    char why[512] = "";
    const int r = arb_test_check(p, NULL, input, strlen(input), why, sizeof(why));

    if (!want && r < 0)
        fail_msg("%s", why);
    if (want && (r == 0 || !strstr(why, want)))
        fail_msg("\"%s\", not \"%s\"", why, want);
}

static void check__a_protocol_that_keeps_its_word__nothing(void **state)
{
    (void)state;
    must_check(&toy, "n\nn\nw\nn\np\nother\nn\nq\nn\n", NULL);
    must_check(&toy, "", NULL);
}

/* Replies once per call and not once per line. */
static void hasty_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                       struct arb_output *out)
{
    (void)server, (void)conn;
    out->consumed = in->len;
    out->reply = "x";
    out->reply_len = in->len > 0;
}

static size_t save_nothing(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    (void)server, (void)conn, (void)buf, (void)size;
    return 0;
}

static int restore_nothing(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                           size_t len)
{
    (void)server, (void)conn, (void)version, (void)data, (void)len;
    return 0;
}

static int restore_refuses(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                           size_t len)
{
    (void)server, (void)conn, (void)version, (void)data, (void)len;
    return -EINVAL;
}

static size_t save_too_much(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    (void)server, (void)buf, (void)size;
    return ((struct state *)arb_conn_state(conn))->lines > 2 ? ARB_STATE_MAX + 1 : 0;
}

static size_t save_changes(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    ((struct state *)arb_conn_state(conn))->lines++;
    return toy_save(server, conn, buf, size);
}

static void always_blank(void *server, struct arb_conn *conn, const struct arb_input *in,
                         struct arb_output *out)
{
    toy_data(server, conn, in, out);
    arb_conn_set_blank(conn, true);
}

static void check__a_protocol_that_breaks_its_word__what_and_where(void **state)
{
    static const struct arb_protocol hasty = {
        .size = sizeof(hasty), .name = "hasty", .on_data = hasty_data};
    static const struct arb_protocol forgets =
        ARB_PROTOCOL(TOY, .save = save_nothing, .restore = restore_nothing);
    static const struct arb_protocol refuses =
        ARB_PROTOCOL(TOY, .save = toy_save, .restore = restore_refuses);
    static const struct arb_protocol grows =
        ARB_PROTOCOL(TOY, .save = save_too_much, .restore = restore_nothing);
    static const struct arb_protocol writes =
        ARB_PROTOCOL(TOY, .save = save_changes, .restore = toy_restore);
    struct arb_protocol blank = toy;

    (void)state;
    blank.on_data = always_blank;
    must_check(&hasty, "abc", "byte by byte: other replies from byte 1 on");
    must_check(&forgets, "n\nn\n", "moved to another worker at byte 2: other replies");
    must_check(&refuses, "n\n", "restore refuses what save has written");
    must_check(&grows, "n\nn\nn\n", "more than ARB_STATE_MAX");
    must_check(&writes, "n\nn\n", "other replies");
    must_check(&blank, "n\nn\n", "collected from a crash, as it was blank, at byte 2");
}

static void fuzz__good_protocol__returns(void **state)
{
    (void)state;
    assert_int_equal(arb_test_fuzz(&toy, (const uint8_t *)"n\nw\nn\nn", 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings__checked_by_the_rows__defaults_and_reasons),
        cmocka_unit_test(feed__pieces_and_the_end__replies_and_a_reason),
        cmocka_unit_test(time__timers_timeouts_and_late_replies__when_they_are_due),
        cmocka_unit_test(messages__sent_and_delivered__once_each),
        cmocka_unit_test(stall__a_client_that_does_not_read__unsent_limit_and_writable),
        cmocka_unit_test(move__with_state_and_input__goes_on_there),
        cmocka_unit_test(rules__each_one_broken__a_sentence),
        cmocka_unit_test(rules__a_closed_connection_is_used__a_sentence),
        cmocka_unit_test(check__a_protocol_that_keeps_its_word__nothing),
        cmocka_unit_test(check__a_protocol_that_breaks_its_word__what_and_where),
        cmocka_unit_test(fuzz__good_protocol__returns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
