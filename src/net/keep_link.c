/*
 * What a keeper offers, and a worker's link to it. Runs in a worker; see keep.h.
 */
#include "net/keep_impl.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/fdpass.h"
#include "base/fds.h"
#include "base/signals.h"
#include "net/conn_impl.h"

/* --- what is offered -------------------------------------------------------------------------- */

/* A copy is closed: the keeper has its own. */
static void refuse_entry(struct keep_entry *e, int *fd)
{
    *e = (struct keep_entry){.number = KEEP_REFUSED};
    fds_close(fd);
}

static void expect_entry(struct keep *k, struct keep_entry *e, int *fd)
{
    const int protocol = conn_set_protocol(k->set, e->origin.protocol);

    if (k->is_closed || protocol < 0 || !conn_set_expect(k->set, *fd, (unsigned)protocol)) {
        refuse_entry(e, fd);
        return;
    }
    if (conn_set_name(k->set, *fd, &e->peer) < 0) {
        conn_set_mark(k->set, *fd, CONN_MARK_FREE);
        refuse_entry(e, fd);
        return;
    }
    *e = (struct keep_entry){.number = (uint32_t)*fd, .serial = keeping_serial(&k->rules)};
    k->table.serial[*fd] = e->serial;
    k->n_kept++;
}

static void drop_taken(struct keep *k)
{
    for (uint32_t i = 0; i < k->taken.count; i++) {
        int fd = (int)k->taken.entries[i].number;

        if (k->taken.entries[i].number == KEEP_REFUSED)
            continue;
        conn_set_mark(k->set, fd, CONN_MARK_FREE);
        keep_drop_serial(k, fd);
        fds_close(&fd);
    }
    k->taken.count = 0;
}

static void serve_taken(struct keep *k)
{
    const struct conn_set *set = k->set;
    const uint32_t count = k->taken.count;

    k->taken.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t number = k->taken.entries[i].number;

        if (number == KEEP_REFUSED ||
            conn_set_add(k->set, (int)number, set->spoken[number], ARB_RESCUED, true) < 0)
            continue;
        counter_add(&set->counters->rescued, 1);
        k->n_taken++;
    }
}

/* Also what could not be answered before. */
static void answer_offer(struct keep *k)
{
    const int rc = keep_send(k, &k->taken, false);

    switch (keeping_answered(&k->rules, rc)) {
    case KEEPING_ANSWER_LATER:
        keep_watch_link(k, false); /* the end of file comes after it */
        keep_need_tick(k);
        return;
    case KEEPING_ANSWER_OWN:
        keep_forget_serials(k);
        serve_taken(k);
        return;
    case KEEPING_ANSWER_KEPT:
        serve_taken(k);
        return;
    case KEEPING_ANSWER_DROP:
        drop_taken(k);
        keep_unlink(k);
        return;
    }
}

/* A batch that has lost descriptors on its way is refused as far as they are missing. */
static int expect_offer(struct keep *k, struct fdpass *got)
{
    struct keep_message *m = &k->taken;
    int rc = keep_get(k->bytes, got->len, m);

    if (rc == 0 && (m->kind != KEEP_OFFER || got->is_data_cut || got->n_fds > m->count ||
                    (got->n_fds < m->count && !got->is_fds_cut) ||
                    !taking_received(&k->rules.offers, m->batch, true)))
        rc = -EBADMSG;
    if (rc < 0) {
        m->count = 0;
        for (size_t i = 0; i < got->n_fds; i++)
            fds_close(&got->fds[i]);
        return rc;
    }
    m->kind = KEEP_TAKEN;
    for (uint32_t i = 0; i < m->count; i++) {
        int none = -1;

        if (i < got->n_fds)
            expect_entry(k, &m->entries[i], &got->fds[i]);
        else
            refuse_entry(&m->entries[i], &none);
    }
    return 0;
}

/* What has come is marked before a signal can end this process. Returns 0 or -errno; -ENODATA at
 * the end of file. */
static int receive_offer(struct keep *k)
{
    struct fdpass got;
    sigset_t mask;
    int rc;

    signals_block_all(&mask);
    do /* ECONNRESET is reported once, ahead of what is queued. */
        rc = fdpass_receive(k->fd, &(struct iovec){k->bytes, sizeof(k->bytes)}, 1, &got);
    while (rc == -ECONNRESET);
    if (rc == 0)
        rc = got.len == 0 && got.n_fds == 0 ? -ENODATA : expect_offer(k, &got);
    signals_restore(&mask);
    return rc;
}

/* Returns whether there may be more. */
static bool hear_offer(struct keep *k)
{
    int rc;

    if (k->fd < 0 || !k->is_open || k->taken.count > 0)
        return false;
    rc = receive_offer(k);
    if (rc == -EAGAIN)
        return false;
    if (rc < 0) {
        keep_unlink(k);
        return false;
    }
    answer_offer(k);
    return true;
}

