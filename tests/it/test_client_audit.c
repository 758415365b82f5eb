/*
 * echo-client audit as people and scripts use it: its verdict, its exit code, its summary.
 */
#include <jansson.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/server.h"
#include "support/tool.h"

static json_t *must_json(const struct tool_run *r)
{
    json_t *o = json_loads(r->out, 0, NULL);

    MUST(o, "no JSON: %s%s", r->out, r->err);
    return o;
}

static json_int_t count_of(const json_t *o, const char *name)
{
    json_t *value = json_object_get(o, name);

    MUST(json_is_integer(value), "no %s", name);
    return json_integer_value(value);
}

static void audit__good_weather__delivered(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "audit", "-c", "6", "-n", "50",
                            "--think", "0", "--churn", "2", "--max-loss", "0");

    MUST(r.code == 0 && r.err[0] == '\0', "exit code %d: %s%s", r.code, r.out, r.err);
    MUST(strstr(r.out, "0 of 300 lost"), "says: %s", r.out);
    MUST(strstr(r.out, "6 of 6 connections without a flaw"), "says: %s", r.out);
    MUST(strstr(r.out, "verdict: delivered\n"), "says: %s", r.out);
}

static void audit__json__every_count_and_lane(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "audit", "-c", "3", "-n",
                            "20", "-s", "100", "--rate", "1000", "--seed", "7");
    json_t *o = must_json(&r);

    MUST(r.code == 0, "exit code %d", r.code);
    MUST(count_of(o, "sent") == 60 && count_of(o, "echoed") == 60, "counts: %s", r.out);
    MUST(count_of(o, "messages_lost") == 0 && count_of(o, "seed") == 7, "counts: %s", r.out);
    MUST(count_of(o, "bytes_sent") == 60 * 104, "bytes: %s", r.out);
    MUST(json_array_size(json_object_get(o, "lanes")) == 3, "lanes: %s", r.out);
    MUST(!strcmp(json_string_value(json_object_get(o, "verdict")), "delivered"), "%s", r.out);
    json_decref(o);
}

/* A worker dies in the middle: what it had is lost, said, dated, and decides the exit code. */
static void audit__worker_killed__goes_on_and_accounts_for_all(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    struct tool_run r = {0};
    uint64_t before = server_counter(s, requests);
    json_t *o;

    server_expect(s, "worker died.*kind=signal");
    r.pid = tool_start(
        it, io,
        ARGS("-a", s->addr[0], "--json", "audit", "-c", "16", "--think", "0", "-s", "4KiB-64KiB"));
    MUST_COME(server_counter(s, requests) > before + 500, "no traffic");
    kill(server_worker(s, 0), SIGKILL);
    server_wait_log(s, "worker died.*kind=signal", 1);
    server_wait_workers(s, 2);
    before = server_counter(s, requests);
    MUST_COME(server_counter(s, requests) > before + 500, "no more traffic");
    kill(r.pid, SIGINT);
    r.code = tool_wait(r.pid);
    r.out = tool_read_back(io.out, &r.out_len);
    r.err = tool_read_back(io.err, NULL);
    MUST(r.code == 130, "exit code %d: %s", r.code, r.err);
    o = must_json(&r);
    json_int_t lost = count_of(o, "messages_lost");
    MUST(lost > 0 && lost == count_of(o, "failed_closed") + count_of(o, "failed_reset"), "lost: %s",
         r.out);
    MUST(count_of(o, "sent") == count_of(o, "echoed") + lost, "accounts: %s", r.out);
    MUST(count_of(o, "connected") > 16, "never came back: %s", r.out);
    MUST(!strcmp(json_string_value(json_object_get(o, "verdict")), "broken"), "%s", r.out);
    MUST(count_of(o, "outages_in_all") >= 1, "no outage: %s", r.out);
    MUST(json_array_size(json_object_get(o, "outages")) >= 1, "no outage: %s", r.out);
    json_decref(o);
}

