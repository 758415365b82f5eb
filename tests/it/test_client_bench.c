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
    json_t *o = json_loads(r->out, 0, NULL);
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
        MUST(count_of(&r, "messages") == 1000 && count_of(&r, "unfinished") == 0, "%s: %s",
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

    it_write(it, "slow.json", "{\"rate\":1,\"latency_ms\":{\"50\":1e6,\"99\":1e6}}");
    it_write(it, "fast.json", "{\"rate\":1e12,\"latency_ms\":{\"50\":1e6,\"99\":1e6}}");
    it_write(it, "other.json", "{}");
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "500", "--compare",
            it_path(it, "slow.json"));
    MUST(r.code == 0 && !strstr(r.out, "WORSE"), "exit code %d: %s", r.code, r.out);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "-n", "500", "--compare",
            it_path(it, "fast.json"), "--max-regress", "50%");
    MUST(r.code == 1 && strstr(r.out, "WORSE"), "exit code %d: %s", r.code, r.out);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "bench", "--compare", it_path(it, "other.json"));
    MUST(r.code == 64 && strstr(r.err, "is no output of"), "exit code %d: %s", r.code, r.err);
    it_write(it, "deep.json", "{\"depth\":16,\"rate\":1,\"latency_ms\":{\"50\":1e6,\"99\":1e6}}");
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
    MUST(strstr(r.out, "\nunfinished "), "hides what it gave up: %s", r.out);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(bench__count__text_with_percentiles_and_plot),
        IT(bench__every_way__as_the_server_counts),
        IT(bench__compare__worse_is_1),
        IT(bench__every_connection_closed_by_the_server__says_so),
        IT(bench__rate_out_of_reach__ends_and_says_what_it_reached),
        IT(bench__interrupted__with_what_it_has),
        IT(bench__nobody__refused),
        IT(bench__wrong_words__usage),
    };

    return it_run(tests);
}
