/*
 * What the library does with any program (tests/tools/tiny.c): its names are everywhere, its
 * protocols live in order, and one that cannot start has its documented outcome.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

#define TINY "tests/tiny"

static const char both[] = "server: { bind = ( \"127.0.0.1:0\", { address = \"127.0.0.2:0\"; "
                           "protocol = \"second\"; } ); };\n"
                           "arbiter: { workers = 1; };\n";

static void say_and_hear(const char *addr)
{
    const int fd = peer_connect(addr);

    peer_send_text(fd, "hello");
    peer_expect_text(fd, "hello");
    peer_close(fd);
}

static void names__all_from_the_program(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = TINY, .conf = "");
    char path[64], title[64] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)server_worker(s, 0));
    f = fopen(path, "re");
    MUST(f && fread(title, 1, sizeof(title) - 1, f) > 0, "no title");
    fclose(f);
    MUST(strncmp(title, "tiny: worker.", 13) == 0, "the title is %s", title);
    server_wait_log(s, "serving.* version=1.5", 1);
    const char *const version[] = {it_build_path(it, TINY), "--version", NULL};
    MUST(it_tool_run(it, "version", version) == 0, "no version");
    MUST_COME(it_file_has(it_path(it, "version"), "^tiny 1.5$"), "another version");
    const char *const help[] = {it_build_path(it, TINY), "--help", NULL};
    MUST(it_tool_run(it, "help", help) == 0, "no help");
    MUST_COME(it_file_has(it_path(it, "help"), "^As small as it can be.$"), "no text of its own");
    MUST_COME(it_file_has(it_path(it, "help"), "^  tiny -t -c FILE"), "no example");
    MUST(it_count_lines(it_path(it, "help"), "echo") == 0, "it speaks of echo");
    server_refuses(it, 78, "^tiny: .*: unknown group", .binary = TINY, .conf = "x: { y = 1; };");
}

/* A start in order, and a stop in the other, behind the last connection. */
static void protocols__start_run_stop__in_order(void **state)
{
    static const char *const steps[] = {
        "protocol=first what=start", "protocol=second what=start", "protocol=first what=run",
        "protocol=second what=run",  "protocol=second what=close", "protocol=second what=stop",
        "protocol=first what=stop",
    };
    struct it *it = *state;
    struct server *s = server_start(it, .binary = TINY, .conf = both);
    char line[512];
    size_t n = 0;
    FILE *f;
    int fd;

    MUST(s->n_addr == 2, "%zu addresses", s->n_addr);
    say_and_hear(s->addr[0]);
    server_wait_log(s, "protocol=first what=close", 1);
    fd = peer_connect(s->addr[1]);
    peer_send_text(fd, "x");
    peer_expect_text(fd, "x");
    server_stop_and_check(s, SIGTERM, 0);
    f = fopen(s->log, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (!strstr(line, "msg=\"tiny\"") || strstr(line, "protocol=first what=close"))
            continue;
        MUST(n < ARRAY_SIZE(steps) && strstr(line, steps[n]), "step %zu: %s", n, line);
        n++;
    }
    if (f)
        fclose(f);
    MUST(n == ARRAY_SIZE(steps), "%zu steps", n);
}

static void expect_failed_start(struct server *s)
{
    server_expect(s, "level=error .*\"a protocol cannot start\" protocol=second "
                     "error=\"Permission denied\"");
    server_expect(s, "level=error .*\"worker cannot begin\" error=\"Permission denied\"");
    server_expect(s, "level=warning .*\"worker died\".* code=71 ");
}

static void start__a_protocol_cannot_start__the_server_gives_up(void **state)
{
    struct it *it = *state;
    struct server *s = server_spawn(it, .binary = TINY, .conf = "second: { fails = true; };");

    expect_failed_start(s);
    server_expect(s, "giving up: new processes keep dying");
    MUST(server_wait_exit(s, WAIT_MS) == 70, "another exit code");
    server_wait_log(s, "a protocol cannot start", 1);
    MUST(server_log_count(s, "giving up") == 1, "it does not say that it gives up");
    MUST(server_log_count(s, "protocol=first what=stop") ==
             server_log_count(s, "protocol=first what=start"),
         "what had started was not stopped");
}

static void reload__a_protocol_cannot_start__taken_back(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = TINY, .conf = both);
    const pid_t worker = server_worker(s, 0);
    char conf[512];

    snprintf(conf, sizeof(conf), "%ssecond: { fails = true; };\n", both);
    expect_failed_start(s);
    server_expect(s, "reload refused: nothing has changed");
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused: .* reason=\"a new worker died before it was ready\"", 1);
    MUST(server_worker(s, 0) == worker, "it has another worker");
    say_and_hear(s->addr[0]);
    say_and_hear(s->addr[1]);
    server_configure(s, both);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
}

static void reload__state_that_cannot_be_saved__drained_at_once(void **state)
{
    static const char conf[] = "server: { bind = ( \"127.0.0.1:0\", { address = \"127.0.0.2:0\"; "
                               "protocol = \"second\"; } ); };\n"
                               "arbiter: { workers = 1; exit_timeout = 600; };\n";
    struct server *s = server_start(*state, .binary = TINY, .conf = conf);
    const int first = peer_connect(s->addr[0]), second = peer_connect(s->addr[1]);

    peer_send_text(first, "a");
    peer_expect_text(first, "a");
    peer_send_text(second, "b");
    peer_expect_text(second, "b");
    server_signal(s, SIGHUP);
    peer_expect_eof(second);
    server_wait_log(s, "\"connections changed hands\" count=1", 1);
    peer_send_text(first, "c");
    peer_expect_text(first, "c");
    peer_close(first);
    peer_close(second);
}

static void put(struct it *it, const char *name)
{
    MUST(it_tool_run(it, "cp", ARGS("cp", it_build_path(it, name), it_path(it, "new"))) == 0 &&
             rename(it_path(it, "new"), it_path(it, "program")) == 0,
         "%s", name);
}

static void upgrade__program_of_another_name__refused_with_both(void **state)
{
    struct it *it = *state;
    put(it, TINY);
    struct server *s = server_start(it, .binary = it_path(it, "program"), .conf = both);

    server_expect(s,
                  "the server that runs is tiny, this program is echo-arbiter: only a program of "
                  "the same name can go on");
    put(it, "echo-arbiter");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "the server that runs is tiny", 1);
    say_and_hear(s->addr[1]);
    put(it, TINY);
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    say_and_hear(s->addr[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(names__all_from_the_program),
        IT(protocols__start_run_stop__in_order),
        IT(start__a_protocol_cannot_start__the_server_gives_up),
        IT(reload__a_protocol_cannot_start__taken_back),
        IT(reload__state_that_cannot_be_saved__drained_at_once),
        IT(upgrade__program_of_another_name__refused_with_both),
    };

    return it_run(tests);
}
