/*
 * Load with a checker. Test process only.
 */
#include "support/load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conformance/must.h"
#include "conformance/peer.h"

enum { LOAD_PAYLOAD_MAX = 65536, LOAD_READ = 65536 };

struct client {
    int fd; /* -1 = not connected */
    uint64_t rng_out; /* makes the bytes that are sent … */
    uint64_t rng_in; /* … and, started alike, those that are due */
    uint64_t sent; /* whole messages of this connection */
    uint64_t got;
    char *out; /* owned: the message being sent */
    size_t out_len;
    size_t out_done;
    char *due; /* owned: the message whose echo is due */
    size_t due_len;
    size_t due_done;
    uint64_t waiting_since_ms; /* 0 = nothing is due */
    uint64_t not_before_ms; /* of the next connect */
};

struct load {
    struct load_options o;
    struct load_report report;
    struct client *clients; /* owned */
    struct pollfd *polls; /* owned */
    uint64_t seed;
    bool is_finishing; /* send and connect no more */
    bool is_ending; /* connect no more */
};

struct load *load_new(const struct load_options *o)
{
    struct load *l = calloc(1, sizeof(*l));
    MUST(l, "no memory");
    l->o = *o;
    l->o.depth = o->depth ? o->depth : 1;
    l->o.max_payload = o->max_payload ? o->max_payload : 100;
    MUST(l->o.max_payload <= LOAD_PAYLOAD_MAX, "payload too long for the load");
    l->seed = o->seed;
    l->clients = calloc(o->clients, sizeof(*l->clients));
    l->polls = calloc(o->clients, sizeof(*l->polls));
    MUST(l->clients && l->polls, "no memory");
    for (unsigned i = 0; i < o->clients; i++) {
        l->clients[i].fd = -1;
        l->clients[i].out = malloc(LOAD_PAYLOAD_MAX + 64);
        l->clients[i].due = malloc(LOAD_PAYLOAD_MAX + 64);
        MUST(l->clients[i].out && l->clients[i].due, "no memory");
    }
    return l;
}

void load_free(struct load *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < l->o.clients; i++) {
        peer_close(l->clients[i].fd);
        free(l->clients[i].out);
        free(l->clients[i].due);
    }
    free(l->clients);
    free(l->polls);
    free(l);
}

/* The next message of a connection: its number, random bytes without CR, the separator. */
static size_t make_message(const struct load *l, uint64_t *rng, uint64_t number, char *buf)
{
    size_t len = (size_t)sprintf(buf, "%llu:", (unsigned long long)number);
    size_t end = len + rng_below(rng, l->o.max_payload);
    while (len < end) {
        uint64_t word = random_next(rng) & UINT64_C(0xf0f0f0f0f0f0f0f0); /* no byte is CR */
        size_t n = end - len < sizeof(word) ? end - len : sizeof(word);
        memcpy(buf + len, &word, n);
        len += n;
    }
    memcpy(buf + len, "\r\n\r\n", 4);
    return len + 4;
}

static void disconnect(struct client *c)
{
    peer_close(c->fd);
    c->fd = -1;
    c->out_len = c->out_done = c->due_len = c->due_done = 0;
    c->sent = c->got = c->waiting_since_ms = 0;
}

static void try_connect(struct load *l, struct client *c)
{
    uint64_t now = clock_mono_ms();
    if (now < c->not_before_ms)
        return;
    int fd = peer_try_connect(l->o.addr, 0);
    if (fd < 0) {
        l->report.refused++;
        c->not_before_ms = now + 20;
        return;
    }
    l->report.connects++;
    c->fd = fd;
    c->rng_out = c->rng_in = random_next(&l->seed);
}

static void on_end(struct load *l, struct client *c, bool is_reset)
{
    if (is_reset)
        l->report.reset++;
    else if (c->due_done)
        l->report.ended_inside++;
    else
        l->report.ended++;
    disconnect(c);
    c->not_before_ms = clock_mono_ms() + 2;
}

static bool wants_to_send(const struct load *l, const struct client *c)
{
    if (c->out_done < c->out_len)
        return true;
    bool has_more = !l->o.messages || c->sent < l->o.messages;
    return !l->is_finishing && has_more && c->sent - c->got < l->o.depth;
}

