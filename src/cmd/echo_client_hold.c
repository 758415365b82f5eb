/*
 * echo-client hold: opens connections, leaves them alone, and tells when and how each is cut; or
 * tries each after an idle time of its own, to find out how long a pause the way survives.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/util.h"
#include "client/deadlines.h"
#include "measure/hold.h"
#include "client/human.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

enum {
    EXIT_CUT = 1,
    CONNECTIONS_MAX = 1000000,
    SHOWN_EVERY = 4, /* looks */
};

struct holding {
    struct tool *tool;
    struct hold_options options;
    uint64_t duration_ms;
    bool is_quiet;
    uint64_t started_ns;
    struct hold run;
    int rc;
    struct live live;
};

/* ---- what is printed ---- */

static int print_end(struct holding *h, unsigned index, int fd, enum hold_end how, uint64_t age_ns)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    const uint64_t now_ns = wall_time_ns();
    char from[ADDR_TEXT_LEN] = "?", at[WALL_TIME_LEN], age[HUMAN_LEN];
    int rc;

    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_format((const struct sockaddr *)&sa, len, from);
    live_clear(&h->live);
    if (h->tool->is_json)
        rc = out_json(json_pack("{s:i, s:s, s:s, s:s, s:f}", "connection", (int)index + 1, "from",
                                from, "at", wall_time_utc(now_ns, at), "what", hold_end_name(how),
                                "age_ms", (double)age_ns / 1e6));
    else
        rc = out_print("%s  connection %u from %s: %s after %s", wall_time_text(now_ns, at),
                       index + 1, from, hold_end_text(how),
                       human_duration((double)age_ns / 1e9, age));
    return rc ? rc : out_flush();
}

static void hold_show(struct holding *h)
{
    const struct hold_report *r = &h->run.report;
    const double seconds = (double)(clock_mono_ns() - h->started_ns) / 1e9;
    const uint64_t end_ms = h->duration_ms ? h->duration_ms : h->options.probe.max;
    char left[LIVE_LEFT_LEN];

    live_left(end_ms ? seconds * 1e3 / (double)end_ms : 0, seconds, left);
    live_show(&h->live, "%s%u begun  %" PRIu64 " open  %" PRIu64 " cut  %" PRIu64 " refused", left,
              h->run.n_begun, r->n_open, hold_report_cut(r), r->ends[HOLD_REFUSED].n);
}

static json_t *ages_json(const struct times *a)
{
    return json_pack("{s:I, s:f, s:f}", "count", (json_int_t)a->n, "min_ms",
                     (double)a->min_ns / 1e6, "max_ms", (double)a->max_ns / 1e6);
}

static int print_summary_json(const struct holding *h)
{
    const struct hold_report *r = &h->run.report;
    json_t *o = json_pack("{s:I, s:I, s:I}", "opened", (json_int_t)r->n_opened, "open",
                          (json_int_t)r->n_open, "cut", (json_int_t)hold_report_cut(r));
    uint64_t survived, cut;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        json_object_set_new(o, hold_end_name((enum hold_end)i), ages_json(&r->ends[i]));
    json_object_set_new(o, "survived", ages_json(&r->survived));
    if (hold_limit(r, &survived, &cut))
        json_object_set_new(o, "limit_ms",
                            json_pack("[f, f]", (double)survived / 1e6, (double)cut / 1e6));
    return out_json(json_pack("{s:o}", "summary", o));
}

static int print_ages(const char *what, const struct times *a)
{
    char low[HUMAN_LEN], high[HUMAN_LEN];

    if (a->n == 0)
        return 0;
    return out_print("  %" PRIu64 " %s, after %s to %s", a->n, what,
                     human_duration((double)a->min_ns / 1e9, low),
                     human_duration((double)a->max_ns / 1e9, high));
}

