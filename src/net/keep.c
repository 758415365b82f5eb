/*
 * A worker's side of its keeper. Runs in a worker; see keep.h.
 */
#include "net/keep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fdpass.h"
#include "base/fds.h"
#include "base/signals.h"
#include "net/conn_impl.h"

static struct keep *keep_of(const struct arb_conn *c)
{
    return conn_set_of(c)->keep;
}

static struct arb_conn *listed_at(struct list *link)
{
    return container_of(link, struct arb_conn, link);
}

/* --- serials ---------------------------------------------------------------------------------- */

/* A timer that has expired is set anew: libev leaves in it how late it was. */
static void need_tick(struct keep *k)
{
    if (!k->rules.is_linked || ev_is_active(&k->tick))
        return;
    ev_timer_set(&k->tick, (double)k->tick_ms / 1e3, 0.);
    ev_timer_start(k->set->loop, &k->tick);
}

static void drop_serial(struct keep *k, int fd)
{
    if (k->table.serial[fd] == 0)
        return;
    k->table.serial[fd] = 0;
    k->n_kept--;
    k->rules.is_sweep_due = true;
    need_tick(k);
}

/* Nobody keeps anything any more. Who was old enough is so for the next keeper. */
static void forget_serials(struct keep *k)
{
    struct list *link;

    for (size_t i = 0; i < k->set->marks_end; i++)
        k->table.serial[i] = 0;
    k->n_kept = 0;
    list_for_each (link, &k->set->all)
        if (listed_at(link)->kept == CONN_KEPT)
            listed_at(link)->kept = CONN_OLDER;
    k->is_disordered = true;
}

static void unlink_keeper(struct keep *k)
{
    k->rules.is_linked = false;
    forget_serials(k);
    ev_io_stop(k->set->loop, &k->io);
    ev_timer_stop(k->set->loop, &k->tick);
    fds_close(&k->fd);
}

/* For offers, unless one is still to be answered or this worker does not serve yet; and for room.
 */
static void watch_link(struct keep *k, bool is_for_room)
{
    const int offers = k->is_open && k->taken.count == 0 ? EV_READ : 0;
    const int events = k->fd < 0 ? 0 : offers | (is_for_room ? EV_WRITE : 0);

    ev_io_stop(k->set->loop, &k->io);
    ev_io_set(&k->io, k->fd, events);
    if (events)
        ev_io_start(k->set->loop, &k->io);
}

/* --- registering ------------------------------------------------------------------------------ */

static int send_entries(struct keep *k, const struct keep_message *m, bool has_fds)
{
    const size_t len = keep_put(m, k->bytes);
    int fds[KEEP_COUNT_MAX];

    for (uint32_t i = 0; has_fds && i < m->count; i++)
        fds[i] = (int)m->entries[i].number;
    return fdpass_send(k->fd, k->bytes, len, fds, has_fds ? m->count : 0);
}

static void on_unsent(struct keep *k, enum keeping_outcome outcome, int rc)
{
    switch (outcome) {
    case KEEPING_DONE:
        break;
    case KEEPING_LATER:
        k->is_behind = k->is_disordered = true;
        if (rc == -EAGAIN)
            watch_link(k, true);
        need_tick(k);
        break;
    case KEEPING_GONE: /* reading finds what it has offered, and the end */
        forget_serials(k);
        break;
    case KEEPING_BROKEN:
        unlink_keeper(k);
        break;
    }
}

/* Register what has been put together. A crash comes before or after: what has a serial then is
 * registered. Returns whether it is. */
static bool send_registration(struct keep *k)
{
    struct keep_message *m = &k->message;
    const uint32_t count = m->count;
    enum keeping_outcome outcome;
    sigset_t mask;
    int rc;

    m->kind = KEEP_REGISTER;
    m->batch = 0;
    m->count = 0;
    if (count == 0 || !k->rules.is_linked)
        return false;
    m->count = count;
    signals_block_all(&mask);
    for (uint32_t i = 0; i < count; i++) {
        m->entries[i].serial = keeping_serial(&k->rules);
        k->table.serial[m->entries[i].number] = m->entries[i].serial;
    }
    rc = send_entries(k, m, true);
    outcome = keeping_sent(&k->rules, rc);
    for (uint32_t i = 0; outcome != KEEPING_DONE && i < count; i++)
        k->table.serial[m->entries[i].number] = 0;
    signals_restore(&mask);
    for (uint32_t i = 0; outcome == KEEPING_DONE && i < count; i++)
        k->conns[i]->kept = CONN_KEPT;
    k->n_kept += outcome == KEEPING_DONE ? count : 0;
    m->count = 0;
    on_unsent(k, outcome, rc);
    return outcome == KEEPING_DONE;
}

/* Returns false if what has been put together could not be registered. */
static bool add_registration(struct keep *k, struct arb_conn *c)
{
    struct keep_message *m = &k->message;

    k->conns[m->count] = c;
    m->entries[m->count++] = (struct keep_entry){
        .number = (uint32_t)c->io.fd,
        .origin.protocol = conn_protocol_of(c)->name_hash,
    };
    return m->count < KEEP_COUNT_MAX || send_registration(k);
}

/* Where those begin that are not settled. */
static struct list *first_young(const struct keep *k)
{
    struct list *all = &k->set->all, *link = all->prev;

    if (k->is_disordered)
        return all->next;
    while (link != all && listed_at(link)->kept < CONN_SETTLED)
        link = link->prev;
    return link->next;
}

static bool is_keepable(const struct arb_conn *c)
{
    return c->phase == CONN_OPEN && conn_is_blank(c);
}

/*
 * Register who is at least @least; with @is_step the others get older. Settled ones come to stand
 * in front of those that are left. Returns whether any are left.
 */
