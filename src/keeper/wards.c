/*
 * Wards, and what a keeper holds for them.
 */
#include "keeper/wards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/io_watch.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"
#include "net/keep_rules.h"
#include "net/keep_table.h"

struct ward {
    struct list link; /* in wards.list */
    struct wards *all; /* borrowed */
    char id[WARDS_ID_LEN];
    ev_io io;
    int fd; /* owned */
    struct keep_table table;
    int32_t *by_number; /* owned: its descriptor here + 1; 0 = none */
    uint32_t n_numbers; /* in by_number */
    struct giving offers;
    struct held_chain flights[MOVE_UNANSWERED_MAX]; /* of batch id modulo that */
    bool is_unwilling; /* has refused all of an offer: not before the next pulse */
};

static struct ward *ward_at(struct list *link)
{
    return container_of(link, struct ward, link);
}

/* ---- chains ---- */

static const struct held_chain no_chain = {-1, -1, 0};

static void chain_append(struct wards *w, struct held_chain *c, int fd)
{
    w->held[fd].next = -1;
    if (c->count++ == 0)
        c->first = fd;
    else
        w->held[c->last].next = fd;
    c->last = fd;
}

static int chain_pop(struct wards *w, struct held_chain *c)
{
    const int fd = c->first;

    if (c->count == 0)
        return -1;
    c->first = w->held[fd].next;
    if (--c->count == 0)
        *c = no_chain;
    return fd;
}

/* ---- duplicates ---- */

/* Makes `peers` as long as @size descriptors need. Returns false if memory runs out. */
static bool grow_peers(struct wards *w, size_t size)
{
    const size_t before = w->peers ? w->held_size : 0;
    struct addr_named *peers = realloc(w->peers, size * sizeof(*peers));

    if (!peers)
        return false;
    memset(peers + before, 0, (size - before) * sizeof(*peers));
    w->n_bytes += (size - before) * sizeof(*peers);
    w->peers = peers;
    return true;
}

/* Returns whether there is room for the descriptor @fd. */
static bool grow_held(struct wards *w, int fd)
{
    size_t size = MAX(w->held_size, (size_t)64);
    struct held *held;

    if ((size_t)fd < w->held_size)
        return true;
    while (size <= (size_t)fd)
        size += size / 2;
    held = realloc(w->held, size * sizeof(*held));
    if (!held)
        return false;
    w->held = held;
    if (w->peers && !grow_peers(w, size))
        return false;
    w->n_bytes += (size - w->held_size) * sizeof(*held);
    w->held_size = size;
    return true;
}

static bool grow_numbers(struct ward *ward, uint32_t number)
{
    const uint32_t wanted = MAX(number + 1, ward->n_numbers + ward->n_numbers / 2);
    const uint32_t n = MIN(MAX(wanted, (uint32_t)64), ward->table.n);
    int32_t *by_number;

    if (number < ward->n_numbers)
        return true;
    by_number = realloc(ward->by_number, n * sizeof(*by_number));
    if (!by_number)
        return false;
    memset(by_number + ward->n_numbers, 0, (n - ward->n_numbers) * sizeof(*by_number));
    ward->all->n_bytes += (n - ward->n_numbers) * sizeof(*by_number);
    ward->by_number = by_number;
    ward->n_numbers = n;
    return true;
}

/* Index of @origin, or -1: there are too many. */
static int find_origin(struct wards *w, const struct keep_origin *origin)
{
    for (unsigned i = 0; i < w->n_origins; i++)
        if (w->origins[i].listener == origin->listener &&
            w->origins[i].protocol == origin->protocol)
            return (int)i;
    if (w->n_origins == WARDS_ORIGINS_MAX)
        return -1;
    w->origins[w->n_origins] = *origin;
    return (int)w->n_origins++;
}

