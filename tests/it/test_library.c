/*
 * The library against the real server: pulsar's own cases of its Echo client, and what an operator
 * does to a server while it is called.
 * Source: pulsar, tests/examples/test_echo.py.
 */
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arbiter/client.h>
#include "base/util.h"
#include "support/faulty.h"
#include "support/server.h"

static struct arb_client *client_of(struct server *s, const struct arb_client_options *o)
{
    struct arb_client *client = NULL;
    int rc = arb_client_new(s->addr[0], o, &client);

    MUST(rc == ARB_OK, "%s: %s", s->addr[0], arb_strerror(rc));
    return client;
}

static void must_echo(struct arb_client *client, const void *message, size_t len)
{
    struct arb_reply reply = {0};
    int rc = arb_echo(client, message, len, &reply);

    MUST(rc == ARB_OK, "a message of %zu bytes: %s", len, arb_strerror(rc));
    MUST(reply.len == len && memcmp(reply.data, message, len) == 0, "another reply");
    arb_reply_free(&reply);
}

static void must_echo_text(struct arb_client *client, const char *text)
{
    must_echo(client, text, strlen(text));
}

struct pool_counts {
    unsigned in_use, available;
    unsigned long long sessions, requests;
};

static void must_count(const struct arb_client *client, struct pool_counts want)
{
    const struct arb_client_counters p = rig_counters(client);

    assert_int_equal(p.in_use, want.in_use);
    assert_int_equal(p.available, want.available);
    assert_int_equal(p.sessions, want.sessions);
    assert_int_equal(p.requests_processed, want.requests);
    assert_int_equal(p.waiting, 0);
    assert_int_equal(p.connecting, 0);
}

/* Calls at once: how many have ended well, and whether each has its own reply. */
struct several {
    unsigned n_started, n_ok, n_done;
    int last_status;
};

static void on_done(struct arb_call *call, int status, void *userdata)
{
    struct several *all = userdata;

    all->n_done++;
    all->n_ok += status == ARB_OK;
    if (status)
        all->last_status = status;
    MUST(status || arb_call_reply(call, NULL), "no reply");
}

static void start_text(struct arb_client *client, const char *text, struct several *all)
{
    int rc = arb_call_start(client, text, strlen(text), NULL, on_done, all, NULL);

    MUST(rc == ARB_OK, "%s", arb_strerror(rc));
    all->n_started++;
}

static void must_finish(struct arb_client *client, const struct several *all)
{
    int rc = arb_client_wait(client, (int)WAIT_MS);

    MUST(rc == ARB_OK, "wait: %s", arb_strerror(rc));
    MUST(all->n_ok == all->n_started && all->n_done == all->n_ok, "%u of %u calls: %s", all->n_ok,
         all->n_started, arb_strerror(all->last_status));
}

static void three_at_once(struct arb_client *client)
{
    struct several all = {0};

    start_text(client, "ciao", &all);
    start_text(client, "pippo", &all);
    start_text(client, "foo", &all);
    must_finish(client, &all);
}

/* ---- pulsar's cases ---- */

static void echo__ciao_luca__comes_back(void **state)
{
    struct arb_client *client = client_of(server_start(*state), NULL);

    must_echo_text(client, "ciao luca");
    must_echo_text(client, "");
    must_echo(client, "\0\xff\r\n\r \n\r", 8);
    arb_client_free(client);
}

static void echo__large_messages__come_back(void **state)
{
    static const size_t sizes[] = {8 << 10, 3 << 20, 16 << 20};
    struct arb_client *client = client_of(server_start(*state), NULL);

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *message = peer_alloc(sizes[i]);

        memset(message, 'a', sizes[i]);
        must_echo(client, message, sizes[i]);
    }
    must_count(client, (struct pool_counts){0, 1, 1, ARRAY_SIZE(sizes)});
    arb_client_free(client);
}

static void call_start__three_at_once__each_its_reply(void **state)
{
    struct arb_client *client = client_of(server_start(*state), NULL);

    three_at_once(client);
    must_count(client, (struct pool_counts){0, 3, 3, 3});
    arb_client_free(client);
}

