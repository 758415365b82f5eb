/*
 * The rules of keepers, explored: every interleaving of up to four workers, two keepers, what they
 * send each other, and what they do with connections and descriptor numbers, with a death of any of
 * them between any two acts. The orders of acts are the code's (keep_orders); the machines too.
 *
 * The world around them is the kernel's: queues that keep their order, where what a dead sender has
 * queued can still be received, and what is queued for a closed end is gone; a connection whose
 * last descriptor is closed has ended, which its peer sees.
 *
 * That the test can fail is shown by rules that are wrong on purpose, one after the other.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/hash.h"
#include "base/util.h"
#include "net/conn_marks.h"
#include "net/keep_rules.h"
#include "support/tables.h"

enum {
    WORKERS = 4,
    KEEPERS = 2,
    PAIRS = 4,
    NUMBERS = 2,
    CONNS = 2,
    UP_MAX = 3,
    DOWN_MAX = 2,
    FLIGHTS = 2,
    LANE_MAX = 2,
    BATCHES_MAX = 2,
    NOBODY = 255,
    SLOTS = 1 << 22, /* of worlds seen: a power of 2 */
};

/* Connections count from 1; 0 = none. */

enum kind { NOTHING, REGISTER, SWEEP, OFFER, TAKEN };

struct datagram {
    uint8_t kind, id, conn, number, serial; /* number NOBODY: refused */
};

/* A worker and its keeper. Bytes alone, here and below: a world is compared as it is. */
struct pair {
    uint8_t worker, keeper;
    uint8_t is_mailed; /* the worker has yet to be told */
    uint8_t is_worker_open, is_keeper_open;
    uint8_t n_up, n_down;
    struct datagram up[UP_MAX], down[DOWN_MAX];
    struct {
        uint8_t conn, serial;
    } held[NUMBERS];
    uint8_t phase, answered, sent; /* of the offers' struct giving */
    uint8_t flight[FLIGHTS];
};

struct number {
    uint8_t conn; /* what is open there */
    uint8_t mark, serial; /* as the table says; they outlive the worker */
    uint8_t is_served;
    uint8_t is_registered; /* a ghost, as the next: the keeper was told */
};

struct worker {
    uint8_t is_alive;
    uint8_t pair; /* NOBODY = no keeper */
    uint8_t is_linked, is_sweep_due, last_serial; /* struct keeping */
    uint8_t phase, is_accepted, received; /* its struct taking */
    uint8_t order, act, number, id; /* what it is at; order KEEP_ORDERS = nothing */
    struct number numbers[NUMBERS];
};

struct lane {
    uint8_t is_giver_open, is_taker_open;
    uint8_t phase, answered, sent; /* struct giving */
    uint8_t taking_phase, is_accepted, received; /* struct taking */
    uint8_t n_down, down[LANE_MAX]; /* connections */
    uint8_t n_up, up[LANE_MAX]; /* id * 2 + is taken */
    uint8_t flight[FLIGHTS]; /* the number, + 1, of each batch at the giver */
    uint8_t n_refused;
};

struct world {
    struct worker workers[WORKERS];
    struct pair pairs[PAIRS];
    struct lane lane; /* worker 0 gives to worker 1 */
    uint8_t is_keeper_alive[KEEPERS];
    uint8_t pending[KEEPERS][CONNS]; /* by keeper */
    uint8_t n_deaths;
    uint8_t has_lent; /* once */
    uint8_t has_failed; /* a send: once, or serials would never end */
    uint8_t has_arrived; /* the second connection */
    struct {
        uint8_t is_shut; /* its worker has ended it */
        uint8_t is_busy; /* a ghost: something is read and not answered */
        uint8_t is_unkept, n_refused;
        uint8_t is_excused; /* a ghost: a death at that moment costs it */
    } conns[CONNS];
};

/* ---- what is explored ---- */

struct scenario {
    const char *name;
    uint8_t n_workers, keeper_of[WORKERS], n_keepers;
    uint8_t deaths_max;
    bool has_lane, has_restart, has_lending, has_arrival, has_unkeep, has_refusals;
};

enum { HEIRS, NUMBERS_AGAIN, RESTART, LENT, MOVE_BETWEEN, MOVE_TO_HEIR, MOVE_AND_REUSE, SCENARIOS };

static const struct scenario scenarios[SCENARIOS] = {
    [HEIRS] = {.name = "a worker, its heir and a second heir",
               .n_workers = 3,
               .n_keepers = 1,
               .deaths_max = 3,
               .has_refusals = true},
    [NUMBERS_AGAIN] = {.name = "numbers used again, and state",
                       .n_workers = 2,
                       .n_keepers = 1,
                       .deaths_max = 2,
                       .has_arrival = true,
                       .has_unkeep = true},
    [RESTART] = {.name = "a keeper that is started anew",
                 .n_workers = 2,
                 .n_keepers = 1,
                 .deaths_max = 3,
                 .has_restart = true,
                 .has_refusals = true,
                 .has_arrival = true},
    [LENT] = {.name = "a worker that is lent to another keeper",
              .n_workers = 2,
              .n_keepers = 2,
              .deaths_max = 3,
              .has_lending = true,

              .has_refusals = true},
    [MOVE_BETWEEN] = {.name = "a move between two keepers",
                      .n_workers = 4,
                      .keeper_of = {0, 1, 0, 1},
                      .n_keepers = 2,
                      .deaths_max = 2,
                      .has_lane = true},
    [MOVE_TO_HEIR] = {.name = "a move to the heir",
                      .n_workers = 3,
                      .n_keepers = 1,
                      .deaths_max = 2,
                      .has_lane = true},
    [MOVE_AND_REUSE] = {.name = "a move, and the number used again",
                        .n_workers = 2,
                        .n_keepers = 1,
                        .deaths_max = 1,
                        .has_lane = true,
                        .has_arrival = true},
};

/* Rules that are wrong on purpose. */
enum wrong {
    RIGHT,
    SERIALS_DO_NOT_COUNT,
    OFFERED_AGAIN_TOO_EARLY,
    JUDGED_BEFORE_ALL_IS_READ,
    TAKEN_BEFORE_THE_TABLE,
    CLOSED_WITHOUT_SHUTDOWN,
    IDLE_BEFORE_THE_ANSWER,
    READ_BEFORE_BUSY,
    GIVEN_WITH_SHUTDOWN,
    GIVEN_AS_IDLE,
    REGISTERED_BEFORE_THE_SERIAL,
    OFFER_DROPPED_WITHOUT_KEEPER,
    LINKED_WITHOUT_NEW_SERIALS,
    MOVING_IS_PASSED_ON,
    NO_SWEEP_OF_WHAT_IS_GIVEN,
    WRONGS
};