/* The same loss, within what is allowed or not; nothing is random about it. */
static void audit__limits__decide_the_exit_code(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { max_message = \"4KiB\"; };");
    const char *allowed[] = {"0", "2", "3", "100%"};
    const int codes[] = {1, 1, 0, 0};

    /* Each of three connections sends one message that is too long and is closed for it. */
    for (size_t i = 0; i < 4; i++) {
        struct tool_run r =
            RUN(it, NO_INPUT, "-a", s->addr[0], "audit", "-c", "3", "-n", "1", "-s", "8KiB",
                "--no-reconnect", "--no-half-close", "--max-cut", "100%", "--max-loss", allowed[i]);

        MUST(r.code == codes[i], "--max-loss %s: %d: %s%s", allowed[i], r.code, r.out, r.err);
        MUST(strstr(r.out, "3 of 3 lost"), "says: %s", r.out);
        MUST(strstr(r.out, codes[i] ? "verdict: BROKEN: too many messages were lost"
                                    : "verdict: delivered"),
             "says: %s", r.out);
    }
}

/* Not one message is lost, and yet something was done to the connections. */
static void audit__server_stops__connections_are_cut(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io,
                           ARGS("-a", s->addr[0], "audit", "-c", "4", "-s", "100", "--think", "1ms",
                                "--no-reconnect", "--max-loss", "100%"));
    uint64_t before = server_counter(s, requests);
    char *out;
    int code;

    MUST_COME(server_counter(s, requests) > before + 50, "no traffic");
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end, or not cleanly");
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 1, "exit code %d: %s", code, out);
    MUST(strstr(out, "0 of 4 connections without a flaw"), "says: %s", out);
    MUST(strstr(out, "verdict: BROKEN: too many connections were cut\n"), "says: %s", out);
}

static void audit__seed__the_same_again(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    json_int_t bytes[2];

    for (size_t i = 0; i < 2; i++) {
        struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "audit", "-c", "2", "-n",
                                "20", "--think", "0-2ms", "--seed", "7");
        json_t *o = must_json(&r);

        MUST(r.code == 0, "exit code %d: %s", r.code, r.out);
        bytes[i] = count_of(o, "bytes_sent");
        json_decref(o);
    }
    MUST(bytes[0] == bytes[1], "%lld and %lld bytes", (long long)bytes[0], (long long)bytes[1]);
}

static void audit__stopped_server__the_stall_decides(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { workers = 1; };");
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(
        it, io,
        ARGS("-a", s->addr[0], "audit", "-c", "4", "--think", "1ms", "--max-stall", "300ms", "-v"));
    uint64_t before = server_counter(s, requests), stopped;
    char *out;
    int code;

    MUST_COME(server_counter(s, requests) > before + 50, "no traffic");
    kill(server_worker(s, 0), SIGSTOP);
    stopped = clock_mono_ms();
    MUST_COME(clock_mono_ms() > stopped + 600, "time stands still");
    kill(server_worker(s, 0), SIGCONT);
    before = server_counter(s, requests);
    MUST_COME(server_counter(s, requests) > before + 50, "no more traffic");
    kill(pid, SIGTERM);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 128 + SIGTERM, "exit code %d: %s", code, out);
    MUST(strstr(out, "verdict: BROKEN: a stall was too long"), "says: %s", out);
    MUST(strstr(out, "\n         4  broken      0 "), "says: %s", out);
    MUST(strstr(out, "outages: "), "says: %s", out);
    MUST(strstr(out, "  WAITED"), "says: %s", out);
}

static void audit__terminal__a_live_line(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct winsize size = {.ws_row = 24, .ws_col = 100};
    char seen[65536] = "";
    int pty, tty, code;
    pid_t pid;

    MUST(openpty(&pty, &tty, NULL, NULL, &size) == 0, "openpty");
    setenv("TERM", "xterm", 1);
    pid = tool_start(it, (struct tool_io){tty, tty, tty}, ARGS("-a", s->addr[0], "audit"));
    close(tty);
    tool_terminal_expect(pty, seen, sizeof(seen), "lost  longest stall");
    tool_terminal_expect(pty, seen, sizeof(seen), "16 connected");
    kill(pid, SIGINT);
    tool_terminal_expect(pty, seen, sizeof(seen), "verdict: delivered");
    code = tool_wait(pid);
    close(pty);
    MUST(code == 130, "exit code %d", code);
}

