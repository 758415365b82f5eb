/*
 * A server that fails on command, in a thread of the test: an honest echo, but for one reply, which
 * it closes, resets, cuts short, corrupts, doubles or holds back at a byte that the test chooses.
 * It also counts what it got, so that a test can say what was sent and how often.
 */
#ifndef SUPPORT_FAULTY_H
#define SUPPORT_FAULTY_H

#include <arbiter/client.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happens at byte k of a reply of n bytes, separator included. */
enum fault_kind {
    FAULT_NONE,
    FAULT_CLOSE, /* k bytes, then the end */
    FAULT_RESET, /* k bytes, then a reset once they have arrived */
    FAULT_STALL, /* k bytes, then nothing more on this connection */
    FAULT_DELAY, /* k bytes, a pause, the rest */
    FAULT_SHORT, /* without byte k */
    FAULT_CORRUPT, /* byte k is another one */
    FAULT_DOUBLE, /* byte k twice */
    FAULT_TWICE, /* the whole reply twice, together; k means nothing */
    FAULT_EARLY_CLOSE, /* no reply: closes when it has read k bytes of the message */
};

struct faulty;

/* faulty_start - listens on a port of the kernel's choice, or on @path if it is not NULL */
struct faulty *faulty_start(const char *path);
/* faulty_stop - and close all its connections. NULL is fine. */
void faulty_stop(struct faulty *f);

const char *faulty_addr(const struct faulty *f);

/* faulty_arm - the next @n messages, on whatever connection, end so; then it is honest again */
void faulty_arm(struct faulty *f, enum fault_kind kind, size_t at, unsigned n);

/* faulty_hold - honest replies are held back until faulty_hold(false) */
void faulty_hold(struct faulty *f, bool is_held);

/* What it has seen: complete messages, bytes, connections accepted, connections open. */
unsigned faulty_messages(struct faulty *f);
unsigned faulty_bytes(struct faulty *f);
unsigned faulty_accepted(struct faulty *f);
unsigned faulty_open(struct faulty *f);

/* faulty_close_all - close what is open, as a server does that restarts */
void faulty_close_all(struct faulty *f);

/* rig_counters - arb_client_count as a value */
static inline struct arb_client_counters rig_counters(const struct arb_client *client)
{
    struct arb_client_counters c;

    arb_client_count(client, &c);
    return c;
}

#endif
