/*
 * The server's answers as text for people. Pure; writes to a stream that it is given. What the
 * server says is shown with its control bytes made harmless.
 */
#ifndef CLIENT_ANSWER_TEXT_H
#define CLIENT_ANSWER_TEXT_H

#include <jansson.h>
#include <stdio.h>

/*
 * answer_text_actors, _commands, _reload, _upgrade, _crashes, _config - the result of that command
 * Return 0, -EBADMSG (that is no such result) or -ENOMEM.
 */
int answer_text_actors(FILE *f, const json_t *actors);
int answer_text_commands(FILE *f, const json_t *commands);
int answer_text_reload(FILE *f, const json_t *reload);
int answer_text_upgrade(FILE *f, const json_t *upgrade);
int answer_text_crashes(FILE *f, const json_t *crashes);
int answer_text_config(FILE *f, const json_t *config);

/*
 * answer_text_value - any result: a text as it is, anything else as JSON, a map of workers a line
 * each. Returns 0 or -ENOMEM.
 */
int answer_text_value(FILE *f, const json_t *value);

#endif
