/*
 * Looks at the scoreboard every millisecond, which costs nobody anything, and remembers when it
 * changed. Which window a message belongs to is found out afterwards.
 */
#include "support/changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arbiter/transition.h"
#include "base/clock.h"
#include "base/util.h"
#include "base/hist.h"
#include "client/human.h"
#include "measure/quantity.h"

enum { LOOK_US = 1000, QUIET_MS = 100, WINDOWS_MAX = 4096, AWAIT_MS = 120000 };

struct window {
    enum change kind;
    uint64_t from_ns, to_ns;
};

/* Eight bytes each: a proof has millions of them. */
struct sample {
    uint32_t at_us; /* since `base_ns` */
    uint32_t length_us;
};

struct samples {
    struct sample *all; /* owned */
    size_t n, size;
};

/* What the scoreboard said: a difference is an event. */
struct sight {
    uint64_t processes; /* a sum over who is there, in which state */
    uint64_t moved; /* a sum over who has given and taken how many connections */
    unsigned n, accepting;
};

struct changes {
    struct server *server; /* borrowed */
    unsigned workers; /* that are wanted */
    uint64_t base_ns;
    struct sight sight;
    uint64_t event_ns; /* the last one */
    bool is_asked; /* the last window was asked for and is open */
    struct window windows[WINDOWS_MAX]; /* in order, none overlaps another */
    size_t n_windows;
    struct changes_extra extra;
    struct samples echoed, late; /* of the audit's thread, until it has ended */
    uint64_t inside, n_ticks; /* a sum over the ticks, and how many there were */
    unsigned unbroken;
};

static uint64_t mixed(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x100000001b3);
}

static struct sight look_at(const struct scoreboard *board)
{
    const uint64_t high = MIN(counter_get(&board->header->high), (uint64_t)board->n_records);
    struct sight now = {0};
    for (uint64_t i = 0; i < high; i++) {
        const struct score_record *r = scoreboard_record(board, (uint32_t)i);
        const struct score_identity *id = scoreboard_identity(board, (uint32_t)i);
        const uint64_t state = counter_get(&r->state);
        if (counter_get(&id->slot) == 0 || counter_get(&id->slot) > TR_SLOTS_MAX)
            continue;
        now.n++;
        now.accepting += state == ACTOR_RUN && counter_get(&r->is_accepting);
        now.processes = mixed(mixed(mixed(now.processes, i), counter_get(&id->incarnation)), state);
        now.moved = mixed(mixed(mixed(now.moved, i), counter_get(&r->counters.moved_in)),
                          counter_get(&r->counters.moved_out));
    }
    return now;
}

static struct window *last_window(struct changes *c)
{
    return &c->windows[c->n_windows - 1];
}

static void begin_window(struct changes *c, enum change kind, uint64_t now_ns)
{
    MUST(c->n_windows < WINDOWS_MAX, "too many changes");
    c->windows[c->n_windows++] = (struct window){kind, now_ns, now_ns};
}

static bool is_quiet(const struct changes *c, uint64_t now_ns)
{
    return now_ns - c->event_ns > QUIET_MS * UINT64_C(1000000);
}

static void on_event(struct changes *c, enum change kind, uint64_t now_ns)
{
    if (!c->is_asked && (is_quiet(c, now_ns) || last_window(c)->kind == CHANGE_START))
        begin_window(c, kind, now_ns - 2 * LOOK_US * UINT64_C(1000));
    if (last_window(c)->kind == CHANGE_BALANCE)
        last_window(c)->kind = kind;
    last_window(c)->to_ns = c->event_ns = now_ns;
}

static void look(struct changes *c)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_US * 1000L}, NULL);
    const struct sight now = look_at(&c->server->board);
    if (now.processes != c->sight.processes)
        on_event(c, CHANGE_RECYCLE, clock_mono_ns());
    else if (now.moved != c->sight.moved)
        on_event(c, CHANGE_BALANCE, clock_mono_ns());
    c->sight = now;
    if (!c->is_asked) {
        c->extra.least = MIN(c->extra.least, (int)now.n - (int)c->workers);
        c->extra.most = MAX(c->extra.most, (int)now.n - (int)c->workers);
    }
}

