/*
 * What Prometheus sees of a server to which everything happens: each scrape is well formed, no
 * counter ever falls, and at the end the sums are what the clients have counted. At full length
 * (`make prove`) 1000 scrapes; those who judge them are promtool and Prometheus' own parser of
 * OpenMetrics, where they are installed.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter/transition.h"
#include "base/clock.h"
#include "base/hist.h"
#include "base/util.h"
#include "client/human.h"
#include "support/audit_thread.h"
#include "support/exposition.h"
#include "support/http.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

#define OPENMETRICS "Accept: application/openmetrics-text; version=1.0.0\r\n"
#define SHOWN                                                                                      \
    "server: { bind = \"127.0.0.1:0\"; };\nstatus: { bind = \"127.0.0.1:0\"; };\n"                 \
    "arbiter: { workers = 3; };\n"

enum { WORKERS_MAX = 6 };

/* ---- scrapes ---- */

struct scrapes {
    struct server *server;
    const char *addr;
    uint64_t rng;
    struct exposition *last; /* owned; NULL = there has been none */
    unsigned n, n_again, n_amid;
    unsigned n_fresh; /* with other numbers than the one before: they may be 250 ms old */
    FILE *open; /* all in OpenMetrics, a NUL behind each */
    unsigned n_texts; /* files, of those in the text format */
};

static void scrapes_begin(struct scrapes *c, struct server *s)
{
    *c = (struct scrapes){.server = s, .addr = http_address(s), .rng = it_seed()};
    c->open = fopen(it_path(s->it, "open"), "we");
    MUST(c->open, "no file");
}

static void keep_answer(struct scrapes *c, const char *text, bool is_open)
{
    char name[32];

    if (is_open) {
        fputs(text, c->open);
        fputc('\0', c->open);
        return;
    }
    snprintf(name, sizeof(name), "text.%u", c->n_texts++);
    it_write(c->server->it, name, text);
}

static double uptime_of(const struct exposition *e)
{
    const struct exposition_sample *s = exposition_find(e, "arbiter_uptime_seconds");

    MUST(s, "no uptime");
    return s->value;
}

/* Returns false if there was none: an actor that ends answers nobody any more. */
static bool take_answer(struct scrapes *c, int fd, bool is_open)
{
    const struct http_reply r = http_read(fd);
    struct exposition *now;
    const char *fallen;

    if (r.code != 200) {
        c->n_again++;
        return false;
    }
    MUST(strstr(r.head, is_open ? "application/openmetrics-text" : "text/plain"), "%.500s", r.head);
    now = exposition_new(r.body, is_open);
    MUST(!*now->problem, "%s in:\n%s", now->problem, r.body);
    fallen = c->last ? exposition_fallen(c->last, now) : NULL;
    MUST(!fallen, "%s fell in:\n%s", fallen, r.body);
    keep_answer(c, r.body, is_open);
    c->n_fresh += !c->last || uptime_of(now) > uptime_of(c->last);
    exposition_free(c->last);
    c->last = now;
    c->n++;
    return true;
}

static int ask_for(struct scrapes *c, bool is_open)
{
    return http_ask(c->addr, "GET", "/metrics", is_open ? OPENMETRICS : "");
}

static void scrape(struct scrapes *c)
{
    const bool is_open = c->n % 2;

    MUST_COME(take_answer(c, ask_for(c, is_open), is_open), "no answer");
}

static double value_of(const struct scrapes *c, const char *series)
{
    const struct exposition_sample *s = exposition_find(c->last, series);

    MUST(s, "there is no %s", series);
    return s->value;
}

/* ---- who judges ---- */

static void judge_text(struct scrapes *c, unsigned first, unsigned last)
{
    struct it *it = c->server->it;
    char command[256];

    snprintf(command, sizeof(command),
             "for i in $(seq %u %u); do promtool check metrics <%s/text.$i || exit 1; done", first,
             last, it->dir);
    if (it_tool_run(it, "promtool", ARGS("bash", "-c", command)) != 0)
        MUST(false, "promtool: %s", it_read(it_path(it, "promtool")));
}

/* All at full length, else the first ones and the last. */
static unsigned judge_texts(struct scrapes *c)
{
    enum { AT_ONCE = 25 };

    if (it_tool_run(c->server->it, "which", ARGS("bash", "-c", "command -v promtool")) != 0) {
        print_message("# left out: there is no promtool here; make check-status installs it\n");
        return 0;
    }
    if (!it_is_soak()) {
        judge_text(c, 0, 0);
        judge_text(c, c->n_texts - 1, c->n_texts - 1);
        return 2;
    }
    for (unsigned i = 0; i < c->n_texts; i += AT_ONCE)
        judge_text(c, i, MIN(i + AT_ONCE, c->n_texts) - 1);
    return c->n_texts;
}

