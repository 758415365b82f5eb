/*
 * Which connections are registered with a keeper, and how they end. Runs in a worker; see keep.h.
 */
#include "net/keep_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "actor/io_watch.h"
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
void keep_need_tick(struct keep *k)
{
    if (!k->rules.is_linked || ev_is_active(&k->tick))
        return;
    ev_timer_set(&k->tick, (double)k->tick_ms / 1e3, 0.);
    ev_timer_start(k->set->loop, &k->tick);
}

void keep_drop_serial(struct keep *k, int fd)
{
    if (k->table.serial[fd] == 0)
        return;
    k->table.serial[fd] = 0;
    k->n_kept--;
    k->rules.is_sweep_due = true;
    keep_need_tick(k);
}

/* Nobody keeps anything any more. Who was old enough is so for the next keeper. */
void keep_forget_serials(struct keep *k)
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

void keep_unlink(struct keep *k)
{
    k->rules.is_linked = false;
    keep_forget_serials(k);
    ev_io_stop(k->set->loop, &k->io);
    ev_timer_stop(k->set->loop, &k->tick);
    fds_close(&k->fd);
}

/* For offers, unless one is still to be answered or this worker does not serve yet; and for room.
 */
void keep_watch_link(struct keep *k, bool is_for_room)
{
    const int offers = k->is_open && k->taken.count == 0 ? EV_READ : 0;
    const int events = k->fd < 0 ? 0 : offers | (is_for_room ? EV_WRITE : 0);

    io_watch(k->set->loop, &k->io, k->fd, events);
}

/* --- registering ------------------------------------------------------------------------------ */

int keep_send(struct keep *k, const struct keep_message *m, bool has_fds)
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
            keep_watch_link(k, true);
        keep_need_tick(k);
        break;
    case KEEPING_GONE: /* reading finds what it has offered, and the end */
        keep_forget_serials(k);
        break;
    case KEEPING_BROKEN:
        keep_unlink(k);
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
    rc = keep_send(k, m, true);
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
        .peer = *conn_set_named(k->set, c->io.fd),
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

/* Whose the connection is has to be known before. */
static bool is_keepable(const struct arb_conn *c)
{
    return c->phase == CONN_OPEN && conn_is_blank(c) && !(c->special & CONN_AWAITS_HEADER);
}

/*
 * Register who is at least @least; with @is_step the others get older. Settled ones come to stand
 * in front of those that are left. Returns whether any are left.
 */
bool keep_register(struct keep *k, enum conn_kept least, bool is_step)
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
            conn_unlist(c);
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

void keep_send_sweep(struct keep *k)
{
    const struct keep_message sweep = {.kind = KEEP_SWEEP};
    const int rc = keep_send(k, &sweep, false);
    const enum keeping_outcome outcome = keeping_sent(&k->rules, rc);

    if (outcome == KEEPING_DONE)
        k->rules.is_sweep_due = false;
    else if (outcome != KEEPING_LATER)
        on_unsent(k, outcome, rc);
}

/* --- comings and ends ------------------------------------------------------------------------- */

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
        keep_need_tick(k);
}

void keep_rethink(struct arb_conn *c)
{
    struct keep *k = keep_of(c);

    if (!k)
        return;
    if (c->kept == CONN_KEPT && !conn_is_blank(c)) {
        keep_drop_serial(k, c->io.fd);
        c->kept = CONN_SETTLED;
    } else if (c->kept == CONN_SETTLED && conn_is_blank(c)) {
        c->kept = CONN_YOUNG;
        k->is_disordered = true;
        keep_need_tick(k);
    }
}

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
    keep_drop_serial(keep_of(c), fd);
    conn_set_unwatch(conn_set_of(c), fd);
    if (!is_reset_wanted(fd) || connect(fd, &nobody, sizeof(nobody.sa_family)) < 0)
        shutdown(fd, SHUT_RDWR); /* a unix socket knows no reset */
}

void keep_given(const struct arb_conn *c)
{
    conn_mark(c, CONN_MARK_FREE);
    keep_drop_serial(keep_of(c), c->io.fd);
}

void keep_lose(struct keep *k, int fd)
{
    if ((size_t)fd >= k->set->n_marks || k->table.serial[fd] == 0)
        return;
    keep_drop_serial(k, fd);
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
