/*
 * The rules of messages between actors. Pure; actor/relay and arbiter/sequencer do what they say,
 * and tests/unit/test_relay_rules.c plays them with moves, refusals and deaths.
 */
#include "actor/relay_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

bool relay_is_fence_off;

/* ---- the ledger ---- */

static struct relay_entry *entry_at(const struct relay_ledger *l, size_t i)
{
    return &l->entries[(l->first + i) & (l->room - 1)];
}

static int ledger_add(struct relay_ledger *l, const struct relay_entry *entry)
{
    if (l->n == l->room) {
        const size_t room = l->room ? 2 * l->room : 16;
        struct relay_entry *entries = calloc(room, sizeof(*entries));

        if (!entries)
            return -ENOMEM;
        for (size_t i = 0; i < l->n; i++)
            entries[i] = *entry_at(l, i);
        free(l->entries);
        *l = (struct relay_ledger){.entries = entries, .n = l->n, .room = room};
    }
    l->n++;
    *entry_at(l, l->n - 1) = *entry;
    return 0;
}

/* The oldest one, if it has a number up to @done; NULL = there is none. Valid until ledger_add. */
static const struct relay_entry *ledger_pop(struct relay_ledger *l, uint64_t done)
{
    const struct relay_entry *e = l->n > 0 ? entry_at(l, 0) : NULL;

    if (!e || e->number == 0 || e->number > done)
        return NULL;
    l->first = (l->first + 1) & (l->room - 1);
    l->n--;
    return e;
}

static void ledger_fini(struct relay_ledger *l)
{
    free(l->entries);
    *l = (struct relay_ledger){0};
}

/* ---- the order ---- */

void relay_order_init(struct relay_order *o)
{
    *o = (struct relay_order){0};
    list_init(&o->members);
}

void relay_order_fini(struct relay_order *o)
{
    ledger_fini(&o->ledger);
}

size_t relay_share(const struct relay_order *o)
{
    return RELAY_WINDOW_BYTES / MAX(o->n_members, (size_t)1);
}

void relay_join(struct relay_order *o, struct relay_member *m)
{
    m->sent = m->done = m->told = o->number;
    m->is_joined = true;
    list_append(&o->members, &m->link);
    o->n_members++;
}

void relay_leave(struct relay_order *o, struct relay_member *m)
{
    if (!m->is_joined)
        return;
    for (size_t i = 0; i < o->ledger.n; i++)
        if (entry_at(&o->ledger, i)->sender == m)
            entry_at(&o->ledger, i)->sender = NULL;
    list_remove(&m->link);
    *m = (struct relay_member){.has_left = true, .sequence = m->sequence};
    o->n_members--;
}

int relay_inherit(struct relay_order *o, struct relay_member *m)
{
    const struct relay_entry entry = {.number = o->number, .bytes = m->held_bytes, .sender = m};
    int rc = 0;

    if (o->done == o->number)
        m->held_bytes = 0;
    else if (m->held_bytes > 0)
        rc = ledger_add(&o->ledger, &entry);
    if (rc < 0)
        return rc;
    o->held_bytes += m->held_bytes;
    m->last = o->number;
    list_append(&o->members, &m->link);
    o->n_members++;
    return 0;
}

int relay_number(struct relay_order *o, struct relay_member *m, uint64_t sequence, size_t bytes,
                 uint64_t *ret_number)
{
    const struct relay_entry entry = {.number = o->number + 1,
                                      .sequence = sequence,
                                      .bytes = bytes,
                                      .sender = m->is_joined ? m : NULL};
    int rc;

    /* Its share may have been the whole window until a moment ago. */
    if (sequence != m->sequence + 1 || m->held_bytes > RELAY_WINDOW_BYTES)
        return -EBADMSG;
    rc = ledger_add(&o->ledger, &entry);
    if (rc < 0)
        return rc;
    o->number++;
    o->held_bytes += bytes;
    m->sequence = sequence;
    m->last = o->number;
    m->held_bytes += m->is_joined ? bytes : 0;
    *ret_number = o->number;
    return 0;
}

void relay_sent(struct relay_member *m, uint64_t number)
{
    m->sent = number;
}

int relay_report(struct relay_member *m, uint64_t done)
{
    if (!m->is_joined)
        return 0;
    if (done < m->done || done > m->sent)
        return -EBADMSG;
    m->done = done;
    return 0;
}

bool relay_advance(struct relay_order *o)
{
    const struct relay_entry *e;
    struct list *link;
    uint64_t done = o->number;

    list_for_each (link, &o->members) {
        const struct relay_member *m = container_of(link, struct relay_member, link);

        /* Whoever has had all that was sent to it waits for no number. */
        if (m->done < m->sent)
            done = MIN(done, m->done);
    }
    if (done <= o->done)
        return false;
    o->done = done;
    while ((e = ledger_pop(&o->ledger, done))) {
        o->held_bytes -= e->bytes;
        if (e->sender)
            e->sender->held_bytes -= e->bytes;
    }
    return true;
}

