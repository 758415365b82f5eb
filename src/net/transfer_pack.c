/*
 * Putting a batch together: records, bytes and descriptors of as many connections as fit. Runs in
 * the worker that gives them away.
 */
#include "net/transfer_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/fds.h"
#include "base/hash.h"
#include "net/conn_move.h"
#include "net/transfer_wire.h"

enum { STATES_BYTES = 65536 };

struct transfer_scratch {
    uint8_t records[HANDOVER_COUNT_MAX * HANDOVER_RECORD_BYTES];
    struct iovec iov[1 + 3 * HANDOVER_COUNT_MAX];
    int n_iov;
    int fds[TRANSFER_FDS_MAX];
    uint8_t states[STATES_BYTES];
    size_t states_len;
};

struct transfer_scratch *transfer_scratch_new(void)
{
    return malloc(sizeof(struct transfer_scratch));
}

void transfer_scratch_free(struct transfer_scratch *s)
{
    free(s);
}

static void add_bytes(struct transfer_scratch *s, const uint8_t *bytes, size_t len)
{
    if (len > 0)
        s->iov[s->n_iov++] = (struct iovec){(void *)(uintptr_t)bytes, len};
}

enum { ADDED, NOT_MOVABLE, NO_ROOM };

static int add_conn(struct transfer_out *t, struct transfer_flight *f, struct conn *c)
{
    struct transfer_scratch *s = t->scratch;
    struct handover_record r;
    uint64_t bytes;

    if (!conn_is_movable(c))
        return NOT_MOVABLE;
    if (s->states_len > STATES_BYTES - PROTOCOL_STATE_MAX)
        return NO_ROOM;
    if (conn_export(c, s->states + s->states_len, &r) < 0)
        return NOT_MOVABLE;
    bytes = r.tail_len + r.output_len + r.state_len;
    if (f->count > 0 && f->bytes + bytes > TRANSFER_BULK_BYTES)
        return NO_ROOM;
    handover_put_record(&r, s->records + (size_t)f->count * HANDOVER_RECORD_BYTES);
    add_bytes(s, r.tail, r.tail_len);
    add_bytes(s, r.output, r.output_len);
    add_bytes(s, r.state, r.state_len);
    s->states_len += r.state_len;
    s->fds[1 + f->count] = c->io.fd;
    f->count++;
    f->bytes += bytes;
    conn_detach(c);
    list_append(&f->conns, &c->link);
    return ADDED;
}

void transfer_collect(struct transfer_out *t, struct transfer_flight *f, size_t max)
{
    struct list *all = &t->set->all;

    list_init(&f->conns);
    f->count = 0;
    f->bytes = 0;
    t->scratch->n_iov = 1;
    t->scratch->states_len = 0;
    for (size_t n = t->set->n_open; f->count < max && n > 0 && !list_is_empty(all); n--) {
        struct conn *c = container_of(all->next, struct conn, link);
        const int rc = add_conn(t, f, c);

        if (rc == NO_ROOM)
            break;
        if (rc == NOT_MOVABLE) {
            list_remove(&c->link);
            list_append(all, &c->link);
        }
    }
    t->is_exhausted = f->count == 0;
}

int transfer_post(struct transfer_out *t, const struct transfer_lane *lane,
                  const struct transfer_flight *f)
{
    struct transfer_scratch *s = t->scratch;
    const size_t records = (size_t)f->count * HANDOVER_RECORD_BYTES;
    const struct protocol_binding *b = &t->set->binding;
    const struct handover_batch batch = {
        .id = lane->rules.sent + 1,
        .count = f->count,
        .bytes = records + f->bytes,
        .protocol = hash_bytes(HASH_INIT, b->protocol->name, strlen(b->protocol->name)),
        .fingerprint = b->fingerprint,
    };
    uint8_t head[HANDOVER_BATCH_BYTES];
    struct list *link;
    int rc;

    s->iov[0] = (struct iovec){s->records, records};
    s->fds[0] = transfer_file(s->iov, s->n_iov);
    if (s->fds[0] < 0)
        return s->fds[0];
    handover_put_batch(&batch, head);
    list_for_each (link, &f->conns)
        conn_depart(container_of(link, struct conn, link));
    rc = transfer_send(lane->fd, head, sizeof(head), s->fds, 1 + f->count);
    fds_close(&s->fds[0]);
    return rc;
}
