/*
 * echo-client conformance: any server against the numbered table of the protocol, in the form of
 * TAP (testanything.org) or as a JSON object a case.
 */
#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/util.h"
#include "client/conformance.h"
#include "client/call.h"
#include "client/must.h"
#include "client/peer.h"
#include "cmd/echo_client.h"
#include "echo/echo.h"

enum { EXIT_FAILED = 1, WANTED_MAX = 64 };

struct conforming {
    struct tool *tool;
    uint64_t max_message; /* 0 = unknown */
    uint64_t seed;
    unsigned wanted[WANTED_MAX]; /* numbers; none = all */
    unsigned n_wanted;
    bool is_list;
    char addr[ADDR_TEXT_LEN]; /* the one of its addresses that answers */
};

enum verdict { PASSED, FAILED, SKIPPED };

/* Of the case that runs: the way out of it, and why it was taken. */
static jmp_buf way_out;
static char reason[512];

static void on_failure(const char *file, int line, const char *why)
{
    (void)file;
    (void)line;
    snprintf(reason, sizeof(reason), "%s", why);
    longjmp(way_out, 1);
}

static bool is_wanted(const struct conforming *c, unsigned number)
{
    for (unsigned i = 0; i < c->n_wanted; i++)
        if (c->wanted[i] == number)
            return true;
    return c->n_wanted == 0;
}

static enum verdict try_case(const struct conforming *c, const struct conformance_case *k)
{
    const struct conformance_target target = {
        .addr = c->addr, .max_message = c->max_message, .seed = c->seed};

    reason[0] = '\0';
    if (k->needs_max_message && c->max_message == 0) {
        snprintf(reason, sizeof(reason), "needs -m MAX_MESSAGE");
        return SKIPPED;
    }
    if (setjmp(way_out) == 0)
        k->run(&target);
    peer_release_all();
    return reason[0] ? FAILED : PASSED;
}

static int print_case(const struct conforming *c, const struct conformance_case *k,
                      enum verdict verdict, uint64_t ms)
{
    static const char *const names[] = {"passed", "failed", "skipped"};
    int rc;

    if (c->tool->is_json)
        rc = out_json(json_pack("{s:i, s:s, s:s, s:I, s:s*}", "case", (int)k->number, "title",
                                k->title, "verdict", names[verdict], "ms", (json_int_t)ms, "why",
                                reason[0] ? reason : NULL));
    else if (verdict == FAILED)
        rc = out_print("not ok %u - %s\n# %s", k->number, k->title, reason);
    else
        rc = out_print("ok %u - %s%s%s", k->number, k->title, verdict == SKIPPED ? " # SKIP " : "",
                       verdict == SKIPPED ? reason : "");
    return rc ? rc : out_flush();
}

static int list_cases(const struct conforming *c)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < conformance_n_cases; i++) {
        const struct conformance_case *k = &conformance_cases[i];

        if (is_wanted(c, k->number))
            rc = out_print("%2u  %s%s", k->number, k->title, k->needs_max_message ? " (-m)" : "");
    }
    return rc;
}

/* That nobody is there is no failure of every case. */
static int ensure_reachable(struct conforming *c)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    int fd = -1;
    int rc = dial(&c->tool->address, NULL, call_deadline(c->tool->timeout_ms), &fd);

    if (rc)
        return fail_outcome(c->tool, NULL, rc);
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_format((const struct sockaddr *)&sa, len, c->addr);
    close(fd);
    return 0;
}

static int run(struct conforming *c)
{
    unsigned n[3] = {0}, n_all = 0;
    char text[96];
    int rc = ensure_reachable(c);

    for (size_t i = 0; i < conformance_n_cases; i++)
        n_all += is_wanted(c, conformance_cases[i].number);
    snprintf(text, sizeof(text), "1..%u", n_all);
    if (rc == 0 && !c->tool->is_json)
        rc = out_line(text, strlen(text));
    for (size_t i = 0; rc == 0 && i < conformance_n_cases; i++) {
        const struct conformance_case *k = &conformance_cases[i];
        uint64_t start_ms = clock_mono_ms();
        enum verdict verdict;

        if (!is_wanted(c, k->number))
            continue;
        verdict = try_case(c, k);
        n[verdict]++;
        rc = print_case(c, k, verdict, clock_mono_ms() - start_ms);
    }
    if (rc)
        return rc;
    snprintf(text, sizeof(text), "# %u passed, %u failed, %u skipped", n[PASSED], n[FAILED],
             n[SKIPPED]);
    if (!c->tool->is_json)
        rc = out_line(text, strlen(text));
    return rc ? rc : n[FAILED] ? EXIT_FAILED : 0;
}

/* ---- the command line ---- */

enum { OPT_SEED = 1000 };

const struct argp_option conformance_argp_options[] = {
    {"max-message", 'm', "SIZE", 0, "the server's limit; default: unknown, such cases are skipped",
     0},
    {"list", 'l', NULL, 0, "only list the cases", 0},
    {"seed", OPT_SEED, "N", 0, "of random sizes and chunks; default 1", 0},
    {0},
};

static void take_number(struct conforming *c, const char *arg, struct argp_state *state)
{
    uint64_t n = 0;

    for (size_t i = 0; i < conformance_n_cases; i++)
        if (num_parse_u64(arg, 1, UINT32_MAX, &n) == 0 && conformance_cases[i].number == n) {
            if (c->n_wanted < WANTED_MAX)
                c->wanted[c->n_wanted++] = (unsigned)n;
            return;
        }
    argp_error(state, "%s: there is no case of that number; see: echo-client conformance -l", arg);
}

static void take_word(struct conforming *c, char *arg, struct argp_state *state)
{
    const char *why;

    if (state->arg_num > 0 || strspn(arg, "0123456789") == strlen(arg)) {
        take_number(c, arg, state);
        return;
    }
    c->tool->address_text = arg;
    if (addr_parse(arg, &c->tool->address, &why))
        argp_error(state, "%s: %s", arg, why);
}

static error_t parse_conformance(int key, char *arg, struct argp_state *state)
{
    struct conforming *c = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = c->tool;
        return 0;
    case 'm':
        if (num_parse_size(arg, 1024, UINT32_MAX, &c->max_message))
            argp_error(state, "-m %s: bytes like 1024 or 16MiB, at least 1024", arg);
        return 0;
    case 'l':
        c->is_list = true;
        return 0;
    case OPT_SEED:
        if (num_parse_u64(arg, 0, UINT64_MAX, &c->seed))
            argp_error(state, "--seed %s: a number", arg);
        return 0;
    case ARGP_KEY_ARG:
        take_word(c, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (c->tool->separator_len != ECHO_SEPARATOR_LEN ||
            memcmp(c->tool->separator, ECHO_SEPARATOR, ECHO_SEPARATOR_LEN) != 0)
            argp_error(state, "--separator: the cases are written for the default one");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int conformance_run(struct tool *t, int argc, char **argv)
{
    static const struct argp argp = {
        .options = conformance_argp_options,
        .parser = parse_conformance,
        .args_doc = "conformance [ADDR] [NUMBER...]",
        .doc = "Hold a server against the protocol, case by case, or only those of these numbers. "
               "Exit status 1: a case failed.",
    };
    struct conforming c = {.tool = t, .seed = 1};

    tool_parse(&argp, argc, argv, &c);
    if (c.is_list)
        return list_cases(&c);
    must_wait_ms = t->timeout_ms ? (unsigned)t->timeout_ms : UINT32_MAX;
    must_set_handler(on_failure);
    return run(&c);
}
