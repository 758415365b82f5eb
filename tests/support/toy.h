/*
 * A toy echo server in the test's own loop, which misbehaves as told: what the audit must notice.
 * Uses nothing of the code under test.
 */
#ifndef SUPPORT_TOY_H
#define SUPPORT_TOY_H

#include <ev.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

enum toy_mischief {
    TOY_HONEST,
    TOY_CLOSE, /* end of file after so many bytes, and reads on */
    TOY_RESET, /* RST after so many bytes */
    TOY_SILENT, /* reads on, but says nothing more after so many bytes */
    TOY_FLIP, /* a bit of the byte at that place */
    TOY_SKIP, /* the byte at that place does not come */
    TOY_REPEAT, /* the byte at that place comes twice */
};

struct toy {
    struct ev_loop *loop;
    ev_io accept;
    char addr[32]; /* "127.0.0.1:PORT" */
    enum toy_mischief mischief;
    uint64_t at; /* byte of each connection's replies */
    struct list conns;
};

void toy_start(struct toy *t, struct ev_loop *loop, enum toy_mischief mischief, uint64_t at);
void toy_stop(struct toy *t);

#endif