/* Debian's Python, and no other that may be found first, has Debian's module. */
static unsigned judge_open(struct scrapes *c)
{
    struct it *it = c->server->it;
    const char *python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
    unsigned n = 0;
    char *said;
    int code;

    fclose(c->open);
    code = it_tool_run(it, "parser", ARGS(python, "tests/it/openmetrics.py", it_path(it, "open")));
    said = it_read(it_path(it, "parser"));
    if (code == 77 || code == 127)
        print_message("# left out: %s\n", *said ? said : "there is no python3 here");
    else
        MUST(code == 0 && sscanf(said, "%u", &n) == 1, "the parser: %s", said);
    free(said);
    return n;
}

static void scrapes_end(struct scrapes *c)
{
    const unsigned n_text = judge_texts(c), n_open = judge_open(c);

    printf(
        "#| %u scrapes, none malformed, no counter ever less; promtool has judged %u, the parser "
        "of OpenMetrics %u\n"
        "#| %u were asked for amid a kill; %u found the status actor between two lives and were "
        "repeated\n",
        c->n, n_text, n_open, c->n_amid, c->n_again);
    exposition_free(c->last);
}

/* ---- what happens ---- */

static pid_t random_worker(struct scrapes *c)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(c->server, pids);

    return n > 0 ? pids[rng_below(&c->rng, n)] : 0;
}

static void happens_reload(struct scrapes *c)
{
    server_signal(c->server, SIGHUP);
}

static void happens_upgrade(struct scrapes *c)
{
    server_signal(c->server, SIGUSR2);
}

static void happens_more(struct scrapes *c)
{
    if (server_accepting(c->server) < WORKERS_MAX)
        server_signal(c->server, SIGTTIN);
}

static void happens_fewer(struct scrapes *c)
{
    if (server_accepting(c->server) > 2)
        server_signal(c->server, SIGTTOU);
}

/* While a scrape is under way, so that the arbiter looks at what the dead has counted. */
static void happens_kill(struct scrapes *c)
{
    const bool is_open = c->n % 2;
    const pid_t pid = server_accepting(c->server) > 1 ? random_worker(c) : 0;
    int fd;

    if (!pid)
        return;
    fd = ask_for(c, is_open);
    kill(pid, SIGKILL);
    c->n_amid++;
    take_answer(c, fd, is_open);
}

static void happens_to_status(struct scrapes *c)
{
    const pid_t pid = server_slot_pid(c->server, tr_slot(1, 1));

    if (pid)
        kill(pid, SIGKILL);
}

struct happening {
    unsigned weight;
    void (*happen)(struct scrapes *c);
};

static const struct happening planned[] = {
    {3, happens_reload}, {2, happens_upgrade}, {2, happens_more}, {2, happens_fewer}, {0, NULL}};
static const struct happening unplanned[] = {{8, happens_kill},
                                             {1, happens_to_status},
                                             {1, happens_reload},
                                             {1, happens_upgrade},
                                             {1, happens_more},
                                             {1, happens_fewer},
                                             {0, NULL}};

static void let_one_happen(struct scrapes *c, const struct happening *list)
{
    unsigned sum = list->weight, at;

    for (const struct happening *h = list + 1; h->weight; h++)
        sum += h->weight;
    at = (unsigned)rng_below(&c->rng, sum);
    while (at >= list->weight)
        at -= (list++)->weight;
    list->happen(c);
}

/* ---- a storm under an audit ---- */

static struct audit_thread *begin_traffic(struct server *s, audit_on_echoed *on_echoed, void *data)
{
    struct audit_options o;

    audit_options_init(&o, s->addr[0]);
    o.seed = it_seed();
    o.lanes = 40;
    o.churn_lanes = 10;
    o.churn_messages = 3;
    o.churn_every_ms = 100;
    o.size_max = 2048;
    o.is_reconnecting = true;
    o.on_echoed = on_echoed;
    o.on_echoed_data = data;
    return audit_thread_start(&o);
}

/* @n scrapes; before one of three of them something happens. */
static struct audit_counts storm(struct scrapes *c, const struct happening *list, unsigned n,
                                 const char *title)
{
    const unsigned until = c->n + n;
    struct audit_thread *audit = begin_traffic(c->server, NULL, NULL);

    audit_thread_wait_echoed(audit, 50);
    while (c->n < until) {
        if (list && rng_below(&c->rng, 3) == 0)
            let_one_happen(c, list);
        scrape(c);
        audit_thread_wait_echoed(audit, 5);
    }
    return audit_thread_stop(audit, title).counts;
}

