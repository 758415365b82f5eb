/*
 * The talkers. Test process only.
 *
 * A message is a line that describes it, a slice of one table of random bytes, and the separator.
 * Its bytes are the same whoever asks for them, the sending side or the comparing one.
 */
#include "support/talkers.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "conformance/must.h"
#include "conformance/peer.h"

enum {
    HEAD = 32, /* the line, with its end */
    SEPARATOR = 4,
    TABLE = 1 << 21,
    SLICE_MAX = 1 << 20, /* and where it begins at most */
    SMALL_MAX = 100,
    DEPTH = 16, /* messages under way on a connection */
    PIECE_BITS = 16,
    PIECE_MAX = 1 << PIECE_BITS,
    SLOW_RCVBUF = 16384,
    SLOW_READ = 8192,
    SILENCE_MS = 60000, /* without a byte, while a reply is due */
};

static const char separator[SEPARATOR] = "\r\n\r\n", quit[] = "QUIT";

/* How a connection is going to end, when it has sent its messages. */
enum plan { PLAN_LASTS, PLAN_CLOSES, PLAN_HALF_CLOSES, PLAN_QUITS, PLAN_BREAKS_OFF, PLANS };

struct note {
    uint64_t number;
    size_t len; /* all of it */
    bool is_quit;
};

struct talker {
    int fd; /* -1 = not connected */
    bool is_slow;
    enum talker_mode mode;
    enum plan plan;
    uint64_t connection;
    uint64_t left; /* messages until its end */
    uint64_t n_begun;
    struct note notes[DEPTH]; /* begun and not answered, the oldest first */
    unsigned n_notes;
    size_t written; /* bytes of the newest that are composed; all of it = between messages */
    size_t read; /* bytes of the oldest that have come back */
    bool is_shut; /* our side */
    bool may_end;
    uint64_t permitted_at; /* what `n_begun` was then */
    uint64_t bytes_sent, bytes_received;
    uint64_t send_at_ms, read_at_ms, heard_ms;
    char *piece; /* owned */
    size_t piece_len, piece_sent;
};

struct talkers {
    struct talkers_options o;
    struct talkers_counts counts;
    struct talker *all; /* owned */
    char *table; /* owned */
    uint64_t rng, seed;
    uint64_t now_ms;
    size_t under_way;
    int epoll;
    bool is_finishing;
    bool may_all_end;
};

/* ---- a message ---- */

static size_t slice_of(const struct talkers *t, const struct talker *c, const struct note *m)
{
    uint64_t state = t->seed ^ (c->connection << 32) ^ m->number;

    return rng_below(&state, SLICE_MAX);
}

/* The bytes from @at on that lie together; @head is room for the line. Returns how many. */
static size_t bytes_at(const struct talkers *t, const struct talker *c, const struct note *m,
                       size_t at, char head[HEAD + 1], const char **ret)
{
    const size_t end = m->len - SEPARATOR;

    if (at >= end) {
        *ret = separator + (at - end);
        return m->len - at;
    }
    if (m->is_quit) {
        *ret = quit + at;
        return end - at;
    }
    if (at >= HEAD) {
        *ret = t->table + slice_of(t, c, m) + (at - HEAD);
        return end - at;
    }
    snprintf(head, HEAD + 1, "c%08llu m%09llu %08zu\r\n-", (unsigned long long)c->connection,
             (unsigned long long)m->number, m->len);
    *ret = head + at;
    return HEAD - at;
}

static size_t random_length(struct talkers *t)
{
    const uint64_t kind = rng_below(&t->rng, 100);
    const size_t most = kind < 50 ? SMALL_MAX : kind < 80 ? 4096 : kind < 96 ? 65536 : SLICE_MAX;
    const size_t len = HEAD + SEPARATOR + rng_below(&t->rng, most);

    if (len > t->o.max_message || t->under_way + len > t->o.max_under_way)
        return HEAD + SEPARATOR + rng_below(&t->rng, SMALL_MAX);
    return len;
}

static bool is_inside(const struct talker *c)
{
    return c->n_notes > 0 && c->written < c->notes[c->n_notes - 1].len;
}