/* The scenario that shows it. */
static const struct {
    const char *name;
    unsigned scenario;
} wrongs[WRONGS] = {
    [SERIALS_DO_NOT_COUNT] = {"serials do not count", MOVE_BETWEEN},
    [OFFERED_AGAIN_TOO_EARLY] = {"offered again before the heir's end of file", HEIRS},
    [JUDGED_BEFORE_ALL_IS_READ] = {"judged before the queue is read to its end", HEIRS},
    [TAKEN_BEFORE_THE_TABLE] = {"taken is said before the table says so", HEIRS},
    [CLOSED_WITHOUT_SHUTDOWN] = {"an end without shutdown and sweep", HEIRS},
    [IDLE_BEFORE_THE_ANSWER] = {"a taker that marks before it answers", MOVE_BETWEEN},
    [READ_BEFORE_BUSY] = {"a read before the mark", HEIRS},
    [GIVEN_WITH_SHUTDOWN] = {"a giver that shuts down what it gave", MOVE_BETWEEN},
    [GIVEN_AS_IDLE] = {"a giver that leaves the mark idle", MOVE_BETWEEN},
    [REGISTERED_BEFORE_THE_SERIAL] = {"registered before the table says so", MOVE_BETWEEN},
    [OFFER_DROPPED_WITHOUT_KEEPER] = {"an offer of a dead keeper that is not taken", HEIRS},
    [LINKED_WITHOUT_NEW_SERIALS] = {"a new keeper, and serials of the old one", LENT},
    [MOVING_IS_PASSED_ON] = {"what is moving is passed on", MOVE_BETWEEN},
    [NO_SWEEP_OF_WHAT_IS_GIVEN] = {"what was given away is not swept", MOVE_BETWEEN},
};

/* Where a world came from, for a trace. */
struct origin {
    uint32_t from; /* number of a world; the first one is its own */
    const char *step;
};

/*
 * Open addressing over hashes of 128 bits. Worlds themselves are kept until they are explored, the
 * first one first, so that a trace is as short as can be.
 */
static struct {
    uint64_t (*slots)[2];
    size_t n, size;
    struct origin *origins;
    struct world *queue;
    size_t first, n_queued, queue_size;
} seen;

static uint32_t now_at; /* number of the world that is explored */
static const struct scenario *scenario;
static enum wrong wrong;
static const char *violation; /* of a wrong rule */
static uint8_t orders[KEEP_ORDERS][KEEP_ACTS_MAX];
static size_t n_final;
static size_t n_passed_on, n_lost, n_windows;

static void print_trace(uint32_t at)
{
    if (seen.origins[at].from != at)
        print_trace(seen.origins[at].from);
    print_message("  %s\n", seen.origins[at].step);
}

static void violate(const char *what)
{
    if (wrong == RIGHT) {
        print_trace(now_at);
        fail_msg("%s: %s", scenario->name, what);
    }
    violation = what;
}

static void enqueue(const struct world *w)
{
    if (seen.first > 0 && seen.first + seen.n_queued == seen.queue_size) {
        memmove(seen.queue, seen.queue + seen.first, seen.n_queued * sizeof(*w));
        seen.first = 0;
    }
    if (seen.n_queued == seen.queue_size) {
        seen.queue_size = MAX(2 * seen.queue_size, (size_t)1024);
        seen.queue = realloc(seen.queue, seen.queue_size * sizeof(*w));
        assert_non_null(seen.queue);
    }
    seen.queue[seen.first + seen.n_queued++] = *w;
}

static void visit(const struct world *w, uint32_t from, const char *step)
{
    const uint8_t *p = (const uint8_t *)w;
    uint64_t a = 1, b = 2;
    size_t at;

    for (size_t i = 0; i < sizeof(*w); i += sizeof(uint64_t)) {
        uint64_t v = 0;

        memcpy(&v, p + i, MIN(sizeof(v), sizeof(*w) - i));
        a = (a ^ v) * UINT64_C(0x9fb21c651e98df25);
        a ^= a >> 32;
        b = (b + v) * UINT64_C(0xd6e8feb86659fd93);
        b ^= b >> 29;
    }
    a |= 1; /* 0 = an empty slot */
    for (at = b & (seen.size - 1); seen.slots[at][0]; at = (at + 1) & (seen.size - 1))
        if (seen.slots[at][0] == a && seen.slots[at][1] == b)
            return;
    assert_true(seen.n < seen.size / 4 * 3);
    seen.slots[at][0] = a;
    seen.slots[at][1] = b;
    seen.origins[seen.n] = (struct origin){from, step};
    seen.n++;
    enqueue(w);
}

/* ---- who has what ---- */

static unsigned count_servers(const struct world *w, uint8_t conn)
{
    unsigned n = 0;

    for (unsigned p = 0; p < scenario->n_workers; p++)
        for (unsigned i = 0; w->workers[p].is_alive && i < NUMBERS; i++)
            n += w->workers[p].numbers[i].conn == conn && w->workers[p].numbers[i].is_served;
    return n;
}

static bool is_pending(const struct world *w, uint8_t conn)
{
    return w->pending[0][conn - 1] || w->pending[1][conn - 1];
}

/* Does any descriptor of it exist, in a process or on its way? */
static bool is_held(const struct world *w, uint8_t conn)
{
    for (unsigned p = 0; p < WORKERS; p++)
        for (unsigned i = 0; i < NUMBERS; i++)
            if (w->workers[p].numbers[i].conn == conn)
                return true;
    for (unsigned q = 0; q < PAIRS; q++) {
        const struct pair *pair = &w->pairs[q];

        for (unsigned i = 0; i < pair->n_up; i++)
            if (pair->up[i].conn == conn)
                return true;
        for (unsigned i = 0; i < pair->n_down; i++)
            if (pair->down[i].conn == conn)
                return true;
        for (unsigned i = 0; i < NUMBERS; i++)
            if (pair->held[i].conn == conn)
                return true;
        for (unsigned i = 0; i < FLIGHTS; i++)
            if (pair->flight[i] == conn)
                return true;
    }
    for (unsigned i = 0; i < w->lane.n_down; i++)
        if (w->lane.down[i] == conn)
            return true;
    return is_pending(w, conn);
}

/* Nobody is there to whom it could be offered: it waits for the next heir. */
static bool waits_for_heir(const struct world *w, uint8_t conn)
{
    for (unsigned q = 0; q < PAIRS; q++)
        if (w->pairs[q].is_keeper_open && w->pairs[q].is_worker_open &&
            w->pending[w->pairs[q].keeper][conn - 1])
            return false;
    return is_pending(w, conn);
}

static void check_world(const struct world *w)
{
    for (uint8_t c = 1; c <= CONNS; c++)
        if (count_servers(w, c) > 1)
            violate("two owners");
}

/* Nothing can happen any more but deaths and what servers decide. */
static void check_final(const struct world *w)
{
    n_final++;
    for (uint8_t c = 1; c <= 1 + w->has_arrived; c++) {
        if (count_servers(w, c) == 1 || w->conns[c - 1].is_shut)
            continue;
        if (waits_for_heir(w, c))
            continue;
        n_lost++;
        if (is_held(w, c))
            violate("lost, and nobody sees it");
        else if (!w->conns[c - 1].is_excused)
            violate(w->n_deaths > 0 ? "lost by a death that should not cost it"
                                    : "lost without a death");
    }
}

/* ---- machines as bytes ---- */

static struct giving giving_from(const uint8_t *b)
{
    struct giving g = {.answered = b[1], .sent = b[2]};

    memcpy(&g.phase, &(unsigned){b[0]}, sizeof(g.phase));
    return g;
}

static void giving_to(uint8_t *b, const struct giving *g)
{
    b[0] = (uint8_t)g->phase;
    b[1] = (uint8_t)g->answered;
    b[2] = (uint8_t)g->sent;
}

