/*
 * Taking connections over. Runs in the worker that gets them; see move.h.
 */
#include "net/move.h"

#include <errno.h>
#include <sys/mman.h>

#include "actor/relay.h"
#include "base/fds.h"
#include "base/signals.h"
#include "net/conn_impl.h"
#include "net/keep.h"
#include "net/move_wire.h"

static size_t room_here(const struct move_in *t)
{
    const size_t room = t->max_open > t->set->n_open ? t->max_open - t->set->n_open : 0;

    return t->is_closed ? 0 : MIN(room, (size_t)MOVED_ROOM_MAX);
}

static int import_all(struct move_in *t, struct moved_cursor *cursor, uint64_t position, int *fds,
                      struct list *conns)
{
    struct moved_record r;

    for (; moved_next(cursor, &r); fds++) {
        struct arb_conn *c;
        int rc;

        if (r.seen == 0)
            r.seen = position;
        /* A message that it has missed could not be kept. */
        if (t->set->relay && !relay_is_whole(t->set->relay, r.seen))
            return -ENOMEM;
        rc = conn_import(t->set, *fds, &r, &c);
        if (rc < 0)
            return rc;
        *fds = -1;
        list_append(conns, &c->link);
    }
    return 0;
}

/* Is the batch whole and is there room for it? Then all of it is in @conns, detached. */
static int import_batch(struct move_in *t, const struct moved_batch *batch, struct move_datagram *d,
                        struct list *conns)
{
    struct moved_cursor cursor;
    const uint8_t *data;
    int rc;

    if (d->is_cut)
        return -EMFILE;
    if (d->got.n_fds != 1 + (size_t)batch->count)
        return -EBADMSG;
    if (batch->count > room_here(t))
        return -ENOSPC;
    rc = move_map(d->got.fds[0], batch->bytes, &data);
    if (rc < 0)
        return rc;
    rc = moved_open(&cursor, batch, data, batch->bytes);
    if (rc == 0)
        rc = import_all(t, &cursor, batch->position, d->got.fds + 1, conns);
    munmap((void *)(uintptr_t)data, batch->bytes);
    return rc;
}

static void drop_all(struct list *conns)
{
    for (struct arb_conn *c; (c = conn_pop(conns));)
        conn_drop(c);
}

static void serve_imported(struct move_in *t, struct list *conns)
{
    for (struct arb_conn *c; (c = conn_pop(conns));) {
        conn_serve_imported(c);
        t->n_taken++;
    }
}

/* What a batch that lost descriptors on its way tells of the room for the next, its file apart. */
static size_t room_by(const struct move_datagram *d)
{
    return d->got.n_fds > 2 ? d->got.n_fds - 2 : 0;
}

static enum taking_outcome send_answer(struct move_in *t, uint32_t id, bool is_taken, size_t room)
{
    const struct moved_answer a = {
        .id = id,
        .outcome = is_taken ? MOVED_OK : MOVED_REFUSED,
        .room = (uint32_t)room,
        .version = MOVED_VERSION,
    };
    uint8_t data[MOVED_ANSWER_BYTES];

    moved_put_answer(&a, data);
    return taking_answered(&t->rules, move_send(t->fd, data, sizeof(data), NULL, 0));
}

/* The connections are this process's from the answer on: no signal ends it before their marks say
 * so. Registered before, they are passed on from the moment in which they are marked as idle. */
static enum taking_outcome answer_and_own(struct move_in *t, uint32_t id, bool is_taken,
                                          size_t room, const struct list *conns)
{
    enum taking_outcome outcome;
    struct list *link;
    sigset_t mask;

    if (t->set->keep)
        keep_imported(t->set->keep, conns);
    signals_block_all(&mask);
    outcome = send_answer(t, id, is_taken, room);
    if (outcome == TAKING_OWN)
        list_for_each (link, conns)
            conn_arrive(container_of(link, struct arb_conn, link));
    signals_restore(&mask);
    return outcome;
}

static void end_taking(struct move_in *t)
{
    move_in_fini(t);
    t->is_done = true;
    t->on_change(t);
}

static void on_batch(struct move_in *t, struct move_datagram *d)
{
    /* A batch that cannot be read is the next one: its sender has to hear that it is refused. */
    struct moved_batch batch = {.id = t->rules.received + 1};
    enum taking_outcome outcome = TAKING_DROP;
    struct list conns;
    size_t room;
    int rc;

    list_init(&conns);
    rc = moved_get_batch(d->data, d->got.len, &batch);
    if (rc == 0)
        rc = import_batch(t, &batch, d, &conns);
    if (rc < 0) {
        drop_all(&conns);
        t->n_refused += batch.count;
        t->error = rc;
    }
    room = rc == 0 ? room_here(t) - batch.count : room_here(t);
    if (rc == -EPROTONOSUPPORT)
        room = 0; /* nor anything else from there */
    if (d->is_cut)
        room = MIN(room, room_by(d));
    taking_received(&t->rules, batch.id, rc == 0);
    if (t->rules.phase == TAKING_ANSWERING)
        outcome = answer_and_own(t, batch.id, rc == 0, room, &conns);
    if (outcome == TAKING_OWN)
        serve_imported(t, &conns);
    if (t->set->relay)
        relay_take_batch(t->set->relay, &t->relay, batch.position);
    drop_all(&conns);
    if (outcome == TAKING_DROP)
        end_taking(t);
    else if (outcome == TAKING_OWN)
        t->on_change(t);
}

static void on_io(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    struct move_in *t = container_of(io, struct move_in, io);
    struct move_datagram d;
    int rc;

    if (t->rules.phase == TAKING_ENDED) {
        end_taking(t);
        return;
    }
    rc = move_receive(t->fd, &d);
    if (rc == MOVE_END)
        end_taking(t);
    if (rc != 0)
        return;
    on_batch(t, &d);
    for (size_t i = 0; i < d.got.n_fds; i++)
        fds_close(&d.got.fds[i]);
}

void move_take(struct move_in *t, struct conn_set *set, int fd, size_t max_open,
               move_in_on_change *on_change)
{
    *t = (struct move_in){.set = set, .on_change = on_change, .fd = fd, .max_open = max_open};
    if (set->relay)
        relay_take_begin(set->relay, &t->relay);
    ev_io_init(&t->io, on_io, fd, EV_READ);
    ev_io_start(set->loop, &t->io);
    conn_set_mark(t->set, t->fd, CONN_MARK_TAKE);
    if (send_answer(t, 0, true, room_here(t)) == TAKING_DROP)
        ev_feed_event(set->loop, &t->io, EV_READ);
}

void move_in_close(struct move_in *t)
{
    t->is_closed = true;
}

void move_in_fini(struct move_in *t)
{
    if (t->set->relay)
        relay_move_end(t->set->relay, &t->relay);
    conn_set_mark(t->set, t->fd, CONN_MARK_FREE);
    ev_io_stop(t->set->loop, &t->io);
    fds_close(&t->fd);
}