static void client__pool_of_two__counters_as_in_pulsar(void **state)
{
    struct arb_client_options o;
    struct arb_client *client;
    struct arb_call *call;

    arb_client_options_init(&o);
    o.pool_size = 2;
    client = client_of(server_start(*state), &o);
    assert_int_equal(rig_counters(client).pool_size, 2);
    must_echo_text(client, "test connection");
    must_count(client, (struct pool_counts){0, 1, 1, 1});
    three_at_once(client);
    must_count(client, (struct pool_counts){0, 2, 2, 4});
    must_echo_text(client, "test connection");
    must_count(client, (struct pool_counts){0, 2, 2, 5});

    assert_int_equal(arb_connect(client, NULL, &call), ARB_OK);
    must_count(client, (struct pool_counts){1, 1, 2, 5});
    arb_call_drop(call);
    must_count(client, (struct pool_counts){0, 1, 2, 5});
    three_at_once(client);
    must_count(client, (struct pool_counts){0, 2, 3, 8});

    arb_client_close(client);
    must_count(client, (struct pool_counts){0, 0, 3, 8});
    arb_client_free(client);
}

static void echo__quit__echoed_and_the_connection_not_reused(void **state)
{
    struct arb_client *client = client_of(server_start(*state), NULL);

    must_echo_text(client, "one");
    must_echo_text(client, "QUIT");
    must_count(client, (struct pool_counts){0, 0, 1, 2});
    must_echo_text(client, "two");
    must_count(client, (struct pool_counts){0, 1, 2, 3});
    arb_client_free(client);
}

static void echo__quit_lookalikes__messages_like_others(void **state)
{
    static const char *const all[] = {"quit",     "Quit",  "QUIT ",  " QUIT",    "QUI",
                                      "QUITQUIT", "QUIT.", "\nQUIT", "QUIT\r\n."};
    struct arb_client *client = client_of(server_start(*state), NULL);

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        must_echo_text(client, all[i]);
    must_echo(client, "QUIT\0", 5);
    must_count(client, (struct pool_counts){0, 1, 1, ARRAY_SIZE(all) + 1});
    arb_client_free(client);
}

static void call_start__two_hundred_over_a_pool_of_four__all_answered(void **state)
{
    struct arb_client_options o;
    struct arb_client *client;
    struct several all = {0};

    arb_client_options_init(&o);
    o.pool_size = 4;
    client = client_of(server_start(*state), &o);
    for (int i = 0; i < 200; i++) {
        char text[32];

        snprintf(text, sizeof(text), "call %d", i);
        start_text(client, text, &all);
    }
    must_finish(client, &all);
    must_count(client, (struct pool_counts){0, 4, 4, 200});
    arb_client_free(client);
}

static void echo_full__the_consumer__has_its_connection(void **state)
{
    struct server *s = server_start(*state);
    struct arb_client *client = client_of(s, NULL);
    struct arb_call *call = NULL, *other = NULL;
    struct arb_connection *connection;
    size_t len;

    assert_int_equal(arb_echo_full(client, "test connection", 15, NULL, &call), ARB_OK);
    assert_memory_equal(arb_call_reply(call, &len), "test connection", 15);
    assert_int_equal(len, 15);
    assert_memory_equal(arb_call_message(call, &len), "test connection", 15);
    assert_int_equal(arb_call_status(call), ARB_OK);
    assert_int_equal(arb_call_retries(call), 0);
    connection = arb_call_connection(call);
    assert_int_equal(arb_connection_session(connection), 1);
    assert_int_equal(arb_connection_processed(connection), 1);
    assert_string_equal(arb_connection_peer(connection), s->addr[0]);
    assert_true(arb_connection_fd(connection) >= 0);
    /* It is held: another call has another one. */
    must_count(client, (struct pool_counts){1, 0, 1, 1});
    assert_int_equal(arb_echo_full(client, "x", 1, NULL, &other), ARB_OK);
    assert_int_equal(arb_connection_session(arb_call_connection(other)), 2);
    arb_call_free(other);
    arb_call_free(call);
    must_count(client, (struct pool_counts){0, 2, 2, 2});
    arb_client_free(client);
}

