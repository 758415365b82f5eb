/*
 * What echo-client --json prints, command by command, is as doc/echo-client.schema.json says. Every
 * other test that runs it with --json is held against that, too: see json_schema_check_output.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "support/json_schema.h"
#include "support/server.h"
#include "support/tool.h"

enum { COMMANDS_MAX = 64 };

/* What has been run. */
static const char *seen[COMMANDS_MAX];
static size_t n_seen;

struct asked {
    struct server *s;
    char control[160];
};

/* The output is checked by tool_run. Returns the exit code. */
static int run(const struct asked *a, const char *command, const char *const *more)
{
    static const char *const clients[] = {"send", "ping", "bench", "audit", "hold"};
    const char *args[12] = {"-C", a->control, "--json", command};
    struct tool_run r;
    size_t n = 4;

    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        if (strcmp(command, clients[i]) == 0) {
            args[0] = "-a";
            args[1] = a->s->addr[0];
        }

    while (*more)
        args[n++] = *more++;
    r = tool_run(a->s->it, NO_INPUT, args);
    MUST(*r.out, "%s: exit code %d: nothing printed: %s", command, r.code, r.err);
    seen[n_seen++] = command;
    return r.code;
}
#define MUST_RUN(a, command, ...)                                                                  \
    MUST(run(a, command, ARGS(__VA_ARGS__)) == 0, "%s failed", command)

static bool is_seen(const char *command)
{
    for (size_t i = 0; i < n_seen; i++)
        if (strcmp(seen[i], command) == 0)
            return true;
    return false;
}

static void json__every_command__as_its_schema_says(void **state)
{
    struct it *it = *state;
    struct asked a = {
        .s = server_start(it, .conf = "arbiter = { workers = 2; };", .binary = "echo-arbiter")};
    pid_t pids[SERVER_WORKERS_MAX];
    const json_t *command;
    size_t i;
    int fd;

    server_expect(a.s, "worker died|worker crashes|msg=\"?crash|backtrace|stack");
    snprintf(a.control, sizeof(a.control), "%s/control", a.s->run);
    MUST_RUN(&a, "send", "hello");
    MUST_RUN(&a, "ping", "-c", "2", "-i", "1ms");
    MUST_RUN(&a, "bench", "-t", "100ms", "--warmup", "10ms", "-c", "2");
    MUST_RUN(&a, "audit", "-t", "100ms", "-c", "2");
    MUST_RUN(&a, "hold", "-c", "2", "-t", "100ms");
    MUST_RUN(&a, "reload", NULL);
    MUST_RUN(&a, "scale", "1");
    MUST_RUN(&a, "upgrade", NULL);
    MUST_COME(server_worker_pids(a.s, pids) == 1, "earlier workers stay");
    kill(pids[0], SIGSEGV);
    server_wait_log(a.s, "worker died", 1);
    server_wait_workers(a.s, 1);
    MUST_RUN(&a, "crashes", NULL);
    MUST_RUN(&a, "crashes", "show", "1");
    MUST_RUN(&a, "info", NULL);
    MUST_RUN(&a, "top", "-n", "2", "-i", "0.1");
    MUST_RUN(&a, "actors", NULL);
    MUST_RUN(&a, "commands", NULL);
    MUST_RUN(&a, "ready", NULL);
    MUST_RUN(&a, "log-level", "debug");
    MUST_RUN(&a, "reopen-logs", NULL);
    fd = peer_connect(a.s->addr[0]);
    peer_echo(fd, "hello");
    MUST_RUN(&a, "connections", NULL);
    MUST_RUN(&a, "kill", "127.0.0.1");
    MUST_RUN(&a, "call", "workers", "ping");
    MUST(run(&a, "call", ARGS("worker.9", "ping", NULL)) != 0, "there is no worker.9");
    peer_close(fd);
    MUST_RUN(&a, "stop", NULL);
    MUST(server_wait_exit(a.s, 0) == 0, "it is not gone, or not cleanly");
    json_array_foreach(json_object_get(json_schema(), "anyOf"), i, command)
    {
        const char *name = strrchr(json_string_value(json_object_get(command, "$ref")), '/') + 1;

        MUST(is_seen(name) || strcmp(name, "error") == 0, "%s has not been run", name);
    }
}

/* So that a check that finds nothing has looked. */
static void json__what_is_not_as_the_schema_says__found(void **state UNUSED)
{
    static const struct {
        const char *name, *json, *why;
    } rows[] = {
        {"ready", "{\"ready\":1}", "/ready: it is not of the type: boolean"},
        {"ready", "{}", "/: it is missing: ready"},
        {"ready", "{\"ready\":true,\"mood\":1}", "/: it is not listed: mood"},
        {"actors", "[{\"id\":\"x\",\"pid\":-1,\"state\":\"run\"}]", "/0/pid: it is too small"},
        {"actors", "{}", "/: it is not of the type: array"},
        {"commands", "[{\"name\":\"x\",\"arbiter\":true,\"worker\":true,\"right\":\"none\"}]",
         "/0/right: it is none of those that are allowed"},
        {"stop", "{\"schema\":2,\"stopped\":true,\"pid\":1}", "/schema: it is another value"},
        {"moment", "\"12:03:07\"", "/: it does not look like"},
        {"crashes", "[{\"number\":\"1\"}]", ""},
        {"times", "{\"count\":1.5}", "/count: it is not of the type: integer"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *value = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
        char why[256] = "";

        assert_non_null(value);
        assert_false(json_schema_check(rows[i].name, value, why, sizeof(why)));
        if (!strstr(why, rows[i].why))
            fail_msg("%s: %s", rows[i].json, why);
        json_decref(value);
    }
}

static char *read_page(void)
{
    FILE *f = fopen("man/echo-client-json.7", "re");
    char *page = NULL;
    size_t size = 0;

    assert_non_null(f);
    assert_true(getdelim(&page, &size, '\0', f) > 0);
    fclose(f);
    return page;
}

/* Each member of each definition has an item in the manual, with what it means. */
static void check_described(const char *page, const json_t *schema)
{
    const char *name;
    json_t *value;
    size_t i;

    json_object_foreach(json_object_get(schema, "properties"), name, value)
    {
        char item[128];

        snprintf(item, sizeof(item), "\n.It Va %s\n", name);
        if (!strstr(page, item))
            fail_msg("man/echo-client-json.7 has no item %s", name);
        if (!json_string_value(json_object_get(value, "description")))
            fail_msg("%s has no description", name);
    }
    json_object_foreach((json_t *)(uintptr_t)schema, name, value) if (json_is_object(value))
        check_described(page, value);
    json_array_foreach(json_object_get(schema, "anyOf"), i, value)
    {
        check_described(page, value);
    }
}

static void json__every_member__in_the_manual(void **state UNUSED)
{
    char *page = read_page();

    check_described(page, json_object_get(json_schema(), "$defs"));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(json__every_command__as_its_schema_says),
        cmocka_unit_test(json__what_is_not_as_the_schema_says__found),
        cmocka_unit_test(json__every_member__in_the_manual),
    };

    return it_run(tests);
}
