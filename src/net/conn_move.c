/*
 * The way of a connection out to another process, and in from one. Runs in a worker; who owns it
 * meanwhile is decided by net/move*.
 */
#include "net/conn_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "actor/relay.h"
#include "base/passed.h"
#include "net/conn_sources.h"
#include "net/keep.h"

_Static_assert((int)CONN_OPEN == (int)MOVED_OPEN && (int)CONN_DELIVERING == (int)MOVED_DELIVERING &&
                   (int)CONN_LINGERING == (int)MOVED_LINGERING,
               "phases travel as they are");

/* A connection that ends needs no protocol state, and one that awaits its header has none yet. */
bool conn_has_state(const struct arb_conn *c)
{
    return c->phase == CONN_OPEN && !(c->special & CONN_AWAITS_HEADER) &&
           conn_protocol_of(c)->table->conn_size > 0;
}

/* ---- messages of actors ---- */

int conn_fence(struct arb_conn *c, uint64_t sequence)
{
    struct conn_more *more = conn_more(c);

    if (!more)
        return -ENOMEM;
    if (sequence > 0)
        more->fence = sequence;
    return 0;
}

bool conn_is_fenced(const struct arb_conn *c)
{
    const struct relay *r = conn_set_of(c)->relay;

    return c->more && c->more->fence > 0 && r && relay_is_fenced(&r->end, c->more->fence);
}

/* What it has had by now: what comes later it will hear where it is served then. */
static void note_seen(struct arb_conn *c)
{
    const struct relay *r = conn_set_of(c)->relay;

    if (c->more && r && conn_protocol_of(c)->table->on_message)
        c->more->seen = relay_seen(&r->end, c->more->seen);
}

static void repeat_message(void *data, const struct arb_message *m)
{
    struct arb_conn *c = data;
    const struct conn_protocol *p = conn_protocol_of(c);

    if (c->phase == CONN_OPEN && !(c->special & CONN_ENDS_SOON))
        p->table->on_message(p->server, c, m);
}

/* Tells the protocol what this process has heard while the connection was on its way. */
static void catch_up(struct arb_conn *c)
{
    struct relay *r = conn_set_of(c)->relay;

    if (!r || !c->more || c->more->seen == 0 || c->phase != CONN_OPEN)
        return;
    if (c->special & CONN_AWAITS_HEADER) { /* it has missed nothing: it begins when that has come */
        c->more->seen = 0;
        return;
    }
    if (relay_is_whole(r, c->more->seen))
        relay_replay(r, c->more->seen, repeat_message, c);
    else
        conn_end_soon(c, CONN_END_ERROR); /* there was no memory: better visibly than with a gap */
    if (c->more->seen <= r->end.position)
        c->more->seen = 0;
}

/* ---- the way out ---- */

bool conn_is_rooted(const struct arb_conn *c)
{
    return conn_has_state(c) && !conn_protocol_of(c)->table->save;
}

size_t conn_set_rooted(const struct conn_set *set)
{
    struct list *link;
    size_t n = 0;

    list_for_each (link, &set->all) {
        const struct arb_conn *c = container_of(link, struct arb_conn, link);

        n += conn_is_rooted(c) && !(c->special & CONN_OWES);
    }
    return n;
}

bool conn_is_movable(const struct arb_conn *c)
{
    return !(c->special & (CONN_OWES | CONN_ENDS_SOON)) && !conn_is_fenced(c) && !conn_is_rooted(c);
}

void conn_wait_to_move(struct arb_conn *c)
{
    c->special |= CONN_HELD;
    conn_settle(c);
}

void conn_detach(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    ev_io_stop(set->loop, &c->io);
    wheel_disarm(&set->wheel, &c->node);
    conn_unlist(c);
    conn_disown(c);
    if (set->sources) /* while it is on its way nobody counts it, rather than two */
        conn_sources_go(set->sources, c->io.fd);
    c->special |= CONN_DETACHED;
}

struct arb_conn *conn_pop(struct list *detached)
{
    struct list *first = list_pop(detached);

    return first ? container_of(first, struct arb_conn, link) : NULL;
}

void conn_depart(const struct arb_conn *c, uint8_t mark)
{
    const uint8_t before = conn_set_of(c)->marks[c->io.fd];

    conn_mark(c, conn_mark_is_idle(before) ? mark : CONN_MARK_MOVING);
}

