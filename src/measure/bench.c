/*
 * A bench: links on the traffic engine, a share of them for each thread, the caller's being the
 * first, and one sum. What is sent is written once and compared where it lies.
 */
#include "measure/bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"
#include "measure/flow.h"
#include "measure/local_addresses.h"

enum {
    SCRIPTS_BYTES = 32 << 20,
    SCRIPTS_MAX = 1021,
    RETRY_MS = 50,
    LATE_NS = 1000000,
    PATIENCE_MS = 10000, /* without a timeout of the options */
    DUE_A_TURN = 1 << 16,
    BACKLOG_MS = 1000,
};

#define MS UINT64_C(1000000)

/* A lane with its place in the cycle of messages. */
struct bench_link {
    struct bench_load *load; /* owner */
    bool is_replacing; /* its churn is over: no more messages */
    const struct bench_bytes *out, *in; /* borrowed: what is sent and what comes back */
    uint32_t send_at; /* offset in the cycle of the next byte to write */
    uint32_t begin; /* message of the cycle that is sent next */
    uint32_t due; /* message of the cycle that comes back next */
    uint64_t base; /* bytes of the whole cycles before that message */
    uint64_t wanted, received; /* bytes of the replies to all begun messages; … that came */
    uint64_t unsent; /* bytes of begun messages that are not written yet */
    uint64_t n_begun; /* messages on this connection */
    unsigned outstanding; /* … of which so many are not echoed */
    uint64_t *began_ns; /* borrowed, `depth` of them, by the place in the cycle */
    uint64_t due_k, n_due; /* open loop: the oldest message that is due and not begun; how many */
    uint64_t free_ns; /* since when there is room for another message */
    struct lane lane;
};

/* One thread's part. */
struct bench_load {
    struct bench *bench; /* owner */
    const struct bench_options *options;
    pthread_t thread;
    struct flow flow;
    unsigned index, n_links;
    double rate; /* of this thread */
    uint64_t count; /* … its messages; 0 = no end */
    uint64_t start_ns, window_ns, end_ns;
    atomic_bool is_done;
    struct bench_link *links;
    uint64_t *began; /* owned: the rings of all links */
    struct bench_script *scripts;
    unsigned n_scripts;
    uint64_t n_begun, n_open; /* messages in all; of them without an end */
    uint64_t next_k; /* open loop: the next message of the schedule */
    uint64_t next_tick_ns, backlog_ns, deadline_ns; /* the latter two: once it is ending */
    struct local_addresses from; /* none without churn */
    bool is_ending, has_seen_stop;
    unsigned n_up; /* connections that are there */
    uint64_t down_ns, outage_ns; /* since when there is none, 0 = there is; … before that */
    uint64_t waiting_ns; /* since when nothing has come although something should */
    uint64_t cut_ns; /* taken off the window */
    struct bench_counts counts; /* read by others, relaxed */
    struct hist latency, connects;
    uint64_t n_window, n_window_bytes, n_window_connected; /* that came within the window */
    uint64_t last_ns; /* the newest reply or failure: the window's end, for a count */
    int last_failure;
};

struct bench {
    struct bench_options options;
    bench_on_tick *on_tick;
    void *data;
    atomic_bool is_stopping;
    uint64_t started_ns;
    unsigned n_started; /* threads besides the caller's */
    struct bench_load loads[BENCH_THREADS_MAX];
};

/* ---- what is sent: letters and digits, each doubling of the size as likely as the next ---- */

static uint32_t script_size(const struct bench_options *o, uint64_t *rng)
{
    uint64_t low = MAX(o->size_min, (uint64_t)1);
    unsigned doublings = 0;

    if (o->size_min == o->size_max)
        return (uint32_t)o->size_min;
    while (low << doublings < o->size_max / 2)
        doublings++;
    low <<= random_next(rng) % (doublings + 1);
    low = MAX(low, o->size_min);
    return (uint32_t)(low + random_next(rng) % (MIN(low * 2, o->size_max) - low + 1));
}

/* Letters that are no part of the separator, so that no message ends early. */
static size_t letters_for(const struct bench_options *o, char *ret)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = 0;

    for (const char *p = letters; *p; p++)
        if (!memchr(o->separator, *p, o->separator_len))
            ret[n++] = *p;
    return n;
}

