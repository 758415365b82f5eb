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
#include <sysexits.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/util.h"
#include "client/attempt.h"
#include "client/call.h"
#include "client/hold.h"
#include "client/human.h"
#include "client/loopback.h"
#include "client/quantity.h"
#include "client/wall_time.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

enum {
    EXIT_CUT = 1,
    CONNECTIONS_MAX = 1000000,
    CONNECTING_MAX = 128, /* at once: below any sensible accept queue */
    PORTS_A_SOURCE = 20000, /* of the 28232 that an address has by default */
    LOOK_MS = 200,
    MAX_MS = 1000000000,
    MESSAGE_LEN = 4,
};

struct held {
    ev_io io;
    ev_timer timer; /* connecting in time, the probe, its echo in time */
    struct holding *holding;
    unsigned index;
    uint64_t since_ns; /* connecting, then open */
    bool is_open, is_probed;
    size_t n_echoed; /* bytes of the probe's echo */
};

struct holding {
    struct tool *tool;
    unsigned n;
    uint64_t duration_ms;
    struct quantity_range probe; /* ms */
    bool is_probing, is_quiet;
    struct addresses to;
    struct held *held; /* owned, n */
    char message[MESSAGE_LEN + FRAME_SEPARATOR_MAX];
    size_t message_len;
    unsigned n_begun, n_connecting, n_over;
    struct hold_report report;
    int last_failure, rc;
    struct ev_loop *loop;
    struct live live;
    struct stopper stopper;
    ev_timer look, end;
};

static void begin_more(struct holding *h);

/* ---- what is printed ---- */

static int print_json(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    int rc = text ? out_line(text, strlen(text)) : EX_OSERR;

    free(text);
    json_decref(o);
    return rc ? rc : out_flush();
}

static int print_end(struct holding *h, const struct held *k, const char *name, const char *what,
                     uint64_t age_ns)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char from[ADDR_TEXT_LEN] = "?", at[WALL_TIME_LEN], age[HUMAN_LEN], text[512];
    int n;

    if (k->io.fd >= 0 && getsockname(k->io.fd, (struct sockaddr *)&sa, &len) == 0)
        addr_format((const struct sockaddr *)&sa, len, from);
    wall_time_text(wall_time_ns(), at);
    if (h->tool->is_json)
        return print_json(json_pack("{s:i, s:s, s:s, s:s, s:f}", "connection", (int)k->index + 1,
                                    "from", from, "at", at, "what", name, "seconds",
                                    (double)age_ns / 1e9));
    n = snprintf(text, sizeof(text), "%s  connection %u from %s: %s after %s", at, k->index + 1,
                 from, what, human_duration((double)age_ns / 1e9, age));
    live_clear(&h->live);
    n = out_line(text, (size_t)MIN(n, (int)sizeof(text) - 1));
    return n ? n : out_flush();
}

static void show(struct holding *h)
{
    live_show(&h->live, "%u begun  %" PRIu64 " open  %" PRIu64 " cut  %" PRIu64 " refused",
              h->n_begun, h->report.n_open, hold_report_cut(&h->report),
              h->report.ends[HOLD_REFUSED].n);
}

static json_t *ages_json(const struct hold_ages *a)
{
    return json_pack("{s:I, s:f, s:f}", "n", (json_int_t)a->n, "min_s", (double)a->min_ns / 1e9,
                     "max_s", (double)a->max_ns / 1e9);
}

static int print_summary_json(const struct holding *h)
{
    const struct hold_report *r = &h->report;
    json_t *o = json_pack("{s:I, s:I, s:I}", "opened", (json_int_t)r->n_opened, "open",
                          (json_int_t)r->n_open, "cut", (json_int_t)hold_report_cut(r));
    uint64_t survived, cut;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        json_object_set_new(o, hold_end_name((enum hold_end)i), ages_json(&r->ends[i]));
    json_object_set_new(o, "survived", ages_json(&r->survived));
    if (hold_limit(r, &survived, &cut))
        json_object_set_new(o, "limit_s",
                            json_pack("[f, f]", (double)survived / 1e9, (double)cut / 1e9));
    return print_json(json_pack("{s:o}", "summary", o));
}

