/*
 * The arbiter's part in a move of connections: it decides who gives to whom and introduces them by
 * passing each an end of a fresh socket pair. What travels there it never sees.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter/balance.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/fds.h"
#include "base/passed.h"
#include "base/util.h"

/* How often the shares are looked at, and how soon after a change. */
static const double balance_every_s = 2., balance_soon_s = 0.05;

enum { TAKERS_MAX = MAILBOX_FDS_MAX, OFFERS_MAX = 64, PATIENCE_MS = 2000, PAIRS_MIN = 4 };

/* The workers that serve the live configuration and have room, except @except. */
static size_t staying(const struct arbiter *a, const struct child *except,
                      struct balance_load *loads)
{
    size_t n = 0;

    for_each_worker (a, c)
        if (c != except && transition_is_staying(a->engine, c->proc) &&
            !counter_get(&c->score->is_full))
            loads[n++] = (struct balance_load){c->proc, scoreboard_connections(c->score)};
    return n;
}

/* The process that has taken the same slot keeps the shares as they were; else the least loaded
 * share. */
static size_t choose_takers(const struct arbiter *a, const struct child *giver, uint32_t *takers)
{
    struct balance_load *loads = calloc(TR_RECORDS_MAX, sizeof(*loads));
    size_t n = loads ? staying(a, giver, loads) : 0;
    size_t n_takers = 0;

    for (size_t i = 0; i < n && n_takers == 0 && giver->n_offers == 0; i++)
        if (a->children[loads[i].proc].slot == giver->slot)
            takers[n_takers++] = loads[i].proc;
    if (n_takers == 0 && n > 0) {
        balance_sort(loads, n);
        while (n_takers < MIN(n, (size_t)TAKERS_MAX)) {
            takers[n_takers] = loads[n_takers].proc;
            n_takers++;
        }
    }
    free(loads);
    return n_takers;
}

/* Tells @taker of a pair and returns the other end for @giver, or -errno. */
static int introduce(const struct child *giver, struct child *taker)
{
    int ends[2];
    int rc = mailbox_pair(ends);

    if (rc < 0)
        return rc;
    passed_refuse(ends[0]); /* descriptors go the other way alone */
    rc = children_send_fds(taker, "take", 0, json_pack("{s:s}", "from", giver->id), &ends[1], 1);
    fds_close(&ends[1]);
    if (rc < 0) {
        fds_close(&ends[0]);
        return rc;
    }
    return ends[0];
}

/* A round of balancing may have more takers than there is room for. Those are not spared a drain
 * while they still take: then what they get has to move once more. */
static void note_taker(struct child *giver, uint32_t taker)
{
    if (giver->n_gives == 0)
        giver->n_takers = 0;
    if (giver->n_takers < ARRAY_SIZE(giver->takers))
        giver->takers[giver->n_takers++] = taker;
}

/* Does anybody give to @taker now? */
static bool is_taking(const struct arbiter *a, const struct child *taker)
{
    for_each_child (a, c)
        for (size_t k = 0; c->n_gives > 0 && k < c->n_takers; k++)
            if (c->takers[k] == taker->proc)
                return true;
    return false;
}

/* By the counters: a giver's report may be overtaken by its exit. */
static uint64_t moved_out(struct arbiter *a)
{
    uint64_t n = counter_get(&a->totals.moved_out);

    for_each_child (a, c) {
        tally_take(&c->tally, c->score, clock_mono_ns());
        n += counter_get(&c->tally.sum.moved_out);
    }
    return n;
}

static void begin_move(struct arbiter *a)
{
    if (a->moves.since_ms)
        return;
    a->moves.since_ms = clock_mono_ms();
    a->moves.before = moved_out(a);
}

/* @args is taken over; gets the list of those that could be introduced. Returns 0, or -errno and
 * nothing is said: all of them are about to be found dead, or @giver is. */
