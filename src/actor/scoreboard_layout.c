/*
 * Which layout this program's records have. Its own object file, so that a build for tests can
 * claim to have another one.
 */
#include <stddef.h>

#include "actor/scoreboard.h"

struct place {
    const char *name;
    size_t offset;
};

static const struct place places[] = {
    /* clang-format off */
    {"bytes", sizeof(struct score_record)},
    {"slot", offsetof(struct score_record, slot)},
    {"state", offsetof(struct score_record, state)},
    {"heartbeat_ns", offsetof(struct score_record, heartbeat_ns)},
    {"connections", offsetof(struct score_record, connections)},
    {"is_full", offsetof(struct score_record, is_full)},
    {"is_accepting", offsetof(struct score_record, is_accepting)},
    {"incarnation", offsetof(struct score_record, incarnation)},
    {"pid", offsetof(struct score_record, pid)},
    {"started_ns", offsetof(struct score_record, started_ns)},
    {"lag_ns", offsetof(struct score_record, lag_ns)},
    {"crash", offsetof(struct score_record, crash)},
#define X(field, help) {#field, offsetof(struct score_record, counters.field)},
    COUNTERS(X)
#undef X
    /* clang-format on */
};

static uint64_t mix(uint64_t h, uint8_t byte)
{
    return (h ^ byte) * UINT64_C(0x100000001b3); /* FNV-1a */
}

uint64_t scoreboard_layout(void)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (const char *p = places[i].name; *p; p++)
            h = mix(h, (uint8_t)*p);
        h = mix(mix(h, (uint8_t)(places[i].offset >> 8)), (uint8_t)places[i].offset);
    }
    return h;
}
