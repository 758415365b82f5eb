/*
 * Messages between actors, in the arbiter: numbered, copied once, and passed on to the mailboxes,
 * which share the copy. What a worker says wrongly ends that worker.
 */
#include "arbiter/sequencer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter/arbiter_impl.h"
#include "base/log.h"
#include "base/util.h"

/* How late those that wait hear that all are done, if no message tells them before. */
static const double tell_s = 0.01;

enum { INBOX_ROUND = 64 };

/* A message of the arbiter's own actor. */
struct own_message {
    struct list link;
    struct mailbox_data *data; /* a reference */
};

/* ---- what processes are told beside messages ---- */

static struct relayed status_of(struct arbiter *a, struct relay_member *m)
{
    const struct relay_order *o = &a->sequencer.order;

    m->told = o->done;
    return (struct relayed){.kind = RELAYED_STATUS,
                            .number = o->number,
                            .sequence = m->sequence,
                            .done = o->done,
                            .share = (uint32_t)relay_share(o)};
}

/* @rc: of a datagram to @c. Nothing may be missing: whoever cannot get it ends. To be followed by
 * `advance`. */
static void note_sent(struct arbiter *a, struct child *c, int rc)
{
    if (rc == 0) {
        relay_sent(&c->relay, a->sequencer.order.number);
        return;
    }
    if (rc != -EPIPE) /* that is dead already, or about to be found so */
        children_kill(c, LOG_LEVEL_WARNING, "a message cannot be passed on to it");
    relay_leave(&a->sequencer.order, &c->relay);
}

static void tell(struct arbiter *a, struct child *c)
{
    const struct relayed status = status_of(a, &c->relay);
    struct mailbox_data *data = mailbox_data_new(relayed_bytes(&status));
    int rc = -ENOMEM;

    if (data) {
        relayed_put(&status, data->bytes);
        rc = mailbox_send_data(&c->mailbox, data);
    }
    mailbox_data_drop(data);
    note_sent(a, c, rc);
}

static void tell_soon(struct arbiter *a)
{
    struct sequencer *s = &a->sequencer;

    if (ev_is_active(&s->tell))
        return;
    ev_timer_set(&s->tell, tell_s, 0.);
    ev_timer_start(a->loop, &s->tell);
}

static void tell_own(struct arbiter *a)
{
    const struct relayed status = status_of(a, &a->sequencer.own);

    relay_hear(&a->sequencer.relay, &status);
}

/* After reports and ends. */
static void advance(struct arbiter *a)
{
    struct sequencer *s = &a->sequencer;

    if (!relay_advance(&s->order))
        return;
    if (relay_must_tell(&s->order, &s->own))
        tell_own(a);
    tell_soon(a);
}

static void on_tell(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    for_each_child (a, c)
        if (c->relay.is_joined && relay_must_tell(&a->sequencer.order, &c->relay))
            tell(a, c);
    advance(a);
}

/* ---- numbering ---- */

static bool is_meant(const char *target, const char *id)
{
    const size_t len = strlen(target);

    return strcmp(target, "all") == 0 || strcmp(target, id) == 0 ||
           (strncmp(target, id, len) == 0 && id[len] == '.');
}

/* Passes @m on to all processes that it concerns. Returns how many there are. */
static size_t pass_on(struct arbiter *a, const struct relayed *m, struct mailbox_data *data)
{
    size_t n = 0;

    for_each_child (a, c) {
        if (!c->relay.is_joined || !is_meant(m->target, c->id))
            continue;
        n++;
        c->relay.told = m->done;
        note_sent(a, c, mailbox_send_data(&c->mailbox, data));
    }
    return n;
}

static void drop_message(struct arbiter *a, const struct relayed *m)
{
    a->sequencer.n_dropped++;
    log_warning_limited(a->log, "message to an actor that there is not: dropped",
                        F_STR("to", m->target), F_STR("from", m->from), F_STR("topic", m->topic));
}

