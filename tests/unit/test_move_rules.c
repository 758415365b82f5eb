/*
 * The rules of ownership, explored: every interleaving of sending, receiving, answering, refusing,
 * failing to answer, talking nonsense, and the crash or sudden death of either side, for up to
 * three batches of idle connections.
 *
 * The world around the two machines is the kernel's: two queues that keep their order, where what a
 * dead sender has queued can still be received, and what is queued for a closed end is gone.
 *
 * A crash is the way of the fatal-signal handler: whoever crashes gives what it owns to the rescue
 * at once. The taker then closes its end and dies later. The giver hears answers and the end, gives
 * what is its own again to the rescue, and dies when nothing is unanswered, or gives up.
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
#include "base/util.h"
#include "net/move_rules.h"

enum { BATCHES_MAX = 3, ANSWERS_MAX = BATCHES_MAX + 2, STATES_MAX = 1 << 17 };

/* To whom a batch would be lost: a ghost, which no process sees. */
enum duty { GIVERS, FLYING, TAKERS };

struct batch {
    uint8_t is_givers; /* the giver may touch it */
    uint8_t is_takers; /* the taker may */
    uint8_t n_rescued; /* times: by each time another process serves it */
    uint8_t duty;
};

struct reply {
    uint8_t id;
    uint8_t is_taken;
};

struct world {
    struct giving giving;
    struct taking taking;
    uint8_t n_batches;
    uint8_t is_giver_alive, is_taker_alive;
    uint8_t is_giver_crashing, is_taker_crashing; /* in the handler until they are dead */
    uint8_t is_giver_cut, is_taker_cut; /* a ghost: killed, or has given up waiting */
    uint8_t is_giver_open, is_taker_open; /* their ends of the pair */
    uint8_t n_to_taker, n_to_giver;
    uint8_t had_nonsense;
    uint8_t to_taker[BATCHES_MAX];
    struct reply to_giver[ANSWERS_MAX];
    struct batch batches[BATCHES_MAX];
};

/* A world as bytes, so that two can be compared. */
struct key {
    uint8_t bytes[64];
};

static struct {
    struct world *worlds;
    struct key *keys;
    size_t n;
    uint32_t *index; /* hash table of numbers + 1 */
    size_t n_final;
    size_t n_released, n_resumed, n_owned, n_dropped, n_lost, n_reclaimed, n_given_up;
} seen;

enum { INDEX_SIZE = STATES_MAX * 4 };

static struct key key_of(const struct world *w)
{
    struct key key = {{0}};
    uint8_t *p = key.bytes;

    *p++ = (uint8_t)w->giving.phase;
    *p++ = (uint8_t)w->giving.answered;
    *p++ = (uint8_t)w->giving.sent;
    *p++ = (uint8_t)w->taking.phase;
    *p++ = w->taking.is_accepted;
    *p++ = (uint8_t)w->taking.received;
    *p++ = w->n_batches;
    *p++ = w->had_nonsense;
    *p++ = (uint8_t)(w->is_giver_alive | w->is_taker_alive << 1 | w->is_giver_open << 2 |
                     w->is_taker_open << 3 | w->is_giver_crashing << 4 | w->is_taker_crashing << 5 |
                     w->is_giver_cut << 6 | w->is_taker_cut << 7);
    *p++ = w->n_to_taker;
    for (unsigned i = 0; i < w->n_to_taker; i++)
        *p++ = w->to_taker[i];
    *p++ = w->n_to_giver;
    for (unsigned i = 0; i < w->n_to_giver; i++)
        *p++ = (uint8_t)(w->to_giver[i].id << 1 | w->to_giver[i].is_taken);
    for (unsigned i = 0; i < w->n_batches; i++)
        *p++ = (uint8_t)(w->batches[i].is_givers | w->batches[i].is_takers << 1 |
                         w->batches[i].duty << 2 | w->batches[i].n_rescued << 4);
    return key;
}

static uint32_t hash_of(const struct key *key)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < sizeof(key->bytes); i++)
        h = (h ^ key->bytes[i]) * 16777619u;
    return h;
}

static void visit(const struct world *w)
{
    const struct key key = key_of(w);
    uint32_t at = hash_of(&key) % INDEX_SIZE;

    for (; seen.index[at]; at = (at + 1) % INDEX_SIZE)
        if (memcmp(seen.keys[seen.index[at] - 1].bytes, key.bytes, sizeof(key.bytes)) == 0)
            return;
    assert_true(seen.n < STATES_MAX);
    seen.keys[seen.n] = key;
    seen.worlds[seen.n++] = *w;
    seen.index[at] = (uint32_t)seen.n;
}