static void call_detach__full_response__socket_taken_over(void **state)
{
    struct arb_client *client = client_of(server_start(*state), NULL);
    struct arb_call *call = NULL;
    int fd = -1;

    assert_int_equal(arb_echo_full(client, "x", 1, NULL, &call), ARB_OK);
    assert_int_equal(arb_call_detach(call, &fd), ARB_OK);
    assert_int_equal(arb_call_detach(call, &fd), ARB_CLOSED);
    must_count(client, (struct pool_counts){0, 0, 1, 1});
    arb_call_free(call);
    arb_client_free(client);
    peer_send_text(fd, "mine\r\n\r\n");
    peer_expect(fd, "mine\r\n\r\n", 8);
    close(fd);
}

/* ---- other shapes of the same ---- */

static void echo__separator_inside_or_across_the_end__refused_before_it_is_sent(void **state)
{
    static const char *const bad[] = {"\r\n\r\n", "a\r\n\r\nb", "a\r\n\r\n",
                                      "a\r\n",    "\r\n",       "a\r\n\r\n\r"};
    static const char *const good[] = {"a\r", "a\r\n\r", "\r\n\r", "\n\r\n\r", "a\n", "\r\n\rb"};
    struct arb_client *client = client_of(server_start(*state), NULL);
    struct arb_reply reply;
    char *large = peer_alloc((16 << 20) + 1);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(arb_echo(client, bad[i], strlen(bad[i]), &reply), ARB_SEPARATOR);
    memset(large, 'x', (16 << 20) + 1);
    assert_int_equal(arb_echo(client, large, (16 << 20) + 1, &reply), ARB_TOO_LONG);
    assert_int_equal(arb_echo(client, NULL, 1, &reply), ARB_INVALID);
    must_count(client, (struct pool_counts){0, 0, 0, 0});
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        must_echo_text(client, good[i]);
    arb_client_free(client);
}

static void echo__unix_socket_other_separator__comes_back(void **state)
{
    struct it *it = *state;
    struct arb_client_options o;
    struct arb_client *client;
    char conf[256];

    snprintf(conf, sizeof(conf), "server = { bind = [\"unix:%s\"]; separator = \"\\n\"; };",
             it_path(it, "echo.sock"));
    arb_client_options_init(&o);
    o.separator = "\n";
    o.separator_len = 1;
    client = client_of(server_start(it, .conf = conf), &o);
    must_echo_text(client, "one line\r\r");
    must_count(client, (struct pool_counts){0, 1, 1, 1});
    arb_client_free(client);
}

static void echo__raw_server__any_bytes_come_back(void **state)
{
    struct it *it = *state;
    struct arb_client_options o;
    struct arb_client *client;
    struct arb_reply reply;
    char *large = peer_alloc(1 << 20);

    arb_client_options_init(&o);
    o.separator_len = 0;
    client = client_of(server_start(it, .conf = "server = { separator = \"\"; };"), &o);
    memset(large, '\n', 1 << 20);
    must_echo(client, large, 1 << 20);
    must_echo_text(client, "QUIT");
    must_echo_text(client, "a\r\n\r\n");
    must_count(client, (struct pool_counts){0, 1, 1, 3});
    assert_int_equal(arb_echo(client, "", 0, &reply), ARB_INVALID);
    arb_client_free(client);
}

/* Calls that start the next one from their handler, on a loop. */
struct chain {
    struct arb_client *client;
    struct ev_loop *loop;
    uint64_t rng;
    unsigned n_left, n_open, n_wrong;
    char block[70000];
};

static void chain_next(struct chain *c);

static void on_chain(struct arb_call *call, int status, void *userdata)
{
    struct chain *c = userdata;
    size_t len = 0, message_len;
    const void *reply = arb_call_reply(call, &len);

    if (status || memcmp(reply, arb_call_message(call, &message_len), len) || len != message_len)
        c->n_wrong++;
    c->n_open--;
    chain_next(c);
}

static void chain_next(struct chain *c)
{
    size_t len = rng_below(&c->rng, rng_below(&c->rng, 50) ? 200 : sizeof(c->block));

    if (c->n_left == 0)
        return;
    c->n_left--;
    c->n_open++;
    memset(c->block, (int)('a' + rng_below(&c->rng, 26)), len);
    MUST(arb_call_start(c->client, c->block, len, NULL, on_chain, c, NULL) == ARB_OK, "start");
}