static bool begin_message(struct talkers *t, struct talker *c)
{
    const bool is_quit = c->plan == PLAN_QUITS && c->left == 1;

    if (c->n_notes == DEPTH || c->left == 0)
        return false;
    struct note *m = &c->notes[c->n_notes++];
    *m =
        (struct note){c->n_begun++, is_quit ? strlen(quit) + SEPARATOR : random_length(t), is_quit};
    c->written = 0;
    t->under_way += m->len;
    return true;
}

static void drop_oldest(struct talkers *t, struct talker *c)
{
    t->under_way -= c->notes[0].len;
    c->n_notes--;
    memmove(&c->notes[0], &c->notes[1], c->n_notes * sizeof(c->notes[0]));
    c->read = 0;
}

/* ---- the life of a connection ---- */

static enum plan random_plan(struct talkers *t, unsigned i)
{
    return i % 2 ? PLAN_LASTS : (enum plan)(PLAN_CLOSES + rng_below(&t->rng, PLANS - PLAN_CLOSES));
}

static void watch(struct talkers *t, struct talker *c)
{
    struct epoll_event e = {.events = c->is_slow ? 0 : EPOLLIN, .data.ptr = c};

    MUST(epoll_ctl(t->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0, "epoll: %s", strerror(errno));
}

static void connect_talker(struct talkers *t, struct talker *c, unsigned i)
{
    const struct talker fresh = {
        .fd = peer_try_connect(t->o.addr, c->is_slow ? SLOW_RCVBUF : 0),
        .is_slow = c->is_slow,
        .mode = c->mode,
        .plan = random_plan(t, i),
        .connection = ++t->counts.connects,
        .heard_ms = clock_mono_ms(),
        .piece = c->piece,
    };
    MUST(fresh.fd >= 0, "a connect is refused: %s", strerror(-fresh.fd));
    *c = fresh;
    c->left = c->plan == PLAN_LASTS ? UINT64_MAX : 1 + rng_below(&t->rng, 60);
    watch(t, c);
}

static void disconnect(struct talker *c)
{
    peer_close(c->fd);
    c->fd = -1;
}

static void shut(struct talker *c)
{
    c->is_shut = true;
    shutdown(c->fd, SHUT_WR); /* if it has ended, what is there to be read says how */
}

/* A connection of which nothing is left to be said. */
static void end_as_planned(struct talkers *t, struct talker *c)
{
    if (c->plan == PLAN_CLOSES && c->n_notes == 0) {
        t->counts.closed++;
        disconnect(c);
    } else if (c->plan == PLAN_HALF_CLOSES) {
        shut(c);
    } else if (c->plan == PLAN_BREAKS_OFF) {
        c->left = 1; /* a rest has ended the message that was to be broken off */
    }
}

static void describe(const struct talkers *t, const struct talker *c, char *text, size_t size)
{
    static const char *const plans[PLANS] = {"lasts", "closes", "half-closes", "quits",
                                             "breaks off"};

    snprintf(
        text, size,
        "connection %llu of port %u, which %s%s after %llu more messages: %u under way, %zu "
        "bytes of the newest written, %zu of the oldest came back, %zu bytes not sent, mode %d",
        (unsigned long long)c->connection, talkers_port(t, (unsigned)(c - t->all)), plans[c->plan],
        c->is_shut ? " (done)" : "", (unsigned long long)c->left, c->n_notes, c->written, c->read,
        c->piece_len - c->piece_sent, (int)c->mode);
}

/* The server has ended it: as planned, as permitted, or not at all. */
static void on_end(struct talkers *t, struct talker *c, const char *how)
{
    const bool is_done = c->n_notes == 0 && c->left == 0;

    if (is_done && c->is_shut)
        *(c->plan == PLAN_BREAKS_OFF ? &t->counts.broken_off : &t->counts.half_closed) += 1;
    else if (is_done && c->plan == PLAN_QUITS)
        t->counts.quit++;
    else {
        char text[256];

        describe(t, c, text, sizeof(text));
        MUST(c->may_end || t->may_all_end, "an end by %s that should not be: %s", how, text);
        t->counts.lost++;
        t->counts.lost_bytes += c->bytes_sent - c->bytes_received;
        t->counts.failed += c->n_notes - is_inside(c);
        while (c->n_notes > 0)
            drop_oldest(t, c);
    }
    disconnect(c);
}

/* ---- sending ---- */

/* Bytes of the next piece: of any size at the same odds, seldom up to the end of a message. */
static size_t random_piece(struct talkers *t)
{
    return 1 + rng_below(&t->rng, (uint64_t)1 << (1 + rng_below(&t->rng, PIECE_BITS)));
}

/* How much of the newest message may go into this piece. */
static size_t allowed(struct talkers *t, const struct talker *c)
{
    const size_t rest = c->notes[c->n_notes - 1].len - c->written;
    const bool stays_inside =
        c->mode == TALKER_STOPS_INSIDE || (c->plan == PLAN_BREAKS_OFF && c->left == 1);

    return stays_inside && c->written == 0 ? 1 + rng_below(&t->rng, rest - 1) : rest;
}

static void compose(struct talkers *t, struct talker *c)
{
    const size_t want = random_piece(t);
    char head[HEAD + 1];
    const char *from;

    c->piece_len = c->piece_sent = 0;
    while (c->piece_len < want) {
        if (!is_inside(c) && ((c->mode == TALKER_RESTS && c->n_begun > 0) || !begin_message(t, c)))
            return;
        size_t n = MIN(allowed(t, c), want - c->piece_len);
        const struct note *m = &c->notes[c->n_notes - 1];
        n = MIN(n, bytes_at(t, c, m, c->written, head, &from));
        memcpy(c->piece + c->piece_len, from, n);
        c->piece_len += n;
        c->written += n;
        if (!is_inside(c)) {
            t->counts.sent++;
            c->left--;
        } else if (c->mode == TALKER_STOPS_INSIDE || (c->plan == PLAN_BREAKS_OFF && c->left == 1)) {
            return;
        }
    }
}

static bool has_stopped(const struct talker *c)
{
    return c->mode == TALKER_STOPS_INSIDE && is_inside(c);
}

/* The message that is begun shall never end. */
static void break_off(struct talkers *t, struct talker *c)
{
    t->under_way -= c->notes[--c->n_notes].len;
    c->written = 0;
    c->left = 0;
    shut(c);
    if (c->n_notes > 0)
        c->written = c->notes[c->n_notes - 1].len;
}

static void talk(struct talkers *t, struct talker *c)
{
    if (c->piece_sent == c->piece_len && !has_stopped(c) && !c->is_shut)
        compose(t, c);
    if (c->piece_sent < c->piece_len) {
        const long n = peer_try_send(c->fd, c->piece + c->piece_sent, c->piece_len - c->piece_sent);

        if (n < 0) {
            c->piece_sent = c->piece_len; /* what is there to be read says how it ended */
        } else if (n > 0) {
            c->piece_sent += (size_t)n;
            c->bytes_sent += (size_t)n;
            t->counts.bytes_sent += (size_t)n;
            c->heard_ms = t->now_ms;
        }
    }
    if (c->piece_sent < c->piece_len || c->mode != TALKER_TALKS || c->is_shut)
        return;
    if (c->plan == PLAN_BREAKS_OFF && c->left == 1 && is_inside(c))
        break_off(t, c);
    else if (c->left == 0)
        end_as_planned(t, c);
}

/* ---- receiving ---- */

static void compare(struct talkers *t, struct talker *c, const char *got, size_t len)
{
    char head[HEAD + 1];
    const char *due;

    t->counts.bytes_received += len;
    c->bytes_received += len;
    MUST(c->bytes_received <= c->bytes_sent, "connection %llu: more came back than was sent",
         (unsigned long long)c->connection);
    while (len > 0) {
        MUST(c->n_notes > 0, "connection %llu: %zu bytes too many",
             (unsigned long long)c->connection, len);
        const struct note *m = &c->notes[0];
        const size_t n = MIN(len, bytes_at(t, c, m, c->read, head, &due));
        MUST(!memcmp(got, due, n),
             "connection %llu, message %llu of %zu bytes: wrong bytes at %zu or behind it",
             (unsigned long long)c->connection, (unsigned long long)m->number, m->len, c->read);
        c->read += n;
        got += n;
        len -= n;
        if (c->read < m->len)
            continue;
        t->counts.echoed++;
        c->may_end = c->may_end && m->number < c->permitted_at;
        drop_oldest(t, c);
    }
}

static void receive(struct talkers *t, struct talker *c, size_t most)
{
    static char buf[PIECE_MAX];
    const ssize_t n = recv(c->fd, buf, MIN(most, sizeof(buf)), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->heard_ms = t->now_ms;
    if (n > 0)
        compare(t, c, buf, (size_t)n);
    else
        on_end(t, c, n == 0 ? "end of file" : strerror(errno));
}

static bool reads_slowly(const struct talkers *t, const struct talker *c)
{
    return c->is_slow && c->mode == TALKER_TALKS && !t->is_finishing;
}

static void read_slowly(struct talkers *t, struct talker *c)
{
    const bool is_slow = reads_slowly(t, c);

    receive(t, c, is_slow ? 1 + rng_below(&t->rng, SLOW_READ) : PIECE_MAX);
    c->read_at_ms = t->now_ms + (is_slow ? 5 + rng_below(&t->rng, 30) : 1);
}

/* ---- a turn ---- */

static void must_not_be_silent(const struct talkers *t, const struct talker *c)
{
    const bool is_due = c->n_notes > (unsigned)is_inside(c) || c->piece_sent < c->piece_len ||
                        (c->is_shut && c->n_notes == 0);

    char text[256];

    if (!is_due || t->now_ms - c->heard_ms < SILENCE_MS)
        return;
    describe(t, c, text, sizeof(text));
    must_fail(__FILE__, __LINE__, "silence: %s", text);
}

static void serve_talker(struct talkers *t, struct talker *c, unsigned i)
{
    const bool is_hurried = c->mode != TALKER_TALKS || t->is_finishing;

    if (c->fd < 0 && t->is_finishing)
        return;
    if (c->fd < 0)
        connect_talker(t, c, i);
    if (c->is_slow && t->now_ms >= c->read_at_ms)
        read_slowly(t, c);
    if (c->fd >= 0 && t->now_ms >= c->send_at_ms) {
        talk(t, c);
        c->send_at_ms = t->now_ms + (is_hurried ? 0 : 5 + rng_below(&t->rng, 40));
    }
    if (c->fd >= 0)
        must_not_be_silent(t, c);
}

void talkers_turn(struct talkers *t)
{
    struct epoll_event events[64];
    const int n = epoll_wait(t->epoll, events, ARRAY_SIZE(events), 1);

    t->now_ms = clock_mono_ms();
    for (int i = 0; i < n; i++) {
        struct talker *c = events[i].data.ptr;

        if (!c->is_slow) /* of a slow one the kernel tells errors, asked or not */
            receive(t, c, PIECE_MAX);
    }
    for (unsigned i = 0; i < t->o.n; i++)
        serve_talker(t, &t->all[i], i);
}

/* The message that is begun, and what the plan wants behind it. */
static uint64_t messages_to_end(const struct talker *c)
{
    const bool has_last = c->plan == PLAN_QUITS || c->plan == PLAN_BREAKS_OFF;
    const bool is_last = is_inside(c) && c->notes[c->n_notes - 1].is_quit;

    return has_last && is_inside(c) && !is_last ? 2 : 1;
}

void talkers_finish(struct talkers *t)
{
    const uint64_t alarm_ms = clock_mono_ms() + SILENCE_MS + WAIT_MS;

    t->is_finishing = true;
    for (unsigned i = 0; i < t->o.n; i++) {
        struct talker *c = &t->all[i];

        c->mode = TALKER_TALKS;
        if (c->plan == PLAN_LASTS)
            c->plan = i % 4 == 1 ? PLAN_HALF_CLOSES : PLAN_CLOSES;
        if (c->left > 0)
            c->left = messages_to_end(c);
    }
    while (talkers_open(t) > 0) {
        talkers_turn(t);
        MUST(clock_mono_ms() < alarm_ms, "%u connections do not end", talkers_open(t));
    }
}

/* ---- questions ---- */

void talkers_set_mode(struct talkers *t, unsigned i, enum talker_mode mode)
{
    struct talker *c = &t->all[i];

    c->mode = mode;
    c->send_at_ms = c->read_at_ms = 0;
    if (mode == TALKER_STOPS_INSIDE && c->left == 0 && !c->is_shut && c->plan != PLAN_QUITS)
        c->left = 1; /* something to stop in */
}

enum talker_mode talkers_mode(const struct talkers *t, unsigned i)
{
    return t->all[i].mode;
}

static bool is_settled(const struct talker *c)
{
    if (c->mode == TALKER_TALKS)
        return true;
    if (c->fd < 0 || c->is_shut || c->n_begun == 0 || c->piece_sent < c->piece_len)
        return false;
    if (c->mode == TALKER_RESTS)
        return c->n_notes == 0 && (c->plan != PLAN_QUITS || c->left > 0);
    return c->n_notes == 1 && is_inside(c);
}

const char *talkers_unsettled(const struct talkers *t)
{
    static char text[256];

    for (unsigned i = 0; i < t->o.n; i++) {
        if (is_settled(&t->all[i]))
            continue;
        describe(t, &t->all[i], text, sizeof(text));
        return text;
    }
    return NULL;
}

void talkers_permit_end(struct talkers *t, unsigned i)
{
    t->all[i].may_end = true;
    t->all[i].permitted_at = t->all[i].n_begun;
}

void talkers_permit_all(struct talkers *t, bool may_all_end)
{
    t->may_all_end = may_all_end;
}

uint64_t talkers_connection(const struct talkers *t, unsigned i)
{
    return t->all[i].fd >= 0 ? t->all[i].connection : 0;
}

unsigned talkers_port(const struct talkers *t, unsigned i)
{
    struct sockaddr_in in = {0};
    socklen_t len = sizeof(in);

    return getsockname(t->all[i].fd, (struct sockaddr *)&in, &len) == 0 ? ntohs(in.sin_port) : 0;
}

unsigned talkers_inside(const struct talkers *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->o.n; i++)
        n += t->all[i].fd >= 0 && is_inside(&t->all[i]);
    return n;
}

unsigned talkers_open(const struct talkers *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < t->o.n; i++)
        n += t->all[i].fd >= 0;
    return n;
}

