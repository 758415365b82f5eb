/*
 * The pure half of a call: messages that are to be sent, replies that have come, matched in order.
 * No socket, no time: the caller moves the bytes. Everything is bounded: at most EXCHANGE_WINDOW
 * messages are outstanding, and a reply ends at its first byte that is not its message's.
 */
#ifndef CLIENT_EXCHANGE_H
#define CLIENT_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buffer.h"
#include "client/outcome.h"
#include "wire/frame.h"

enum { EXCHANGE_WINDOW = 256 };

struct exchange {
    struct frame_rule rule;
    struct buffer_pool pool;
    struct buffer out; /* posted, not taken; begins with the message whose reply is next */
    size_t sent; /* prefix of `out` */
    struct buffer in; /* received, not taken; begins with the reply that is next */
    size_t compared; /* prefix of `in` that is as in `out` */
    size_t taken; /* bytes at the front of `in` that the last reply borrowed */
    size_t lengths[EXCHANGE_WINDOW]; /* of the outstanding messages, a ring */
    unsigned first; /* index of the oldest */
    unsigned n_outstanding; /* posted and not taken */
    bool is_over; /* QUIT was posted: nothing can follow it */
};

/*
 * exchange_check - can this message be sent as one?
 * Not if the separator is found in it, or would be found before its end once the separator is
 * added ("a\r\n" and "\r\n\r\n": the leftmost match leaves "\r\n" behind).
 * Returns 0, CALL_TOO_LONG or CALL_HAS_SEPARATOR.
 */
int exchange_check(const struct frame_rule *rule, const void *message, size_t len);

/* exchange_init - @rule is copied; exchange_reset - forget all that is under way */
void exchange_init(struct exchange *x, const struct frame_rule *rule);
void exchange_fini(struct exchange *x);
void exchange_reset(struct exchange *x);

/*
 * exchange_post - line up one message for sending
 * @message  borrowed, copied; without the separator
 * Returns 0, CALL_TOO_LONG, CALL_HAS_SEPARATOR, CALL_WINDOW_FULL, CALL_CLOSED (after QUIT),
 * -ENOBUFS or -ENOMEM.
 */
int exchange_post(struct exchange *x, const void *message, size_t len);

/* exchange_output - what is to be sent, borrowed; exchange_sent - so much of it is gone */
const uint8_t *exchange_output(const struct exchange *x, size_t *ret_len);
void exchange_sent(struct exchange *x, size_t n);

/*
 * exchange_room - where received bytes go; borrowed
 * Returns 0, CALL_UNEXPECTED (more has come than was asked for), -ENOBUFS or -ENOMEM.
 */
int exchange_room(struct exchange *x, size_t n, uint8_t **ret);

/* exchange_received - @n bytes were put there */
void exchange_received(struct exchange *x, size_t n);

/*
 * exchange_take - the reply to the oldest outstanding message
 * @ret  borrowed until the next call of exchange_*; byte for byte the message
 * Returns 0, CALL_PENDING (not complete), CALL_UNEXPECTED (bytes that nobody asked for, or an
 * answer to what is not sent yet), or CALL_MISMATCH as soon as one byte is another.
 */
int exchange_take(struct exchange *x, const uint8_t **ret, size_t *ret_len);

#endif
