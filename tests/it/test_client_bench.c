/*
 * echo-client bench against the server: what it counts, what it compares, how it ends.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/server.h"
#include "support/tool.h"

static json_int_t count_of(const struct tool_run *r, const char *name)
{
    json_t *o = json_loads(r->out, JSON_DISABLE_EOF_CHECK, NULL);
    json_int_t n;

    MUST(json_is_integer(json_object_get(o, name)), "no %s: %s%s", name, r->out, r->err);
    n = json_integer_value(json_object_get(o, name));
    json_decref(o);
    return n;
}

static void bench__count__text_with_percentiles_and_plot(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "2000", "-d", "4");

    MUST(r.code == 0 && r.err[0] == '\0', "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.out, "\n         64      4    64  64        1 "), "says: %s", r.out);
    MUST(strstr(r.out, "\nmessages                   2 000  "), "says: %s", r.out);
    MUST(strstr(r.out, "\n99.99 "), "says: %s", r.out);
    MUST(strstr(r.out, "|#"), "says: %s", r.out);
}

static void bench__every_way__as_the_server_counts(void **state)
{
    static const char *const ways[][5] = {
        {"-d", "16", "-s", "1-4KiB"}, {"--churn", "7", "-c", "5"}, {"--threads", "3", "-s", "0"},
        {"--rate", "20000"},          {"-s", "100KiB", "-c", "2"},
    };
    struct it *it = *state;
    struct server *s = server_start(it);

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        uint64_t before = server_counter(s, requests);
        struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "bench", "-n", "1000",
                                ways[i][0], ways[i][1], ways[i][2], ways[i][3]);

        MUST(r.code == 0, "%s: exit code %d: %s", ways[i][0], r.code, r.err);
        MUST(count_of(&r, "messages") == 1000 && count_of(&r, "unanswered") == 0, "%s: %s",
             ways[i][0], r.out);
        MUST_COME(server_counter(s, requests) == before + 1000, "%s: the server counts %llu",
                  ways[i][0], (unsigned long long)(server_counter(s, requests) - before));
    }
}

static void bench__compare__worse_is_1(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    it_write(it, "slow.json", "{\"rate\":1,\"latency_ms\":{\"p50\":1e6,\"p99\":1e6}}");
    it_write(it, "fast.json", "{\"rate\":1e12,\"latency_ms\":{\"p50\":1e6,\"p99\":1e6}}");
    it_write(it, "other.json", "{}");
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "500", "--compare",
            it_path(it, "slow.json"));
    MUST(r.code == 0 && !strstr(r.out, "WORSE"), "exit code %d: %s", r.code, r.out);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "500", "--compare",
            it_path(it, "fast.json"), "--max-regress", "50%");
    MUST(r.code == 1 && strstr(r.out, "WORSE"), "exit code %d: %s", r.code, r.out);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "--compare", it_path(it, "other.json"));
    MUST(r.code == 64 && strstr(r.err, "is no output of"), "exit code %d: %s", r.code, r.err);
    it_write(it, "deep.json", "{\"depth\":16,\"rate\":1,\"latency_ms\":{\"p50\":1e6,\"p99\":1e6}}");
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "500", "-d", "8", "--compare",
            it_path(it, "deep.json"));
    MUST(r.code == 64 && strstr(r.err, "its depth was 16"), "exit code %d: %s", r.code, r.err);
}

static void bench__every_connection_closed_by_the_server__says_so(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { max_message = \"1KiB\"; };");
    struct tool_run r =
        RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-t", "200ms", "-c", "2", "-s", "2KiB");

    MUST(r.code == 76, "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.err, "not one message came back: connection ") && strstr(r.err, "max_message?"),
         "says: %s", r.err);
    MUST(!strstr(r.out, "99.99"), "times of nothing: %s", r.out);
}

static void bench__rate_out_of_reach__ends_and_says_what_it_reached(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-t", "100ms", "-c", "1", "-d",
                            "1", "--rate", "100000000");

    MUST(r.code == 0, "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.out, "\nreached ") && strstr(r.out, " of 100 000 000 messages/s wanted\n"),
         "says: %s", r.out);
    MUST(strstr(r.out, "\nunsent "), "hides what it gave up: %s", r.out);
}

static void bench__interrupted__with_what_it_has(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    uint64_t before = server_counter(s, requests);
    pid_t pid = tool_start(it, io, ARGS("-a", s->addr[0], "bench", "-t", "1h", "--warmup", "0"));
    char *out;
    int code;

    MUST_COME(server_counter(s, requests) > before + 100, "no messages");
    kill(pid, SIGINT);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 130, "exit code %d", code);
    MUST(strstr(out, "\nmessages  "), "says: %s", out);
}

/* ---- a server that stops in the middle ---- */

