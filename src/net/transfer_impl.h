/*
 * Giving connections away, from inside: private to net/transfer*.c.
 */
#ifndef NET_TRANSFER_IMPL_H
#define NET_TRANSFER_IMPL_H

#include <stddef.h>
#include "net/transfer.h"

static inline struct transfer_flight *lane_flight(struct transfer_lane *lane, uint32_t id)
{
    return &lane->flights[id % TRANSFER_UNANSWERED_MAX];
}

static inline bool lane_is_open(const struct transfer_lane *lane)
{
    return lane->rules.phase == GIVING_WAITING || lane->rules.phase == GIVING_OPEN;
}

static inline bool lane_is_awaited(const struct transfer_lane *lane)
{
    return giving_unanswered(&lane->rules) > 0 || lane->rules.phase == GIVING_WAITING;
}

static inline bool lane_is_slow(const struct transfer_lane *lane)
{
    return lane_is_awaited(lane) && lane->quiet_pulses >= TRANSFER_SLOW_PULSES;
}

/* transfer_pack.c: putting a batch together */

struct transfer_scratch *transfer_scratch_new(void);
void transfer_scratch_free(struct transfer_scratch *s);

/*
 * transfer_collect - detach up to @max connections into @f, as far as they go together
 * Those that cannot be moved are passed over. None at all = there are no more.
 */
void transfer_collect(struct transfer_out *t, struct transfer_flight *f, size_t max);

/* transfer_post - send what was collected as the lane's next batch. Returns 0 or -errno. */
int transfer_post(struct transfer_out *t, const struct transfer_lane *lane,
                  const struct transfer_flight *f);

/* transfer_share.c */

/* transfer_share_out - part what is left so that in the end all have been given as many */
void transfer_share_out(struct transfer_out *t);

#endif
