/*
 * What must hold in a case of the conformance table, and in the project's tests. A broken MUST says
 * why and leaves the case through the must_handler that the program has set. Helpers may therefore
 * be written without a way back.
 */
#ifndef CONFORMANCE_MUST_H
#define CONFORMANCE_MUST_H

#include <stdarg.h>
#include <stdint.h>
#include <time.h>
#include "base/clock.h"
#include "base/hash.h"

/* must_handler - where a broken MUST goes; it does not return. Set once by the program. */
typedef void must_handler(const char *file, int line, const char *why);
void must_set_handler(must_handler *handler);

__attribute__((noreturn)) void must_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define MUST(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            must_fail(__FILE__, __LINE__, __VA_ARGS__);                                            \
    } while (0)

/* How long to wait for what should come soon: an alarm, not a measure. */
extern unsigned must_wait_ms;
#define WAIT_MS must_wait_ms

/* WAIT_UNTIL - look at a condition that nobody announces until it holds; false after @timeout_ms */
#define WAIT_UNTIL(cond, timeout_ms)                                                               \
    ({                                                                                             \
        uint64_t wait_end_ = clock_mono_ms() + (uint64_t)(timeout_ms);                             \
        int wait_ok_;                                                                              \
        while (!(wait_ok_ = !!(cond)) && clock_mono_ms() < wait_end_)                              \
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);                               \
        wait_ok_;                                                                                  \
    })

/* MUST_COME - the condition must hold within WAIT_MS */
#define MUST_COME(cond, ...) MUST(WAIT_UNTIL((cond), WAIT_MS), __VA_ARGS__)

/* Reproducible randomness. */
static inline uint64_t rng_below(uint64_t *state, uint64_t n)
{
    return random_next(state) % n;
}

#endif
