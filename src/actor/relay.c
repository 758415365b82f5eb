/*
 * An end of the messages between actors: from arb_send into the mailbox, from the mailbox to
 * on_message, and what is kept in between for connections that move. The decisions are
 * relay_rules.c's.
 */
#include "actor/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "actor/actor.h"
#include "base/util.h"

/* How late the arbiter may hear that this process is done with a few messages. */
static const double report_s = 0.05;

/* A message to "all" that a move may need. */
struct kept_message {
    struct relay_kept base;
    char topic[RELAYED_NAME_MAX + 1];
    char from[RELAYED_NAME_MAX + 1];
    size_t len;
    uint8_t data[];
};

/* ---- reports ---- */

static int transmit(struct relay *r, const struct relayed *m)
{
    struct mailbox_data *data = mailbox_data_new(relayed_bytes(m));
    int rc;

    if (!data)
        return -ENOMEM;
    relayed_put(m, data->bytes);
    rc = r->ops->transmit ? r->ops->transmit(r, data) : mailbox_send_data(r->mailbox, data);
    mailbox_data_drop(data);
    return rc;
}

static void report_later(struct relay *r)
{
    if (ev_is_active(&r->report))
        return;
    ev_timer_set(&r->report, report_s, 0.);
    ev_timer_start(r->loop, &r->report);
}

static void report_now(struct relay *r)
{
    const struct relayed m = {
        .kind = RELAYED_STATUS, .done = relay_done(&r->end), .is_stalled = r->end.is_refused};

    ev_timer_stop(r->loop, &r->report);
    if (!relay_has_news(&r->end))
        return;
    if (transmit(r, &m) == 0)
        relay_reported(&r->end, m.done);
    else if (!r->mailbox->is_closed)
        report_later(r);
}

/* The arbiter itself knows. */
static void report(struct relay *r)
{
    if (!r->mailbox)
        return;
    if (relay_must_report(&r->end))
        report_now(r);
    else if (relay_has_news(&r->end))
        report_later(r);
}

static void tell_can_send(struct relay *r)
{
    if (relay_can_send(&r->end))
        r->ops->on_can_send(r);
    report(r);
}

static void on_report(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct relay *r = container_of(timer, struct relay, report);

    if (r->mailbox)
        report_now(r);
    tell_can_send(r);
}

/* ---- what is kept for moves ---- */

static void trim_kept(struct relay *r)
{
    struct relay_kept *k;

    while ((k = relay_pop(&r->end)))
        free(container_of(k, struct kept_message, base));
    report(r);
}

static void keep_message(struct relay *r, const struct relayed *m)
{
    struct kept_message *k;

    if (!m->is_for_all || !relay_wants(&r->end, m->number))
        return;
    k = malloc(sizeof(*k) + m->data_len);
    if (!k) {
        r->lost = m->number;
        return;
    }
    k->base = (struct relay_kept){.number = m->number, .bytes = relay_cost(m->data_len)};
    memcpy(k->topic, m->topic, sizeof(k->topic));
    memcpy(k->from, m->from, sizeof(k->from));
    k->len = m->data_len;
    memcpy(k->data, m->data, m->data_len);
    relay_keep(&r->end, &k->base);
}

void relay_take_begin(struct relay *r, struct relay_pair *p)
{
    relay_pair_begin(&r->end, p, r->end.position);
}

void relay_take_batch(struct relay *r, struct relay_pair *p, uint64_t position)
{
    relay_pair_trim(p, position);
    trim_kept(r);
}

void relay_give_begin(struct relay *r, struct relay_pair *p)
{
    relay_pair_begin(&r->end, p, RELAY_NOTHING);
}

void relay_give_floor(struct relay *r, struct relay_pair *p, uint64_t position)
{
    relay_pair_set(p, position);
    trim_kept(r);
}

void relay_move_end(struct relay *r, struct relay_pair *p)
{
    if (!p->link.next)
        return;
    relay_pair_end(p);
    trim_kept(r);
}

bool relay_is_whole(const struct relay *r, uint64_t seen)
{
    return r->lost <= seen || r->lost > r->end.position;
}

void relay_replay(struct relay *r, uint64_t seen,
                  void (*fn)(void *data, const struct arb_message *m), void *data)
{
    const struct relay_kept *at = relay_after(&r->end, seen);

    for (; at; at = relay_next(&r->end, at)) {
        const struct kept_message *k = container_of(at, struct kept_message, base);
        const struct arb_message m = {.number = at->number,
                                      .from = k->from,
                                      .topic = k->topic,
                                      .data = k->data,
                                      .len = k->len};

        fn(data, &m);
    }
}