/* A process that crashes serves nothing any more. */
static int count_servers(const struct world *w, const struct batch *b)
{
    return (w->is_giver_alive && !w->is_giver_crashing && b->is_givers) +
           (w->is_taker_alive && !w->is_taker_crashing && b->is_takers) + b->n_rescued;
}

static void check(const struct world *w)
{
    for (unsigned i = 0; i < w->n_batches; i++)
        assert_true(count_servers(w, &w->batches[i]) <= 1);
}

/* Nothing can happen any more but crashes and deaths. */
static void check_final(const struct world *w)
{
    seen.n_final++;
    for (unsigned i = 0; i < w->n_batches; i++) {
        const struct batch *b = &w->batches[i];

        if (count_servers(w, b) > 0)
            continue;
        seen.n_lost++;
        /* Lost only with the process whose it was, and never if that has gone through its handler.
         */
        if (b->duty == TAKERS) {
            assert_true(w->is_taker_cut && !w->is_taker_alive);
            continue;
        }
        assert_true(w->is_giver_cut && !w->is_giver_alive);
        if (b->duty == FLYING)
            assert_false(w->is_taker_alive && !w->is_taker_crashing);
    }
}

static struct batch *batch_of(struct world *w, uint32_t id)
{
    assert_in_range(id, 1, w->n_batches);
    return &w->batches[id - 1];
}

static void close_giver(struct world *w)
{
    w->is_giver_open = 0;
    w->n_to_giver = 0;
    memset(w->to_giver, 0, sizeof(w->to_giver));
}

/* What it has not answered is the giver's again, unless that is gone already. */
static void close_taker(struct world *w)
{
    for (unsigned i = 0; i < w->n_batches; i++)
        if (w->batches[i].duty == FLYING && w->is_giver_alive)
            w->batches[i].duty = GIVERS;
    w->is_taker_open = 0;
    w->n_to_taker = 0;
    memset(w->to_taker, 0, sizeof(w->to_taker));
}

static void settle(struct world *w, uint32_t id, enum giving_outcome outcome)
{
    if (outcome == GIVING_RESUME) {
        batch_of(w, id)->is_givers = 1;
        batch_of(w, id)->n_rescued += w->is_giver_crashing;
        batch_of(w, id)->duty = GIVERS;
        seen.n_resumed++;
        seen.n_reclaimed += w->is_giver_crashing;
    } else if (outcome == GIVING_RELEASE) {
        seen.n_released++;
    }
}

/* --- what may happen: each returns whether it can ----------------------------------------------
 */

static int giver_sends(struct world *w)
{
    if (!w->is_giver_open || !giving_may_send(&w->giving) || w->giving.sent == w->n_batches)
        return 0;
    if (w->is_giver_crashing || !w->is_taker_open)
        return 0; /* EPIPE: the batch stays */
    giving_sent(&w->giving);
    w->to_taker[w->n_to_taker++] = (uint8_t)w->giving.sent;
    batch_of(w, w->giving.sent)->is_givers = 0;
    batch_of(w, w->giving.sent)->duty = FLYING;
    return 1;
}

static int giver_has_enough(struct world *w)
{
    if (!w->is_giver_open || w->is_giver_crashing || w->giving.phase >= GIVING_CLOSED)
        return 0;
    giving_close(&w->giving);
    return 1;
}

static int giver_reads_answer(struct world *w)
{
    const struct reply r = w->to_giver[0];
    const uint32_t oldest = w->giving.answered + 1;

    if (!w->is_giver_open || w->n_to_giver == 0)
        return 0;
    memmove(w->to_giver, w->to_giver + 1, sizeof(w->to_giver) - sizeof(r));
    w->to_giver[ANSWERS_MAX - 1] = (struct reply){0, 0};
    w->n_to_giver--;
    settle(w, oldest, giving_answered(&w->giving, r.id, r.is_taken));
    return 1;
}

static int giver_reads_end(struct world *w)
{
    if (!w->is_giver_open || w->is_taker_open || w->n_to_giver > 0)
        return 0;
    for (;;) {
        const uint32_t oldest = w->giving.answered + 1;
        const enum giving_outcome outcome = giving_ended(&w->giving);

        if (outcome == GIVING_NOTHING)
            break;
        settle(w, oldest, outcome);
    }
    close_giver(w);
    return 1;
}

static int giver_closes(struct world *w)
{
    if (!w->is_giver_open || w->is_giver_crashing || w->giving.phase < GIVING_CLOSED ||
        giving_unanswered(&w->giving) > 0)
        return 0;
    close_giver(w);
    return 1;
}