const struct talkers_counts *talkers_counts(const struct talkers *t)
{
    return &t->counts;
}

/* ---- the whole ---- */

/* Any byte but a line feed, so that no separator is in it; half separators are frequent. */
static void fill_table(struct talkers *t)
{
    for (size_t i = 0; i < TABLE; i += sizeof(uint64_t)) {
        const uint64_t word = random_next(&t->rng);

        memcpy(t->table + i, &word, sizeof(word));
    }
    for (size_t i = 0; i < TABLE; i++)
        t->table[i] = t->table[i] == '\n' ? '\r' : t->table[i];
}

struct talkers *talkers_new(const struct talkers_options *o)
{
    struct talkers *t = calloc(1, sizeof(*t));

    MUST(t, "no memory");
    t->o = *o;
    t->o.max_message = MIN(o->max_message, (size_t)SLICE_MAX);
    t->rng = t->seed = o->seed;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->all = calloc(o->n, sizeof(*t->all));
    t->table = malloc(TABLE);
    MUST(t->epoll >= 0 && t->all && t->table, "no memory");
    fill_table(t);
    for (unsigned i = 0; i < o->n; i++) {
        t->all[i].fd = -1;
        t->all[i].is_slow = i % 8 == 3 || i % 8 == 4; /* of those that last, and of the others */
        t->all[i].piece = malloc(PIECE_MAX);
        MUST(t->all[i].piece, "no memory");
    }
    return t;
}

void talkers_free(struct talkers *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < t->o.n; i++) {
        if (t->all[i].fd >= 0)
            peer_close(t->all[i].fd);
        free(t->all[i].piece);
    }
    close(t->epoll);
    free(t->all);
    free(t->table);
    free(t);
}
