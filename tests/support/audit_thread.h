/*
 * An audit in the background of a test: it runs in a thread with a loop of its own, so that the
 * test can do its mischief to the server meanwhile. One at a time; a broken case may leave one
 * running, the next start ends it.
 */
#ifndef SUPPORT_AUDIT_THREAD_H
#define SUPPORT_AUDIT_THREAD_H

#include "measure/audit.h"

struct audit_thread;

/* A look at the audit itself, each few milliseconds. */
struct audit_tick {
    uint64_t due_ns, late_ns; /* so late was its loop: what it measures is that much too long */
    unsigned inside; /* as audit_inside */
    unsigned unbroken; /* lanes with their first connection still, the churning ones apart */
};

typedef void audit_thread_on_tick(void *data, const struct audit_tick *tick);

/* audit_thread_start - @o as for audit_start, without an end; the address is copied */
struct audit_thread *audit_thread_start(const struct audit_options *o);

/* audit_thread_start_watched - @on_tick is called in the audit's thread; @data is borrowed */
struct audit_thread *audit_thread_start_watched(const struct audit_options *o,
                                                audit_thread_on_tick *on_tick, void *data);

/* audit_thread_counts - the totals of a moment ago */
struct audit_counts audit_thread_counts(struct audit_thread *t);

/* audit_thread_wait_echoed - until @n more messages have come back than now */
void audit_thread_wait_echoed(struct audit_thread *t, uint64_t n);

/*
 * audit_thread_stop - end it in order and print what happened as a comment
 * Breaks the case if it does not end. Frees @t.
 */
struct audit_tally audit_thread_stop(struct audit_thread *t, const char *title);

#endif
