/*
 * Giving connections away. Runs in the worker that has them; see transfer.h.
 *
 * A descriptor that is closed here while the socket lives on elsewhere stays in the kernel's set
 * of libev's, and each of its events would make libev build the set anew. So acknowledged ones are
 * kept open, which lets libev take them out one by one, and closed together, with one new set.
 */
#include "net/transfer.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "base/fds.h"
#include "net/conn_move.h"
#include "net/transfer_impl.h"
#include "net/transfer_wire.h"

enum { RETRY_MIN_MS = 2, RETRY_MAX_MS = 50, ANSWERS_PER_EVENT = 16 };

static struct conn *first_of(struct list *conns)
{
    return container_of(conns->next, struct conn, link);
}

static bool has_more(const struct transfer_out *t)
{
    return t->left > 0 && !t->is_exhausted;
}

/* What the taker has room for, less what is on its way to it. */
static size_t room_of(struct transfer_lane *lane)
{
    size_t flying = 0;

    for (uint32_t id = lane->rules.answered + 1; id <= lane->rules.sent; id++)
        flying += lane_flight(lane, id)->count;
    return lane->room > flying ? lane->room - flying : 0;
}

/* Ours again; perhaps another taker wants them. */
static void resume(struct transfer_out *t, struct transfer_flight *f)
{
    while (!list_is_empty(&f->conns)) {
        struct conn *c = first_of(&f->conns);

        list_remove(&c->link);
        conn_resume(c);
    }
    f->count = 0;
    t->is_exhausted = false;
}

/* Until it is sent, it is served: a batch that cannot go now is dissolved. */
static int send_batch(struct transfer_out *t, struct transfer_lane *lane)
{
    struct transfer_flight *f = lane_flight(lane, lane->rules.sent + 1);
    const size_t room = MIN(lane->quota, room_of(lane));
    int rc;

    transfer_collect(t, f, MIN(room, t->batch_max));
    if (f->count == 0)
        return 0;
    rc = transfer_post(t, lane, f);
    if (rc < 0) {
        resume(t, f);
        return rc;
    }
    giving_sent(&lane->rules);
    lane->quota -= f->count;
    lane->n_given += f->count;
    t->left -= f->count;
    t->flight_bytes += f->bytes;
    t->stuck_pulses = 0;
    t->retry_ms = RETRY_MIN_MS;
    return 0;
}

/* --- one taker -------------------------------------------------------------------------------- */

