/*
 * Deadlines of connections: one wheel, one timer, stopped when nothing waits. Runs in a worker.
 *
 * A connection has at most one deadline at a time, computed from its state. The wheel is only asked
 * to look again in time; whether it is due is decided here, and what follows is done in conn_io.
 * The clock is read at most once per turn of the loop, and only by who needs it. It is monotonic:
 * ev_now() is the wall clock, which jumps.
 */
#include "net/conn_impl.h"

#include "base/clock.h"

/* Past the tick's edge, so that the timer never comes just before it. */
enum { SLACK_MS = 2 };

/* So many times within write_timeout what the peer has taken is looked at. */
enum { VISITS_A_TIMEOUT = 8 };

/* Ticks before the set began: what comes from another process is older than the set. */
enum { PAST_TICKS = 1 << 30 };

void conn_read_clock(struct conn_set *set)
{
    set->turn = ev_iteration(set->loop);
    set->tick = (uint32_t)((set->clock_ms() - set->base_ms) / CONN_TICK_MS);
}

uint32_t conn_now(struct conn_set *set)
{
    if (set->turn != ev_iteration(set->loop))
        conn_read_clock(set);
    return set->tick;
}

/* The tick that has begun is half gone on average: one more, so that nobody is cut short. */
static uint32_t after(uint32_t tick, uint64_t timeout_ms)
{
    const uint64_t ticks = (timeout_ms + CONN_TICK_MS - 1) / CONN_TICK_MS + 1;

    if (timeout_ms == 0)
        return WHEEL_NONE;
    return ticks < WHEEL_NONE - tick ? tick + (uint32_t)ticks : WHEEL_NONE - 1;
}

uint32_t conn_age_ms(struct conn_set *set, uint32_t tick)
{
    const uint64_t ms = (uint64_t)(conn_now(set) - tick) * CONN_TICK_MS;

    return (uint32_t)MIN(ms, (uint64_t)UINT32_MAX);
}

uint32_t conn_tick_of_age(struct conn_set *set, uint64_t age_ms)
{
    const uint32_t now = conn_now(set);

    return now - (uint32_t)MIN((uint64_t)now, age_ms / CONN_TICK_MS);
}

uint64_t conn_life_ms(const struct arb_conn *c)
{
    return (uint64_t)(conn_now(conn_set_of(c)) - c->node.owners) * CONN_TICK_MS;
}

/* The tick at which the patience with @c ends, WHEEL_NONE for never. */
static uint32_t conn_deadline(const struct arb_conn *c)
{
    const struct conn_limits *limits = &conn_set_of(c)->limits;
    const uint32_t write_deadline =
        c->output.block ? after(c->progress, limits->write_timeout_ms) : WHEEL_NONE;

    if (c->phase == CONN_LINGERING)
        return after(c->since, CONN_LINGER_MS);
    if (c->phase != CONN_OPEN || c->is_paused || (c->special & (CONN_WAITS | CONN_ENDS_SOON)))
        return write_deadline;
    if (c->special & CONN_AWAITS_HEADER)
        return after(c->since, limits->message_timeout_ms);
    if (c->tail.block)
        return MIN(write_deadline, after(c->since, limits->message_timeout_ms));
    if (conn_is_idle(c))
        return MIN(after(c->since, limits->keep_alive_ms),
                   c->is_local ? after(c->progress, limits->write_timeout_ms) : WHEEL_NONE);
    return write_deadline;
}

static uint32_t wake_of(const struct arb_conn *c)
{
    return c->more && c->phase == CONN_OPEN ? c->more->wake : WHEEL_NONE;
}

static void start_sweep(struct conn_set *set)
{
    const uint64_t now = set->clock_ms() - set->base_ms;
    const uint64_t due = (uint64_t)set->sweep_tick * CONN_TICK_MS + SLACK_MS;

    set->sweep.repeat = (double)(due > now ? due - now : SLACK_MS) / 1e3;
    ev_timer_again(set->loop, &set->sweep);
}

/*
 * When something has to be looked at again: the deadline, or before it what the peer has taken of
 * the output. Nothing else tells of that: a socket becomes writable only when much of it is free.
 */
static uint32_t next_visit(const struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const uint32_t deadline = MIN(conn_deadline(c), wake_of(c));

    if (!c->output.block)
        return deadline;
    return MIN(deadline, after(conn_now(set), set->limits.write_timeout_ms / VISITS_A_TIMEOUT));
}

void conn_await_deadline(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const uint32_t tick = next_visit(c);

    if (c->node.tick <= tick) /* both may be WHEEL_NONE */
        return;
    if (set->sweep_tick == WHEEL_NONE)
        wheel_take(&set->wheel, conn_now(set)); /* empty: tell it the time */
    wheel_arm(&set->wheel, &c->node, tick);
    if (c->node.tick < set->sweep_tick) {
        set->sweep_tick = c->node.tick;
        start_sweep(set);
    }
}

void conn_set_wake(struct arb_conn *c, uint32_t ms)
{
    c->more->wake = after(conn_now(conn_set_of(c)), ms);
    if (!(c->special & CONN_DETACHED))
        conn_await_deadline(c);
}

uint32_t conn_wake_ms(const struct arb_conn *c)
{
    const uint32_t wake = wake_of(c), now = conn_now(conn_set_of(c));

    if (wake == WHEEL_NONE)
        return 0;
    return wake > now ? (uint32_t)MIN((uint64_t)(wake - now) * CONN_TICK_MS, (uint64_t)UINT32_MAX)
                      : 1;
}

enum conn_due conn_due(const struct arb_conn *c, uint32_t tick)
{
    const bool is_write_timed = c->output.block || (c->is_local && conn_is_idle(c));

    if (wake_of(c) <= tick)
        return CONN_DUE_WAKE;
    if (conn_deadline(c) > tick)
        return CONN_DUE_NOTHING;
    if (c->phase == CONN_LINGERING)
        return CONN_DUE_LINGER;
    if (is_write_timed && after(c->progress, conn_set_of(c)->limits.write_timeout_ms) <= tick)
        return CONN_DUE_WRITE;
    if (c->phase == CONN_OPEN && (c->special & CONN_AWAITS_HEADER))
        return CONN_DUE_HEADER;
    return c->tail.block ? CONN_DUE_MESSAGE : CONN_DUE_KEEP_ALIVE;
}

struct arb_conn *conn_next_visit(struct conn_set *set)
{
    struct wheel_node *node = wheel_take(&set->wheel, set->tick);

    if (node)
        return container_of(node, struct arb_conn, node);
    set->sweep_tick = wheel_next(&set->wheel);
    if (set->sweep_tick != WHEEL_NONE)
        start_sweep(set);
    else
        ev_timer_stop(set->loop, &set->sweep);
    return NULL;
}

void conn_time_init(struct conn_set *set,
                    void (*on_sweep)(struct ev_loop *loop, ev_timer *timer, int revents))
{
    set->clock_ms = clock_mono_ms;
    set->base_ms = set->clock_ms() - (uint64_t)PAST_TICKS * CONN_TICK_MS;
    conn_read_clock(set);
    set->sweep_tick = WHEEL_NONE;
    wheel_init(&set->wheel, 0);
    ev_timer_init(&set->sweep, on_sweep, 0., 0.);
    set->sweep.data = set;
}

void conn_time_fini(struct conn_set *set)
{
    ev_timer_stop(set->loop, &set->sweep);
}
