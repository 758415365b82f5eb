/*
 * The descriptors that a sample of an upgrade's state names, always under the same numbers, and an
 * arbiter that is built from a state in this process: nothing of it runs.
 */
#ifndef SUPPORT_INHERITED_H
#define SUPPORT_INHERITED_H

#include <stdbool.h>

#include "arbiter/arbiter_impl.h"
#include "arbiter/upgrade_state.h"

/* INHERITED_FIRST.. : two listeners, the scoreboard, a pipe and its writer's end, a pid file, two
 * mailboxes, two rescue pairs, a control client; the rest is spare */
#define INHERITED_PROGRAM "echo-arbiter"
enum { INHERITED_FIRST = 100, INHERITED_N = 16, INHERITED_PID = 4711 };

/* inherited_is_known - no descriptor in @s is another */
bool inherited_is_known(const struct upgrade_state *s);

/* Whose tables the arbiter gets; NULL = it has nothing of its own. */
extern const struct arb_program *inherited_program;
/* Whether it has keepers. */
extern bool inherited_has_keepers;

/* inherited_unpack - open them all anew, and upgrade_state_unpack into @a. inherited_fini follows,
 * whatever it returns. */
int inherited_unpack(const struct upgrade_state *s, struct arbiter *a, char *why);
void inherited_fini(struct arbiter *a);

/* inherited_are_open - no descriptor has been closed */
bool inherited_are_open(void);

#endif
