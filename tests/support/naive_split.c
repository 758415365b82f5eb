/*
 * The naive splitter, and the fast one fed in pieces.
 */
#include "support/naive_split.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "wire/frame_kernel.h"

struct frame_result naive_split(const struct frame_rule *r, const uint8_t *data, size_t len)
{
    struct frame_result result = {.outcome = FRAME_PENDING};
    const size_t n = r->separator_len;
    size_t i = 0;

    if (n == 0)
        return (struct frame_result){.complete = len, .messages = len > 0};
    while (i + n <= len) {
        const size_t message_len = i - result.complete;

        if (memcmp(data + i, r->separator, n) != 0) {
            i++;
            continue;
        }
        if (message_len > r->max_message) {
            result.outcome = FRAME_TOO_BIG;
            return result;
        }
        result.messages++;
        i += n;
        if (r->quit_len > 0 && message_len == r->quit_len &&
            memcmp(data + result.complete, r->quit, message_len) == 0)
            result.outcome = FRAME_QUIT;
        result.complete = i;
        if (result.outcome == FRAME_QUIT)
            return result;
    }
    /* The first place where a separator may still come to stand. */
    for (i = MAX(result.complete, len < n ? 0 : len - n + 1); i < len; i++)
        if (memcmp(data + i, r->separator, len - i) == 0)
            break;
    if (i - result.complete > r->max_message)
        result.outcome = FRAME_TOO_BIG;
    return result;
}

void piecewise_init(struct piecewise *p, const struct frame_rule *r, int kernel)
{
    *p = (struct piecewise){.rule = r, .kernel = kernel};
}

void piecewise_fini(struct piecewise *p)
{
    free(p->held);
    p->held = NULL;
}

static uint8_t *exact_copy(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    uint8_t *copy = malloc(a_len + b_len ? a_len + b_len : 1);

    if (!copy)
        abort();
    if (a_len > 0)
        memcpy(copy, a, a_len);
    if (b_len > 0)
        memcpy(copy + a_len, b, b_len);
    return copy;
}

bool piecewise_feed(struct piecewise *p, const uint8_t *data, size_t len)
{
    const size_t total = p->held_len + len;
    uint8_t *bytes = exact_copy(p->held, p->held_len, data, len);
    struct frame_result r;

    if (p->kernel < 0)
        r = frame_scan(p->rule, bytes, total, p->resume);
    else
        frame_find_with((enum frame_kernel)p->kernel, p->rule, bytes, total, p->resume, &r);
    assert(r.complete <= total && r.resume <= total - r.complete);
    p->n_calls++;
    p->sum.outcome = r.outcome;
    p->sum.complete += r.complete;
    p->sum.messages += r.messages;
    p->sum.scanned += r.scanned;
    free(p->held);
    p->held_len = total - r.complete;
    p->held = exact_copy(bytes + r.complete, p->held_len, NULL, 0);
    p->resume = r.resume;
    free(bytes);
    return r.outcome == FRAME_PENDING;
}

bool piecewise_agrees(const struct piecewise *p, const struct frame_result *naive, size_t fed)
{
    const size_t again = p->rule->separator_len > 0 ? p->rule->separator_len - 1u : 0;

    return p->sum.outcome == naive->outcome && p->sum.complete == naive->complete &&
           p->sum.messages == naive->messages && p->sum.scanned <= fed + p->n_calls * again;
}