static struct taking taking_from(const uint8_t *b)
{
    struct taking t = {.is_accepted = b[1], .received = b[2]};

    memcpy(&t.phase, &(unsigned){b[0]}, sizeof(t.phase));
    return t;
}

static void taking_to(uint8_t *b, const struct taking *t)
{
    b[0] = (uint8_t)t->phase;
    b[1] = t->is_accepted;
    b[2] = (uint8_t)t->received;
}

static struct keeping keeping_from(const struct worker *p)
{
    return (struct keeping){.is_linked = p->is_linked,
                            .is_sweep_due = p->is_sweep_due,
                            .last_serial = p->last_serial,
                            .offers = taking_from(&p->phase)};
}

static void keeping_to(struct worker *p, const struct keeping *k)
{
    p->is_linked = k->is_linked;
    p->is_sweep_due = k->is_sweep_due;
    p->last_serial = (uint8_t)k->last_serial;
    taking_to(&p->phase, &k->offers);
}

/* ---- queues ---- */

static struct datagram pop_datagram(struct datagram *queue, uint8_t *n)
{
    const struct datagram d = queue[0];

    memmove(queue, queue + 1, (size_t)(*n - 1) * sizeof(d));
    queue[--*n] = (struct datagram){0};
    return d;
}

static uint8_t pop_byte(uint8_t *queue, uint8_t *n)
{
    const uint8_t b = queue[0];

    memmove(queue, queue + 1, (size_t)(*n - 1));
    queue[--*n] = 0;
    return b;
}

static void lose_up(struct pair *pair)
{
    pair->is_keeper_open = 0;
    pair->n_up = 0;
    memset(pair->up, 0, sizeof(pair->up));
    memset(pair->held, 0, sizeof(pair->held));
    memset(pair->flight, 0, sizeof(pair->flight));
    pair->phase = pair->answered = pair->sent = 0;
}

static void lose_down(struct pair *pair)
{
    pair->is_worker_open = pair->is_mailed = 0;
    pair->n_down = 0;
    memset(pair->down, 0, sizeof(pair->down));
}

static void close_giver(struct world *w)
{
    w->lane.is_giver_open = 0;
    w->lane.n_up = 0;
    memset(w->lane.up, 0, sizeof(w->lane.up));
}

static void close_taker(struct world *w)
{
    w->lane.is_taker_open = 0;
    w->lane.n_down = 0;
    memset(w->lane.down, 0, sizeof(w->lane.down));
}

/* ---- a worker ---- */

static struct pair *pair_of(struct world *w, const struct worker *p)
{
    return p->pair == NOBODY ? NULL : &w->pairs[p->pair];
}

static void forget_serials(struct worker *p)
{
    for (unsigned i = 0; i < NUMBERS; i++)
        p->numbers[i].serial = p->numbers[i].is_registered = 0;
}

static void begin_order(struct worker *p, enum keep_order order, unsigned number, uint8_t id)
{
    p->order = (uint8_t)order;
    p->act = 0;
    p->number = (uint8_t)number;
    p->id = id;
}

static void end_order(struct worker *p)
{
    p->order = KEEP_ORDERS;
    p->act = p->number = p->id = 0;
}

static int free_number(const struct worker *p)
{
    for (int i = 0; i < NUMBERS; i++)
        if (!p->numbers[i].conn)
            return i;
    return -1;
}

/* Returns 0 or -errno, as a send to the keeper would. */
static int send_up(struct world *w, struct worker *p, struct datagram d)
{
    struct pair *pair = pair_of(w, p);

    if (!pair || !pair->is_keeper_open)
        return -EPIPE;
    if (pair->n_up == UP_MAX)
        return -EAGAIN;
    pair->up[pair->n_up++] = d;
    return 0;
}

static void on_sent(struct worker *p, int result)
{
    struct keeping k = keeping_from(p);
    const enum keeping_outcome outcome = keeping_sent(&k, result);

    keeping_to(p, &k);
    if (outcome == KEEPING_GONE)
        forget_serials(p);
}

static bool send_register(struct world *w, struct worker *p, bool is_failing)
{
    struct number *n = &p->numbers[p->number];
    int rc = -EPIPE;

    if (is_failing && !p->is_linked)
        return false;
    if (p->is_linked)
        rc = is_failing
                 ? -ETOOMANYREFS
                 : send_up(w, p, (struct datagram){REGISTER, 0, n->conn, p->number, n->serial});
    if (p->is_linked)
        on_sent(p, rc);
    n->is_registered = rc == 0;
    if (rc < 0)
        n->serial = 0;
    return true;
}

static bool send_taken(struct world *w, struct worker *p)
{
    struct number *n = &p->numbers[p->number];
    struct keeping k = keeping_from(p);
    const int rc = send_up(w, p, (struct datagram){TAKEN, p->id, 0, p->number, n->serial});
    const enum keeping_answer answer = keeping_answered(&k, rc);

    if (answer == KEEPING_ANSWER_LATER)
        return false;
    keeping_to(p, &k);
    if (answer == KEEPING_ANSWER_KEPT)
        n->is_registered = 1;
    else
        forget_serials(p);
    if (answer == KEEPING_ANSWER_OWN && wrong == OFFER_DROPPED_WITHOUT_KEEPER) {
        begin_order(p, KEEP_ORDER_DROP, p->number, 0);
        p->act--;
    }
    return true;
}

static bool send_batch(struct world *w, struct worker *p)
{
    struct giving g = giving_from(&w->lane.phase);

    if (!w->lane.is_taker_open) { /* EPIPE: the batch stays */
        begin_order(p, KEEP_ORDER_RESUME, p->number, 0);
        p->act--;
        return true;
    }
    giving_sent(&g);
    giving_to(&w->lane.phase, &g);
    w->lane.flight[g.sent % FLIGHTS] = (uint8_t)(p->number + 1);
    w->lane.down[w->lane.n_down++] = p->numbers[p->number].conn;
    return true;
}

static bool send_answer(struct world *w, struct worker *p, bool is_failing)
{
    struct taking t = taking_from(&w->lane.taking_phase);
    const int rc = is_failing ? -ENOBUFS : w->lane.is_giver_open ? 0 : -EPIPE;

    if (is_failing && !w->lane.is_giver_open)
        return false;
    if (rc == 0)
        w->lane.up[w->lane.n_up++] = (uint8_t)(t.received * 2 + 1);
    if (taking_answered(&t, rc) == TAKING_DROP) {
        close_taker(w);
        begin_order(p, KEEP_ORDER_DROP, p->number, 0);
        p->act--;
    }
    taking_to(&w->lane.taking_phase, &t);
    return true;
}

static void shut_down(struct world *w, uint8_t conn)
{
    if (count_servers(w, conn) > 0)
        violate("ended while another serves it");
    w->conns[conn - 1].is_shut = 1;
}

