/*
 * The pure half of a call. A reply is compared with its message as it comes, so neither an endless
 * one nor one without a separator is waited for.
 */
#include "client/exchange.h"

#include <assert.h>
#include <string.h>

#include "base/util.h"

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
    x->sent = x->compared = x->taken = 0;
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
    *ret_len = buffer_len(&x->out) - x->sent;
    return *ret_len > 0 ? buffer_data(&x->out) + x->sent : NULL;
}

void exchange_sent(struct exchange *x, size_t n)
{
    x->sent += n;
    assert(x->sent <= buffer_len(&x->out));
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

/* The reply that is next, as far as it is here, against its message: @total bytes. */
static int compare(struct exchange *x, size_t total)
{
    const size_t from = x->compared, n = MIN(buffer_len(&x->in), total) - from;

    if (from + n > x->sent)
        return CALL_UNEXPECTED;
    if (n > 0 && memcmp(buffer_data(&x->in) + from, buffer_data(&x->out) + from, n) != 0)
        return CALL_MISMATCH;
    x->compared = from + n;
    return x->compared < total ? CALL_PENDING : 0;
}

int exchange_take(struct exchange *x, const uint8_t **ret, size_t *ret_len)
{
    size_t len, total;
    int rc;

    drop_taken(x);
    if (x->n_outstanding == 0)
        return buffer_len(&x->in) ? CALL_UNEXPECTED : CALL_PENDING;
    len = x->lengths[x->first];
    total = len + x->rule.separator_len;
    rc = compare(x, total);
    if (rc)
        return rc;
    if (total > 0)
        buffer_consume(&x->out, &x->pool, total);
    x->sent -= total;
    x->compared = 0;
    x->taken = total;
    x->first = (x->first + 1) % EXCHANGE_WINDOW;
    x->n_outstanding--;
    *ret = len > 0 ? buffer_data(&x->in) : (const uint8_t *)"";
    *ret_len = len;
    return 0;
}