static void write_ages(FILE *f, const char *what, const struct hold_ages *a)
{
    char low[HUMAN_LEN], high[HUMAN_LEN];

    if (a->n > 0)
        fprintf(f, "\n  %" PRIu64 " %s, after %s to %s", a->n, what,
                human_duration((double)a->min_ns / 1e9, low),
                human_duration((double)a->max_ns / 1e9, high));
}

static int print_summary(const struct holding *h)
{
    const struct hold_report *r = &h->report;
    char *text = NULL, low[HUMAN_LEN], high[HUMAN_LEN];
    uint64_t survived, cut;
    size_t len = 0;
    FILE *f;
    int rc;

    if (h->tool->is_json)
        return print_summary_json(h);
    f = open_memstream(&text, &len);
    if (!f)
        return EX_OSERR;
    fprintf(f, "%s: %" PRIu64 " connections opened, %" PRIu64 " still open, %" PRIu64 " cut",
            h->tool->address_text, r->n_opened, r->n_open, hold_report_cut(r));
    for (int i = 0; i < HOLD_ENDS_N; i++)
        write_ages(f, hold_end_text((enum hold_end)i), &r->ends[i]);
    write_ages(f, "echoed", &r->survived);
    if (hold_limit(r, &survived, &cut))
        fprintf(f, "\nthe way forgets an idle connection between %s and %s",
                human_duration((double)survived / 1e9, low),
                human_duration((double)cut / 1e9, high));
    fclose(f);
    rc = text ? out_line(text, len) : EX_OSERR;
    free(text);
    return rc;
}

/* ---- one connection ---- */

static void set_timer(struct held *k, uint64_t ms)
{
    struct ev_loop *loop = k->holding->loop;

    ev_timer_stop(loop, &k->timer);
    if (ms == 0)
        return;
    ev_now_update(loop);
    ev_timer_set(&k->timer, (double)ms / 1e3, 0.);
    ev_timer_start(loop, &k->timer);
}

static void watch(struct held *k, int fd, int events)
{
    ev_io_stop(k->holding->loop, &k->io);
    ev_io_set(&k->io, fd, events);
    ev_io_start(k->holding->loop, &k->io);
}

static void close_held(struct held *k)
{
    struct holding *h = k->holding;
    int fd = k->io.fd;

    ev_io_stop(h->loop, &k->io);
    ev_timer_stop(h->loop, &k->timer);
    fds_close(&fd);
    ev_io_set(&k->io, -1, 0);
    h->n_connecting -= !k->is_open;
    h->report.n_open -= k->is_open;
    k->is_open = false;
    if (++h->n_over == h->n || h->rc)
        ev_break(h->loop, EVBREAK_ALL);
    else
        begin_more(h);
}

static void over(struct held *k, enum hold_end how)
{
    struct holding *h = k->holding;
    uint64_t age_ns = clock_mono_ns() - k->since_ns;

    hold_ages_add(&h->report.ends[how], age_ns);
    if (!h->is_quiet && h->rc == 0 && how != HOLD_REFUSED)
        h->rc = print_end(h, k, hold_end_name(how), hold_end_text(how), age_ns);
    close_held(k);
}

static void opened(struct held *k)
{
    struct holding *h = k->holding;

    k->is_open = true;
    k->since_ns = clock_mono_ns();
    h->n_connecting--;
    h->report.n_opened++;
    h->report.n_open++;
    watch(k, k->io.fd, EV_READ);
    set_timer(k, h->is_probing ? hold_probe_ms(h->probe.min, h->probe.max, k->index, h->n) : 0);
    begin_more(h);
}