/* The next act of @p. Returns whether it could be done. */
static bool act_next(struct world *w, struct worker *p, bool is_failing)
{
    const enum keep_act act = orders[p->order][p->act];
    struct number *n = &p->numbers[p->number];
    struct keeping k;

    if (is_failing && (w->has_failed || (act != KEEP_SEND_REGISTER && act != KEEP_SEND_ANSWER)))
        return false;
    w->has_failed |= is_failing;
    switch (act) {
    case KEEP_MARK_FREE:
        n->mark = CONN_MARK_FREE;
        break;
    case KEEP_MARK_AS_IT_IS:
        n->mark = CONN_MARK_IDLE;
        break;
    case KEEP_MARK_BUSY:
        n->mark = CONN_MARK_BUSY;
        break;
    case KEEP_MARK_MOVING:
        n->mark = CONN_MARK_MOVING;
        break;
    case KEEP_SERIAL_NEW:
        k = keeping_from(p);
        n->serial = (uint8_t)keeping_serial(&k);
        keeping_to(p, &k);
        break;
    case KEEP_SERIAL_NONE:
        n->serial = n->is_registered = 0;
        break;
    case KEEP_SEND_REGISTER:
        if (!send_register(w, p, is_failing))
            return false;
        break;
    case KEEP_SEND_TAKEN:
        if (!send_taken(w, p))
            return false;
        break;
    case KEEP_SEND_BATCH:
        if (!send_batch(w, p))
            return false;
        break;
    case KEEP_SEND_ANSWER:
        if (!send_answer(w, p, is_failing))
            return false;
        break;
    case KEEP_READ:
        w->conns[n->conn - 1].is_busy = 1;
        break;
    case KEEP_REPLY:
        w->conns[n->conn - 1].is_busy = 0;
        break;
    case KEEP_SERVE:
        if (w->conns[n->conn - 1].is_busy)
            violate("passed on in the middle of a message");
        n->is_served = 1;
        break;
    case KEEP_UNWATCH:
        n->is_served = 0;
        break;
    case KEEP_SHUTDOWN:
        shut_down(w, n->conn);
        break;
    case KEEP_CLOSE:
        n->conn = n->is_served = 0;
        break;
    case KEEP_SWEEP_DUE:
        p->is_sweep_due = p->is_linked;
        break;
    case KEEP_ACTS_END:
        break;
    }
    if (++p->act == KEEP_ACTS_MAX || orders[p->order][p->act] == KEEP_ACTS_END)
        end_order(p);
    return true;
}

/* What the worker may begin with a connection that it serves. */
static bool begin(struct world *w, struct worker *p, enum keep_order order, unsigned number)
{
    const struct number *n = &p->numbers[number];
    const struct giving g = giving_from(&w->lane.phase);

    if (!n->conn || !n->is_served)
        return false;
    switch (order) {
    case KEEP_ORDER_REGISTER:
        if (!p->is_linked || n->serial || w->conns[n->conn - 1].is_unkept ||
            w->pairs[p->pair].n_up == UP_MAX)
            return false;
        break;
    case KEEP_ORDER_UNKEEP:
        if (!scenario->has_unkeep || !n->serial || w->conns[n->conn - 1].is_unkept)
            return false;
        w->conns[n->conn - 1].is_unkept = 1;
        break;
    case KEEP_ORDER_GIVE:
        if (!scenario->has_lane || p != &w->workers[0] || !w->lane.is_giver_open ||
            giving_unanswered(&g) >= FLIGHTS || !giving_may_send(&g) || n->conn != 1 ||
            g.sent == BATCHES_MAX)
            return false;
        break;
    case KEEP_ORDER_MESSAGE:
        if (scenario->has_lane) /* a connection moves between messages alone */
            return false;
        break;
    default:
        break;
    }
    begin_order(p, order, number, 0);
    return true;
}

static bool accept_second(struct world *w, struct worker *p)
{
    const int number = free_number(p);

    if (!scenario->has_arrival || w->has_arrived || p != &w->workers[0] || number < 0)
        return false;
    w->has_arrived = 1;
    p->numbers[number].conn = 2;
    p->numbers[number].mark = CONN_MARK_IDLE;
    p->numbers[number].is_served = 1;
    return true;
}

static bool sweep(struct world *w, struct worker *p)
{
    int rc;

    if (!p->is_sweep_due || !p->is_linked)
        return false;
    rc = send_up(w, p, (struct datagram){.kind = SWEEP});
    if (rc == -EAGAIN)
        return false;
    on_sent(p, rc);
    p->is_sweep_due = 0;
    return true;
}

static bool hear_offer(struct world *w, struct worker *p, bool is_welcome)
{
    struct pair *pair = pair_of(w, p);
    struct keeping k = keeping_from(p);
    const int number = free_number(p);
    struct datagram d;

    if (!pair || pair->n_down == 0 || (is_welcome && number < 0))
        return false;
    if (!is_welcome && (!scenario->has_refusals || w->conns[pair->down[0].conn - 1].n_refused ||
                        pair->n_up == UP_MAX))
        return false;
    d = pop_datagram(pair->down, &pair->n_down);
    taking_received(&k.offers, d.id, true);
    if (is_welcome) {
        keeping_to(p, &k);
        p->numbers[number].conn = d.conn;
        begin_order(p, KEEP_ORDER_OFFERED, (unsigned)number, d.id);
        return true;
    }
    if (keeping_answered(&k, send_up(w, p, (struct datagram){TAKEN, d.id, 0, NOBODY, 0})) !=
        KEEPING_ANSWER_KEPT) {
        forget_serials(p);
        w->conns[d.conn - 1].is_excused = 1; /* what a dead keeper has offered is not welcome */
    }
    keeping_to(p, &k);
    return true;
}

static bool hear_keepers_end(struct world *w, struct worker *p)
{
    struct pair *pair = pair_of(w, p);

    if (!pair || pair->is_keeper_open || pair->n_down > 0)
        return false;
    lose_down(pair);
    p->pair = NOBODY;
    p->is_linked = p->is_sweep_due = 0;
    forget_serials(p);
    return true;
}

/* What the old keeper has offered was heard before. */
static bool hear_new_keeper(struct world *w, struct worker *p)
{
    struct pair *old = pair_of(w, p);
    struct keeping k = keeping_from(p);

    for (unsigned q = 0; q < PAIRS; q++) {
        if (!w->pairs[q].is_mailed || &w->workers[w->pairs[q].worker] != p)
            continue;
        if (old && old->n_down > 0)
            return false;
        if (wrong != LINKED_WITHOUT_NEW_SERIALS)
            forget_serials(p);
        if (old)
            lose_down(old);
        keeping_link(&k);
        keeping_to(p, &k);
        p->pair = (uint8_t)q;
        w->pairs[q].is_mailed = 0;
        return true;
    }
    return false;
}

static void settle(struct world *w, uint32_t id, enum giving_outcome outcome)
{
    struct worker *p = &w->workers[0];
    uint8_t *flight = &w->lane.flight[id % FLIGHTS];

    if (outcome == GIVING_NOTHING)
        return;
    begin_order(p, outcome == GIVING_RELEASE ? KEEP_ORDER_GIVEN : KEEP_ORDER_RESUME, *flight - 1u,
                0);
    *flight = 0;
}

static bool hear_answer(struct world *w)
{
    struct giving g = giving_from(&w->lane.phase);
    uint32_t oldest = g.answered + 1;
    uint8_t answer;

    if (!w->lane.is_giver_open || w->lane.n_up == 0)
        return false;
    answer = pop_byte(w->lane.up, &w->lane.n_up);
    settle(w, oldest, giving_answered(&g, answer / 2, answer % 2));
    giving_to(&w->lane.phase, &g);
    return true;
}

