/*
 * KEY=VALUE words of a command line as a command's arguments. Pure.
 */
#ifndef CLIENT_CONTROL_ARGS_H
#define CLIENT_CONTROL_ARGS_H

#include <jansson.h>
#include <stddef.h>

/*
 * control_args_parse - an object from words
 * @table    borrowed: what the server answers to `commands`; NULL or of an unknown shape = it is
 *           not known. An argument that it calls a string is taken as it is; any other value that
 *           is JSON (number, true, false, object ...) is that, and everything else a string. The
 *           server has the last word.
 * @ret_args on 0: owned by the caller
 * @why      on failure: what is wrong with which word
 * Returns 0, -EINVAL or -ENOMEM.
 */
int control_args_parse(char *const *words, size_t n, const json_t *table, const char *command,
                       json_t **ret_args, char *why, size_t why_size);

#endif
