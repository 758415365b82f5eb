/*
 * The conformance table against the server, over TCP and over a unix socket; and the table itself
 * against a reference server, which is right, and against that server's faults.
 */
#include "client/conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

enum { MAX_MESSAGE = 4 << 20 };

static void run_case(void **state, const char *bind)
{
    struct it *it = *state;
    const struct conformance_case *c = it->data;
    char conf[512];
    snprintf(conf, sizeof(conf), "server: { bind = [\"%s\"]; max_message = \"4MiB\"; };", bind);
    struct server *s = server_start(it, .conf = conf);
    c->run(&(struct conformance_target){s->addr[0], MAX_MESSAGE, 1});
    server_stop_and_check(s, SIGTERM, 0);
}

static void over_tcp(void **state)
{
    run_case(state, "127.0.0.1:0");
}

static void over_unix(void **state)
{
    struct it *it = *state;
    char bind[128];
    snprintf(bind, sizeof(bind), "unix:%s/sock", it->dir);
    run_case(state, bind);
}

struct reference {
    const char *fault;
    unsigned number; /* of the case that finds it */
};

static const struct reference references[] = {
    {"none", 2},       {"none", 6},         {"none", 23},         {"none", 24},
    {"none", 27},      {"none", 28},        {"none", 29},         {"none", 31},
    {"drop-empty", 2}, {"lost-split", 6},   {"echo-partial", 23}, {"no-quit", 24},
    {"no-linger", 27}, {"prefix-quit", 28}, {"small-limit", 29},  {"no-limit", 31},
};

/* The address that the reference server prints. */
static void wait_address(struct it *it, char *addr, size_t size)
{
    char *path = it_path(it, "refserver.log");
    FILE *f = NULL;
    addr[0] = '\0';
    MUST_COME((f = fopen(path, "re")) && fgets(addr, (int)size, f) && strchr(addr, '\n'),
              "the reference server does not start");
    addr[strcspn(addr, "\n")] = '\0';
    fclose(f);
}

static void against_reference(void **state)
{
    struct it *it = *state;
    const struct reference *r = it->data;
    char addr[64], number[16];
    snprintf(number, sizeof(number), "%u", r->number);
    const char *ref[] = {it_build_path(it, "tests/refserver"), "-m", "65536", "-f", r->fault, NULL};
    it_tool(it, "refserver.log", ref);
    wait_address(it, addr, sizeof(addr));
    const char *run[] = {it_build_path(it, "echo-client"),
                         "--timeout",
                         "1.5",
                         "conformance",
                         "-m",
                         "65536",
                         addr,
                         number,
                         NULL};
    int code = it_tool_run(it, "conformance.log", run);
    int is_right = !strcmp(r->fault, "none");
    MUST(code == !is_right, "case %u says %d of a server with fault '%s'", r->number, code,
         r->fault);
}

/* Names live as long as the program. */
static const char *name(const char *what, unsigned number, const char *result)
{
    char *text = NULL;
    if (asprintf(&text, "conformance__%s_case_%u__%s", what, number, result) < 0)
        abort();
    return text;
}

static struct CMUnitTest test_of(const char *test, CMUnitTestFunction run, const void *data)
{
    return (struct CMUnitTest){test, run, it_setup, it_teardown, (void *)(uintptr_t)data};
}

int main(void)
{
    static struct CMUnitTest tests[256];
    size_t n = 0;
    for (size_t i = 0; i < conformance_n_cases; i++) {
        const struct conformance_case *c = &conformance_cases[i];
        tests[n++] = test_of(name("tcp", c->number, "holds"), over_tcp, c);
        /* 3 million small packets say nothing new over a unix socket. */
        if (c->run != conformance_one_byte_writes)
            tests[n++] = test_of(name("unix", c->number, "holds"), over_unix, c);
    }
    for (size_t i = 0; i < ARRAY_SIZE(references); i++) {
        const struct reference *r = &references[i];
        const char *result = strcmp(r->fault, "none") ? "finds_it" : "holds";
        char what[64];
        snprintf(what, sizeof(what), "reference_with_fault_%s", r->fault);
        tests[n++] = test_of(name(what, r->number, result), against_reference, r);
    }
    it_init();
    return _cmocka_run_group_tests("conformance", tests, n, NULL, NULL);
}
