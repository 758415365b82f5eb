/*
 * The splitter that is too simple to be wrong, to hold the fast one against: byte by byte, from the
 * beginning, with the whole conversation in hand.
 */
#ifndef SUPPORT_NAIVE_SPLIT_H
#define SUPPORT_NAIVE_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/frame.h"

/* naive_split - verdict, complete and messages as frame_scan should give them; no resume */
struct frame_result naive_split(const struct frame_rule *r, const uint8_t *data, size_t len);

/*
 * The fast one, fed in pieces, as a connection feeds it: keeps what is unfinished in a block of its
 * exact size, so that a sanitizer sees every read beyond it.
 */
struct piecewise {
    const struct frame_rule *rule;
    int kernel; /* enum frame_kernel; -1 = frame_scan's own choice */
    uint8_t *held; /* owned; the unfinished message */
    size_t held_len;
    size_t resume;
    size_t n_calls;
    struct frame_result sum; /* of all calls; the verdict of the last one */
};

void piecewise_init(struct piecewise *p, const struct frame_rule *r, int kernel);
void piecewise_fini(struct piecewise *p);

/* piecewise_feed - the next bytes; returns false when the conversation is over */
bool piecewise_feed(struct piecewise *p, const uint8_t *data, size_t len);

/* piecewise_agrees - same verdict, prefix and count, and no more bytes examined than promised */
bool piecewise_agrees(const struct piecewise *p, const struct frame_result *naive, size_t fed);

#endif
