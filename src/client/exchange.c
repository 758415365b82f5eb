/*
 * The pure half of a call. Replies are found with the same frame rule that the server uses.
 */
#include "client/exchange.h"

#include <assert.h>
#include <string.h>

static bool is_raw(const struct exchange *x)
{
    return x->rule.separator_len == 0;
}

void exchange_init(struct exchange *x, const struct frame_rule *rule)
{
    *x = (struct exchange){.rule = *rule};
    /* Blocks are powers of two: each way may need nearly twice the longest message, and while a
     * buffer grows its old block is held too. */
    buffer_pool_init(&x->pool, rule->max_message * 6 + (4u << 20));
}

void exchange_reset(struct exchange *x)
{
    buffer_free(&x->out, &x->pool);
    buffer_free(&x->in, &x->pool);
    x->complete = x->resume = x->taken = 0;
    x->first = x->n_outstanding = 0;
    x->is_over = false;
}

void exchange_fini(struct exchange *x)
{
    exchange_reset(x);
    buffer_pool_fini(&x->pool);
}

int exchange_post(struct exchange *x, const void *message, size_t len)
{
    const struct frame_rule *r = &x->rule;
    int rc = exchange_check(r, message, len);

    if (rc)
        return rc;
    if (x->is_over)
        return CALL_CLOSED;
    if (x->n_outstanding == EXCHANGE_WINDOW)
        return CALL_WINDOW_FULL;
    rc = buffer_reserve(&x->out, &x->pool, len + r->separator_len);
    if (rc)
        return rc;
    if (len > 0)
        buffer_append(&x->out, &x->pool, message, len);
    if (r->separator_len > 0)
        buffer_append(&x->out, &x->pool, r->separator, r->separator_len);
    x->lengths[(x->first + x->n_outstanding) % EXCHANGE_WINDOW] = len;
    x->n_outstanding++;
    x->is_over = r->quit_len > 0 && len == r->quit_len && memcmp(message, r->quit, len) == 0;
    return 0;
}

const uint8_t *exchange_output(const struct exchange *x, size_t *ret_len)
{
    *ret_len = buffer_len(&x->out);
    return buffer_data(&x->out);
}

void exchange_sent(struct exchange *x, size_t n)
{
    buffer_consume(&x->out, &x->pool, n);
}

/* The last reply was only borrowed: now its bytes can go. */
static void drop_taken(struct exchange *x)
{
    size_t n = x->taken;

    x->taken = 0;
    if (n > 0)
        buffer_consume(&x->in, &x->pool, n);
}

int exchange_room(struct exchange *x, size_t n, uint8_t **ret)
{
    int rc;

    drop_taken(x);
    if (x->n_outstanding == 0 && buffer_len(&x->in) > 0)
        return CALL_UNEXPECTED;
    rc = buffer_reserve(&x->in, &x->pool, n);
    if (rc)
        return rc;
    *ret = buffer_end(&x->in);
    return 0;
}

void exchange_received(struct exchange *x, size_t n)
{
    buffer_commit(&x->in, n);
}

/* Split the first reply off what frame_scan has found to be whole. */
static int take_framed(struct exchange *x, size_t *ret_len)
{
    const struct frame_rule *r = &x->rule;
    const uint8_t *end;

    if (x->complete == 0) {
        struct frame_result f = frame_scan(r, buffer_data(&x->in), buffer_len(&x->in), x->resume);

        x->complete = f.complete;
        x->resume = f.resume;
        if (f.complete == 0)
            return f.verdict == FRAME_TOO_BIG ? CALL_TOO_LONG : CALL_PENDING;
    }
    end = memmem(buffer_data(&x->in), x->complete, r->separator, r->separator_len);
    assert(end != NULL);
    *ret_len = (size_t)(end - buffer_data(&x->in));
    x->complete -= *ret_len + r->separator_len;
    return 0;
}

int exchange_take(struct exchange *x, const uint8_t **ret, size_t *ret_len)
{
    size_t len = x->n_outstanding ? x->lengths[x->first] : 0;
    int rc = 0;

    drop_taken(x);
    if (x->n_outstanding == 0)
        return buffer_len(&x->in) ? CALL_UNEXPECTED : CALL_PENDING;
    if (is_raw(x)) {
        if (buffer_len(&x->in) < len)
            return CALL_PENDING;
    } else {
        rc = buffer_len(&x->in) ? take_framed(x, &len) : CALL_PENDING;
    }
    if (rc)
        return rc;
    x->taken = len + x->rule.separator_len;
    x->first = (x->first + 1) % EXCHANGE_WINDOW;
    x->n_outstanding--;
    *ret = len > 0 ? buffer_data(&x->in) : (const uint8_t *)"";
    *ret_len = len;
    return 0;
}
