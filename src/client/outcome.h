/*
 * How a call can end other than with its reply. THE table of outcomes: the library's sentences, the
 * words of the JSON output and the exit codes of the tool are rows of it. The numbers are those of
 * <arbiter/client.h>.
 */
#ifndef CLIENT_OUTCOME_H
#define CLIENT_OUTCOME_H

#include <arbiter/client.h>

/* clang-format off */
/*    outcome         status           name           exit  sentence */
#define CALL_OUTCOMES(X)                                                                           \
    X(DONE,           ARB_OK,          "ok",             0, "done")                                \
    X(TIMEOUT,        ARB_TIMEOUT,     "timeout",       75, "timed out")                           \
    X(REFUSED,        ARB_REFUSED,     "refused",       69, "connection refused")                  \
    X(UNREACHABLE,    ARB_UNREACHABLE, "unreachable",   69, "no way to that address")              \
    X(UNKNOWN_HOST,   ARB_UNRESOLVED,  "unresolved",    68, "unknown host")                        \
    X(NO_RESOLVER,    ARB_NO_RESOLVER, "no_resolver",   75, "the name cannot be looked up just now") \
    X(CLOSED,         ARB_CLOSED,      "closed",        76, "connection closed before the reply")  \
    X(RESET,          ARB_RESET,       "reset",         76, "connection reset before the reply")   \
    X(UNEXPECTED,     ARB_UNEXPECTED,  "unexpected",    76, "the server sent what nobody asked for") \
    X(MISMATCH,       ARB_MISMATCH,    "mismatch",      76, "the reply is not the message")        \
    X(TOO_LONG,       ARB_TOO_LONG,    "too_long",      65, "message too long")                    \
    X(HAS_SEPARATOR,  ARB_SEPARATOR,   "separator",     65, "message would end early: it has the separator in it") \
    X(CANCELLED,      ARB_CANCELLED,   "cancelled",     75, "cancelled")                           \
    X(POOL_CLOSED,    ARB_POOL_CLOSED, "pool_closed",   70, "the pool is closed")                  \
    X(WINDOW_FULL,    ARB_QUEUE_FULL,  "queue_full",    70, "too many calls are under way")        \
    X(BUSY,           ARB_BUSY,        "busy",          70, "not possible now: in use, or inside a handler") \
    X(FORKED,         ARB_FORKED,      "forked",        70, "the client belongs to the parent process") \
    X(INVALID,        ARB_INVALID,     "invalid",       64, "an argument is out of its range")     \
    X(BAD_ADDRESS,    ARB_BAD_ADDRESS, "bad_address",   64, "no address: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH") \
    X(NO_MEMORY,      ARB_NOMEM,       "nomem",         71, "out of memory")                       \
    X(PENDING,        ARB_NOMEM + 1,   "pending",       75, "the reply is not complete yet")
/* clang-format on */

/* CALL_DONE is 0; the others are > 0, so that they never clash with -errno. */
enum call_outcome {
#define X(id, status, name, exit_code, text) CALL_##id = (status),
    CALL_OUTCOMES(X)
#undef X
        CALL_OUTCOMES_N
};

/* call_outcome_name, _text - static words for an outcome, or for -errno */
const char *call_outcome_name(int outcome);
const char *call_outcome_text(int outcome);

/* call_outcome_exit - the sysexits code of an outcome or -errno */
int call_outcome_exit(int outcome);

/* call_outcome_of - the outcome that an errno (> 0) of a socket means; -errno if none */
int call_outcome_of(int error);

#endif