/* Remembers the peer of @fd, which `held` has room for. Returns false if memory runs out. */
static bool name_held(struct wards *w, int fd, const struct addr_named *peer)
{
    if (!w->peers && peer->kind == ADDR_NAMED_NONE)
        return true;
    if (!w->peers && !grow_peers(w, w->held_size))
        return false;
    w->peers[fd] = *peer;
    return true;
}

static void close_held(struct wards *w, int fd)
{
    close(fd);
    w->n_held--;
}

/* The duplicate under @number, which is taken out; -1 = none. */
static int take_number(struct ward *ward, uint32_t number)
{
    const int fd = number < ward->n_numbers ? ward->by_number[number] - 1 : -1;

    if (fd >= 0)
        ward->by_number[number] = 0;
    return fd;
}

/* @fd is held already. Without memory it is closed: then it is not kept, as one that is young. */
static void put_number(struct ward *ward, uint32_t number, uint32_t serial, int fd)
{
    struct wards *w = ward->all;
    const int before = take_number(ward, number);

    if (before >= 0)
        close_held(w, before);
    if (!grow_numbers(ward, number)) {
        close_held(w, fd);
        return;
    }
    w->held[fd].serial = serial;
    ward->by_number[number] = fd + 1;
}

/* ---- deaths ---- */

static unsigned begin_death(struct wards *w, const char *of)
{
    unsigned i = 0;

    while (i < WARDS_DEATHS_MAX - 1 && w->deaths[i].kept > 0)
        i++;
    if (w->deaths[i].kept == 0)
        w->deaths[i] = (struct ward_death){0};
    snprintf(w->deaths[i].of, sizeof(w->deaths[i].of), "%s", of);
    return i;
}

/* One that was pending or on its way is settled. */
static void settle_one(struct wards *w, int fd, bool is_passed)
{
    struct ward_death *d = &w->deaths[w->held[fd].death];

    *(is_passed ? &d->passed : &d->closed) += 1;
    if (--d->pending > 0)
        return;
    w->ops->on_passed(w, d);
    d->kept = 0;
}

static void settle_and_close(struct wards *w, int fd, bool is_passed)
{
    settle_one(w, fd, is_passed);
    close_held(w, fd);
}

/* ---- a ward's end ---- */

static void free_ward(struct ward *ward)
{
    struct wards *w = ward->all;

    ev_io_stop(w->loop, &ward->io);
    fds_close(&ward->fd);
    keep_table_unmap(&ward->table);
    w->n_bytes -= sizeof(*ward) + ward->n_numbers * sizeof(*ward->by_number);
    w->n_wards--;
    list_remove(&ward->link);
    free(ward->by_number);
    free(ward);
}

static void judge_all(struct ward *ward)
{
    struct wards *w = ward->all;
    const unsigned i = begin_death(w, ward->id);
    struct ward_death left = {.kept = 0};

    for (uint32_t n = 0; n < ward->n_numbers; n++) {
        const int fd = take_number(ward, n);

        if (fd < 0)
            continue;
        switch (keep_judge(ward->table.mark[n], ward->table.serial[n], w->held[fd].serial)) {
        case KEEP_IDLE:
            w->held[fd].death = (uint8_t)i;
            w->held[fd].n_refused = 0;
            chain_append(w, &w->pending, fd);
            left.kept++;
            break;
        case KEEP_MOVING:
            left.moving++;
            close_held(w, fd);
            break;
        case KEEP_LOST:
            left.closed++;
            close_held(w, fd);
            break;
        case KEEP_STALE:
            close_held(w, fd);
            break;
        }
    }
    w->deaths[i].kept += left.kept;
    w->deaths[i].pending += left.kept;
    w->deaths[i].closed += left.closed;
    w->deaths[i].moving += left.moving;
    memcpy(left.of, ward->id, sizeof(left.of));
    if (left.kept + left.closed + left.moving > 0)
        w->ops->on_left(w, &left);
}

