/*
 * conformance - hold any echo server against the table of the wire protocol.
 * usage: conformance [-m MAX_MESSAGE] [-s SEED] [-w WAIT_MS] ADDR [NUMBER]...
 */
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/conformance.h"
#include "support/must.h"
#include "support/peer.h"

static jmp_buf way_out;

static void on_failure(const char *file, int line, const char *why)
{
    printf("# %s:%d: %s\n", file, line, why);
    longjmp(way_out, 1);
}

static bool is_wanted(unsigned number, char *const *list)
{
    if (!*list)
        return true;
    for (; *list; list++) {
        if (strtoul(*list, NULL, 10) == number)
            return true;
    }
    return false;
}

static bool run_case(const struct conformance_case *c, const struct conformance_target *t)
{
    if (c->needs_max_message && !t->max_message) {
        printf("ok %u - %s # SKIP needs -m MAX_MESSAGE\n", c->number, c->title);
        return true;
    }
    uint64_t start = clock_mono_ms(); /* not changed after setjmp */
    bool is_ok = setjmp(way_out) == 0;
    if (is_ok)
        c->run(t);
    peer_release_all();
    printf("%s %u - %s (%llu ms)\n", is_ok ? "ok" : "not ok", c->number, c->title,
           (unsigned long long)(clock_mono_ms() - start));
    fflush(stdout);
    return is_ok;
}

int main(int argc, char **argv)
{
    struct conformance_target t = {.seed = 1};
    int opt;
    while ((opt = getopt(argc, argv, "m:s:w:")) != -1) {
        if (opt == 'm')
            t.max_message = strtoull(optarg, NULL, 10);
        else if (opt == 's')
            t.seed = strtoull(optarg, NULL, 10);
        else if (opt == 'w')
            must_wait_ms = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 64;
    }
    if (optind >= argc) {
        fprintf(stderr,
                "usage: conformance [-m MAX_MESSAGE] [-s SEED] [-w WAIT_MS] ADDR [NUMBER]...\n");
        return 64;
    }
    t.addr = argv[optind++];
    signal(SIGPIPE, SIG_IGN);
    must_set_handler(on_failure);
    unsigned failed = 0;
    printf("1..%zu\n", conformance_n_cases);
    for (size_t i = 0; i < conformance_n_cases; i++) {
        if (is_wanted(conformance_cases[i].number, argv + optind))
            failed += !run_case(&conformance_cases[i], &t);
    }
    printf("# %u failed\n", failed);
    return failed ? 1 : 0;
}
