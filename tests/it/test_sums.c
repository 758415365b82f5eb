/*
 * What the scoreboard says: sums that match what clients counted, whoever dies in between, and a
 * worker that writes over all of it.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

static char *control_of(struct server *s)
{
    size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

/* What `echo-client info` prints, for json_decref. */
static json_t *info_of(struct server *s)
{
    struct tool_run r = RUN(s->it, NO_INPUT, "-C", control_of(s), "info", "--json");
    json_t *o;

    MUST(r.code == 0, "exit code %d: %s", r.code, r.err);
    o = json_loads(r.out, 0, NULL);
    MUST(o, "no JSON: %s", r.out);
    return o;
}

static uint64_t total(const json_t *info, const char *name)
{
    json_t *value = json_object_get(json_object_get(info, "totals"), name);

    MUST(json_is_integer(value) && json_integer_value(value) >= 0, "total %s", name);
    return (uint64_t)json_integer_value(value);
}

#define COUNTER_NAME(field, help) #field,
static const char *const counter_names[] = {COUNTERS(COUNTER_NAME)};

/* How many times took at most so long, and their sum: none of it falls, as no counter does. */
static void must_not_fall(const json_t *before, const json_t *now, const char *times)
{
    const json_t *was = json_object_get(json_object_get(before, "totals"), times);
    const json_t *is = json_object_get(json_object_get(now, "totals"), times), *bucket;
    static const char *const names[] = {"count", "sum", "max"};
    json_int_t below = 0;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++)
        MUST(json_number_value(json_object_get(is, names[i])) >=
                 json_number_value(json_object_get(was, names[i])),
             "%s: %s went down", times, names[i]);
    json_array_foreach(json_object_get(is, "buckets"), i, bucket)
    {
        const json_int_t n = json_integer_value(json_object_get(bucket, "count"));
        const json_t *earlier = json_array_get(json_object_get(was, "buckets"), i);

        MUST(n >= json_integer_value(json_object_get(earlier, "count")) && n >= below,
             "%s: bucket %zu went down", times, i);
        below = n;
    }
    MUST(i > 0 && json_integer_value(json_object_get(is, "count")) >= below, "%s: %zu buckets",
         times, i);
}

/* No total is less than it was. @before is dropped. */
static json_t *must_not_decrease(struct server *s, json_t *before)
{
    json_t *now = info_of(s);

    for (size_t i = 0; i < ARRAY_SIZE(counter_names); i++)
        MUST(total(now, counter_names[i]) >= total(before, counter_names[i]),
             "%s went down from %llu to %llu", counter_names[i],
             (unsigned long long)total(before, counter_names[i]),
             (unsigned long long)total(now, counter_names[i]));
    must_not_fall(before, now, "reply_us");
    must_not_fall(before, now, "loop_lag_us");
    json_decref(before);
    return now;
}

struct count {
    uint64_t connections, messages, bytes;
};

/* Some clients, each a few messages and then the end; all is counted here. */
static void some_traffic(struct server *s, struct count *c, uint64_t *seed)
{
    enum { CLIENTS = 12 };
    int fds[CLIENTS];

    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        c->connections++;
    }
    for (int i = 0; i < 5 * CLIENTS; i++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "message %llu",
                           (unsigned long long)rng_below(seed, UINT64_C(1) << 40));

        peer_echo(fds[rng_below(seed, CLIENTS)], text);
        c->messages++;
        c->bytes += (uint64_t)len + 4;
    }
    for (int i = 0; i < CLIENTS; i++)
        peer_close(fds[i]);
    MUST_COME(server_gauge(s, connections) == 0, "connections stay");
}

static void must_match(const json_t *info, const struct count *c)
{
    MUST(total(info, "accepted") == c->connections, "accepted %llu of %llu",
         (unsigned long long)total(info, "accepted"), (unsigned long long)c->connections);
    MUST(total(info, "requests") == c->messages, "requests %llu of %llu",
         (unsigned long long)total(info, "requests"), (unsigned long long)c->messages);
    MUST(total(info, "bytes_in") == c->bytes, "bytes_in %llu of %llu",
         (unsigned long long)total(info, "bytes_in"), (unsigned long long)c->bytes);
    MUST(total(info, "bytes_out") == c->bytes, "bytes_out %llu of %llu",
         (unsigned long long)total(info, "bytes_out"), (unsigned long long)c->bytes);
    MUST(total(info, "closed_peer") == c->connections, "closed_peer %llu of %llu",
         (unsigned long long)total(info, "closed_peer"), (unsigned long long)c->connections);
    MUST(total(info, "connections") == 0, "connections");
}

