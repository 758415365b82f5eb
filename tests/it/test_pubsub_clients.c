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

static void pubsub__redis_cli_piped__the_replies(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, NULL);

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

static void pubsub__redis_cli_on_a_terminal__the_replies(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, NULL);
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

static void pubsub__redis_benchmark__no_error_and_no_warning(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, NULL);

    shell(s, "out",
          "redis-benchmark -p $PORT -t ping_inline,ping_mbulk -P 16 -c 50 -n 50000 -q 2>&1");
    MUST(!it_file_has(it_path(it, "out"), "[Ee]rror|[Ww]arning|WARNING"), "it complains: %s",
         it_path(it, "out"));
    MUST(it_file_has(it_path(it, "out"), "PING_MBULK: .* requests per second"), "no figure");
}

static void pubsub__hiredis__content(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "arbiter = { workers = 1; };\n");

    setenv("PORT", port_of(s), 1);
    installed_run(it, "$CC -O1 -Wall -Wextra -Werror tests/it/hiredis_client.c -lhiredis -lev \\\n"
                      "    -o \"$DEST/client\"\n"
                      "\"$DEST/client\" \"$PORT\" >\"$DEST/said\"\n");
    installed_must_say(it, "dest/said", "well\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(pubsub__redis_cli_piped__the_replies),
        IT(pubsub__redis_cli_on_a_terminal__the_replies),
        IT(pubsub__redis_benchmark__no_error_and_no_warning),
        IT(pubsub__hiredis__content),
    };

    return it_run(tests);
}