/* The server's sums since the scrape @before. */
static double grown(const struct scrapes *c, double before, const char *series)
{
    return value_of(c, series) - before;
}

static const char *const compared[] = {"arbiter_requests_total", "arbiter_in_bytes_total",
                                       "arbiter_out_bytes_total"};

static void must_equal(struct scrapes *c, const double *before, const struct audit_counts *counts)
{
    const uint64_t audited[] = {counts->echoed, counts->bytes_sent, counts->bytes_received};

    MUST(counts->sent == counts->echoed && audit_counts_cut(counts) == 0,
         "the audit lost something");
    for (size_t i = 0; i < ARRAY_SIZE(compared); i++)
        MUST_COME((scrape(c), (uint64_t)grown(c, before[i], compared[i]) == audited[i]),
                  "%s grew by %.0f, the audit counts %" PRIu64, compared[i],
                  grown(c, before[i], compared[i]), audited[i]);
}

static void look(struct scrapes *c, double before[ARRAY_SIZE(compared)])
{
    scrape(c);
    for (size_t i = 0; i < ARRAY_SIZE(compared); i++)
        before[i] = value_of(c, compared[i]);
}

/* A message that was answered by one that was killed is counted, or its connection ended: the
 * server counts it before the reply leaves. */
static void must_lie_between(struct scrapes *c, const double *before,
                             const struct audit_counts *counts)
{
    uint64_t n;

    MUST(audit_counts_is_o1(counts) && audit_counts_is_o2(counts), "the audit is not content");
    MUST_COME((scrape(c), n = (uint64_t)grown(c, before[0], compared[0])) >= counts->echoed,
              "%" PRIu64 " messages, but %" PRIu64 " came back", n, counts->echoed);
    MUST(n <= counts->sent, "%" PRIu64 " messages, but only %" PRIu64 " were sent", n,
         counts->sent);
}

