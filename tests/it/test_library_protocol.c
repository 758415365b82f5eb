/*
 * The client library with a protocol of the caller's (netstrings: "5:hello,"), what its events say,
 * and commands over the control socket. The server of the first tests is the test itself, which
 * answers when it wants to.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <arbiter/control.h>
#include <cmocka.h>
#include <ev.h>

#include "base/util.h"
#include "support/server.h"

/* ---- the protocol ---- */

static size_t netstring_encode(void *userdata UNUSED, const void *message, size_t len, void *buf,
                               size_t size)
{
    char head[24];
    const int n = snprintf(head, sizeof(head), "%zu:", len);
    const size_t needed = (size_t)n + len + 1;

    if (len == 4 && memcmp(message, "nope", 4) == 0)
        return (size_t)-1;
    if (!buf)
        return needed;
    assert_int_equal(size, needed);
    memcpy(buf, head, (size_t)n);
    memcpy((char *)buf + n, message, len);
    ((char *)buf)[needed - 1] = ',';
    return needed;
}

static size_t netstring_decode(void *userdata, struct arb_decoding *d)
{
    const char *data = d->data;
    unsigned *n_looks = userdata;
    size_t len = 0, i;

    ++*n_looks;
    assert_in_range(d->len, 1, SIZE_MAX);
    assert_in_range(d->resume, 0, d->len);
    for (i = 0; i < d->len && data[i] != ':'; i++) {
        if (data[i] < '0' || data[i] > '9')
            return (size_t)-1;
        len = len * 10 + (size_t)(data[i] - '0');
    }
    d->resume = d->len;
    if (i + len + 2 > d->len)
        return 0;
    if (data[i + 1 + len] != ',')
        return (size_t)-1;
    d->reply = data + i + 1;
    d->reply_len = len;
    return i + len + 2;
}

static const struct arb_client_protocol netstring = {
    .size = sizeof(netstring),
    .encode = netstring_encode,
    .decode = netstring_decode,
};

/* ---- a server in the same thread ---- */

struct talk {
    int listener, fd; /* fd: -1 = nobody has connected yet */
    struct arb_client *client;
    unsigned n_looks, n_done;
    int status[8];
    char reply[8][64];
    char trace[1024]; /* of events: one letter each */
};

static void talk_open(struct talk *t, struct arb_client_options *o)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    char addr[64];

    *t = (struct talk){.fd = -1};
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(t->listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(t->listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(t->listener, 8), 0);
    snprintf(addr, sizeof(addr), "127.0.0.1:%u", ntohs(sa.sin_port));
    o->protocol = &netstring;
    o->protocol_data = &t->n_looks;
    assert_int_equal(arb_client_new(addr, o, &t->client), ARB_OK);
    assert_string_equal(arb_client_address(t->client), addr);
}

static void talk_close(struct talk *t)
{
    arb_client_free(t->client);
    if (t->fd >= 0)
        close(t->fd);
    close(t->listener);
}

static bool talk_turn(struct talk *t)
{
    arb_client_wait(t->client, 0);
    if (t->fd < 0)
        t->fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return true;
}

/* What the client has sent, up to @len bytes, is exactly @expected. */
static void talk_hears(struct talk *t, const char *expected)
{
    const size_t len = strlen(expected);
    char got[256];
    size_t n = 0;

    assert_in_range(len, 1, sizeof(got));
    MUST_COME((talk_turn(t), t->fd >= 0), "nobody connects");
    while (n < len) {
        ssize_t k;

        MUST_COME((talk_turn(t), (k = recv(t->fd, got + n, len - n, 0)) > 0), "nothing comes");
        n += (size_t)k;
    }
    assert_memory_equal(got, expected, len);
}

