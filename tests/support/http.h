/*
 * A client of the status actor, one request a connection, and where it listens.
 */
#ifndef SUPPORT_HTTP_H
#define SUPPORT_HTTP_H

#include <jansson.h>
#include "support/server.h"

struct http_reply {
    unsigned code; /* 0 = the connection has ended without an answer */
    const char *head, *body; /* blocks of the test */
};

/* http_info - what `echo-client --json info` prints, for json_decref */
json_t *http_info(struct server *s);

/* http_address - where it listens; "" = nowhere */
char *http_address(struct server *s);

/* http_ask - send a request, and nothing more; @headers: lines with their ends. Returns its
 * connection. */
int http_ask(const char *addr, const char *method, const char *path, const char *headers);

/* http_read - all that comes until the end, which there has to be */
struct http_reply http_read(int fd);

struct http_reply http_get(const char *addr, const char *path);

#endif
