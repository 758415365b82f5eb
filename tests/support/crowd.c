/*
 * One epoll, one thread. A message is "p<publisher> n<number> t<microseconds> <padding>", its
 * number counted per publisher and channel, its padding a function of both.
 */
#include "support/crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "conformance/must.h"
#include "conformance/peer.h"

enum {
    INPUT_BYTES = 1 << 17,
    TURN_MS = 2,
    PADDING_MAX = 48,
    PATIENCE_MS = 30000,
    SECONDS_MAX = 4096
};

enum role { SUBSCRIBER, PUBLISHER, SLEEPER };

struct member {
    enum role role;
    unsigned index; /* among its role */
    unsigned channel; /* a subscriber's */
    int fd; /* owned; -1 = it has ended */
    char *in; /* owned, INPUT_BYTES */
    size_t in_len;
    bool is_owed; /* a publisher or sleeper waits for its reply */
    uint64_t asked_us;
    unsigned asked_channel;
    uint64_t heard[CROWD_PUBLISHERS_MAX]; /* the last number of each publisher */
    uint64_t order; /* a hash over all that it has heard, in order */
    uint64_t n_heard;
};

struct crowd {
    struct crowd_options o;
    char addr[64];
    pthread_t thread;
    pthread_mutex_t lock; /* of `counts` and the flags */
    int ep; /* owned */
    struct member *members; /* owned */
    unsigned n_members;
    uint64_t began_us;
    uint64_t asked; /* messages that were sent to the server */
    uint64_t sent[CROWD_PUBLISHERS_MAX][CROWD_CHANNELS_MAX]; /* accepted ones */
    unsigned next_publisher;
    uint32_t per_second[SECONDS_MAX];
    bool is_stopping;
    _Atomic bool may_cut;
    struct crowd_counts counts;
};

static uint64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

