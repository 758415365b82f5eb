/*
 * Giving connections away. Runs in the worker that has them; see move.h.
 */
#include "net/move.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "actor/io_watch.h"
#include "actor/relay.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/signals.h"
#include "net/conn_impl.h"
#include "net/keep.h"
#include "net/move_crash.h"
#include "net/move_wire.h"

enum { RETRY_MIN_MS = 2, RETRY_MAX_MS = 50, ANSWERS_PER_EVENT = 16 };

/* One batch while it is put together. */
struct move_scratch {
    uint8_t records[MOVED_COUNT_MAX * MOVED_RECORD_BYTES];
    struct iovec iov[1 + 3 * MOVED_COUNT_MAX];
    int n_iov;
    int fds[MOVE_FDS_MAX];
    uint8_t *states; /* owned: ARB_STATE_MAX bytes, once a connection has a state */
    size_t states_len;
};

/* --- lanes ------------------------------------------------------------------------------------ */

static struct move_flight *lane_flight(struct move_lane *lane, uint32_t id)
{
    return &lane->flights[id % MOVE_UNANSWERED_MAX];
}

static bool lane_is_open(const struct move_lane *lane)
{
    return lane->rules.phase == GIVING_WAITING || lane->rules.phase == GIVING_OPEN;
}

static bool lane_is_awaited(const struct move_lane *lane)
{
    return giving_unanswered(&lane->rules) > 0 || lane->rules.phase == GIVING_WAITING;
}

static bool lane_is_slow(const struct move_lane *lane)
{
    return lane_is_awaited(lane) && lane->quiet_pulses >= MOVE_SLOW_PULSES;
}

/* --- putting a batch together ----------------------------------------------------------------- */

static void add_bytes(struct move_scratch *s, const uint8_t *bytes, size_t len)
{
    if (len > 0)
        s->iov[s->n_iov++] = (struct iovec){(void *)(uintptr_t)bytes, len};
}

enum { ADDED, NOT_MOVABLE, NO_ROOM };

/*
 * What the protocol has to save comes behind the others' of the batch; a state that has no room
 * there begins the next one. The memory is not touched beyond what is saved.
 */
static int export_conn(struct move_out *t, const struct move_flight *f, struct arb_conn *c,
                       struct moved_record *ret)
{
    struct move_scratch *s = t->scratch;
    int rc = -ENOMEM;

    if (!s->states && conn_has_state(c))
        s->states = malloc(ARB_STATE_MAX);
    if (s->states || !conn_has_state(c))
        rc = conn_export(c, s->states ? s->states + s->states_len : NULL,
                         ARB_STATE_MAX - s->states_len, ret);
    if (rc == -ENOBUFS && f->count > 0)
        return NO_ROOM;
    if (rc == 0)
        return ADDED;
    t->error = rc;
    return NOT_MOVABLE;
}