/* @sender: NULL = the arbiter's own actor. Returns 0 or -errno: it has said what it may not, or
 * there is no memory. */
static int number_message(struct arbiter *a, struct child *sender, struct relayed *m)
{
    struct sequencer *s = &a->sequencer;
    struct relay_member *member = sender ? &sender->relay : &s->own;
    struct mailbox_data *data;
    size_t n;
    int rc;

    m->kind = RELAYED_MESSAGE;
    m->origin = sender ? sender->proc : RELAYED_ARBITER;
    m->is_for_all = strcmp(m->target, "all") == 0;
    m->is_stalled = false;
    strcpy(m->from, sender ? sender->id : "arbiter");
    data = mailbox_data_new(relayed_bytes(m));
    if (!data)
        return -ENOMEM;
    rc = relay_number(&s->order, member, m->sequence, relay_cost(m->data_len), &m->number);
    if (rc < 0) {
        mailbox_data_drop(data);
        return rc;
    }
    m->done = s->order.done;
    m->share = (uint32_t)relay_share(&s->order);
    relayed_put(m, data->bytes);
    n = pass_on(a, m, data);
    mailbox_data_drop(data);
    if (sender && sender->relay.is_joined && !is_meant(m->target, sender->id))
        tell(a, sender);
    if (is_meant(m->target, "arbiter"))
        relay_hear(&s->relay, m);
    else if (n == 0)
        drop_message(a, m);
    if (!sender && !is_meant(m->target, "arbiter"))
        tell_own(a);
    advance(a);
    return 0;
}

int sequencer_on_data(struct arbiter *a, struct child *c, const uint8_t *data, size_t len)
{
    struct relayed m;
    int rc = relayed_get(data, len, &m);

    /* What it said before it was killed is worth no more than why it was killed. */
    if (c->is_killed)
        return 0;
    if (rc < 0 || m.kind == RELAYED_MESSAGE)
        return -EBADMSG;
    sequencer_join(a, c);
    /* 0: it has not heard from which number on it takes part. */
    if (m.done > 0)
        rc = relay_report(&c->relay, m.done);
    c->relay.is_stalled = m.is_stalled;
    if (rc == 0 && m.kind == RELAYED_SEND)
        return number_message(a, c, &m);
    if (rc == 0)
        advance(a);
    return rc;
}

/* ---- the arbiter's own actor ---- */

static void on_own_message(struct relay *r, const struct arb_message *m, bool is_for_all UNUSED)
{
    struct arbiter *a = container_of(r, struct arbiter, sequencer.relay);
    const struct arb_program *program = a->options->program;

    if (program->on_message)
        program->on_message(a->hold.data, m);
}

static void on_own_can_send(struct relay *r)
{
    struct arbiter *a = container_of(r, struct arbiter, sequencer.relay);
    const struct arb_program *program = a->options->program;

    a->hold.wants_to_send = false;
    if (program->on_can_send)
        program->on_can_send(a->hold.data);
}

/* Numbered later: it may come from the middle of another message. */
static int keep_for_settle(struct relay *r, struct mailbox_data *data)
{
    struct arbiter *a = container_of(r, struct arbiter, sequencer.relay);
    struct own_message *own = a->sequencer.is_paused ? NULL : malloc(sizeof(*own));

    if (!own)
        return -EAGAIN;
    *own = (struct own_message){.data = data};
    data->refs++;
    list_append(&a->sequencer.inbox, &own->link);
    settle_soon(a);
    return 0;
}

static const struct relay_ops own_ops = {
    .on_message = on_own_message,
    .on_can_send = on_own_can_send,
    .transmit = keep_for_settle,
};

static struct own_message *inbox_pop(struct sequencer *s)
{
    struct list *first = list_pop(&s->inbox);

    return first ? container_of(first, struct own_message, link) : NULL;
}

static void own_message_free(struct own_message *own)
{
    mailbox_data_drop(own->data);
    free(own);
}

