/*
 * The conformance table against the server, over TCP and over a unix socket; the table itself
 * against a reference server, which is right, and against that server's faults; and the program
 * around it: its words, its output and its exit codes.
 */
#include "conformance/conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { MAX_MESSAGE = 4 << 20 };

static void run_case(void **state, const char *bind)
{
    struct it *it = *state;
    const struct conformance_case *c = it->data;
    char conf[512];
    snprintf(conf, sizeof(conf),
             "server: { bind = [\"%s\"]; max_message = \"4MiB\"; message_timeout = 600; };", bind);
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
    const char *run[] = {
        it_build_path(it, "conformance"), "--timeout", "1.5", "-m", "65536", addr, number, NULL};
    int code = it_tool_run(it, "conformance.log", run);
    int is_right = !strcmp(r->fault, "none");
    MUST(code == !is_right, "case %u says %d of a server with fault '%s'", r->number, code,
         r->fault);
}

/* The program's exit code; what it said is in *ret_text. */
static int run_program(struct it *it, const char *const *args, char **ret_text)
{
    const char *argv[8] = {it_build_path(it, "conformance")};
    for (size_t i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    int fd = tool_file(it, "program.log");
    int code = it_tool_run(it, "program.log", argv);
    *ret_text = tool_read_back(fd, NULL);
    return code;
}

static void conformance__some_cases__tap_in_order(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *text;
    int code = run_program(it, ARGS(s->addr[0], "24", "1", "29"), &text);

    MUST(code == 0, "exit code %d: %s", code, text);
    MUST(strstr(text, "1..3\nok 1 - a message comes back with its separator\nok 24 - QUIT") == text,
         "says: %s", text);
    MUST(strstr(text, "ok 29 - a message of exactly max_message comes back # SKIP needs -m"),
         "says: %s", text);
    MUST(strstr(text, "# 2 passed, 0 failed, 1 skipped\n"), "says: %s", text);
}

/* A limit that is not the server's own: the cases at the limit must fail, and say why. */
static void conformance__wrong_limit__failed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server = { max_message = \"4KiB\"; };");
    char *text;
    int code = run_program(it, ARGS("--timeout", "2", "-m", "8KiB", s->addr[0], "29"), &text);

    MUST(code == 1, "exit code %d: %s", code, text);
    MUST(strstr(text, "\nnot ok 29 - ") && strstr(text, "\n# end of file after "), "says: %s",
         text);
}

/* What is not the echo is told by the byte, and never by a call that had nothing to say. */
static void conformance__upper_case__the_byte_that_differs(void **state)
{
    struct it *it = *state;
    char addr[64], *text;
    int code;

    it_tool(it, "refserver.log",
            ARGS(it_build_path(it, "tests/refserver"), "-m", "65536", "-f", "upper-case"));
    wait_address(it, addr, sizeof(addr));
    code = run_program(it, ARGS("--timeout", "1s", addr, "1", "2", "5"), &text);
    MUST(code == 1, "exit code %d: %s", code, text);
    MUST(strstr(text, "\n# byte 1 of 10 is 0x45, expected 0x65\n") && strstr(text, "\nok 2 - "),
         "says: %s", text);
    MUST(!strstr(text, "Resource temporarily"), "says: %s", text);
}

static void conformance__list__every_case(void **state)
{
    char *text;
    int code = run_program(*state, ARGS("-l"), &text);
    size_t n = 0;

    MUST(code == 0, "exit code %d", code);
    for (const char *p = text; *p; p++)
        n += *p == '\n';
    MUST(n == conformance_n_cases, "%zu lines: %s", n, text);
    MUST(strstr(text, conformance_cases[n - 1].title), "says: %s", text);
}

static void conformance__nobody_or_nonsense__no_case_is_tried(void **state)
{
    char *text;
    int code = run_program(*state, ARGS("127.0.0.1:1"), &text);

    MUST(code == 69 && strstr(text, "Connection refused") && !strstr(text, "ok "),
         "exit code %d: %s", code, text);
    MUST(run_program(*state, ARGS("127.0.0.1:1", "999"), &text) == 64, "says: %s", text);
    MUST(run_program(*state, ARGS("no address"), &text) == 64, "says: %s", text);
    MUST(run_program(*state, ARGS("--timeout", "1"), &text) == 64, "says: %s", text);
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
    const struct CMUnitTest program[] = {
        IT(conformance__some_cases__tap_in_order),
        IT(conformance__wrong_limit__failed),
        IT(conformance__upper_case__the_byte_that_differs),
        IT(conformance__list__every_case),
        IT(conformance__nobody_or_nonsense__no_case_is_tried),
    };
    for (size_t i = 0; i < ARRAY_SIZE(program); i++)
        tests[n++] = program[i];
    it_init();
    return _cmocka_run_group_tests("conformance", tests, n, NULL, NULL);
}