/* What it was offered and did not answer: the oldest first. */
static void take_back_offers(struct ward *ward)
{
    struct wards *w = ward->all;

    for (;;) {
        struct held_chain *flight =
            &ward->flights[(ward->offers.answered + 1) % MOVE_UNANSWERED_MAX];
        int fd;

        if (giving_ended(&ward->offers) == GIVING_NOTHING)
            break;
        while ((fd = chain_pop(w, flight)) >= 0)
            chain_append(w, &w->pending, fd);
    }
}

/* After its last datagram. */
static void on_ward_end(struct ward *ward)
{
    take_back_offers(ward);
    judge_all(ward);
    free_ward(ward);
}

/* Closes all that is held for it, and does not shut it down: it may have it, or take it still. */
static void drop_ward(struct ward *ward)
{
    struct wards *w = ward->all;
    int fd;

    for (uint32_t n = 0; n < ward->n_numbers; n++)
        if ((fd = take_number(ward, n)) >= 0)
            close_held(w, fd);
    for (unsigned i = 0; i < MOVE_UNANSWERED_MAX; i++)
        while ((fd = chain_pop(w, &ward->flights[i])) >= 0)
            settle_and_close(w, fd, true);
    free_ward(ward);
}

/* What it says cannot be, so nothing can be concluded: whatever it has is its own, and it sees that
 * there is no keeper. */
static void distrust(struct ward *ward, const char *why)
{
    log_warning_limited(ward->all->log, "a ward is not kept any more", F_STR("worker", ward->id),
                        F_STR("reason", why));
    drop_ward(ward);
}

/* ---- what a ward says: each returns why it cannot be, or NULL ---- */

static void register_one(struct ward *ward, const struct keep_entry *e, int fd)
{
    struct wards *w = ward->all;
    const int origin = find_origin(w, &e->origin);

    if (origin < 0 || !grow_held(w, fd) || !name_held(w, fd, &e->peer)) {
        close(fd);
        return;
    }
    w->n_held++;
    w->held[fd] = (struct held){.origin = (uint8_t)origin};
    put_number(ward, e->number, e->serial, fd);
}

/* Takes over what it registers: the descriptors that are there. */
static const char *on_register(struct ward *ward, const struct keep_message *m, struct fdpass *got)
{
    if (got->n_fds > m->count || (got->n_fds < m->count && !got->is_fds_cut))
        return "a registration without its descriptors";
    if (got->is_fds_cut)
        log_warning_limited(ward->all->log, "no descriptors left for all connections to be kept");
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].number >= ward->table.n)
            return "a number that is not in its table";
    for (uint32_t i = 0; i < got->n_fds; i++) {
        register_one(ward, &m->entries[i], got->fds[i]);
        got->fds[i] = -1;
    }
    return NULL;
}

static const char *on_sweep(struct ward *ward)
{
    for (uint32_t n = 0; n < ward->n_numbers; n++) {
        const int fd = ward->by_number[n] - 1;

        if (fd >= 0 && keep_judge(ward->table.mark[n], ward->table.serial[n],
                                  ward->all->held[fd].serial) == KEEP_STALE)
            close_held(ward->all, take_number(ward, n));
    }
    return NULL;
}

static void on_refused(struct wards *w, int fd)
{
    if (++w->held[fd].n_refused >= WARDS_REFUSALS_MAX)
        settle_and_close(w, fd, false);
    else
        chain_append(w, &w->pending, fd);
}