static bool hear_takers_end(struct world *w)
{
    struct giving g = giving_from(&w->lane.phase);
    const uint32_t oldest = g.answered + 1;

    if (!w->lane.is_giver_open || w->lane.is_taker_open || w->lane.n_up > 0)
        return false;
    settle(w, oldest, giving_ended(&g));
    giving_to(&w->lane.phase, &g);
    if (w->workers[0].order == KEEP_ORDERS)
        close_giver(w);
    return true;
}

static bool hear_batch(struct world *w, bool is_welcome)
{
    struct taking t = taking_from(&w->lane.taking_phase);
    struct worker *p = &w->workers[1];
    const int number = free_number(p);
    uint8_t conn;

    if (!w->lane.is_taker_open || w->lane.n_down == 0 || (is_welcome && number < 0))
        return false;
    if (!is_welcome && w->lane.n_refused)
        return false;
    conn = pop_byte(w->lane.down, &w->lane.n_down);
    taking_received(&t, t.received + 1, is_welcome);
    if (is_welcome) {
        p->numbers[number].conn = conn;
        begin_order(p, KEEP_ORDER_TAKE, (unsigned)number, 0);
    } else {
        w->lane.n_refused++;
        if (w->lane.is_giver_open)
            w->lane.up[w->lane.n_up++] = (uint8_t)(t.received * 2);
        else
            w->conns[conn - 1].is_excused = 1; /* what a dead giver has sent is not welcome */
        taking_answered(&t, w->lane.is_giver_open ? 0 : -EPIPE);
    }
    taking_to(&w->lane.taking_phase, &t);
    return true;
}

static bool hear_givers_end(struct world *w)
{
    if (!w->lane.is_taker_open || w->lane.is_giver_open || w->lane.n_down > 0)
        return false;
    close_taker(w);
    return true;
}

/* ---- a keeper ---- */

static void make_pending(struct world *w, unsigned keeper, uint8_t conn)
{
    uint8_t *pending = &w->pending[keeper][conn - 1];

    if (*pending)
        violate("pending twice");
    *pending = 1;
}

static void hear_taken(struct world *w, struct pair *pair, struct datagram d)
{
    struct giving g = giving_from(&pair->phase);
    uint8_t *flight = &pair->flight[d.id % FLIGHTS];
    const uint8_t conn = *flight;

    if (giving_answered(&g, d.id, true) != GIVING_RELEASE)
        violate("an answer out of turn");
    giving_to(&pair->phase, &g);
    *flight = 0;
    if (!conn)
        return;
    if (d.number == NOBODY) {
        w->conns[conn - 1].n_refused++;
        make_pending(w, pair->keeper, conn);
        return;
    }
    n_passed_on++;
    pair->held[d.number].conn = conn;
    pair->held[d.number].serial = d.serial;
}

static enum keep_verdict judge(const struct number *n, uint8_t serial)
{
    uint8_t mark = n->mark, table_serial = n->serial;

    if (wrong == SERIALS_DO_NOT_COUNT)
        table_serial = serial;
    if (wrong == MOVING_IS_PASSED_ON && mark == CONN_MARK_MOVING)
        mark = CONN_MARK_IDLE;
    return keep_judge(mark, table_serial, serial);
}

static bool hear_ward(struct world *w, struct pair *pair)
{
    const struct worker *p = &w->workers[pair->worker];
    struct datagram d;

    if (!pair->is_keeper_open || pair->n_up == 0)
        return false;
    d = pop_datagram(pair->up, &pair->n_up);
    if (d.kind == TAKEN)
        hear_taken(w, pair, d);
    if (d.kind == REGISTER) {
        pair->held[d.number].conn = d.conn;
        pair->held[d.number].serial = d.serial;
    }
    for (unsigned i = 0; d.kind == SWEEP && i < NUMBERS; i++)
        if (pair->held[i].conn && judge(&p->numbers[i], pair->held[i].serial) == KEEP_STALE)
            pair->held[i].conn = pair->held[i].serial = 0;
    return true;
}

static bool hear_wards_end(struct world *w, struct pair *pair)
{
    const struct worker *p = &w->workers[pair->worker];
    struct giving g = giving_from(&pair->phase);
    uint8_t flights[FLIGHTS];
    unsigned n_flights = 0;

    if (!pair->is_keeper_open || pair->is_worker_open ||
        (pair->n_up > 0 && wrong != JUDGED_BEFORE_ALL_IS_READ))
        return false;
    for (unsigned i = 0; i < NUMBERS; i++)
        if (pair->held[i].conn && judge(&p->numbers[i], pair->held[i].serial) == KEEP_IDLE)
            make_pending(w, pair->keeper, pair->held[i].conn);
    for (;;) {
        const uint32_t oldest = g.answered + 1;

        if (giving_ended(&g) == GIVING_NOTHING)
            break;
        flights[n_flights++] = pair->flight[oldest % FLIGHTS];
    }
    for (unsigned i = 0; i < n_flights; i++)
        if (flights[i])
            make_pending(w, pair->keeper, flights[i]);
    lose_up(pair);
    return true;
}

static bool offer(struct world *w, struct pair *pair, uint8_t conn)
{
    struct giving g = giving_from(&pair->phase);

    if (!pair->is_keeper_open || !pair->is_worker_open || !w->pending[pair->keeper][conn - 1] ||
        giving_unanswered(&g) >= FLIGHTS || !giving_may_send(&g) || pair->n_down == DOWN_MAX)
        return false;
    w->pending[pair->keeper][conn - 1] = 0;
    giving_sent(&g);
    giving_to(&pair->phase, &g);
    pair->flight[g.sent % FLIGHTS] = conn;
    pair->down[pair->n_down++] = (struct datagram){OFFER, (uint8_t)g.sent, conn, 0, 0};
    if (wrong == OFFERED_AGAIN_TOO_EARLY && w->workers[pair->worker].number == 0 &&
        w->n_deaths == 1) {
        w->pending[pair->keeper][conn - 1] = 1;
        pair->flight[g.sent % FLIGHTS] = 0;
    }
    return true;
}

static void make_pair(struct world *w, unsigned q, unsigned worker, unsigned keeper, bool is_mailed)
{
    const struct giving g = keep_offers();

    w->pairs[q] = (struct pair){.worker = (uint8_t)worker,
                                .keeper = (uint8_t)keeper,
                                .is_mailed = is_mailed,
                                .is_worker_open = 1,
                                .is_keeper_open = 1};
    giving_to(&w->pairs[q].phase, &g);
}

static bool start_keeper_anew(struct world *w)
{
    if (!scenario->has_restart || w->is_keeper_alive[0] || w->is_keeper_alive[1] ||
        w->pairs[scenario->n_workers].worker || w->pairs[scenario->n_workers].keeper)
        return false;
    w->is_keeper_alive[1] = 1;
    for (unsigned p = 0; p < scenario->n_workers; p++)
        if (w->workers[p].is_alive)
            make_pair(w, scenario->n_workers + p, p, 1, true);
    w->pairs[scenario->n_workers].keeper = 1;
    return true;
}

