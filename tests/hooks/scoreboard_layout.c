/*
 * The test build claims to have another layout than the shipped one, so that an upgrade from one to
 * the other is tried; and, as the shipped one, another than test builds of earlier versions.
 */
#include "actor/scoreboard.h"

uint64_t __wrap_scoreboard_layout(void);

uint64_t __wrap_scoreboard_layout(void)
{
    return SCOREBOARD_VERSION;
}
