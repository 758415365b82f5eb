/*
 * One attempt to connect to one address, without waiting: for callers with a loop of their own.
 */
#ifndef CLIENT_ATTEMPT_H
#define CLIENT_ATTEMPT_H

#include "client/dial.h"

/*
 * attempt_start - begin to connect
 * @from    our own address (port 0: the kernel chooses it on connecting), NULL = any
 * @ret_fd  on 0 (connected) and CALL_PENDING (watch it for writing, then attempt_finish): owned by
 *          the caller; non-blocking, close-on-exec, TCP_NODELAY
 * Returns 0, CALL_PENDING, as dial(), or -EAGAIN (a unix socket whose accept queue is full).
 */
int attempt_start(const struct arb_address *to, const struct arb_address *from, int *ret_fd);

/* attempt_finish - it became writable. Returns 0, or why not (close it). */
int attempt_finish(int fd);

#endif
