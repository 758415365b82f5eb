/*
 * echo-client ping: a message every so often over one connection, a line for each reply, and what
 * ping(8) sums up at the end. A lost connection is a lost message; the next one has a new one.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/num.h"
#include "base/util.h"
#include "client/call.h"
#include "measure/ping.h"
#include "cmd/echo_client.h"
#include "echo/echo.h"

enum { EXIT_LOST = 1, MIN_SIZE = 16, MAX_SIZE = 1 << 30 };

/* Beside the outcomes of a call. */
enum { PING_STOPPED = CALL_OUTCOMES_N };

struct pinging {
    struct tool *tool;
    uint64_t count; /* 0 = no end */
    uint64_t interval_ms;
    uint64_t size;
    struct addresses addresses;
    int address; /* the one that answered last */
    struct call call;
    char *message; /* owned, size bytes */
    int signal_fd; /* owned */
    int signo;
    uint64_t n_sent, n_echoed, n_connects;
    bool is_posted; /* the message now under way */
    int last_outcome; /* of a message that was lost */
    uint64_t started_ns;
    struct ping_times connect_times, round_trips;
};

/* ---- waiting: for the socket, for a time, and always for a signal ---- */

static int wait_for(struct pinging *p, int fd, short events, uint64_t deadline_ns)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = p->signal_fd, .events = POLLIN}};
    struct signalfd_siginfo info;

    for (;;) {
        uint64_t now = clock_mono_ns();
        struct timespec left = {.tv_sec = INT32_MAX};

        if (now >= deadline_ns)
            return CALL_TIMEOUT;
        if (deadline_ns != CALL_FOREVER)
            left = (struct timespec){(time_t)((deadline_ns - now) / 1000000000u),
                                     (long)((deadline_ns - now) % 1000000000u)};
        if (ppoll(fds, 2, &left, NULL) < 0 && errno != EINTR)
            return -errno;
        if (fds[1].revents && read(p->signal_fd, &info, sizeof(info)) == sizeof(info)) {
            p->signo = (int)info.ssi_signo;
            return PING_STOPPED;
        }
        if (fds[0].revents)
            return 0;
        fds[0].revents = fds[1].revents = 0;
    }
}

/* ---- one message ---- */

static int ensure_connected(struct pinging *p, uint64_t deadline_ns)
{
    uint64_t start = clock_mono_ns();
    int fd = -1, rc;

    if (call_is_usable(&p->call))
        return 0;
    rc = dial_to(&p->addresses, &p->address, p->signal_fd, deadline_ns, &fd);
    if (rc == CALL_CANCELLED)
        return wait_for(p, -1, 0, CALL_FOREVER); /* which takes the signal */
    if (rc == 0)
        rc = call_adopt(&p->call, fd);
    if (rc) {
        fds_close(&fd);
        return rc;
    }
    p->n_connects++;
    ping_times_add(&p->connect_times, clock_mono_ns() - start);
    return 0;
}

static int exchange(struct pinging *p, uint64_t *ret_ns)
{
    uint64_t deadline_ns = call_deadline(p->tool->timeout_ms), start;
    const uint8_t *reply;
    size_t len;
    int rc;

    p->is_posted = false;
    rc = ensure_connected(p, deadline_ns);
    if (rc)
        return rc;
    /* A number that no earlier reply has. */
    snprintf(p->message, MIN_SIZE, "%0*" PRIu64, MIN_SIZE - 1, p->n_sent);
    p->message[MIN_SIZE - 1] = 'x'; /* where its NUL is */
    start = clock_mono_ns();
    rc = call_post(&p->call, p->message, p->size);
    p->is_posted = rc == 0;
    while (rc == 0) {
        rc = call_advance(&p->call, &reply, &len);
        if (rc != CALL_PENDING)
            break;
        rc = wait_for(p, p->call.fd, call_events(&p->call), deadline_ns);
    }
    *ret_ns = clock_mono_ns() - start;
    if (rc)
        call_close(&p->call);
    return rc;
}

/* ---- what is printed ---- */

static int print_reply(const struct pinging *p, uint64_t ns)
{
    int rc;

    if (p->tool->is_json)
        rc = out_json(json_pack("{s:I, s:I, s:f}", "seq", (json_int_t)p->n_sent, "bytes",
                                (json_int_t)p->size, "time_ms", (double)ns / 1e6));
    else
        rc = out_print("%" PRIu64 " bytes from %s: seq=%" PRIu64 " time=%.3f ms", p->size,
                       p->tool->address_text, p->n_sent, (double)ns / 1e6);
    return rc ? rc : out_flush();
}

static int print_loss(const struct pinging *p, int outcome)
{
    const char *text = call_outcome_text(outcome);
    int rc;

    if (p->tool->is_json)
        rc = out_json(json_pack("{s:I, s:{s:s, s:s}}", "seq", (json_int_t)p->n_sent, "error",
                                "code", call_outcome_name(outcome), "message", text));
    else
        rc = out_print("from %s: seq=%" PRIu64 " %s", p->tool->address_text, p->n_sent, text);
    return rc ? rc : out_flush();
}

static json_t *times_json(const struct ping_times *t)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "min", (double)t->min_ns / 1e6, "avg",
                     t->mean_ns / 1e6, "max", (double)t->max_ns / 1e6, "mdev",
                     ping_times_mdev(t) / 1e6);
}