int bench_script_init(struct bench_script *s, const struct bench_options *o, uint64_t seed)
{
    char letters[64];
    size_t n_letters = letters_for(o, letters), total = 0;
    uint64_t rng = seed, bits = 0;
    uint8_t *bytes;
    uint32_t *bounds = calloc((size_t)o->depth + 1, sizeof(*bounds));

    s->out.bounds = bounds;
    for (unsigned i = 0; bounds && i < o->depth; i++) {
        total += script_size(o, &rng) + o->separator_len;
        if (total > UINT32_MAX / 2)
            return -ENOMEM;
        bounds[i + 1] = (uint32_t)total;
    }
    s->out.len = (uint32_t)total;
    s->out.bytes = bytes = malloc(MAX(total, (size_t)1));
    if (!bounds || !bytes)
        return -ENOMEM;
    for (size_t i = 0; i < total; i++) {
        bits = i % 8 == 0 ? random_next(&rng) : bits >> 8;
        bytes[i] = (uint8_t)letters[(bits & 0xff) % n_letters];
    }
    for (unsigned i = 0; i < o->depth; i++)
        memcpy(bytes + bounds[i + 1] - o->separator_len, o->separator, o->separator_len);
    return 0;
}

void bench_script_fini(struct bench_script *s)
{
    free(s->out.bytes);
    free(s->out.bounds);
    free(s->in.bytes);
    free(s->in.bounds);
}

/* ---- the open loop: message k is due at start + k / rate, on link k % n ---- */

static uint64_t due_ns(const struct bench_load *l, uint64_t k)
{
    return l->start_ns + (uint64_t)((double)k * 1e9 / l->rate);
}

static bool has_next_due(const struct bench_load *l)
{
    return l->rate > 0 && !l->is_ending && (l->count == 0 || l->next_k < l->count);
}

/* The oldest message that is due: its time began then. */
static uint64_t take_oldest(struct bench_load *l, struct bench_link *k, uint64_t now_ns)
{
    const uint64_t from_ns = due_ns(l, k->due_k);

    /* Counts a message as late only if there was room for it: then the generator was slow. */
    l->counts.late += now_ns > MAX(from_ns, k->free_ns) + LATE_NS;
    k->due_k += l->n_links;
    k->n_due--;
    return from_ns;
}

/* How many messages may begin now. */
static uint64_t room(const struct bench_load *l, const struct bench_link *k)
{
    const struct bench_options *o = l->options;
    uint64_t n = o->depth - k->outstanding;

    if (o->churn)
        n = MIN(n, o->churn - k->n_begun);
    if (l->rate > 0)
        return MIN(n, k->n_due);
    if (l->is_ending)
        return 0;
    return l->count ? MIN(n, l->count - l->n_begun) : n;
}

/* ---- messages out ---- */

static struct bench_link *link_of(struct lane *lane)
{
    return container_of(lane, struct bench_link, lane);
}

static void begin_messages(struct bench_load *l, struct bench_link *k)
{
    const struct bench_options *o = l->options;
    const uint64_t n = room(l, k), now_ns = l->flow.reactor.now_ns;

    if (k->outstanding == 0)
        k->lane.moved_ns = now_ns;
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t *out = k->out->bounds + k->begin, *in = k->in->bounds + k->begin;

        k->began_ns[k->begin] = l->rate > 0 ? take_oldest(l, k, now_ns) : now_ns;
        k->unsent += out[1] - out[0];
        k->wanted += in[1] - in[0];
        k->begin = k->begin + 1 == o->depth ? 0 : k->begin + 1;
    }
    k->outstanding += (unsigned)n;
    k->n_begun += n;
    l->n_begun += n;
    l->n_open += l->rate > 0 ? 0 : n;
    k->is_replacing = o->churn && k->n_begun == o->churn;
}

/* All that is begun in one call, unless the cycle ends in between. */
static void on_room(struct lane *lane)
{
    struct bench_link *k = link_of(lane);

    begin_messages(k->load, k);
    while (k->unsent > 0) {
        size_t len = MIN(k->unsent, (uint64_t)(k->out->len - k->send_at));
        ssize_t n = lane_send(lane, k->out->bytes + k->send_at, len);

        if (n < 0)
            break; /* reading tells what has broken it */
        k->unsent -= (uint64_t)n;
        k->send_at += (uint32_t)n;
        if (k->send_at == k->out->len)
            k->send_at = 0;
        if ((size_t)n < len)
            break;
    }
    lane_want_room(lane, k->unsent > 0 && !lane->is_deaf);
}

