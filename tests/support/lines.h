/*
 * A protocol of lines, for tests: each line says what the protocol has to do, and all that the
 * protocol is told stands in a text. It uses nothing but the installed API.
 *
 *   =TEXT  reply TEXT           !TEXT  arb_conn_send TEXT
 *   r      owe a reply          w      the same, and wait for it (ARB_WAIT)
 *   W      the same, given at once: "now;"
 *   q      ARB_CLOSE            x      ARB_REFUSE
 *   c      arb_conn_close       C      the same with ARB_REFUSE
 *   *TEXT  send TEXT to all     k      close all
 *   tMS    arb_conn_timeout     b      blank        B  not blank
 *   lN     a lie, 1..LINES_LIES
 */
#ifndef SUPPORT_LINES_H
#define SUPPORT_LINES_H

#include <arbiter/protocol.h>

enum { LINES_REQUESTS = 4096, LINES_LIES = 5, LINES_REPLY_MAX = 1 << 20 };

/* The server of the protocol; zeroed by the test. */
struct lines {
    char log[65536]; /* what it has been told, such as "open:accepted end close:peer" */
    struct arb_actor *actor; /* for * and k; set by the test */
    struct arb_request *requests[LINES_REQUESTS]; /* not ended yet are those from n_ended on */
    unsigned n_requests, n_ended;
    unsigned n_calls; /* of on_data */
    int refuses; /* what on_open returns */
    bool answers_rest; /* at the end of input, what is left is a line */
    bool says_goodbye; /* on_drain */
    int sent; /* what the last arb_conn_send returned */
    char reply[LINES_REPLY_MAX]; /* of the on_data that is running */
    size_t reply_len;
};

/* Of a connection. */
struct lines_conn {
    unsigned n_lines;
};

extern const struct arb_protocol lines_protocol;

/* lines_answer - end the oldest request that is not, after @text. Returns what arb_request_reply
 * did. */
int lines_answer(struct lines *s, const char *text, enum arb_next next);

/* lines_send_to - for arb_conn_each, with a struct text */
struct text {
    struct lines *server;
    const char *bytes;
    size_t len;
};
void lines_send_to(struct arb_conn *conn, void *data);

/* lines_told - the log, which begins anew */
const char *lines_told(struct lines *s);

#endif
