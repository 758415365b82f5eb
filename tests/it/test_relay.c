/*
 * Messages between actors, from outside: publishers that do not wait for an answer, and
 * subscribers, on connections that move all the time. Each subscriber gets each message exactly
 * once, all in the same order, and each publisher's in the order in which it sent them.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/relay_rules.h"
#include "base/clock.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum {
    PUBLISHERS = 6,
    SUBSCRIBERS = 18,
    CLIENTS = PUBLISHERS + SUBSCRIBERS,
    WINDOW = 32, /* messages of a publisher that are not answered */
    NUMBERS = 1 << 20,
};

struct client {
    int fd;
    char buf[65536];
    size_t len;
    unsigned n_sent, n_answered; /* of a publisher */
    uint64_t number; /* of a subscriber: the last message */
    unsigned last[PUBLISHERS]; /* and the last of each publisher */
    unsigned n_heard;
    bool is_cut;
};

static struct traffic {
    struct client clients[CLIENTS];
    bool is_stopping; /* publish no more */
    bool may_cut; /* workers are killed */
    uint32_t *who; /* by number: publisher and its count, as the first subscriber heard it */
    unsigned n_wrong; /* out of a publisher's order, twice or not at all */
} traffic;

static bool is_publisher(size_t i)
{
    return i < PUBLISHERS;
}

/* ---- what clients do ---- */

static void publish(size_t i)
{
    struct client *c = &traffic.clients[i];
    char line[64];

    while (!traffic.is_stopping && !c->is_cut && c->n_sent - c->n_answered < WINDOW) {
        const int len = snprintf(line, sizeof(line), "PUB %zu %u\n", i, c->n_sent + 1);

        c->n_sent++;
        if (!traffic.may_cut)
            peer_send_text(c->fd, line);
        else if (peer_try_send(c->fd, line, (size_t)len) != len)
            c->is_cut = true;
    }
}

static void hear(struct client *c, const char *line)
{
    unsigned long long number;
    unsigned publisher, count;

    MUST(sscanf(line, "%llu %u %u", &number, &publisher, &count) == 3 && number < NUMBERS &&
             publisher < PUBLISHERS,
         "a subscriber got: %s", line);
    traffic.n_wrong += number <= c->number || count != c->last[publisher] + 1;
    c->number = number;
    c->last[publisher] = count;
    c->n_heard++;
    if (traffic.who[number] == 0)
        traffic.who[number] = publisher << 24 | count;
    MUST(traffic.who[number] == (publisher << 24 | count), "two messages have number %llu", number);
}

static void read_lines(size_t i)
{
    struct client *c = &traffic.clients[i];
    const ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - c->len);
    char *line = c->buf, *end;

    if (n < 0 && errno == EAGAIN)
        return;
    c->is_cut = n <= 0 && traffic.may_cut;
    if (c->is_cut)
        return;
    MUST(n > 0, "client %zu was cut: %s", i, n < 0 ? strerror(errno) : "end of file");
    c->len += (size_t)n;
    while ((end = memchr(line, '\n', c->len - (size_t)(line - c->buf)))) {
        *end = '\0';
        if (!is_publisher(i))
            hear(c, line);
        else
            MUST(strcmp(line, "+OK") == 0, "a publisher got: %s", line);
        c->n_answered += is_publisher(i);
        line = end + 1;
    }
    c->len -= (size_t)(line - c->buf);
    memmove(c->buf, line, c->len);
}

static void pump(int timeout_ms)
{
    struct pollfd fds[CLIENTS];

    for (size_t i = 0; i < CLIENTS; i++) {
        if (is_publisher(i) && !traffic.clients[i].is_cut)
            publish(i);
        fds[i] = (struct pollfd){.fd = traffic.clients[i].is_cut ? -1 : traffic.clients[i].fd,
                                 .events = POLLIN};
    }
    poll(fds, CLIENTS, timeout_ms);
    for (size_t i = 0; i < CLIENTS; i++)
        if (fds[i].revents)
            read_lines(i);
}

static unsigned n_published(void)
{
    unsigned n = 0;

    for (size_t i = 0; i < PUBLISHERS; i++)
        n += traffic.clients[i].n_sent;
    return n;
}

static void pump_messages(unsigned n)
{
    const unsigned until = n_published() + n;

    while (n_published() < until)
        pump(100);
}

static void pump_until_logged(struct server *s, const char *pattern, size_t n)
{
    const uint64_t deadline_ms = clock_mono_ms() + 20000;

    while (server_log_count(s, pattern) < n) {
        MUST(clock_mono_ms() < deadline_ms, "not logged: %s", pattern);
        for (int i = 0; i < 20; i++)
            pump(2);
    }
}

static void begin(struct server *s)
{
    static uint32_t who[NUMBERS];

    memset(&traffic, 0, sizeof(traffic));
    memset(who, 0, sizeof(who));
    traffic.who = who;
    for (size_t i = 0; i < CLIENTS; i++)
        traffic.clients[i].fd = peer_connect(s->addr[0]);
    for (size_t i = PUBLISHERS; i < CLIENTS; i++) {
        peer_send_text(traffic.clients[i].fd, "SUB\n");
        peer_expect_text(traffic.clients[i].fd, "+SUB\n");
    }
}

