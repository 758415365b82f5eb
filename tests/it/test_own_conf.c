/*
 * A program's own configuration keys and protocols, seen from outside: everything that works for
 * the framework's keys works for them, through reloads and upgrades.
 */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

#define BINARY "tests/conf_server"
#define TWO_BINDS                                                                                  \
    "bind = (\"127.0.0.1:0\", { address = \"127.0.0.2:0\"; protocol = \"whisper\"; });"

static char *control_of(struct server *s)
{
    const size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

static void change(struct server *s, const char *command)
{
    const struct tool_run r = RUN(s->it, NO_INPUT, "-C", control_of(s), command);

    MUST(r.code == 0, "%s: %s", command, r.err);
    server_wait_workers(s, 2);
}

/* Does whoever sends @sent hear exactly @expected? */
static void must_hear(int fd, const char *sent, const char *expected)
{
    peer_send_text(fd, sent);
    peer_expect_text(fd, expected);
}

static void own_key__in_file_and_options__checked_shown_and_used(void **state)
{
    struct it *it = *state;
    const char *conf = "say: { greeting = \"good day\";\ntimes = 2; };";

    server_refuses(it, 0, "greeting = \"good day\";  # .*conf:1", .binary = BINARY, .conf = conf,
                   .args = {"-T"});
    server_refuses(it, 0, "times = 3;  # command line", .binary = BINARY, .conf = conf,
                   .args = {"-o", "say.times=3", "-T"});
    server_refuses(it, 0, "room = \"4KiB\";  # default", .binary = BINARY, .conf = conf,
                   .args = {"-T"});
    server_refuses(it, 78,
                   "conf:2: say.times: 10 is out of range, allowed: a whole number from 1 to 9",
                   .binary = BINARY, .conf = "say: {\ntimes = 10; };", .args = {"-t"});
    server_refuses(
        it, 78,
        "conf:1: say.tiems: unknown key .did you mean times.., allowed: greeting, times, room",
        .binary = BINARY, .conf = "say: { tiems = 1; };");
    server_refuses(it, 78, "conf:1: say.room: there is no room, allowed: a say.room of",
                   .binary = BINARY, .conf = "say: { room = \"1GiB\"; };");
    server_refuses(it, 0, "^[.]It Ic say.times No = Ar count$", .binary = BINARY, .is_bare = true,
                   .args = {"--manual"});
    server_refuses(it, 70,
                   "conf-server: the program is wrong: a default is wrong: say.times: 10 is",
                   .binary = "tests/conf_server_wrong", .is_bare = true, .args = {"-t"});
    struct server *s = server_start(it, .binary = BINARY, .conf = conf);
    must_hear(peer_connect(s->addr[0]), "x", "good daygood day");
}

static void own_key__reload__difference_and_new_value(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = BINARY, .conf = "say: { times = 2; };",
                                    .args = {"-o", "say.greeting=hi"});
    const int fd = peer_connect(s->addr[0]);
    struct tool_run r;

    must_hear(fd, "x", "hihi");
    server_configure(s, "say: { times = 3; greeting = \"no\"; };");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 0 && strstr(r.out, "\nsay.times  2       3\n") && !strstr(r.out, "greeting"),
         "%s%s", r.out, r.err);
    server_wait_workers(s, 2);
    must_hear(fd, "x", "hihihi");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "call", "arbiter", "config", "key=say.times");
    MUST(r.code == 0 && strstr(r.out, "3") && strstr(r.out, "file"), "%s%s", r.out, r.err);
    server_expect(s, "reload refused|configuration");
    server_configure(s, "say: { times = 0; };");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78 && strstr(r.err, ":1: say.times: 0 is out of range"), "%s", r.err);
    must_hear(fd, "x", "hihihi");
}

static void own_key__upgrade__values_and_options_go_on(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = BINARY,
                                    .conf = "say: { times = 2; }; server: { " TWO_BINDS " };",
                                    .args = {"-o", "say.greeting=hi"});
    const int said = peer_connect(s->addr[0]), whispered = peer_connect(s->addr[1]);

    must_hear(said, "x", "hihi");
    change(s, "upgrade");
    must_hear(said, "x", "hihi");
    must_hear(whispered, "LOUD", "loud");
    must_hear(peer_connect(s->addr[0]), "x", "hihi");
    must_hear(peer_connect(s->addr[1]), "LOUD", "loud");
    server_configure(s, "say: { times = 3; greeting = \"no\"; }; server: { " TWO_BINDS " };");
    change(s, "reload");
    must_hear(peer_connect(s->addr[0]), "x", "hihihi");
}

static void protocols__of_two_addresses__each_its_own(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = BINARY, .conf = "server: { " TWO_BINDS " };");
    struct tool_run r = RUN(it, NO_INPUT, "-C", control_of(s), "--json", "info");
    char bound[256];

    must_hear(peer_connect(s->addr[0]), "LOUD", "hello");
    must_hear(peer_connect(s->addr[1]), "LOUD", "loud");
    snprintf(bound, sizeof(bound), "\"whisper@%s\"", s->addr[1]);
    MUST(r.code == 0 && strstr(r.out, bound), "%s%s", r.out, r.err);
    snprintf(bound, sizeof(bound), "\"%s\"", s->addr[0]);
    MUST(strstr(r.out, bound), "%s", r.out);
    s = server_start(it, .binary = BINARY, .args = {"-b", "whisper@127.0.0.3:0"});
    must_hear(peer_connect(s->addr[0]), "LOUD", "hello");
    must_hear(peer_connect(s->addr[1]), "LOUD", "loud");
}

/* The listener is shared by two revisions that do not agree about what is spoken there. */
static void protocols__reload_changes_only_them__no_listener_is_closed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = BINARY, .conf = "server: { " TWO_BINDS " };");
    const int said = peer_connect(s->addr[0]), whispered = peer_connect(s->addr[1]);
    char first[512];

    snprintf(first, sizeof(first), "%s %s", s->addr[0], s->addr[1]);
    must_hear(said, "LOUD", "hello");
    must_hear(whispered, "LOUD", "loud");
    server_configure(s, "server: { bind = (\"whisper@127.0.0.1:0\", \"127.0.0.2:0\"); };");
    change(s, "reload");
    must_hear(peer_connect(s->addr[0]), "LOUD", "loud");
    must_hear(peer_connect(s->addr[1]), "LOUD", "hello");
    /* What they have begun with they go on with, in another worker. */
    must_hear(said, "LOUD", "hello");
    must_hear(whispered, "LOUD", "loud");
    server_expect(s, "reload refused|configuration");
    server_configure(s, "server: { bind = (\"whispers@127.0.0.1:0\"); };");
    struct tool_run r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78 && strstr(r.err, "there is no such protocol, but say, whisper"), "%s", r.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(own_key__in_file_and_options__checked_shown_and_used),
        IT(own_key__reload__difference_and_new_value),
        IT(own_key__upgrade__values_and_options_go_on),
        IT(protocols__of_two_addresses__each_its_own),
        IT(protocols__reload_changes_only_them__no_listener_is_closed),
    };

    return cmocka_run_group_tests_name("own_conf", tests, NULL, NULL);
}