bool relay_must_tell(const struct relay_order *o, const struct relay_member *m)
{
    return m->told < MIN(o->done, m->last);
}

/* ---- an end ---- */

void relay_end_init(struct relay_end *e, size_t share)
{
    *e = (struct relay_end){.share = share};
    list_init(&e->kept);
    list_init(&e->pairs);
}

void relay_end_fini(struct relay_end *e)
{
    ledger_fini(&e->ledger);
}

int relay_send(struct relay_end *e, size_t bytes, uint64_t *ret_sequence)
{
    const struct relay_entry entry = {.sequence = e->sequence + 1, .bytes = bytes};
    int rc;

    if (e->held_bytes > 0 && e->held_bytes + bytes > e->share) {
        e->is_refused = true;
        return -EAGAIN;
    }
    rc = ledger_add(&e->ledger, &entry);
    if (rc < 0)
        return rc;
    e->held_bytes += bytes;
    *ret_sequence = ++e->sequence;
    return 0;
}

void relay_unsend(struct relay_end *e)
{
    e->ledger.n--;
    e->held_bytes -= entry_at(&e->ledger, e->ledger.n)->bytes;
    e->sequence--;
}

void relay_numbered(struct relay_end *e, uint64_t sequence, uint64_t number)
{
    size_t i = e->ledger.n;

    if (sequence <= e->numbered)
        return;
    e->numbered = MIN(sequence, e->sequence);
    /* Those without a number are the newest. */
    while (i > 0 && entry_at(&e->ledger, i - 1)->number == 0)
        i--;
    for (; i < e->ledger.n && entry_at(&e->ledger, i)->sequence <= sequence; i++)
        entry_at(&e->ledger, i)->number = number;
}

void relay_told(struct relay_end *e, uint64_t all_done, size_t share)
{
    const struct relay_entry *entry;

    e->share = share;
    e->all_done = MAX(e->all_done, all_done);
    while ((entry = ledger_pop(&e->ledger, e->all_done)))
        e->held_bytes -= entry->bytes;
}

bool relay_can_send(struct relay_end *e)
{
    if (!e->is_refused || e->held_bytes > e->share / 2)
        return false;
    e->is_refused = false;
    return true;
}

void relay_passed(struct relay_end *e, uint64_t number, size_t bytes)
{
    e->position = MAX(e->position, number);
    e->unreported_bytes += bytes;
}

uint64_t relay_done(const struct relay_end *e)
{
    uint64_t done = e->position;
    struct list *link;

    list_for_each (link, &e->pairs)
        done = MIN(done, container_of(link, struct relay_pair, link)->floor);
    return done;
}

bool relay_must_report(const struct relay_end *e)
{
    return e->unreported_bytes >= RELAY_REPORT_BYTES && relay_done(e) > e->reported;
}

void relay_reported(struct relay_end *e, uint64_t done)
{
    e->reported = done;
    e->unreported_bytes = 0;
    e->is_reported_refused = e->is_refused;
}

bool relay_has_news(const struct relay_end *e)
{
    return relay_done(e) > e->reported || e->is_refused != e->is_reported_refused;
}

void relay_pair_begin(struct relay_end *e, struct relay_pair *p, uint64_t floor)
{
    p->floor = floor;
    list_append(&e->pairs, &p->link);
}

void relay_pair_trim(struct relay_pair *p, uint64_t position)
{
    p->floor = MAX(p->floor, position);
}

void relay_pair_set(struct relay_pair *p, uint64_t floor)
{
    p->floor = floor;
}

void relay_pair_end(struct relay_pair *p)
{
    list_remove(&p->link);
}

bool relay_wants(const struct relay_end *e, uint64_t number)
{
    struct list *link;

    list_for_each (link, &e->pairs)
        if (container_of(link, struct relay_pair, link)->floor < number)
            return true;
    return false;
}

void relay_keep(struct relay_end *e, struct relay_kept *k)
{
    list_append(&e->kept, &k->link);
    e->kept_bytes += k->bytes;
}

struct relay_kept *relay_pop(struct relay_end *e)
{
    struct relay_kept *k = container_of(e->kept.next, struct relay_kept, link);

    if (list_is_empty(&e->kept) || relay_wants(e, k->number))
        return NULL;
    list_remove(&k->link);
    e->kept_bytes -= k->bytes;
    return k;
}

struct relay_kept *relay_after(const struct relay_end *e, uint64_t number)
{
    const struct list *link = &e->kept;

    while (link->prev != &e->kept &&
           container_of(link->prev, struct relay_kept, link)->number > number)
        link = link->prev;
    return link == &e->kept ? NULL : container_of(link, struct relay_kept, link);
}

struct relay_kept *relay_next(const struct relay_end *e, const struct relay_kept *k)
{
    return k->link.next == &e->kept ? NULL : container_of(k->link.next, struct relay_kept, link);
}
