/*
 * libarbiter: messages that end at a separator, for protocols that have such. Pure.
 */
#ifndef ARB_FRAME_H
#define ARB_FRAME_H

#include <arbiter/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The rule by which messages are found. Private to arb_frame_*, immutable once initialised. */
struct arb_frame {
    uint64_t opaque[12];
};

/*
 * arb_frame_init - the rule of a protocol
 * @separator    copied; at most 16 bytes; empty = any bytes are a message (raw)
 * @max_message  bytes, without the separator; 0 = no limit
 * @last         a message of exactly these bytes is the last of its connection; at most 16 bytes;
 *               NULL = none
 * Returns 0 or -EINVAL.
 */
int arb_frame_init(struct arb_frame *frame, const struct arb_bytes *separator, uint64_t max_message,
                   const char *last);

/*
 * arb_frame_scan - find the longest prefix of whole messages
 * Sets consumed, resume, messages, scanned and next: ARB_CLOSE behind a message @last, ARB_REFUSE
 * for one that is too long, behind those that precede it. No byte is looked at more than twice.
 */
void arb_frame_scan(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out);

/*
 * arb_frame_next - find one message after the other, in a loop of on_data:
 *
 *     while (arb_frame_next(frame, in, out, &message, &len))
 *         answer(message, len);
 *
 * @out          as on_data got it, or as the call before has left it: what it finds is added
 * @ret_message  borrowed from @in; @ret_len  of it, without its separator
 * Returns true if there is one more. Afterwards @out is as arb_frame_scan would have set it.
 */
bool arb_frame_next(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out, const uint8_t **ret_message, size_t *ret_len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
