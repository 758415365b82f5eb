/*
 * Connections outlive processes: under the audit, reload, upgrade, scaling and recycling lose no
 * connection, no message and no byte, and refuse nobody. ECHO_PROFILE=soak (`make prove`) does it
 * at full length and prints what clients notice.
 */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/human.h"
#include "measure/quantity.h"
#include "support/audit_thread.h"
#include "support/changes.h"
#include "support/server.h"
#include "support/tool.h"

/* How much of it. */
struct extent {
    unsigned lasting; /* connections that live from beginning to end */
    unsigned connects_per_second;
    unsigned max_requests;
    unsigned reloads, upgrades, scalings, recycles;
    unsigned pause_ms; /* between two changes */
};

static const struct extent in_short = {100, 20, 3000, 5, 3, 1, 2, 50};
static const struct extent at_full_length = {1000, 100, 100000, 50, 20, 20, 5, 400};

/* What the server says of itself. */
struct account {
    uint64_t accepted, requests, bytes_in, bytes_out, restarts;
};

/* A server under traffic that is watched. */
struct scene {
    const struct extent *extent;
    struct server *server;
    struct changes *changes;
    struct audit_thread *audit;
    struct account own; /* what the test itself asked for beside the audit */
    uint64_t began_ms;
};

/* Every connection sends a message each 10 to 50 ms; half of the lasting ones are always in the
 * middle of a larger message. A stall does not keep the others from sending on. */
static struct audit_options traffic(const struct server *s, const struct extent *x)
{
    struct audit_options o;

    audit_options_init(&o, s->addr[0]);
    o.seed = it_seed();
    o.churn_lanes = 30;
    o.churn_every_ms = 1000 * o.churn_lanes / x->connects_per_second;
    o.churn_messages = 2;
    o.lanes = o.churn_lanes + x->lasting;
    o.slow_lanes = x->lasting / 2;
    o.slow_size = 4096;
    o.slow_pieces = 2;
    o.slow_gap_min_ms = o.think_min_ms = 10;
    o.slow_gap_max_ms = o.think_max_ms = 50;
    o.size_max = 1024;
    o.depth = AUDIT_DEPTH_MAX;
    return o;
}

static struct scene begin(struct server *s, const struct extent *x)
{
    struct scene c = {.extent = x, .server = s, .changes = changes_new(s, 2)};
    struct audit_options o = traffic(s, x);

    o.on_echoed = changes_on_echoed;
    o.on_echoed_data = c.changes;
    c.began_ms = clock_mono_ms();
    c.audit = audit_thread_start_watched(&o, changes_on_tick, c.changes);
    audit_thread_wait_echoed(c.audit, 20 * x->lasting);
    changes_begin(c.changes);
    return c;
}

/* ---- what must have been ---- */

static void must_have_lost_nothing(const struct audit_counts *c)
{
    MUST(audit_counts_is_o1(c), "O1: wrong bytes");
    MUST(audit_counts_is_o2(c), "O2: messages without an explanation");
    MUST(c->echoed == c->sent && c->bytes_received == c->bytes_sent,
         "%" PRIu64 " messages of %" PRIu64 ", %" PRIu64 " bytes of %" PRIu64, c->echoed, c->sent,
         c->bytes_received, c->bytes_sent);
    MUST(c->closed + c->reset + c->given_up == 0 && c->finished == c->connected,
         "%" PRIu64 " connections were dropped", c->connected - c->finished);
    MUST(c->refused + c->unconnected == 0, "%" PRIu64 " connects failed",
         c->refused + c->unconnected);
    MUST(c->skipped == 0, "%" PRIu64 " messages were not sent when they were due", c->skipped);
}

static uint64_t number(const json_t *info, const char *part, const char *name)
{
    const json_t *value = json_object_get(json_object_get(info, part), name);

    MUST(json_is_integer(value), "no number %s.%s", part, name);
    return (uint64_t)json_integer_value(value);
}

static struct account account_of(struct server *s)
{
    char control[128];
    struct account a;
    struct tool_run r;
    json_t *info;