static void tell_taken(struct keep *k)
{
    const uint64_t n = k->n_taken;

    k->n_taken = 0;
    if (n > 0 && k->on_taken)
        k->on_taken(k, n);
}

static void on_link_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct keep *k = container_of(io, struct keep, io);
    bool is_more = true;

    if (revents & EV_WRITE) {
        keep_watch_link(k, false);
        if (k->rules.is_linked && keep_register(k, CONN_OLDER, false))
            keep_need_tick(k);
    }
    for (int i = 0; is_more && i < KEEP_OFFERS_A_WAKE; i++)
        is_more = hear_offer(k);
    if (!is_more)
        tell_taken(k);
    else /* perhaps nothing is there, and nothing will tell */
        ev_feed_event(loop, io, EV_READ);
}

/* --- when ------------------------------------------------------------------------------------- */

/* An answer that could not be sent is sent first: what is said is heard in this order. */
static void answer_again(struct keep *k)
{
    if (k->taken.count == 0)
        return;
    answer_offer(k);
    if (k->taken.count == 0)
        keep_watch_link(k, false);
}

void keep_tick(struct keep *k)
{
    bool is_left = false, is_step;

    answer_again(k);
    if (!k->rules.is_linked)
        return;
    is_step = ++k->ticks >= k->ticks_a_step;
    if (is_step)
        k->ticks = 0;
    if (k->rules.is_sweep_due)
        keep_send_sweep(k);
    if (k->rules.is_linked)
        is_left = keep_register(k, is_step || k->is_behind ? CONN_OLDER : CONN_SETTLED, is_step);
    if (is_left || k->rules.is_sweep_due || k->taken.count > 0)
        keep_need_tick(k);
}

static void on_keep_tick(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    keep_tick(container_of(timer, struct keep, tick));
}

static void on_at_once(struct ev_loop *loop, ev_prepare *prepare, int revents UNUSED)
{
    struct keep *k = container_of(prepare, struct keep, at_once);

    ev_prepare_stop(loop, prepare);
    if (k->rules.is_linked && keep_register(k, CONN_YOUNG, false))
        keep_need_tick(k);
}

/* --- life ------------------------------------------------------------------------------------- */

int keep_init(struct keep *k, struct conn_set *set, int table_fd, uint64_t keep_after_ms,
              keep_on_taken *on_taken)
{
    const uint64_t step_ms = MAX(keep_after_ms / 2, UINT64_C(1));
    const uint64_t tick_ms = keep_after_ms ? MIN(step_ms, (uint64_t)KEEP_TICK_MS) : KEEP_TICK_MS;
    int rc;

    *k = (struct keep){.fd = -1};
    if (table_fd < 0)
        return 0;
    rc = keep_table_map(&k->table, table_fd, true);
    fds_close(&table_fd);
    if (rc < 0)
        return rc;
    k->set = set;
    k->on_taken = on_taken;
    k->keep_after_ms = keep_after_ms;
    k->ticks_a_step = keep_after_ms ? (unsigned)(step_ms / tick_ms) : 1;
    ev_io_init(&k->io, on_link_io, -1, 0);
    k->tick_ms = tick_ms;
    ev_init(&k->tick, on_keep_tick);
    ev_prepare_init(&k->at_once, on_at_once);
    set->marks = (uint8_t *)(uintptr_t)k->table.mark;
    set->n_marks = MIN(set->n_marks, (size_t)k->table.n);
    set->keep = k;
    return 0;
}

void keep_fini(struct keep *k)
{
    if (!k->set)
        return;
    drop_taken(k);
    keep_unlink(k);
    ev_prepare_stop(k->set->loop, &k->at_once);
    k->set->keep = NULL;
    k->set->marks = k->set->own_marks;
    k->set = NULL;
    keep_table_unmap(&k->table);
}

/* Its keeper offers elsewhere what cannot be answered. */
static void leave_keeper(struct keep *k)
{
    while (hear_offer(k))
        ;
    answer_again(k);
    drop_taken(k);
    tell_taken(k);
    if (k->fd >= 0)
        keep_unlink(k);
}

void keep_link(struct keep *k, int fd)
{
    if (!k->set) {
        fds_close(&fd);
        return;
    }
    leave_keeper(k);
    k->fd = fd;
    keeping_link(&k->rules);
    keep_watch_link(k, false);
    if (keep_register(k, CONN_YOUNG, false))
        keep_need_tick(k);
}

void keep_open(struct keep *k)
{
    k->is_open = true;
    if (k->set)
        keep_watch_link(k, false);
}

void keep_close(struct keep *k)
{
    k->is_closed = true;
    keep_open(k);
}
