/*
 * How a call can end other than with its reply. THE table of outcomes: the library's sentences, the
 * words of the JSON output and the exit codes of the tool are rows of it.
 */
#ifndef CLIENT_OUTCOME_H
#define CLIENT_OUTCOME_H

#include <arbiter/client.h>

/* clang-format off */
/*    status           name           exit  sentence */
#define OUTCOMES(X)                                                                                \
    X(ARB_OK,           "ok",            0, "done")                                                \
    X(ARB_TIMEOUT,      "timeout",      75, "timed out")                                           \
    X(ARB_REFUSED,      "refused",      69, "connection refused")                                  \
    X(ARB_UNREACHABLE,  "unreachable",  69, "no way to that address")                              \
    X(ARB_UNRESOLVED,   "unresolved",   68, "unknown host")                                        \
    X(ARB_NO_RESOLVER,  "no_resolver",  75, "the name cannot be looked up just now")               \
    X(ARB_CLOSED,       "closed",       76, "connection closed before the reply")                  \
    X(ARB_RESET,        "reset",        76, "connection reset before the reply")                   \
    X(ARB_UNEXPECTED,   "unexpected",   76, "the server sent what nobody asked for")               \
    X(ARB_MISMATCH,     "mismatch",     76, "the reply is not the message")                        \
    X(ARB_TOO_LONG,     "too_long",     65, "message too long")                                    \
    X(ARB_SEPARATOR,    "separator",    65, "message would end early: it has the separator in it") \
    X(ARB_CANCELLED,    "cancelled",    75, "cancelled")                                           \
    X(ARB_POOL_CLOSED,  "pool_closed",  70, "the pool is closed")                                  \
    X(ARB_QUEUE_FULL,   "queue_full",   70, "too many calls are under way")                        \
    X(ARB_BUSY,         "busy",         70, "not possible now: in use, or inside a handler")       \
    X(ARB_FORKED,       "forked",       70, "the client belongs to the parent process")            \
    X(ARB_INVALID,      "invalid",      64, "an argument is out of its range")                     \
    X(ARB_BAD_ADDRESS,  "bad_address",  64, "no address: write HOST:PORT, [V6]:PORT, :PORT or unix:PATH") \
    X(ARB_NOMEM,        "nomem",        71, "out of memory")                                       \
    X(ARB_BAD_REPLY,    "bad_reply",    76, "the server sent what is no reply of its protocol")     \
    X(ARB_REPLY_TOO_LONG, "reply_too_long", 76, "the reply is longer than the client allows")       \
    X(ARB_COMMAND_FAILED, "command_failed", 69, "the server has answered with an error")            \
    X(OUTCOME_PENDING,  "pending",      75, "the reply is not complete yet")
/* clang-format on */

/* Beside those of the library: the reply, or the connection, is not complete yet. */
enum { OUTCOME_PENDING = ARB_COMMAND_FAILED + 1, OUTCOMES_N };

/* outcome_exit - the sysexits code of an outcome or -errno */
int outcome_exit(int outcome);

/* outcome_of - the outcome that an errno (> 0) of a socket means; -errno if none */
int outcome_of(int error);

#endif