static void on_readable(struct held *k)
{
    struct holding *h = k->holding;
    char buf[256];
    ssize_t n = recv(k->io.fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        over(k, n == 0 ? HOLD_CLOSED : HOLD_RESET);
        return;
    }
    if (!k->is_probed || k->n_echoed + (size_t)n > h->message_len ||
        memcmp(buf, h->message + k->n_echoed, (size_t)n) != 0) {
        over(k, HOLD_WRONG);
        return;
    }
    k->n_echoed += (size_t)n;
    if (k->n_echoed == h->message_len) {
        hold_ages_add(&h->report.survived, clock_mono_ns() - k->since_ns);
        close_held(k);
    }
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct held *k = container_of(w, struct held, io);
    int rc;

    (void)loop;
    (void)revents;
    if (k->is_open) {
        on_readable(k);
        return;
    }
    rc = attempt_finish(w->fd);
    if (rc) {
        k->holding->last_failure = rc;
        over(k, HOLD_REFUSED);
    } else {
        opened(k);
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct held *k = container_of(w, struct held, timer);
    struct holding *h = k->holding;

    (void)loop;
    (void)revents;
    if (!k->is_open) {
        h->last_failure = CALL_TIMEOUT;
        over(k, HOLD_REFUSED);
    } else if (k->is_probed) {
        over(k, HOLD_SILENT);
    } else {
        k->is_probed = true;
        set_timer(k, h->tool->timeout_ms);
        /* A few bytes to an idle socket always fit; what is broken tells itself on reading. */
        (void)!send(k->io.fd, h->message, h->message_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static void begin(struct holding *h, struct held *k, unsigned index)
{
    const struct arb_address *to = &h->to.all[0];
    struct arb_address from;
    bool has_from = h->n > PORTS_A_SOURCE && loopback_is_v4(to);
    int fd = -1, rc;

    *k = (struct held){.holding = h, .index = index, .since_ns = clock_mono_ns()};
    ev_io_init(&k->io, on_io, -1, 0);
    ev_init(&k->timer, on_timer);
    h->n_connecting++;
    if (has_from)
        loopback_source(index / PORTS_A_SOURCE, &from);
    rc = attempt_start(to, has_from ? &from : NULL, &fd);
    if (rc == 0 || rc == CALL_PENDING) {
        ev_io_set(&k->io, fd, EV_WRITE);
        ev_io_start(h->loop, &k->io);
        set_timer(k, h->tool->timeout_ms);
    } else {
        h->last_failure = rc == -EAGAIN ? CALL_TIMEOUT : rc;
        over(k, HOLD_REFUSED);
    }
    if (rc == 0)
        opened(k);
}

/* Not from within itself: one that ends at once begins the next, and so on. */
static void begin_more(struct holding *h)
{
    static bool is_inside;

    if (is_inside)
        return;
    is_inside = true;
    while (h->n_begun < h->n && h->n_connecting < CONNECTING_MAX && h->rc == 0) {
        unsigned index = h->n_begun++;

        begin(h, &h->held[index], index);
    }
    is_inside = false;
}

/* ---- all of them ---- */

static void on_look(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    show(container_of(w, struct holding, look));
}

static void on_end(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)w;
    (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

static void on_stop(struct stopper *s, bool is_second)
{
    (void)is_second;
    ev_break(container_of(s, struct holding, stopper)->loop, EVBREAK_ALL);
}

static void hold(struct holding *h)
{
    stopper_start(&h->stopper, h->loop, on_stop);
    ev_timer_init(&h->look, on_look, LOOK_MS / 1e3, LOOK_MS / 1e3);
    if (h->live.is_on)
        ev_timer_start(h->loop, &h->look);
    ev_timer_init(&h->end, on_end, (double)h->duration_ms / 1e3, 0.);
    if (h->duration_ms)
        ev_timer_start(h->loop, &h->end);
    begin_more(h);
    if (h->n_over < h->n && h->rc == 0)
        ev_run(h->loop, 0);
    ev_timer_stop(h->loop, &h->look);
    ev_timer_stop(h->loop, &h->end);
    stopper_stop(&h->stopper, h->loop);
    live_clear(&h->live);
}

static int finish(struct holding *h)
{
    int rc = h->rc;

    if (h->report.n_opened == 0 && h->last_failure)
        return stopper_exit(&h->stopper, fail_outcome(h->tool, NULL, h->last_failure));
    if (rc == 0)
        rc = print_summary(h);
    if (rc)
        return rc;
    rc = hold_report_cut(&h->report) + h->report.ends[HOLD_REFUSED].n > 0 ? EXIT_CUT : 0;
    return stopper_exit(&h->stopper, rc);
}

static int run(struct holding *h)
{
    int rc =
        addresses_find(&h->tool->address, NULL, NULL, call_deadline(h->tool->timeout_ms), &h->to);

    if (rc)
        return fail_outcome(h->tool, NULL, rc);
    h->held = calloc(h->n, sizeof(*h->held));
    h->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (h->held && h->loop) {
        hold(h);
        rc = finish(h);
        for (unsigned i = 0; i < h->n_begun; i++) {
            int fd = h->held[i].io.fd;

            ev_io_stop(h->loop, &h->held[i].io);
            ev_timer_stop(h->loop, &h->held[i].timer);
            fds_close(&fd);
        }
    } else {
        rc = fail_outcome(h->tool, NULL, -ENOMEM);
    }
    if (h->loop)
        ev_loop_destroy(h->loop);
    free(h->held);
    return rc;
}

/* ---- the command line ---- */

enum { OPT_PROBE = 1000 };

const struct argp_option hold_argp_options[] = {
    {"connections", 'c', "N", 0, "connections to hold; default 100", 0},
    {"time", 't', "TIME", 0, "end after so long; default: when all are cut", 0},
    {"probe", OPT_PROBE, "MIN-MAX", 0,
     "send a message on each after an idle time of its own, evenly from MIN to MAX", 0},
    {"quiet", 'q', NULL, 0, "only the summary", 0},
    {0},
};

static error_t parse_hold(int key, char *arg, struct argp_state *state)
{
    struct holding *h = state->input;
    uint64_t n = 1;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = h->tool;
        return 0;
    case 'c':
        if (num_parse_u64(arg, 1, CONNECTIONS_MAX, &n))
            argp_error(state, "-c %s: a number from 1 to %d", arg, CONNECTIONS_MAX);
        h->n = (unsigned)n;
        return 0;
    case 't':
        if (quantity_ms(arg, 1, MAX_MS, &h->duration_ms))
            argp_error(state, "-t %s: a time like 200ms, 2, 30s or 10m", arg);
        return 0;
    case OPT_PROBE:
        if (quantity_ms_range(arg, 1, MAX_MS, &h->probe))
            argp_error(state, "--probe %s: times like 60s or 1m-10m", arg);
        h->is_probing = true;
        return 0;
    case 'q':
        h->is_quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "hold has no words: %s", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int hold_run(struct tool *t, int argc, char **argv)
{
    static const struct argp argp = {
        .options = hold_argp_options,
        .parser = parse_hold,
        .args_doc = "hold",
        .doc = "Open connections, leave them idle, and tell when and how each is cut; with --probe "
               "find out how long a pause survives. Exit status 1: some were cut or refused.",
    };
    struct holding h = {.tool = t, .n = 100};

    tool_parse(&argp, argc, argv, &h);
    memcpy(h.message, "hold", MESSAGE_LEN);
    memcpy(h.message + MESSAGE_LEN, t->separator, t->separator_len);
    h.message_len = MESSAGE_LEN + t->separator_len;
    if (files_allow(h.n) < h.n) {
        fprintf(stderr,
                "echo-client: hold: %u connections need more descriptors than this shell allows: "
                "see ulimit -n\n",
                h.n);
        return EX_OSERR;
    }
    live_init(&h.live);
    return run(&h);
}
