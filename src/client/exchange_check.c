/*
 * Which messages can be sent as one. Pure.
 */
#include <string.h>

#include "client/exchange.h"

/* Would the separator be found before the end of the message, across the joint? */
static bool ends_early(const struct frame_rule *r, const uint8_t *message, size_t len)
{
    size_t n = r->separator_len;

    for (size_t k = 1; k < n && k <= len; k++)
        if (memcmp(message + len - k, r->separator, k) == 0 &&
            memcmp(r->separator + k, r->separator, n - k) == 0)
            return true;
    return false;
}

int exchange_check(const struct frame_rule *rule, const void *message, size_t len)
{
    if (len > rule->max_message)
        return CALL_TOO_LONG;
    if (rule->separator_len == 0 || len == 0)
        return 0;
    if (memmem(message, len, rule->separator, rule->separator_len) != NULL ||
        ends_early(rule, message, len))
        return CALL_HAS_SEPARATOR;
    return 0;
}