struct changes *changes_new(struct server *s, unsigned workers)
{
    struct changes *c = calloc(1, sizeof(*c));
    MUST(c && s->board.fd >= 0, "no memory, or no scoreboard");
    c->server = s;
    c->workers = workers;
    c->base_ns = c->event_ns = clock_mono_ns();
    c->sight = look_at(&s->board);
    c->is_asked = true;
    begin_window(c, CHANGE_START, c->base_ns);
    return c;
}

void changes_begin(struct changes *c)
{
    c->sight = look_at(&c->server->board);
    c->is_asked = false;
    last_window(c)->to_ns = c->event_ns = clock_mono_ns();
}

void changes_free(struct changes *c)
{
    if (!c)
        return;
    free(c->echoed.all);
    free(c->late.all);
    free(c);
}

static void add_sample(struct changes *c, struct samples *s, uint64_t at_ns, uint64_t length_ns)
{
    if (s->n == s->size) {
        s->size = s->size ? 2 * s->size : 1 << 16;
        s->all = realloc(s->all, s->size * sizeof(*s->all));
        if (!s->all)
            abort(); /* MUST is for the test's own thread */
    }
    s->all[s->n++] = (struct sample){
        .at_us = (uint32_t)((at_ns - MIN(c->base_ns, at_ns)) / 1000),
        .length_us = (uint32_t)(length_ns / 1000),
    };
}

void changes_on_echoed(void *changes, uint64_t written_ns, uint64_t now_ns)
{
    struct changes *c = changes;
    add_sample(c, &c->echoed, written_ns, now_ns - written_ns);
}

void changes_on_tick(void *changes, const struct audit_tick *tick)
{
    struct changes *c = changes;
    add_sample(c, &c->late, tick->due_ns, tick->late_ns);
    c->inside += tick->inside;
    c->unbroken = tick->unbroken;
    c->n_ticks++;
}

/* Returns false if it is to be asked again: the server makes a change of its own just now. */
static bool request(struct changes *c, const char *command, const char *args)
{
    char text[1024], answer[65536];
    const uint64_t alarm_ms = clock_mono_ms() + WAIT_MS;
    size_t len = 0;
    snprintf(text, sizeof(text), "unix:%s/control", c->server->run);
    int fd = peer_connect(text);
    snprintf(text, sizeof(text), "{\"command\":\"%s\",\"args\":%s,\"id\":1}\n", command,
             args ? args : "{}");
    peer_send_text(fd, text);
    while (!memchr(answer, '\n', len)) {
        look(c);
        len = peer_peek(fd, answer, sizeof(answer) - 1);
        MUST(clock_mono_ms() < alarm_ms && !peer_has_ended(fd), "%s: no answer", command);
    }
    answer[len] = '\0';
    peer_close(fd);
    const bool is_busy = strstr(answer, "\"busy\"");
    MUST(is_busy || strstr(answer, "\"result\""), "%s: %s", command, answer);
    return !is_busy;
}

void changes_ask(struct changes *c, enum change kind, const char *command, const char *args,
                 unsigned workers)
{
    const uint64_t alarm_ms = clock_mono_ms() + 2 * WAIT_MS;
    c->workers = workers;
    c->is_asked = true;
    begin_window(c, kind, clock_mono_ns());
    while (!request(c, command, args))
        MUST(clock_mono_ms() < alarm_ms, "%s: still busy", command);
    on_event(c, kind, clock_mono_ns());
    while (c->sight.n != workers || c->sight.accepting != workers ||
           !is_quiet(c, clock_mono_ns())) {
        look(c);
        MUST(clock_mono_ms() < alarm_ms, "%s: %u processes, of which %u accept, expected %u",
             command, c->sight.n, c->sight.accepting, workers);
    }
    c->is_asked = false;
}

void changes_watch(struct changes *c, unsigned ms)
{
    const uint64_t until_ms = clock_mono_ms() + ms;
    while (clock_mono_ms() < until_ms)
        look(c);
}

void changes_await(struct changes *c, enum change kind, unsigned n)
{
    const uint64_t alarm_ms = clock_mono_ms() + AWAIT_MS;
    while (changes_count(c, kind) < n || !is_quiet(c, clock_mono_ns())) {
        look(c);
        MUST(clock_mono_ms() < alarm_ms, "%u changes of kind %d, expected %u",
             changes_count(c, kind), (int)kind, n);
    }
}