void conn_arrive(const struct arb_conn *c)
{
    conn_mark(c, conn_is_idle(c) ? c->idle_mark : CONN_MARK_BUSY);
}

/* Without keep_alive nobody looks at when idleness began, and `since` is something else. */
static uint32_t since_age_ms(const struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    return conn_is_idle(c) && set->limits.keep_alive_ms == 0 ? 0 : conn_age_ms(set, c->since);
}

/* Returns the length, or -errno as conn_export. */
static int64_t save_state(const struct arb_conn *c, uint8_t *state, size_t size)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    size_t len;

    if (!conn_has_state(c))
        return 0;
    len = p->table->save(p->server, c, state, size);
    if (len > ARB_STATE_MAX)
        return -EMSGSIZE;
    return len > size ? -ENOBUFS : (int64_t)len;
}

int conn_export(struct arb_conn *c, uint8_t *state, size_t size, struct moved_record *ret)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    /* The protocol has not had a look at what it waited with: let it look from the beginning. */
    const bool is_to_rethink = c->special & CONN_WAITS;
    const int64_t state_len = save_state(c, state, size);

    if (state_len < 0)
        return (int)state_len;
    note_seen(c);
    *ret = (struct moved_record){
        .phase = (enum moved_phase)c->phase,
        .end = c->end,
        .is_eof = c->is_eof,
        .is_paused = c->is_paused && c->output.block,
        .is_blank = conn_has_state(c) && conn_is_blank(c),
        .awaits_header = c->special & CONN_AWAITS_HEADER,
        .may_go_without = c->special & CONN_MAY_GO_WITHOUT,
        .peer = *conn_set_named(conn_set_of(c), c->io.fd),
        .id = c->more ? c->more->id : 0,
        .seen = c->more ? c->more->seen : 0,
        .protocol = p->name_hash,
        .fingerprint = is_to_rethink ? ~p->fingerprint : p->fingerprint,
        .since_age_ms = since_age_ms(c),
        .timeout_ms = conn_wake_ms(c),
        .progress_age_ms = c->output.block ? conn_age_ms(conn_set_of(c), c->progress) : 0,
        .resume = c->tail.block ? MIN(c->tail.block->resume, c->tail.block->len) : 0,
        .messages = c->messages,
        .bytes_in = c->bytes_in,
        .bytes_out = c->bytes_out,
        .age_ms = conn_life_ms(c),
        .tail = buffer_data(&c->tail),
        .tail_len = buffer_len(&c->tail),
        .output = buffer_data(&c->output),
        .output_len = buffer_len(&c->output),
        .state = state,
        .state_len = (uint32_t)state_len,
        .state_version = conn_has_state(c) ? p->table->state_version : 0,
    };
    return 0;
}

static void serve_detached(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    struct sockaddr_storage buf;
    socklen_t len;

    c->special &= (uint8_t)~CONN_DETACHED;
    list_append(&set->all, &c->link);
    if (set->sources && !(c->special & CONN_AWAITS_HEADER))
        conn_sources_come(set->sources, c->io.fd,
                          conn_set_named_address(set, c->io.fd, &buf, &len));
    if (set->keep)
        keep_come(c);
    conn_own(c);
    conn_arrive(c);
    ev_io_set(&c->io, c->io.fd, conn_events(c));
    ev_io_start(set->loop, &c->io);
    conn_await_deadline(c);
    if (c->special & CONN_ENDS_SOON) /* decided meanwhile */
        conn_news(c, CONN_NEWS_END);
    catch_up(c);
}

void conn_resume(struct arb_conn *c)
{
    serve_detached(c);
    if (conn_set_of(c)->is_draining)
        conn_drain(c);
    else if (c->special & CONN_HELD)
        conn_go_on(c); /* it may be long until somebody takes it */
}

void conn_give_away(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    conn_renounce(c, ARB_END_MOVED);
    buffer_free(&c->tail, &set->pool);
    buffer_free(&c->output, &set->pool);
    set->n_open--;
    counter_add(&set->counters->moved_out, 1);
}

