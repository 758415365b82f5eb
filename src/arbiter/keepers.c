/*
 * Which keeper keeps the connections of which worker: the arbiter introduces them to each other by
 * passing each an end of a fresh socket pair, and the keeper the worker's table. What travels there
 * it never sees. Runs in the arbiter; the tables are in src/net/keep.md. An image without keepers
 * has left pairs instead, from which workers collect what crashed ones have had.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

void keepers_look(struct arbiter *a)
{
    a->is_keep_due = true;
    settle_soon(a);
}

/* ---- who keeps for whom ---- */

/* Workers beyond the slots of a kind share its keepers. */
static uint32_t number_of_keeper(const struct child *worker)
{
    return (worker->slot - 1) % TR_KIND_SLOTS_MAX + 1;
}

enum { NOT_FIT, OF_LIVE_SET, DRAINS_WITH_IT, BEGINS, SERVES };

/* How well does @keeper suit @worker? A worker of a revision that is gone is better off with a
 * keeper that leaves with it; but any is better than none. */
static int suitability(const struct arbiter *a, const struct child *keeper,
                       const struct child *worker)
{
    const enum tr_phase phase = transition_phase(a->engine, keeper->proc);

    if (keeper->mailbox.is_closed || keeper->is_killed || phase == TR_KILLED ||
        tr_slot_number(keeper->slot) != number_of_keeper(worker))
        return NOT_FIT;
    if (keeper->revision == worker->revision)
        return phase == TR_DRAINING ? DRAINS_WITH_IT : phase == TR_STARTING ? BEGINS : SERVES;
    return transition_is_staying(a->engine, keeper->proc) ? OF_LIVE_SET : NOT_FIT;
}

/* The one that has it, unless there is a better one; NULL = there is none. */
static struct child *choose_keeper(const struct arbiter *a, const struct child *worker)
{
    struct child *found = NULL;
    int best = NOT_FIT;

    for_each_child (a, c) {
        const int fit = child_is_keeper(c) ? suitability(a, c, worker) : NOT_FIT;

        if (fit > best || (fit == best && fit != NOT_FIT && c->pid == worker->keeper)) {
            best = fit;
            found = c;
        }
    }
    return found;
}

/* What one of them cannot be told ends for the other with the pair; and there is another look. */
static void keepers_introduce(struct child *keeper, struct child *worker)
{
    int ends[2];

    if (mailbox_pair(ends) < 0)
        return;
    if (children_send_fds(
            keeper, "ward", 0,
            json_pack("{s:s,s:I}", "id", worker->id, "proc", (json_int_t)worker->proc),
            (const int[]){ends[0], worker->table_fd}, 2) == 0 &&
        children_send_fds(worker, "keeper", 0, json_pack("{s:s}", "id", keeper->id), &ends[1], 1) ==
            0)
        worker->keeper = keeper->pid;
    fds_close(&ends[0]);
    fds_close(&ends[1]);
}

static bool can_be_ward(const struct arbiter *a, const struct child *worker)
{
    return worker->table_fd >= 0 && !worker->mailbox.is_closed && !worker->is_killed &&
           transition_phase(a->engine, worker->proc) != TR_KILLED;
}

/* It has been lent to the keeper of a slot that nobody fills. */
static bool is_helping(struct arbiter *a, const struct child *worker)
{
    const struct child *keeper = worker->keeper ? children_find(a, worker->keeper) : NULL;

    return keeper && keeper->n_left > 0 && !keeper->mailbox.is_closed;
}

static void settle_ward(struct arbiter *a, struct child *worker)
{
    struct child *keeper;

    if (!can_be_ward(a, worker) || is_helping(a, worker))
        return;
    keeper = choose_keeper(a, worker);
    if (keeper && keeper->pid != worker->keeper)
        keepers_introduce(keeper, worker);
}

/* ---- what dead workers have left ---- */

enum { REAPED_WITHIN_MS = 1000 };

/* It has just died, and is not reaped yet: its heir is to come. */
static bool is_dying(const struct child *worker)
{
    return worker->mailbox.is_closed &&
           clock_mono_ms() - worker->disconnected_ms < REAPED_WITHIN_MS;
}

/* A ward that drains takes nothing. */
static bool has_taker(const struct arbiter *a, const struct child *keeper)
{
    for_each_worker (a, c)
        if (c->keeper == keeper->pid &&
            (is_dying(c) ||
             (can_be_ward(a, c) && transition_phase(a->engine, c->proc) != TR_DRAINING)))
            return true;
    return false;
}

/* The heir of the slot is a ward; where there is none, another worker is one until nothing is left.
 */
static void settle_left(struct arbiter *a, struct child *keeper)
{
    struct child *least = NULL;

    if (keeper->n_left == 0 || keeper->mailbox.is_closed || has_taker(a, keeper))
        return;
    for_each_worker (a, c) {
        if (transition_is_staying(a->engine, c->proc) && can_be_ward(a, c) && !is_helping(a, c) &&
            !counter_get(&c->score->is_full) &&
            (!least || scoreboard_connections(c->score) < scoreboard_connections(least->score)))
            least = c;
    }
    if (least)
        keepers_introduce(keeper, least);
}

/* The handler of a fatal signal may have registered those that were too young to be kept. */
bool keepers_is_keeping(const struct child *c)
{
    return c->keeper && scoreboard_connections(c->score) > 0;
}

