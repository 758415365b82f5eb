/*
 * Who owns a connection while it moves. Pure; runs in both workers.
 */
#include "net/move_rules.h"

#include <assert.h>

#include "base/fdpass.h"

bool giving_may_send(const struct giving *g)
{
    return g->phase == GIVING_OPEN && giving_unanswered(g) < MOVE_UNANSWERED_MAX;
}

void giving_sent(struct giving *g)
{
    assert(giving_may_send(g));
    g->sent++;
}

enum giving_outcome giving_answered(struct giving *g, uint32_t id, bool is_taken)
{
    if (g->phase == GIVING_WAITING && id == 0 && is_taken) {
        g->phase = GIVING_OPEN;
        return GIVING_NOTHING;
    }
    /* In the order in which they were sent, once each. From who says otherwise nothing can be
     * concluded but that it shall have no more. */
    if (giving_unanswered(g) == 0 || id != g->answered + 1) {
        giving_close(g);
        return GIVING_NOTHING;
    }
    g->answered++;
    return is_taken ? GIVING_RELEASE : GIVING_RESUME;
}

void giving_close(struct giving *g)
{
    if (g->phase != GIVING_ENDED)
        g->phase = GIVING_CLOSED;
}

enum giving_outcome giving_ended(struct giving *g)
{
    g->phase = GIVING_ENDED;
    if (giving_unanswered(g) == 0)
        return GIVING_NOTHING;
    g->answered++;
    return GIVING_RESUME;
}

bool taking_received(struct taking *t, uint32_t id, bool is_welcome)
{
    assert(t->phase == TAKING_OPEN);
    if (id != t->received + 1) {
        t->phase = TAKING_ENDED;
        return false;
    }
    t->received++;
    t->phase = TAKING_ANSWERING;
    t->is_accepted = is_welcome;
    return is_welcome;
}

enum taking_outcome taking_answered(struct taking *t, int result)
{
    const bool is_batch = t->phase == TAKING_ANSWERING;

    assert(is_batch || t->phase == TAKING_GREETING);
    if (result < 0 && !fdpass_is_gone(result)) {
        /* The giver lives and does not know: closing our end tells it that we have nothing. */
        t->phase = TAKING_ENDED;
        return TAKING_DROP;
    }
    t->phase = TAKING_OPEN;
    return is_batch && t->is_accepted ? TAKING_OWN : TAKING_NOTHING;
}
