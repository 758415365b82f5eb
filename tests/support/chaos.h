/*
 * Chaos: a server under many talkers that is changed at random all the while. Everything that waits
 * lets the clients talk. What the server counts is what the clients count, and its log has every
 * line; with a crash amid traffic, as far as that explains it.
 */
#ifndef SUPPORT_CHAOS_H
#define SUPPORT_CHAOS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "support/server.h"
#include "support/talkers.h"

enum {
    CHAOS_TALKERS = 480, /* of which 400 are in the middle of a message */
    CHAOS_MAX_MESSAGE = 1 << 20,
    CHAOS_MAX_BUFFERED = 64 << 20,
    CHAOS_MAX_UNDER_WAY = CHAOS_MAX_BUFFERED * 2 / 5, /* one worker may have it all, in blocks of
                                                         up to twice what they hold */
    CHAOS_WORKERS_MAX = 4,
    CHAOS_ALARM_MS = 120000, /* for what takes a while under a sanitizer on a busy machine */
};

struct chaos {
    struct it *it;
    struct server *server;
    struct talkers *talkers;
    uint64_t rng;
    uint64_t begin_ms, end_ms;
    unsigned n_rotated, n_crashes;
    pid_t termed[64]; /* workers that got SIGTERM, the last ones */
    unsigned n_termed;
    uint64_t levels; /* lines about the log's level that must be in it */
    uint64_t pongs; /* answers of workers that must be in it */
    uint64_t inside, n_looks; /* a sum over connections in the middle of a message */
    bool is_exact; /* no crash has come amid traffic: the counters are equal */
    uint64_t uncounted; /* connections whose end the worker that crashed may not have seen */
};

/*
 * chaos_begin - a server, and clients that talk; chaos_end - every connection ends as planned, all
 * sums are compared, the server is well. Its length is ECHO_CHAOS_SECONDS, its choices ECHO_SEED.
 */
struct chaos chaos_begin(struct it *it);
void chaos_end(struct chaos *c);

/* One kind of mischief. */
struct chaos_row {
    unsigned weight;
    void (*make)(struct chaos *c);
    const char *name;
};

/*
 * chaos_make_one - of @n rows at random, each of them once before one comes again
 * chaos_is_over - its time is up, and each of @n has been made; chaos_print_made - as figures
 * @made  how often, row by row
 */
void chaos_make_one(struct chaos *c, const struct chaos_row *rows, size_t n, unsigned *made);
bool chaos_is_over(const struct chaos *c, const unsigned *made, size_t n);
void chaos_print_made(const char *title, const struct chaos_row *rows, size_t n,
                      const unsigned *made);

/* The changes, none of which costs a connection or a message. */
enum { CHAOS_CHANGES = 10 };
extern const struct chaos_row chaos_changes[CHAOS_CHANGES];

/* chaos_random_configuration - nothing is short or scarce; with @may_recycle workers may be
 * replaced for the messages that they have served. Valid until the next call. */
const char *chaos_random_configuration(struct chaos *c, bool may_recycle);

/* chaos_random_worker - one that serves and has a handler for @signo; 0 = there is none now */
pid_t chaos_random_worker(struct chaos *c, int signo);

/* chaos_check_all - everybody is silent for a moment, and the sums are compared */
void chaos_check_all(struct chaos *c);

/* chaos_check_log - no line was lost over a rotation */
void chaos_check_log(struct chaos *c);

/* ---- clients talk meanwhile ---- */

void chaos_turn(struct chaos *c);
void chaos_run(struct chaos *c, uint64_t ms);

/* AWAIT - until it holds, which it must at last */
#define AWAIT(c, cond, ...)                                                                        \
    do {                                                                                           \
        const uint64_t alarm_ms_ = clock_mono_ms() + CHAOS_ALARM_MS;                               \
        while (!(cond)) {                                                                          \
            chaos_turn(c);                                                                         \
            MUST(clock_mono_ms() < alarm_ms_, __VA_ARGS__);                                        \
        }                                                                                          \
    } while (0)

void chaos_await_settled(struct chaos *c); /* every talker does what it is asked for */
void chaos_await_staff(struct chaos *c); /* as many workers as are wanted, and no others */
bool chaos_is_balanced(struct chaos *c); /* no connection is about to move */
void chaos_await_read(struct chaos *c); /* the server has accepted and read all there is */
void chaos_set_all(struct chaos *c, enum talker_mode mode);

/*
 * chaos_ask_all - @requests, one per line; the answers as an array, in the order in which they come
 * chaos_ask - one, until no other change is under way; chaos_must_succeed - its result
 * chaos_is_error - the answer is an error of that code
 */
json_t *chaos_ask_all(struct chaos *c, const char *requests);
json_t *chaos_ask(struct chaos *c, const char *command, const char *args);
bool chaos_is_error(const json_t *answer, const char *code);
json_t *chaos_must_succeed(struct chaos *c, const char *command, const char *args);

/* chaos_number - PART.NAME of what `info` says; chaos_number_now - asked for it */
uint64_t chaos_number(const json_t *info, const char *part, const char *name);
uint64_t chaos_number_now(struct chaos *c, const char *part, const char *name);

#endif