static uint64_t number_in(const json_t *args, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(args, name));
}

/* One line per death. */
static void log_left(const struct arbiter *a, const struct child *keeper, const json_t *args)
{
    log_info(a->log, "connections of a dead worker",
             F_STR("worker", json_string_value(json_object_get(args, "of"))),
             F_STR("keeper", keeper->id), F_UINT("kept", number_in(args, "kept")),
             F_UINT("passed_on", number_in(args, "passed")),
             F_UINT("closed", number_in(args, "closed")),
             F_UINT("moving", number_in(args, "moving")));
}

void keepers_on_left(struct arbiter *a, struct child *c, json_t *args)
{
    if (!child_is_keeper(c))
        return;
    c->n_left += number_in(args, "kept");
    if (number_in(args, "kept") == 0) {
        crashes_rescued(a->crashes, json_string_value(json_object_get(args, "of")), 0);
        log_left(a, c, args);
    }
    keepers_look(a);
}

void keepers_on_passed(struct arbiter *a, struct child *c, json_t *args)
{
    if (!child_is_keeper(c))
        return;
    c->n_left -= MIN(c->n_left, number_in(args, "kept"));
    crashes_rescued(a->crashes, json_string_value(json_object_get(args, "of")),
                    number_in(args, "passed"));
    log_left(a, c, args);
    keepers_look(a);
}

/*
 * ---- pairs of an image without keepers ----
 *
 * A crashed worker of that image has sent its idle connections into the pair of its slot. The pairs
 * are there until the last of its workers is gone, and for the way back to it.
 */

void keepers_inherit_pair(struct arbiter *a, uint32_t slot, int recv_fd, int send_fd)
{
    a->old_pairs[slot] = (struct old_pair){.is_open = true, .ends = {recv_fd, send_fd}};
    a->has_old_pairs = true;
}

static bool has_old_workers(const struct arbiter *a)
{
    for_each_worker (a, c)
        if (c->is_inherited && c->table_fd < 0)
            return true;
    return false;
}

/* Tells the first worker that serves and can be told to take what is in the pair now. */
static void offer_pair(struct arbiter *a, const struct old_pair *p)
{
    struct pollfd f = {.fd = p->ends[0], .events = POLLIN};

    if (!p->is_open || poll(&f, 1, 0) != 1 || !(f.revents & POLLIN))
        return;
    for_each_worker (a, c)
        if (transition_is_staying(a->engine, c->proc) &&
            children_send_fds(c, "collect", 0, NULL, &p->ends[0], 1) == 0)
            return;
}

static void close_pairs(struct arbiter *a)
{
    for (uint32_t slot = 0; a->old_pairs && slot <= TR_SLOTS_MAX; slot++) {
        if (!a->old_pairs[slot].is_open)
            continue;
        fds_close(&a->old_pairs[slot].ends[0]);
        fds_close(&a->old_pairs[slot].ends[1]);
        a->old_pairs[slot].is_open = false;
    }
    a->has_old_pairs = false;
}

static void settle_pairs(struct arbiter *a)
{
    if (!a->has_old_pairs)
        return;
    for (uint32_t slot = 1; !a->is_stopping && slot <= TR_SLOTS_MAX; slot++)
        offer_pair(a, &a->old_pairs[slot]);
    if (a->upgrade.phase == UPGRADE_NONE && !has_old_workers(a))
        close_pairs(a);
}

/* ---- ends ---- */

void keepers_on_exit(struct arbiter *a, struct child *c)
{
    for_each_worker (a, other)
        if (other->keeper == c->pid)
            other->keeper = 0;
    if (c->n_left > 0 && !a->is_stopping)
        log_warning(a->log, "connections of dead workers have died with their keeper",
                    F_STR("keeper", c->id), F_UINT("count", c->n_left));
    keepers_look(a);
}

void keepers_drain(struct arbiter *a, struct child *c, bool is_quick)
{
    if (a->is_stopping)
        keepers_look(a);
    else
        children_send(c, "stop", 0, json_pack("{s:b}", "graceful", !is_quick));
}

void keepers_give_time(struct arbiter *a, const struct child *c)
{
    struct child *keeper = c->keeper ? children_find(a, c->keeper) : NULL;

    if (keeper && transition_phase(a->engine, keeper->proc) == TR_DRAINING)
        engine_post(a, &(struct tr_event){.kind = TR_EV_TOLD, .proc = keeper->proc});
}

/* Until then the keepers see to it that every end is visible. */
static void settle_stop(struct arbiter *a)
{
    for_each_worker (a, c)
        return;
    for_each_child (a, c) {
        if (!child_is_keeper(c) || c->is_told_last)
            continue;
        c->is_told_last = true;
        children_send(c, "stop", 0, json_pack("{s:b}", "graceful", 0));
    }
}

void keepers_settle(struct arbiter *a)
{
    if (!a->is_keep_due)
        return;
    a->is_keep_due = false;
    settle_pairs(a);
    if (a->is_stopping) {
        settle_stop(a);
        return;
    }
    for_each_worker (a, c)
        settle_ward(a, c);
    for_each_child (a, c)
        if (child_is_keeper(c))
            settle_left(a, c);
}

void keepers_fini(struct arbiter *a)
{
    close_pairs(a);
    free(a->old_pairs);
}
