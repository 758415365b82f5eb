/*
 * libarbiter: how everything can end. Functions return 0 (ARB_OK), one of the positive outcomes
 * below, or a negative -errno for what the system refused unexpectedly; arb_strerror knows all.
 */
#ifndef ARBITER_STATUS_H
#define ARBITER_STATUS_H

#if defined(__GNUC__)
#define ARB_EXPORT __attribute__((visibility("default")))
#else
#define ARB_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are stable: a new outcome is appended. */
enum arb_status {
    ARB_OK = 0,
    ARB_TIMEOUT = 1, /* the deadline passed: in the queue, connecting, sending or receiving */
    ARB_REFUSED = 2, /* nobody listens there */
    ARB_UNREACHABLE = 3, /* no way to that address */
    ARB_UNRESOLVED = 4, /* the name has no address */
    ARB_NO_RESOLVER = 5, /* no name server answers just now */
    ARB_CLOSED = 6, /* the peer closed the connection before the reply was complete */
    ARB_RESET = 7, /* the connection was reset before the reply was complete */
    ARB_UNEXPECTED = 8, /* the peer sent bytes that nobody asked for */
    ARB_MISMATCH = 9, /* the reply is not the message */
    ARB_TOO_LONG = 10, /* the message is longer than max_message */
    ARB_SEPARATOR = 11, /* the message would end early: it has the separator in it */
    ARB_CANCELLED = 12, /* arb_call_cancel, or the client was freed */
    ARB_POOL_CLOSED = 13, /* arb_client_close */
    ARB_QUEUE_FULL = 14, /* as many calls are under way as the options allow */
    ARB_BUSY = 15, /* not now: inside a callback of the same client, or the connection is shared */
    ARB_FORKED = 16, /* the client belongs to the parent process: make a new one */
    ARB_INVALID = 17, /* an argument or option is out of its range */
    ARB_BAD_ADDRESS = 18, /* the text is no address */
    ARB_NOMEM = 19 /* out of memory */
};

/*
 * arb_strerror - a sentence for a status or -errno
 * Returns static text, never NULL; usable from any thread.
 */
ARB_EXPORT const char *arb_strerror(int status);

/*
 * arb_status_name - a short stable word ("timeout", "closed"; "error" for -errno), for logs
 * Returns static text, never NULL.
 */
ARB_EXPORT const char *arb_status_name(int status);

/* arb_version - the version of the library that is running, such as "0.1.0"; static text */
ARB_EXPORT const char *arb_version(void);

#ifdef __cplusplus
}
#endif

#endif
