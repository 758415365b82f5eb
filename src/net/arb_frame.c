/*
 * The framing that protocols of authors use: <arbiter/frame.h> on wire/frame. Pure; any process.
 */
#include <arbiter/frame.h>

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "wire/frame.h"

_Static_assert(sizeof(struct frame_rule) <= sizeof(struct arb_frame), "it hides a rule");
_Static_assert(_Alignof(struct frame_rule) <= _Alignof(struct arb_frame), "it hides a rule");
_Static_assert((int)FRAME_SEPARATOR_MAX == 16 && (int)FRAME_QUIT_MAX == 16, "as frame.h says");

/* A result is written to where the protocol wants it, without a copy. */
#define SAME_PLACE(ours, theirs)                                                                   \
    _Static_assert(offsetof(struct frame_result, ours) == offsetof(struct arb_output, theirs),     \
                   #ours " stands where " #theirs " does")
SAME_PLACE(complete, consumed);
SAME_PLACE(resume, resume);
SAME_PLACE(messages, messages);
SAME_PLACE(scanned, scanned);
SAME_PLACE(outcome, next);
_Static_assert((int)FRAME_PENDING == (int)ARB_GO_ON && (int)FRAME_QUIT == (int)ARB_CLOSE &&
                   (int)FRAME_TOO_BIG == (int)ARB_REFUSE,
               "outcomes are what the protocol wants");

static struct frame_result *result_of(struct arb_output *out)
{
    return (void *)out;
}

static const struct frame_rule *rule_of(const struct arb_frame *frame)
{
    return (const void *)frame;
}

int arb_frame_init(struct arb_frame *frame, const struct arb_bytes *separator, uint64_t max_message,
                   const char *last)
{
    struct frame_rule rule;
    const int rc = frame_rule_init(&rule, separator->data, separator->len,
                                   max_message ? (size_t)max_message : SIZE_MAX, last,
                                   last ? strlen(last) : 0);

    if (rc < 0)
        return rc;
    *frame = (struct arb_frame){{0}};
    memcpy(frame, &rule, sizeof(rule));
    return 0;
}

void arb_frame_scan(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out)
{
    frame_find(rule_of(frame), in->data, in->len, in->resume, result_of(out));
}

bool arb_frame_next(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out, const uint8_t **ret_message, size_t *ret_len)
{
    const uint8_t *data = in->data + out->consumed;
    const size_t resume = out->consumed == 0 ? in->resume : 0;
    struct arb_output one = {0};

    if (out->next != ARB_GO_ON)
        return false;
    frame_find_first(rule_of(frame), data, in->len - out->consumed, resume, result_of(&one));
    out->consumed += one.consumed;
    out->resume = one.resume;
    out->messages += one.messages;
    out->scanned += one.scanned;
    out->next = one.next;
    if (one.messages == 0)
        return false;
    *ret_message = data;
    *ret_len = one.consumed - rule_of(frame)->separator_len;
    return true;
}