/* A bounded number per turn: if the rate cannot be reached, replies and the end must have their
 * turn, too. */
static void take_due(struct bench_load *l)
{
    for (unsigned i = 0; i < DUE_A_TURN; i++) {
        struct bench_link *k;

        if (!has_next_due(l) || due_ns(l, l->next_k) > l->flow.reactor.now_ns)
            return;
        k = &l->links[l->next_k++ % l->n_links];
        k->n_due++;
        l->n_open++;
        if (lane_is_open(&k->lane))
            on_room(&k->lane);
    }
}

/* ---- connections ---- */

/* Only what lies in the window. */
static void end_outage(struct bench_load *l, uint64_t now_ns)
{
    const uint64_t from_ns = MAX(l->down_ns, l->window_ns), to_ns = MIN(now_ns, l->end_ns);

    if (l->down_ns && to_ns > from_ns)
        l->outage_ns += to_ns - from_ns;
    l->down_ns = 0;
}

/* A connection has failed, or could not be made. */
static void note_failure(struct bench_load *l)
{
    l->last_ns = clock_mono_ns();
    if (l->n_up == 0 && !l->down_ns)
        l->down_ns = l->last_ns;
}

static void on_connected(struct lane *lane)
{
    struct bench_link *k = link_of(lane);
    struct bench_load *l = k->load;
    uint64_t now_ns = clock_mono_ns();

    l->n_up++;
    end_outage(l, now_ns);
    hist_add(&l->connects, now_ns - k->free_ns, 1);
    l->counts.connected++;
    l->n_window_connected += now_ns >= l->window_ns && now_ns <= l->end_ns;
    l->flow.reactor.now_ns = k->free_ns = now_ns;
    on_room(lane);
}

static void link_connect(struct bench_link *k)
{
    k->send_at = k->begin = k->due = 0;
    k->base = k->wanted = k->received = k->unsent = k->n_begun = 0;
    k->outstanding = 0;
    k->is_replacing = false;
    k->free_ns = clock_mono_ns();
    lane_connect(&k->lane);
}

static void on_due(struct lane *lane)
{
    link_connect(link_of(lane));
}

static void on_unconnected(struct lane *lane, int outcome)
{
    struct bench_load *l = link_of(lane)->load;

    l->counts.refused++;
    l->last_failure = outcome;
    note_failure(l);
    lane_wake_in(lane, RETRY_MS);
}

static void link_lost(struct bench_link *k, uint64_t *counter)
{
    struct bench_load *l = k->load;

    (*counter)++;
    l->n_up--;
    note_failure(l);
    l->counts.unanswered += k->outstanding;
    l->n_open -= k->outstanding;
    k->outstanding = 0;
    lane_close(&k->lane);
    lane_wake_in(&k->lane, RETRY_MS);
}

static void on_over(struct lane *lane, bool is_reset)
{
    struct bench_counts *c = &link_of(lane)->load->counts;

    link_lost(link_of(lane), is_reset ? &c->reset : &c->closed);
}

static void on_silent(struct lane *lane)
{
    struct bench_link *k = link_of(lane);

    if (k->outstanding > 0)
        link_lost(k, &k->load->counts.timeout);
}

/* ---- messages in ---- */

static bool has_echo(const struct bench_link *k)
{
    return k->outstanding > 0 && k->received >= k->base + k->in->bounds[k->due + 1];
}

/* The messages that are whole now; those that began together count together. */
static void take_echoed(struct bench_load *l, struct bench_link *k)
{
    const uint32_t *bounds = k->in->bounds;
    const uint64_t now_ns = l->flow.reactor.now_ns;

    while (has_echo(k)) {
        const uint64_t began_ns = k->began_ns[k->due];
        uint64_t n = 0, bytes = 0;

        do {
            bytes += bounds[k->due + 1] - bounds[k->due];
            n++;
            k->outstanding--;
            if (++k->due == l->options->depth) {
                k->due = 0;
                k->base += k->in->len;
            }
        } while (has_echo(k) && k->began_ns[k->due] == began_ns);
        if (began_ns >= l->window_ns) {
            hist_add(&l->latency, now_ns - began_ns, n);
            l->counts.messages += n;
            l->counts.bytes += bytes;
        }
        if (now_ns >= l->window_ns && now_ns <= l->end_ns) {
            l->n_window += n;
            l->n_window_bytes += bytes;
        }
        l->n_open -= n;
    }
    k->free_ns = l->last_ns = l->waiting_ns = now_ns;
}

