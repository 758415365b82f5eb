/*
 * One byte per descriptor: what becomes of it when its process dies? May another go on with the
 * connection? Written before and after the connection is touched; read by a handler of fatal
 * signals of the same process, which may interrupt anything, and, if the process has a keeper, by
 * that after its death (keep_table.h).
 */
#ifndef NET_CONN_MARKS_H
#define NET_CONN_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum conn_mark {
    CONN_MARK_FREE, /* no connection, or not this process's any more */
    CONN_MARK_IDLE, /* nothing read that is not answered in full: another process can go on */
    CONN_MARK_BUSY, /* in the middle of something */
    CONN_MARK_MOVING, /* on its way to another process, or there */
    CONN_MARK_QUIET, /* idle, and nothing has come since somebody looked whether its peer reads */
    CONN_MARK_TAKE, /* not a connection: the end of a pair out of which connections are taken */
    CONN_MARK_STATEFUL, /* idle, but its protocol keeps a state that only this process has */
    CONN_MARK_FLIGHT = 128, /* plus a number below 128: moving in that flight, and was idle */
};

/* conn_mark_is_idle - may another process go on with it? */
static inline bool conn_mark_is_idle(uint8_t mark)
{
    return mark == CONN_MARK_IDLE || mark == CONN_MARK_QUIET;
}

/* conn_mark_is_moving - may another process have it already? */
static inline bool conn_mark_is_moving(uint8_t mark)
{
    return mark == CONN_MARK_MOVING || mark >= CONN_MARK_FLIGHT;
}

#endif