static int taker_receives(struct world *w, bool is_welcome)
{
    const uint32_t id = w->to_taker[0];

    if (!w->is_taker_open || w->is_taker_crashing || w->taking.phase != TAKING_OPEN ||
        w->n_to_taker == 0)
        return 0;
    memmove(w->to_taker, w->to_taker + 1, sizeof(w->to_taker) - 1);
    w->to_taker[BATCHES_MAX - 1] = 0;
    w->n_to_taker--;
    assert_int_equal(taking_received(&w->taking, id, is_welcome), is_welcome);
    assert_int_equal(w->taking.phase, TAKING_ANSWERING);
    return 1;
}

static int taker_accepts(struct world *w)
{
    return taker_receives(w, true);
}

static int taker_refuses(struct world *w)
{
    return taker_receives(w, false);
}

static int taker_answers_with(struct world *w, int result)
{
    const bool is_batch = w->taking.phase == TAKING_ANSWERING;
    const uint32_t id = is_batch ? w->taking.received : 0;
    const bool is_taken = !is_batch || w->taking.is_accepted;

    if (!w->is_taker_open || w->is_taker_crashing ||
        (!is_batch && w->taking.phase != TAKING_GREETING))
        return 0;
    if (result == 0 && !w->is_giver_open)
        result = -EPIPE;
    if (result == 0)
        w->to_giver[w->n_to_giver++] = (struct reply){(uint8_t)id, is_taken};
    switch (taking_answered(&w->taking, result)) {
    case TAKING_OWN:
        assert_true(is_batch && is_taken);
        batch_of(w, id)->is_takers = 1;
        batch_of(w, id)->duty = TAKERS;
        seen.n_owned++;
        break;
    case TAKING_NOTHING:
        if (is_batch)
            batch_of(w, id)->duty = GIVERS;
        break;
    case TAKING_DROP:
        if (is_batch)
            batch_of(w, id)->duty = GIVERS;
        close_taker(w);
        seen.n_dropped++;
        break;
    }
    return 1;
}

static int taker_answers(struct world *w)
{
    return taker_answers_with(w, 0);
}

static int taker_cannot_answer(struct world *w)
{
    return w->is_giver_open ? taker_answers_with(w, -ENOBUFS) : 0;
}

static int taker_talks_nonsense(struct world *w)
{
    if (!w->is_taker_open || w->is_taker_crashing || !w->is_giver_open || w->had_nonsense)
        return 0;
    w->had_nonsense = 1;
    w->to_giver[w->n_to_giver++] = (struct reply){(uint8_t)(w->giving.sent + 2), 1};
    return 1;
}

static int taker_reads_end(struct world *w)
{
    if (!w->is_taker_open || w->is_taker_crashing || w->is_giver_open || w->n_to_taker > 0 ||
        w->taking.phase == TAKING_ANSWERING)
        return 0;
    close_taker(w);
    return 1;
}

static int giver_crashes(struct world *w)
{
    if (!w->is_giver_alive || w->is_giver_crashing)
        return 0;
    w->is_giver_crashing = 1;
    for (unsigned i = 0; i < w->n_batches; i++)
        w->batches[i].n_rescued += w->batches[i].is_givers;
    return 1;
}

static int taker_crashes(struct world *w)
{
    if (!w->is_taker_alive || w->is_taker_crashing)
        return 0;
    w->is_taker_crashing = 1;
    for (unsigned i = 0; i < w->n_batches; i++)
        w->batches[i].n_rescued += w->batches[i].is_takers;
    return 1;
}

static int taker_closes_in_crash(struct world *w)
{
    if (!w->is_taker_crashing || !w->is_taker_open)
        return 0;
    close_taker(w);
    return 1;
}

static int giver_ends_crash(struct world *w)
{
    if (!w->is_giver_alive || !w->is_giver_crashing || giving_unanswered(&w->giving) > 0)
        return 0;
    w->is_giver_alive = 0;
    close_giver(w);
    return 1;
}

static int giver_gives_up(struct world *w)
{
    if (!w->is_giver_alive || !w->is_giver_crashing || giving_unanswered(&w->giving) == 0 ||
        w->n_to_giver > 0 || !w->is_taker_open)
        return 0;
    w->is_giver_alive = 0;
    w->is_giver_cut = 1;
    seen.n_given_up++;
    close_giver(w);
    return 1;
}

static int giver_dies(struct world *w)
{
    if (!w->is_giver_alive)
        return 0;
    w->is_giver_alive = 0;
    w->is_giver_cut = 1;
    close_giver(w);
    return 1;
}

static int taker_dies(struct world *w)
{
    if (!w->is_taker_alive)
        return 0;
    w->is_taker_alive = 0;
    w->is_taker_cut = !w->is_taker_crashing;
    close_taker(w);
    return 1;
}

typedef int step(struct world *w);