/* ---- receiving ---- */

static void deliver(struct relay *r, const struct relayed *m)
{
    const struct arb_message message = {.number = m->number,
                                        .from = m->from,
                                        .topic = m->topic,
                                        .data = m->data,
                                        .len = m->data_len};

    keep_message(r, m);
    r->current = m->is_for_all ? m->number : 0;
    r->ops->on_message(r, &message, m->is_for_all);
    r->current = 0;
}

int relay_hear(struct relay *r, const struct relayed *m)
{
    const uint64_t numbered = r->end.numbered;

    if (m->kind == RELAYED_SEND || m->number < r->end.position ||
        (m->kind == RELAYED_MESSAGE && m->number == r->end.position))
        return -EBADMSG;
    if (m->kind == RELAYED_STATUS || m->origin == r->proc)
        relay_numbered(&r->end, m->sequence, m->number);
    relay_told(&r->end, m->done, m->share);
    if (m->kind == RELAYED_MESSAGE)
        deliver(r, m);
    relay_passed(&r->end, m->number, m->kind == RELAYED_MESSAGE ? relay_cost(m->data_len) : 0);
    if (r->end.numbered > numbered && r->ops->on_numbered)
        r->ops->on_numbered(r);
    tell_can_send(r);
    return 0;
}

int relay_on_datagram(struct relay *r, const uint8_t *data, size_t len)
{
    struct relayed m;

    return relayed_get(data, len, &m) < 0 ? -EBADMSG : relay_hear(r, &m);
}

/* ---- sending ---- */

int relay_post(struct relay *r, const char *to, const char *topic, const void *data, size_t len,
               uint64_t *ret_sequence)
{
    struct relayed m = {.kind = RELAYED_SEND, .data = data, .data_len = (uint32_t)len};
    int rc;

    if (r->mailbox && (r->mailbox->is_closed || !r->mailbox->loop))
        return -EPIPE;
    if (!*to || strlen(to) > RELAYED_NAME_MAX || strlen(topic) > RELAYED_NAME_MAX ||
        len > RELAYED_DATA_MAX)
        return -EMSGSIZE;
    strcpy(m.target, to);
    strcpy(m.topic, topic);
    rc = relay_send(&r->end, relay_cost(len), &m.sequence);
    if (rc == 0) {
        m.done = relay_done(&r->end);
        m.is_stalled = r->end.is_refused;
        rc = transmit(r, &m);
        if (rc < 0)
            relay_unsend(&r->end);
    }
    if (rc == -EPIPE)
        return rc;
    if (rc < 0) { /* also without memory: then time is what may help */
        r->end.is_refused = true;
        report_later(r);
        return -EAGAIN;
    }
    relay_reported(&r->end, m.done);
    *ret_sequence = m.sequence;
    return 0;
}

int arb_send(struct arb_actor *self, struct arb_conn *conn, const char *to, const char *topic,
             const void *data, size_t len)
{
    struct relay *r = self->process->relay;
    uint64_t sequence = 0;
    int rc;

    if (!r)
        return -EPIPE;
    if (conn && r->ops->fence && r->ops->fence(r, conn, 0) < 0)
        rc = -EAGAIN;
    else
        rc = relay_post(r, to, topic, data, len, &sequence);
    if (rc == -EAGAIN) {
        self->wants_to_send = r->end.is_refused = true;
        report_later(r);
    }
    if (rc == 0 && conn && r->ops->fence)
        r->ops->fence(r, conn, sequence);
    return rc;
}

/* ---- life ---- */

void relay_start(struct relay *r, struct ev_loop *loop, struct mailbox *mailbox, uint32_t proc,
                 const struct relay_ops *ops)
{
    *r = (struct relay){.ops = ops, .loop = loop, .mailbox = mailbox, .proc = proc};
    relay_end_init(&r->end, RELAY_REPORT_BYTES); /* until the arbiter has said how much */
    ev_timer_init(&r->report, on_report, 0., 0.);
}

void relay_stop(struct relay *r)
{
    struct list *link, *tmp;

    if (!r->ops)
        return;
    ev_timer_stop(r->loop, &r->report);
    list_for_each_safe (link, tmp, &r->end.kept)
        free(container_of(link, struct kept_message, base.link));
    relay_end_fini(&r->end);
    *r = (struct relay){0};
}