static int print_summary(const struct holding *h)
{
    const struct hold_report *r = &h->run.report;
    char low[HUMAN_LEN], high[HUMAN_LEN];
    uint64_t survived, cut;
    int rc;

    if (h->tool->is_json)
        return print_summary_json(h);
    rc = out_print("%s: %" PRIu64 " connection%s opened, %" PRIu64 " still open, %" PRIu64 " cut",
                   h->tool->address_text, r->n_opened, r->n_opened == 1 ? "" : "s", r->n_open,
                   hold_report_cut(r));
    for (int i = 0; rc == 0 && i < HOLD_ENDS_N; i++)
        rc = print_ages(hold_end_text((enum hold_end)i), &r->ends[i]);
    if (rc == 0)
        rc = print_ages("echoed", &r->survived);
    if (rc == 0 && r->survived.n == 0)
        rc = out_print("nothing was echoed: %s", h->options.probe.max > 0
                                                     ? "no probe came back"
                                                     : "no probe was sent, see --probe");
    if (rc == 0 && hold_limit(r, &survived, &cut))
        rc = out_print("the way forgets an idle connection between %s and %s",
                       human_duration((double)survived / 1e9, low),
                       human_duration((double)cut / 1e9, high));
    return rc;
}

/* ---- all of them ---- */

static void on_cut(struct hold *run, unsigned index, int fd, enum hold_end how, uint64_t age_ns)
{
    struct holding *h = container_of(run, struct holding, run);

    if (!h->is_quiet)
        h->rc = print_end(h, index, fd, how, age_ns);
    if (h->rc)
        hold_stop(run);
}

static void hold_all(struct holding *h)
{
    struct flow *f = &h->run.flow;
    const uint64_t end_ns = deadline_after_ms(h->duration_ms);
    uint64_t look_ns = 0, n_looks = 0;

    h->run.on_end = on_cut;
    stop_watch();
    h->started_ns = clock_mono_ns();
    hold_start(&h->run);
    while (!hold_is_over(&h->run) && f->reactor.now_ns < end_ns) {
        flow_turn(f, MIN(look_ns, end_ns));
        if (f->reactor.now_ns < look_ns)
            continue;
        look_ns = f->reactor.now_ns + LOOK_MS * UINT64_C(1000000);
        if (n_looks++ % SHOWN_EVERY == 0)
            hold_show(h);
        if (stop_count() > 0) {
            flow_turn(f, 0); /* what had happened before the signal counts */
            break;
        }
    }
    live_clear(&h->live);
}

static int hold_finish(struct holding *h)
{
    const struct hold_report *r = &h->run.report;
    int rc = h->rc;

    if (r->n_opened == 0 && h->run.last_failure)
        return stop_exit(fail_outcome(h->tool, NULL, h->run.last_failure));
    if (rc == 0)
        rc = print_summary(h);
    if (rc)
        return rc;
    rc = hold_report_cut(r) + r->ends[HOLD_REFUSED].n > 0 ? EXIT_CUT : 0;
    return stop_exit(rc);
}

static int hold_run_all(struct holding *h)
{
    int rc = flow_find(&h->tool->address, h->tool->timeout_ms, &h->options.to);

    h->options.timeout_ms = h->tool->timeout_ms;
    if (rc == 0)
        rc = hold_init(&h->run, &h->options);
    if (rc)
        return fail_outcome(h->tool, NULL, rc);
    hold_all(h);
    rc = hold_finish(h);
    hold_fini(&h->run);
    return rc;
}

/* ---- the command line ---- */

static const struct own_option hold_options[] = {
    {"connections", 'c', "N", "connections to hold; default 100", OPTION_NUMBER,
     OPTION_AT(struct holding, options.n), 1, CONNECTIONS_MAX},
    {"time", 't', "TIME", "end after so long; default: when all are cut", OPTION_MS,
     OPTION_AT(struct holding, duration_ms), 1, TOOL_MS_MAX},
    {"probe", 0, "MIN-MAX",
     "send a message on each after an idle time of its own, evenly from MIN to MAX",
     OPTION_MS_RANGE, OPTION_AT(struct holding, options.probe), 1, TOOL_MS_MAX},
    {"quiet", 'q', NULL, "only the summary", OPTION_SET, OPTION_AT(struct holding, is_quiet), 0, 0},
    {0},
};

int hold_run(struct tool *t)
{
    struct holding h = {.tool = t, .options = {.n = 100}};
    int rc;

    tool_parse(t, hold_options, &h);
    if (tool_is_given(t, TOOL_SEPARATOR) && h.options.probe.max == 0)
        usage_error("--separator: hold sends nothing without --probe");
    memcpy(h.options.message, "hold", 4);
    memcpy(h.options.message + 4, t->separator, t->separator_len);
    h.options.message_len = 4 + t->separator_len;
    rc = files_allow("hold", h.options.n);
    if (rc)
        return rc;
    live_init(&h.live);
    return hold_run_all(&h);
}