/* @version is that of the batch: what has come of a header would be data in the old one. */
static int add_conn(struct move_out *t, struct move_flight *f, struct arb_conn *c, uint16_t version)
{
    struct move_scratch *s = t->scratch;
    uint8_t record[MOVED_RECORD_BYTES];
    struct moved_record r;
    uint64_t bytes;
    int rc;

    if (t->is_all && conn_is_fenced(c) && !(c->special & CONN_OWES)) {
        conn_wait_to_move(c);
        t->has_fenced = true;
    }
    if (!conn_is_movable(c) || ((c->special & CONN_AWAITS_HEADER) && version == MOVED_VERSION_OLD))
        return NOT_MOVABLE;
    rc = export_conn(t, f, c, &r);
    if (rc != ADDED)
        return rc;
    if (version == MOVED_VERSION_OLD && r.end > CONN_END_BROKEN)
        r.end = CONN_END_CUT; /* a reason that the other does not know would cost it the batch */
    bytes = r.tail_len + r.output_len + r.state_len;
    if (f->count > 0 && f->bytes + bytes > MOVE_BULK_BYTES)
        return NO_ROOM;
    moved_put_record(&r, record);
    memcpy(s->records + f->count * moved_record_bytes(version), record,
           moved_record_bytes(version));
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

/*
 * Detach up to @max connections into @f, as far as they go together. Those that cannot be moved are
 * passed over. None at all = there are no more.
 */
static void collect_batch(struct move_out *t, struct move_flight *f, size_t max, uint16_t version)
{
    struct list *all = &t->set->all;

    conn_set_settle(t->set); /* what has news for its protocol does not leave before */
    list_init(&f->conns);
    f->count = 0;
    f->bytes = 0;
    t->scratch->n_iov = 1;
    t->scratch->states_len = 0;
    for (size_t n = t->set->n_open; f->count < max && n > 0 && !list_is_empty(all); n--) {
        struct arb_conn *c = container_of(all->next, struct arb_conn, link);
        const int rc = add_conn(t, f, c, version);

        if (rc == NO_ROOM)
            break;
        if (rc == NOT_MOVABLE) {
            conn_unlist(c);
            list_append(all, &c->link);
            if (t->set->keep)
                t->set->keep->is_disordered = true;
        }
    }
    t->is_exhausted = f->count == 0;
}

static void depart_all(const struct list *conns, uint8_t mark)
{
    struct list *link;

    list_for_each (link, conns)
        conn_depart(container_of(link, struct arb_conn, link), mark);
}

static void arrive_all(const struct list *conns)
{
    struct list *link;

    list_for_each (link, conns)
        conn_arrive(container_of(link, struct arb_conn, link));
}

/*
 * A crash comes before or after, but not when a batch is sent and has no marks of its own. A death
 * comes at any time: what has been sent may be the taker's, so the marks come first, and nothing
 * comes in between.
 */
static int send_marked(struct move_lane *lane, const struct move_flight *f, const uint8_t *head,
                       const int *fds)
{
    const uint32_t id = lane->rules.sent + 1;
    sigset_t mask;
    int rc;

    signals_block_all(&mask);
    depart_all(&f->conns, move_flight_mark(lane, id));
    rc = move_send(lane->fd, head, MOVED_BATCH_BYTES, fds, 1 + f->count);
    if (rc == 0)
        giving_sent(&lane->rules);
    else
        arrive_all(&f->conns);
    signals_restore(&mask);
    return rc;
}

static uint64_t position_of(const struct conn_set *set)
{
    return set->relay ? set->relay->end.position : 0;
}

/* What is on its way may come back, and has missed what came meanwhile. */
static void keep_messages(struct move_lane *lane)
{
    struct relay *relay = lane->owner->set->relay;

    if (relay && lane->relay.link.next)
        relay_give_floor(relay, &lane->relay,
                         giving_unanswered(&lane->rules) > 0
                             ? lane_flight(lane, lane->rules.answered + 1)->position
                             : RELAY_NOTHING);
}

/* Send what was collected as the lane's next batch. Returns 0 or -errno. */
static int post_batch(struct move_out *t, struct move_lane *lane, const struct move_flight *f)
{
    struct move_scratch *s = t->scratch;
    const size_t records = f->count * moved_record_bytes(lane->version);
    const struct moved_batch batch = {
        .version = lane->version,
        .id = lane->rules.sent + 1,
        .count = f->count,
        .bytes = records + f->bytes,
        .position = position_of(t->set),
    };
    uint8_t head[MOVED_BATCH_BYTES];
    int rc;

    s->iov[0] = (struct iovec){s->records, records};
    s->fds[0] = move_file(s->iov, s->n_iov);
    if (s->fds[0] < 0)
        return s->fds[0];
    moved_put_batch(&batch, head);
    rc = send_marked(lane, f, head, s->fds);
    fds_close(&s->fds[0]);
    return rc;
}

/* --- who of several takers gets how many ------------------------------------------------------ */

/*
 * How many of what is left go over @lane, so that in the end all takers have been given as many. A
 * slow taker gets none while there is a quick one.
 */
static size_t share_of(const struct move_out *t, const struct move_lane *lane)
{
    size_t n = 0, rank = 0, total = t->left, fair;
    bool is_any_quick = false;

    for (size_t k = 0; k < t->n_lanes; k++)
        is_any_quick |= lane_is_open(&t->lanes[k]) && !lane_is_slow(&t->lanes[k]);
    if (!lane_is_open(lane) || (is_any_quick && lane_is_slow(lane)))
        return 0;
    for (size_t k = 0; k < t->n_lanes; k++) {
        const struct move_lane *other = &t->lanes[k];

        if (!lane_is_open(other) || (is_any_quick && lane_is_slow(other)))
            continue;
        rank += other < lane;
        n++;
        total += other->n_given;
    }
    assert(n > 0); /* @lane is one of them */
    fair = total / n + (rank < total % n);
    return fair > lane->n_given ? MIN(fair - lane->n_given, t->left) : 0;
}

/* --- giving ----------------------------------------------------------------------------------- */

static bool has_more(const struct move_out *t)
{
    return t->left > 0 && !t->is_exhausted;
}

/* What the taker has room for, less what is on its way to it. */
static size_t room_of(struct move_lane *lane)
{
    size_t flying = 0;

    for (uint32_t id = lane->rules.answered + 1; id <= lane->rules.sent; id++)
        flying += lane_flight(lane, id)->count;
    return lane->room > flying ? lane->room - flying : 0;
}

/* Ours again; perhaps another taker wants them. */
static void resume(struct move_out *t, struct move_flight *f)
{
    for (struct arb_conn *c; (c = conn_pop(&f->conns));)
        conn_resume(c);
    f->count = 0;
    t->is_exhausted = false;
}

/* Until it is sent, it is served: a batch that cannot go now is dissolved. */
static int send_batch(struct move_out *t, struct move_lane *lane)
{
    struct move_flight *f = lane_flight(lane, lane->rules.sent + 1);
    const size_t room = MIN(share_of(t, lane), room_of(lane));
    int rc;

    collect_batch(t, f, MIN(room, t->batch_max), lane->version);
    if (f->count == 0)
        return 0;
    rc = post_batch(t, lane, f);
    if (rc < 0) {
        resume(t, f);
        return rc;
    }
    f->position = position_of(t->set);
    keep_messages(lane);
    lane->n_given += f->count;
    t->left -= f->count;
    t->flight_bytes += f->bytes;
    t->stuck_pulses = 0;
    t->retry_ms = RETRY_MIN_MS;
    return 0;
}

/* --- one taker -------------------------------------------------------------------------------- */

static void watch(struct move_lane *lane, int events)
{
    if (lane->fd >= 0)
        io_watch(lane->owner->set->loop, &lane->io, lane->fd, events);
}

static void start_retry(struct move_out *t, unsigned ms)
{
    if (ev_is_active(&t->retry))
        return;
    ev_timer_set(&t->retry, ms / 1e3, 0.);
    ev_timer_start(t->set->loop, &t->retry);
}

static void on_cannot_send(struct move_out *t, struct move_lane *lane, int error)
{
    switch (error) {
    case -EPIPE:
    case -ECONNRESET:
    case -ENOTCONN: /* reading finds what it has answered, and the end */
        giving_close(&lane->rules);
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

static void fill(struct move_out *t, struct move_lane *lane)
{
    while (giving_may_send(&lane->rules) && has_more(t) && share_of(t, lane) > 0 &&
           room_of(lane) > 0 && t->flight_bytes < MOVE_FLIGHT_BYTES) {
        const int rc = send_batch(t, lane);

        if (rc < 0) {
            on_cannot_send(t, lane, rc);
            return;
        }
    }
    if (lane->rules.phase == GIVING_OPEN && lane->room == 0 && giving_unanswered(&lane->rules) == 0)
        giving_close(&lane->rules);
}

/* A taker that turns out to be full, or gone, leaves its share to all the others. */
static void fill_all(struct move_out *t)
{
    bool has_closed = true;

    while (has_closed) {
        has_closed = false;
        for (size_t i = 0; i < t->n_lanes; i++) {
            const bool was_open = lane_is_open(&t->lanes[i]);

            fill(t, &t->lanes[i]);
            has_closed |= was_open && !lane_is_open(&t->lanes[i]);
        }
    }
}

static void settle_flight(struct move_lane *lane, uint32_t id, enum giving_outcome outcome)
{
    struct move_out *t = lane->owner;
    struct move_flight *f = lane_flight(lane, id);

    t->flight_bytes -= f->bytes;
    if (outcome == GIVING_RESUME) {
        t->left += f->count;
        lane->n_given -= f->count;
        resume(t, f);
        keep_messages(lane);
        return;
    }
    keep_messages(lane);
    t->n_moved += f->count;
    t->batch_max = MIN(t->batch_max * 2, (size_t)MOVED_COUNT_MAX);
    for (struct arb_conn *c; (c = conn_pop(&f->conns));) {
        conn_give_away(c);
        conn_forget(c);
    }
}

/*
 * The taker has refused a batch that it has room for: one of its connections must be the reason.
 * Smaller batches find out which. Single ones are offered in turn: when as many have been refused
 * as there are, all of them have been.
 */
static void on_unwanted(struct move_out *t, struct move_lane *lane, uint32_t count)
{
    if (count > 1)
        t->batch_max = MIN(t->batch_max, (size_t)count / 2);
    else if (++lane->n_unwanted >= MIN((size_t)MOVE_UNWANTED_MAX, t->set->n_open))
        giving_close(&lane->rules);
}

/* The answer concerns batch @id, unless its outcome is GIVING_NOTHING. */
static void on_answer(struct move_out *t, struct move_lane *lane, uint32_t id,
                      const struct moved_answer *answer, enum giving_outcome outcome)
{
    const uint32_t count = lane_flight(lane, id)->count;

    lane->room = answer->room;
    if (answer->id == 0)
        lane->version = answer->version;
    lane->quiet_pulses = 0;
    t->stuck_pulses = 0;
    if (outcome == GIVING_RELEASE)
        lane->n_unwanted = 0;
    if (outcome == GIVING_RESUME && answer->room >= count)
        on_unwanted(t, lane, count);
    if (outcome != GIVING_NOTHING)
        settle_flight(lane, id, outcome);
}

static void close_lane(struct move_lane *lane)
{
    if (lane->owner->set->relay)
        relay_move_end(lane->owner->set->relay, &lane->relay);
    move_crash_unwatch(lane);
    ev_io_stop(lane->owner->set->loop, &lane->io);
    fds_close(&lane->fd);
}

/* A crash comes before or after, but not when a batch is settled and has its old marks. */
static int hear_and_mark(struct move_lane *lane, struct moved_answer *ret,
                         enum giving_outcome *ret_outcome)
{
    const struct move_flight *f = lane_flight(lane, lane->rules.answered + 1);
    sigset_t mask;
    int rc;

    signals_block_all(&mask);
    rc = move_hear(lane, ret, ret_outcome);
    if (*ret_outcome == GIVING_RELEASE)
        depart_all(&f->conns, CONN_MARK_MOVING);
    else if (*ret_outcome == GIVING_RESUME)
        arrive_all(&f->conns);
    signals_restore(&mask);
    return rc;
}

/* --- all of them ------------------------------------------------------------------------------ */

static void stop_giving(struct move_out *t)
{
    for (size_t i = 0; i < t->n_lanes; i++)
        close_lane(&t->lanes[i]);
    ev_timer_stop(t->set->loop, &t->pulse);
    ev_timer_stop(t->set->loop, &t->retry);
    if (t->scratch)
        free(t->scratch->states);
    free(t->scratch);
    t->scratch = NULL;
}

static void end_giving(struct move_out *t)
{
    stop_giving(t);
    t->took_ns = clock_mono_ns() - t->started_ns;
    t->n_owed = t->set->n_owing;
    t->n_stayed =
        MIN(t->is_all ? SIZE_MAX : t->left, t->set->n_open - t->n_owed - conn_set_rooted(t->set));
    t->is_done = true;
}

/* Sends what can be sent now, and sees whether that was all. */
static void give_more(struct move_out *t)
{
    bool is_any_open = false, is_quick_awaited = false, is_unanswered = false;

    if (t->is_done)
        return;
    if (t->has_fenced)
        t->is_exhausted = t->has_fenced = false;
    fill_all(t);
    for (size_t i = 0; i < t->n_lanes; i++) {
        const struct move_lane *lane = &t->lanes[i];

        is_any_open |= lane_is_open(lane);
        is_unanswered |= giving_unanswered(&lane->rules) > 0;
        is_quick_awaited |= giving_unanswered(&lane->rules) > 0 && !lane_is_slow(lane);
    }
    t->is_sending = is_quick_awaited || ((has_more(t) || t->has_fenced) && is_any_open);
    if (!is_unanswered && !t->is_sending)
        end_giving(t);
    t->on_change(t);
}

static void on_lane_io(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct move_lane *lane = container_of(io, struct move_lane, io);
    struct move_out *t = lane->owner;

    if (revents & EV_WRITE)
        watch(lane, EV_READ);
    for (int i = 0; i < ANSWERS_PER_EVENT; i++) {
        const uint32_t oldest = lane->rules.answered + 1;
        struct moved_answer answer;
        enum giving_outcome outcome;
        const int rc = hear_and_mark(lane, &answer, &outcome);

        if (rc < 0)
            break;
        if (rc == 0) {
            on_answer(t, lane, oldest, &answer, outcome);
            continue;
        }
        if (outcome == GIVING_NOTHING) {
            close_lane(lane);
            break;
        }
        settle_flight(lane, oldest, outcome);
    }
    give_more(t);
}

void move_out_go_on(struct move_out *t)
{
    if (t->has_fenced)
        give_more(t);
}

static void on_retry(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    give_more(container_of(timer, struct move_out, retry));
}

static void on_pulse(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct move_out *t = container_of(timer, struct move_out, pulse);
    bool is_unanswered = false;

    for (size_t i = 0; i < t->n_lanes; i++) {
        struct move_lane *lane = &t->lanes[i];

        is_unanswered |= giving_unanswered(&lane->rules) > 0;
        lane->quiet_pulses += lane_is_awaited(lane);
    }
    if (!is_unanswered && ++t->stuck_pulses >= MOVE_STUCK_PULSES)
        for (size_t i = 0; i < t->n_lanes; i++)
            giving_close(&t->lanes[i].rules);
    give_more(t);
}

int move_give(struct move_out *t, struct conn_set *set, const int *fds, size_t n_fds, size_t count,
              move_out_on_change *on_change)
{
    assert(n_fds <= MOVE_LANES_MAX);
    *t = (struct move_out){
        .set = set,
        .on_change = on_change,
        .n_lanes = n_fds,
        .retry_ms = RETRY_MIN_MS,
        .left = MIN(count, set->n_open - set->n_owing),
        .is_all = count == SIZE_MAX,
        .batch_max = MOVED_COUNT_MAX,
        .started_ns = clock_mono_ns(),
        .is_sending = true,
    };
    ev_timer_init(&t->retry, on_retry, 0., 0.);
    ev_timer_init(&t->pulse, on_pulse, MOVE_PULSE_MS / 1e3, MOVE_PULSE_MS / 1e3);
    for (size_t i = 0; i < n_fds; i++) {
        struct move_lane *lane = &t->lanes[i];

        lane->owner = t;
        lane->fd = fds[i];
        lane->version = MOVED_VERSION_OLD;
        if (set->relay)
            relay_give_begin(set->relay, &lane->relay);
        move_crash_watch(lane);
        ev_io_init(&lane->io, on_lane_io, lane->fd, EV_READ);
        ev_io_start(set->loop, &lane->io);
    }
    t->scratch = calloc(1, sizeof(struct move_scratch));
    if (!t->scratch) {
        move_out_fini(t);
        return -ENOMEM;
    }
    ev_timer_start(set->loop, &t->pulse);
    start_retry(t, 0);
    return 0;
}

void move_out_fini(struct move_out *t)
{
    for (size_t i = 0; i < t->n_lanes; i++) {
        struct move_lane *lane = &t->lanes[i];

        for (uint32_t id = lane->rules.answered + 1; id <= lane->rules.sent; id++)
            settle_flight(lane, id, GIVING_RELEASE);
    }
    stop_giving(t);
}
