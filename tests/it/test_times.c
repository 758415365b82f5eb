/*
 * How long replies take and how late loops are, as a server says it: slow replies and a process
 * that was stopped show up, and what has been counted outlives processes and programs.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

/* For json_decref. */
static json_t *info_of(struct server *s)
{
    char *control = peer_alloc(sizeof(s->run) + sizeof("/control"));
    struct tool_run r;
    json_t *o;

    sprintf(control, "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "info", "--json");
    o = json_loads(r.out, 0, NULL);
    MUST(r.code == 0 && o, "exit code %d: %s%s", r.code, r.out, r.err);
    return o;
}

static double number_in(const json_t *o, const char *times, const char *name)
{
    const json_t *n = json_object_get(json_object_get(o, times), name);

    MUST(json_is_number(n), "%s/%s is no number", times, name);
    return json_number_value(n);
}

static json_t *worker_in(const json_t *info)
{
    return json_array_get(json_object_get(info, "workers"), 0);
}

static json_t *totals_in(const json_t *info)
{
    return json_object_get(info, "totals");
}

/* How many of the totals took at most 65.536 ms. */
static double short_in(const json_t *info, const char *times)
{
    const json_t *buckets = json_object_get(json_object_get(totals_in(info), times), "buckets");
    const json_t *bucket = json_array_get(buckets, 16);

    MUST(json_integer_value(json_object_get(bucket, "le")) == 65536, "bucket 16");
    return json_number_value(json_object_get(bucket, "count"));
}

/* The first message of a worker is always timed. */
static void times__late_reply__timed_until_its_end(void **state)
{
    struct server *s =
        server_start(*state, .binary = "tests/clerk", .conf = "arbiter = { workers = 1; };");
    const int fd = peer_connect(s->addr[0]);
    json_t *info;

    peer_send_text(fd, "later 150 done\n");
    peer_expect_text(fd, "done\n");
    info = info_of(s);
    MUST(number_in(totals_in(info), "reply_us", "count") == 1, "count");
    MUST(number_in(totals_in(info), "reply_us", "sum") >= 75000, "sum");
    MUST(number_in(worker_in(info), "reply_us", "p50") >= 75000, "p50");
    MUST(number_in(worker_in(info), "reply_us", "max") >= 75000, "max");
    MUST(short_in(info, "reply_us") == 0, "it was short");
    json_decref(info);
}

static void times__echoes__short_and_what_the_process_uses(void **state)
{
    enum { MESSAGES = 600 };
    struct server *s = server_start(*state, .conf = "arbiter = { workers = 1; };");
    const int fd = peer_connect(s->addr[0]);
    const json_t *w;
    json_t *info;
    double n;

    for (int i = 0; i < MESSAGES; i++)
        peer_echo(fd, "hello");
    info = info_of(s);
    w = worker_in(info);
    n = number_in(totals_in(info), "reply_us", "count");
    MUST(n > 512 && n <= MESSAGES, "%f of %d messages", n, (int)MESSAGES);
    MUST(number_in(w, "reply_us", "count") == n, "the worker has other counts");
    MUST(number_in(w, "reply_us", "p50") <= number_in(w, "reply_us", "p99") &&
             number_in(w, "reply_us", "p99") <= number_in(w, "reply_us", "max"),
         "percentiles");
    MUST(json_integer_value(json_object_get(w, "memory_bytes")) > 1 << 20, "memory_bytes");
    MUST(json_integer_value(json_object_get(w, "fds")) > 5, "fds");
    MUST(json_integer_value(json_object_get(w, "fds_max")) >
             json_integer_value(json_object_get(w, "fds")),
         "fds_max");
    MUST(json_integer_value(json_object_get(json_object_get(info, "arbiter"), "memory_bytes")) >
             1 << 20,
         "memory_bytes of the arbiter");
    json_decref(info);
}

static bool is_silent(struct server *s, double ms)
{
    json_t *info = info_of(s);
    const json_t *age = json_object_get(worker_in(info), "heartbeat_age_ms");
    const bool is = json_number_value(age) > ms;

    json_decref(info);
    return is;
}

/* How often a loop was later than 65.536 ms, whose ever. */
static double late_now(struct server *s)
{
    json_t *info = info_of(s);
    const double n =
        number_in(totals_in(info), "loop_lag_us", "count") - short_in(info, "loop_lag_us");

    MUST(n == 0 || number_in(totals_in(info), "loop_lag_us", "max") >= 65536, "max");
    json_decref(info);
    return n;
}

/* And the lag is still there when the worker is not, nor the program that saw it. */
static void times__worker_was_stopped__late_for_good(void **state)
{
    struct server *s = server_start(*state, .conf = "arbiter = { workers = 1; timeout = 3; };");
    const pid_t worker = server_worker(s, 0);
    const double before = late_now(s);
    double late;

    server_expect(s, "worker died\" .*signal=KILL");
    kill(worker, SIGSTOP);
    MUST_COME(is_silent(s, 900), "it beats"); /* every 750 ms */
    kill(worker, SIGCONT);
    MUST_COME((late = late_now(s)) > before, "it was not late");
    kill(worker, SIGKILL);
    MUST_COME(!proc_is_alive(worker), "it lives");
    server_wait_workers(s, 1);
    MUST(late_now(s) >= late, "forgotten with the worker");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reloaded\" ", 1);
    MUST(late_now(s) >= late, "forgotten with the configuration");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    MUST(late_now(s) >= late, "forgotten with the program");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(times__late_reply__timed_until_its_end),
        IT(times__echoes__short_and_what_the_process_uses),
        IT(times__worker_was_stopped__late_for_good),
    };

    return it_run(tests);
}