    MUST_COME(server_gauge(s, connections) == 0, "connections stay");
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "--json", "info");
    MUST(r.code == 0 && (info = json_loads(r.out, 0, NULL)), "info: %d: %s", r.code, r.err);
    a = (struct account){
        number(info, "totals", "accepted"),  number(info, "totals", "requests"),
        number(info, "totals", "bytes_in"),  number(info, "totals", "bytes_out"),
        number(info, "arbiter", "restarts"),
    };
    json_decref(info);
    return a;
}

/* With what the clients have counted. */
static void must_agree(const struct account *a, const struct account *own,
                       const struct audit_counts *c)
{
    const uint64_t accepted = c->connected + own->accepted;

    MUST(a->accepted >= accepted && a->accepted <= accepted + c->abandoned &&
             a->requests == c->echoed + own->requests &&
             a->bytes_in == c->bytes_sent + own->bytes_in &&
             a->bytes_out == c->bytes_received + own->bytes_out,
         "the server counts %" PRIu64 " connections, %" PRIu64 " messages, %" PRIu64
         " bytes in, %" PRIu64 " out",
         a->accepted, a->requests, a->bytes_in, a->bytes_out);
    MUST(a->restarts == 0, "%" PRIu64 " planned ends count as crashes", a->restarts);
}

static void print_counts(const struct scene *s, const char *title, const struct audit_counts *c,
                         const struct account *a)
{
    const struct changes_seen seen = changes_seen(s->changes);
    char n[4][HUMAN_LEN];
    double load = 0;

    getloadavg(&load, 1);
    printf("#|\n#| %s: %.0f s on %ld processors, load average %.1f\n", title,
           (double)(clock_mono_ms() - s->began_ms) / 1e3, sysconf(_SC_NPROCESSORS_ONLN), load);
    printf("#| %s lasting connections, each a message every 10 to 50 ms, at any time %u of them in "
           "the\n"
           "#| middle of one; %u new connections per second\n#|\n",
           human_grouped(s->extent->lasting, n[0]), seen.inside, s->extent->connects_per_second);
    printf("#| lasting connections %15s   %s of them never interrupted\n", n[0],
           human_grouped(seen.unbroken, n[1]));
    printf("#| connections made    %15s   %s ended as planned, %s refused, %s cut\n",
           human_grouped(c->connected, n[0]), human_grouped(c->finished, n[1]),
           human_grouped(c->refused + c->unconnected, n[2]),
           human_grouped(c->closed + c->reset + c->given_up, n[3]));
    printf("#| messages sent       %15s   %s came back exactly and in order, %s did not\n",
           human_grouped(c->sent, n[0]), human_grouped(c->echoed, n[1]),
           human_grouped(c->sent - c->echoed + c->duplicated + c->foreign, n[2]));
    printf("#| bytes sent          %15s   %s came back\n", human_grouped(c->bytes_sent, n[0]),
           human_grouped(c->bytes_received, n[1]));
    printf("#| the server says     %15s   messages, %s connections, %s bytes; %s crashes\n#|\n",
           human_grouped(a->requests, n[0]), human_grouped(a->accepted, n[1]),
           human_grouped(a->bytes_in, n[2]), human_grouped(a->restarts, n[3]));
}

static void finish(struct scene *s, const char *title)
{
    const struct audit_tally t = audit_thread_stop(s->audit, title);
    const struct account a = account_of(s->server);
    const struct changes_extra extra = changes_extra(s->changes);
    const unsigned unbroken = changes_seen(s->changes).unbroken;

    print_counts(s, title, &t.counts, &a);
    changes_print(s->changes);
    must_have_lost_nothing(&t.counts);
    must_agree(&a, &s->own, &t.counts);
    MUST(unbroken == s->extent->lasting, "only %u connections lasted", unbroken);
    MUST(extra.least >= 0, "%d processes were missing: the replacement came too late",
         -extra.least);
    MUST(extra.most <= 1, "%d workers were replaced at a time", extra.most);
    changes_free(s->changes);
}

/* ---- the cases ---- */

