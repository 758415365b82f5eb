/*
 * The balance of connections. Pure.
 */
#include "arbiter/balance.h"

#include <stdlib.h>

#include "base/util.h"

static int by_load(const void *x, const void *y)
{
    const struct balance_load *a = x, *b = y;

    if (a->connections != b->connections)
        return a->connections < b->connections ? -1 : 1;
    return a->proc < b->proc ? -1 : a->proc > b->proc;
}

void balance_sort(struct balance_load *loads, size_t n)
{
    qsort(loads, n, sizeof(*loads), by_load);
}

/* What load @i of @n sorted ones should come to: the remainder of the division stays with the most
 * loaded. */
static uint64_t fair_share(uint64_t total, size_t n, size_t i)
{
    return total / n + (i >= n - total % n ? 1 : 0);
}

size_t balance_plan(struct balance_load *loads, size_t n, struct balance_move *moves)
{
    uint64_t total = 0, left = BALANCE_ROUND_MAX;
    size_t n_moves = 0, to = 0, from;

    if (n < 2)
        return 0;
    balance_sort(loads, n);
    if (loads[n - 1].connections <= loads[0].connections + loads[0].connections / 32 + 2)
        return 0;
    for (size_t i = 0; i < n; i++)
        total += loads[i].connections;
    from = n - 1;
    while (to < from && left > 0 && n_moves < BALANCE_MOVES_MAX) {
        uint64_t lack = fair_share(total, n, to), surplus = fair_share(total, n, from);
        uint64_t count;

        lack = loads[to].connections < lack ? lack - loads[to].connections : 0;
        surplus = loads[from].connections > surplus ? loads[from].connections - surplus : 0;
        count = MIN(lack, surplus);
        count = MIN(count, left);
        if (count > 0) {
            moves[n_moves++] = (struct balance_move){loads[from].proc, loads[to].proc, count};
            loads[from].connections -= count;
            loads[to].connections += count;
            left -= count;
        }
        if (count == lack)
            to++;
        if (count == surplus)
            from--;
    }
    return n_moves;
}