void sequencer_settle(struct arbiter *a)
{
    struct sequencer *s = &a->sequencer;
    struct own_message *own;

    for (unsigned n = 0; n < INBOX_ROUND && (own = inbox_pop(s)); n++) {
        struct relayed m;
        int rc = relayed_get(own->data->bytes, own->data->len, &m);

        if (rc == 0)
            rc = number_message(a, NULL, &m);
        if (rc == -ENOMEM) { /* it goes back in front of the others */
            list_append(s->inbox.next, &own->link);
            break;
        }
        own_message_free(own);
    }
    /* Those that answer messages with messages do not keep the rest of the arbiter waiting. */
    if (!list_is_empty(&s->inbox))
        settle_soon(a);
}

/* ---- life ---- */

void sequencer_join(struct arbiter *a, struct child *c)
{
    if (c->relay.is_joined || c->relay.has_left || c->mailbox.is_closed || child_is_keeper(c) ||
        child_is_status(c))
        return;
    relay_join(&a->sequencer.order, &c->relay);
    tell(a, c); /* where it begins */
}

void sequencer_leave(struct arbiter *a, struct child *c)
{
    if (!c->relay.is_joined)
        return;
    relay_leave(&a->sequencer.order, &c->relay);
    advance(a);
}

int sequencer_inherit(struct arbiter *a, struct child *c)
{
    const struct relay_order *o = &a->sequencer.order;

    if (!c->relay.is_joined)
        return 0;
    if (c->relay.sent > o->number || c->relay.done > c->relay.sent)
        return -EBADMSG;
    tell_soon(a); /* the image before may not have come to it */
    return relay_inherit(&a->sequencer.order, &c->relay);
}

void sequencer_pause(struct arbiter *a, bool is_paused)
{
    a->sequencer.is_paused = is_paused;
    for_each_child (a, c)
        mailbox_pause(&c->mailbox, is_paused);
    if (!is_paused)
        settle_soon(a);
}

bool sequencer_is_used(const struct arbiter *a)
{
    const struct arb_program *p = a->options->program;
    bool is_used = a->sequencer.order.number > 0 || p->on_message;

    for (size_t i = 0; p->protocols && p->protocols[i]; i++)
        is_used |= p->protocols[i]->on_message != NULL;
    for (size_t i = 0; p->kinds && p->kinds[i]; i++)
        is_used |= p->kinds[i]->on_message != NULL;
    return is_used;
}

json_t *sequencer_info(const struct arbiter *a)
{
    const struct sequencer *s = &a->sequencer;
    json_t *o = json_object();
    uint64_t n_stalled = s->relay.end.is_refused;

    for_each_child (a, c)
        n_stalled += c->relay.is_joined && c->relay.is_stalled;
    message_set_uint(o, "numbered", s->order.number);
    message_set_uint(o, "dropped", s->n_dropped);
    message_set_uint(o, "under_way_bytes", s->order.held_bytes);
    message_set_uint(o, "stalled", n_stalled);
    return o;
}

void sequencer_init(struct arbiter *a)
{
    struct sequencer *s = &a->sequencer;

    relay_order_init(&s->order);
    list_init(&s->inbox);
    ev_timer_init(&s->tell, on_tell, 0., 0.);
    relay_start(&s->relay, a->loop, NULL, RELAYED_ARBITER, &own_ops);
    relay_join(&s->order, &s->own);
    relay_told(&s->relay.end, 0, relay_share(&s->order));
    a->process.relay = &s->relay;
}

void sequencer_fini(struct arbiter *a)
{
    struct sequencer *s = &a->sequencer;
    struct own_message *own;

    if (!s->relay.ops)
        return;
    ev_timer_stop(a->loop, &s->tell);
    while ((own = inbox_pop(s)))
        own_message_free(own);
    relay_stop(&s->relay);
    relay_order_fini(&s->order);
}
