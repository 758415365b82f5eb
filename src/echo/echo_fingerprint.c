/*
 * Which rule is it? For workers that hand connections over: only under the same rule may one go on
 * looking for a message's end where the other has stopped.
 */
#include "echo/echo.h"
#include "wire/handover.h"

uint64_t echo_rule_fingerprint(const struct frame_rule *r)
{
    const uint64_t max_message = r->max_message;
    uint64_t hash = HANDOVER_HASH;

    hash = handover_hash(hash, &r->separator_len, sizeof(r->separator_len));
    hash = handover_hash(hash, r->separator, r->separator_len);
    hash = handover_hash(hash, &max_message, sizeof(max_message));
    hash = handover_hash(hash, &r->quit_len, sizeof(r->quit_len));
    return handover_hash(hash, r->quit, r->quit_len);
}
