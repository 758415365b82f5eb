/*
 * conformance: any server against the numbered table of the protocol, in the form of TAP
 * (testanything.org). Knows the server's address and nothing else of it.
 *
 * Exit status: 0 all held, 1 a case failed, 64 usage, 69 nobody is there.
 */
#include <argp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/addr.h"
#include "base/num.h"
#include "base/signals.h"
#include "base/util.h"
#include "conformance/conformance.h"
#include "conformance/must.h"
#include "conformance/peer.h"

enum { EXIT_FAILED = 1, WANTED_MAX = 64, TIMEOUT_MS = 10000 };

struct conforming {
    struct conformance_target target;
    unsigned wanted[WANTED_MAX]; /* numbers; none = all */
    unsigned n_wanted;
    bool is_list;
};

enum order { PASSED, FAILED, SKIPPED };

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

static enum order try_case(const struct conforming *c, const struct conformance_case *k)
{
    reason[0] = '\0';
    if (k->needs_max_message && c->target.max_message == 0)
        return SKIPPED;
    if (setjmp(way_out) == 0)
        k->run(&c->target);
    peer_release_all();
    return reason[0] ? FAILED : PASSED;
}

static void print_case(const struct conformance_case *k, enum order verdict)
{
    printf("%sok %u - %s%s\n", verdict == FAILED ? "not " : "", k->number, k->title,
           verdict == SKIPPED ? " # SKIP needs -m MAX_MESSAGE" : "");
    if (verdict == FAILED)
        printf("# %s\n", reason);
    fflush(stdout);
}

static void list_cases(const struct conforming *c)
{
    for (size_t i = 0; i < conformance_n_cases; i++) {
        const struct conformance_case *k = &conformance_cases[i];

        if (is_wanted(c, k->number))
            printf("%2u  %s%s\n", k->number, k->title, k->needs_max_message ? " (-m)" : "");
    }
}

/* That nobody is there is not a failure of every case. */
static void ensure_reachable(const struct conforming *c)
{
    int fd = peer_try_connect(c->target.addr, 0);

    if (fd < 0) {
        fprintf(stderr, "conformance: %s: %s\n", c->target.addr, strerror(-fd));
        exit(EX_UNAVAILABLE);
    }
    peer_close(fd);
}

static int run(const struct conforming *c)
{
    unsigned n[3] = {0}, n_all = 0;

    ensure_reachable(c);
    for (size_t i = 0; i < conformance_n_cases; i++)
        n_all += is_wanted(c, conformance_cases[i].number);
    printf("1..%u\n", n_all);
    for (size_t i = 0; i < conformance_n_cases; i++) {
        const struct conformance_case *k = &conformance_cases[i];
        enum order verdict;

        if (!is_wanted(c, k->number))
            continue;
        verdict = try_case(c, k);
        n[verdict]++;
        print_case(k, verdict);
    }
    printf("# %u passed, %u failed, %u skipped\n", n[PASSED], n[FAILED], n[SKIPPED]);
    return n[FAILED] ? EXIT_FAILED : 0;
}

/* ---- the command line ---- */

enum { OPT_SEED = 1000, OPT_TIMEOUT };

static const struct argp_option options[] = {
    {"max-message", 'm', "SIZE", 0, "the server's limit; default: unknown, such cases are skipped",
     0},
    {"list", 'l', NULL, 0, "only list the cases", 0},
    {"seed", OPT_SEED, "N", 0, "of random sizes and chunks; default 1", 0},
    {"timeout", OPT_TIMEOUT, "TIME", 0, "the patience with each step; default 10s", 0},
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
    argp_error(state, "%s: there is no case of that number; -l lists them", arg);
}

static void take_address(struct conforming *c, const char *arg, struct argp_state *state)
{
    struct sockaddr_storage ss;
    struct addr addr;
    const char *why;
    socklen_t len;

    if (addr_parse(arg, &addr, &why))
        argp_error(state, "%s: %s", arg, why);
    if (addr_to_sockaddr(&addr, &ss, &len) < 0)
        argp_error(state, "%s: no name is looked up: give the address in numbers, or localhost",
                   arg);
    c->target.addr = arg;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct conforming *c = state->input;
    uint64_t n = 0;

    switch (key) {
    case 'm':
        if (num_parse_size(arg, 1024, UINT32_MAX, &n))
            argp_error(state, "-m %s: a size like " NUM_SIZE_LIKE ", from 1KiB to 4GiB", arg);
        c->target.max_message = n;
        return 0;
    case 'l':
        c->is_list = true;
        return 0;
    case OPT_SEED:
        if (num_parse_u64(arg, 0, UINT64_MAX, &c->target.seed))
            argp_error(state, "--seed %s: a whole number of at most 64 bits", arg);
        return 0;
    case OPT_TIMEOUT:
        if (num_parse_duration_ms(arg, 1, UINT32_MAX, &n))
            argp_error(state, "--timeout %s: a time like " NUM_DURATION_LIKE ", from 1ms", arg);
        must_wait_ms = (unsigned)n;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            take_address(c, arg, state);
        else
            take_number(c, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (!c->target.addr && !c->is_list)
            argp_error(state, "which server? Give its address, like 127.0.0.1:8060");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "ADDR [NUMBER...]",
        .doc = "Hold a server against the protocol, case by case, or only those of these numbers. "
               "Exit status 1: a case failed.",
    };
    struct conforming c = {.target.seed = 1};

    signal(SIGPIPE, SIG_DFL);
    signals_end_first_process();
    must_wait_ms = TIMEOUT_MS;
    argp_err_exit_status = EX_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &c);
    if (c.is_list) {
        list_cases(&c);
        return 0;
    }
    must_set_handler(on_failure);
    return run(&c);
}
