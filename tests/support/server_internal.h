/*
 * What the halves of the harness share: it.c (a test's surroundings), server.c (start and stop),
 * server_check.c (what must be left).
 */
#ifndef SUPPORT_SERVER_INTERNAL_H
#define SUPPORT_SERVER_INTERNAL_H

#include "support/server.h"

struct it_block {
    struct it_block *next;
    _Alignas(16) char data[];
};

/* it_alloc - zeroed, until the end of the test */
void *it_alloc(struct it *it, size_t size);

/* it_sync_logs - what the servers' processes have logged until now is in its file; not waited for
 * long: a writer may hang */
void it_sync_logs(void);
void server_sync_log(struct server *s);

/* it_read - a whole file, terminated, owned by the caller */
char *it_read(const char *path);

/* it_knows - a server or a tool that the test has started */
bool it_knows(const struct it *it, pid_t pid);

/* server_end - stop and check: what is wrong, as text; "" = nothing */
const char *server_end(struct server *s, int signo, int exit_code);
void server_free(struct server *s);

/* server_check_left - processes, files and log lines of one that has ended */
void server_check_left(struct server *s, char *problems, size_t size);

/* server_wait_settled - until descriptors are as when it was ready; else what is different */
void server_wait_settled(struct server *s, char *problems, size_t size);

#endif
