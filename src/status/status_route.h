/*
 * What there is to be seen over HTTP: a table of paths, each with the function that makes its text
 * from what the arbiter has said of itself. Pure: knows neither the library nor the loop. Runs in
 * the status actor.
 */
#ifndef STATUS_STATUS_ROUTE_H
#define STATUS_STATUS_ROUTE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What a text is made of. All of it is borrowed. */
struct status_view {
    const json_t *info; /* what `info` answers; NULL for a route that does not need it */
    const char *text; /* `info` as it came: compact JSON, of `len` bytes */
    size_t len;
    const char *accept; /* the header Accept; "" = there is none */
};

struct status_answer {
    unsigned code; /* of HTTP */
    const char *type; /* borrowed: Content-Type */
    const char *text; /* not empty; `len` bytes */
    size_t len;
    char *owned; /* `text`, if it is of malloc: the receiver frees it; NULL = a constant */
};

struct status_route {
    const char *path;
    const char *help; /* a line for people */
    bool needs_info; /* `make` is called with a snapshot that is younger than the request */
    const char *policy; /* Content-Security-Policy; NULL = nothing may be loaded */
    /* Returns 0 or -ENOMEM. */
    int (*make)(const struct status_view *v, struct status_answer *ret);
};

/* status_route - the @i-th; NULL = there are no more. status_route_find - of that path, or
 * of the whole address of an HTTP request; NULL = there is none */
const struct status_route *status_route(size_t i);
const struct status_route *status_route_find(const char *target);

/* status_answer_constant - @text lives as long as the process */
void status_answer_constant(struct status_answer *ret, unsigned code, const char *type,
                            const char *text);

/* status_answer_take - @text is of malloc, and taken over; NULL = out of memory.
 * Returns 0 or -ENOMEM. */
int status_answer_take(struct status_answer *ret, unsigned code, const char *type, char *text,
                       size_t len);

/* status_answer_error - an answer that says @why, a sentence, which is copied.
 * Returns 0 or -ENOMEM. */
int status_answer_error(struct status_answer *ret, unsigned code, const char *why);

/* status_answer_unknown - no route has the path: list those there are. Returns 0 or -ENOMEM. */
int status_answer_unknown(struct status_answer *ret);

#define STATUS_TEXT "text/plain; charset=utf-8"
#define STATUS_JSON "application/json"

#endif
