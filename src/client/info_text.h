/*
 * The server's answers as text for people. Pure; writes to a stream that it is given. What the
 * server says is shown with its control bytes made harmless.
 */
#ifndef CLIENT_INFO_TEXT_H
#define CLIENT_INFO_TEXT_H

#include <jansson.h>
#include <stdio.h>

/* info_text_write - the result of `info`: the arbiter, a table of workers, the totals.
 * Returns 0, -EBADMSG (that is no such result) or -ENOMEM. */
int info_text_write(FILE *f, const json_t *info);

/* info_text_actors, _commands, _reload - the result of that command; return as above */
int info_text_actors(FILE *f, const json_t *actors);
int info_text_commands(FILE *f, const json_t *commands);
int info_text_reload(FILE *f, const json_t *reload);

/* info_text_value - any result: a text as it is, anything else as JSON, a map of workers a line
 * each. Returns 0 or -ENOMEM. */
int info_text_value(FILE *f, const json_t *value);

#endif