static void watch(struct transfer_lane *lane, int events)
{
    struct ev_loop *loop = lane->owner->set->loop;

    if (lane->fd < 0 || (lane->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop, &lane->io);
    ev_io_set(&lane->io, lane->fd, events);
    ev_io_start(loop, &lane->io);
}

static void start_retry(struct transfer_out *t, unsigned ms)
{
    if (ev_is_active(&t->retry))
        return;
    ev_timer_set(&t->retry, ms / 1e3, 0.);
    ev_timer_start(t->set->loop, &t->retry);
}

static void on_cannot_send(struct transfer_out *t, struct transfer_lane *lane, int error)
{
    switch (error) {
    case -EPIPE:
    case -ECONNRESET:
    case -ENOTCONN: /* reading finds what it has answered, and the end */
        giving_close(&lane->rules);
        t->is_share_due = true;
        return;
    case -EAGAIN:
        watch(lane, EV_READ | EV_WRITE);
        break;
    default: /* ETOOMANYREFS: all processes of the user count. No descriptor, no memory. */
        t->error = error;
        t->batch_max = MAX(t->batch_max / 2, (size_t)1); /* fewer may do */
        break;
    }
    start_retry(t, t->retry_ms);
    t->retry_ms = MIN(t->retry_ms * 2, (unsigned)RETRY_MAX_MS);
}

static void fill(struct transfer_out *t, struct transfer_lane *lane)
{
    while (giving_may_send(&lane->rules) && has_more(t) && lane->quota > 0 && room_of(lane) > 0 &&
           t->flight_bytes < TRANSFER_FLIGHT_BYTES) {
        const int rc = send_batch(t, lane);

        if (rc < 0) {
            on_cannot_send(t, lane, rc);
            return;
        }
    }
    if (lane->rules.phase == GIVING_OPEN && lane->room == 0 &&
        giving_unanswered(&lane->rules) == 0) {
        giving_close(&lane->rules);
        t->is_share_due = true;
    }
}

static void settle_flight(struct transfer_lane *lane, uint32_t id, enum giving_outcome outcome)
{
    struct transfer_out *t = lane->owner;
    struct transfer_flight *f = lane_flight(lane, id);

    t->flight_bytes -= f->bytes;
    if (outcome == GIVING_RESUME) {
        t->left += f->count;
        lane->n_given -= f->count;
        resume(t, f);
        t->is_share_due = true;
        return;
    }
    t->n_moved += f->count;
    t->batch_max = MIN(t->batch_max * 2, (size_t)HANDOVER_COUNT_MAX);
    while (!list_is_empty(&f->conns)) {
        struct conn *c = first_of(&f->conns);

        conn_give_away(c);
        list_remove(&c->link);
        list_append(&t->gone, &c->link);
        t->n_gone++;
    }
}

/* Not for lack of room for so many: there is one among them that the taker cannot have. */
static void on_unwanted(struct transfer_out *t, struct transfer_lane *lane, uint32_t count)
{
    if (count > 1)
        t->batch_max = MIN(t->batch_max, (size_t)count / 2);
    else if (++lane->n_unwanted >= TRANSFER_UNWANTED_MAX)
        giving_close(&lane->rules);
}

static void on_answer(struct transfer_out *t, struct transfer_lane *lane,
                      const struct transfer_datagram *d)
{
    const uint32_t oldest = lane->rules.answered + 1;
    const uint32_t count = lane_flight(lane, oldest)->count;
    struct handover_answer answer;
    enum giving_outcome outcome;

    if (handover_get_answer(d->data, d->got.len, &answer) < 0) {
        giving_close(&lane->rules);
        t->is_share_due = true;
        return;
    }
    outcome = giving_answered(&lane->rules, answer.id, answer.outcome == HANDOVER_OK);
    lane->room = answer.room;
    t->is_share_due |= lane_is_slow(lane); /* it is back */
    lane->quiet_pulses = 0;
    t->stuck_pulses = 0;
    if (outcome == GIVING_RELEASE)
        lane->n_unwanted = 0;
    if (outcome == GIVING_RESUME && answer.room >= count)
        on_unwanted(t, lane, count);
    if (outcome != GIVING_NOTHING)
        settle_flight(lane, oldest, outcome);
    else if (!lane_is_open(lane))
        t->is_share_due = true;
}

static void close_lane(struct transfer_lane *lane)
{
    ev_io_stop(lane->owner->set->loop, &lane->io);
    fds_close(&lane->fd);
}

static void on_end(struct transfer_out *t, struct transfer_lane *lane)
{
    close_lane(lane);
    for (;;) {
        const uint32_t oldest = lane->rules.answered + 1;

        if (giving_ended(&lane->rules) == GIVING_NOTHING)
            break;
        settle_flight(lane, oldest, GIVING_RESUME);
    }
    t->is_share_due = true;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* One new set for all; a process that has nothing left pays nothing for it. */
static void let_go(struct transfer_out *t)
{
    if (list_is_empty(&t->gone))
        return;
    while (!list_is_empty(&t->gone)) {
        struct conn *c = first_of(&t->gone);

        list_remove(&c->link);
        conn_forget(c);
    }
    t->n_gone = 0;
    t->kept_pulses = 0;
    ev_loop_fork(t->set->loop);
}

/* The new set costs by what remains: in all no more than by what goes, or once a second. */
static void let_go_now_and_then(struct transfer_out *t)
{
    if (t->n_gone >= t->set->n_open || ++t->kept_pulses >= TRANSFER_KEPT_PULSES)
        let_go(t);
}

static void end_giving(struct transfer_out *t)
{
    struct ev_loop *loop = t->set->loop;

    for (size_t i = 0; i < t->n_lanes; i++)
        close_lane(&t->lanes[i]);
    ev_timer_stop(loop, &t->pulse);
    ev_timer_stop(loop, &t->retry);
    let_go(t);
    transfer_scratch_free(t->scratch);
    t->scratch = NULL;
    t->took_ns = clock_mono_ns() - t->started_ns;
    t->n_stayed = t->is_all ? t->set->n_open : MIN(t->left, t->set->n_open);
    t->is_done = true;
}

/* Sends what can be sent now, and sees whether that was all. */
static void give_more(struct transfer_out *t)
{
    bool is_any_open = false, is_quick_awaited = false, is_unanswered = false;
    bool is_filled = false;

    if (t->is_done)
        return;
    while (t->is_share_due || !is_filled) {
        if (t->is_share_due)
            transfer_share_out(t);
        for (size_t i = 0; i < t->n_lanes; i++)
            fill(t, &t->lanes[i]);
        is_filled = true;
    }
    for (size_t i = 0; i < t->n_lanes; i++) {
        const struct transfer_lane *lane = &t->lanes[i];

        is_any_open |= lane_is_open(lane);
        is_unanswered |= giving_unanswered(&lane->rules) > 0;
        is_quick_awaited |= giving_unanswered(&lane->rules) > 0 && !lane_is_slow(lane);
    }
    t->is_sending = is_quick_awaited || (has_more(t) && is_any_open);
    if (!is_unanswered && !t->is_sending)
        end_giving(t);
    t->on_change(t);
}

static void on_lane_io(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct transfer_lane *lane = container_of(io, struct transfer_lane, io);
    struct transfer_out *t = lane->owner;
    struct transfer_datagram d;
    int rc = 0;

    if (revents & EV_WRITE)
        watch(lane, EV_READ);
    for (int i = 0; i < ANSWERS_PER_EVENT && rc == 0; i++) {
        rc = transfer_receive(lane->fd, &d);
        if (rc == TRANSFER_END)
            on_end(t, lane);
        if (rc != 0)
            break;
        for (size_t k = 0; k < d.got.n_fds; k++)
            fds_close(&d.got.fds[k]);
        on_answer(t, lane, &d);
    }
    give_more(t);
}

static void on_retry(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    give_more(container_of(timer, struct transfer_out, retry));
}

static void on_pulse(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct transfer_out *t = container_of(timer, struct transfer_out, pulse);
    bool is_unanswered = false;

    let_go_now_and_then(t);
    for (size_t i = 0; i < t->n_lanes; i++) {
        struct transfer_lane *lane = &t->lanes[i];

        is_unanswered |= giving_unanswered(&lane->rules) > 0;
        if (lane_is_awaited(lane) && ++lane->quiet_pulses == TRANSFER_SLOW_PULSES)
            t->is_share_due = true;
    }
    if (!is_unanswered && ++t->stuck_pulses >= TRANSFER_STUCK_PULSES)
        for (size_t i = 0; i < t->n_lanes; i++)
            giving_close(&t->lanes[i].rules);
    give_more(t);
}

int transfer_give(struct transfer_out *t, struct conn_set *set, const int *fds, size_t n_fds,
                  size_t count, transfer_out_on_change *on_change)
{
    assert(n_fds <= TRANSFER_LANES_MAX);
    *t = (struct transfer_out){
        .set = set,
        .on_change = on_change,
        .n_lanes = n_fds,
        .retry_ms = RETRY_MIN_MS,
        .left = MIN(count, set->n_open),
        .is_all = count == SIZE_MAX,
        .batch_max = HANDOVER_COUNT_MAX,
        .started_ns = clock_mono_ns(),
        .is_sending = true,
    };
    list_init(&t->gone);
    ev_timer_init(&t->retry, on_retry, 0., 0.);
    ev_timer_init(&t->pulse, on_pulse, TRANSFER_PULSE_MS / 1e3, TRANSFER_PULSE_MS / 1e3);
    for (size_t i = 0; i < n_fds; i++) {
        struct transfer_lane *lane = &t->lanes[i];

        lane->owner = t;
        lane->fd = fds[i];
        ev_io_init(&lane->io, on_lane_io, lane->fd, EV_READ);
        ev_io_start(set->loop, &lane->io);
    }
    t->scratch = transfer_scratch_new();
    if (!t->scratch) {
        transfer_out_fini(t);
        return -ENOMEM;
    }
    t->is_share_due = true;
    ev_timer_start(set->loop, &t->pulse);
    start_retry(t, 0);
    return 0;
}

void transfer_out_fini(struct transfer_out *t)
{
    for (size_t i = 0; i < t->n_lanes; i++) {
        struct transfer_lane *lane = &t->lanes[i];

        close_lane(lane);
        for (uint32_t id = lane->rules.answered + 1; id <= lane->rules.sent; id++)
            settle_flight(lane, id, GIVING_RELEASE);
    }
    ev_timer_stop(t->set->loop, &t->pulse);
    ev_timer_stop(t->set->loop, &t->retry);
    let_go(t);
    transfer_scratch_free(t->scratch);
    t->scratch = NULL;
}