unsigned changes_count(const struct changes *c, enum change kind)
{
    unsigned n = 0;
    for (size_t i = 0; i < c->n_windows; i++)
        n += c->windows[i].kind == kind;
    return n;
}

struct changes_extra changes_extra(const struct changes *c)
{
    return c->extra;
}

struct changes_seen changes_seen(const struct changes *c)
{
    return (struct changes_seen){
        .inside = c->n_ticks ? (unsigned)(c->inside / c->n_ticks) : 0,
        .unbroken = c->unbroken,
    };
}

/* ---- the table ---- */

static enum change kind_of(const struct changes *c, const struct sample *s)
{
    const uint64_t from_ns = c->base_ns + s->at_us * UINT64_C(1000);
    const uint64_t to_ns = from_ns + s->length_us * UINT64_C(1000);
    size_t low = 0, high = c->n_windows;
    while (low < high) { /* the first window that was not over when it began */
        const size_t middle = (low + high) / 2;
        if (c->windows[middle].to_ns < from_ns)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < c->n_windows && c->windows[low].from_ns <= to_ns)
        return c->windows[low].kind;
    return low == 1 ? CHANGE_NONE : CHANGE_BETWEEN;
}

static void sort_out(const struct changes *c, const struct samples *s, struct hist *by_kind)
{
    for (size_t k = 0; k < CHANGES; k++)
        MUST(hist_init(&by_kind[k]) == 0, "no memory");
    for (size_t i = 0; i < s->n; i++)
        hist_add(&by_kind[kind_of(c, &s->all[i])], s->all[i].length_us, 1);
}

static double ms_of(const struct hist *h, double percent)
{
    return (double)hist_percentile(h, percent) / 1e3;
}

static void print_row(const struct changes *c, enum change kind, const struct hist *echoed,
                      const struct hist *late)
{
    static const char *const names[CHANGES] = {
        [CHANGE_START] = "(start)",   [CHANGE_NONE] = "(none yet)",  [CHANGE_BETWEEN] = "(between)",
        [CHANGE_RELOAD] = "reload",   [CHANGE_UPGRADE] = "upgrade",  [CHANGE_SCALE] = "scale",
        [CHANGE_RECYCLE] = "recycle", [CHANGE_BALANCE] = "rebalance"};
    char times[32] = "", window[32] = "", messages[HUMAN_LEN];
    uint64_t longest_ns = 0;
    for (size_t i = 0; i < c->n_windows; i++)
        if (c->windows[i].kind == kind)
            longest_ns = MAX(longest_ns, c->windows[i].to_ns - c->windows[i].from_ns);
    if (kind > CHANGE_BETWEEN) {
        snprintf(times, sizeof(times), "%u", changes_count(c, kind));
        snprintf(window, sizeof(window), "%.0f", (double)longest_ns / 1e6);
    }
    printf("#| %-10s %5s %7s %11s %9.1f %8.1f %8.1f %8.1f %12.1f\n", names[kind], times, window,
           human_grouped(echoed->n, messages), ms_of(echoed, 50), ms_of(echoed, 99),
           ms_of(echoed, 99.9), (double)echoed->max / 1e3, (double)late->max / 1e3);
}

void changes_print(const struct changes *c)
{
    struct hist echoed[CHANGES], late[CHANGES];
    sort_out(c, &c->echoed, echoed);
    sort_out(c, &c->late, late);
    printf("#| %-10s %5s %7s %11s %36s %12s\n", "", "", "longest", "messages",
           "echoed after, in ms:", "our own loop");
    printf("#| %-10s %5s %7s %11s %9s %8s %8s %8s %12s\n", "change", "times", "window",
           "in windows", "50 %", "99 %", "99.9 %", "longest", "late by");
    for (enum change k = 0; k < CHANGES; k++)
        if (echoed[k].n > 0)
            print_row(c, k, &echoed[k], &late[k]);
    for (size_t k = 0; k < CHANGES; k++) {
        hist_fini(&echoed[k]);
        hist_fini(&late[k]);
    }
}