/* Connections that ask and never read; the actor ends them in its own time. */
static void be_deaf(struct scrapes *c, unsigned n)
{
    char from[32];

    for (unsigned i = 0; i < n; i++) {
        snprintf(from, sizeof(from), "127.0.1.%u:0", i + 1);
        const int fd = peer_try_connect_from(from, c->addr);

        if (fd >= 0)
            peer_send_text(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    }
}

static void metrics__all_that_happens_to_a_server__exact_and_never_less(void **state)
{
    const unsigned n = it_is_soak() ? 1000 : 12;
    struct server *s = server_start(*state, .conf = SHOWN);
    double before[ARRAY_SIZE(compared)];
    struct audit_counts counts;
    struct scrapes c;

    server_expect(s, "worker (died|ended)|actor (died|ended)|reload refused|upgrade|dead worker|"
                     "mailbox|too many descriptors");
    scrapes_begin(&c, s);
    be_deaf(&c, 8);
    look(&c, before);
    counts = storm(&c, planned, n * 2 / 5, "reloads, upgrades and scaling");
    must_equal(&c, before, &counts);
    look(&c, before);
    counts = storm(&c, unplanned, n / 2, "kills as well");
    must_lie_between(&c, before, &counts);
    MUST_COME(server_gauge(s, connections) == 0, "connections stay");
    look(&c, before);
    counts = storm(&c, NULL, n / 10, "in peace again");
    must_equal(&c, before, &counts);
    scrapes_end(&c);
}

/* ---- a whole server, as the manual has it ---- */

/* Only of programs whose actors send each other messages. */
static bool is_of_messages(const char *name)
{
    return strncmp(name, "arbiter_messages_", strlen("arbiter_messages_")) == 0;
}

/* Returns the first that is missing, "" if none is. */
static const char *missing_in(const char *text, const char *manual)
{
    static char name[128];
    char type[160];

    while ((manual = strstr(manual, "\n.It Va arbiter_"))) {
        manual += strlen("\n.It Va ");
        MUST(sscanf(manual, "%127[a-z_]", name) == 1, "%.40s", manual);
        snprintf(type, sizeof(type), "# TYPE %s ", name);
        if (!is_of_messages(name) && !strstr(text, type))
            return name;
    }
    return "";
}

/* What a process uses is known from its second second on. */
static void metrics__a_real_server__has_what_the_manual_lists(void **state)
{
    struct server *s = server_start(*state, .conf = SHOWN);
    const char *addr = http_address(s), *missing;
    char *manual = it_read("man/echo-arbiter-metrics.7");
    struct http_reply r;

    MUST(strstr(manual, "\n.It Va arbiter_"), "the manual has no list");
    MUST_COME(
        (r = http_get(addr, "/metrics"), r.code == 200 && !*(missing = missing_in(r.body, manual))),
        "%u, %s is not in:\n%s", r.code, missing, r.body);
    free(manual);
}

/* ---- what has happened, in words ---- */

static void must_have_changed(const json_t *info, size_t i, const char *kind, bool is_done,
                              const char *what)
{
    const json_t *change = json_array_get(json_object_get(info, "changes"), i);
    const char *said = json_string_value(json_object_get(change, "what"));

    MUST(said && strcmp(json_string_value(json_object_get(change, "kind")), kind) == 0 &&
             json_is_true(json_object_get(change, "done")) == is_done && strstr(said, what),
         "change %zu is not %s, but %s", i, kind, said ? said : "none");
}

/* What a client has sent is not for everybody who looks. */
static void info__changes_and_crashes__listed_over_an_upgrade(void **state)
{
    struct server *s = server_start(*state, .binary = "test/echo-arbiter",
                                    .conf = "log: { crash_payload = true; };");
    json_t *info, *crash;

    server_expect(
        s, "worker died|worker crashes|msg=\"crash\"|backtrace|reload refused|configuration");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_configure(s, "arbiter: { workers = many; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused", 1);
    server_signal(s, SIGTTIN);
    server_wait_log(s, "msg=\"scaling\"", 1);
    server_wait_workers(s, 3);
    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", 1);
    peer_send_text(peer_connect(s->addr[0]), "\x01"
                                             "crash segv\r\n\r\n");
    server_wait_log(s, "msg=\"crash\"", 1);
    info = http_info(s);
    must_have_changed(info, 0, "reload", true, "revision 2, 0 keys changed");
    must_have_changed(info, 1, "reload", false, "the configuration is not valid");
    must_have_changed(info, 2, "scale", true, "3 workers are wanted instead of 2");
    must_have_changed(info, 3, "upgrade", true, "version ");
    MUST(json_array_size(json_object_get(info, "changes")) == 4, "more changes");
    crash = json_array_get(json_object_get(info, "crashes"), 0);
    MUST(json_object_get(crash, "signal") && json_object_get(crash, "time"), "no crash");
    MUST(!json_object_get(crash, "payload"), "info shows what a client has sent");
    json_decref(info);
}

/* ---- what clients notice ---- */

static void on_echoed(void *data, uint64_t written_ns, uint64_t now_ns)
{
    hist_add(data, now_ns - written_ns, 1);
}

static void measure(struct scrapes *c, bool is_scraped, const char *title)
{
    const uint64_t until_ms = clock_mono_ms() + 5000;
    struct hist h;
    struct audit_thread *audit;

    MUST(hist_init(&h) == 0, "no memory");
    audit = begin_traffic(c->server, on_echoed, &h);
    while (clock_mono_ms() < until_ms) {
        if (is_scraped) {
            be_deaf(c, 2);
            scrape(c);
        }
        usleep(50000);
    }
    audit_thread_stop(audit, title);
    printf("#| %-44s 50 %%: %6.2f ms, 99 %%: %6.2f ms, %" PRIu64 " messages\n", title,
           (double)hist_percentile(&h, 50) / 1e6, (double)hist_percentile(&h, 99) / 1e6, h.n);
    hist_fini(&h);
}

/* Figures for people, at full length only: how late a reply is depends on the machine. */
static void metrics__scrapers_that_never_read__clients_do_not_notice(void **state)
{
    struct server *s;
    struct scrapes c;

    if (!it_is_soak()) {
        s = server_start(*state, .conf = SHOWN);
        scrapes_begin(&c, s);
        be_deaf(&c, 60);
        server_must_be_well(s, 3);
        scrape(&c);
        fclose(c.open);
        exposition_free(c.last);
        return;
    }
    s = server_start(*state, .conf = SHOWN);
    scrapes_begin(&c, s);
    for (unsigned i = 0; i < 3; i++) {
        measure(&c, false, "nobody looks");
        measure(&c, true, "20 scrapes a second, 40 others never read");
    }
    fclose(c.open);
    exposition_free(c.last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(metrics__a_real_server__has_what_the_manual_lists),
        IT(info__changes_and_crashes__listed_over_an_upgrade),
        IT(metrics__all_that_happens_to_a_server__exact_and_never_less),
        IT(metrics__scrapers_that_never_read__clients_do_not_notice),
    };

    setvbuf(stdout, NULL, _IOLBF, 0);
    return it_run(tests);
}
