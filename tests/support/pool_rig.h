/*
 * A pool whose members are only numbers and whose waiters are letters: what it opens, hands out and
 * closes is written down as a text. One test at a time.
 */
#ifndef SUPPORT_POOL_RIG_H
#define SUPPORT_POOL_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include "client/pool.h"

enum { POOL_RIG_N = 64 };

struct thing {
    struct pool_member member;
    char state; /* 'n'one, 'c'onnecting, 'o'pen */
    bool is_unusable;
};

struct guest {
    struct pool_waiter waiter;
    struct thing *thing; /* leased */
    int status;
    unsigned n_answers;
    void (*then)(struct guest *g); /* from within the handler */
};

struct pool_rig {
    struct pool *pool;
    struct thing things[POOL_RIG_N];
    struct guest guests[POOL_RIG_N]; /* the first is a */
    int refuse; /* what open says */
    char trace[4096]; /* "open1 a=1 b:refused close1 " */
    size_t len;
};

extern struct pool_rig rig;
extern const struct pool_ops pool_rig_ops;

void pool_rig_begin(unsigned size, unsigned shares);
void pool_rig_finish(void); /* everything must have been closed */

/* counters_of - of a pool */
struct arb_client_counters counters_of(const struct pool *pool);

struct guest *guest(int name);
int number(const struct thing *t);

/* What happens to it. Things are numbered from 1. */
void come(int name);
void leave(int name);
void opened(int n);
void failed(int n, int status);
void lost(int n);

/* Compares, and begins anew. */
#define assert_trace(text)                                                                         \
    do {                                                                                           \
        assert_string_equal(rig.trace, text);                                                      \
        rig.trace[rig.len = 0] = '\0';                                                             \
    } while (0)

void assert_counters(unsigned in_use, unsigned available, unsigned connecting, unsigned waiting,
                     unsigned long long sessions);

#endif
