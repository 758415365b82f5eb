/*
 * Which rule is it? For workers that hand connections over: only under the same rule may one go on
 * looking for a message's end where the other has stopped.
 */
#include "echo/echo.h"
#include "base/hash.h"
#include "wire/moved.h"

uint64_t echo_rule_fingerprint(const struct frame_rule *r)
{
    const uint64_t max_message = r->max_message;
    uint64_t hash = HASH_INIT;

    hash = hash_bytes(hash, &r->separator_len, sizeof(r->separator_len));
    hash = hash_bytes(hash, r->separator, r->separator_len);
    hash = hash_bytes(hash, &max_message, sizeof(max_message));
    hash = hash_bytes(hash, &r->quit_len, sizeof(r->quit_len));
    return hash_bytes(hash, r->quit, r->quit_len);
}
