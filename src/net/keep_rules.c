/*
 * Who owns a connection that a keeper holds a duplicate of. Pure; runs in workers and keepers.
 */
#include "net/keep_rules.h"

#include <assert.h>
#include <errno.h>

#include "base/fdpass.h"
#include "net/conn_marks.h"

enum keep_verdict keep_judge(uint8_t mark, uint32_t table_serial, uint32_t serial)
{
    if (table_serial != serial)
        return KEEP_STALE;
    if (conn_mark_is_moving(mark))
        return KEEP_MOVING;
    return conn_mark_is_idle(mark) ? KEEP_IDLE : KEEP_LOST;
}

void keeping_link(struct keeping *k)
{
    k->is_linked = true;
    k->is_sweep_due = false;
    k->offers = (struct taking){.phase = TAKING_OPEN};
}

uint32_t keeping_serial(struct keeping *k)
{
    if (++k->last_serial == 0)
        k->last_serial = 1;
    return k->last_serial;
}

/* What a later attempt may not meet. */
static bool is_passing(int result)
{
    return result == -EAGAIN || fdpass_is_transient(result);
}

enum keeping_outcome keeping_sent(struct keeping *k, int result)
{
    if (result == 0)
        return KEEPING_DONE;
    if (is_passing(result))
        return KEEPING_LATER;
    k->is_linked = false;
    return fdpass_is_gone(result) ? KEEPING_GONE : KEEPING_BROKEN;
}

enum keeping_answer keeping_answered(struct keeping *k, int result)
{
    assert(k->offers.phase == TAKING_ANSWERING);
    if (is_passing(result))
        return KEEPING_ANSWER_LATER;
    if (result < 0)
        k->is_linked = false;
    if (taking_answered(&k->offers, result) == TAKING_DROP)
        return KEEPING_ANSWER_DROP;
    return result < 0 ? KEEPING_ANSWER_OWN : KEEPING_ANSWER_KEPT;
}

const uint8_t keep_orders[KEEP_ORDERS][KEEP_ACTS_MAX] = {
    [KEEP_ORDER_REGISTER] = {KEEP_SERIAL_NEW, KEEP_SEND_REGISTER},
    [KEEP_ORDER_MESSAGE] = {KEEP_MARK_BUSY, KEEP_READ, KEEP_REPLY, KEEP_MARK_AS_IT_IS},
    [KEEP_ORDER_END] = {KEEP_MARK_FREE, KEEP_SERIAL_NONE, KEEP_UNWATCH, KEEP_SHUTDOWN, KEEP_CLOSE,
                        KEEP_SWEEP_DUE},
    [KEEP_ORDER_UNKEEP] = {KEEP_SERIAL_NONE, KEEP_SWEEP_DUE},
    [KEEP_ORDER_OFFERED] = {KEEP_MARK_AS_IT_IS, KEEP_SERIAL_NEW, KEEP_SEND_TAKEN, KEEP_SERVE},
    [KEEP_ORDER_GIVE] = {KEEP_MARK_MOVING, KEEP_UNWATCH, KEEP_SEND_BATCH},
    [KEEP_ORDER_GIVEN] = {KEEP_MARK_FREE, KEEP_SERIAL_NONE, KEEP_CLOSE, KEEP_SWEEP_DUE},
    [KEEP_ORDER_RESUME] = {KEEP_MARK_AS_IT_IS, KEEP_SERVE},
    [KEEP_ORDER_TAKE] = {KEEP_MARK_MOVING, KEEP_SERIAL_NEW, KEEP_SEND_REGISTER, KEEP_SEND_ANSWER,
                         KEEP_MARK_AS_IT_IS, KEEP_SERVE},
    [KEEP_ORDER_DROP] = {KEEP_MARK_FREE, KEEP_SERIAL_NONE, KEEP_CLOSE, KEEP_SWEEP_DUE},
};
