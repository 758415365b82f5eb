/*
 * The last changes of a server, those that were refused too: what, when, how long, with which
 * result. JSON from the beginning, since it is shown as it is and crosses upgrades. Pure but for
 * the clock.
 */
#ifndef ARBITER_HISTORY_H
#define ARBITER_HISTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { HISTORY_KEPT = 16, HISTORY_WHAT_LEN = 200 };

/*
 * history_note - one more; the oldest goes if there are too many
 * @history  an array
 * @kind     "reload", "upgrade", "scale"
 * @took_ms  0 = that is not known
 * @what     a sentence, cut to HISTORY_WHAT_LEN: what is there now, or why not
 */
void history_note(json_t *history, const char *kind, bool is_done, uint64_t took_ms,
                  const char *what);

/* history_note_answer - the same of what those who asked for it are told; @body as by
 * command_result or command_error, borrowed */
void history_note_answer(json_t *history, const char *kind, uint64_t took_ms, const json_t *body);

#endif