static void sums__twenty_workers_killed__sums_as_the_clients_counted(void **state)
{
    enum { WORKERS = 4, KILLS = 20 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { workers = 4; };");
    struct count counted = {0};
    uint64_t seed = it_seed();
    json_t *info = info_of(s);

    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    for (int i = 0; i < KILLS; i++) {
        some_traffic(s, &counted, &seed);
        /* In turn, so that no slot waits long for its next process. */
        pid_t victim = server_slot_pid(s, (uint32_t)(i % WORKERS) + 1);
        kill(victim, SIGKILL);
        MUST_COME(!proc_is_alive(victim) && !server_record(s, victim), "%d lives", (int)victim);
        info = must_not_decrease(s, info);
        server_wait_workers(s, WORKERS);
    }
    some_traffic(s, &counted, &seed);
    info = must_not_decrease(s, info);
    must_match(info, &counted);
    MUST(json_integer_value(json_object_get(json_object_get(info, "arbiter"), "restarts")) == KILLS,
         "restarts");
    json_decref(info);
}

/* Every connection has come in one way, and has gone out one way or is open. */
static void must_add_up(const json_t *info)
{
    uint64_t in = total(info, "accepted") + total(info, "moved_in") + total(info, "rescued");
    uint64_t out = total(info, "connections") + total(info, "moved_out") + total(info, "left");

    for (size_t i = 0; i < ARRAY_SIZE(counter_names); i++)
        if (strncmp(counter_names[i], "closed_", 7) == 0)
            out += total(info, counter_names[i]);
    MUST(in == out, "%llu connections came in, %llu are accounted for", (unsigned long long)in,
         (unsigned long long)out);
}

static void sums__workers_end_with_connections_open__each_is_accounted_for(void **state)
{
    enum { PEERS = 20 };
    struct it *it = *state;
    /* So young that only the handler of a fatal signal saves them. */
    struct server *s = server_start(it, .conf = "arbiter = { workers = 1; keep_after = 3600; };");
    json_t *info;

    server_expect(s, "worker died|worker crashes|msg=\"?crash|backtrace|stack");
    for (size_t round = 1; round <= 2; round++) {
        const bool is_rescued = round == 2;

        for (int i = 0; i < PEERS; i++)
            peer_echo(peer_connect(s->addr[0]), "hello");
        server_must_idle(s); /* the worker has seen that its replies are out */
        kill(server_worker(s, 0), is_rescued ? SIGSEGV : SIGKILL);
        server_wait_log(s, "worker died", round);
        server_wait_workers(s, 1);
        if (is_rescued)
            MUST_COME(server_gauge(s, connections) == PEERS, "not rescued");
        info = info_of(s);
        MUST(total(info, "left") == round * PEERS, "left: %llu",
             (unsigned long long)total(info, "left"));
        MUST(total(info, "rescued") == (is_rescued ? PEERS : 0), "rescued");
        must_add_up(info);
        json_decref(info);
    }
    server_signal(s, SIGHUP);
    server_wait_log(s, "reloaded\" ", 1);
    server_wait_log(s, "worker ended\"", 1);
    info = info_of(s);
    MUST(total(info, "left") == 2 * PEERS, "those that have moved are not left");
    must_add_up(info);
    json_decref(info);
}

static void sums__reloads_and_scaling__sums_as_the_clients_counted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct count counted = {0};
    uint64_t seed = it_seed();
    json_t *info = info_of(s);

    for (size_t i = 1; i <= 5; i++) {
        some_traffic(s, &counted, &seed);
        server_signal(s, SIGHUP);
        server_wait_log(s, "reloaded\" ", i);
        info = must_not_decrease(s, info);
        server_signal(s, i % 2 ? SIGTTIN : SIGTTOU);
        server_wait_log(s, "scaling\" ", i);
    }
    some_traffic(s, &counted, &seed);
    info = must_not_decrease(s, info);
    must_match(info, &counted);
    json_decref(info);
}

/* Also what living workers had counted when the arbiter became another program. */
static void sums__upgrades__sums_as_the_clients_counted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct count counted = {0};
    uint64_t seed = it_seed();
    json_t *info = info_of(s);

    for (size_t i = 1; i <= 3; i++) {
        some_traffic(s, &counted, &seed);
        server_signal(s, SIGUSR2);
        server_wait_log(s, "msg=\"upgraded\"", i);
        info = must_not_decrease(s, info);
    }
    some_traffic(s, &counted, &seed);
    info = must_not_decrease(s, info);
    must_match(info, &counted);
    json_decref(info);
}

