/*
 * What the two files of echo-client top share: its loop asks the server, its view shows the
 * answers.
 */
#ifndef CMD_ECHO_CLIENT_TOP_H
#define CMD_ECHO_CLIENT_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cmd/echo_client_operator.h"
#include "cmd/echo_client_screen.h"

#define TOP_SECOND_NS UINT64_C(1000000000)

/* Not an exit code: the loop goes on. */
enum { TOP_GO_ON = -1 };

struct top {
    struct operator op;
    uint64_t interval_ms;
    uint64_t count; /* views to show; 0 = no end */
    uint64_t n_shown;
    json_t *now; /* owned: the last answer of `info`, with its rates; NULL = none yet */
    uint64_t now_ns; /* when it came */
    bool has_rates; /* there was one before it */
    bool is_asked; /* an answer is awaited */
    bool has_answered; /* on this connection */
    bool is_lines; /* no screen: a line per worker */
    uint64_t asked_ns, turn_ns, retry_ns; /* when asked, to ask next, to connect next */
    uint64_t lost_ns; /* since when there is no server; 0 = there is one */
    int lost_why;
    struct screen screen;
    int signal_fd; /* owned; -1 = signals do what they always do */
    bool is_deaf; /* no more keys will come */
    int signo; /* that ends us */
};

/* Each returns TOP_GO_ON or the exit code to end with, reported already. */

/* top_show - there is a new sample */
int top_show(struct top *t);

/* top_draw - only on a screen: what there is, and why there is nothing newer */
int top_draw(struct top *t);

/* top_is_waiting - long enough that the view has to say so */
bool top_is_waiting(const struct top *t, uint64_t now_ns);

/* top_fail - the terminal is given back before an error is said */
int top_fail(struct top *t, int outcome);

#endif