/* Is it what is wanted, and no more? At most one cycle is under way, so it ends once in between. */
static bool is_right(const struct bench_link *k, const uint8_t *data, size_t n)
{
    const struct bench_bytes *s = k->in;
    size_t at = (size_t)(k->received - k->base), part = MIN(n, s->len - at);

    return n <= k->wanted - k->received && memcmp(data, s->bytes + at, part) == 0 &&
           (part == n || memcmp(data + part, s->bytes, n - part) == 0);
}

static void on_data(struct lane *lane, const uint8_t *data, size_t len)
{
    struct bench_link *k = link_of(lane);

    if (!is_right(k, data, len)) {
        link_lost(k, &k->load->counts.wrong);
        return;
    }
    k->received += len;
    take_echoed(k->load, k);
    if (k->is_replacing && k->outstanding == 0) {
        k->load->n_up--;
        lane_close(lane);
        link_connect(k);
    }
}

static const struct flow_ops bench_flow_ops = {
    .on_due = on_due,
    .on_connected = on_connected,
    .on_unconnected = on_unconnected,
    .on_data = on_data,
    .on_room = on_room,
    .on_silent = on_silent,
    .on_over = on_over,
};

/* ---- one thread's part ---- */

static uint64_t load_patience_ns(const struct bench_load *l)
{
    return (l->options->timeout_ms ? l->options->timeout_ms : PATIENCE_MS) * MS;
}

/*
 * What is due or under way at the end is waited for, so that a stall at the end is not hidden; what
 * is due and could not begin only for a moment: it may be a backlog of any length.
 */
static void load_end(struct bench_load *l, uint64_t now_ns)
{
    if (l->is_ending)
        return;
    l->is_ending = true;
    if (l->end_ns != UINT64_MAX && now_ns < l->end_ns)
        l->cut_ns = l->end_ns - now_ns;
    l->end_ns = MIN(l->end_ns, now_ns);
    l->deadline_ns = now_ns + load_patience_ns(l);
    l->backlog_ns = now_ns + BACKLOG_MS * MS;
}

static void drop_due(struct bench_load *l)
{
    for (unsigned i = 0; i < l->n_links; i++) {
        l->counts.unsent += l->links[i].n_due;
        l->n_open -= l->links[i].n_due;
        l->links[i].n_due = 0;
    }
    l->backlog_ns = UINT64_MAX;
}

/* A stop shortens the wait for replies; a bench that is ending already stops at once. */
static void see_stop(struct bench_load *l, uint64_t now_ns)
{
    uint64_t patience_ms = l->is_ending ? 0 : BACKLOG_MS;

    if (l->has_seen_stop || !atomic_load_explicit(&l->bench->is_stopping, memory_order_relaxed))
        return;
    l->has_seen_stop = true;
    load_end(l, now_ns);
    l->deadline_ns = MIN(l->deadline_ns, now_ns + patience_ms * MS);
}

/*
 * A number of messages has no time in which it must be done: a server that is gone, or says nothing
 * for twice as long as a reply may take, ends it.
 */
static void see_silence(struct bench_load *l, uint64_t now_ns)
{
    if (l->n_open == 0 && l->n_up > 0)
        l->waiting_ns = now_ns;
    if (l->count == 0 || l->is_ending || now_ns < l->waiting_ns + 2 * load_patience_ns(l))
        return;
    load_end(l, now_ns);
    l->deadline_ns = now_ns;
}

static bool has_all_begun(const struct bench_load *l)
{
    return l->count > 0 && (l->rate > 0 ? l->next_k : l->n_begun) >= l->count;
}

static bool load_is_over(struct bench_load *l)
{
    const uint64_t now_ns = l->flow.reactor.now_ns;

    see_stop(l, now_ns);
    see_silence(l, now_ns);
    if (now_ns >= l->end_ns)
        load_end(l, now_ns);
    if (l->is_ending && now_ns >= l->backlog_ns)
        drop_due(l);
    if (l->is_ending && now_ns >= l->deadline_ns)
        return true;
    return (l->is_ending || has_all_begun(l)) && l->n_open == 0;
}

