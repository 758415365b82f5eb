/*
 * echo-client conformance: its words, its output and its exit codes. What the cases find is tried
 * in test_conformance.c.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "client/conformance.h"
#include "support/server.h"
#include "support/tool.h"

static void conformance__some_cases__tap_in_order(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "conformance", s->addr[0], "24", "1", "29");

    MUST(r.code == 0 && r.err[0] == '\0', "exit code %d: %s%s", r.code, r.out, r.err);
    MUST(strstr(r.out, "1..3\nok 1 - a message comes back with its separator\nok 24 - QUIT") ==
             r.out,
         "says: %s", r.out);
    MUST(strstr(r.out, "ok 29 - a message of exactly max_message comes back # SKIP needs -m"),
         "says: %s", r.out);
    MUST(strstr(r.out, "# 2 passed, 0 failed, 1 skipped\n"), "says: %s", r.out);
}

/* A limit that is not the server's own: the cases at the limit must fail, and say why. */
static void conformance__wrong_limit__failed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { max_message = \"4KiB\"; };");
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "--timeout", "2",
                            "conformance", "-m", "8KiB", "29");
    json_t *o = json_loads(r.out, 0, NULL);

    MUST(r.code == 1, "exit code %d: %s%s", r.code, r.out, r.err);
    MUST(json_integer_value(json_object_get(o, "case")) == 29 &&
             !strcmp(json_string_value(json_object_get(o, "verdict")), "failed") &&
             json_string_length(json_object_get(o, "why")) > 0,
         "says: %s", r.out);
    json_decref(o);
}

static void conformance__list__every_case(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "conformance", "-l");
    size_t n = 0;

    MUST(r.code == 0, "exit code %d", r.code);
    for (const char *p = r.out; *p; p++)
        n += *p == '\n';
    MUST(n == conformance_n_cases, "%zu lines: %s", n, r.out);
    MUST(strstr(r.out, conformance_cases[n - 1].title), "says: %s", r.out);
}

static void conformance__nobody_or_nonsense__no_case_is_tried(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "conformance", "127.0.0.1:1");

    tool_must_fail(&r, 69, "connection refused");
    MUST(r.out_len == 0, "printed %s", r.out);
    r = RUN(*state, NO_INPUT, "conformance", "127.0.0.1:1", "999");
    MUST(r.code == 64, "exit code %d", r.code);
    r = RUN(*state, NO_INPUT, "conformance", "no address");
    MUST(r.code == 64, "exit code %d", r.code);
    r = RUN(*state, NO_INPUT, "--separator", "x", "conformance");
    MUST(r.code == 64, "exit code %d", r.code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(conformance__some_cases__tap_in_order),
        IT(conformance__wrong_limit__failed),
        IT(conformance__list__every_case),
        IT(conformance__nobody_or_nonsense__no_case_is_tried),
    };

    return it_run(tests);
}