static void audit__nobody_there__an_error_not_a_verdict(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "-a", "127.0.0.1:1", "audit", "-t", "200ms");

    tool_must_fail(&r, 69, "connection refused");
    MUST(r.out_len == 0, "printed %s", r.out);
    /* Without an end of its own, too. */
    r = RUN(*state, NO_INPUT, "-a", "127.0.0.1:1", "audit");
    tool_must_fail(&r, 69, "connection refused");
}

/* Says the same to everybody, until it is killed. */
static pid_t start_foreign_server(const char *words, char addr[64])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(listener >= 0 && bind(listener, (struct sockaddr *)&sa, len) == 0 &&
             listen(listener, 64) == 0 && getsockname(listener, (struct sockaddr *)&sa, &len) == 0,
         "no listener");
    snprintf(addr, 64, "127.0.0.1:%u", ntohs(sa.sin_port));
    const pid_t pid = fork();
    if (pid == 0) {
        char buf[65536];

        for (;;) {
            const int fd = accept(listener, NULL, NULL);

            (void)!read(fd, buf, sizeof(buf));
            (void)!write(fd, words, strlen(words));
            close(fd);
        }
    }
    close(listener);
    return pid;
}

static void audit__no_echo_server__says_what_it_heard(void **state)
{
    static const char *const words[] = {"HTTP/1.1 400 Bad \"Request\"\r\n\r\n",
                                        "\x7f"
                                        "garbage without an end"};
    static const char *const shown[] = {"\"HTTP/1.1 400 Bad \\\"Request\\\"\\r\\n\\r\\n\"",
                                        "\"\\x7fgarbage without an end\""};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char addr[64];
        const pid_t pid = start_foreign_server(words[i], addr);
        struct tool_run r = RUN(*state, NO_INPUT, "-a", addr, "audit", "-c", "2");

        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        tool_must_fail(&r, 76, "not an echo server, it says ");
        MUST(strstr(r.err, shown[i]), "says: %s", r.err);
        MUST(r.out_len == 0, "printed %s", r.out);
    }
}

static void audit__wrong_words__usage(void **state)
{
    static const char *const bad[][3] = {
        {"-c", "0"},           {"-c", "20001"},    {"-d", "0"},          {"-s", "54"},
        {"-s", "100-90"},      {"-t", "soon"},     {"--think", "5-1"},   {"--max-loss", "101%"},
        {"--max-stall", ""},   {"--max-cut", "x"}, {"--churn", "17"},    {"--slow", "17"},
        {"--rate", "1000000"}, {"word", NULL},     {"--separator", "a"}, {"--separator", ""},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tool_run r = RUN(*state, NO_INPUT, "audit", bad[i][0], bad[i][1]);

        MUST(r.code == 64 && r.err[0], "%s %s: exit code %d", bad[i][0], bad[i][1], r.code);
    }
    struct tool_run r = RUN(*state, NO_INPUT, "audit", "--no-reconnect", "--reconnect", "5ms");
    MUST(r.code == 64 && strstr(r.err, "one of them"), "exit code %d: %s", r.code, r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(audit__good_weather__delivered),
        IT(audit__json__every_count_and_lane),
        IT(audit__worker_killed__goes_on_and_accounts_for_all),
        IT(audit__limits__decide_the_exit_code),
        IT(audit__server_stops__connections_are_cut),
        IT(audit__seed__the_same_again),
        IT(audit__stopped_server__the_stall_decides),
        IT(audit__terminal__a_live_line),
        IT(audit__nobody_there__an_error_not_a_verdict),
        IT(audit__no_echo_server__says_what_it_heard),
        IT(audit__wrong_words__usage),
    };

    return it_run(tests);
}