/* What is left is not waited for any more. */
static void load_close(struct bench_load *l)
{
    drop_due(l);
    l->counts.unanswered += l->n_open;
    if (l->count > 0)
        l->counts.unsent += l->count - (l->rate > 0 ? l->next_k : l->n_begun);
    if (!l->is_ending) /* all were sent before their time was over */
        l->end_ns = MIN(l->end_ns, l->last_ns);
    end_outage(l, l->end_ns);
    l->is_done = true;
}

static void bench_tick(struct bench *b)
{
    if (b->on_tick)
        b->on_tick(b, b->data);
}

static void load_run(struct bench_load *l)
{
    l->waiting_ns = l->start_ns;
    for (unsigned i = 0; i < l->n_links; i++)
        link_connect(&l->links[i]);
    while (!load_is_over(l)) {
        uint64_t until_ns = l->flow.reactor.now_ns + BENCH_TICK_MS * MS;

        flow_turn(&l->flow, has_next_due(l) ? MIN(due_ns(l, l->next_k), until_ns) : until_ns);
        take_due(l);
        if (l->index > 0 || l->flow.reactor.now_ns < l->next_tick_ns)
            continue;
        l->next_tick_ns = l->flow.reactor.now_ns + BENCH_TICK_MS * MS;
        bench_tick(l->bench);
    }
    load_close(l);
}

static int make_scripts(struct bench_load *l)
{
    const struct bench_options *o = l->options;
    uint64_t cycle = o->depth * (o->size_max + o->separator_len);
    uint64_t n = MIN(MAX(SCRIPTS_BYTES / cycle, (uint64_t)1), (uint64_t)SCRIPTS_MAX);
    bench_make_script *make = o->make_script ? o->make_script : bench_script_init;
    int rc = 0;

    l->n_scripts = (unsigned)MIN(n, (uint64_t)l->n_links);
    l->scripts = calloc(l->n_scripts, sizeof(*l->scripts));
    if (!l->scripts)
        return -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_scripts; i++)
        rc = make(&l->scripts[i], o, (uint64_t)l->index << 32 | i);
    return rc;
}

static int load_init(struct bench_load *l)
{
    const struct bench_options *o = l->options;
    int rc = flow_init(&l->flow, NULL, &bench_flow_ops, &o->to, o->timeout_ms);

    l->flow.from = &l->from;
    if (rc == 0)
        rc = hist_init(&l->latency);
    if (rc == 0)
        rc = hist_init(&l->connects);
    l->links = calloc(l->n_links, sizeof(*l->links));
    l->began = calloc((size_t)l->n_links * o->depth, sizeof(*l->began));
    if (rc == 0)
        rc = l->links && l->began ? make_scripts(l) : -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_links; i++) {
        struct bench_link *k = &l->links[i];
        const struct bench_script *s = &l->scripts[i % l->n_scripts];

        lane_init(&k->lane, &l->flow);
        lane_set_patience(&k->lane, o->timeout_ms);
        k->load = l;
        k->out = &s->out;
        k->in = s->in.bytes ? &s->in : &s->out;
        k->began_ns = l->began + (size_t)i * o->depth;
        k->due_k = i;
    }
    return rc;
}

static void load_fini(struct bench_load *l)
{
    for (unsigned i = 0; l->links && i < l->n_links; i++)
        if (l->links[i].load)
            lane_close(&l->links[i].lane);
    for (unsigned i = 0; l->scripts && i < l->n_scripts; i++)
        bench_script_fini(&l->scripts[i]);
    free(l->scripts);
    free(l->links);
    free(l->began);
    hist_fini(&l->latency);
    hist_fini(&l->connects);
    flow_fini(&l->flow);
}

/* ---- threads ---- */

/* The part of @all that part @i of @n has. */
static uint64_t share(uint64_t all, unsigned i, unsigned n)
{
    return all * (i + 1) / n - all * i / n;
}

static int load_prepare(struct bench *b, unsigned i)
{
    const struct bench_options *o = &b->options;
    struct bench_load *l = &b->loads[i];

    *l = (struct bench_load){
        .bench = b,
        .options = o,
        .index = i,
        .n_links = (unsigned)share(o->connections, i, o->threads),
        .rate = o->rate / o->threads,
        .count = share(o->count, i, o->threads),
    };
    /* A port that has just been used stays taken for a while: change the address instead. */
    if (o->churn)
        local_addresses_of_loopback(&o->to.all[0], i * 37, &l->from);
    return load_init(l);
}

