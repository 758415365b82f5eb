/*
 * What the commands that run for a while share: one line that is written over again and again on a
 * terminal, and signals that end them with a summary. Both are looked at every LOOK_MS.
 */
#ifndef CMD_ECHO_CLIENT_LIVE_H
#define CMD_ECHO_CLIENT_LIVE_H

#include <stdbool.h>

enum { LOOK_MS = 50 };

/* ---- the line; only where the standard error is a terminal of known width that can be written
 * over ---- */

struct live {
    bool is_on;
    bool is_shown;
};

void live_init(struct live *l);

/* live_show - in place of what is there, cut to the width of the terminal */
void live_show(struct live *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * live_left - "42 %, 35s left  " for the begin of the line
 * @share    done of all, from 0 to 1, in whichever way ends it first; 0 = nothing yet, or no end
 * @seconds  that it took so far
 * @buf      LIVE_LEFT_LEN bytes. Returns @buf, "" where nothing can be said.
 */
enum { LIVE_LEFT_LEN = 64 };
const char *live_left(double share, double seconds, char *buf);

/* live_clear - before anything else is written */
void live_clear(struct live *l);

/* ---- signals: the first SIGINT or SIGTERM ends it in order, the second at once ---- */

/* stop_watch - from now on both wait until stop_count looks for them */
void stop_watch(void);

/* stop_count - how many have come */
unsigned stop_count(void);

/* stop_exit - the exit code: @rc, or 128 + the signal that ended it */
int stop_exit(int rc);

/*
 * files_allow - raise this process's limit so that it may have @n descriptors and a few more
 * Returns 0, or an exit code if the limit cannot be raised so far, reported already for @command.
 */
int files_allow(const char *command, unsigned n);

#endif