static void ask(const struct scene *s, enum change kind, const char *command, const char *args,
                unsigned workers)
{
    changes_ask(s->changes, kind, command, args, workers);
    changes_watch(s->changes, s->extent->pause_ms);
}

static void prove__all_changes__nothing_lost(void **state)
{
    const struct extent *x = it_is_soak() ? &at_full_length : &in_short;
    struct it *it = *state;
    char conf[64];
    struct scene s;

    snprintf(conf, sizeof(conf), "arbiter: { max_requests = %u; };", x->max_requests);
    s = begin(server_start(it, .conf = conf), x);
    changes_watch(s.changes, 10 * x->pause_ms);
    for (unsigned i = 0; i < x->reloads; i++)
        ask(&s, CHANGE_RELOAD, "reload", NULL, 2);
    for (unsigned i = 0; i < x->upgrades; i++)
        ask(&s, CHANGE_UPGRADE, "upgrade", NULL, 2);
    for (unsigned i = 0; i < x->scalings; i++) {
        ask(&s, CHANGE_SCALE, "scale", "{\"workers\":8}", 8);
        ask(&s, CHANGE_SCALE, "scale", "{\"workers\":1}", 1);
        ask(&s, CHANGE_SCALE, "scale", "{\"workers\":2}", 2);
    }
    changes_await(s.changes, CHANGE_RECYCLE,
                  changes_count(s.changes, CHANGE_RECYCLE) + x->recycles);
    finish(&s, "reload, upgrade, scale and recycle");
}

static void watch_until_gone(const struct scene *s, pid_t pid)
{
    MUST_COME((changes_watch(s->changes, 5), !proc_is_alive(pid)), "worker %d lives on", (int)pid);
}

/* Both want to be replaced at the same time. */
static void prove__all_workers_get_term__replaced_one_at_a_time(void **state)
{
    struct it *it = *state;
    struct scene s = begin(server_start(it, .conf = ""), &in_short);

    for (int round = 0; round < (it_is_soak() ? 10 : 2); round++) {
        const pid_t a = server_worker(s.server, 0), b = server_worker(s.server, 1);

        kill(a, SIGTERM);
        kill(b, SIGTERM);
        watch_until_gone(&s, a);
        watch_until_gone(&s, b);
    }
    finish(&s, "TERM to all workers at once");
}

static uint64_t resident_kib(struct server *s)
{
    return MAX(proc_status(server_worker(s, 0), "VmRSS", 10),
               proc_status(server_worker(s, 1), "VmRSS", 10));
}

/* One worker leaks; the limit is above what the others need. */
static void prove__too_much_memory__that_worker_is_replaced_once(void **state)
{
    static const char leak[] = "\x01"
                               "crash leak64";
    struct it *it = *state;
    struct scene s = begin(server_start(it, .conf = "", .binary = "test/echo-arbiter"), &in_short);
    pid_t old[2];
    char conf[64];

    snprintf(conf, sizeof(conf), "arbiter: { max_memory = \"%" PRIu64 "KiB\"; };",
             resident_kib(s.server) + 32 * 1024);
    server_configure(s.server, conf);
    ask(&s, CHANGE_RELOAD, "reload", NULL, 2);
    server_wait_workers(s.server, 2); /* those before the reload may still be about to go */
    for (size_t i = 0; i < 2; i++)
        old[i] = server_worker(s.server, i);
    peer_echo(peer_connect(s.server->addr[0]), leak);
    s.own = (struct account){1, 1, strlen(leak) + 4, strlen(leak) + 4, 0};
    changes_await(s.changes, CHANGE_RECYCLE, 1);
    MUST(server_log_count(s.server, "asks to be replaced\" .*reason=max_memory") == 1, "reason");
    MUST_COME(proc_is_alive(old[0]) != proc_is_alive(old[1]), "not one of the two is gone");
    peer_release_all();
    finish(&s, "a worker above max_memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(prove__all_changes__nothing_lost),
        IT(prove__all_workers_get_term__replaced_one_at_a_time),
        IT(prove__too_much_memory__that_worker_is_replaced_once),
    };

    return it_run(tests);
}
