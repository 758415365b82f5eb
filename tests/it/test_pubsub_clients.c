/*
 * examples/pubsub as a server, compiled against what is installed: real clients of Redis are
 * content with it, and its subscribers hear everything once, in whichever worker they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support/installed.h"
#include "support/server.h"
#include "support/tool.h"

static struct server *start(struct it *it, const char *conf)
{
    installed_make(it);
    installed_run(it, "$CC -O1 -Wall -Wextra -Werror examples/pubsub/*.c \\\n"
                      "    $(pkg-config --cflags --libs arbiter) -o \"$DEST/pubsub\"\n");
    return server_start(it, .conf = conf, .binary = it_path(it, "dest/pubsub"),
                        .env = {installed_env(it)});
}

static const char *port_of(struct server *s)
{
    return strrchr(s->addr[0], ':') + 1;
}

/* It knows $PORT, and has to succeed; what it prints goes to the file DIR/@name. */
static void shell(struct server *s, const char *name, const char *script)
{
    setenv("PORT", port_of(s), 1);
    MUST(it_tool_run(s->it, name, ARGS("sh", "-ec", script)) == 0, "%s failed: %s", script,
         it_path(s->it, name));
}

static void try_redis_cli_piped(struct server *s)
{
    struct it *it = s->it;

    shell(s, "out",
          "printf 'PING\\nECHO \"a b\"\\nCLIENT SETNAME me\\nCLIENT GETNAME\\nSELECT 3\\nPUBLISH a "
          "b\\n"
          "MULTI\\nPING\\nPING x\\nEXEC\\nPUBSUB NUMSUB a\\nDEBUG SLEEP 0.01\\nfoo bar\\n' | "
          "redis-cli -p $PORT");
    installed_must_say(it, "out",
                       "PONG\na b\nOK\nme\nOK\n0\nOK\nQUEUED\nQUEUED\nPONG\nx\na\n0\nOK\n"
                       "ERR unknown command 'foo', with args beginning with: 'bar' \n\n");
    shell(
        s, "bytes",
        "printf 'PING\\r\\nSELECT 9\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n' | redis-cli -p $PORT --pipe");
}

