/*
 * Who should give how many connections to whom? Pure: loads in, moves out.
 */
#ifndef ARBITER_BALANCE_H
#define ARBITER_BALANCE_H

#include <stddef.h>
#include <stdint.h>

enum { BALANCE_MOVES_MAX = 64, BALANCE_ROUND_MAX = 20000 };

struct balance_load {
    uint32_t proc; /* a running worker */
    uint64_t connections;
};

struct balance_move {
    uint32_t from, to; /* procs */
    uint64_t count; /* connections, above 0 */
};

/* balance_sort - the least loaded first */
void balance_sort(struct balance_load *loads, size_t n);

/*
 * balance_plan - the moves that make the loads even, if they are uneven enough to be worth it
 * Nothing is moved while the most loaded has no more than two, and a 32nd of the least loaded's,
 * above the least: that is the accept gate's own slack, and moving within it would never end.
 * @loads  borrowed; reordered
 * @moves  BALANCE_MOVES_MAX; together at most BALANCE_ROUND_MAX connections
 * Returns the number of moves. A worker gives or takes in one round, never both.
 */
size_t balance_plan(struct balance_load *loads, size_t n, struct balance_move *moves);

#endif
