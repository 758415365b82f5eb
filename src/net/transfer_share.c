/*
 * Who of several takers gets how many. Runs in the worker that gives connections away.
 */
#include "net/transfer_impl.h"

/* Who takes part in what is left: quick ones if there are any, and none that has its share already.
 * Returns how many, and what they have and get together. */
static size_t choose_sharers(const struct transfer_out *t, bool *is_in, size_t *ret_total)
{
    bool is_any_quick = false, has_changed = true;
    size_t n = 0;

    for (size_t k = 0; k < t->n_lanes; k++)
        is_any_quick |= lane_is_open(&t->lanes[k]) && !lane_is_slow(&t->lanes[k]);
    *ret_total = t->left;
    for (size_t k = 0; k < t->n_lanes; k++) {
        is_in[k] = lane_is_open(&t->lanes[k]) && (!is_any_quick || !lane_is_slow(&t->lanes[k]));
        n += is_in[k];
        *ret_total += is_in[k] ? t->lanes[k].n_given : 0;
    }
    while (has_changed) {
        has_changed = false;
        for (size_t k = 0; k < t->n_lanes; k++) {
            if (!is_in[k] || t->lanes[k].n_given <= *ret_total / n)
                continue;
            is_in[k] = false;
            n--;
            *ret_total -= t->lanes[k].n_given;
            has_changed = true;
        }
    }
    return n;
}

void transfer_share_out(struct transfer_out *t)
{
    bool is_in[TRANSFER_LANES_MAX];
    size_t total, i = 0;
    const size_t n = choose_sharers(t, is_in, &total);

    t->is_share_due = false;
    for (size_t k = 0; k < t->n_lanes; k++) {
        struct transfer_lane *lane = &t->lanes[k];

        lane->quota = 0;
        if (is_in[k])
            lane->quota = total / n + (i++ < total % n) - lane->n_given;
    }
}
