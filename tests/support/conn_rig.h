/*
 * A set of connections, its loop and its peers in one process, with a clock that the test turns.
 * Real sockets, no sleeps: the loop is run until nothing moves any more.
 */
#ifndef SUPPORT_CONN_RIG_H
#define SUPPORT_CONN_RIG_H

#include <arbiter/frame.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "net/conn.h"

struct rig {
    struct ev_loop *loop;
    struct conn_set set;
    struct counters counters;
    struct arb_frame frame; /* of the Echo that it serves */
    unsigned n_on_closed;
};

/* The virtual clock of all rigs. */
extern uint64_t rig_now_ms;

/* rig_init - an echo with separator CR LF CR LF; @limits NULL = no timeouts, 64 MiB */
void rig_init(struct rig *r, const struct conn_limits *limits, size_t max_message);

/* rig_use_rule - another rule of the Echo */
void rig_use_rule(struct rig *r, const char *separator, size_t max_message);

/* rig_use_protocol - what is connected from now on speaks @table, with @server */
void rig_use_protocol(struct rig *r, const struct arb_protocol *table, void *server);

/* rig_fini - and check that every close was counted once and every block given back */
void rig_fini(struct rig *r);

/*
 * rig_connect - a connection in the set; returns the peer's end, non-blocking
 * rig_connect_unix - one that is known to be a unix socket
 */
int rig_connect(struct rig *r);
int rig_connect_unix(struct rig *r);
int rig_connect_tcp(struct rig *r);

/* rig_connect_headed - one over TCP that begins with a PROXY header */
int rig_connect_headed(struct rig *r, enum proxy_wish wish);

/* rig_run - run the loop until no byte moves and nobody leaves */
void rig_run(struct rig *r);

/* rig_pass - let the clock go on and look after the deadlines */
void rig_pass(struct rig *r, uint64_t ms);

/* rig_send - all of it, running the loop when the socket is full; then run the loop */
void rig_send(struct rig *r, int fd, const void *data, size_t len);
void rig_send_text(struct rig *r, int fd, const char *text);

/* rig_offer - what can be sent until nothing moves any more, without reading; returns the number */
size_t rig_offer(struct rig *r, int fd, const void *data, size_t len);

/* rig_expect - exactly these bytes come next; rig_expect_nothing - none, and no end */
void rig_expect(struct rig *r, int fd, const void *data, size_t len);
void rig_expect_text(struct rig *r, int fd, const char *text);
void rig_expect_nothing(struct rig *r, int fd);
void rig_expect_eof(struct rig *r, int fd);
void rig_expect_reset(struct rig *r, int fd);

/* rig_expect_closed - that many connections have gone, @counter counts all of them */
void rig_expect_closed(const struct rig *r, const counter_t *counter, unsigned n);

/* rig_payload - @n bytes that differ from place to place, then CR LF CR LF; malloc'ed */
uint8_t *rig_payload(size_t n);

#endif