static __attribute__((format(printf, 3, 4))) void complain(struct crowd *c, uint64_t *counter,
                                                           const char *format, ...)
{
    va_list ap;

    pthread_mutex_lock(&c->lock);
    ++*counter;
    if (!c->counts.why[0]) {
        va_start(ap, format);
        vsnprintf(c->counts.why, sizeof(c->counts.why), format, ap);
        va_end(ap);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- messages ---- */

static size_t make_padding(unsigned publisher, uint64_t number, char ret[PADDING_MAX + 1])
{
    const size_t len = (size_t)((publisher * 7 + number * 13) % PADDING_MAX);

    for (size_t i = 0; i < len; i++)
        ret[i] = (char)('a' + (publisher + number + i) % 26);
    ret[len] = '\0';
    return len;
}

/* ---- endings ---- */

static void member_ends(struct crowd *c, struct member *m, const char *why)
{
    static const char *const roles[] = {"subscriber", "publisher", "sleeper"};

    if (m->fd < 0)
        return;
    /* The peer's list has the same socket under another number: closing takes it out of nothing. */
    epoll_ctl(c->ep, EPOLL_CTL_DEL, m->fd, NULL);
    close(m->fd);
    m->fd = -1;
    if (c->may_cut) {
        pthread_mutex_lock(&c->lock);
        c->counts.cut++;
        pthread_mutex_unlock(&c->lock);
    } else {
        complain(c, &c->counts.cut, "%s %u was cut: %s", roles[m->role], m->index, why);
    }
}

static void member_sends(struct crowd *c, struct member *m, const char *text, size_t len)
{
    /* Small, and one at a time: the kernel takes it, or the connection is broken. */
    if (send(m->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        member_ends(c, m, "it cannot be sent to");
}

/* ---- speaking ---- */

static void publish(struct crowd *c, struct member *m)
{
    const unsigned channel =
        (unsigned)((m->index + c->asked / MAX(c->o.publishers, 1u)) % c->o.channels);
    const uint64_t number = c->sent[m->index][channel] + 1, now = now_us();
    char padding[PADDING_MAX + 1], payload[160], name[16], text[320];
    int len;

    make_padding(m->index, number, padding);
    len = snprintf(payload, sizeof(payload), "p%u n%" PRIu64 " t%" PRIu64 " %s", m->index, number,
                   now, padding);
    snprintf(name, sizeof(name), "c%u", channel);
    len = snprintf(text, sizeof(text), "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n",
                   strlen(name), name, len, payload);
    m->is_owed = true;
    m->asked_us = now;
    m->asked_channel = channel;
    c->asked++;
    member_sends(c, m, text, (size_t)len);
}

static void go_to_sleep(struct crowd *c, struct member *m)
{
    char text[128];
    const int len =
        snprintf(text, sizeof(text), "*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$%zu\r\n%s\r\n",
                 strlen(c->o.sleep), c->o.sleep);

    m->is_owed = true;
    m->asked_us = now_us();
    member_sends(c, m, text, (size_t)len);
}

/* As many as the rate wants by now; who is still owed a reply is passed over. */
static void speak(struct crowd *c)
{
    const uint64_t due = (now_us() - c->began_us) * c->o.rate / 1000000;
    const unsigned first = c->o.subscribers;

    for (unsigned tries = 0; c->asked < due && tries < c->o.publishers; tries++) {
        struct member *m = &c->members[first + c->next_publisher];

        c->next_publisher = (c->next_publisher + 1) % c->o.publishers;
        if (m->fd >= 0 && !m->is_owed)
            publish(c, m);
    }
}

/* ---- hearing ---- */

/* One line "X...\r\n" at @text: its end, or NULL. */
static char *line_end(char *text, size_t len)
{
    return memmem(text, len, "\r\n", 2);
}

/* "$5\r\nhello\r\n": returns what is behind it; NULL = not all has come; *ret_bad = no such thing.
 */
static char *take_bulk(char *text, const char *end, char **ret, size_t *ret_len, bool *ret_bad)
{
    char *eol = line_end(text, (size_t)(end - text)), *rest;
    unsigned long len;

    if (!eol)
        return NULL;
    len = *text == '$' ? strtoul(text + 1, &rest, 10) : 0;
    if (*text != '$' || rest != eol || len > INPUT_BYTES / 2) {
        *ret_bad = true;
        return NULL;
    }
    if ((size_t)(end - eol) < len + 4)
        return NULL;
    if (memcmp(eol + 2 + len, "\r\n", 2) != 0)
        *ret_bad = true;
    *ret = eol + 2;
    *ret_len = len;
    return eol + 2 + len + 2;
}

static void hear(struct crowd *c, struct member *m, const char *text, size_t len)
{
    char copy[256], padding[PADDING_MAX + 1];
    unsigned publisher;
    uint64_t number, sent_us, took_ms;
    int at = 0;

    snprintf(copy, sizeof(copy), "%.*s", (int)len, text);
    if (sscanf(copy, "p%u n%" SCNu64 " t%" SCNu64 "%n", &publisher, &number, &sent_us, &at) != 3 ||
        copy[at] != ' ' || publisher >= c->o.publishers) {
        complain(c, &c->counts.wrong, "subscriber %u of c%u: \"%s\"", m->index, m->channel, copy);
        return;
    }
    make_padding(publisher, number, padding);
    if (strcmp(copy + at + 1, padding) != 0)
        complain(c, &c->counts.wrong, "subscriber %u: wrong bytes in \"%s\"", m->index, copy);
    else if (number <= m->heard[publisher])
        complain(c, number == m->heard[publisher] ? &c->counts.doubled : &c->counts.disordered,
                 "subscriber %u of c%u: p%u n%" PRIu64 " after n%" PRIu64, m->index, m->channel,
                 publisher, number, m->heard[publisher]);
    else if (number > m->heard[publisher] + 1)
        complain(c, &c->counts.lost, "subscriber %u of c%u: p%u n%" PRIu64 " after n%" PRIu64,
                 m->index, m->channel, publisher, number, m->heard[publisher]);
    m->heard[publisher] = MAX(number, m->heard[publisher]);
    m->order =
        (m->order ^ (publisher * UINT64_C(0x9e3779b97f4a7c15) + number)) * UINT64_C(0x100000001b3);
    m->n_heard++;
    took_ms = (now_us() - sent_us) / 1000;
    pthread_mutex_lock(&c->lock);
    c->counts.delivered++;
    c->counts.longest_ms = MAX(c->counts.longest_ms, took_ms);
    pthread_mutex_unlock(&c->lock);
}

/* Takes one message off its input; false = it is not whole yet. */
static bool subscriber_takes(struct crowd *c, struct member *m, size_t *ret_used)
{
    char *end = m->in + m->in_len, *kind, *channel, *payload, *p = m->in, name[16];
    size_t kind_len, channel_len, payload_len;
    bool is_bad = false;

    if (m->in_len < 4)
        return false;
    if (memcmp(p, "*3\r\n", 4) != 0)
        is_bad = true;
    else if (!(p = take_bulk(p + 4, end, &kind, &kind_len, &is_bad)) ||
             !(p = take_bulk(p, end, &channel, &channel_len, &is_bad)) ||
             !(p = take_bulk(p, end, &payload, &payload_len, &is_bad)))
        p = NULL;
    if (!is_bad && !p)
        return false;
    snprintf(name, sizeof(name), "c%u", m->channel);
    if (is_bad || kind_len != 7 || memcmp(kind, "message", 7) != 0 || channel_len != strlen(name) ||
        memcmp(channel, name, channel_len) != 0) {
        complain(c, &c->counts.wrong, "subscriber %u: no message: \"%.*s\"", m->index,
                 (int)MIN(m->in_len, (size_t)60), m->in);
        member_ends(c, m, "it makes no sense");
        return false;
    }
    hear(c, m, payload, payload_len);
    *ret_used = (size_t)(p - m->in);
    return true;
}

static bool publisher_takes(struct crowd *c, struct member *m, size_t *ret_used)
{
    char *eol = line_end(m->in, m->in_len);
    const uint64_t took_ms = (now_us() - m->asked_us) / 1000;
    uint64_t second;

    if (!eol)
        return false;
    if (!m->is_owed || m->in[0] != ':') {
        complain(c, &c->counts.wrong, "publisher %u: \"%.*s\"", m->index, (int)(eol - m->in),
                 m->in);
        member_ends(c, m, "it makes no sense");
        return false;
    }
    m->is_owed = false;
    c->sent[m->index][m->asked_channel]++;
    second = (now_us() - c->began_us) / 1000000;
    pthread_mutex_lock(&c->lock);
    c->counts.published++;
    c->counts.busiest_ms = MAX(c->counts.busiest_ms, took_ms);
    if (second < SECONDS_MAX)
        c->per_second[second]++;
    pthread_mutex_unlock(&c->lock);
    *ret_used = (size_t)(eol + 2 - m->in);
    return true;
}

static bool sleeper_takes(struct crowd *c, struct member *m, size_t *ret_used)
{
    if (m->in_len < 5)
        return false;
    if (!m->is_owed || memcmp(m->in, "+OK\r\n", 5) != 0) {
        complain(c, &c->counts.wrong, "sleeper %u: \"%.*s\"", m->index,
                 (int)MIN(m->in_len, (size_t)60), m->in);
        member_ends(c, m, "it makes no sense");
        return false;
    }
    m->is_owed = false;
    pthread_mutex_lock(&c->lock);
    c->counts.slept++;
    pthread_mutex_unlock(&c->lock);
    *ret_used = 5;
    if (!c->is_stopping)
        go_to_sleep(c, m);
    return true;
}

static void member_reads(struct crowd *c, struct member *m)
{
    static bool (*const takes[])(struct crowd *, struct member *,
                                 size_t *) = {subscriber_takes, publisher_takes, sleeper_takes};
    size_t used;
    ssize_t n;

    if (m->fd < 0)
        return;
    n = recv(m->fd, m->in + m->in_len, INPUT_BYTES - m->in_len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        member_ends(c, m, n == 0 ? "end of file" : strerror(errno));
        return;
    }
    m->in_len += n > 0 ? (size_t)n : 0;
    /* Each of them sees its input at the beginning of the buffer. */
    while (m->fd >= 0 && takes[m->role](c, m, &used)) {
        m->in_len -= used;
        memmove(m->in, m->in + used, m->in_len);
    }
    if (m->fd >= 0 && m->in_len == INPUT_BYTES)
        member_ends(c, m, "a message without end");
}

/* ---- the thread ---- */

static bool is_complete(struct crowd *c)
{
    for (unsigned i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];

        if (m->fd < 0)
            continue;
        if (m->role != SUBSCRIBER) {
            if (m->is_owed)
                return false;
            continue;
        }
        for (unsigned p = 0; p < c->o.publishers; p++)
            if (m->heard[p] < c->sent[p][m->channel])
                return false;
    }
    return true;
}

static void *crowd_run(void *argument)
{
    struct crowd *c = argument;
    struct epoll_event events[64];
    uint64_t until_us = 0;

    for (;;) {
        const int n = epoll_wait(c->ep, events, ARRAY_SIZE(events), TURN_MS);
        bool is_stopping;

        for (int i = 0; i < n; i++)
            member_reads(c, events[i].data.ptr);
        pthread_mutex_lock(&c->lock);
        is_stopping = c->is_stopping;
        pthread_mutex_unlock(&c->lock);
        if (!is_stopping) {
            speak(c);
            continue;
        }
        if (until_us == 0)
            until_us = now_us() + PATIENCE_MS * UINT64_C(1000);
        if (is_complete(c) || now_us() > until_us)
            return NULL;
    }
}

/* ---- from outside ---- */

static void must_say(int fd, const char *what, const char *expected)
{
    char got[128] = "";
    const size_t len = strlen(expected);

    MUST_COME(peer_peek(fd, got, sizeof(got) - 1) >= len, "%s: \"%s\"", what, got);
    MUST(recv(fd, got, len, 0) == (ssize_t)len && memcmp(got, expected, len) == 0, "%s: \"%s\"",
         what, got);
}

static void join(struct crowd *c, struct member *m, enum role role, unsigned index)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = m};
    char text[96], expected[96];

    m->role = role;
    m->index = index;
    m->channel = index % c->o.channels;
    m->in = malloc(INPUT_BYTES);
    m->fd = dup(peer_connect(c->addr));
    MUST(m->in && m->fd >= 0, "no memory, or no descriptor");
    if (role == SUBSCRIBER) {
        snprintf(text, sizeof(text), "SUBSCRIBE c%u\r\n", m->channel);
        peer_send_text(m->fd, text);
        snprintf(expected, sizeof(expected), "*3\r\n$9\r\nsubscribe\r\n$%d\r\nc%u\r\n:1\r\n",
                 m->channel < 10 ? 2 : 3, m->channel);
        must_say(m->fd, text, expected);
    }
    MUST(epoll_ctl(c->ep, EPOLL_CTL_ADD, m->fd, &e) == 0, "epoll");
}

struct crowd *crowd_start(const struct crowd_options *o)
{
    struct crowd *c = calloc(1, sizeof(*c));
    unsigned n = 0;

    MUST(c && o->channels >= 1 && o->channels <= CROWD_CHANNELS_MAX &&
             o->publishers <= CROWD_PUBLISHERS_MAX,
         "a crowd like this cannot be");
    c->o = *o;
    snprintf(c->addr, sizeof(c->addr), "%s", o->addr);
    pthread_mutex_init(&c->lock, NULL);
    c->ep = epoll_create1(EPOLL_CLOEXEC);
    c->n_members = o->subscribers + o->publishers + o->sleepers;
    c->members = calloc(c->n_members, sizeof(*c->members));
    MUST(c->members && c->ep >= 0, "no memory");
    for (unsigned i = 0; i < o->subscribers; i++)
        join(c, &c->members[n++], SUBSCRIBER, i);
    for (unsigned i = 0; i < o->publishers; i++)
        join(c, &c->members[n++], PUBLISHER, i);
    for (unsigned i = 0; i < o->sleepers; i++) {
        join(c, &c->members[n], SLEEPER, i);
        go_to_sleep(c, &c->members[n++]);
    }
    c->began_us = now_us();
    MUST(pthread_create(&c->thread, NULL, crowd_run, c) == 0, "no thread");
    return c;
}

struct crowd_counts crowd_peek(struct crowd *c)
{
    struct crowd_counts counts;

    pthread_mutex_lock(&c->lock);
    counts = c->counts;
    pthread_mutex_unlock(&c->lock);
    return counts;
}

void crowd_permit_cuts(struct crowd *c)
{
    c->may_cut = true;
}

/* What has not come at the end; and the one order of each channel. */
static void compare_all(struct crowd *c)
{
    const struct member *first[CROWD_CHANNELS_MAX] = {0};

    for (unsigned i = 0; i < c->o.subscribers; i++) {
        const struct member *m = &c->members[i];
        const struct member *one = first[m->channel];

        if (m->fd < 0)
            continue;
        for (unsigned p = 0; p < c->o.publishers; p++)
            if (m->heard[p] < c->sent[p][m->channel])
                complain(c, &c->counts.lost,
                         "subscriber %u of c%u: the last of p%u is n%" PRIu64 ", not n%" PRIu64,
                         m->index, m->channel, p, m->heard[p], c->sent[p][m->channel]);
        if (!one)
            first[m->channel] = m;
        else if (one->order != m->order && one->n_heard == m->n_heard)
            complain(c, &c->counts.disordered,
                     "subscribers %u and %u of c%u have heard in different order", one->index,
                     m->index, m->channel);
    }
    for (unsigned i = c->o.subscribers; i < c->n_members; i++)
        if (c->members[i].fd >= 0 && c->members[i].is_owed)
            complain(c, &c->counts.lost, "%s %u is still owed a reply",
                     c->members[i].role == SLEEPER ? "sleeper" : "publisher", c->members[i].index);
}

struct crowd_counts crowd_stop(struct crowd *c)
{
    const uint64_t seconds = MIN((now_us() - c->began_us) / 1000000, (uint64_t)SECONDS_MAX);
    struct crowd_counts counts;

    pthread_mutex_lock(&c->lock);
    c->is_stopping = true;
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    compare_all(c);
    counts = c->counts;
    counts.least_per_s = seconds > 0 ? UINT64_MAX : 0;
    for (uint64_t s = 0; s < seconds; s++)
        counts.least_per_s = MIN(counts.least_per_s, (uint64_t)c->per_second[s]);
    for (unsigned i = 0; i < c->n_members; i++) {
        if (c->members[i].fd >= 0)
            close(c->members[i].fd);
        free(c->members[i].in);
    }
    peer_release_all();
    close(c->ep);
    pthread_mutex_destroy(&c->lock);
    free(c->members);
    free(c);
    return counts;
}
