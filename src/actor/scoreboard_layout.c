/*
 * Which layout this program's records have. Its own object file, so that a build for tests can
 * claim to have another one.
 */
#include <stddef.h>
#include <string.h>

#include "actor/scoreboard.h"
#include "base/hash.h"

struct place {
    const char *name;
    size_t offset;
};

static const struct place places[] = {
    /* clang-format off */
    {"version", SCOREBOARD_VERSION},
    {"slot", offsetof(struct score_identity, slot)},
    {"incarnation", offsetof(struct score_identity, incarnation)},
    {"pid", offsetof(struct score_identity, pid)},
    {"started_ns", offsetof(struct score_identity, started_ns)},
    {"bytes", sizeof(struct score_record)},
    {"state", offsetof(struct score_record, state)},
    {"heartbeat_ns", offsetof(struct score_record, heartbeat_ns)},
    {"connections", offsetof(struct score_record, connections)},
    {"is_full", offsetof(struct score_record, is_full)},
    {"is_accepting", offsetof(struct score_record, is_accepting)},
    {"lag_ns", offsetof(struct score_record, lag_ns)},
    {"crash", offsetof(struct score_record, crash)},
#define X(field, help) {#field, offsetof(struct score_record, counters.field)},
    COUNTERS(X)
#undef X
    /* clang-format on */
};

uint64_t scoreboard_layout(void)
{
    uint64_t h = HASH_INIT;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const uint8_t offset[] = {(uint8_t)(places[i].offset >> 8), (uint8_t)places[i].offset};

        h = hash_bytes(h, places[i].name, strlen(places[i].name));
        h = hash_bytes(h, offset, sizeof(offset));
    }
    return h;
}
