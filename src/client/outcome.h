/*
 * How a call can end other than with its reply. THE table of outcomes: the words of the JSON
 * output, the sentences of the error messages and the exit codes of the tool are rows of it.
 */
#ifndef CLIENT_OUTCOME_H
#define CLIENT_OUTCOME_H

/* clang-format off */
/*    outcome         name            exit  sentence */
#define CALL_OUTCOMES(X)                                                                           \
    X(DONE,           "done",           0,  "done")                                                \
    X(PENDING,        "pending",       75,  "the reply is not complete yet")                       \
    X(TIMEOUT,        "timeout",       75,  "timed out")                                           \
    X(REFUSED,        "refused",       69,  "connection refused")                                  \
    X(UNREACHABLE,    "unreachable",   69,  "no way to that address")                              \
    X(UNKNOWN_HOST,   "unknown_host",  68,  "unknown host")                                        \
    X(NO_RESOLVER,    "no_resolver",   75,  "the name cannot be looked up just now")               \
    X(CLOSED,         "closed",        76,  "connection closed before the reply")                  \
    X(RESET,          "reset",         76,  "connection reset before the reply")                   \
    X(UNEXPECTED,     "unexpected",    76,  "the server sent what nobody asked for")               \
    X(MISMATCH,       "mismatch",      76,  "the reply is not the message")                        \
    X(TOO_LONG,       "too_long",      65,  "message too long")                                    \
    X(HAS_SEPARATOR,  "has_separator", 65,  "message would end early: it has the separator in it") \
    X(WINDOW_FULL,    "window_full",   70,  "too many replies are outstanding")
/* clang-format on */

/* CALL_DONE is 0; the others are > 0, so that they never clash with -errno. */
enum call_outcome {
#define X(id, name, exit_code, text) CALL_##id,
    CALL_OUTCOMES(X)
#undef X
        CALL_OUTCOMES_N
};

/* call_outcome_name, _text - static words for an outcome, or for -errno */
const char *call_outcome_name(int outcome);
const char *call_outcome_text(int outcome);

/* call_outcome_exit - the sysexits code of an outcome or -errno */
int call_outcome_exit(int outcome);

#endif