static void run_chains(struct server *s, unsigned pool_size, unsigned pipeline, unsigned n)
{
    struct arb_client_options o;
    struct chain c = {.loop = ev_loop_new(EVFLAG_AUTO), .rng = it_seed(), .n_left = n};

    arb_client_options_init(&o);
    o.loop = c.loop;
    o.pool_size = pool_size;
    o.pipeline = pipeline;
    c.client = client_of(s, &o);
    for (unsigned i = 0; i < 2 * pool_size * pipeline; i++)
        chain_next(&c);
    ev_run(c.loop, 0);
    assert_int_equal(c.n_left + c.n_open + c.n_wrong, 0);
    assert_int_equal(rig_counters(c.client).requests_processed, n);
    assert_int_equal(rig_counters(c.client).sessions, pool_size);
    arb_client_free(c.client);
    ev_loop_destroy(c.loop);
}

static void call_start__many_in_flight_on_a_loop__all_right(void **state)
{
    struct server *s = server_start(*state);

    run_chains(s, 8, 1, 5000);
    run_chains(s, 1, 64, 5000);
    run_chains(s, 3, 7, 5000);
}

/* ---- what happens to servers ---- */

static void echo__server_reloads__idle_connections_replaced_unnoticed(void **state)
{
    struct server *s = server_start(*state);
    struct arb_client_options o;
    struct arb_client *client;

    arb_client_options_init(&o);
    o.pool_size = 4;
    o.retries = 1; /* a message may cross the end of its connection on the way */
    client = client_of(s, &o);
    for (size_t round = 1; round <= 3; round++) {
        three_at_once(client);
        server_signal(s, SIGHUP);
        server_wait_log(s, "reload(ed)?|revision", round);
        three_at_once(client);
    }
    assert_int_equal(rig_counters(client).requests_processed, 18);
    arb_client_free(client);
}

static void
echo__worker_killed_between_message_and_reply__typed_and_retried_if_allowed(void **state)
{
    struct server *s = server_start(*state, .conf = "arbiter = { workers = 1; };");
    struct arb_client_options o;

    server_expect(s, "worker|died|killed|signal");
    arb_client_options_init(&o);
    for (unsigned retries = 0; retries < 2; retries++) {
        struct arb_client *client;
        struct several all = {0};
        pid_t worker = server_worker(s, 0);

        o.retries = retries;
        client = client_of(s, &o);
        must_echo_text(client, "before");
        kill(worker, SIGSTOP);
        start_text(client, "to a stopped worker", &all);
        assert_int_equal(arb_client_wait(client, 0), ARB_TIMEOUT); /* it is sent */
        kill(worker, SIGKILL);
        assert_int_equal(arb_client_wait(client, (int)WAIT_MS), ARB_OK);
        assert_int_equal(all.n_done, 1);
        if (retries > 0)
            assert_int_equal(all.n_ok, 1);
        else
            assert_true(all.last_status == ARB_RESET || all.last_status == ARB_CLOSED);
        server_wait_workers(s, 1);
        must_echo_text(client, "after");
        must_count(client, (struct pool_counts){0, 1, 2, 2 + retries});
        arb_client_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(echo__ciao_luca__comes_back),
        IT(echo__large_messages__come_back),
        IT(call_start__three_at_once__each_its_reply),
        IT(client__pool_of_two__counters_as_in_pulsar),
        IT(echo__quit__echoed_and_the_connection_not_reused),
        IT(echo__quit_lookalikes__messages_like_others),
        IT(call_start__two_hundred_over_a_pool_of_four__all_answered),
        IT(echo_full__the_consumer__has_its_connection),
        IT(call_detach__full_response__socket_taken_over),
        IT(echo__separator_inside_or_across_the_end__refused_before_it_is_sent),
        IT(echo__unix_socket_other_separator__comes_back),
        IT(echo__raw_server__any_bytes_come_back),
        IT(call_start__many_in_flight_on_a_loop__all_right),
        IT(echo__server_reloads__idle_connections_replaced_unnoticed),
        IT(echo__worker_killed_between_message_and_reply__typed_and_retried_if_allowed),
    };

    return it_run(tests);
}