static bool register_young(struct keep *k, enum conn_kept least, bool is_step)
{
    struct list *all = &k->set->all, *link = first_young(k), *next;
    bool is_left = false, is_sent = true;

    k->is_disordered = k->is_behind = false;
    k->message.count = 0;
    for (; link != all; link = next) {
        struct arb_conn *c = listed_at(link);
        const bool is_ready = is_sent && c->kept >= least;

        next = link->next;
        if (c->kept < CONN_SETTLED && !is_keepable(c))
            c->kept = CONN_SETTLED;
        if (is_left && (c->kept >= CONN_SETTLED || is_ready)) {
            list_remove(link);
            list_prepend(all, link);
        }
        if (c->kept >= CONN_SETTLED)
            continue;
        if (is_ready) {
            is_sent = add_registration(k, c);
            continue;
        }
        is_left = true;
        if (is_step)
            c->kept = CONN_OLDER;
    }
    if (k->message.count > 0)
        send_registration(k);
    return is_left || k->is_behind;
}

static void send_sweep(struct keep *k)
{
    const struct keep_message sweep = {.kind = KEEP_SWEEP};
    const int rc = send_entries(k, &sweep, false);
    const enum keeping_outcome outcome = keeping_sent(&k->rules, rc);

    if (outcome == KEEPING_DONE)
        k->rules.is_sweep_due = false;
    else if (outcome != KEEPING_LATER)
        on_unsent(k, outcome, rc);
}

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
        drop_serial(k, fd);
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
    const int rc = send_entries(k, &k->taken, false);

    switch (keeping_answered(&k->rules, rc)) {
    case KEEPING_ANSWER_LATER:
        watch_link(k, false); /* the end of file comes after it */
        need_tick(k);
        return;
    case KEEPING_ANSWER_OWN:
        forget_serials(k);
        serve_taken(k);
        return;
    case KEEPING_ANSWER_KEPT:
        serve_taken(k);
        return;
    case KEEPING_ANSWER_DROP:
        drop_taken(k);
        unlink_keeper(k);
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
        unlink_keeper(k);
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
        watch_link(k, false);
        if (k->rules.is_linked && register_young(k, CONN_OLDER, false))
            need_tick(k);
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
        watch_link(k, false);
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
        send_sweep(k);
    if (k->rules.is_linked)
        is_left = register_young(k, is_step || k->is_behind ? CONN_OLDER : CONN_SETTLED, is_step);
    if (is_left || k->rules.is_sweep_due || k->taken.count > 0)
        need_tick(k);
}

static void on_keep_tick(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    keep_tick(container_of(timer, struct keep, tick));
}

static void on_at_once(struct ev_loop *loop, ev_prepare *prepare, int revents UNUSED)
{
    struct keep *k = container_of(prepare, struct keep, at_once);

    ev_prepare_stop(loop, prepare);
    if (k->rules.is_linked && register_young(k, CONN_YOUNG, false))
        need_tick(k);
}

void keep_come(struct arb_conn *c)
{
    struct keep *k = keep_of(c);

    if (k->table.serial[c->io.fd] != 0)
        c->kept = CONN_KEPT;
    else if (c->kept == CONN_KEPT)
        c->kept = CONN_OLDER;
    if (c->kept >= CONN_SETTLED)
        k->is_disordered = true;
    else if (k->keep_after_ms == 0)
        ev_prepare_start(k->set->loop, &k->at_once);
    else
        need_tick(k);
}

void keep_rethink(struct arb_conn *c)
{
    struct keep *k = keep_of(c);

    if (!k)
        return;
    if (c->kept == CONN_KEPT && !conn_is_blank(c)) {
        drop_serial(k, c->io.fd);
        c->kept = CONN_SETTLED;
    } else if (c->kept == CONN_SETTLED && conn_is_blank(c)) {
        c->kept = CONN_YOUNG;
        k->is_disordered = true;
        need_tick(k);
    }
}

/* --- ends ------------------------------------------------------------------------------------- */

static bool is_reset_wanted(int fd)
{
    struct linger linger = {0};
    socklen_t len = sizeof(linger);

    return getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff;
}

void keep_end(struct arb_conn *c)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    const int fd = c->io.fd;

    conn_mark(c, CONN_MARK_FREE);
    drop_serial(keep_of(c), fd);
    conn_set_unwatch(conn_set_of(c), fd);
    if (!is_reset_wanted(fd) || connect(fd, &nobody, sizeof(nobody)) < 0)
        shutdown(fd, SHUT_RDWR); /* a unix socket knows no reset */
}

void keep_given(const struct arb_conn *c)
{
    conn_mark(c, CONN_MARK_FREE);
    drop_serial(keep_of(c), c->io.fd);
}

void keep_lose(struct keep *k, int fd)
{
    if ((size_t)fd >= k->set->n_marks || k->table.serial[fd] == 0)
        return;
    drop_serial(k, fd);
    shutdown(fd, SHUT_RDWR);
}

void keep_imported(struct keep *k, const struct list *conns)
{
    struct list *link;

    k->message.count = 0;
    list_for_each (link, conns) {
        struct arb_conn *c = listed_at(link);

        c->kept = CONN_OLDER;
        if (k->rules.is_linked && is_keepable(c) && !add_registration(k, c))
            break;
    }
    send_registration(k);
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
    unlink_keeper(k);
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
        unlink_keeper(k);
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
    watch_link(k, false);
    if (register_young(k, CONN_YOUNG, false))
        need_tick(k);
}

void keep_open(struct keep *k)
{
    k->is_open = true;
    if (k->set)
        watch_link(k, false);
}

void keep_close(struct keep *k)
{
    k->is_closed = true;
    keep_open(k);
}
