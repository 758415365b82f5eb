/*
 * Bytes as text: what people write on a command line, and what JSON can carry. Pure.
 */
#ifndef CLIENT_TEXT_H
#define CLIENT_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * text_set_json - put bytes into an object: under @key if they are UTF-8, else in base64 (RFC 4648)
 * under "@key_base64". Returns 0 or -ENOMEM.
 */
int text_set_json(json_t *object, const char *key, const void *data, size_t len);

/* text_value - @text as a JSON value if it is one, else as a string; NULL if it is not UTF-8 */
json_t *text_value(const char *text);

/*
 * text_parse_args - KEY=VALUE words as the arguments of a command: an object
 * @table    borrowed: what the server answers to `commands`; NULL or of an unknown shape = it is
 *           not known. An argument that it calls a string is taken as it is; any other value that
 *           is JSON (number, true, false, object ...) is that, and everything else a string. The
 *           server has the last word.
 * @ret_args on 0: owned by the caller
 * @why      on failure: what is wrong with which word
 * Returns 0, -EINVAL or -ENOMEM.
 */
int text_parse_args(char *const *words, size_t n, const json_t *table, const char *command,
                    json_t **ret_args, char *why, size_t why_size);

#endif