static step *const steps[] = {
    giver_sends,           giver_has_enough,     giver_reads_answer, giver_reads_end,
    giver_closes,          taker_accepts,        taker_refuses,      taker_answers,
    taker_cannot_answer,   taker_talks_nonsense, taker_reads_end,    giver_ends_crash,
    taker_closes_in_crash, giver_gives_up,
};
static step *const deaths[] = {giver_crashes, taker_crashes, giver_dies, taker_dies};

static void expand(const struct world *w)
{
    int is_final = 1;

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct world next = *w;

        if (!steps[i](&next))
            continue;
        /* Nonsense is never needed to go on. */
        is_final &= steps[i] == taker_talks_nonsense;
        check(&next);
        visit(&next);
    }
    if (is_final)
        check_final(w);
    for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
        struct world next = *w;

        if (!deaths[i](&next))
            continue;
        check(&next);
        visit(&next);
    }
}

static void move_rules__every_interleaving__one_owner_and_nobody_lost(void **state UNUSED)
{
    seen.worlds = malloc(STATES_MAX * sizeof(*seen.worlds));
    seen.index = calloc(INDEX_SIZE, sizeof(*seen.index));
    seen.keys = malloc(STATES_MAX * sizeof(*seen.keys));
    assert_true(seen.worlds && seen.keys && seen.index);
    for (uint8_t n = 1; n <= BATCHES_MAX; n++) {
        struct world first;

        memset(&first, 0, sizeof(first));
        first.n_batches = n;
        first.is_giver_alive = first.is_taker_alive = 1;
        first.is_giver_open = first.is_taker_open = 1;
        for (unsigned i = 0; i < n; i++)
            first.batches[i] = (struct batch){.is_givers = 1, .duty = GIVERS};
        visit(&first);
    }
    for (size_t i = 0; i < seen.n; i++) {
        const struct world w = seen.worlds[i];

        expand(&w);
    }
    print_message("%zu states, %zu of them final\n", seen.n, seen.n_final);
    /* The exploration has been where the rules are needed. */
    assert_true(seen.n > 5000 && seen.n_final > 1000);
    assert_true(seen.n_released && seen.n_resumed && seen.n_owned && seen.n_dropped && seen.n_lost);
    assert_true(seen.n_reclaimed && seen.n_given_up);
    free(seen.worlds);
    free(seen.keys);
    free(seen.index);
}

static void giving__four_unanswered__no_fifth(void **state UNUSED)
{
    struct giving g = {0};

    assert_false(giving_may_send(&g));
    assert_int_equal(giving_answered(&g, 0, true), GIVING_NOTHING);
    for (int i = 0; i < MOVE_UNANSWERED_MAX; i++) {
        assert_true(giving_may_send(&g));
        giving_sent(&g);
    }
    assert_false(giving_may_send(&g));
    assert_int_equal(giving_answered(&g, 1, true), GIVING_RELEASE);
    assert_true(giving_may_send(&g));
}

static void giving__answer_out_of_order__closed_and_no_batch_concerned(void **state UNUSED)
{
    struct giving g = {0};

    giving_answered(&g, 0, true);
    giving_sent(&g);
    giving_sent(&g);
    assert_int_equal(giving_answered(&g, 2, true), GIVING_NOTHING);
    assert_int_equal(giving_unanswered(&g), 2);
    assert_false(giving_may_send(&g));
    assert_int_equal(giving_answered(&g, 1, false), GIVING_RESUME);
    assert_int_equal(giving_ended(&g), GIVING_RESUME);
    assert_int_equal(giving_ended(&g), GIVING_NOTHING);
}

static void giving__refused_greeting__nothing_is_sent(void **state UNUSED)
{
    struct giving g = {0};

    assert_int_equal(giving_answered(&g, 0, false), GIVING_NOTHING);
    assert_false(giving_may_send(&g));
    assert_int_equal(giving_answered(&g, 0, true), GIVING_NOTHING);
    assert_false(giving_may_send(&g));
}

static void taking__batch_out_of_order__ended_without_an_answer(void **state UNUSED)
{
    struct taking t = {0};

    assert_int_equal(taking_answered(&t, 0), TAKING_NOTHING);
    assert_false(taking_received(&t, 2, true));
    assert_int_equal(t.phase, TAKING_ENDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(move_rules__every_interleaving__one_owner_and_nobody_lost),
        cmocka_unit_test(giving__four_unanswered__no_fifth),
        cmocka_unit_test(giving__answer_out_of_order__closed_and_no_batch_concerned),
        cmocka_unit_test(giving__refused_greeting__nothing_is_sent),
        cmocka_unit_test(taking__batch_out_of_order__ended_without_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