/* Another keeper for a worker whose first one lives. */
static bool lend(struct world *w, unsigned p)
{
    if (!scenario->has_lending || w->has_lent || !w->workers[p].is_alive || !w->is_keeper_alive[1])
        return false;
    w->has_lent = 1;
    make_pair(w, scenario->n_workers + p, p, 1, true);
    return true;
}

/* ---- deaths ---- */

static bool has_acted(const struct worker *p, enum keep_act act)
{
    for (unsigned i = 0; i < p->act; i++)
        if (orders[p->order][i] == act)
            return true;
    return false;
}

/* May the death of @p cost even one that is idle? See keep.md. */
static bool is_window(const struct worker *p)
{
    switch (p->order) {
    case KEEP_ORDER_GIVE:
        return has_acted(p, KEEP_MARK_MOVING);
    case KEEP_ORDER_RESUME:
        return !has_acted(p, KEEP_MARK_AS_IT_IS);
    case KEEP_ORDER_TAKE:
        return has_acted(p, KEEP_SEND_ANSWER) && !has_acted(p, KEEP_MARK_AS_IT_IS);
    default:
        return false;
    }
}

static void excuse(struct world *w, uint8_t conn)
{
    if (conn)
        w->conns[conn - 1].is_excused = 1;
}

/* Does the death of @p cost what it has at @i, idle or not? Not if it is somebody else's. */
static bool is_cost(const struct world *w, const struct worker *p, unsigned i)
{
    const struct number *n = &p->numbers[i];
    const bool has_keeper = p->pair != NOBODY && w->pairs[p->pair].is_keeper_open;
    const bool is_safe = n->mark == CONN_MARK_IDLE && n->is_registered && has_keeper;

    if (p->order == KEEP_ORDERS || p->number != i)
        return n->is_served && !is_safe;
    if (is_window(p)) {
        n_windows++;
        return true;
    }
    switch (p->order) {
    case KEEP_ORDER_END:
        return true;
    case KEEP_ORDER_OFFERED: /* the keeper's, until it is answered */
        return !has_keeper || (has_acted(p, KEEP_SEND_TAKEN) && !is_safe && !n->is_registered);
    case KEEP_ORDER_TAKE: /* the giver's, until it is answered */
        return (has_acted(p, KEEP_SEND_ANSWER) || !w->lane.is_giver_open) && !is_safe;
    case KEEP_ORDER_RESUME:
        return !is_safe;
    case KEEP_ORDER_DROP:
        return !w->lane.is_giver_open && !w->workers[0].is_alive;
    default:
        return n->is_served && !is_safe;
    }
}

static void excuse_worker(struct world *w, const struct worker *p)
{
    for (unsigned i = 0; i < NUMBERS; i++)
        if (p->numbers[i].conn && is_cost(w, p, i))
            excuse(w, p->numbers[i].conn);
    /* What its keeper has offered before it died, too, and what a giver has sent that is dead. */
    for (unsigned q = 0; q < PAIRS; q++)
        for (unsigned i = 0; &w->workers[w->pairs[q].worker] == p && i < w->pairs[q].n_down; i++)
            if (!w->pairs[q].is_keeper_open)
                excuse(w, w->pairs[q].down[i].conn);
    if (p == &w->workers[1] && !w->lane.is_giver_open)
        for (unsigned i = 0; i < w->lane.n_down; i++)
            excuse(w, w->lane.down[i]);
}

/* What waits for an heir, and what nobody but this keeper knows of. */
static void excuse_keeper(struct world *w, unsigned keeper)
{
    for (uint8_t c = 1; c <= CONNS; c++)
        if (w->pending[keeper][c - 1])
            excuse(w, c);
    for (unsigned q = 0; q < PAIRS; q++) {
        const struct pair *pair = &w->pairs[q];

        if (pair->keeper != keeper)
            continue;
        for (unsigned i = 0; i < pair->n_up; i++)
            if (pair->up[i].kind == TAKEN && pair->up[i].number == NOBODY)
                excuse(w, pair->flight[pair->up[i].id % FLIGHTS]);
        if (pair->is_worker_open)
            continue;
        for (unsigned i = 0; i < NUMBERS; i++)
            excuse(w, pair->held[i].conn);
        for (unsigned i = 0; i < FLIGHTS; i++)
            excuse(w, pair->flight[i]);
        for (unsigned i = 0; i < pair->n_up; i++)
            excuse(w, pair->up[i].conn);
    }
}

/* What the giver has sent and the taker did not take, but the giver has not heard that yet. */
static void excuse_flights(struct world *w)
{
    const struct worker *taker = &w->workers[1];

    for (unsigned i = 0; i < FLIGHTS; i++) {
        const uint8_t conn =
            w->lane.flight[i] ? w->workers[0].numbers[w->lane.flight[i] - 1].conn : 0;
        bool is_there = false;

        for (unsigned k = 0; k < w->lane.n_down; k++)
            is_there |= w->lane.down[k] == conn;
        for (unsigned k = 0; k < NUMBERS; k++)
            is_there |= taker->numbers[k].conn == conn &&
                        !(taker->order == KEEP_ORDER_DROP && taker->number == k);
        if (conn && !is_there) {
            excuse(w, conn);
            n_windows++;
        }
    }
}

static bool worker_dies(struct world *w, unsigned i)
{
    struct worker *p = &w->workers[i];

    if (!p->is_alive || w->n_deaths >= scenario->deaths_max)
        return false;
    w->n_deaths++;
    excuse_worker(w, p);
    if (i == 0 && scenario->has_lane)
        excuse_flights(w);
    p->is_alive = 0;
    end_order(p);
    for (unsigned n = 0; n < NUMBERS; n++)
        p->numbers[n].conn = p->numbers[n].is_served = p->numbers[n].is_registered = 0;
    for (unsigned q = 0; q < PAIRS; q++)
        if (w->pairs[q].worker == i && w->pairs[q].is_worker_open)
            lose_down(&w->pairs[q]);
    if (scenario->has_lane && i == 0 && w->lane.is_giver_open)
        close_giver(w);
    if (scenario->has_lane && i == 1 && w->lane.is_taker_open)
        close_taker(w);
    return true;
}

static bool keeper_dies(struct world *w, unsigned i)
{
    if (!w->is_keeper_alive[i] || w->n_deaths >= scenario->deaths_max)
        return false;
    w->n_deaths++;
    excuse_keeper(w, i);
    w->is_keeper_alive[i] = 0;
    memset(w->pending[i], 0, sizeof(w->pending[i]));
    for (unsigned q = 0; q < PAIRS; q++)
        if (w->pairs[q].keeper == i && w->pairs[q].is_keeper_open)
            lose_up(&w->pairs[q]);
    return true;
}

/* ---- all that can happen ---- */

static void follow(const struct world *next, const char *name)
{
    check_world(next);
    if (!violation)
        visit(next, now_at, name);
}

/* Something that has to happen some time, or that need not. */
#define STEP(is_needed, name, call)                                                                \
    do {                                                                                           \
        next = *w;                                                                                 \
        if (!violation && (call)) {                                                                \
            is_final &= !(is_needed);                                                              \
            follow(&next, name);                                                                   \
        }                                                                                          \
    } while (0)