static void *run_thread(void *arg)
{
    load_run(arg);
    return NULL;
}

/* Signals are for the caller's thread. */
static int start_threads(struct bench *b)
{
    sigset_t all, before;
    int rc = 0;

    b->started_ns = clock_mono_ns();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++) {
        struct bench_load *l = &b->loads[i];

        l->start_ns = b->started_ns;
        l->window_ns = b->started_ns + b->options.warmup_ms * 1000000;
        l->end_ns =
            b->options.duration_ms ? b->started_ns + b->options.duration_ms * 1000000 : UINT64_MAX;
        if (i > 0)
            rc = -pthread_create(&l->thread, NULL, run_thread, l);
        b->n_started += i > 0 && rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* The first part runs here: a process of one thread has the cheapest system calls. */
static int bench_run_threads(struct bench *b)
{
    int rc = start_threads(b);

    if (rc)
        bench_stop(b);
    else
        load_run(&b->loads[0]);
    for (unsigned i = 1; i <= b->n_started; i++) {
        struct bench_load *l = &b->loads[i];

        while (!l->is_done) {
            poll(NULL, 0, BENCH_TICK_MS);
            bench_tick(b);
        }
        pthread_join(l->thread, NULL);
    }
    return rc;
}

void bench_stop(struct bench *b)
{
    b->is_stopping = true;
}

static void counts_add(struct bench_counts *to, const struct bench_counts *from)
{
#define X(field, help) to->field += __atomic_load_n(&from->field, __ATOMIC_RELAXED);
    BENCH_COUNTS(X)
#undef X
}

struct bench_counts bench_counts(const struct bench *b)
{
    struct bench_counts c = {0};

    for (unsigned i = 0; i < b->options.threads; i++)
        counts_add(&c, &b->loads[i].counts);
    return c;
}

static void sum_up(const struct bench *b, struct bench_result *ret)
{
    uint64_t end_ns = 0, n_window = 0, n_bytes = 0;

    for (unsigned i = 0; i < b->options.threads; i++) {
        const struct bench_load *l = &b->loads[i];

        counts_add(&ret->counts, &l->counts);
        hist_merge(&ret->latency, &l->latency);
        hist_merge(&ret->connects, &l->connects);
        end_ns = MAX(end_ns, l->end_ns);
        ret->outage_ms = MAX(ret->outage_ms, (double)l->outage_ns / 1e6);
        ret->cut_short_ms = MAX(ret->cut_short_ms, (double)l->cut_ns / 1e6);
        n_window += l->n_window;
        n_bytes += l->n_window_bytes;
        ret->n_connected += l->n_window_connected;
        if (l->last_failure)
            ret->last_failure = l->last_failure;
    }
    if (end_ns > b->loads[0].window_ns)
        ret->seconds = (double)(end_ns - b->loads[0].window_ns) / 1e9;
    ret->rate = ret->seconds > 0 ? (double)n_window / ret->seconds : 0;
    ret->byte_rate = ret->seconds > 0 ? (double)n_bytes / ret->seconds : 0;
    ret->connect_rate = ret->seconds > 0 ? (double)ret->n_connected / ret->seconds : 0;
}

int bench_measure(const struct bench_options *o, bench_on_tick *on_tick, void *data,
                  struct bench_result *ret)
{
    struct bench *b = calloc(1, sizeof(*b));
    int rc;

    if (!b)
        return -ENOMEM;
    *b = (struct bench){.options = *o, .on_tick = on_tick, .data = data};
    b->options.threads = MIN(o->threads, o->connections);
    if (o->count)
        b->options.threads = (unsigned)MIN((uint64_t)b->options.threads, o->count);
    rc = load_prepare(b, 0);
    for (unsigned i = 1; rc == 0 && i < b->options.threads; i++)
        rc = load_prepare(b, i);
    if (rc == 0)
        rc = bench_run_threads(b);
    *ret = (struct bench_result){0};
    if (rc == 0)
        rc = hist_init(&ret->latency);
    if (rc == 0)
        rc = hist_init(&ret->connects);
    if (rc == 0)
        sum_up(b, ret);
    for (unsigned i = 0; i < b->options.threads; i++)
        if (b->loads[i].options)
            load_fini(&b->loads[i]);
    free(b);
    return rc;
}

void bench_result_fini(struct bench_result *r)
{
    hist_fini(&r->latency);
    hist_fini(&r->connects);
}