static int order(struct arbiter *a, struct child *giver, const char *command, json_t *args,
                 const uint32_t *takers, size_t n_takers)
{
    const struct mailbox *mailbox = &giver->mailbox;
    json_t *to = json_array();
    int fds[TAKERS_MAX];
    size_t n = 0;
    int rc;

    if (mailbox->is_closed || mailbox->n_queued >= MAILBOX_QUEUE_MAX)
        n_takers = 0; /* it will not hear of them */
    for (size_t i = 0; i < n_takers; i++) {
        struct child *taker = &a->children[takers[i]];
        int fd = introduce(giver, taker);

        if (fd < 0)
            continue;
        fds[n++] = fd;
        json_array_append_new(to, json_string(taker->id));
        note_taker(giver, takers[i]);
    }
    if (n == 0 && n_takers > 0) {
        json_decref(to);
        json_decref(args);
        return -ESRCH;
    }
    json_object_set_new(args, "to", to);
    if (n > 0)
        begin_move(a); /* before it can have given any */
    rc = children_send_fds(giver, command, 0, args, fds, n);
    if (rc == 0 && n > 0) {
        giver->n_gives++;
        giver->gave_ms = clock_mono_ms();
    }
    for (size_t i = 0; i < n; i++)
        fds_close(&fds[i]);
    return rc;
}

/* Who has been told to give in the last @patience_ms, and has not come to an end yet? */
static size_t count_giving(const struct arbiter *a, uint64_t patience_ms)
{
    const uint64_t now_ms = clock_mono_ms();
    size_t n = 0;

    for_each_child (a, c)
        n += c->n_gives > 0 && now_ms - c->gave_ms <= patience_ms;
    return n;
}

/* Pairs beyond the processors make only each other, and their clients, wait: what one has sent lies
 * there until its taker's turn comes. */
static bool are_enough_giving(const struct arbiter *a)
{
    size_t enough = PAIRS_MIN;
    cpu_set_t cpus;

    if (cpus_allowed(&cpus) == 0)
        enough = MAX(enough, (size_t)CPU_COUNT(&cpus));
    return count_giving(a, PATIENCE_MS) >= enough;
}

/* Nobody can take now, but somebody is about to. */
static bool is_help_coming(const struct arbiter *a)
{
    uint32_t n = 0;

    for_each_worker (a, c)
        n += transition_is_staying(a->engine, c->proc);
    return n < transition_workers(a->engine);
}

/* Tells @c to end: its time to do so begins when it hears of it for the first time. */
static void tell_to_drain(struct arbiter *a, struct child *c, const uint32_t *takers, size_t n)
{
    const bool had_to_wait = c->must_drain;

    c->must_drain = order(a, c, "stop", json_pack("{s:b}", "graceful", 1), takers, n) < 0;
    c->waits_for_look = c->must_drain;
    c->has_late &= c->must_drain;
    if (c->must_drain) {
        move_soon(a);
        return;
    }
    if (had_to_wait && !c->is_draining) {
        engine_post(a, &(struct tr_event){.kind = TR_EV_TOLD, .proc = c->proc});
        keepers_give_time(a, c);
    }
    c->is_draining = true;
}

void move_drain(struct arbiter *a, struct child *c)
{
    uint32_t takers[TAKERS_MAX] = {0};
    size_t n = 0;

    /* Another actor has nothing to hand over. */
    if (child_is_worker(c) && !a->is_stopping && (c->n_offers <= OFFERS_MAX || c->has_late)) {
        const bool may_wait = transition_has_time(a->engine, c->proc, clock_mono_ms());

        /* A worker that takes from others waits: what they still send would only have to move
         * again. */
        if (may_wait && (are_enough_giving(a) || is_taking(a, c))) {
            c->must_drain = true;
            return;
        }
        n = choose_takers(a, c, takers);
        if (may_wait && n == 0 && is_help_coming(a)) {
            c->must_drain = true;
            return;
        }
    }
    tell_to_drain(a, c, takers, n);
}

bool move_is_under_way(const struct arbiter *a)
{
    return count_giving(a, PATIENCE_MS) > 0;
}

/* One round at a time: the counts of a move under way would be counted twice. */
static void balance(struct arbiter *a)
{
    struct balance_move moves[BALANCE_MOVES_MAX];
    struct balance_load *loads;
    size_t n;

    if (a->is_stopping || a->next || count_giving(a, UINT64_MAX) > 0)
        return;
    loads = calloc(TR_RECORDS_MAX, sizeof(*loads));
    n = loads ? balance_plan(loads, staying(a, NULL, loads), moves) : 0;
    free(loads);
    for (size_t i = 0; i < n; i++) {
        log_debug(a->log, "balance", F_UINT("from_slot", a->children[moves[i].from].slot),
                  F_UINT("to_slot", a->children[moves[i].to].slot),
                  F_UINT("connections", moves[i].count));
        order(a, &a->children[moves[i].from], "give",
              json_pack("{s:I}", "count", (json_int_t)moves[i].count), &moves[i].to, 1);
    }
}