static const char *const order_names[KEEP_ORDERS] = {
    [KEEP_ORDER_REGISTER] = "register", [KEEP_ORDER_MESSAGE] = "message",
    [KEEP_ORDER_END] = "end",           [KEEP_ORDER_UNKEEP] = "unkeep",
    [KEEP_ORDER_OFFERED] = "offered",   [KEEP_ORDER_GIVE] = "give",
    [KEEP_ORDER_GIVEN] = "given",       [KEEP_ORDER_RESUME] = "resume",
    [KEEP_ORDER_TAKE] = "take",         [KEEP_ORDER_DROP] = "drop",
};

static const enum keep_order begun_by_itself[] = {
    KEEP_ORDER_REGISTER, KEEP_ORDER_MESSAGE, KEEP_ORDER_END, KEEP_ORDER_UNKEEP, KEEP_ORDER_GIVE};

static bool explore_worker(const struct world *w, unsigned i)
{
    const bool is_at_it = w->workers[i].order != KEEP_ORDERS;
    bool is_final = true;
    struct world next;

    if (!w->workers[i].is_alive)
        return true;
    if (is_at_it) {
        const char *name = order_names[w->workers[i].order];

        STEP(true, name, act_next(&next, &next.workers[i], false));
        STEP(false, "a send fails", act_next(&next, &next.workers[i], true));
        return is_final;
    }
    for (size_t k = 0; k < ARRAY_SIZE(begun_by_itself); k++)
        for (unsigned n = 0; n < NUMBERS; n++)
            STEP(false, "begins", begin(&next, &next.workers[i], begun_by_itself[k], n));
    STEP(false, "accepts", accept_second(&next, &next.workers[i]));
    STEP(true, "sweeps", sweep(&next, &next.workers[i]));
    STEP(true, "hears an offer", hear_offer(&next, &next.workers[i], true));
    STEP(false, "refuses an offer", hear_offer(&next, &next.workers[i], false));
    STEP(true, "hears its keeper's end", hear_keepers_end(&next, &next.workers[i]));
    STEP(true, "hears of a new keeper", hear_new_keeper(&next, &next.workers[i]));
    if (scenario->has_lane && i == 0) {
        STEP(true, "hears an answer", hear_answer(&next));
        STEP(true, "hears the taker's end", hear_takers_end(&next));
    }
    if (scenario->has_lane && i == 1) {
        STEP(true, "hears a batch", hear_batch(&next, true));
        STEP(false, "refuses a batch", hear_batch(&next, false));
        STEP(true, "hears the giver's end", hear_givers_end(&next));
    }
    return is_final;
}

static bool explore_keepers(const struct world *w)
{
    bool is_final = true;
    struct world next;

    for (unsigned q = 0; q < PAIRS; q++) {
        STEP(true, "keeper hears", hear_ward(&next, &next.pairs[q]));
        STEP(true, "keeper judges", hear_wards_end(&next, &next.pairs[q]));
        for (uint8_t c = 1; c <= CONNS; c++)
            STEP(true, "keeper offers", offer(&next, &next.pairs[q], c));
    }
    STEP(true, "a new keeper", start_keeper_anew(&next));
    for (unsigned i = 0; i < scenario->n_workers; i++)
        STEP(false, "another keeper", lend(&next, i));
    return is_final;
}

static void explore(const struct world *w)
{
    bool is_final = true;
    struct world next;

    for (unsigned i = 0; i < scenario->n_workers; i++)
        is_final &= explore_worker(w, i);
    is_final &= explore_keepers(w);
    if (is_final && !violation)
        check_final(w);
    for (unsigned i = 0; i < scenario->n_workers; i++)
        STEP(false, "A WORKER DIES", worker_dies(&next, i));
    for (unsigned i = 0; i < KEEPERS; i++)
        STEP(false, "A KEEPER DIES", keeper_dies(&next, i));
}

static struct world first_world(void)
{
    struct world w;

    memset(&w, 0, sizeof(w));
    for (unsigned p = 0; p < WORKERS; p++) {
        struct keeping k = {0};

        w.workers[p].order = KEEP_ORDERS;
        w.workers[p].pair = NOBODY;
        if (p >= scenario->n_workers)
            continue;
        keeping_link(&k);
        keeping_to(&w.workers[p], &k);
        w.workers[p].is_alive = 1;
        w.workers[p].pair = (uint8_t)p;
        make_pair(&w, p, p, scenario->keeper_of[p], false);
    }
    for (unsigned i = 0; i < scenario->n_keepers; i++)
        w.is_keeper_alive[i] = 1;
    w.workers[0].numbers[0] = (struct number){.conn = 1, .mark = CONN_MARK_IDLE, .is_served = 1};
    if (scenario->has_lane) {
        const struct giving g = {.phase = GIVING_OPEN};
        const struct taking t = {.phase = TAKING_OPEN};

        w.lane.is_giver_open = w.lane.is_taker_open = 1;
        giving_to(&w.lane.phase, &g);
        taking_to(&w.lane.taking_phase, &t);
    }
    return w;
}

static void explore_scenario(const struct scenario *s)
{
    struct world first;

    scenario = s;
    memset(&seen, 0, sizeof(seen));
    seen.size = wrong == RIGHT ? SLOTS : SLOTS / 8;
    seen.slots = calloc(seen.size, sizeof(*seen.slots));
    seen.origins = malloc(seen.size * sizeof(*seen.origins));
    assert_true(seen.slots && seen.origins);
    first = first_world();
    visit(&first, 0, "begin");
    for (now_at = 0; now_at < seen.n && !violation; now_at++) {
        const struct world w = seen.queue[seen.first++];

        seen.n_queued--;
        explore(&w);
    }
    free(seen.slots);
    free(seen.origins);
    free(seen.queue);
}

/* ---- rules that are wrong ---- */

static void set_order(enum keep_order order, const uint8_t acts[KEEP_ACTS_MAX])
{
    memcpy(orders[order], acts, KEEP_ACTS_MAX);
}

static void make_wrong(enum wrong w)
{
    wrong = w;
    violation = NULL;
    memcpy(orders, keep_orders, sizeof(orders));
    switch (w) {
    case TAKEN_BEFORE_THE_TABLE:
        set_order(KEEP_ORDER_OFFERED, (uint8_t[KEEP_ACTS_MAX]){KEEP_SERIAL_NEW, KEEP_SEND_TAKEN,
                                                               KEEP_MARK_AS_IT_IS, KEEP_SERVE});
        break;
    case CLOSED_WITHOUT_SHUTDOWN:
        set_order(KEEP_ORDER_END, (uint8_t[KEEP_ACTS_MAX]){KEEP_MARK_FREE, KEEP_SERIAL_NONE,
                                                           KEEP_UNWATCH, KEEP_CLOSE});
        break;
    case IDLE_BEFORE_THE_ANSWER:
        set_order(KEEP_ORDER_TAKE,
                  (uint8_t[KEEP_ACTS_MAX]){KEEP_SERIAL_NEW, KEEP_SEND_REGISTER, KEEP_MARK_AS_IT_IS,
                                           KEEP_SEND_ANSWER, KEEP_SERVE});
        break;
    case READ_BEFORE_BUSY:
        set_order(KEEP_ORDER_MESSAGE, (uint8_t[KEEP_ACTS_MAX]){KEEP_READ, KEEP_MARK_BUSY,
                                                               KEEP_REPLY, KEEP_MARK_AS_IT_IS});
        break;
    case GIVEN_WITH_SHUTDOWN:
        set_order(KEEP_ORDER_GIVEN,
                  (uint8_t[KEEP_ACTS_MAX]){KEEP_MARK_FREE, KEEP_SERIAL_NONE, KEEP_SHUTDOWN,
                                           KEEP_CLOSE, KEEP_SWEEP_DUE});
        break;
    case GIVEN_AS_IDLE:
        set_order(KEEP_ORDER_GIVE, (uint8_t[KEEP_ACTS_MAX]){KEEP_UNWATCH, KEEP_SEND_BATCH});
        break;
    case REGISTERED_BEFORE_THE_SERIAL:
        set_order(KEEP_ORDER_TAKE,
                  (uint8_t[KEEP_ACTS_MAX]){KEEP_MARK_MOVING, KEEP_SEND_REGISTER, KEEP_SERIAL_NEW,
                                           KEEP_SEND_ANSWER, KEEP_MARK_AS_IT_IS, KEEP_SERVE});
        break;
    case NO_SWEEP_OF_WHAT_IS_GIVEN:
        set_order(KEEP_ORDER_GIVEN, (uint8_t[KEEP_ACTS_MAX]){KEEP_CLOSE});
        break;
    default: /* not in the orders */
        break;
    }
}

