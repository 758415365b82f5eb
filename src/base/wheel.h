/*
 * A timing wheel: many coarse deadlines, one timer. Pure: time is passed in as ticks.
 *
 * Nodes are hung up lazily: a deadline that moves later is left where it is and hung up again when
 * its bucket comes round, so that the usual case (each message pushes the deadline out) costs
 * nothing. The owner therefore decides, when a node comes out, whether it is really due.
 */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"

enum { WHEEL_SLOTS = 512 };

struct wheel_node {
    struct list link;
    uint32_t tick; /* when its bucket comes round; WHEEL_NONE = in no bucket */
    uint32_t owners; /* the owner's own, in what would be padding */
};

#define WHEEL_NONE UINT32_MAX

struct wheel {
    uint32_t now; /* all buckets before this tick have been emptied */
    uint32_t n_armed; /* nodes in `due` and in the buckets */
    struct list due; /* nodes of the bucket that wheel_take is emptying */
    struct list slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint32_t now);
void wheel_node_init(struct wheel_node *n);

/*
 * wheel_arm - see that @n comes out no later than @tick
 * Costs nothing if it already hangs at or before @tick. A @tick beyond the horizon hangs at the
 * horizon; one in the past at the next tick that wheel_take has not yet come to.
 */
void wheel_arm(struct wheel *w, struct wheel_node *n, uint32_t tick);

/* wheel_disarm - take @n out; safe if it is in no bucket */
void wheel_disarm(struct wheel *w, struct wheel_node *n);

/*
 * wheel_take - next node whose bucket has come round by @now, taken out; NULL when there is none
 * The owner fires it or arms it again. Call until NULL; arming inside the loop is safe. Calling it
 * is also how an empty wheel learns what time it is, before something is armed.
 */
struct wheel_node *wheel_take(struct wheel *w, uint32_t now);

/* wheel_next - first tick at which something may come out, WHEEL_NONE if the wheel is empty */
uint32_t wheel_next(const struct wheel *w);

#endif