static bool is_all_heard(void)
{
    for (size_t i = 0; i < PUBLISHERS; i++)
        if (traffic.clients[i].n_answered < traffic.clients[i].n_sent)
            return false;
    for (size_t i = PUBLISHERS; i < CLIENTS; i++)
        if (traffic.clients[i].n_heard < n_published())
            return false;
    return true;
}

/* Returns how much was wrong. */
static unsigned finish(void)
{
    const uint64_t deadline_ms = clock_mono_ms() + 10000;

    traffic.is_stopping = true;
    while (!is_all_heard() && clock_mono_ms() < deadline_ms)
        pump(50);
    for (size_t i = PUBLISHERS; i < CLIENTS; i++)
        traffic.n_wrong += traffic.clients[i].n_heard != n_published();
    print_message("# %u messages to %d subscribers, %u wrong\n", n_published(), SUBSCRIBERS,
                  traffic.n_wrong);
    return traffic.n_wrong;
}

/* Those that are left have heard the same, and all of what the publishers that are left have sent.
 */
static bool have_survivors_heard_all(void)
{
    const struct client *first = NULL;

    for (size_t i = PUBLISHERS; i < CLIENTS; i++) {
        const struct client *c = &traffic.clients[i];

        if (c->is_cut)
            continue;
        first = first ? first : c;
        if (memcmp(c->last, first->last, sizeof(c->last)) != 0 || c->number != first->number)
            return false;
    }
    MUST(first, "no subscriber is left");
    for (size_t i = 0; i < PUBLISHERS; i++)
        if (!traffic.clients[i].is_cut && first->last[i] < traffic.clients[i].n_sent)
            return false;
    return true;
}

/* ---- the server ---- */

#define RELOADED "msg=\"reloaded\""
#define UPGRADED "msg=\"upgraded\""

static const char conf[] = "arbiter = { workers = 4; };\n";

static json_int_t info_of(struct server *s, const char *name)
{
    char control[192];
    struct tool_run r;
    json_t *o;
    json_int_t n;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = tool_run(s->it, NO_INPUT, ARGS("-C", control, "--json", "info"));
    o = json_loads(r.out, 0, NULL);
    MUST(r.code == 0 && o, "info: %s%s", r.err, r.out);
    MUST(json_is_integer(json_object_get(json_object_get(o, "messages"), name)), "no %s: %s", name,
         r.out);
    n = json_integer_value(json_object_get(json_object_get(o, "messages"), name));
    json_decref(o);
    return n;
}

/* ---- tests ---- */

static void relay__reload_scale_upgrade__exactly_once_in_order(void **state)
{
    struct server *s = server_start(*state, .conf = conf, .binary = "tests/relay_server");
    const size_t rounds = it_is_soak() ? 20 : 3;

    begin(s);
    for (size_t i = 1; i <= rounds; i++) {
        pump_messages(500);
        server_signal(s, SIGHUP);
        pump_until_logged(s, RELOADED, i);
        pump_messages(500);
        server_signal(s, SIGTTOU);
        pump_messages(500);
        server_signal(s, SIGTTIN);
        pump_messages(500);
        server_signal(s, SIGUSR2);
        pump_until_logged(s, UPGRADED, i);
    }
    pump_messages(1000);
    assert_int_equal(finish(), 0);
    assert_int_equal(info_of(s, "numbered"), n_published());
    assert_int_equal(info_of(s, "dropped"), 0);
}

static void relay__taker_stopped_for_a_while__exactly_once_in_order(void **state)
{
    struct server *s = server_start(*state, .conf = conf, .binary = "tests/relay_server");
    pid_t stopped;

    begin(s);
    for (size_t i = 1; i <= (it_is_soak() ? 10 : 2); i++) {
        stopped = server_worker(s, i % 3);
        pump_messages(300);
        kill(stopped, SIGSTOP);
        server_signal(s, SIGTTOU); /* the others get what the last one has */
        for (int k = 0; k < 50; k++)
            pump(10);
        kill(stopped, SIGCONT);
        pump_messages(300);
        server_signal(s, SIGTTIN);
        server_signal(s, SIGHUP);
        pump_until_logged(s, RELOADED, i);
    }
    assert_int_equal(finish(), 0);
}

