/*
 * Putting a batch together: private to net/transfer*.c.
 */
#ifndef NET_TRANSFER_PACK_H
#define NET_TRANSFER_PACK_H

#include <stddef.h>
#include "net/transfer.h"

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

#endif