/* The one whose connection @fd is. */
static pid_t server_of(struct server *s, int *ret_fd)
{
    pid_t pids[SERVER_WORKERS_MAX];
    uint64_t before[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);

    for (size_t i = 0; i < n; i++)
        before[i] = counter_get(&server_record(s, pids[i])->connections);
    *ret_fd = peer_connect(s->addr[0]);
    peer_echo(*ret_fd, "who are you");
    for (size_t i = 0; i < n; i++)
        if (counter_get(&server_record(s, pids[i])->connections) > before[i])
            return pids[i];
    must_fail(__FILE__, __LINE__, "nobody has it");
}

/* Whatever is written there: everybody goes on accepting, nobody is turned away, the arbiter
 * lives, and what was counted before stays counted. */
static void sums__a_worker_writes_nonsense_about_itself__siblings_and_arbiter_go_on(void **state)
{
    static const char *const patterns[] = {"00", "01", "55", "a5", "ff"};
    struct it *it = *state;
    struct server *s = server_start(it, .binary = "test/echo-arbiter",
                                    .conf = "arbiter = { workers = 3; timeout = 2; };");
    struct count counted = {0};
    uint64_t seed = it_seed();
    json_t *info;

    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    some_traffic(s, &counted, &seed);
    info = info_of(s);
    must_match(info, &counted);
    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        char text[32];
        int fd;
        pid_t culprit = server_of(s, &fd);

        snprintf(text, sizeof(text),
                 "\x01"
                 "crash scribble%s",
                 patterns[i]);
        peer_echo(fd, text);
        info = must_not_decrease(s, info);
        for (int k = 0; k < 40; k++)
            MUST(peer_is_served(s->addr[0], WAIT_MS), "pattern %s: client %d", patterns[i], k);
        info = must_not_decrease(s, info);
        kill(culprit, SIGKILL);
        MUST_COME(!proc_is_alive(culprit), "%d lives", (int)culprit);
        server_wait_workers(s, 3);
        info = must_not_decrease(s, info);
        uint64_t before = total(info, "requests");
        MUST(before < 10000, "%llu requests from nowhere", (unsigned long long)before);
        some_traffic(s, &counted, &seed);
        info = must_not_decrease(s, info);
        MUST(total(info, "requests") == before + 60, "%llu requests of 60",
             (unsigned long long)(total(info, "requests") - before));
    }
    for (size_t i = 0; i < ARRAY_SIZE(counter_names); i++)
        MUST(total(info, counter_names[i]) < 1000000, "%s exploded", counter_names[i]);
    MUST(total(info, "closed_refused") == 0, "clients were turned away");
    MUST(server_log_count(s, "hangs") == 0, "somebody was aborted");
    json_decref(info);
    server_must_be_well(s, 3);
}

/* It dies of it, at once and alone; what the others say of themselves stands as it was. */
static void sums__a_worker_writes_into_anothers_record__it_alone_dies(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .binary = "test/echo-arbiter", .conf = "arbiter = { workers = 3; };");
    static const char text[] = "\x01"
                               "crash trespass\r\n\r\n";
    int fds[8];
    pid_t culprit = 0, pids[3];

    server_expect(s, "worker died|worker crashes|backtrace|msg=\"crash\"");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        culprit = server_of(s, &fds[i]);
    MUST(server_worker_pids(s, pids) == 3, "not three workers");
    MUST(proc_find_fd(culprit, "memfd:scoreboard") < 0, "the worker has its descriptor");

    MUST(write(fds[7], text, sizeof(text) - 1) == sizeof(text) - 1, "not sent");
    MUST_COME(!proc_is_alive(culprit), "%d lives", (int)culprit);
    server_wait_log(s, "worker died\" .*signal=SEGV", 1);
    for (size_t i = 0; i < 3; i++) {
        if (pids[i] == culprit)
            continue;
        MUST(proc_is_alive(pids[i]), "%d has died, too", (int)pids[i]);
        MUST(counter_get(&server_record(s, pids[i])->connections) <= ARRAY_SIZE(fds),
             "the record of %d was changed", (int)pids[i]);
    }
    server_wait_workers(s, 3);
    MUST(server_log_count(s, "worker died\"") == 1, "others have died");
    server_must_be_well(s, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(sums__workers_end_with_connections_open__each_is_accounted_for),
        IT(sums__twenty_workers_killed__sums_as_the_clients_counted),
        IT(sums__reloads_and_scaling__sums_as_the_clients_counted),
        IT(sums__upgrades__sums_as_the_clients_counted),
        IT(sums__a_worker_writes_nonsense_about_itself__siblings_and_arbiter_go_on),
        IT(sums__a_worker_writes_into_anothers_record__it_alone_dies),
    };

    return it_run(tests);
}
