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

static const enum arb_next next_of[] = {
    [FRAME_PENDING] = ARB_GO_ON, [FRAME_QUIT] = ARB_CLOSE, [FRAME_TOO_BIG] = ARB_REFUSE};

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

static void put_result(const struct frame_result *found, struct arb_output *out)
{
    out->consumed = found->complete;
    out->resume = found->resume;
    out->messages = found->messages;
    out->scanned = found->scanned;
    out->next = next_of[found->outcome];
}

void arb_frame_scan(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out)
{
    const struct frame_result found = frame_scan(rule_of(frame), in->data, in->len, in->resume);

    put_result(&found, out);
}

bool arb_frame_next(const struct arb_frame *frame, const struct arb_input *in,
                    struct arb_output *out, size_t *ret_len)
{
    struct frame_result found;

    frame_find_first(rule_of(frame), in->data, in->len, in->resume, &found);
    put_result(&found, out);
    if (found.messages == 0)
        return false;
    *ret_len = found.complete - rule_of(frame)->separator_len;
    return true;
}