static void relay__worker_killed__the_others_miss_nothing(void **state)
{
    struct server *s = server_start(*state, .conf = conf, .binary = "tests/relay_server");
    uint64_t deadline_ms;
    unsigned n_cut = 0;

    server_expect(s, "worker died");
    begin(s);
    traffic.may_cut = true;
    for (size_t i = 1; i <= 2; i++) {
        pump_messages(300);
        kill(server_slot_pid(s, (uint32_t)i), SIGKILL);
        if (i == 2) /* while it gives */
            server_signal(s, SIGHUP);
        pump_until_logged(s, "worker died", i);
    }
    pump_until_logged(s, RELOADED, 1);
    pump_messages(300);
    traffic.is_stopping = true;
    deadline_ms = clock_mono_ms() + 10000;
    while (!have_survivors_heard_all() && clock_mono_ms() < deadline_ms)
        pump(50);
    for (size_t i = 0; i < CLIENTS; i++)
        n_cut += traffic.clients[i].is_cut;
    print_message("# %u messages, %u connections cut, %u wrong\n", n_published(), n_cut,
                  traffic.n_wrong);
    assert_true(have_survivors_heard_all());
    assert_int_equal(traffic.n_wrong, 0);
}

static void relay__fence_left_out__seen_to_fail(void **state)
{
    struct server *s = server_start(*state, .conf = conf, .binary = "tests/relay_server",
                                    .env = {"ARB_TEST_NO_FENCE=1"});

    begin(s);
    for (size_t i = 1; i <= 20 && traffic.n_wrong == 0; i++) {
        pump_messages(200);
        server_signal(s, SIGHUP);
        pump_until_logged(s, RELOADED, i);
    }
    assert_true(finish() > 0);
}

static void relay__receiver_does_not_read__sender_waits_and_goes_on(void **state)
{
    struct server *s = server_start(*state, .binary = "tests/relay_server");
    const pid_t stopped = server_worker(s, 0);
    int fd = -1;

    /* A connection of the other worker. */
    for (unsigned i = 0; fd < 0; i++) {
        char who[64] = "", other[64];
        ssize_t n;

        MUST(i < 100, "all connections go to one worker");
        fd = peer_connect(s->addr[0]);
        peer_send_text(fd, "WHO\n");
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000);
        n = read(fd, who, sizeof(who) - 1);
        snprintf(other, sizeof(other), "+worker.%u\n",
                 (unsigned)counter_get(&server_identity(s, stopped)->slot));
        if (n <= 0 || strcmp(who, other) == 0)
            fd = -1;
    }
    kill(stopped, SIGSTOP);
    for (unsigned i = 0; i < 200; i++)
        peer_send_text(fd, "BIG 49152\n");
    while (info_of(s, "stalled") == 0)
        ;
    /* The window is shared by all actors; who came first had half of it. */
    assert_true(info_of(s, "under_way_bytes") <= RELAY_WINDOW_BYTES / 2);
    assert_true(info_of(s, "under_way_bytes") > RELAY_WINDOW_BYTES / 4 - 2 * 49152);
    kill(stopped, SIGCONT);
    for (unsigned i = 0; i < 200; i++)
        peer_expect_text(fd, "+OK\n");
    while (info_of(s, "stalled") > 0 || info_of(s, "under_way_bytes") > 0)
        ;
    assert_int_equal(info_of(s, "numbered"), 200);
    peer_send_text(fd, "BIG 49153\n");
    peer_expect_text(fd, "-EMSGSIZE\n");
}

static void relay__to_one_or_a_kind__those_alone(void **state)
{
    struct server *s = server_start(*state, .conf = "arbiter = { workers = 1; };\n",
                                    .binary = "tests/relay_server");
    const int fd = peer_connect(s->addr[0]);

    server_expect(s, "message to an actor that there is not: dropped");
    peer_send_text(fd, "SUB\n");
    peer_expect_text(fd, "+SUB\n");
    peer_send_text(fd, "TO worker.1 a\n");
    peer_expect_text(fd, "+OK\nto a\n");
    peer_send_text(fd, "TO worker b\n");
    peer_expect_text(fd, "+OK\nto b\n");
    peer_send_text(fd, "TO all c\n");
    peer_expect_text(fd, "+OK\nto c\n");
    peer_send_text(fd, "TO arbiter d\n");
    peer_expect_text(fd, "+OK\n");
    peer_send_text(fd, "TO oracle.1 how many?\n");
    peer_expect_text(fd, "+OK\nto 42 says oracle.1\n");
    peer_send_text(fd, "TO arbiter and who?\n");
    peer_expect_text(fd, "+OK\nto 42 says arbiter\n");
    assert_int_equal(info_of(s, "dropped"), 0);
    peer_send_text(fd, "TO worker.2 e\n");
    peer_expect_text(fd, "+OK\n");
    peer_send_text(fd, "TO work f\n");
    peer_expect_text(fd, "+OK\n");
    peer_send_text(fd, "PUB g\n");
    peer_expect_text(fd, "+OK\n11 g\n");
    assert_int_equal(info_of(s, "dropped"), 2);
    assert_int_equal(server_log_count(s, "actor that there is not.* to=worker.2 from=worker.1"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(relay__reload_scale_upgrade__exactly_once_in_order),
        IT(relay__taker_stopped_for_a_while__exactly_once_in_order),
        IT(relay__worker_killed__the_others_miss_nothing),
        IT(relay__fence_left_out__seen_to_fail),
        IT(relay__receiver_does_not_read__sender_waits_and_goes_on),
        IT(relay__to_one_or_a_kind__those_alone),
    };

    return it_run(tests);
}