static void on_balance(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    a->moves.is_balance_due = true;
    move_look(a);
    keepers_look(a);
}

void move_look(struct arbiter *a)
{
    for_each_child (a, c)
        c->waits_for_look = false;
    a->moves.is_look_due = true;
    settle_soon(a);
}

void move_settle(struct arbiter *a)
{
    const bool is_look_due = a->moves.is_look_due, is_balance_due = a->moves.is_balance_due;

    a->moves.is_look_due = a->moves.is_balance_due = false;
    if (is_look_due)
        for_each_child (a, c)
            if (c->must_drain && (!c->waits_for_look || a->is_stopping))
                move_drain(a, c);
    if (is_balance_due)
        balance(a);
}

void move_start(struct arbiter *a)
{
    ev_timer_init(&a->balance, on_balance, balance_every_s, balance_every_s);
    ev_timer_start(a->loop, &a->balance);
}

void move_soon(struct arbiter *a)
{
    ev_timer_stop(a->loop, &a->balance);
    ev_timer_set(&a->balance, balance_soon_s, balance_every_s);
    ev_timer_start(a->loop, &a->balance);
}

void move_fini(struct arbiter *a)
{
    ev_timer_stop(a->loop, &a->balance);
}

static void move_look_soon(struct arbiter *a)
{
    a->moves.is_look_due = true;
    settle_soon(a);
}

/* What a draining worker could not give, because a taker died or had no room, others may take. */
static void offer_again(struct arbiter *a, struct child *c, bool has_moved)
{
    if (transition_phase(a->engine, c->proc) != TR_DRAINING || c->must_drain ||
        c->n_gives > 0) /* another give is under way: it will say what stays */
        return;
    c->n_offers++;
    c->must_drain = true;
    /* The same again would have the same end: a taker may be dead and not yet reaped. */
    c->waits_for_look = !has_moved;
    if (c->waits_for_look)
        move_soon(a);
}

/* What owed a reply when the others moved is offered as often as it takes: each of them has become
 * movable a moment ago, and was never refused. */
static void offer_late(struct arbiter *a, struct child *c)
{
    if (!c->has_late || transition_phase(a->engine, c->proc) != TR_DRAINING || c->must_drain ||
        c->n_gives > 0)
        return;
    c->must_drain = true;
    c->waits_for_look = false;
    move_look_soon(a);
}

void move_on_answered(struct arbiter *a, struct child *c, json_t *args)
{
    log_debug(a->log, "late replies are given: their connections can move", F_STR("from", c->id),
              F_INT("count", json_integer_value(json_object_get(args, "count"))));
    c->has_late = true;
    offer_late(a, c);
}

void move_on_moved(struct arbiter *a, struct child *c, json_t *args)
{
    const json_int_t refused = json_integer_value(json_object_get(args, "refused"));

    if (c->n_gives > 0)
        c->n_gives--;
    log_debug(a->log, "connections moved", F_STR("from", c->id),
              F_INT("count", json_integer_value(json_object_get(args, "count"))),
              F_INT("refused", refused),
              F_INT("owed", json_integer_value(json_object_get(args, "owed"))),
              F_INT("took_us", json_integer_value(json_object_get(args, "took_us"))));
    if (refused > 0)
        offer_again(a, c, json_integer_value(json_object_get(args, "count")) > 0);
    offer_late(a, c);
    move_look_soon(a);
}

/* ---- one line in the log for all that a transition has moved ---- */

void move_want(struct arbiter *a)
{
    a->moves.is_wanted = true;
}

/* Somebody gives, or has yet to be told to. */
static bool is_unfinished(const struct arbiter *a)
{
    for_each_child (a, c)
        if (c->must_drain)
            return true;
    return move_is_under_way(a);
}

void move_log(struct arbiter *a)
{
    struct moves *m = &a->moves;
    uint64_t count;

    if (!m->since_ms || is_unfinished(a))
        return;
    count = moved_out(a) - m->before;
    if (count > 0)
        LOG_AT_(a->log, m->is_wanted ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, log_emit,
                "connections changed hands", F_UINT("count", count),
                F_UINT("took_ms", clock_mono_ms() - m->since_ms));
    m->since_ms = 0;
    m->is_wanted = false;
}