static const char *on_taken(struct ward *ward, const struct keep_message *m)
{
    struct wards *w = ward->all;
    struct held_chain *flight = &ward->flights[m->batch % MOVE_UNANSWERED_MAX];
    uint32_t n_refused = 0;

    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].number != KEEP_REFUSED && m->entries[i].number >= ward->table.n)
            return "a number that is not in its table";
    if (giving_unanswered(&ward->offers) == 0 || flight->count != m->count ||
        giving_answered(&ward->offers, m->batch, true) != GIVING_RELEASE)
        return "an answer to what it was not offered";
    for (uint32_t i = 0; i < m->count; i++) {
        const struct keep_entry *e = &m->entries[i];
        const int fd = chain_pop(w, flight);

        if (e->number == KEEP_REFUSED) {
            n_refused++;
            on_refused(w, fd);
        } else if (e->serial == 0) {
            settle_and_close(w, fd, true);
        } else {
            settle_one(w, fd, true);
            put_number(ward, e->number, e->serial, fd);
        }
    }
    ward->is_unwilling = n_refused == m->count;
    return NULL;
}

static const char *on_datagram(struct ward *ward, const uint8_t *data, struct fdpass *got)
{
    struct keep_message m;
    const int rc = got->is_data_cut ? -EBADMSG : keep_get(data, got->len, &m);

    if (rc < 0)
        return rc == -EPROTONOSUPPORT ? "another version of the protocol" : "nonsense";
    if (m.kind != KEEP_REGISTER && got->n_fds > 0)
        return "descriptors where none belong";
    switch (m.kind) {
    case KEEP_REGISTER:
        return on_register(ward, &m, got);
    case KEEP_SWEEP:
        return on_sweep(ward);
    case KEEP_TAKEN:
        return on_taken(ward, &m);
    default:
        return "an offer";
    }
}

enum { HEARD, NOTHING_NOW, ENDED };

/* One datagram. A dead ward's queue is read past ECONNRESET, which comes ahead of it. */
static int hear_one(struct ward *ward)
{
    uint8_t data[KEEP_MESSAGE_MAX];
    const char *why = NULL;
    struct fdpass got;
    int rc;

    do
        rc = fdpass_receive(ward->fd, &(struct iovec){data, sizeof(data)}, 1, &got);
    while (rc == -ECONNRESET);
    if (rc == -EAGAIN || rc == -ENOMEM || rc == -ENOBUFS)
        return NOTHING_NOW;
    if (rc < 0) {
        distrust(ward, strerror(-rc));
        return ENDED;
    }
    if (got.len == 0 && got.n_fds == 0) {
        on_ward_end(ward);
        return ENDED;
    }
    why = on_datagram(ward, data, &got);
    for (size_t i = 0; i < got.n_fds; i++)
        fds_close(&got.fds[i]);
    if (why)
        distrust(ward, why);
    return why ? ENDED : HEARD;
}

/* ---- offers ---- */

/* The newest that wants and may be offered more: the heir rather than who drains. */
static struct ward *find_taker(struct wards *w)
{
    for (struct list *link = w->list.prev; link != &w->list; link = link->prev) {
        struct ward *ward = ward_at(link);

        if (!ward->is_unwilling && giving_may_send(&ward->offers) && !(ward->io.events & EV_WRITE))
            return ward;
    }
    return NULL;
}

/* Returns 0 or -errno: then everything is pending still. */
static int offer_batch(struct wards *w, struct ward *ward)
{
    struct held_chain *flight = &ward->flights[(ward->offers.sent + 1) % MOVE_UNANSWERED_MAX];
    const uint32_t count = (uint32_t)MIN((size_t)w->pending.count, w->batch_max);
    struct keep_message m = {KEEP_OFFER, ward->offers.sent + 1, count, {{0}}};
    uint8_t data[KEEP_MESSAGE_MAX];
    int fds[KEEP_COUNT_MAX];
    int fd = w->pending.first, rc;

    for (uint32_t i = 0; i < count; i++, fd = w->held[fd].next) {
        m.entries[i].origin = w->origins[w->held[fd].origin];
        if (w->peers)
            m.entries[i].peer = w->peers[fd];
        fds[i] = fd;
    }
    rc = fdpass_send(ward->fd, data, keep_put(&m, data), fds, count);
    if (rc < 0)
        return rc;
    giving_sent(&ward->offers);
    for (uint32_t i = 0; i < count; i++)
        chain_append(w, flight, chain_pop(w, &w->pending));
    return 0;
}