/* Neither a shutdown nor a reset: it lives on elsewhere. */
static void close_copy(struct arb_conn *c)
{
    if (c->kept == CONN_KEPT)
        keep_given(c);
    else
        conn_mark(c, CONN_MARK_FREE);
    conn_set_unwatch(conn_set_of(c), c->io.fd);
    close(c->io.fd);
}

void conn_forget(struct arb_conn *c)
{
    close_copy(c);
    conn_free(c);
}

static int import_bytes(struct arb_conn *c, const struct moved_record *r)
{
    struct conn_set *set = conn_set_of(c);
    int rc;

    if (r->end >= CONN_ENDS)
        return -EBADMSG;
    rc = buffer_import(&c->tail, &set->pool, r->tail, r->tail_len);
    return rc < 0 ? rc : buffer_import(&c->output, &set->pool, r->output, r->output_len);
}

/* What ends needs its protocol no more, and its protocol has heard that it ends. */
static int import_state(struct arb_conn *c, const struct moved_record *r)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    int rc;

    c->has_new_rule = r->fingerprint != p->fingerprint;
    if (c->tail.block)
        c->tail.block->resume = c->has_new_rule ? 0 : r->resume;
    if ((r->id != 0 || r->timeout_ms > 0 || p->table->on_message) && !conn_more(c))
        return -ENOMEM;
    if (p->table->on_message)
        c->more->seen = r->seen;
    if (r->id != 0)
        c->more->id = r->id;
    if (c->phase != CONN_OPEN || r->awaits_header)
        return 0;
    if (r->is_blank && conn_has_state(c))
        c->idle_mark = CONN_MARK_IDLE;
    if (r->timeout_ms > 0)
        conn_set_wake(c, r->timeout_ms);
    rc = conn_announce(c, ARB_MOVED);
    if (rc < 0)
        return rc;
    if (conn_has_state(c) && p->table->restore)
        return p->table->restore(p->server, c, r->state_version, r->state, r->state_len);
    return conn_has_state(c) || r->state_len > 0 ? -EBADMSG : 0;
}

int conn_import(struct conn_set *set, int fd, const struct moved_record *record,
                struct arb_conn **ret)
{
    const int protocol = conn_set_protocol(set, record->protocol);
    struct arb_conn *c;
    int rc;

    if (protocol < 0)
        return -EPROTOTYPE;
    c = conn_new(set, fd, (unsigned)protocol);
    if (!c)
        return -ENOMEM;
    c->special = CONN_DETACHED;
    c->phase = (uint8_t)record->phase;
    c->end = record->end;
    c->is_eof = record->is_eof;
    c->is_paused = record->is_paused;
    c->since = conn_tick_of_age(set, record->since_age_ms);
    c->progress = conn_tick_of_age(set, record->progress_age_ms);
    c->messages = record->messages;
    c->bytes_in = record->bytes_in;
    c->bytes_out = record->bytes_out;
    c->node.owners = conn_tick_of_age(set, record->age_ms);
    c->is_local = conn_is_local(fd);
    c->is_open_to_fds = passed_may_come(fd);
    if (record->awaits_header)
        conn_await_header(c, record->may_go_without);
    rc = conn_set_name(set, fd, &record->peer);
    if (rc == 0)
        rc = import_bytes(c, record);
    if (rc == 0)
        rc = import_state(c, record);
    if (rc < 0) {
        conn_renounce(c, ARB_END_MOVED);
        c->io.fd = -1;
        conn_drop(c);
        return rc;
    }
    conn_disown(c);
    conn_mark(c, CONN_MARK_MOVING);
    *ret = c;
    return 0;
}

void conn_serve_imported(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    set->n_open++;
    counter_add(&set->counters->moved_in, 1);
    serve_detached(c);
    if (c->phase == CONN_OPEN && !(c->special & CONN_AWAITS_HEADER) &&
        ((c->has_new_rule && c->tail.block) || c->is_eof)) {
        conn_rethink(c);
        conn_settle(c);
    }
    if (set->is_draining)
        conn_drain(c);
}

void conn_drop(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    conn_renounce(c, ARB_END_MOVED);
    buffer_free(&c->tail, &set->pool);
    buffer_free(&c->output, &set->pool);
    if (c->io.fd >= 0)
        close_copy(c);
    conn_free(c);
}
