/*
 * A synchronous client on one connection: connect, send a message, wait for its echo, each within a
 * deadline. Part of the library: no signals, no exit, no output, no global state.
 *
 * Words: a message is *posted* when it is lined up, *outstanding* until its reply is taken. Replies
 * come in the order of their messages. After any outcome but 0 of a wait the connection is spent:
 * the same outcome comes back until call_close.
 */
#ifndef CLIENT_CALL_H
#define CLIENT_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "client/dial.h"
#include "client/exchange.h"

#define CALL_FOREVER DIAL_FOREVER

enum { CALL_READ_BYTES = 65536 };

struct call {
    int fd; /* owned; -1 = not connected */
    int outcome; /* why it is spent; 0 = it is not */
    bool is_deaf; /* the peer takes no more bytes from us; replies may still come */
    bool is_reset; /* a write has told so, which a later read does not repeat */
    struct exchange exchange;
};

/* call_init - @rule is copied. call_fini - close and free everything. */
void call_init(struct call *c, const struct frame_rule *rule);
void call_fini(struct call *c);

/* call_deadline - now plus @timeout_ms; 0 = CALL_FOREVER */
uint64_t call_deadline(uint64_t timeout_ms);

/* call_connect - a fresh connection (an old one is closed first). Returns as dial(). Blocks. */
int call_connect(struct call *c, const struct addr *a, uint64_t deadline_ns);

/* call_adopt - take over a connected stream socket instead. Returns 0 or -errno (@fd untouched). */
int call_adopt(struct call *c, int fd);

/* call_close - drop the connection and all that is outstanding; call_connect may follow */
void call_close(struct call *c);

/* call_post - line one message up; sends nothing. Returns as exchange_post, or why it is spent. */
int call_post(struct call *c, const void *message, size_t len);

/*
 * call_wait - send what is posted and wait for the oldest outstanding reply
 * @ret_reply  on 0: borrowed until the next call_*; without the separator
 * Returns 0, CALL_TIMEOUT, CALL_CLOSED, CALL_RESET, CALL_UNEXPECTED, CALL_MISMATCH, CALL_PENDING
 * (nothing is outstanding) or -errno. Blocks.
 */
int call_wait(struct call *c, uint64_t deadline_ns, const uint8_t **ret_reply, size_t *ret_len);

/*
 * call_advance - as call_wait, but only what can be done without waiting
 * CALL_PENDING with something outstanding: go on when poll(2) has one of call_events.
 */
int call_advance(struct call *c, const uint8_t **ret_reply, size_t *ret_len);
short call_events(const struct call *c);

/* call_exchange - call_post and call_wait; returns what they return. Blocks. */
int call_exchange(struct call *c, const void *message, size_t len, uint64_t deadline_ns,
                  const uint8_t **ret_reply, size_t *ret_len);

/*
 * call_is_usable - connected, nothing outstanding, and the peer has neither closed nor sent
 * anything If not, a new connection may take the next message without any risk of sending it twice.
 */
bool call_is_usable(const struct call *c);

#endif
