/*
 * The traffic engine: patience, a peer that has gone deaf, and which address is taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/flow.h"

/* What happens to a lane is a word each, in `trace`. */
static struct {
    struct flow flow;
    struct lane lane;
    int listener;
    char path[64]; /* of a unix socket */
    char trace[256];
} f;

static void add(const char *word)
{
    assert_true(strlen(f.trace) + strlen(word) < sizeof(f.trace));
    strcat(f.trace, word);
}

static void on_due(struct lane *l)
{
    (void)l;
    add("due ");
}

static void on_connected(struct lane *l)
{
    (void)l;
    add("connected ");
}

static void on_unconnected(struct lane *l, int outcome)
{
    (void)l;
    add(arb_status_name(outcome));
    add(" ");
}

static void on_data(struct lane *l, const uint8_t *data, size_t len)
{
    char word[32];

    (void)l;
    snprintf(word, sizeof(word), "%.*s ", (int)len, (const char *)data);
    add(word);
}

static void on_room(struct lane *l)
{
    (void)l;
}

static void on_silent(struct lane *l)
{
    (void)l;
    add("silent ");
}

static void on_over(struct lane *l, bool is_reset)
{
    add(is_reset ? "reset " : "closed ");
    lane_close(l);
}

static const struct flow_ops ops = {
    .on_due = on_due,
    .on_connected = on_connected,
    .on_unconnected = on_unconnected,
    .on_data = on_data,
    .on_room = on_room,
    .on_silent = on_silent,
    .on_over = on_over,
};

/* Whoever connects waits in the queue until it is accepted. */
static struct arb_address listen_to(bool is_unix, int backlog)
{
    struct arb_address a = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    memcpy(&a.sa, &in, sizeof(in));
    if (is_unix) {
        snprintf(f.path, sizeof(f.path), "/tmp/test_flow.%d", (int)getpid());
        unlink(f.path);
        memcpy(un.sun_path, f.path, sizeof(f.path));
        memcpy(&a.sa, &un, sizeof(un));
        a.len = sizeof(un);
    }
    f.listener = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f.listener, (struct sockaddr *)&a.sa, a.len), 0);
    assert_int_equal(listen(f.listener, backlog), 0);
    assert_int_equal(getsockname(f.listener, (struct sockaddr *)&a.sa, &a.len), 0);
    return a;
}

static void begin(struct arb_address to, uint64_t connect_ms)
{
    struct addresses all = {.n = 1, .all = {to}};

    f.trace[0] = '\0';
    assert_int_equal(flow_init(&f.flow, NULL, &ops, &all, connect_ms), 0);
    lane_init(&f.lane, &f.flow);
}

static void finish(void)
{
    lane_close(&f.lane);
    flow_fini(&f.flow);
    close(f.listener);
    unlink(f.path);
}

static void run_until(const char *trace)
{
    while (strlen(f.trace) < strlen(trace))
        flow_turn(&f.flow, DEADLINE_NEVER);
    assert_string_equal(f.trace, trace);
}

static void lane__nothing_comes__silent_again_and_again(void **state)
{
    (void)state;
    begin(listen_to(false, 1), 0);
    lane_set_patience(&f.lane, 5);
    lane_connect(&f.lane);
    run_until("connected silent silent ");
    lane_set_patience(&f.lane, 0); /* endless */
    lane_wake_in(&f.lane, 20);
    run_until("connected silent silent due ");
    finish();
}

/* The peer resets while its last words still wait to be read: they are, and then the end. */
static void lane_send__peer_has_closed__deaf_but_not_over(void **state)
{
    int peer;

    (void)state;
    begin(listen_to(true, 1), 0);
    lane_connect(&f.lane);
    run_until("connected ");
    peer = accept(f.listener, NULL, NULL);
    assert_int_equal(write(peer, "bye", 3), 3);
    close(peer);
    assert_int_equal(lane_send(&f.lane, "x", 1), 0);
    assert_true(f.lane.is_deaf);
    assert_int_equal(lane_send(&f.lane, "x", 1), 0);
    run_until("connected bye closed ");
    finish();
}

static void lane_connect__unix_queue_full__timeout(void **state)
{
    int fds[8], n = 0, rc = 0;

    (void)state;
    begin(listen_to(true, 0), 30);
    while (n < 8 && (rc = connect_begin(&f.flow.to.all[0], NULL, &fds[n])) == 0)
        n++;
    assert_int_equal(rc, -EAGAIN);
    lane_connect(&f.lane);
    run_until("timeout ");
    finish();
    while (n > 0)
        close(fds[--n]);
}

static void lane_connect__first_refuses__the_other_is_taken_and_preferred(void **state)
{
    struct arb_address own = listen_to(false, 4);
    int silent = f.listener;

    (void)state;
    begin(listen_to(false, 4), 30000);
    close(f.listener); /* nobody listens there any more */
    f.flow.to.all[f.flow.to.n++] = own;
    lane_connect(&f.lane);
    run_until("connected ");
    assert_int_equal(f.flow.preferred, 1);
    lane_close(&f.lane);
    close(silent);
    lane_connect(&f.lane);
    run_until("connected refused ");
    finish();
}

/* Two of our own addresses, one connection each in turn. */
static void connect_begin__sources__take_turns(void **state)
{
    struct local_addresses from = {.n = 2, .ports = 1, .at = 1};
    struct arb_address to = listen_to(false, 4);

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000105u + i)}};

        memcpy(&from.all[i].sa, &in, sizeof(in));
        from.all[i].len = sizeof(in);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct sockaddr_in in;
        socklen_t len = sizeof(in);
        int fd = -1, rc = connect_begin(&to, &from, &fd);

        assert_true(rc == 0 || rc == OUTCOME_PENDING);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
        assert_int_equal(ntohl(in.sin_addr.s_addr), 0x7f000105u + i % 2);
        close(fd);
    }
    close(f.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lane__nothing_comes__silent_again_and_again),
        cmocka_unit_test(lane_send__peer_has_closed__deaf_but_not_over),
        cmocka_unit_test(lane_connect__unix_queue_full__timeout),
        cmocka_unit_test(lane_connect__first_refuses__the_other_is_taken_and_preferred),
        cmocka_unit_test(connect_begin__sources__take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