static void try_redis_cli_on_a_terminal(struct server *s)
{
    struct it *it = s->it;
    char seen[16384] = "", prompt[64];
    int fd, code;
    pid_t pid = forkpty(&fd, NULL, NULL, NULL);

    MUST(pid >= 0, "forkpty: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("TERM", "dumb", 1);
        setenv("HOME", it->dir, 1);
        execlp("redis-cli", "redis-cli", "-p", port_of(s), (char *)NULL);
        _exit(127);
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    snprintf(prompt, sizeof(prompt), "127.0.0.1:%s> ", port_of(s));
    tool_terminal_expect(fd, seen, sizeof(seen), prompt);
    tool_type(fd, "ping hello\n");
    tool_terminal_expect(fd, seen, sizeof(seen), "\"hello\"");
    tool_type(fd, "select 3\n");
    tool_terminal_expect(fd, seen, sizeof(seen), "[3]> ");
    tool_type(fd, "multi\n");
    tool_terminal_expect(fd, seen, sizeof(seen), "(TX)> ");
    tool_type(fd, "discard\n");
    tool_terminal_expect(fd, seen, sizeof(seen), "OK");
    tool_type(fd, "subscribe news\n");
    tool_terminal_expect(fd, seen, sizeof(seen), "(integer) 1");
    kill(pid, SIGTERM);
    code = tool_wait(pid);
    close(fd);
    MUST(code == 128 + SIGTERM, "exit code %d: %s", code, seen);
    MUST(!strstr(seen, "rror") && !strstr(seen, "arning"), "%s", seen);
}

static void try_redis_benchmark(struct server *s)
{
    struct it *it = s->it;

    shell(s, "out",
          "redis-benchmark -p $PORT -t ping_inline,ping_mbulk -P 16 -c 50 -n 50000 -q 2>&1");
    MUST(!it_file_has(it_path(it, "out"), "[Ee]rror|[Ww]arning|WARNING"), "it complains: %s",
         it_path(it, "out"));
    MUST(it_file_has(it_path(it, "out"), "PING_MBULK: .* requests per second"), "no figure");
}

static void try_hiredis(struct server *s)
{
    struct it *it = s->it;

    setenv("PORT", port_of(s), 1);
    installed_run(it, "$CC -O1 -Wall -Wextra -Werror tests/it/hiredis_client.c -lhiredis -lev \\\n"
                      "    -o \"$DEST/client\"\n"
                      "\"$DEST/client\" \"$PORT\" >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "well\n");
}

/* All with the same server: an installation for each would take longer than they do. */
static void pubsub__clients_of_redis__content(void **state)
{
    struct server *s = start(*state, NULL);

    try_redis_cli_piped(s);
    try_redis_cli_on_a_terminal(s);
    try_redis_benchmark(s);
    try_hiredis(s);
}

/* A server whose main is linked with the library of authors' tests checks files. */
static void shout__linked_for_tests__checks_files(void **state)
{
    struct it *it = *state;

    installed_make(it);
    installed_run(it, "$CC examples/shout.c $(pkg-config --cflags --libs arbiter-testing) \\\n"
                      "    -o \"$DEST/shout\"\n"
                      "printf 'a\\nbc\\n\\nquit\\nd' >\"$DEST/good\"\n"
                      "\"$DEST/shout\" \"$DEST/good\" >\"$DEST/said\"\n"
                      "! \"$DEST/shout\" \"$DEST/good\" \"$DEST/nosuch\" >\"$DEST/said\" 2>&1\n"
                      "grep -q 'nosuch: cannot be read' \"$DEST/said\"\n");
}

enum { SUBSCRIBERS = 8, ROUNDS = 4, PER_ROUND = 50 };

/* As the server would say it to a subscriber of "news". */
static void expect_number(int fd, unsigned n)
{
    char text[16], want[128];
    const int len = snprintf(text, sizeof(text), "%u", n);

    snprintf(want, sizeof(want), "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%s\r\n", len, text);
    peer_expect_text(fd, want);
}

static void publish_numbers(int fd, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        char command[64];

        snprintf(command, sizeof(command), "PUBLISH news %u\r\n", i);
        peer_send_text(fd, command);
    }
}

/* Reads replies to PUBLISH, whatever they count. */
static void expect_counts(int fd, unsigned n)
{
    for (char c = 0; n > 0; n -= c == '\n')
        MUST_COME(recv(fd, &c, 1, 0) == 1, "the publisher's connection: %s", strerror(errno));
}

static void pubsub__reloads_between_and_during_messages__each_heard_once(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "arbiter = { workers = 3; };\n");
    int fd[SUBSCRIBERS], publisher = peer_connect(s->addr[0]), sleeper = peer_connect(s->addr[0]);
    unsigned n = 0;

    for (size_t i = 0; i < SUBSCRIBERS; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_send_text(fd[i], "SUBSCRIBE news\r\n");
        peer_expect_text(fd[i], "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    }
    for (unsigned round = 1; round <= ROUNDS; round++, n += PER_ROUND) {
        peer_send_text(sleeper, "DEBUG SLEEP 0.2\r\nCLIENT GETNAME\r\n");
        publish_numbers(publisher, n, PER_ROUND / 2);
        server_signal(s, SIGHUP);
        publish_numbers(publisher, n + PER_ROUND / 2, PER_ROUND / 2);
        expect_counts(publisher, PER_ROUND);
        for (size_t i = 0; i < SUBSCRIBERS; i++) {
            for (unsigned k = 0; k < PER_ROUND; k++)
                expect_number(fd[i], n + k);
        }
        peer_expect_text(sleeper, "+OK\r\n$-1\r\n");
        server_wait_log(s, "msg=\"reloaded\"", round);
    }
    for (size_t i = 0; i < SUBSCRIBERS; i++) {
        peer_send_text(fd[i], "PING\r\n");
        peer_expect_text(fd[i], "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(shout__linked_for_tests__checks_files),
        IT(pubsub__clients_of_redis__content),
        IT(pubsub__reloads_between_and_during_messages__each_heard_once),
    };

    return it_run(tests);
}
