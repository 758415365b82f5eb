/*
 * What clients notice of a server's changes. A *change* is a reload, an upgrade, another number of
 * workers, or one that the server makes of its own accord: a worker replaced, connections moved.
 * Its *window* reaches from the request, or from the first that was seen of it in the scoreboard,
 * to the last: the old processes are gone and nothing moves any more. A message belongs to the
 * window in which it was on its way, if only for a moment, or to none.
 */
#ifndef SUPPORT_CHANGES_H
#define SUPPORT_CHANGES_H

#include <stdint.h>
#include "support/audit_thread.h"
#include "support/server.h"

enum change {
    CHANGE_START, /* of the audit: all of its connections come at once */
    CHANGE_NONE, /* after that and before the first change */
    CHANGE_BETWEEN, /* after that, in no window */
    CHANGE_RELOAD,
    CHANGE_UPGRADE,
    CHANGE_SCALE,
    CHANGE_RECYCLE, /* unasked: a process came or went */
    CHANGE_BALANCE, /* unasked: connections moved, and no process came or went */
    CHANGES,
};

struct changes;

/* changes_new - of a server that is ready and has @workers; changes_free - NULL is fine */
struct changes *changes_new(struct server *s, unsigned workers);
void changes_free(struct changes *c);

/* changes_begin - the audit is at work, its start is over: only from here on may there be changes
 */
void changes_begin(struct changes *c);

/* For the audit: audit_on_echoed and audit_thread_on_tick. Only its thread may call them. */
void changes_on_echoed(void *changes, uint64_t written_ns, uint64_t now_ns);
void changes_on_tick(void *changes, const struct audit_tick *tick);

/*
 * changes_ask - request a change over the control socket; wait for its answer and its end
 * @args     JSON, NULL = none
 * @workers  so many run then
 */
void changes_ask(struct changes *c, enum change kind, const char *command, const char *args,
                 unsigned workers);

/* changes_watch - see for so long what the server does of its own accord */
void changes_watch(struct changes *c, unsigned ms);

/* changes_await - watch until there have been @n windows in all, the last of them closed */
void changes_await(struct changes *c, enum change kind, unsigned n);

/* changes_count - windows so far */
unsigned changes_count(const struct changes *c, enum change kind);

/* While nothing was asked for, how many processes there were more than workers are wanted. */
struct changes_extra {
    int least, most;
};
struct changes_extra changes_extra(const struct changes *c);

/* What the audit was like, when it has ended. */
struct changes_seen {
    unsigned inside; /* connections in the middle of a message, the mean */
    unsigned unbroken; /* lasting connections that were never interrupted */
};
struct changes_seen changes_seen(const struct changes *c);

/* changes_print - the table, when the audit has ended; a line of it is "#| ..." */
void changes_print(const struct changes *c);

#endif