static void talk_says(struct talk *t, const char *text)
{
    assert_int_equal(send(t->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void on_talk_done(struct arb_call *call, int status, void *userdata)
{
    struct talk *t = userdata;
    size_t len;
    const char *reply = arb_call_reply(call, &len);

    t->status[t->n_done] = status;
    snprintf(t->reply[t->n_done++], sizeof(t->reply[0]), "%.*s", (int)len, reply ? reply : "");
}

static struct arb_call *talk_start(struct talk *t, const char *message)
{
    struct arb_call *call;

    assert_int_equal(
        arb_call_start(t->client, message, strlen(message), NULL, on_talk_done, t, &call), ARB_OK);
    return call;
}

static void talk_until(struct talk *t, unsigned n_done)
{
    MUST_COME((talk_turn(t), t->n_done) == n_done, "%u calls of %u ended", t->n_done, n_done);
}

/* ---- replies ---- */

static void protocol__reply_in_pieces__whole_and_decoded(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    talk_open(&t, &o);
    talk_start(&t, "hello");
    talk_hears(&t, "5:hello,");
    for (const char *p = "11:hello world,"; *p; p++) {
        const unsigned before = t.n_looks;
        const char piece[2] = {*p, 0};

        assert_int_equal(t.n_done, 0);
        talk_says(&t, piece);
        MUST_COME((talk_turn(&t), t.n_looks) > before, "not looked at");
    }
    talk_until(&t, 1);
    assert_int_equal(t.status[0], ARB_OK);
    assert_string_equal(t.reply[0], "hello world");
    talk_close(&t);
}

static void protocol__pipelined_replies_in_one_read__each_to_its_call(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    o.pool_size = 1;
    o.pipeline = 4;
    talk_open(&t, &o);
    talk_start(&t, "a");
    talk_start(&t, "");
    talk_start(&t, "c");
    talk_hears(&t, "1:a,0:,1:c,");
    talk_says(&t, "1:A,0:,2:C");
    talk_until(&t, 2);
    talk_says(&t, "C,");
    talk_until(&t, 3);
    assert_string_equal(t.reply[0], "A");
    assert_string_equal(t.reply[1], "");
    assert_string_equal(t.reply[2], "CC");
    assert_int_equal(t.status[1], ARB_OK);
    talk_close(&t);
}

static void protocol__no_reply_of_it__bad_reply_and_the_others_closed(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    o.pool_size = 1;
    o.pipeline = 4;
    talk_open(&t, &o);
    talk_start(&t, "a");
    talk_start(&t, "b");
    talk_hears(&t, "1:a,1:b,");
    talk_says(&t, "x");
    talk_until(&t, 2);
    assert_int_equal(t.status[0], ARB_BAD_REPLY);
    assert_int_equal(t.status[1], ARB_CLOSED);
    talk_close(&t);
}

static void protocol__reply_longer_than_allowed__said_so(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    o.max_reply = 16;
    talk_open(&t, &o);
    talk_start(&t, "a");
    talk_hears(&t, "1:a,");
    talk_says(&t, "999:0123456789abcdef");
    talk_until(&t, 1);
    assert_int_equal(t.status[0], ARB_REPLY_TOO_LONG);
    talk_close(&t);
}

static void protocol__reply_nobody_asked_for__connection_not_used(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    o.pool_size = 1;
    talk_open(&t, &o);
    talk_start(&t, "a");
    talk_hears(&t, "1:a,");
    talk_says(&t, "1:A,1:B,");
    talk_until(&t, 1);
    assert_int_equal(t.status[0], ARB_OK);
    close(t.fd);
    t.fd = -1;
    talk_start(&t, "b");
    talk_hears(&t, "1:b,");
    talk_says(&t, "1:B,");
    talk_until(&t, 2);
    assert_string_equal(t.reply[1], "B");
    talk_close(&t);
}

static void protocol__message_that_is_none__refused_before_a_byte_is_sent(void **state UNUSED)
{
    struct arb_client_options o;
    struct arb_reply reply;
    struct talk t;

    arb_client_options_init(&o);
    talk_open(&t, &o);
    assert_int_equal(arb_echo(t.client, "nope", 4, &reply), ARB_INVALID);
    assert_int_equal(arb_client_calls(t.client), 0);
    talk_close(&t);
}

static void protocol__half_a_table__refused(void **state UNUSED)
{
    const struct arb_client_protocol half = {.size = sizeof(half), .encode = netstring_encode};
    struct arb_client_options o;
    struct arb_client *client;

    arb_client_options_init(&o);
    o.protocol = &half;
    assert_int_equal(arb_client_new("127.0.0.1:1", &o, &client), ARB_INVALID);
}

/* ---- events ---- */

static void on_traced(const struct arb_event *event, void *userdata)
{
    static const char letters[ARB_EVENTS] = {
        [ARB_CONNECTION_MADE] = 'm', [ARB_CONNECTION_LOST] = 'l', [ARB_PRE_REQUEST] = 'q',
        [ARB_DATA_RECEIVED] = 'd',   [ARB_POST_REQUEST] = 'p',    [ARB_DATA_PROCESSED] = 'D',
        [ARB_FINISH] = 'f',
    };
    char *trace = userdata;
    const size_t n = strlen(trace);

    assert_in_range(n, 0, 1000);
    trace[n] = letters[event->kind];
    if (event->kind == ARB_FINISH)
        assert_int_equal(event->status, ARB_POOL_CLOSED);
}

static void events__of_a_client__in_order_and_finish_is_the_last(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    talk_open(&t, &o);
    for (int kind = 0; kind < ARB_EVENTS; kind++) {
        assert_non_null(arb_event_name((enum arb_event_kind)kind));
        assert_int_equal(arb_client_bind(t.client, (enum arb_event_kind)kind, on_traced, t.trace),
                         ARB_OK);
    }
    talk_start(&t, "a");
    talk_hears(&t, "1:a,");
    talk_says(&t, "1:A,");
    talk_until(&t, 1);
    arb_client_close(t.client);
    assert_string_equal(t.trace, "mqdpDlf");
    talk_close(&t);
    assert_string_equal(t.trace, "mqdpDlf");
}

static void events__of_a_call__only_its_own(void **state UNUSED)
{
    struct arb_client_options o;
    struct arb_call *call;
    struct talk t;

    arb_client_options_init(&o);
    o.pool_size = 1;
    talk_open(&t, &o);
    talk_start(&t, "a");
    call = talk_start(&t, "b");
    for (int kind = ARB_PRE_REQUEST; kind < ARB_FINISH; kind++)
        assert_int_equal(arb_call_bind(call, (enum arb_event_kind)kind, on_traced, t.trace),
                         ARB_OK);
    assert_int_equal(arb_call_bind(call, ARB_FINISH, on_traced, t.trace), ARB_INVALID);
    assert_int_equal(arb_call_bind(call, ARB_CONNECTION_MADE, on_traced, t.trace), ARB_INVALID);
    talk_hears(&t, "1:a,");
    talk_says(&t, "1:A,");
    talk_until(&t, 1);
    talk_hears(&t, "1:b,");
    assert_string_equal(t.trace, "qD"); /* the reply before it has made it the next one */
    talk_says(&t, "1:");
    MUST_COME((talk_turn(&t), strcmp(t.trace, "qDdD")) == 0, "%s", t.trace);
    arb_call_unbind(call, ARB_DATA_PROCESSED, on_traced, t.trace);
    talk_says(&t, "B,");
    talk_until(&t, 2);
    assert_string_equal(t.trace, "qDdDdp");
    talk_close(&t);
}

static void on_free_client(const struct arb_event *event, void *userdata)
{
    struct talk *t = userdata;

    assert_int_equal(event->status, ARB_POOL_CLOSED);
    arb_client_free(t->client);
    t->client = NULL;
}

static void events__client_freed_in_finish__gone_afterwards(void **state UNUSED)
{
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    talk_open(&t, &o);
    assert_int_equal(arb_client_bind(t.client, ARB_FINISH, on_free_client, &t), ARB_OK);
    talk_start(&t, "a");
    talk_hears(&t, "1:a,");
    arb_client_close(t.client);
    MUST_COME((arb_client_wait(t.client, 0), !t.client), "not freed");
    assert_int_equal(t.status[0], ARB_POOL_CLOSED);
    talk_close(&t);
}

static void getters__of_a_client__say_its_options(void **state UNUSED)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct arb_client_options o;
    struct talk t;

    arb_client_options_init(&o);
    o.loop = loop;
    o.full_response = 1;
    talk_open(&t, &o);
    assert_ptr_equal(arb_client_loop(t.client), loop);
    assert_int_equal(arb_client_full_response(t.client), 1);
    talk_close(&t);
    ev_loop_destroy(loop);
}

/* ---- commands ---- */

struct answers {
    unsigned n;
    int status[8];
    char text[8][128];
};

static void on_answer(struct arb_control *control UNUSED, int status, const char *answer,
                      void *userdata)
{
    struct answers *a = userdata;

    a->status[a->n] = status;
    snprintf(a->text[a->n++], sizeof(a->text[0]), "%s", answer ? answer : "-");
}

static const char *control_path(struct server *s, char buf[128])
{
    snprintf(buf, 128, "%s/control", s->run);
    return buf;
}

static void control__commands_that_block__result_or_error_as_text(void **state)
{
    struct server *s = server_start(*state, .conf = NULL);
    struct arb_control *control;
    char path[128], *answer;

    assert_int_equal(arb_control_open(control_path(s, path), NULL, &control), ARB_OK);
    assert_int_equal(arb_control_call(control, NULL, "ping", NULL, &answer), ARB_OK);
    assert_string_equal(answer, "\"pong\"");
    free(answer);
    assert_int_equal(arb_control_call(control, "worker.2", "ping", NULL, NULL), ARB_OK);
    assert_int_equal(arb_control_call(control, "worker.9", "ping", NULL, &answer),
                     ARB_COMMAND_FAILED);
    assert_non_null(strstr(answer, "\"code\""));
    free(answer);
    assert_int_equal(arb_control_call(control, NULL, "ping", "[1]", &answer), ARB_INVALID);
    assert_null(answer);
    assert_int_equal(arb_control_call(control, NULL, "log_level", "{\"level\":\"debug\"}", NULL),
                     ARB_OK);
    arb_control_free(control);
}

static void control__commands_on_a_loop__answered_in_order(void **state)
{
    struct server *s = server_start(*state, .conf = NULL);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct arb_control_options o;
    struct answers a = {0};
    struct arb_control *control;
    char path[128];

    arb_control_options_init(&o);
    o.loop = loop;
    assert_int_equal(arb_control_open(control_path(s, path), &o, &control), ARB_OK);
    for (int i = 0; i < 3; i++) {
        const char *target = i == 1 ? "nobody.1" : "worker.1";

        assert_int_equal(arb_control_start(control, target, "ping", NULL, on_answer, &a), ARB_OK);
        assert_int_equal(a.n, 0);
    }
    ev_run(loop, 0); /* ends by itself: no command is under way any more */
    assert_int_equal(a.n, 3);
    assert_int_equal(a.status[0], ARB_OK);
    assert_int_equal(a.status[1], ARB_COMMAND_FAILED);
    assert_string_equal(a.text[2], "\"pong\"");
    arb_control_free(control);
    ev_loop_destroy(loop);
}

static void control__server_has_ended__refused(void **state)
{
    struct server *s = server_start(*state, .conf = NULL);
    struct arb_control *control;
    char path[128];

    assert_int_equal(arb_control_open(control_path(s, path), NULL, &control), ARB_OK);
    assert_int_equal(arb_control_call(control, NULL, "ping", NULL, NULL), ARB_OK);
    server_signal(s, SIGTERM);
    assert_int_equal(server_wait_exit(s, WAIT_MS), 0);
    assert_int_equal(arb_control_call(control, NULL, "ping", NULL, NULL), ARB_REFUSED);
    arb_control_free(control);
}

static void on_free_control(struct arb_control *control, int status UNUSED,
                            const char *answer UNUSED, void *userdata)
{
    arb_control_free(control);
    ++*(unsigned *)userdata;
}

static void control__freed_in_a_handler__the_others_cancelled(void **state)
{
    struct server *s = server_start(*state, .conf = NULL);
    struct arb_control *control;
    const pid_t silent = server_slot_pid(s, 1); /* cannot answer meanwhile */
    struct answers a = {0};
    unsigned n = 0;
    char path[128];

    assert_int_equal(kill(silent, SIGSTOP), 0);
    assert_int_equal(arb_control_open(control_path(s, path), NULL, &control), ARB_OK);
    assert_int_equal(arb_control_start(control, NULL, "ping", NULL, on_free_control, &n), ARB_OK);
    assert_int_equal(arb_control_start(control, "worker.1", "ping", NULL, on_answer, &a), ARB_OK);
    assert_int_equal(arb_control_wait(control, -1), ARB_CANCELLED);
    assert_int_equal(kill(silent, SIGCONT), 0);
    assert_int_equal(n, 1);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.status[0], ARB_CANCELLED);
}

static void control__as_many_as_allowed__then_refused(void **state UNUSED)
{
    struct arb_control *control;
    struct answers a = {0};

    assert_int_equal(arb_control_open("", NULL, &control), ARB_INVALID);
    assert_int_equal(arb_control_open("/nonexistent/control", NULL, &control), ARB_OK);
    for (int i = 0; i < ARB_CONTROL_CALLS_MAX; i++)
        assert_int_equal(arb_control_start(control, NULL, "ping", NULL, i ? NULL : on_answer, &a),
                         ARB_OK);
    assert_int_equal(arb_control_start(control, NULL, "ping", NULL, on_answer, &a), ARB_QUEUE_FULL);
    assert_int_equal(arb_control_wait(control, -1), ARB_OK);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.status[0], ARB_REFUSED);
    arb_control_free(control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protocol__reply_in_pieces__whole_and_decoded),
        cmocka_unit_test(protocol__pipelined_replies_in_one_read__each_to_its_call),
        cmocka_unit_test(protocol__no_reply_of_it__bad_reply_and_the_others_closed),
        cmocka_unit_test(protocol__reply_longer_than_allowed__said_so),
        cmocka_unit_test(protocol__reply_nobody_asked_for__connection_not_used),
        cmocka_unit_test(protocol__message_that_is_none__refused_before_a_byte_is_sent),
        cmocka_unit_test(protocol__half_a_table__refused),
        cmocka_unit_test(events__of_a_client__in_order_and_finish_is_the_last),
        cmocka_unit_test(events__of_a_call__only_its_own),
        cmocka_unit_test(events__client_freed_in_finish__gone_afterwards),
        cmocka_unit_test(getters__of_a_client__say_its_options),
        IT(control__commands_that_block__result_or_error_as_text),
        IT(control__commands_on_a_loop__answered_in_order),
        IT(control__server_has_ended__refused),
        IT(control__freed_in_a_handler__the_others_cancelled),
        cmocka_unit_test(control__as_many_as_allowed__then_refused),
    };

    return it_run(tests);
}
