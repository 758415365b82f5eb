/*
 * A configuration as JSON: an array of {"key","line","text"}, one for each value that is no
 * default; of a list from a file also "lines", those of its elements. So the parsing child tells
 * its parent what the file holds, and an image of the arbiter leaves its configuration to the next.
 * The reading side trusts nothing.
 */
#ifndef CONF_CONFIG_CODEC_H
#define CONF_CONFIG_CODEC_H

#include <jansson.h>
#include "conf/config.h"
#include "conf/config_errors.h"

enum { CONFIG_VALUE_MAX = 131072 }; /* bytes; no value that is allowed has as many */

/*
 * config_encode_value - append one
 * @name  of the key
 * @line  of the file; 0 = from the command line
 * Returns 0 or -ENOMEM.
 */
int config_encode_value(json_t *values, const char *name, unsigned line, const char *text);

/* config_encode - all of @c that are no defaults. Returns a new reference, or NULL without memory.
 */
json_t *config_encode(const struct config *c);

/*
 * config_decode - set them in @c, which has the defaults
 * @path    of the file, for the messages
 * @errors  takes what is wrong with values and keys; the others are set nevertheless
 * Returns 0, -EBADMSG (nothing that config_encode writes) or -ENOMEM.
 */
int config_decode(struct config *c, const json_t *values, const char *path,
                  struct config_errors *errors);

/*
 * config_json - one value as programs read it: a number (of seconds, of bytes), true or false, a
 * text, or a list of texts. Owned by the caller; NULL only without memory.
 */
json_t *config_json(const struct config *c, int key);

#endif