static int print_times(const char *title, const struct ping_times *t)
{
    if (t->n == 0)
        return 0;
    return out_print("%s min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms", title, (double)t->min_ns / 1e6,
                     t->mean_ns / 1e6, (double)t->max_ns / 1e6, ping_times_mdev(t) / 1e6);
}

static int print_summary(const struct pinging *p)
{
    double ms = (double)(clock_mono_ns() - p->started_ns) / 1e6;
    double lost = ping_lost_percent(p->n_sent, p->n_echoed);
    int rc;

    if (p->tool->is_json)
        return out_json(json_pack(
            "{s:{s:I, s:I, s:f, s:f, s:I, s:o, s:o}}", "summary", "sent", (json_int_t)p->n_sent,
            "echoed", (json_int_t)p->n_echoed, "lost_percent", lost, "duration_ms", ms,
            "connections", (json_int_t)p->n_connects, "connect_ms", times_json(&p->connect_times),
            "round_trip_ms", times_json(&p->round_trips)));
    rc = out_print("\n--- %s echo statistics ---\n%" PRIu64 " messages sent, %" PRIu64
                   " echoed, %.6g%% lost, %" PRIu64 " connection%s, time %.0f ms",
                   p->tool->address_text, p->n_sent, p->n_echoed, lost, p->n_connects,
                   p->n_connects == 1 ? "" : "s", ms);
    if (rc == 0)
        rc = print_times("connect", &p->connect_times);
    return rc ? rc : print_times("round trip", &p->round_trips);
}

/* ---- all of it ---- */

static int ping_loop(struct pinging *p)
{
    uint64_t next_ns = p->started_ns, ns = 0;
    int rc = 0;

    while (rc == 0) {
        int outcome;

        p->n_sent++;
        outcome = exchange(p, &ns);
        if (outcome == PING_STOPPED) {
            p->n_sent -= !p->is_posted; /* what is out counts as lost, as in ping(8) */
            break;
        }
        if (outcome == 0) {
            p->n_echoed++;
            ping_times_add(&p->round_trips, ns);
            rc = print_reply(p, ns);
        } else {
            p->last_outcome = outcome;
            rc = print_loss(p, outcome);
        }
        if (rc || p->n_sent == p->count)
            break;
        next_ns = MAX(next_ns + p->interval_ms * 1000000, clock_mono_ns());
        if (wait_for(p, -1, 0, next_ns + 1) == PING_STOPPED)
            break;
    }
    return rc;
}

/* Nothing ever came back: then why not is the more useful code. */
static int exit_code(const struct pinging *p)
{
    if (p->signo)
        return 128 + p->signo;
    if (p->n_echoed == p->n_sent)
        return 0;
    return p->n_echoed > 0 ? EXIT_LOST : call_outcome_exit(p->last_outcome);
}

static int run(struct pinging *p)
{
    sigset_t set;
    int rc = addresses_find(&p->tool->address, NULL, NULL, call_deadline(p->tool->timeout_ms),
                            &p->addresses);

    if (rc == 0)
        rc = exchange_check(&p->call.exchange.rule, p->message, p->size);
    if (rc)
        return fail_outcome(p->tool, NULL, rc);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (p->signal_fd < 0)
        return fail_outcome(p->tool, NULL, -errno);
    p->started_ns = clock_mono_ns();
    rc = ping_loop(p);
    if (rc == 0)
        rc = print_summary(p);
    fds_close(&p->signal_fd);
    return rc ? rc : exit_code(p);
}

/* ---- the command line ---- */

const struct argp_option ping_argp_options[] = {
    {"count", 'n', "COUNT", 0, "end after so many messages; default: no end", 0},
    {"interval", 'i', "TIME", 0, "from one message to the next, like 200ms; default 1s", 0},
    {"size", 's', "SIZE", 0, "bytes of a message, 16 at least; default 64", 0},
    {0},
};

static error_t parse_ping(int key, char *arg, struct argp_state *state)
{
    struct pinging *p = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = p->tool;
        return 0;
    case 'n':
        p->count = option_number("-n", arg, 1, UINT32_MAX, state);
        return 0;
    case 'i':
        p->interval_ms = option_ms("-i", arg, 0, state);
        return 0;
    case 's':
        if (num_parse_size(arg, MIN_SIZE, MAX_SIZE, &p->size))
            argp_error(state, "-s %s: bytes from %d on, like 1000 or 64KiB", arg, MIN_SIZE);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state,
                   "ping takes no words: %s; an address goes behind -a; as a message: echo-client "
                   "send ping %s",
                   arg, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int ping_run(struct tool *t, int argc, char **argv)
{
    static const struct argp argp = {
        .options = ping_argp_options,
        .parser = parse_ping,
        .args_doc = "ping",
        .doc = "Send a message every so often and print how long its echo took; at the end, or on "
               "Ctrl-C, what was lost and the least, mean and greatest time. Exit status 1: "
               "messages were lost.",
    };
    struct pinging p = {.tool = t, .interval_ms = 1000, .size = 64, .signal_fd = -1};
    struct frame_rule rule;
    int rc;

    tool_parse(&argp, argc, argv, &p);
    p.message = malloc(p.size);
    if (!p.message)
        return fail_outcome(t, NULL, -ENOMEM);
    memset(p.message, 'x', p.size);
    memset(p.message, '0', MIN_SIZE);
    echo_rule_init(&rule, t->separator, t->separator_len, MAX_SIZE);
    call_init(&p.call, &rule);
    rc = run(&p);
    call_fini(&p.call);
    free(p.message);
    return rc;
}