/* Returns false if the connection is gone. */
static bool send_some(struct load *l, struct client *c)
{
    while (wants_to_send(l, c)) {
        if (c->out_done == c->out_len) {
            c->out_len = make_message(l, &c->rng_out, c->sent, c->out);
            c->out_done = 0;
        }
        long n = peer_try_send(c->fd, c->out + c->out_done, c->out_len - c->out_done);
        if (n == 0)
            return true;
        if (n < 0) {
            /* What is there to be read says how it ended. */
            c->out_done = c->out_len;
            return true;
        }
        c->out_done += (size_t)n;
        if (!c->waiting_since_ms)
            c->waiting_since_ms = clock_mono_ms();
        c->sent += c->out_done == c->out_len;
    }
    return true;
}

static bool check_bytes(struct load *l, struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        if (c->due_done == c->due_len) {
            c->due_len = make_message(l, &c->rng_in, c->got, c->due);
            c->due_done = 0;
        }
        size_t part = c->due_len - c->due_done < n ? c->due_len - c->due_done : n;
        if (memcmp(c->due + c->due_done, p, part)) {
            l->report.corrupted++;
            disconnect(c);
            return false;
        }
        c->due_done += part;
        p += part;
        n -= part;
        if (c->due_done == c->due_len) {
            c->got++;
            l->report.echoed++;
            c->due_len = c->due_done = 0;
        }
    }
    return true;
}

static void note_stall(struct load *l, struct client *c)
{
    uint64_t now = clock_mono_ms();
    if (c->waiting_since_ms && now - c->waiting_since_ms > l->report.longest_stall_ms)
        l->report.longest_stall_ms = now - c->waiting_since_ms;
    c->waiting_since_ms = c->sent > c->got ? now : 0;
}

static void receive(struct load *l, struct client *c)
{
    char buf[LOAD_READ];
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        note_stall(l, c);
        on_end(l, c, n < 0);
        return;
    }
    if (!check_bytes(l, c, buf, (size_t)n))
        return;
    note_stall(l, c);
    bool is_done = l->is_finishing || (l->o.messages && c->sent == l->o.messages);
    if (is_done && c->got == c->sent && c->out_done == c->out_len) {
        l->report.finished++;
        disconnect(c);
    }
}

/* One poll and what follows from it. Returns the number of open connections. */
static unsigned turn(struct load *l, int timeout_ms)
{
    unsigned open = 0;
    for (unsigned i = 0; i < l->o.clients; i++) {
        struct client *c = &l->clients[i];
        if (c->fd < 0 && !l->is_finishing && !l->is_ending)
            try_connect(l, c);
        if (c->fd >= 0 && l->is_finishing && c->got == c->sent && c->out_done == c->out_len) {
            l->report.finished++;
            disconnect(c);
        }
        short out = c->fd >= 0 && wants_to_send(l, c) ? POLLOUT : 0;
        l->polls[i] = (struct pollfd){.fd = c->fd, .events = (short)(POLLIN | out)};
        open += c->fd >= 0;
    }
    if (poll(l->polls, l->o.clients, timeout_ms) <= 0)
        return open;
    for (unsigned i = 0; i < l->o.clients; i++) {
        struct client *c = &l->clients[i];
        if (c->fd < 0)
            continue;
        if (l->polls[i].revents & POLLOUT)
            send_some(l, c);
        if (l->polls[i].revents & (POLLIN | POLLHUP | POLLERR))
            receive(l, c);
    }
    return open;
}

void load_run(struct load *l, unsigned ms)
{
    uint64_t end = clock_mono_ms() + ms;
    for (uint64_t now; (now = clock_mono_ms()) < end;)
        turn(l, end - now < 5 ? (int)(end - now) : 5);
}

static void run_out(struct load *l)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    unsigned open;
    while ((open = turn(l, 10)) > 0)
        MUST(clock_mono_ms() < end, "%u connections neither get their replies nor end", open);
    MUST(l->report.corrupted == 0, "%llu connections got wrong bytes",
         (unsigned long long)l->report.corrupted);
}

void load_finish(struct load *l)
{
    l->is_finishing = true;
    run_out(l);
}

void load_until_ended(struct load *l)
{
    l->is_ending = true;
    run_out(l);
}

const struct load_report *load_report(const struct load *l)
{
    return &l->report;
}

void load_print(const struct load *l, const char *title)
{
    const struct load_report *r = &l->report;
    printf("# %s: %llu connects, %llu refused, %llu echoed; ended: %llu by us, %llu between "
           "messages, %llu inside one, %llu reset; %llu corrupted; longest stall %llu ms\n",
           title, (unsigned long long)r->connects, (unsigned long long)r->refused,
           (unsigned long long)r->echoed, (unsigned long long)r->finished,
           (unsigned long long)r->ended, (unsigned long long)r->ended_inside,
           (unsigned long long)r->reset, (unsigned long long)r->corrupted,
           (unsigned long long)r->longest_stall_ms);
}
