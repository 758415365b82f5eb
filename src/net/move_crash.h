/*
 * A crash in the middle of a move: what a fatal-signal handler does about it, and what it has to
 * know for that. Runs in either worker; the rules stand in move.md.
 *
 * Two workers that crash together would lose what is on its way between them, because each takes
 * it for the other's. So the taker's handler closes its end; that is long before the process is
 * gone, but from there on it touches nothing. The giver's handler waits for that end: by the rules,
 * what is unanswered then is the giver's.
 */
#ifndef NET_MOVE_CRASH_H
#define NET_MOVE_CRASH_H

#include "net/move.h"
#include "wire/moved.h"

enum { MOVE_RECLAIM_MS = 200 }; /* that a crashing giver waits for its takers */

/* move_crash_watch - a crash asks for what is on its way over @lane, from now on; _unwatch - no
 * more, without harm also twice */
void move_crash_watch(struct move_lane *lane);
void move_crash_unwatch(struct move_lane *lane);

/* move_flight_mark - the mark of connections that were idle when batch @id was sent */
uint8_t move_flight_mark(const struct move_lane *lane, uint32_t id);

/*
 * move_hear - the taker's next answer, or its end, and what it means for the oldest batch
 * Call it with all signals blocked until the batch has its new marks: a handler that comes in
 * between would not know whose it is. Async-signal-safe.
 * Returns 0, MOVE_END (call until GIVING_NOTHING) or -errno (-EAGAIN: nothing now).
 */
int move_hear(struct move_lane *lane, struct moved_answer *ret, enum giving_outcome *ret_outcome);

/*
 * For a fatal-signal handler, which does not return to what it has interrupted: async-signal-safe.
 * @marks  of the process's connections
 */

/* move_crash_close_takes - what has not been answered is the givers' again */
void move_crash_close_takes(const uint8_t *marks, size_t n_marks);

/*
 * move_crash_reclaim - call what has been sent, was idle and comes back idle again in @marks
 * Waits for the takers' answers and ends, MOVE_RECLAIM_MS at most; what is unanswered then may
 * be the taker's, and is left alone. Returns whether anything has come back.
 */
bool move_crash_reclaim(uint8_t *marks, size_t n_marks);

#endif