static void keep_rules__every_interleaving__one_owner_and_nobody_lost(void **state UNUSED)
{
    size_t n_states = 0;

    make_wrong(RIGHT);
    for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
        n_final = 0;
        explore_scenario(&scenarios[i]);
        print_message("%s: %zu states, %zu of them final\n", scenarios[i].name, seen.n, n_final);
        n_states += seen.n;
    }
    print_message("%zu states; %zu times passed on, %zu lost; %zu deaths at a moment that costs an "
                  "idle one\n",
                  n_states, n_passed_on, n_lost, n_windows);
    assert_true(n_passed_on > 0 && n_lost > 0 && n_windows > 0);
}

static void keep_rules__wrong_on_purpose__found(void **state UNUSED)
{
    for (enum wrong w = RIGHT + 1; w < WRONGS; w++) {
        make_wrong(w);
        explore_scenario(&scenarios[wrongs[w].scenario]);
        if (!violation)
            fail_msg("%s: not found in %zu states", wrongs[w].name, seen.n);
        print_message("%s: %s, after %zu states\n", wrongs[w].name, violation, seen.n);
    }
    make_wrong(RIGHT);
}

/* ---- the tables of keep.md, and the small machines ---- */

static const char *const act_names[] = {
    [KEEP_MARK_FREE] = "mark free",
    [KEEP_MARK_AS_IT_IS] = "mark as it is",
    [KEEP_MARK_BUSY] = "mark busy",
    [KEEP_MARK_MOVING] = "mark moving",
    [KEEP_SERIAL_NEW] = "serial new",
    [KEEP_SERIAL_NONE] = "serial none",
    [KEEP_SEND_REGISTER] = "register",
    [KEEP_SEND_TAKEN] = "taken",
    [KEEP_SEND_BATCH] = "batch",
    [KEEP_SEND_ANSWER] = "answer",
    [KEEP_READ] = "read",
    [KEEP_REPLY] = "reply",
    [KEEP_SERVE] = "serve",
    [KEEP_UNWATCH] = "unwatch",
    [KEEP_SHUTDOWN] = "shutdown",
    [KEEP_CLOSE] = "close",
    [KEEP_SWEEP_DUE] = "sweep due",
    [KEEP_ACTS_END] = "",
};

static void keep_orders__each__as_keep_md_says(void **state UNUSED)
{
    struct table t;

    table_read("src/net/keep.md", "1", &t);
    assert_int_equal(t.n_rows, 1 + KEEP_ORDERS);
    for (unsigned o = 0; o < KEEP_ORDERS; o++) {
        assert_string_equal(t.cells[1 + o][0], order_names[o]);
        for (unsigned i = 0; i + 1 < t.n_columns; i++)
            assert_string_equal(t.cells[1 + o][1 + i], act_names[keep_orders[o][i]]);
    }
}

static void keep_judge__each_mark__only_idle_ones_pass(void **state UNUSED)
{
    for (unsigned mark = 0; mark <= UINT8_MAX; mark++) {
        const bool is_idle = mark == CONN_MARK_IDLE || mark == CONN_MARK_QUIET;
        const bool is_moving = mark == CONN_MARK_MOVING || mark >= CONN_MARK_FLIGHT;

        assert_int_equal(keep_judge((uint8_t)mark, 7, 7), is_idle     ? KEEP_IDLE
                                                          : is_moving ? KEEP_MOVING
                                                                      : KEEP_LOST);
        assert_int_equal(keep_judge((uint8_t)mark, 0, 7), KEEP_STALE);
        assert_int_equal(keep_judge((uint8_t)mark, 8, 7), KEEP_STALE);
    }
}

static void keeping__result_of_a_send__as_keep_md_says(void **state UNUSED)
{
    static const struct {
        int result;
        enum keeping_outcome sent;
        enum keeping_answer answered;
    } cells[] = {
        {0, KEEPING_DONE, KEEPING_ANSWER_KEPT},
        {-EAGAIN, KEEPING_LATER, KEEPING_ANSWER_LATER},
        {-ETOOMANYREFS, KEEPING_LATER, KEEPING_ANSWER_LATER},
        {-ENOBUFS, KEEPING_LATER, KEEPING_ANSWER_LATER},
        {-ENOMEM, KEEPING_LATER, KEEPING_ANSWER_LATER},
        {-EPIPE, KEEPING_GONE, KEEPING_ANSWER_OWN},
        {-ECONNRESET, KEEPING_GONE, KEEPING_ANSWER_OWN},
        {-EPERM, KEEPING_BROKEN, KEEPING_ANSWER_DROP},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
        const bool is_linked = cells[i].sent <= KEEPING_LATER;
        struct keeping k = {0};

        keeping_link(&k);
        assert_int_equal(keeping_sent(&k, cells[i].result), cells[i].sent);
        assert_int_equal(k.is_linked, is_linked);
        keeping_link(&k);
        assert_true(taking_received(&k.offers, 1, true));
        assert_int_equal(keeping_answered(&k, cells[i].result), cells[i].answered);
        assert_int_equal(k.is_linked, is_linked);
        if (cells[i].answered == KEEPING_ANSWER_LATER)
            assert_int_equal(keeping_answered(&k, 0), KEEPING_ANSWER_KEPT);
    }
}

static void keeping_serial__after_the_last__not_none(void **state UNUSED)
{
    struct keeping k = {.last_serial = UINT32_MAX - 1};

    assert_true(keeping_serial(&k) == UINT32_MAX);
    assert_int_equal(keeping_serial(&k), 1);
    keeping_link(&k); /* another keeper: serials go on */
    assert_int_equal(keeping_serial(&k), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep_rules__every_interleaving__one_owner_and_nobody_lost),
        cmocka_unit_test(keep_rules__wrong_on_purpose__found),
        cmocka_unit_test(keep_orders__each__as_keep_md_says),
        cmocka_unit_test(keep_judge__each_mark__only_idle_ones_pass),
        cmocka_unit_test(keeping__result_of_a_send__as_keep_md_says),
        cmocka_unit_test(keeping_serial__after_the_last__not_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