static double real_of(const char *json, const char *name)
{
    json_t *o = json_loads(json, JSON_DISABLE_EOF_CHECK, NULL);
    const double value = json_number_value(json_object_get(o, name));

    MUST(json_is_number(json_object_get(o, name)), "no %s: %s", name, json);
    json_decref(o);
    return value;
}

enum trouble { TROUBLE_GONE, TROUBLE_FROZEN };

/* The bench has this trouble after its first messages. Returns what it said. */
static struct tool_run run_into(struct it *it, enum trouble trouble, const char *const *args)
{
    struct server *s = server_start(it);
    pid_t workers[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(s, workers);
    const char *words[16] = {"-a", s->addr[0], "--json", "--timeout", "0.3", "bench"};
    struct tool_run r = {0};

    for (size_t i = 0; args[i]; i++)
        words[6 + i] = args[i];
    const struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    const pid_t pid = tool_start(it, io, words);
    MUST_COME(server_counter(s, requests) > 100, "no messages");
    if (trouble == TROUBLE_FROZEN)
        server_signal(s, SIGSTOP); /* or it would end them */
    for (size_t i = 0; i < n && trouble == TROUBLE_FROZEN; i++)
        kill(workers[i], SIGSTOP);
    if (trouble == TROUBLE_GONE) {
        server_signal(s, SIGTERM);
        MUST(server_wait_exit(s, WAIT_MS) == 0, "the server does not end");
    }
    r.code = tool_wait(pid);
    for (size_t i = 0; i < n && trouble == TROUBLE_FROZEN; i++)
        kill(workers[i], SIGCONT);
    if (trouble == TROUBLE_FROZEN)
        server_signal(s, SIGCONT);
    r.out = tool_read_back(io.out, NULL);
    r.err = tool_read_back(io.err, NULL);
    return r;
}

/* Nothing came in most of the time: the rate is over all of it. Replies in the window to messages
 * of the warm-up count for the rate alone. */
static void must_tell_all_of_the_time(const struct tool_run *r, double seconds)
{
    const double measured = real_of(r->out, "duration_ms") / 1e3;

    MUST(measured > seconds - 0.001 && measured < seconds + 0.001, "duration_ms: %s", r->out);
    MUST(real_of(r->out, "rate") * measured < (double)count_of(r, "messages") + 64, "rate: %s",
         r->out);
}

static void bench__server_ends_in_the_middle__outage_and_the_rate_of_all_of_it(void **state)
{
    struct tool_run r = run_into(
        *state, TROUBLE_GONE, (const char *const[]){"-t", "2", "--warmup", "1ms", "-c", "4", NULL});

    MUST(r.code == 69 || r.code == 76, "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.err, "no connection for "), "says: %s", r.err);
    must_tell_all_of_the_time(&r, 1.999);
    MUST(real_of(r.out, "outage_ms") > 0, "no outage: %s", r.out);
}

static void bench__server_freezes_under_a_rate__unanswered(void **state)
{
    struct tool_run r = run_into(
        *state, TROUBLE_FROZEN,
        (const char *const[]){"-t", "2", "--warmup", "1ms", "-c", "4", "--rate", "1000", NULL});

    MUST(r.code == 75, "exit code %d: %s", r.code, r.err);
    must_tell_all_of_the_time(&r, 1.999);
    MUST(count_of(&r, "unanswered") > 0, "says: %s", r.out);
    MUST(real_of(r.out, "rate") < 999, "a rate that was not reached: %s", r.out);
}

static void bench__server_ends_before_the_count__ends_as_well(void **state)
{
    struct tool_run r =
        run_into(*state, TROUBLE_GONE, (const char *const[]){"-n", "1000000000", "-c", "4", NULL});

    MUST(r.code == 69 || r.code == 76, "exit code %d: %s", r.code, r.err);
    MUST(count_of(&r, "messages") + count_of(&r, "unanswered") + count_of(&r, "unsent") ==
             1000000000,
         "says: %s", r.out);
    MUST(count_of(&r, "unsent") > 0 && real_of(r.out, "outage_ms") > 0, "says: %s", r.out);
}

static void bench__interrupted_in_the_warm_up__no_time_at_all(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid =
        tool_start(it, io, ARGS("-a", s->addr[0], "--json", "bench", "-t", "2h", "--warmup", "1h"));
    char *out;

    MUST_COME(server_counter(s, requests) > 100, "no messages");
    kill(pid, SIGINT);
    MUST(tool_wait(pid) == 130, "another exit code");
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(real_of(out, "duration_ms") == 0 && real_of(out, "rate") == 0, "says: %s", out);
    MUST(real_of(out, "cut_short_ms") > 0, "says: %s", out);
}

static void bench__compared_with_failures__worse(void **state)
{
    struct it *it = *state;
    struct tool_run r;

    it_write(it, "slow.json", "{\"rate\":1,\"latency_ms\":{\"p50\":1e6,\"p99\":1e6}}");
    r = run_into(
        it, TROUBLE_GONE,
        (const char *const[]){"-t", "1", "-c", "4", "--compare", it_path(it, "slow.json"), NULL});
    MUST(r.code != 0 && strstr(r.err, "outage in ms") && strstr(r.err, "WORSE"), "exit code %d: %s",
         r.code, r.err);
}

static void bench__nobody__refused(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "-a", "127.0.0.1:1", "bench", "-t", "200ms");

    tool_must_fail(&r, 69, "connection refused");
}

static void bench__wrong_words__usage(void **state)
{
    static const char *const bad[][5] = {
        {"-c", "0"},
        {"-d", "4097"},
        {"-s", "x"},
        {"-t", "0"},
        {"--rate", "-5"},
        {"--churn", "0"},
        {"--threads", "65"},
        {"word", NULL},
        {"-t", "1", "--warmup", "1"},
        {"--max-regress", ""},
        {"--compare", ""},
        {"-s", "0", "--separator", ""},
        {"--max-regress", "5%"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tool_run r =
            RUN(*state, NO_INPUT, "bench", bad[i][0], bad[i][1], bad[i][2], bad[i][3]);

        MUST(r.code == 64 && r.err[0], "%s: exit code %d", bad[i][0], r.code);
    }
}

/* Of make bench, which takes minutes: what it makes of its figures. */
static void bench_report__alarms_and_tables__ratios_within_100_columns(void **state)
{
    struct it *it = *state;
    int fd = tool_file(it, "report.log");
    int code = it_tool_run(it, "report.log", ARGS("python3", "tests/bench/report_test.py"));

    MUST(code == 0, "exit code %d: %s", code, tool_read_back(fd, NULL));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(bench__count__text_with_percentiles_and_plot),
        IT(bench__every_way__as_the_server_counts),
        IT(bench__compare__worse_is_1),
        IT(bench__every_connection_closed_by_the_server__says_so),
        IT(bench__rate_out_of_reach__ends_and_says_what_it_reached),
        IT(bench__interrupted__with_what_it_has),
        IT(bench__server_ends_in_the_middle__outage_and_the_rate_of_all_of_it),
        IT(bench__server_freezes_under_a_rate__unanswered),
        IT(bench__server_ends_before_the_count__ends_as_well),
        IT(bench__interrupted_in_the_warm_up__no_time_at_all),
        IT(bench__compared_with_failures__worse),
        IT(bench__nobody__refused),
        IT(bench__wrong_words__usage),
        IT(bench_report__alarms_and_tables__ratios_within_100_columns),
    };

    return it_run(tests);
}
