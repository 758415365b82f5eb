/*
 * Framing: where do messages end? Pure bytes; the search resumes where it stopped and never
 * looks at a byte more than twice, whatever the peer sends.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_SEPARATOR_MAX = 16, FRAME_QUIT_MAX = 16 };

/* How messages end. Immutable after frame_rule_init; one per listener's configuration. */
struct frame_rule {
    uint8_t separator[FRAME_SEPARATOR_MAX];
    uint8_t separator_len; /* 0 = raw: every read is complete as it is */
    size_t max_message; /* bytes without the separator */
    uint8_t quit[FRAME_QUIT_MAX]; /* a message of exactly these bytes ends the conversation */
    uint8_t quit_len; /* 0 = none */
};

enum frame_outcome {
    FRAME_PENDING, /* the rest is the beginning of a message */
    FRAME_QUIT = 2, /* the last message of the prefix is QUIT; what follows is not looked at */
    FRAME_TOO_BIG, /* the message after the prefix is longer than allowed */
};

/*
 * What frame_scan found. Offsets count from @data. It may be written over the beginning of a struct
 * of another name with the same members: that of the installed API.
 */
struct frame_result {
    size_t complete; /* length of the prefix of whole messages, separators included */
    size_t
        resume; /* where the next search may start, relative to the first byte after the prefix */
    uint64_t messages; /* in the prefix; in raw mode 1 for a non-empty @data */
    uint64_t scanned; /* bytes examined by this call */
    enum frame_outcome outcome;
} __attribute__((may_alias));

/*
 * frame_rule_init - @separator of 0..FRAME_SEPARATOR_MAX bytes, @quit of 0..FRAME_QUIT_MAX
 * Returns 0 or -EINVAL (too long).
 */
int frame_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                    size_t max_message, const void *quit, size_t quit_len);

/* frame_find_first - as frame_scan, but for one message at most: what follows is not looked at */
void frame_find_first(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,
                      struct frame_result *ret);

/* frame_find - frame_scan, with the result where the caller wants it */
void frame_find(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,
                struct frame_result *ret);

/*
 * frame_scan - split the longest prefix of whole messages off
 * @data    borrowed; begins with the first byte of a message
 * @resume  0 for new data; else the `resume` of the scan that left this beginning behind
 * The separator is matched leftmost and without overlap: "\r\n\r\n\r\n" is one message and "\r\n".
 */
static inline struct frame_result frame_scan(const struct frame_rule *r, const uint8_t *data,
                                             size_t len, size_t resume)
{
    /* frame_find sets all of it: no need for the compiler to zero it first. */
    struct frame_result result __attribute__((uninitialized));

    frame_find(r, data, len, resume, &result);
    return result;
}

/*
 * frame_is_one - would @message and a separator be found as this one message?
 * Not if the separator is in it, or would be found before its end once the separator is added
 * ("a\r\n" and "\r\n\r\n": the leftmost match leaves "\r\n" behind).
 */
bool frame_is_one(const struct frame_rule *r, const void *message, size_t len);

#endif