static void offer_all(struct wards *w)
{
    struct ward *ward;

    while (w->pending.count > 0 && !ev_is_active(&w->retry) && (ward = find_taker(w))) {
        const int rc = offer_batch(w, ward);

        if (rc == 0) {
            w->batch_max = MIN(2 * w->batch_max, (size_t)KEEP_COUNT_MAX);
        } else if (rc == -EAGAIN) {
            io_watch(w->loop, &ward->io, ward->fd, EV_READ | EV_WRITE);
        } else if (fdpass_is_transient(rc)) {
            w->batch_max = MAX(w->batch_max / 2, (size_t)1); /* fewer may do */
            ev_timer_set(&w->retry, WARDS_RETRY_MS / 1e3, 0.);
            ev_timer_start(w->loop, &w->retry);
        } else {
            ward->is_unwilling = true; /* it is gone: its end of file is about to come */
        }
    }
}

static void on_retry(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct wards *w = container_of(timer, struct wards, retry);

    offer_all(w);
    w->ops->on_change(w);
}

static void on_ward_io(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct ward *ward = container_of(io, struct ward, io);
    struct wards *w = ward->all;
    int heard = HEARD;

    if (revents & EV_WRITE)
        io_watch(w->loop, io, ward->fd, EV_READ);
    for (int i = 0; i < WARDS_DATAGRAMS_A_WAKE && heard == HEARD; i++)
        heard = hear_one(ward);
    offer_all(w);
    w->ops->on_change(w);
}

/* ---- all of them ---- */

void wards_init(struct wards *w, struct ev_loop *loop, struct log *log, const struct wards_ops *ops)
{
    *w = (struct wards){.loop = loop,
                        .log = log,
                        .ops = ops,
                        .pending = no_chain,
                        .batch_max = KEEP_COUNT_MAX,
                        .n_bytes = sizeof(*w)};
    list_init(&w->list);
    ev_timer_init(&w->retry, on_retry, 0., 0.);
}

void wards_fini(struct wards *w)
{
    if (!w->loop)
        return;
    ev_timer_stop(w->loop, &w->retry);
    for (int fd; (fd = chain_pop(w, &w->pending)) >= 0;)
        settle_and_close(w, fd, false);
    while (!list_is_empty(&w->list))
        drop_ward(ward_at(w->list.next));
    free(w->held);
    free(w->peers);
    *w = (struct wards){0};
}

int wards_add(struct wards *w, const char *id, int fd, int table_fd)
{
    struct ward *ward = w->n_wards < WARDS_MAX ? calloc(1, sizeof(*ward)) : NULL;
    int rc = w->n_wards < WARDS_MAX ? -ENOMEM : -ENOSPC;

    if (ward)
        rc = keep_table_map(&ward->table, table_fd, false);
    if (rc < 0) {
        free(ward);
        fds_close(&fd);
        return rc;
    }
    ward->all = w;
    ward->fd = fd;
    ward->offers = keep_offers();
    snprintf(ward->id, sizeof(ward->id), "%s", id);
    for (unsigned i = 0; i < MOVE_UNANSWERED_MAX; i++)
        ward->flights[i] = no_chain;
    list_append(&w->list, &ward->link);
    w->n_wards++;
    w->n_bytes += sizeof(*ward);
    ev_io_init(&ward->io, on_ward_io, fd, EV_READ);
    ev_io_start(w->loop, &ward->io);
    offer_all(w);
    w->ops->on_change(w);
    return 0;
}

void wards_pulse(struct wards *w)
{
    struct list *link;

    list_for_each (link, &w->list)
        ward_at(link)->is_unwilling = false;
    offer_all(w);
}

bool wards_is_idle(const struct wards *w)
{
    return w->n_wards == 0 && w->pending.count == 0;
}
